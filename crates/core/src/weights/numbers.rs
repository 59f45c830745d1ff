//! Stored bytes to numbers.

use super::Part;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorInfo};

pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

pub(super) fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F16 => halves().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
    }
}

/// The numbers of a part of a stored tensor.
pub(super) fn floats_of(part: Part, bytes: &[u8], info: &TensorInfo) -> Vec<f32> {
    let inner = info.shape[part.axis + 1..].iter().product::<usize>() * info.dtype.bitsize() / 8; // bytes of an index
    let slices = bytes.chunks_exact(part.total * inner);
    slices
        .flat_map(|slice| floats(&slice[part.start * inner..][..part.len * inner], info.dtype))
        .collect()
}

/// Rows and columns exchanged, tile by tile so that both sides stay in the cache.
pub(super) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for r0 in (0..rows).step_by(TILE) {
        for c0 in (0..columns).step_by(TILE) {
            for c in c0..columns.min(c0 + TILE) {
                for r in r0..rows.min(r0 + TILE) {
                    out[c * rows + r] = values[r * columns + c];
                }
            }
        }
    }
    out
}
