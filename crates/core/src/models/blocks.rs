//! The blocks of a transformer: on its device, or in the host's memory until a pass reaches them.

use burn::tensor::{Device, Tensor};
use std::sync::{Arc, Mutex};

/// A block whose weights can be copied to a device.
pub trait Movable {
    /// The same on `device`.
    fn on(&self, device: &Device) -> Self;
}

impl<const D: usize> Movable for Tensor<D> {
    fn on(&self, device: &Device) -> Self {
        self.clone().to_device(device)
    }
}

impl<T: Movable, const N: usize> Movable for [T; N] {
    fn on(&self, device: &Device) -> Self {
        std::array::from_fn(|i| self[i].on(device))
    }
}

/// All blocks of a transformer.
pub struct Blocks<B> {
    all: Vec<Arc<B>>,
    offloaded: Option<Offloaded<B>>,
}

/// What stays on the host is copied to a device one block at a time.
struct Offloaded<B> {
    device: Device,
    here: Mutex<Option<(usize, Arc<B>)>>, // the one that is there
}

impl<B: Movable> Blocks<B> {
    /// Blocks that lie where they are computed.
    pub fn resident(all: Vec<B>) -> Blocks<B> {
        Blocks {
            all: all.into_iter().map(Arc::new).collect(),
            offloaded: None,
        }
    }
    /// Blocks on the host, computed on `device`.
    pub fn offloaded(all: Vec<B>, device: &Device) -> Blocks<B> {
        Blocks {
            offloaded: Some(Offloaded {
                device: device.clone(),
                here: Mutex::new(None),
            }),
            ..Blocks::resident(all)
        }
    }
    /// Block `i` on the device. Of blocks on the host it takes the place of the one asked for before.
    pub fn get(&self, i: usize) -> Arc<B> {
        let Some(Offloaded { device, here }) = &self.offloaded else {
            return self.all[i].clone();
        };
        let mut here = here.lock().expect("nobody panics while a block is copied");
        if let Some((_, block)) = here.as_ref().filter(|(there, _)| *there == i) {
            return block.clone();
        }
        *here = None; // its memory is the next one's
        let block = Arc::new(self.all[i].on(device));
        *here = Some((i, block.clone()));
        block
    }
}
