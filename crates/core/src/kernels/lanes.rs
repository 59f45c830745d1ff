//! Arithmetic that compiles to vector instructions inside the kernels.
//!
//! `FMA` says that the machine multiplies and adds in one rounding; elsewhere `f32::mul_add` would be a
//! library call.

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
