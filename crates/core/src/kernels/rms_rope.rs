//! RMS norm of a row and the rotation of its heads, in one pass; either alone, too.

use super::isa::{Isa, dispatch};
use super::lanes::{fold, mul_add};
use rayon::prelude::*;

/// Elements a task works on, about.
const CHUNK: usize = 1 << 14;

/// Partial sums of a reduction. The same for every instruction set, so that only the rounding of
/// multiply-and-add makes their results differ.
const PARTS: usize = 32;

/// Cosine and sine of every token and channel pair, `[tokens, head_dim/2]` each.
#[derive(Clone, Copy, Debug)]
pub struct Rotary<'a> {
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines.
    pub sin: &'a [f32],
    /// Channels of a head.
    pub head_dim: usize,
    /// Normed rows of a token: 1 when the norm spans all of its heads, their number when each has its own.
    pub rows: usize,
}

/// `x ← x/√(mean(x²) + eps)·scale` of every row, then, with tables, the pairs `(2j, 2j + 1)` of every
/// head turned by the angles of the row's token.
///
/// # Shapes
/// - `x`: `[b, tokens, d]`; `scale`: `[d]`
///
/// # Panics
/// When rows are not whole, or tables do not cover tokens and heads.
pub fn rms_rope(isa: Isa, x: &mut [f32], scale: &[f32], rotary: Option<Rotary>, eps: f32) {
    by_rows(x, scale.len(), rotary, |first, x| {
        chunk(isa, x, first, scale, rotary, eps)
    });
}

/// The rotation alone, of rows of `d` channels.
///
/// # Panics
/// When rows are not whole, or tables do not cover tokens and heads.
pub fn rope(isa: Isa, x: &mut [f32], d: usize, rotary: Rotary) {
    by_rows(x, d, Some(rotary), |first, x| turned_chunk(isa, x, first, d, rotary));
}

/// Shares out the rows of `d` channels: `each` is given the number of its first row, and some rows.
fn by_rows(x: &mut [f32], d: usize, rotary: Option<Rotary>, each: impl Fn(usize, &mut [f32]) + Sync) {
    assert!(d > 0 && x.len().is_multiple_of(d), "rows of {d} channels");
    rotary.inspect(|rotary| rotary.check(x.len(), d));
    let rows = (CHUNK / d).max(1);
    x.par_chunks_mut(rows * d)
        .enumerate()
        .for_each(|(i, x)| each(i * rows, x));
}

impl Rotary<'_> {
    /// Panics unless the tables cover so many numbers in rows of `d` channels.
    fn check(&self, numbers: usize, d: usize) {
        let (angles, head_dim) = (self.cos.len(), self.head_dim);
        let whole = head_dim > 0 && head_dim.is_multiple_of(2) && d.is_multiple_of(head_dim);
        assert!(whole && angles > 0 && angles == self.sin.len() && angles.is_multiple_of(head_dim / 2));
        assert!(
            (numbers / d).is_multiple_of(self.rows * angles * 2 / head_dim),
            "tables for another number of tokens"
        );
    }
    /// Turns the heads of a row.
    #[inline(always)]
    fn turn(&self, row: usize, x: &mut [f32]) {
        let &Rotary {
            cos,
            sin,
            head_dim,
            rows,
        } = self;
        let token = row / rows % (cos.len() * 2 / head_dim);
        let angles = token * head_dim / 2..(token + 1) * head_dim / 2;
        let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
        for head in x.chunks_exact_mut(head_dim) {
            for ([a, b], (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos.iter().zip(sin)) {
                (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
            }
        }
    }
}

dispatch!(
    fn chunk(x: &mut [f32], first: usize, scale: &[f32], rotary: Option<Rotary>, eps: f32) {
        norm_rows::<true>, norm_rows::<true>, norm_rows::<false>
    }
);

dispatch!(
    fn turned_chunk(x: &mut [f32], first: usize, d: usize, rotary: Rotary) {
        turn_rows, turn_rows, turn_rows
    }
);

#[inline(always)]
fn turn_rows(x: &mut [f32], first: usize, d: usize, rotary: Rotary) {
    for (row, x) in x.chunks_exact_mut(d).enumerate() {
        rotary.turn(first + row, x);
    }
}

#[inline(always)]
fn norm_rows<const FMA: bool>(x: &mut [f32], first: usize, scale: &[f32], rotary: Option<Rotary>, eps: f32) {
    let d = scale.len();
    for (row, x) in x.chunks_exact_mut(d).enumerate() {
        let inverse = 1.0 / (squares::<FMA>(x) / d as f32 + eps).sqrt();
        for (x, scale) in x.iter_mut().zip(scale) {
            *x *= inverse * scale;
        }
        if let Some(rotary) = rotary {
            rotary.turn(first + row, x);
        }
    }
}

#[inline(always)]
fn squares<const FMA: bool>(x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<PARTS>();
    let mut parts = [0.0; PARTS];
    for x in whole {
        for i in 0..PARTS {
            parts[i] = mul_add::<FMA>(x[i], x[i], parts[i]);
        }
    }
    rest.iter()
        .fold(fold(parts, |a, b| a + b), |sum, x| mul_add::<FMA>(*x, *x, sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::{at_threads, numbers};

    /// `b`, tokens, heads, head_dim
    const SHAPES: [[usize; 4]; 3] = [[1, 9, 3, 32], [2, 5, 2, 6], [2, 131, 4, 40]];
    const EPS: f32 = 1e-6;

    fn inputs([b, tokens, heads, head_dim]: [usize; 4]) -> [Vec<f32>; 4] {
        let d = heads * head_dim;
        let angles = numbers(3, tokens * head_dim / 2, 3.0);
        let [cos, sin] = [f32::cos, f32::sin].map(|wave| angles.iter().map(|a| wave(*a)).collect());
        [numbers(1, b * tokens * d, 3.0), numbers(2, d, 1.5), cos, sin]
    }

    #[test]
    fn rows_are_normed_and_heads_turned() {
        for shape in SHAPES {
            let [_, tokens, heads, head_dim] = shape;
            let [x, scale, cos, sin] = inputs(shape);
            for isa in Isa::available() {
                let (mut normed, mut turned) = (x.clone(), x.clone());
                rms_rope(isa, &mut normed, &scale, None, EPS);
                rms_rope(
                    isa,
                    &mut turned,
                    &scale,
                    Some(Rotary {
                        cos: &cos,
                        sin: &sin,
                        head_dim,
                        rows: 1,
                    }),
                    EPS,
                );
                for (row, x) in x.chunks_exact(heads * head_dim).enumerate() {
                    let mean = x.iter().map(|x| (*x as f64).powi(2)).sum::<f64>() / x.len() as f64;
                    let expected: Vec<f64> = x
                        .iter()
                        .zip(&scale)
                        .map(|(x, s)| *x as f64 / (mean + EPS as f64).sqrt() * *s as f64)
                        .collect();
                    for (c, pair) in expected.chunks_exact(2).enumerate() {
                        let angle = row % tokens * head_dim / 2 + c % (head_dim / 2);
                        let (cos, sin) = (cos[angle] as f64, sin[angle] as f64);
                        let pairs = [
                            [pair[0], pair[1]],
                            [pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos],
                        ];
                        for (ours, expected) in [&normed, &turned].into_iter().zip(pairs) {
                            let ours = &ours[row * x.len() + 2 * c..][..2];
                            for (a, b) in ours.iter().zip(expected) {
                                // A handful of roundings of numbers up to 4.
                                assert!((*a as f64 - b).abs() < 1.5e-6, "{isa:?}, {shape:?}: {a} for {b}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn heads_with_norms_of_their_own_turn_by_the_angles_of_their_token() {
        for shape in SHAPES {
            let [_, tokens, heads, head_dim] = shape;
            let [x, scale, cos, sin] = inputs(shape);
            let scale = &scale[..head_dim];
            let run = |x: &[f32], token: Option<usize>| {
                let angles = token.map_or(0..cos.len(), |t| t * head_dim / 2..(t + 1) * head_dim / 2);
                let rotary = Rotary {
                    cos: &cos[angles.clone()],
                    sin: &sin[angles],
                    head_dim,
                    rows: token.map_or(heads, |_| 1),
                };
                let mut x = x.to_vec();
                rms_rope(Isa::best(), &mut x, scale, Some(rotary), EPS);
                x
            };
            let together = run(&x, None);
            for (i, head) in x.chunks_exact(head_dim).enumerate() {
                let alone = run(head, Some(i / heads % tokens));
                assert_eq!(together[i * head_dim..][..head_dim], alone, "{shape:?}, row {i}");
            }
        }
    }

    #[test]
    fn a_rotation_alone_is_that_behind_a_norm_that_changes_nothing() {
        for shape in SHAPES {
            let [_, _, heads, head_dim] = shape;
            let [x, _, cos, sin] = inputs(shape);
            let rotary = Rotary {
                cos: &cos,
                sin: &sin,
                head_dim,
                rows: 1,
            };
            // Rows of mean square one: a norm by one changes nothing.
            let (d, ones) = (heads * head_dim, x.iter().map(|x| x.signum()).collect::<Vec<_>>());
            for isa in Isa::available() {
                let (mut normed, mut turned) = (ones.clone(), ones.clone());
                rms_rope(isa, &mut normed, &vec![1.0; d], Some(rotary), 0.0);
                rope(isa, &mut turned, d, rotary);
                assert_eq!(normed, turned, "{isa:?}, {shape:?}");
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let [x, scale, cos, sin] = inputs([2, 301, 4, 32]);
        let rotary = Rotary {
            cos: &cos,
            sin: &sin,
            head_dim: 32,
            rows: 1,
        };
        let run = |threads| {
            at_threads(threads, || {
                let mut x = x.clone();
                rms_rope(Isa::best(), &mut x, &scale, Some(rotary), EPS);
                rope(Isa::best(), &mut x, scale.len(), rotary);
                x
            })
        };
        assert_eq!(run(1), run(3));
    }
}
