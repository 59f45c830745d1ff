//! The gated residual of a unit.

use super::isa::{Isa, dispatch};
use super::lanes::mul_add;
use rayon::prelude::*;

/// Elements a task works on, about.
const CHUNK: usize = 1 << 14;

/// `x ← x + gate·y` of every row; no gate = 1.
///
/// # Shapes
/// - `x`, `y`: `[rows, d]`; `gate`: `[d]`
///
/// # Panics
/// When `y` has another length, or rows are not whole.
pub fn add_gated(isa: Isa, x: &mut [f32], y: &[f32], gate: Option<&[f32]>) {
    let d = gate.map_or(1, <[f32]>::len);
    assert!(x.len() == y.len() && x.len().is_multiple_of(d), "rows of {d} channels");
    let chunk = (CHUNK / d).max(1) * d;
    x.par_chunks_mut(chunk)
        .zip(y.par_chunks(chunk))
        .for_each(|(x, y)| add_rows(isa, x, y, gate));
}

dispatch!(
    fn add_rows(x: &mut [f32], y: &[f32], gate: Option<&[f32]>) { add::<true>, add::<true>, add::<false> }
);

#[inline(always)]
fn add<const FMA: bool>(x: &mut [f32], y: &[f32], gate: Option<&[f32]>) {
    let Some(gate) = gate else {
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
        return;
    };
    for (x, y) in x.chunks_exact_mut(gate.len()).zip(y.chunks_exact(gate.len())) {
        for (x, (y, gate)) in x.iter_mut().zip(y.iter().zip(gate)) {
            *x = mul_add::<FMA>(*gate, *y, *x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::{at_threads, numbers};

    #[test]
    fn a_gate_weighs_the_channels_of_what_is_added() {
        for [rows, d] in [[1, 1], [7, 33], [900, 50]] {
            let (x, y, gate) = (numbers(1, rows * d, 2.0), numbers(2, rows * d, 2.0), numbers(3, d, 1.0));
            for isa in Isa::available() {
                let [mut gated, mut plain] = [x.clone(), x.clone()];
                add_gated(isa, &mut gated, &y, Some(&gate));
                add_gated(isa, &mut plain, &y, None);
                for i in 0..x.len() {
                    let expected = x[i] as f64 + gate[i % d] as f64 * y[i] as f64;
                    // Two roundings of numbers up to 4.
                    assert!((gated[i] as f64 - expected).abs() < 5e-7, "{isa:?}, {rows}×{d}");
                    assert_eq!(plain[i], x[i] + y[i]);
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (x, y, gate) = (
            numbers(1, 800 * 77, 2.0),
            numbers(2, 800 * 77, 2.0),
            numbers(3, 77, 1.0),
        );
        let run = |threads| {
            at_threads(threads, || {
                let mut x = x.clone();
                add_gated(Isa::best(), &mut x, &y, Some(&gate));
                x
            })
        };
        assert_eq!(run(1), run(3));
    }
}
