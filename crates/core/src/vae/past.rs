//! What causal autoencoders remember: a layer sees a video a few frames at a time, and what its convolutions need of
//! the frames before is kept in a [`Past`]. So memory does not grow with the length of the video.

use crate::weights::Loader;
use burn::tensor::Tensor;

/// Frames that a causal convolution sees before the current one.
pub(super) const SEEN: usize = 2;

/// What layers keep of the frames that went by, each in a slot of its own.
pub(super) struct Past(Vec<Option<Tensor<5>>>);

impl Past {
    /// Of layers with so many slots; nothing has gone by yet.
    pub fn new(slots: usize) -> Past {
        Past(vec![None; slots])
    }
    /// Whether nothing has gone by in a slot.
    pub fn is_empty(&self, slot: usize) -> bool {
        self.0[slot].is_none()
    }
    /// Keeps `frames` in a slot, and gives those that were kept before.
    pub fn replace(&mut self, slot: usize, frames: Tensor<5>) -> Option<Tensor<5>> {
        self.0[slot].replace(frames)
    }
    /// `x` behind the last frames before it, `beginning` where there were none; its own last frames are kept.
    pub fn join(&mut self, slot: usize, x: Tensor<5>, beginning: fn(&Tensor<5>) -> Tensor<5>) -> Tensor<5> {
        let before = self.0[slot].take().unwrap_or_else(|| beginning(&x));
        let x = Tensor::cat(vec![before, x], 2);
        self.0[slot] = Some(last(&x, SEEN));
        x
    }
}

/// The last `frames` frames.
pub(super) fn last(x: &Tensor<5>, frames: usize) -> Tensor<5> {
    let t = x.dims()[2];
    x.clone().narrow(2, t - frames, frames)
}

/// Takes layers from a checkpoint and numbers their slots.
pub(super) struct Builder<'l, 'd> {
    pub loader: &'l mut Loader<'d>,
    slots: usize,
}

impl<'l, 'd> Builder<'l, 'd> {
    pub fn new(loader: &'l mut Loader<'d>) -> Self {
        Builder { loader, slots: 0 }
    }
    /// The next slot.
    pub fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }
    /// How many slots the layers have.
    pub fn slots(&self) -> usize {
        self.slots
    }
}
