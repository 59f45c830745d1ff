//! Arithmetic that compiles to vector instructions inside the kernels.
//!
//! `FMA` says that the machine multiplies and adds in one rounding; elsewhere `f32::mul_add` would be a
//! library call.

/// Partial sums of a reduction. The same for every instruction set, so that only `FMA` makes their
/// results differ.
const PARTS: usize = 32;

/// `a·b + c`.
#[inline(always)]
pub fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `2^x` to 2 ulp, for `x` clamped to [−126, 127]; NaN stays NaN.
///
/// `2^n·e^r` with `n` the nearest integer: adding 1.5·2²³ leaves `n` in the low bits of the sum. The
/// polynomial for `e^r`, `|r| ≤ ln 2/2`, is that of Cephes' `expf`.
#[inline(always)]
pub fn exp2<const FMA: bool>(x: f32) -> f32 {
    const TO_INTEGER: f32 = 12_582_912.0;
    let x = if x < -126.0 { -126.0 } else { x };
    let x = if x > 127.0 { 127.0 } else { x };
    let shifted = x + TO_INTEGER;
    let r = (x - (shifted - TO_INTEGER)) * std::f32::consts::LN_2;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = mul_add::<FMA>(p, r, c);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1f32.to_bits()));
    (mul_add::<FMA>(p, r * r, r) + 1.0) * power
}

/// Sum of `term(x)`, as [`PARTS`] partial sums.
#[inline(always)]
pub fn sum(xs: &[f32], add: impl Fn(f32, f32) -> f32) -> f32 {
    let (whole, rest) = xs.as_chunks::<PARTS>();
    let mut parts = [0.0; PARTS];
    for xs in whole {
        for i in 0..PARTS {
            parts[i] = add(xs[i], parts[i]);
        }
    }
    let whole = fold(parts, |a, b| a + b);
    rest.iter().fold(whole, |sum, x| add(*x, sum))
}

/// Folds neighbours at half the width until one is left.
#[inline(always)]
pub fn fold<const N: usize>(mut parts: [f32; N], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            parts[i] = join(parts[i], parts[i + width]);
        }
        width /= 2;
    }
    parts[0]
}
