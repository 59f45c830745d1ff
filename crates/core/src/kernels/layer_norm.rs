//! Layer norm with a scale and a shift per channel.

use super::isa::{Isa, dispatch};
use super::lanes::{mul_add, sum};
use rayon::prelude::*;

/// Elements a task works on, about.
const CHUNK: usize = 1 << 13;

/// `(x − mean)/√(var + eps)·scale + shift` of every row.
///
/// # Shapes
/// - `x`: `[rows, d]`; `scale`, `shift`: `[d]`
/// - output: like `x`
///
/// # Panics
/// When rows are not whole, or scale and shift differ in length.
pub fn layer_norm(isa: Isa, x: &[f32], scale: &[f32], shift: &[f32], eps: f32) -> Vec<f32> {
    let d = scale.len();
    assert!(
        d > 0 && x.len().is_multiple_of(d) && shift.len() == d,
        "rows of {d} channels"
    );
    let rows = (CHUNK / d).max(1) * d;
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(rows)
        .zip(x.par_chunks(rows))
        .for_each(|(out, x)| chunk(isa, x, scale, shift, eps, out));
    out
}

dispatch!(
    fn chunk(x: &[f32], scale: &[f32], shift: &[f32], eps: f32, out: &mut [f32]) {
        norm_rows::<true>, norm_rows::<true>, norm_rows::<false>
    }
);

#[inline(always)]
fn norm_rows<const FMA: bool>(x: &[f32], scale: &[f32], shift: &[f32], eps: f32, out: &mut [f32]) {
    let d = scale.len();
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        let mean = sum(x, |x, sum| sum + x) / d as f32;
        // Deviations first, squares second: E[x²] − mean² would lose the digits of a small variance.
        let variance = sum(x, |x, sum| mul_add::<FMA>(x - mean, x - mean, sum)) / d as f32;
        let inverse = 1.0 / (variance + eps).sqrt();
        for (((out, x), scale), shift) in out.iter_mut().zip(x).zip(scale).zip(shift) {
            *out = mul_add::<FMA>((x - mean) * inverse, *scale, *shift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::{at_threads, numbers};

    const EPS: f32 = 1e-6;

    #[test]
    fn rows_have_the_mean_and_the_variance_asked_for() {
        for (rows, d) in [(3, 128), (97, 33), (5, 7)] {
            let (x, scale, shift) = (numbers(1, rows * d, 3.0), numbers(2, d, 1.5), numbers(3, d, 1.0));
            for isa in Isa::available() {
                let ours = layer_norm(isa, &x, &scale, &shift, EPS);
                for (x, ours) in x.chunks_exact(d).zip(ours.chunks_exact(d)) {
                    let x: Vec<f64> = x.iter().map(|x| *x as f64).collect();
                    let mean = x.iter().sum::<f64>() / d as f64;
                    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
                    for c in 0..d {
                        let normed = (x[c] - mean) / (variance + EPS as f64).sqrt();
                        let expected = normed * scale[c] as f64 + shift[c] as f64;
                        // A handful of roundings of numbers up to 4.
                        assert!(
                            (ours[c] as f64 - expected).abs() < 1.5e-6,
                            "{isa:?}: {} for {expected}",
                            ours[c]
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (x, scale) = (numbers(1, 301 * 128, 3.0), numbers(2, 128, 1.5));
        let run = |threads| at_threads(threads, || layer_norm(Isa::best(), &x, &scale, &scale, EPS));
        assert_eq!(run(1), run(3));
    }
}
