//! Softmax attention, blocked over queries and keys: no matrix of scores is ever stored.
//!
//! Online softmax as in FlashAttention (arXiv 2205.14135, algorithm 1): a running maximum and total per
//! query, earlier sums rescaled when the maximum grows. Keys and values are first laid out in panels of
//! one register tile's width; queries are read and results written where the heads lie side by side.

use super::isa::{Isa, Tier, dispatch};
use super::lanes::{exp2, fold, mul_add};
use rayon::prelude::*;
use std::f32::consts::LOG2_E;

/// Keys whose scores are held at once: with their values they stay in the second-level cache.
const BLOCK: usize = 256;
/// Queries a task works on: enough to use a block of keys several times before the next.
const TASK: usize = 48;

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

/// `softmax(q·kᵀ/√head_dim)·v` of every head.
///
/// # Shapes
/// - `q`: `[batch, queries, heads·head_dim]`; `k`, `v`: `[batch, keys, heads·head_dim]`
/// - output: like `q`
///
/// # Panics
/// When a slice has another length, or there are no keys.
pub fn attention(isa: Isa, q: &[f32], k: &[f32], v: &[f32], shape: Shape) -> Vec<f32> {
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
    let width = width(isa);
    let rows = keys.next_multiple_of(width); // keys with padding
    let columns = head_dim.next_multiple_of(width); // channels of the values with padding
    let (key_size, size) = (rows * head_dim, rows * (head_dim + columns)); // of one head
    let mut panels = vec![0.0; batch * heads * size];
    panels.par_chunks_mut(size).enumerate().for_each(|(i, panels)| {
        let start = i / heads * keys * d + i % heads * head_dim;
        let (key_panels, value_panels) = panels.split_at_mut(key_size);
        for j in 0..keys {
            let row = start + j * d..start + j * d + head_dim;
            let (panel, lane) = (j / width, j % width);
            for (c, x) in k[row.clone()].iter().enumerate() {
                key_panels[(panel * head_dim + c) * width + lane] = *x; // [panel, channel, key]
            }
            for (p, xs) in v[row].chunks(width).enumerate() {
                value_panels[(p * rows + j) * width..][..xs.len()].copy_from_slice(xs); // [panel, key, channel]
            }
        }
    });
    let mut out = vec![0.0; q.len()];
    for (b, out) in out.chunks_mut((queries * d).max(1)).enumerate() {
        let q = &q[b * queries * d..][..queries * d];
        out.par_chunks_mut(TASK * d)
            .zip(q.par_chunks(TASK * d))
            .for_each(|(out, q)| {
                for head in 0..heads {
                    let panels = &panels[(b * heads + head) * size..][..size];
                    let (key_panels, value_panels) = panels.split_at(key_size);
                    task(isa, q, key_panels, value_panels, shape, head, out);
                }
            });
    }
    out
}

/// Columns of the register tile, two registers.
fn width(isa: Isa) -> usize {
    match isa.tier() {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => 32,
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => 16,
        Tier::Portable => 8,
    }
}

dispatch!(
    /// One head of up to [`TASK`] queries. The tile has `W` columns and `R` rows. Measure when
    /// changing them or the loops: if the compiler no longer keeps the tile in registers (it does not for
    /// 8 rows of 32), the kernel is twenty times slower.
    fn task(q: &[f32], keys: &[f32], values: &[f32], shape: Shape, head: usize, out: &mut [f32]) {
        attend::<32, 6, true>, attend::<16, 6, true>, attend::<8, 4, false>
    }
);

/// `R` queries and what is known of their result.
struct Group<const W: usize, const R: usize> {
    query: Vec<[f32; R]>,     // [head_dim], scaled to powers of two; zero where there is none
    sums: Vec<[[f32; W]; R]>, // [panels of the values]
    largest: [f32; R],        // score
    total: [f32; R],          // of 2^(score − largest)
}

#[inline(always)]
fn attend<const W: usize, const R: usize, const FMA: bool>(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    shape: Shape,
    head: usize,
    out: &mut [f32],
) {
    let Shape {
        keys: n,
        heads,
        head_dim,
        ..
    } = shape;
    let d = heads * head_dim;
    let scale = LOG2_E / (head_dim as f32).sqrt();
    let (keys, values) = (keys.as_chunks::<W>().0, values.as_chunks::<W>().0);
    let rows = n.next_multiple_of(W);
    let mut groups: Vec<Group<W, R>> = q
        .chunks(R * d)
        .map(|rows| {
            let mut query = vec![[0.0; R]; head_dim];
            for (i, row) in rows.chunks_exact(d).enumerate() {
                for (query, x) in query.iter_mut().zip(&row[head * head_dim..][..head_dim]) {
                    query[i] = scale * x;
                }
            }
            let sums = vec![[[0.0; W]; R]; head_dim.div_ceil(W)];
            Group {
                query,
                sums,
                largest: [f32::MIN; R],
                total: [0.0; R],
            }
        })
        .collect();
    let mut scores = [[0.0; BLOCK]; R];
    for start in (0..rows).step_by(BLOCK) {
        let block = start..rows.min(start + BLOCK);
        for group in &mut groups {
            for j in block.clone().step_by(W) {
                let mut tile = [[0.0; W]; R];
                let panel = &keys[j / W * head_dim..][..head_dim];
                multiply::<W, R, FMA>(|i, c| group.query[c][i], panel, &mut tile);
                for (scores, tile) in scores.iter_mut().zip(&tile) {
                    scores[j - start..][..W].copy_from_slice(tile);
                }
            }
            let real = n.min(block.end) - start;
            let grown = softmax::<W, R, FMA>(group, &mut scores, real, block.len());
            for (p, sums) in group.sums.iter_mut().enumerate() {
                for (sums, grown) in sums.iter_mut().zip(grown) {
                    for sum in sums {
                        *sum *= grown;
                    }
                }
                let panel = &values[p * rows + block.start..][..block.len()];
                multiply::<W, R, FMA>(|i, j| scores[i][j], panel, sums);
            }
        }
    }
    for (row, out) in out.chunks_exact_mut(d).enumerate() {
        let (group, i) = (&groups[row / R], row % R);
        let out = &mut out[head * head_dim..][..head_dim];
        for (out, sums) in out.chunks_mut(W).zip(&group.sums) {
            for (out, sum) in out.iter_mut().zip(&sums[i]) {
                *out = sum / group.total[i];
            }
        }
    }
}

/// `tile ← tile + left·right`, the tile in registers.
#[inline(always)]
fn multiply<const W: usize, const R: usize, const FMA: bool>(
    left: impl Fn(usize, usize) -> f32,
    right: &[[f32; W]],
    tile: &mut [[f32; W]; R],
) {
    let mut sums = *tile;
    for (k, right) in right.iter().enumerate() {
        for (i, sums) in sums.iter_mut().enumerate() {
            let left = left(i, k);
            for c in 0..W {
                sums[c] = mul_add::<FMA>(left, right[c], sums[c]);
            }
        }
    }
    *tile = sums;
}

/// Turns the scores of a block into `2^(score − largest)`, zero past the `real` ones, and brings the
/// group's maxima and totals up to date. Returns by how much each row's earlier sums shrink.
#[inline(always)]
fn softmax<const W: usize, const R: usize, const FMA: bool>(
    group: &mut Group<W, R>,
    scores: &mut [[f32; BLOCK]; R],
    real: usize,
    padded: usize,
) -> [f32; R] {
    let mut grown = [0.0; R];
    for (i, scores) in scores.iter_mut().enumerate() {
        scores[real..padded].fill(f32::MIN);
        let scores = scores[..padded].as_chunks_mut::<W>().0;
        let mut largest = [group.largest[i]; W];
        for scores in &*scores {
            for c in 0..W {
                largest[c] = if scores[c] > largest[c] { scores[c] } else { largest[c] };
            }
        }
        let largest = fold(largest, |a, b| if a > b { a } else { b });
        let mut total = [0.0; W];
        for scores in scores {
            for c in 0..W {
                scores[c] = exp2::<FMA>(scores[c] - largest);
                total[c] += scores[c];
            }
        }
        grown[i] = exp2::<FMA>(group.largest[i] - largest);
        group.largest[i] = largest;
        group.total[i] = group.total[i] * grown[i] + fold(total, |a, b| a + b);
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::{at_threads, numbers};

    const SHAPES: [[usize; 5]; 6] = [
        [1, 100, 100, 2, 64],
        [2, 37, 301, 3, 32], // keys that end in the middle of a block
        [1, 5, 7, 1, 48],    // fewer keys than a register has lanes
        [1, 96, 512, 2, 128],
        [1, 65, 257, 2, 40], // heads that fill no whole panel
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
                let ours = attention(isa, &x[0], &x[1], &x[2], shape);
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
            let out = attention(isa, &q, &k, &v, shape);
            for (c, out) in out.iter().take(4).enumerate() {
                let mean = v.iter().skip(c).step_by(4).map(|x| *x as f64).sum::<f64>() / 300.0;
                assert!((*out as f64 - mean).abs() < 1e-6, "{isa:?}"); // rounding of a sum of 300
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (shape, [q, k, v]) = inputs([2, 3 * TASK + 5, 270, 3, 32]);
        let run = |threads| at_threads(threads, || attention(Isa::best(), &q, &k, &v, shape));
        assert_eq!(run(1), run(3));
    }
}
