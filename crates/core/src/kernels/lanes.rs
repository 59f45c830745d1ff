//! Arithmetic that compiles to vector instructions inside the kernels.
//!
//! `FMA` says that the machine multiplies and adds in one rounding; elsewhere `f32::mul_add` would be a
//! library call.

/// `a·b + c`.
#[inline(always)]
pub fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `2^x` to 2e-7, for `x` clamped to [−126, 127]; NaN stays NaN.
///
/// `2^n·2^r` with `n` the nearest integer: adding 1.5·2²³ leaves `n` in the low bits of the sum. The polynomial for
/// `2^r`, `|r| ≤ 1/2`, is the one of degree five with the right value and slope at 0 whose largest relative error is
/// least, 1e-7 (found by Lawson's algorithm).
#[inline(always)]
pub fn exp2<const FMA: bool>(x: f32) -> f32 {
    const TO_INTEGER: f32 = 12_582_912.0;
    let x = if x < -126.0 { -126.0 } else { x };
    let x = if x > 127.0 { 127.0 } else { x };
    let shifted = x + TO_INTEGER;
    let r = x - (shifted - TO_INTEGER);
    let mut p = 1.330_060_5e-3;
    for c in [
        9.669_691e-3,
        5.550_558_5e-2,
        2.402_228_3e-1,
        std::f32::consts::LN_2,
        1.0,
    ] {
        p = mul_add::<FMA>(p, r, c);
    }
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1f32.to_bits()))
}

/// Folds `N` numbers, a multiple of eight, into one: eighths first, in registers.
#[inline(always)]
pub fn fold<const N: usize>(parts: [f32; N], join: impl Fn(f32, f32) -> f32) -> f32 {
    let (rows, _) = parts.as_chunks::<8>();
    let mut joined = rows[0];
    for row in &rows[1..] {
        for i in 0..8 {
            joined[i] = join(joined[i], row[i]);
        }
    }
    let [a, b, c, d, e, f, g, h] = joined;
    join(join(join(a, b), join(c, d)), join(join(e, f), join(g, h)))
}
