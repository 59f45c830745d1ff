//! The numbers of a made-up tensor, drawn when they are written.

use crate::inventory::Asked;
use crate::noise::noise;
use half::bf16;
use safetensors::View;
use safetensors::tensor::Dtype;
use std::borrow::Cow;

/// A tensor of a checkpoint, put together of the parts that a model asks for. Each part is drawn by its own name,
/// so that it is the same wherever a layout keeps it.
pub struct Drawn<'a> {
    parts: Vec<&'a Asked>,
    shape: Vec<usize>,
    dtype: Dtype,
    seed: u64,
}

impl<'a> Drawn<'a> {
    /// The tensor that `parts` are asked of, which have its key in common.
    pub fn new(parts: Vec<&'a Asked>, dtype: Dtype, seed: u64) -> Drawn<'a> {
        Drawn {
            shape: parts[0].file_shape(),
            parts,
            dtype,
            seed,
        }
    }
    /// Bytes of its numbers.
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
    fn numbers(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.shape.iter().product()];
        for asked in &self.parts {
            let values = self.drawn(asked);
            let Some(part) = asked.file.part else {
                return values;
            };
            let inner: usize = self.shape[part.axis + 1..].iter().product();
            let slices = all.chunks_exact_mut(part.total * inner);
            for (slice, values) in slices.zip(values.chunks_exact(part.len * inner)) {
                slice[part.start * inner..][..values.len()].copy_from_slice(values);
            }
        }
        all
    }
    /// Scales of norms near 1, biases near 0, and weights that keep the scale of what they are applied to.
    fn drawn(&self, asked: &Asked) -> Vec<f32> {
        let (centre, spread) = match self.shape.as_slice() {
            [_] if asked.own.key.ends_with("weight") => (1.0, 0.1),
            [_] => (0.0, 0.02),
            [_, inputs @ ..] => (0.0, 1.0 / (inputs.iter().product::<usize>() as f32).sqrt()),
            [] => (0.0, 1.0),
        };
        let values = noise(seed_of(self.seed, &format!("{:?}", asked.own)), &asked.shape);
        values.into_iter().map(|x| centre + spread * x).collect()
    }
}

/// FNV-1a of a name, begun with a seed.
fn seed_of(seed: u64, name: &str) -> u64 {
    let begin = 0xcbf2_9ce4_8422_2325 ^ seed;
    name.bytes()
        .fold(begin, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3))
}

impl View for Drawn<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        let numbers = self.numbers().into_iter();
        Cow::Owned(match self.dtype {
            Dtype::BF16 => numbers.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect(),
            _ => numbers.flat_map(f32::to_le_bytes).collect(),
        })
    }
    fn data_len(&self) -> usize {
        self.bytes()
    }
}
