//! The register tile: the piece of a matrix product whose sums stay in registers.
//!
//! It has as many sums as the registers hold beside a row of the right side. Written with vector types: from
//! loops over numbers the compiler does not reliably make a tile of this size, and where it fails the product
//! is forty times slower.

use super::bf16::Pair;
use super::isa::{Isa, Tier};

/// Terms of a row of the left side; a longer product is a sum of tiles. A panel of the right side of this depth
/// stays in the second-level cache while several tiles use it.
pub const DEPTH: usize = 256;

/// Columns of the widest tile.
pub const COLUMNS_MAX: usize = 32;

/// Rows and columns.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub rows: usize,
    pub columns: usize,
}

/// The tile of an instruction set.
pub fn size(isa: Isa) -> Size {
    let (rows, columns) = match isa.tier() {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512Bf16 | Tier::Avx512 => (12, COLUMNS_MAX),
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => (6, 16),
        Tier::Portable => (4, 8),
    };
    Size { rows, columns }
}

/// Rows that each parallel task takes of a product of `rows`: whole tiles, `max` rows at most, and so few that no thread
/// works much longer than the mean. Rows of a product do not meet: the share does not change their sums.
pub fn task_rows(isa: Isa, rows: usize, max: usize) -> usize {
    let (tile, threads) = (size(isa).rows, rayon::current_num_threads());
    let tiles = rows.div_ceil(tile);
    let longest = |share: usize| tiles.div_ceil(share).div_ceil(threads) * share;
    let balanced = |share: &usize| longest(*share) * threads * 20 <= tiles * 21; // 5 % over the mean
    (1..=max / tile).rev().find(balanced).unwrap_or(1) * tile
}

/// Whether a product replaces what the tile holds or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    Nothing,
    Sums,
}

/// `tile ← left·right`, or `tile ← tile + left·right`. Rows of the tile start `stride` numbers apart.
///
/// # Shapes
/// - `left`: a row for each of the tile, of which the first `depth` numbers count
/// - `right`: `[depth, columns]`
///
/// # Panics
/// When a slice is too short, or `depth` exceeds [`DEPTH`].
pub fn multiply(isa: Isa, left: &[[f32; DEPTH]], right: &[f32], onto: Onto, tile: &mut [f32], stride: usize) {
    match isa.tier() {
        // SAFETY: an `Isa` of this tier exists only where the features were detected.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512Bf16 | Tier::Avx512 => unsafe { x86::avx512(left, right, onto, tile, stride) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { x86::avx2(left, right, onto, tile, stride) },
        Tier::Portable => portable(left, right, onto, tile, stride),
    }
}

/// [`multiply`] of pairs of bf16: twice as many products in a sum, rounded once for two.
///
/// # Panics
/// As [`multiply`], and where the instruction set has no such product ([`Isa::has_bf16`]).
pub fn multiply_pairs(isa: Isa, left: &[[Pair; DEPTH]], right: &[Pair], onto: Onto, tile: &mut [f32], stride: usize) {
    match isa.tier() {
        // SAFETY: an `Isa` of this tier exists only where the features were detected.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512Bf16 => unsafe { x86::avx512_bf16(left, right, onto, tile, stride) },
        _ => unreachable!("weights are laid out in pairs only where these are multiplied"),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{DEPTH, Onto, Pair};
    use std::arch::x86_64::*;

    /// A tile of `$rows` rows of two registers of `$lanes` lanes, from terms that `$splat` and `$right` load.
    macro_rules! tile {
        (
            $name:ident, $features:literal, $term:ty, $rows:literal, $lanes:literal,
            $zero:ident, $load:ident, $store:ident, $right:ident, $splat:ident, $mul_add:ident $(,)?
        ) => {
            #[target_feature(enable = $features)]
            pub fn $name(left: &[[$term; DEPTH]], right: &[$term], onto: Onto, tile: &mut [f32], stride: usize) {
                const COLUMNS: usize = 2 * $lanes;
                let left: &[_; $rows] = left
                    .try_into()
                    .expect("a row of the left side for each of the tile");
                let right = right.as_chunks::<COLUMNS>().0;
                assert!(right.len() <= DEPTH && tile.len() >= ($rows - 1) * stride + COLUMNS);
                let mut sums = [[$zero(); 2]; $rows];
                if onto == Onto::Sums {
                    for (i, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: the assertion above covers every row of the tile.
                        *sums = unsafe {
                            let row = tile.as_ptr().add(i * stride);
                            [$load(row), $load(row.add($lanes))]
                        };
                    }
                }
                for (k, right) in right.iter().enumerate() {
                    // SAFETY: a row of the right side has two registers' numbers.
                    let right = unsafe { [$right(right.as_ptr()), $right(right.as_ptr().add($lanes))] };
                    for i in 0..$rows {
                        let left = $splat(left[i][k]);
                        sums[i][0] = $mul_add(left, right[0], sums[i][0]);
                        sums[i][1] = $mul_add(left, right[1], sums[i][1]);
                    }
                }
                for (i, sums) in sums.iter().enumerate() {
                    // SAFETY: the assertion above covers every row of the tile.
                    unsafe {
                        let row = tile.as_mut_ptr().add(i * stride);
                        $store(row, sums[0]);
                        $store(row.add($lanes), sums[1]);
                    }
                }
            }
        };
    }
    tile!(
        avx512,
        "avx512f",
        f32,
        12,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_loadu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
    );
    tile!(
        avx512_bf16,
        "avx512f,avx512bf16",
        Pair,
        12,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        pairs,
        same_pair,
        dot,
    );
    tile!(
        avx2,
        "avx2,fma",
        f32,
        6,
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_loadu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
    );

    /// Sixteen pairs.
    ///
    /// # Safety
    /// They must be there.
    #[target_feature(enable = "avx512f")]
    unsafe fn pairs(from: *const Pair) -> __m512i {
        // SAFETY: a pair is 32 bits, and by contract sixteen follow.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[target_feature(enable = "avx512f")]
    fn same_pair(pair: Pair) -> __m512i {
        _mm512_set1_epi32(pair.bits() as i32)
    }
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn dot(left: __m512i, right: __m512i, sums: __m512) -> __m512 {
        // SAFETY: both types are 512 bits without meaning.
        let [left, right] = [left, right].map(|pairs| unsafe { std::mem::transmute::<__m512i, __m512bh>(pairs) });
        _mm512_dpbf16_ps(sums, left, right)
    }
}

fn portable(left: &[[f32; DEPTH]], right: &[f32], onto: Onto, tile: &mut [f32], stride: usize) {
    let left: &[_; 4] = left.try_into().expect("a row of the left side for each of the tile");
    let mut sums = [[0.0; 8]; 4];
    if onto == Onto::Sums {
        for (i, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&tile[i * stride..][..8]);
        }
    }
    for (k, right) in right.as_chunks::<8>().0.iter().enumerate() {
        for i in 0..4 {
            for c in 0..8 {
                sums[i][c] += left[i][k] * right[c];
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        tile[i * stride..][..8].copy_from_slice(sums);
    }
}
