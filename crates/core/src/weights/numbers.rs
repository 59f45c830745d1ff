//! Stored bytes to numbers.

use super::fp8;
use half::{bf16, f16};
use safetensors::tensor::Dtype;

/// Whether tensors of this type can be weights.
pub(super) fn is_float(dtype: Dtype) -> bool {
    is_wide(dtype) || fp8::is_fp8(dtype)
}

/// Whether numbers of this type mean what they say, without a scale that may stand beside them.
pub(super) fn is_wide(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The numbers of these bytes, of eight bits without their scale.
pub(super) fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    if let Some(table) = fp8::table(dtype) {
        return bytes.iter().map(|code| table[*code as usize]).collect();
    }
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
