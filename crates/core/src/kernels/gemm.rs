//! Linear layers: a matrix product with weights laid out for the register tile, and what follows it, bias and
//! GELU, done while the sums are in the cache.

use super::filled;
use super::gelu::gelu;
use super::isa::{Isa, dispatch};
use super::tile::{self, DEPTH, Onto, multiply};
use rayon::prelude::*;
use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Rows a task works on at most. The more, the rarer a piece of the weights comes from memory; a [`DEPTH`] of so many
/// is to stay in the second-level cache.
const ROWS_MAX: usize = 96;
/// Panels of weights that use a piece of the rows before the next comes in.
const PANELS: usize = 2;

thread_local! {
    /// The rows of a task, `[piece of the inputs, row]`, kept from call to call: fresh memory costs as much as filling it.
    static ROWS: RefCell<Vec<[f32; DEPTH]>> = const { RefCell::new(Vec::new()) };
}

/// Weights and bias of a linear layer, laid out in panels of one tile's width.
#[derive(Clone, Debug)]
pub struct Panels {
    isa: Isa,
    inputs: usize,
    outputs: usize,
    weight: Vec<f32>, // [panel, in, column]
    bias: Vec<f32>,   // [panel, column]
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
    pub fn new(isa: Isa, weight: &[f32], bias: &[f32]) -> Panels {
        let (outputs, width) = (bias.len(), tile::size(isa).columns);
        assert!(
            outputs > 0 && weight.len().is_multiple_of(outputs),
            "weights of {outputs} outputs"
        );
        let inputs = weight.len() / outputs;
        let padded = outputs.next_multiple_of(width);
        let mut panels = vec![0.0; inputs * padded];
        panels
            .par_chunks_mut(inputs * width)
            .enumerate()
            .for_each(|(p, panel)| {
                let columns = p * width..outputs.min((p + 1) * width);
                for (panel, row) in panel.chunks_exact_mut(width).zip(weight.chunks_exact(outputs)) {
                    panel[..columns.len()].copy_from_slice(&row[columns.clone()]);
                }
            });
        let mut bias = bias.to_vec();
        bias.resize(padded, 0.0);
        Panels {
            isa,
            inputs,
            outputs,
            weight: panels,
            bias,
        }
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

/// `x·W + b`, and what follows.
///
/// # Shapes
/// - `x`: `[rows, in]`
/// - output: `[rows, out]`
///
/// # Panics
/// When rows are not whole.
pub fn linear(x: &[f32], panels: &Panels, then: Then) -> Vec<f32> {
    let &Panels { inputs, outputs, .. } = panels;
    assert!(x.len().is_multiple_of(inputs), "rows of {inputs} channels");
    let rows = x.len() / inputs;
    let task_rows = tile::task_rows(panels.isa, rows, ROWS_MAX);
    // SAFETY: a task writes every output of its rows.
    unsafe {
        filled(rows * outputs, task_rows * outputs, |task, out| {
            let x = &x[task * task_rows * inputs..][..out.len() / outputs * inputs];
            ROWS.with_borrow_mut(|rows| some_rows(x, panels, then, rows, out));
        })
    }
}

fn some_rows(x: &[f32], panels: &Panels, then: Then, left: &mut Vec<[f32; DEPTH]>, out: &mut [MaybeUninit<f32>]) {
    let &Panels {
        isa, inputs, outputs, ..
    } = panels;
    let size = tile::size(isa);
    let rows = (x.len() / inputs).next_multiple_of(size.rows);
    let pieces = inputs.div_ceil(DEPTH);
    left.resize(left.len().max(pieces * rows), [0.0; DEPTH]);
    for (i, row) in x.chunks_exact(inputs).enumerate() {
        for (k, part) in row.chunks(DEPTH).enumerate() {
            left[k * rows + i][..part.len()].copy_from_slice(part);
        }
    }
    let panel_len = inputs * size.columns;
    let mut sums = vec![0.0; PANELS * rows * size.columns]; // [panel, row, column]
    for (i, weights) in panels.weight.chunks(PANELS * panel_len).enumerate() {
        let mut onto = Onto::Nothing;
        for (k, left) in left.chunks_exact(rows).take(pieces).enumerate() {
            let piece = k * DEPTH * size.columns..panel_len.min((k + 1) * DEPTH * size.columns);
            for (panel, sums) in weights
                .chunks_exact(panel_len)
                .zip(sums.chunks_exact_mut(rows * size.columns))
            {
                let groups = left.chunks_exact(size.rows);
                for (left, sums) in groups.zip(sums.chunks_exact_mut(size.rows * size.columns)) {
                    multiply(isa, left, &panel[piece.clone()], onto, sums, size.columns);
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
    const SHAPES: [[usize; 3]; 6] = [
        [1, 7, 5],               // less than a tile of every instruction set
        [13, 256, 32],           // one row more than a tile
        [50, 257, 33],           // a term and a column more than a tile
        [ROWS_MAX + 1, 600, 64], // two tasks
        [40, 40, 300],
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
                let panels = Panels::new(isa, &weight, &bias);
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
    fn threads_change_no_bit() {
        let [x, weight, bias] = inputs([3 * ROWS_MAX + 7, 300, 70]);
        let panels = Panels::new(Isa::best(), &weight, &bias);
        let run = |threads| at_threads(threads, || linear(&x, &panels, Then::BiasGelu));
        assert_eq!(run(1), run(3));
    }
}
