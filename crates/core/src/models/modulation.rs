//! Shift, scale and gate of a unit, as a layer makes them of the conditioning vector.

use crate::linear::Linear;
use crate::models::blocks::Movable;
use crate::weights::{Loader, Part};
use burn::tensor::Device;

/// What a unit makes of the conditioning vector: shift and scale in front of it, its gate behind it.
pub struct Modulation {
    pub shift_scale: Linear, // [from, 2·d]
    pub gate: Linear,        // [from, d]
}

impl Modulation {
    /// The `i`-th of `n` modulations that one layer makes of a vector of width `from`: shift, scale and gate,
    /// `d` outputs each.
    pub fn build(key: &str, [from, d]: [usize; 2], (i, n): (usize, usize), loader: &mut Loader) -> Modulation {
        let start = 3 * i * d;
        let (gate, end) = (start + 2 * d, start + 3 * d);
        Modulation {
            shift_scale: loader.linear_part(key, from, 2 * d, Part::outputs(start..gate, 3 * n * d)),
            gate: loader.linear_part(key, from, d, Part::outputs(gate..end, 3 * n * d)),
        }
    }
}

impl Movable for Modulation {
    fn on(&self, device: &Device) -> Modulation {
        Modulation {
            shift_scale: self.shift_scale.on(device),
            gate: self.gate.on(device),
        }
    }
}
