//! GELU in its tanh form.

use super::isa::{Isa, dispatch};
use super::lanes::{exp2, mul_add};
use rayon::prelude::*;

/// Elements a task works on.
const CHUNK: usize = 1 << 14;

/// `x ← x/(1 + e^(−2u))` with `u = √(2/π)·(x + 0.044715·x³)`, which is `x/2·(1 + tanh u)`.
pub fn gelu_tanh(isa: Isa, x: &mut [f32]) {
    x.par_chunks_mut(CHUNK).for_each(|x| chunk(isa, x));
}

dispatch!(fn chunk(x: &mut [f32]) { gelu::<true>, gelu::<true>, gelu::<false> });

#[inline(always)]
pub fn gelu<const FMA: bool>(xs: &mut [f32]) {
    const LINEAR: f32 = -2.0 * 0.797_884_6 * std::f32::consts::LOG2_E; // −2·√(2/π), in powers of two
    for x in xs {
        let exponent = mul_add::<FMA>(*x * *x, LINEAR * 0.044_715, LINEAR) * *x;
        *x /= 1.0 + exp2::<FMA>(exponent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::{at_threads, numbers};

    fn reference(x: f64) -> f64 {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        0.5 * x * (1.0 + u.tanh())
    }

    #[test]
    fn gelu_follows_its_definition() {
        let mut xs = numbers(1, CHUNK + 331, 12.0);
        xs.extend([0.0, -0.0, 1e-20, -1e-20, 100.0, -100.0]);
        for isa in Isa::available() {
            let mut ys = xs.clone();
            gelu_tanh(isa, &mut ys);
            for (x, y) in xs.iter().zip(&ys) {
                let expected = reference(*x as f64);
                // A few roundings of the result, and for large |x| those of an exponent up to 2u, all damped
                // by e^(−2u): the largest error is a few units in the last place of numbers up to 4.
                let tolerance = 1e-6 + 3e-7 * expected.abs();
                assert!(
                    (*y as f64 - expected).abs() < tolerance,
                    "{isa:?}: gelu({x}) = {y}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn a_nan_stays_visible() {
        for isa in Isa::available() {
            let mut x = [f32::NAN; 17];
            gelu_tanh(isa, &mut x);
            assert!(x.iter().all(|x| x.is_nan()), "{isa:?}");
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let xs = numbers(2, 5 * CHUNK + 7, 6.0);
        let run = |threads| {
            at_threads(threads, || {
                let mut ys = xs.clone();
                gelu_tanh(Isa::best(), &mut ys);
                ys
            })
        };
        assert_eq!(run(1), run(3));
    }
}
