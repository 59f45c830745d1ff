//! A gated residual.

use super::isa::{Isa, dispatch};
use super::lanes::mul_add;
use rayon::prelude::*;

/// Elements a task works on, about.
const CHUNK: usize = 1 << 14;

/// `x ← x + gate·y`.
///
/// # Shapes
/// - `x`, `y`: `[rows, d]`; `gate`: `[d]`
///
/// # Panics
/// When rows are not whole, or `x` and `y` differ in length.
pub fn add_gated(isa: Isa, x: &mut [f32], y: &[f32], gate: &[f32]) {
    let d = gate.len();
    assert!(
        d > 0 && x.len().is_multiple_of(d) && x.len() == y.len(),
        "rows of {d} channels"
    );
    let rows = (CHUNK / d).max(1) * d;
    x.par_chunks_mut(rows)
        .zip(y.par_chunks(rows))
        .for_each(|(x, y)| chunk(isa, x, y, gate));
}

dispatch!(fn chunk(x: &mut [f32], y: &[f32], gate: &[f32]) { add::<true>, add::<true>, add::<false> });

#[inline(always)]
fn add<const FMA: bool>(x: &mut [f32], y: &[f32], gate: &[f32]) {
    for (x, y) in x.chunks_exact_mut(gate.len()).zip(y.chunks_exact(gate.len())) {
        for ((x, y), gate) in x.iter_mut().zip(y).zip(gate) {
            *x = mul_add::<FMA>(*gate, *y, *x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::{at_threads, numbers};

    #[test]
    fn the_gate_weighs_every_channel() {
        for (rows, d) in [(3, 128), (1031, 33)] {
            let (x, y, gate) = (numbers(1, rows * d, 3.0), numbers(2, rows * d, 3.0), numbers(3, d, 2.0));
            for isa in Isa::available() {
                let mut ours = x.clone();
                add_gated(isa, &mut ours, &y, &gate);
                for i in 0..x.len() {
                    let expected = x[i] as f64 + gate[i % d] as f64 * y[i] as f64;
                    // Two roundings of numbers up to 9.
                    assert!(
                        (ours[i] as f64 - expected).abs() < 1e-6,
                        "{isa:?}: {} for {expected}",
                        ours[i]
                    );
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (x, gate) = (numbers(1, 301 * 128, 3.0), numbers(2, 128, 1.5));
        let run = |threads| {
            at_threads(threads, || {
                let mut sum = x.clone();
                add_gated(Isa::best(), &mut sum, &x, &gate);
                sum
            })
        };
        assert_eq!(run(1), run(3));
    }
}
