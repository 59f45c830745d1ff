//! Linear layers: a matrix product with weights laid out for the register tile, and what follows it, bias and
//! GELU, done while the sums are in the cache.
//!
//! Products are of f32, or of both sides rounded to bf16, which AVX-512 has an instruction for at twice the rate; where
//! that is missing, the same rounded numbers go through the f32 tile, which multiplies them without error. Sums are f32.

use super::bf16::{self, Pair};
use super::filled;
use super::gelu::gelu;
use super::isa::{Isa, dispatch};
use super::term::{Pack, Products, Term, copied};
use super::tile::{self, DEPTH, Onto};
use rayon::prelude::*;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::thread::LocalKey;

/// Rows a task works on at most. The more, the rarer a piece of the weights comes from memory; a [`DEPTH`] of so many
/// is to stay in the second-level cache.
const ROWS_MAX: usize = 96;
/// Panels of weights that use a piece of the rows before the next comes in.
const PANELS: usize = 2;

/// The rows of a task, `[piece of the inputs, row]`.
type Rows<T> = RefCell<Vec<[T; DEPTH]>>;

thread_local! {
    // Kept from call to call: fresh memory costs as much as filling it.
    static ROWS: Rows<f32> = const { RefCell::new(Vec::new()) };
    static ROWS_OF_PAIRS: Rows<Pair> = const { RefCell::new(Vec::new()) };
}

/// Weights and bias of a linear layer, laid out in panels of one tile's width.
#[derive(Clone, Debug)]
pub struct Panels {
    isa: Isa,
    inputs: usize,
    outputs: usize,
    products: Products,
    weight: Weight,
    bias: Vec<f32>, // [panel, column]
}

/// `[panel, term, column]`; a term is an input, or two.
#[derive(Clone, Debug)]
enum Weight {
    Single(Vec<f32>),
    Pairs(Vec<Pair>),
}

/// A term of the rows that are multiplied.
trait Input: Term {
    const ROWS: &LocalKey<Rows<Self>>;
}

impl Input for f32 {
    const ROWS: &LocalKey<Rows<f32>> = &ROWS;
}

impl Input for Pair {
    const ROWS: &LocalKey<Rows<Pair>> = &ROWS_OF_PAIRS;
}

/// What follows the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The bias is added.
    Bias,
    /// The bias is added, then GELU in its tanh form.
    BiasGelu,
}

impl Panels {
    /// Lays out a layer.
    ///
    /// # Shapes
    /// - `weight`: `[in, out]`; `bias`: `[out]`
    ///
    /// # Panics
    /// When rows of the weight are not whole.
    pub fn new(isa: Isa, products: Products, weight: &[f32], bias: &[f32]) -> Panels {
        let (outputs, width) = (bias.len(), tile::size(isa).columns);
        assert!(
            outputs > 0 && weight.len().is_multiple_of(outputs),
            "weights of {outputs} outputs"
        );
        let inputs = weight.len() / outputs;
        let weight = match products {
            Products::F32 => Weight::Single(laid_out(weight, outputs, width, |[w]| w)),
            Products::Bf16 if isa.has_bf16() => {
                Weight::Pairs(laid_out(weight, outputs, width, |[a, b]| Pair::new(a, b)))
            }
            Products::Bf16 => Weight::Single(laid_out(weight, outputs, width, |[w]| bf16::rounded(w))),
        };
        let mut bias = bias.to_vec();
        bias.resize(outputs.next_multiple_of(width), 0.0);
        Panels {
            isa,
            inputs,
            outputs,
            products,
            weight,
            bias,
        }
    }
    /// What its numbers are rounded to.
    pub fn products(&self) -> Products {
        self.products
    }
    /// Width of what goes in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
    /// Width of what comes out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// `[panel, term, column]` of weights `[in, out]`, `N` inputs a term; zeros where there are none.
fn laid_out<const N: usize, T: Copy + Default + Send>(
    weight: &[f32],
    outputs: usize,
    width: usize,
    term: impl Fn([f32; N]) -> T + Sync,
) -> Vec<T> {
    let terms = (weight.len() / outputs).div_ceil(N);
    let mut panels = vec![T::default(); terms * outputs.next_multiple_of(width)];
    let tasks = panels.par_chunks_mut(terms * width).enumerate();
    tasks.for_each(|(p, panel)| {
        let columns = p * width..outputs.min((p + 1) * width);
        for (panel, rows) in panel.chunks_exact_mut(width).zip(weight.chunks(N * outputs)) {
            for (panel, column) in panel.iter_mut().zip(columns.clone()) {
                *panel = term(std::array::from_fn(|n| *rows.get(n * outputs + column).unwrap_or(&0.0)));
            }
        }
    });
    panels
}

/// `x·W + b`, and what follows.
///
/// # Shapes
/// - `x`: `[rows, in]`
/// - output: `[rows, out]`
///
/// # Panics
/// When rows are not whole.
pub fn linear(x: &[f32], panels: &Panels, then: Then) -> Vec<f32> {
    match (&panels.weight, panels.products) {
        (Weight::Single(weight), Products::F32) => product(x, panels, weight, copied, then),
        (Weight::Single(weight), Products::Bf16) => product(x, panels, weight, bf16::round, then),
        (Weight::Pairs(weight), _) => product(x, panels, weight, bf16::pair, then),
    }
}

/// [`linear`] with the weights of `panels`; `pack` makes terms of inputs.
fn product<T: Input>(x: &[f32], panels: &Panels, weight: &[T], pack: Pack<T>, then: Then) -> Vec<f32> {
    let &Panels {
        isa, inputs, outputs, ..
    } = panels;
    assert!(x.len().is_multiple_of(inputs), "rows of {inputs} channels");
    let rows = x.len() / inputs;
    let task_rows = tile::task_rows(isa, rows, ROWS_MAX);
    // SAFETY: a task writes every output of its rows.
    unsafe {
        filled(rows * outputs, task_rows * outputs, |task, out| {
            let x = &x[task * task_rows * inputs..][..out.len() / outputs * inputs];
            T::ROWS.with_borrow_mut(|left| {
                let rows = (x.len() / inputs).next_multiple_of(tile::size(isa).rows);
                let pieces = inputs.div_ceil(DEPTH * T::NUMBERS);
                left.resize(left.len().max(pieces * rows), [T::default(); DEPTH]);
                for (i, row) in x.chunks_exact(inputs).enumerate() {
                    for (k, part) in row.chunks(DEPTH * T::NUMBERS).enumerate() {
                        pack(isa, part, &mut left[k * rows + i][..part.len().div_ceil(T::NUMBERS)]);
                    }
                }
                some_rows(&left[..pieces * rows], rows, panels, weight, then, out);
            });
        })
    }
}

/// The outputs of `rows` packed rows, `[piece of the inputs, row]`.
fn some_rows<T: Term>(
    left: &[[T; DEPTH]],
    rows: usize,
    panels: &Panels,
    weight: &[T],
    then: Then,
    out: &mut [MaybeUninit<f32>],
) {
    let &Panels {
        isa, inputs, outputs, ..
    } = panels;
    let size = tile::size(isa);
    let panel_len = inputs.div_ceil(T::NUMBERS) * size.columns;
    let mut sums = vec![0.0; PANELS * rows * size.columns]; // [panel, row, column]
    for (i, weights) in weight.chunks(PANELS * panel_len).enumerate() {
        let mut onto = Onto::Nothing;
        for (k, left) in left.chunks_exact(rows).enumerate() {
            let piece = k * DEPTH * size.columns..panel_len.min((k + 1) * DEPTH * size.columns);
            for (panel, sums) in weights
                .chunks_exact(panel_len)
                .zip(sums.chunks_exact_mut(rows * size.columns))
            {
                let groups = left.chunks_exact(size.rows);
                for (left, sums) in groups.zip(sums.chunks_exact_mut(size.rows * size.columns)) {
                    T::multiply(isa, left, &panel[piece.clone()], onto, sums, size.columns);
                }
            }
            onto = Onto::Sums;
        }
        for (p, sums) in (i * PANELS..panels.bias.len() / size.columns).zip(sums.chunks_exact_mut(rows * size.columns))
        {
            let columns = p * size.columns..outputs.min((p + 1) * size.columns);
            let bias = &panels.bias[p * size.columns..][..size.columns];
            finish(isa, sums, bias, then, columns.len(), &mut out[columns.start..], outputs);
        }
    }
}

dispatch!(
    /// Writes the first `columns` of a panel into rows `stride` apart.
    fn finish(
        sums: &mut [f32],
        bias: &[f32],
        then: Then,
        columns: usize,
        out: &mut [MaybeUninit<f32>],
        stride: usize,
    ) {
        add_bias::<32, true>, add_bias::<16, true>, add_bias::<8, false>
    }
);

#[inline(always)]
fn add_bias<const W: usize, const FMA: bool>(
    sums: &mut [f32],
    bias: &[f32],
    then: Then,
    columns: usize,
    out: &mut [MaybeUninit<f32>],
    stride: usize,
) {
    let bias: &[f32; W] = bias.try_into().expect("the biases of a panel");
    for (sums, out) in sums.as_chunks_mut::<W>().0.iter_mut().zip(out.chunks_mut(stride)) {
        for c in 0..W {
            sums[c] += bias[c];
        }
        if then == Then::BiasGelu {
            gelu::<FMA>(sums);
        }
        let out = &mut out[..columns];
        if let Some(out) = out.as_mut_array::<W>() {
            for c in 0..W {
                out[c].write(sums[c]);
            }
        } else {
            for (out, sum) in out.iter_mut().zip(sums) {
                out.write(*sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::{at_threads, numbers};

    /// rows, inputs, outputs
    const SHAPES: [[usize; 3]; 7] = [
        [1, 7, 5],               // less than a tile of every instruction set
        [13, 256, 32],           // one row more than a tile
        [50, 257, 33],           // a term and a column more than a tile
        [ROWS_MAX + 1, 600, 64], // two tasks
        [40, 40, 300],
        [7, 1030, 9], // more pairs than a tile is deep,
        [5, 1, 1],
    ];

    fn inputs([rows, inputs, outputs]: [usize; 3]) -> [Vec<f32>; 3] {
        [
            numbers(1, rows * inputs, 1.0),
            numbers(2, inputs * outputs, 1.0),
            numbers(3, outputs, 1.0),
        ]
    }

    #[test]
    fn a_layer_is_a_product_and_a_bias() {
        for shape in SHAPES {
            let [x, weight, bias] = inputs(shape);
            let [rows, n, outputs] = shape;
            for isa in Isa::available() {
                let panels = Panels::new(isa, Products::F32, &weight, &bias);
                let [plain, gelu] = [Then::Bias, Then::BiasGelu].map(|then| linear(&x, &panels, then));
                assert_eq!(plain.len(), rows * outputs);
                for (i, (plain, gelu)) in plain.iter().zip(&gelu).enumerate() {
                    let terms =
                        (0..n).map(|k| (x[i / outputs * n + k] as f64) * weight[k * outputs + i % outputs] as f64);
                    let expected = terms.sum::<f64>() + bias[i % outputs] as f64;
                    // A sum of n products walks to about √n, and so do its n roundings of half an ulp.
                    let tolerance = 3e-7 + 6e-8 * n as f64;
                    assert!(
                        (*plain as f64 - expected).abs() < tolerance,
                        "{isa:?}, {shape:?}: {plain} for {expected}"
                    );
                    let u = (2.0 / std::f64::consts::PI).sqrt() * (expected + 0.044715 * expected.powi(3));
                    let expected = 0.5 * expected * (1.0 + u.tanh());
                    // The slope of GELU is at most 1.13; its own error is that of numbers up to 20.
                    assert!(
                        (*gelu as f64 - expected).abs() < 1.2 * tolerance + 3e-6,
                        "{isa:?}, {shape:?}: {gelu} for {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn in_bf16_a_layer_is_a_product_of_rounded_numbers() {
        for shape in SHAPES {
            let [x, weight, bias] = inputs(shape);
            let [_, n, outputs] = shape;
            let exact = |x: f32| half::bf16::from_f32(x).to_f64();
            for isa in Isa::available() {
                let ours = linear(&x, &Panels::new(isa, Products::Bf16, &weight, &bias), Then::Bias);
                for (i, ours) in ours.iter().enumerate() {
                    let terms =
                        (0..n).map(|k| exact(x[i / outputs * n + k]) * exact(weight[k * outputs + i % outputs]));
                    let expected = terms.sum::<f64>() + bias[i % outputs] as f64;
                    // Products of bf16 are exact in f32: what is left is the rounding of the sum, as in f32.
                    let tolerance = 3e-7 + 6e-8 * n as f64;
                    let error = (*ours as f64 - expected).abs();
                    assert!(error < tolerance, "{isa:?}, {shape:?}: {ours} for {expected}");
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let [x, weight, bias] = inputs([3 * ROWS_MAX + 7, 300, 70]);
        for products in [Products::F32, Products::Bf16] {
            let panels = Panels::new(Isa::best(), products, &weight, &bias);
            let run = |threads| at_threads(threads, || linear(&x, &panels, Then::BiasGelu));
            assert_eq!(run(1), run(3), "{products:?}");
        }
    }
}
