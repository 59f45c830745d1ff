//! What a model asks a checkpoint for: names and shapes of all its tensors, without any numbers.

use crate::weights::Place;
use burn::tensor::{DType, FloatDType};
use std::collections::BTreeMap;

/// How a checkpoint names its tensors.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum KeyLayout {
    /// As the model's authors do.
    Original,
    /// As diffusers does.
    Diffusers,
}

/// A tensor, or a part of one, that a model asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Under the model's own name.
    pub own: Place,
    /// Where the checkpoint keeps it.
    pub file: Place,
    /// Its shape, which is the file's along all axes but that of a part.
    pub shape: Vec<usize>,
    /// What it is kept in on the device.
    pub dtype: FloatDType,
    /// The block that it belongs to, of those that can stay in the host's memory.
    pub block: Option<usize>,
}

impl Asked {
    /// Shape of the whole tensor in the file.
    pub fn file_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if let Some(part) = self.file.part {
            shape[part.axis] = part.total;
        }
        shape
    }
    /// Numbers that are asked for.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Bytes of them on the device.
    pub fn device_bytes(&self) -> u64 {
        (self.len() * DType::from(self.dtype).size()) as u64
    }
    /// Whether it has no numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tensors of a checkpoint, each with the parts that are asked of it.
pub fn by_tensor(asked: &[Asked]) -> BTreeMap<&str, Vec<&Asked>> {
    let mut tensors: BTreeMap<&str, Vec<&Asked>> = BTreeMap::new();
    for one in asked {
        tensors.entry(&one.file.key).or_default().push(one);
    }
    tensors
}
