//! Keys and values of an attention, laid out for the register tile.

use super::Shape;
use crate::kernels::isa::{Isa, dispatch};
use crate::kernels::term::{Pack, Term};
use crate::kernels::tile::{self, DEPTH};

/// Keys whose scores are held at once, with their values, laid out in panels of one tile's width.
pub struct Block<T> {
    pub isa: Isa,
    pub pack: Pack<T>,
    pub shape: Shape,
    pub tile: tile::Size,
    /// How many.
    pub keys: usize,
}

impl<T: Term> Block<T> {
    /// For a call of this shape, with terms that `pack` makes.
    pub fn new(isa: Isa, pack: Pack<T>, shape: Shape) -> Block<T> {
        let tile = tile::size(isa);
        let keys = DEPTH.min(shape.keys.next_multiple_of(tile.columns));
        Block {
            isa,
            pack,
            shape,
            tile,
            keys,
        }
    }
    /// Terms of a key or a query.
    pub fn head_terms(&self) -> usize {
        self.shape.head_dim.div_ceil(T::NUMBERS)
    }
    /// Terms of the keys, `[panel, term of the channels, key]`.
    pub fn keys_len(&self) -> usize {
        self.keys * self.head_terms()
    }
    /// Terms of the keys, and of the values, `[panel, term of the keys, channel]`.
    pub fn len(&self) -> usize {
        self.keys_len() + self.keys / T::NUMBERS * self.shape.head_dim.next_multiple_of(self.tile.columns)
    }
    /// Lays out one head, the channels from `channel`, of up to a block of keys and values `[key, heads·head_dim]`.
    pub fn lay_out(&self, k: &[f32], v: &[f32], channel: usize, panels: &mut [T]) {
        let Shape { heads, head_dim, .. } = self.shape;
        let (d, width) = (heads * head_dim, self.tile.columns);
        if k.len() < self.keys * d {
            panels.fill(T::default());
        }
        let (keys, values) = panels.split_at_mut(self.keys_len());
        let mut channels = vec![0.0; head_dim * width]; // [channel, key]
        for (k, panel) in k
            .chunks(width * d)
            .zip(keys.chunks_exact_mut(width * self.head_terms()))
        {
            let count = k.len() / d;
            transpose(
                self.isa,
                &k[channel..][..(count - 1) * d + head_dim],
                d,
                &mut channels,
                width,
            );
            for (rows, terms) in channels.chunks(T::NUMBERS * width).zip(panel.chunks_exact_mut(width)) {
                self.join(rows.chunks(width).map(|row| &row[..count]), terms);
            }
        }
        for (j, rows) in v.chunks(T::NUMBERS * d).enumerate() {
            for (p, from) in (0..head_dim).step_by(width).enumerate() {
                let columns = channel + from..channel + head_dim.min(from + width);
                let terms = &mut values[(p * self.keys / T::NUMBERS + j) * width..][..width];
                self.join(rows.chunks(d).map(|row| &row[columns.clone()]), terms);
            }
        }
    }
    /// Terms of one number of each row; zeros where a row ends, or there are fewer than a term has numbers.
    fn join<'a>(&self, rows: impl Iterator<Item = &'a [f32]>, terms: &mut [T]) {
        let mut numbers = [0.0; 2 * tile::COLUMNS_MAX];
        for (i, row) in rows.enumerate() {
            for (term, x) in numbers.chunks_exact_mut(T::NUMBERS).zip(row) {
                term[i] = *x;
            }
        }
        (self.pack)(self.isa, &numbers[..terms.len() * T::NUMBERS], terms);
    }
}

dispatch!(
    /// `[row, column]` with rows `from` numbers apart to `[column, row]` with rows `to` apart.
    fn transpose(x: &[f32], from: usize, out: &mut [f32], to: usize) { columns, columns, columns }
);

#[inline(always)]
fn columns(x: &[f32], from: usize, out: &mut [f32], to: usize) {
    const SIDE: usize = 8; // what fits the registers
    let (rows, columns) = (x.len().div_ceil(from).min(to), out.len() / to);
    for r in (0..rows).step_by(SIDE) {
        for c in (0..columns).step_by(SIDE) {
            if r + SIDE <= rows && c + SIDE <= columns {
                let square: [[f32; SIDE]; SIDE] =
                    std::array::from_fn(|i| *x[(r + i) * from + c..].first_chunk().expect("a row of the square"));
                for j in 0..SIDE {
                    let column: [f32; SIDE] = std::array::from_fn(|i| square[i][j]);
                    out[(c + j) * to + r..][..SIDE].copy_from_slice(&column);
                }
                continue;
            }
            for r in r..rows.min(r + SIDE) {
                for c in c..columns.min(c + SIDE) {
                    out[c * to + r] = x[r * from + c];
                }
            }
        }
    }
}
