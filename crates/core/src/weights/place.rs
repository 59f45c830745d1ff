//! Where a checkpoint keeps the tensors of a model.

use std::ops::Range;

/// Where a checkpoint keeps a tensor of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name in the file.
    pub key: String,
    /// The part of what stands under that name; none = all of it.
    pub part: Option<Part>,
}

impl Place {
    /// With `prefix` in front of the key.
    pub fn behind(mut self, prefix: &str) -> Place {
        self.key.insert_str(0, prefix);
        self
    }
    /// With every first text of `pairs` replaced by its second, in order.
    pub fn renamed(mut self, pairs: &[(&str, &str)]) -> Place {
        for (from, to) in pairs {
            self.key = self.key.replace(from, to);
        }
        self
    }
}

/// A part of a stored tensor, along one of its axes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The axis: of a linear layer 0 are its outputs, 1 its inputs.
    pub axis: usize,
    /// First index of the part.
    pub start: usize,
    /// Its length.
    pub len: usize,
    /// Length of the whole axis.
    pub total: usize,
}

impl Part {
    /// Outputs `outputs` of a linear layer that has `total` of them.
    pub fn outputs(outputs: Range<usize>, total: usize) -> Part {
        Part {
            axis: 0,
            start: outputs.start,
            len: outputs.len(),
            total,
        }
    }
    /// Inputs `inputs` of a linear layer that has `total` of them.
    pub fn inputs(inputs: Range<usize>, total: usize) -> Part {
        let axis = 1;
        Part {
            axis,
            ..Part::outputs(inputs, total)
        }
    }
}

/// From where the model's own names put a tensor to where a checkpoint has it.
pub type Layout = fn(Place) -> Place;
