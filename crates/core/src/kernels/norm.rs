//! Layer norm of a row, with a scale and a shift per channel.

use super::filled;
use super::isa::{Isa, dispatch};
use super::lanes::{fold, mul_add};
use std::mem::MaybeUninit;

/// Elements a task works on, about.
const CHUNK: usize = 1 << 14;

/// Partial sums of a reduction. The same for every instruction set, so that only the rounding of
/// multiply-and-add makes their results differ.
const PARTS: usize = 32;

/// `(x − mean)/√(var + eps)·scale + shift` of every row, mean and variance being those of the row.
///
/// # Shapes
/// - `x`: `[rows, d]`; `scale`, `shift`: `[d]`
/// - output: like `x`
///
/// # Panics
/// When rows are not whole.
pub fn layer_norm(isa: Isa, x: &[f32], scale: &[f32], shift: &[f32], eps: f32) -> Vec<f32> {
    let d = scale.len();
    assert!(
        d > 0 && shift.len() == d && x.len().is_multiple_of(d),
        "rows of {d} channels"
    );
    let chunk = (CHUNK / d).max(1) * d;
    // SAFETY: a task writes every element of its rows.
    unsafe {
        filled(x.len(), chunk, |task, out| {
            some_rows(isa, &x[task * chunk..][..out.len()], scale, shift, eps, out);
        })
    }
}

dispatch!(
    fn some_rows(x: &[f32], scale: &[f32], shift: &[f32], eps: f32, out: &mut [MaybeUninit<f32>]) {
        norm_rows::<true>, norm_rows::<true>, norm_rows::<false>
    }
);

#[inline(always)]
fn norm_rows<const FMA: bool>(x: &[f32], scale: &[f32], shift: &[f32], eps: f32, out: &mut [MaybeUninit<f32>]) {
    let d = scale.len();
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        let mean = sum(x, |part, x| part + x) / d as f32;
        let squares = sum(x, |part, x| mul_add::<FMA>(x - mean, x - mean, part));
        let inverse = 1.0 / (squares / d as f32 + eps).sqrt();
        for (out, ((x, scale), shift)) in out.iter_mut().zip(x.iter().zip(scale).zip(shift)) {
            out.write(mul_add::<FMA>((x - mean) * inverse, *scale, *shift));
        }
    }
}

#[inline(always)]
fn sum(x: &[f32], add: impl Fn(f32, f32) -> f32) -> f32 {
    let (whole, rest) = x.as_chunks::<PARTS>();
    let mut parts = [0.0; PARTS];
    for x in whole {
        for i in 0..PARTS {
            parts[i] = add(parts[i], x[i]);
        }
    }
    rest.iter().fold(fold(parts, |a, b| a + b), |sum, x| add(sum, *x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::{at_threads, numbers};

    const EPS: f32 = 1e-6;

    #[test]
    fn rows_are_centred_scaled_and_shifted() {
        for [rows, d] in [[1, 1], [3, 31], [17, 64], [700, 97]] {
            let x: Vec<f32> = numbers(1, rows * d, 2.0).iter().map(|x| x + 3.0).collect();
            let (scale, shift) = (numbers(2, d, 1.5), numbers(3, d, 1.0));
            for isa in Isa::available() {
                let ours = layer_norm(isa, &x, &scale, &shift, EPS);
                for (x, ours) in x.chunks_exact(d).zip(ours.chunks_exact(d)) {
                    let mean = x.iter().map(|x| *x as f64).sum::<f64>() / d as f64;
                    let variance = x.iter().map(|x| (*x as f64 - mean).powi(2)).sum::<f64>() / d as f64;
                    for (c, ours) in ours.iter().enumerate() {
                        let normed = (x[c] as f64 - mean) / (variance + EPS as f64).sqrt();
                        let expected = normed * scale[c] as f64 + shift[c] as f64;
                        // Roundings of numbers up to 5 around the mean and 3 after it.
                        assert!(
                            (*ours as f64 - expected).abs() < 3e-6,
                            "{isa:?}, {rows}×{d}: {ours} for {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (x, scale, shift) = (numbers(1, 1000 * 70, 2.0), numbers(2, 70, 1.0), numbers(3, 70, 1.0));
        let run = |threads| at_threads(threads, || layer_norm(Isa::best(), &x, &scale, &shift, EPS));
        assert_eq!(run(1), run(3));
    }
}
