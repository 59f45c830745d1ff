//! Softmax attention, blocked over queries and keys: no matrix of scores is ever stored.
//!
//! Online softmax as in FlashAttention (arXiv 2205.14135, algorithm 1): a running maximum and total per
//! query, earlier sums rescaled when the maximum grows. Keys and values are first laid out in panels of
//! one register tile's width; queries are read and results written where the heads lie side by side.
//!
//! Both products are of f32, or of numbers rounded to bf16, as in a linear layer: queries, keys, values and the weights
//! of the values. Sums, maxima and totals are f32 in either case.

mod block;

use super::bf16;
use super::isa::{Isa, dispatch};
use super::lanes::{exp2, fold, mul_add};
use super::term::{Pack, Products, Term, copied};
use super::tile::{self, DEPTH, Onto};
use block::Block;
use rayon::prelude::*;
use std::f32::consts::LOG2_E;

/// Queries a task works on at most: enough to use a block of keys several times before the next.
const QUERIES_MAX: usize = 48;
/// Terms of the keys and values that are laid out at once, about what stays in the second-level cache; the other
/// heads come after.
const PANELS: usize = 1 << 18;

/// Sizes of a call.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Independent sequences.
    pub batch: usize,
    /// Queries of a sequence.
    pub queries: usize,
    /// Keys and values of a sequence.
    pub keys: usize,
    /// Heads, side by side in a row.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
}

/// `softmax(q·kᵀ/√head_dim)·v` of every head, with these products.
///
/// # Shapes
/// - `q`: `[batch, queries, heads·head_dim]`; `k`, `v`: `[batch, keys, heads·head_dim]`
/// - output: like `q`
///
/// # Panics
/// When a slice has another length, or there are no keys.
pub fn attention(isa: Isa, products: Products, q: &[f32], k: &[f32], v: &[f32], shape: Shape) -> Vec<f32> {
    match products {
        Products::F32 => every_head(isa, copied, q, k, v, shape),
        Products::Bf16 if isa.has_bf16() => every_head(isa, bf16::pair, q, k, v, shape),
        Products::Bf16 => every_head(isa, bf16::round, q, k, v, shape),
    }
}

/// [`attention`] of the terms that `pack` makes.
fn every_head<T: Term>(isa: Isa, pack: Pack<T>, q: &[f32], k: &[f32], v: &[f32], shape: Shape) -> Vec<f32> {
    let Shape {
        batch,
        queries,
        keys,
        heads,
        head_dim,
    } = shape;
    let d = heads * head_dim;
    assert!(keys > 0, "attention needs keys");
    assert_eq!(q.len(), batch * queries * d, "queries of {shape:?}");
    assert!(
        k.len() == batch * keys * d && v.len() == k.len(),
        "keys and values of {shape:?}"
    );
    let mut out = vec![0.0; q.len()];
    let block = Block::new(isa, pack, shape);
    let task = tile::task_rows(isa, queries, QUERIES_MAX) * d;
    let blocks = keys.div_ceil(block.keys);
    let heads_at_once = (PANELS / (blocks * block.len())).clamp(1, heads);
    let mut panels = vec![T::default(); heads_at_once * blocks * block.len()];
    for b in 0..batch {
        let [k, v] = [k, v].map(|x| &x[b * keys * d..][..keys * d]);
        let (q, out) = (
            &q[b * queries * d..][..queries * d],
            &mut out[b * queries * d..][..queries * d],
        );
        for first in (0..heads).step_by(heads_at_once) {
            let heads = first..heads.min(first + heads_at_once);
            let panels = &mut panels[..heads.len() * blocks * block.len()];
            panels.par_chunks_mut(block.len()).enumerate().for_each(|(i, panels)| {
                let rows = i % blocks * block.keys * d..keys.min((i % blocks + 1) * block.keys) * d;
                block.lay_out(&k[rows.clone()], &v[rows], (first + i / blocks) * head_dim, panels);
            });
            out.par_chunks_mut(task).zip(q.par_chunks(task)).for_each(|(out, q)| {
                let mut task = Task::new(&block, q);
                for (head, panels) in heads.clone().zip(panels.chunks_exact(blocks * block.len())) {
                    task.attend(q, panels, head, out);
                }
            });
        }
    }
    out
}

/// Queries that share a tile.
#[derive(Clone)]
struct Group<T> {
    query: Vec<[T; DEPTH]>, // [depth block of the head's terms, row]; anything where there is none
    results: Results,
}

/// What is known of their results.
#[derive(Clone)]
struct Results {
    sums: Vec<f32>,    // [row, head_dim in whole panels]
    largest: Vec<f32>, // [row] score
    total: Vec<f32>,   // [row] of e^(score − largest)
}

/// The queries of a task.
struct Task<'a, T> {
    block: &'a Block<T>,
    groups: Vec<Group<T>>,
    scores: Vec<[f32; DEPTH]>, // [row]
    weights: Vec<[T; DEPTH]>,  // [row] of the values
}

impl<T: Term> Task<'_, T> {
    fn new<'a>(block: &'a Block<T>, q: &[f32]) -> Task<'a, T> {
        let Shape { heads, head_dim, .. } = block.shape;
        let tile::Size { rows, columns } = block.tile;
        let results = Results {
            sums: vec![0.0; rows * head_dim.next_multiple_of(columns)],
            largest: vec![0.0; rows],
            total: vec![0.0; rows],
        };
        let group = Group {
            query: vec![[T::default(); DEPTH]; block.head_terms().div_ceil(DEPTH) * rows],
            results,
        };
        Task {
            block,
            groups: vec![group; q.len().div_ceil(rows * heads * head_dim)],
            scores: vec![[0.0; DEPTH]; rows],
            weights: vec![[T::default(); DEPTH]; rows],
        }
    }
    /// One head of the queries.
    fn attend(&mut self, q: &[f32], panels: &[T], head: usize, out: &mut [f32]) {
        let &Block {
            isa,
            pack,
            shape,
            tile: tile::Size { rows, columns },
            ..
        } = self.block;
        let Shape { heads, head_dim, .. } = shape;
        let Task {
            block,
            groups,
            scores,
            weights,
        } = self;
        let d = heads * head_dim;
        let width = head_dim.next_multiple_of(columns);
        for (group, q) in groups.iter_mut().zip(q.chunks(rows * d)) {
            for (i, q) in q.chunks_exact(d).enumerate() {
                for (k, q) in q[head * head_dim..][..head_dim].chunks(DEPTH * T::NUMBERS).enumerate() {
                    pack(isa, q, &mut group.query[k * rows + i][..q.len().div_ceil(T::NUMBERS)]);
                }
            }
            group.results.largest.fill(f32::MIN);
            group.results.total.fill(0.0);
        }
        for (i, panels) in panels.chunks_exact(block.len()).enumerate() {
            let real = block.keys.min(shape.keys - i * block.keys);
            let padded = real.next_multiple_of(columns);
            let first = if i == 0 { Onto::Nothing } else { Onto::Sums };
            let (keys, values) = panels.split_at(block.keys_len());
            for group in groups.iter_mut() {
                let panels = keys.chunks_exact(columns * block.head_terms());
                for (p, panel) in panels.take(padded / columns).enumerate() {
                    let mut onto = Onto::Nothing;
                    for (query, panel) in group.query.chunks_exact(rows).zip(panel.chunks(DEPTH * columns)) {
                        let tile = &mut scores.as_flattened_mut()[p * columns..];
                        T::multiply(isa, query, panel, onto, tile, DEPTH);
                        onto = Onto::Sums;
                    }
                }
                let (results, scale) = (&mut group.results, LOG2_E / (head_dim as f32).sqrt());
                weigh(isa, results, scores, real, padded, scale);
                for (scores, weights) in scores.iter().zip(weights.iter_mut()) {
                    pack(isa, &scores[..padded], &mut weights[..padded / T::NUMBERS]);
                }
                for (p, panel) in values.chunks_exact(block.keys / T::NUMBERS * columns).enumerate() {
                    let panel = &panel[..padded / T::NUMBERS * columns];
                    T::multiply(isa, weights, panel, first, &mut results.sums[p * columns..], width);
                }
            }
        }
        for (group, out) in groups.iter().zip(out.chunks_mut(rows * d)) {
            for (i, out) in out.chunks_exact_mut(d).enumerate() {
                let out = &mut out[head * head_dim..][..head_dim];
                divide(isa, &group.results.sums[i * width..], group.results.total[i], out);
            }
        }
    }
}

dispatch!(
    /// Turns the scores of a block into `2^(scale·(score − largest))`, zero past the `real` ones, brings the
    /// maxima and totals up to date, and shrinks the sums by as much as the maxima have grown.
    fn weigh(results: &mut Results, scores: &mut [[f32; DEPTH]], real: usize, padded: usize, scale: f32) {
        softmax::<32, true>, softmax::<16, true>, softmax::<8, false>
    }
);

#[inline(always)]
fn softmax<const W: usize, const FMA: bool>(
    results: &mut Results,
    scores: &mut [[f32; DEPTH]],
    real: usize,
    padded: usize,
    scale: f32,
) {
    let width = results.sums.len() / scores.len();
    for (i, scores) in scores.iter_mut().enumerate() {
        scores[real..padded].fill(f32::MIN);
        let scores = scores[..padded].as_chunks_mut::<W>().0;
        let mut largest = [results.largest[i]; W];
        for scores in &*scores {
            for c in 0..W {
                largest[c] = if scores[c] > largest[c] { scores[c] } else { largest[c] };
            }
        }
        let largest = fold(largest, |a, b| if a > b { a } else { b });
        let shift = -scale * largest;
        let mut total = [0.0; W];
        for scores in scores {
            for c in 0..W {
                scores[c] = exp2::<FMA>(mul_add::<FMA>(scale, scores[c], shift));
                total[c] += scores[c];
            }
        }
        let grown = exp2::<FMA>(scale * (results.largest[i] - largest));
        results.largest[i] = largest;
        results.total[i] = results.total[i] * grown + fold(total, |a, b| a + b);
        for sum in &mut results.sums[i * width..][..width] {
            *sum *= grown;
        }
    }
}

dispatch!(
    fn divide(sums: &[f32], total: f32, out: &mut [f32]) {
        quotients, quotients, quotients
    }
);

#[inline(always)]
fn quotients(sums: &[f32], total: f32, out: &mut [f32]) {
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = sum / total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::{at_threads, numbers};

    const SHAPES: [[usize; 5]; 8] = [
        [1, 100, 100, 2, 64],
        [2, 37, 301, 3, 32], // keys that end in the middle of a block
        [1, 5, 7, 1, 48],    // fewer keys than a register has lanes
        [1, 96, 512, 2, 128],
        [1, 65, 257, 2, 40], // heads that fill no whole panel
        [1, 3, 9, 1, 270],   // heads longer than a tile is deep
        [1, 50, 600, 9, 64], // more heads than are laid out at once
        [2, 51, 1, 2, 6],    // one key: its value is the result
    ];

    fn inputs([batch, queries, keys, heads, head_dim]: [usize; 5]) -> (Shape, [Vec<f32>; 3]) {
        let d = heads * head_dim;
        let (q, k) = (numbers(1, batch * queries * d, 2.0), numbers(2, batch * keys * d, 2.0));
        (
            Shape {
                batch,
                queries,
                keys,
                heads,
                head_dim,
            },
            [q, k, numbers(3, batch * keys * d, 1.0)],
        )
    }

    fn reference([q, k, v]: &[Vec<f32>; 3], shape: Shape) -> Vec<f64> {
        let Shape {
            batch,
            queries,
            keys,
            heads,
            head_dim,
        } = shape;
        let mut out = Vec::new();
        for (b, i, h) in (0..batch).flat_map(|b| (0..queries).flat_map(move |i| (0..heads).map(move |h| (b, i, h)))) {
            let of = |xs: &[f32], rows, i| -> Vec<f64> {
                xs[((b * rows + i) * heads + h) * head_dim..][..head_dim]
                    .iter()
                    .map(|x| *x as f64)
                    .collect()
            };
            let query = of(q, queries, i);
            let dot = |j| query.iter().zip(of(k, keys, j)).map(|(a, b)| a * b).sum::<f64>();
            let scores: Vec<f64> = (0..keys).map(|j| dot(j) / (head_dim as f64).sqrt()).collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            out.extend((0..head_dim).map(|c| (0..keys).map(|j| weights[j] * of(v, keys, j)[c]).sum::<f64>() / total));
        }
        out
    }

    #[test]
    fn attention_follows_its_definition() {
        for (shape, x) in SHAPES.map(inputs) {
            let expected = reference(&x, shape);
            for isa in Isa::available() {
                let ours = attention(isa, Products::F32, &x[0], &x[1], &x[2], shape);
                let error = ours
                    .iter()
                    .zip(&expected)
                    .map(|(a, b)| (*a as f64 - b).abs())
                    .fold(0.0, f64::max);
                // Scores up to 10 carry roundings of 1e-6, which weigh values of at most 1.
                assert!(error < 2e-6, "{isa:?}, {shape:?}: {error:e}");
            }
        }
    }

    #[test]
    fn equal_keys_give_the_mean_of_the_values() {
        let (shape, [q, _, v]) = inputs([1, 3, 300, 1, 4]);
        let k = vec![50.0; v.len()]; // scores of hundreds: only differences may reach the exponential
        for isa in Isa::available() {
            let out = attention(isa, Products::F32, &q, &k, &v, shape);
            for (c, out) in out.iter().take(4).enumerate() {
                let mean = v.iter().skip(c).step_by(4).map(|x| *x as f64).sum::<f64>() / 300.0;
                assert!((*out as f64 - mean).abs() < 1e-6, "{isa:?}"); // rounding of a sum of 300
            }
        }
    }

    #[test]
    fn in_bf16_attention_is_that_of_rounded_numbers_and_rounded_weights() {
        for (shape, x) in SHAPES.map(inputs) {
            let rounded = x.each_ref().map(|x| x.iter().map(|x| bf16::rounded(*x)).collect());
            let expected = reference(&rounded, shape);
            for isa in Isa::available() {
                let ours = attention(isa, Products::Bf16, &x[0], &x[1], &x[2], shape);
                let errors = ours.iter().zip(&expected).map(|(a, b)| (*a as f64 - b).abs());
                // A weight of the values is off by a 256th of itself at most, the values are at most 1, and the weights
                // add up to 1; without rounding the weights the error is below 2e-6, as in f32.
                let error = errors.fold(0.0, f64::max);
                assert!(error < 1.0 / 256.0, "{isa:?}, {shape:?}: {error:e}");
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (shape, [q, k, v]) = inputs([2, 3 * QUERIES_MAX + 5, 270, 3, 32]);
        for products in [Products::F32, Products::Bf16] {
            let run = |threads| at_threads(threads, || attention(Isa::best(), products, &q, &k, &v, shape));
            assert_eq!(run(1), run(3), "{products:?}");
        }
    }
}
