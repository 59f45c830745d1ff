//! Numbers of 16 bits: the upper half of an f32.

use super::isa::{Isa, Tier, dispatch};

/// Two bf16 that follow each other, the first in the lower half: what AVX-512 multiplies and adds in one go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Pair(u32);

impl Pair {
    /// Of two numbers, rounded.
    #[inline(always)]
    pub fn new(first: f32, second: f32) -> Pair {
        Pair(rounded(first).to_bits() >> 16 | rounded(second).to_bits())
    }
    /// As they lie in memory.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0
    }
}

/// The nearest bf16, of two as near the even one.
#[inline(always)]
pub fn rounded(x: f32) -> f32 {
    let bits = x.to_bits();
    let up = 0x7fff + (bits >> 16 & 1);
    // A NaN stays one: rounding could carry it over into another number.
    let bits = if x.is_nan() {
        bits | 0x40_0000
    } else {
        bits.wrapping_add(up)
    };
    f32::from_bits(bits & 0xffff_0000)
}

/// A row in pairs; a last number alone is paired with zero. AVX-512's own rounding makes zeros of numbers below 2⁻¹²⁶, as
/// its products do.
pub fn pair(isa: Isa, row: &[f32], out: &mut [Pair]) {
    match isa.tier() {
        // SAFETY: an `Isa` of this tier exists only where the features were detected.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512Bf16 => unsafe { converted(row, out) },
        _ => by_bits(isa, row, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn converted(row: &[f32], out: &mut [Pair]) {
    use std::arch::x86_64::*;
    let (whole, rest) = row.as_chunks::<32>();
    let (to, rest_to) = out.split_at_mut(16 * whole.len());
    for (to, numbers) in to.as_chunks_mut::<16>().0.iter_mut().zip(whole) {
        // SAFETY: 32 numbers, and room for the 16 pairs that they make.
        unsafe {
            let [low, high] = [0, 16].map(|i| _mm512_loadu_ps(numbers.as_ptr().add(i)));
            let pairs = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
        }
    }
    pairs(rest, rest_to);
}

dispatch!(
    fn by_bits(row: &[f32], out: &mut [Pair]) { pairs, pairs, pairs }
);

#[inline(always)]
fn pairs(row: &[f32], out: &mut [Pair]) {
    let (whole, rest) = row.as_chunks::<2>();
    for (out, [a, b]) in out.iter_mut().zip(whole) {
        *out = Pair::new(*a, *b);
    }
    if let [last] = rest {
        out[whole.len()] = Pair::new(*last, 0.0);
    }
}

dispatch!(
    /// A row, rounded.
    pub fn round(row: &[f32], out: &mut [f32]) { each, each, each }
);

#[inline(always)]
fn each(row: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(row) {
        *out = rounded(*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        // Every bf16, and numbers below, at and above the middle to the next one.
        for high in 0..=u16::MAX {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits((high as u32) << 16 | low);
                let expected = half::bf16::from_f32(x).to_f32();
                let ours = rounded(x);
                assert!(
                    ours.to_bits() == expected.to_bits() || (ours.is_nan() && expected.is_nan()),
                    "{x:e}"
                );
                assert_eq!(Pair::new(1.0, x).bits(), ours.to_bits() | 0x3f80);
            }
        }
    }

    #[test]
    fn every_instruction_set_pairs_alike() {
        let row: Vec<f32> = (0..77).map(|i| (i as f32 - 38.5) * 1.013f32.powi(i)).collect();
        let expected: Vec<Pair> = (row.chunks(2))
            .map(|pair| Pair::new(pair[0], *pair.get(1).unwrap_or(&0.0)))
            .collect();
        for isa in Isa::available() {
            let mut ours = vec![Pair::default(); expected.len()];
            pair(isa, &row, &mut ours);
            assert_eq!(ours, expected, "{isa:?}");
        }
    }
}
