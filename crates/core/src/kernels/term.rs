//! What a tile multiplies at a time: numbers, or pairs of bf16.

use super::bf16::Pair;
use super::isa::Isa;
use super::tile::{self, DEPTH, Onto};

/// What the numbers of a product are rounded to before they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// Nothing.
    F32,
    /// 8 bits of precision.
    Bf16,
}

/// A number of a row, or several that follow each other.
pub trait Term: Copy + Default + Send + Sync + 'static {
    /// How many.
    const NUMBERS: usize;
    /// As [`tile::multiply`].
    fn multiply(isa: Isa, left: &[[Self; DEPTH]], right: &[Self], onto: Onto, tile: &mut [f32], stride: usize);
}

impl Term for f32 {
    const NUMBERS: usize = 1;
    fn multiply(isa: Isa, left: &[[f32; DEPTH]], right: &[f32], onto: Onto, tile: &mut [f32], stride: usize) {
        tile::multiply(isa, left, right, onto, tile, stride);
    }
}

impl Term for Pair {
    const NUMBERS: usize = 2;
    fn multiply(isa: Isa, left: &[[Pair; DEPTH]], right: &[Pair], onto: Onto, tile: &mut [f32], stride: usize) {
        tile::multiply_pairs(isa, left, right, onto, tile, stride);
    }
}

/// Makes terms of a row of numbers; what the last one lacks is zero.
pub type Pack<T> = fn(Isa, &[f32], &mut [T]);

/// Numbers as they are.
pub fn copied(_: Isa, row: &[f32], out: &mut [f32]) {
    out.copy_from_slice(row);
}
