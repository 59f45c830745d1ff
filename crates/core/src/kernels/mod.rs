//! Fused kernels for the CPU back end, on tensors of f32: one pass over memory where tensor operations take several.
//!
//! Linear layers with what follows them, attention, norms with what surrounds them, GELU, gated residuals: all
//! that a block computes.
//!
//! The kernels proper work on slices, in plain Rust that the compiler vectorises for each instruction set
//! ([`isa`]); only the tile of the matrix products names vector types. Work is shared out by rows, which do not
//! meet, so results do not depend on the number of threads; they do depend on the instruction set, which rounds
//! and sums in its own way. The functions of this module bring tensors to them, for inference only: no gradient
//! is recorded.

mod add;
mod attention;
mod bf16;
mod gelu;
mod gemm;
pub mod isa;
mod lanes;
mod norm;
mod rms_rope;
mod term;
mod tile;

pub use gemm::{Panels, Then};
pub use term::Products;

use attention::Shape;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use isa::Isa;
use rayon::prelude::*;
use rms_rope::Rotary;
use std::mem::MaybeUninit;

/// A tensor of the CPU back end.
type Host = FloatTensor<Flex>;

/// Whether the kernels take this tensor: f32 on the CPU back end, without gradients.
pub fn serve<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && is_host(x)
}

/// Whether a tensor lies on the CPU back end, without gradients.
fn is_host<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device();
    device == Device::flex() && !device.is_autodiff()
}

/// Whether this machine multiplies bf16; where it does not, layers of bf16 are kept as rounded f32.
pub fn has_bf16() -> bool {
    Isa::best().has_bf16()
}

/// GELU in its tanh form.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let mut x = whole(x);
    gelu::gelu_tanh(Isa::best(), x.storage_mut());
    Tensor::from_primitive::<Flex>(x)
}

/// A linear layer of `weight` `[in, out]` and `bias` `[out]`, laid out for [`linear`], if the kernels take it: in f32,
/// or bf16, for products of those, on the CPU back end.
pub fn panels(weight: &Tensor<2>, bias: &Tensor<1>) -> Option<Panels> {
    let products = match weight.dtype() {
        DType::F32 => Products::F32,
        DType::BF16 => Products::Bf16,
        _ => return None,
    };
    if !is_host(weight) {
        return None;
    }
    let (weight, bias) = (weight.clone().cast(FloatDType::F32), bias.clone().cast(FloatDType::F32));
    Some(Panels::new(
        Isa::best(),
        products,
        slice(&dense(weight)),
        slice(&dense(bias)),
    ))
}

/// A linear layer on the last axis of `x`, and what follows it.
///
/// # Panics
/// When that axis has another width than the layer's weights.
pub fn linear<const D: usize>(x: Tensor<D>, panels: &Panels, then: Then) -> Tensor<D> {
    let mut shape = x.dims();
    assert_eq!(shape[D - 1], panels.inputs(), "width of the layer's input");
    shape[D - 1] = panels.outputs();
    tensor(gemm::linear(slice(&dense(x)), panels, then), shape)
}

/// Layer norm of `x` `[b, n, d]` with `scale` and `shift` `[d]`.
pub fn layer_norm(x: Tensor<3>, scale: Tensor<1>, shift: Tensor<1>, eps: f64) -> Tensor<3> {
    let (shape, x, scale, shift) = (x.dims(), dense(x), dense(scale), dense(shift));
    let out = norm::layer_norm(Isa::best(), slice(&x), slice(&scale), slice(&shift), eps as f32);
    tensor(out, shape)
}

/// `x + gate·y`, `x` and `y` `[b, n, d]`, `gate` `[d]` or none = 1.
pub fn add_gated(x: Tensor<3>, y: Tensor<3>, gate: Option<Tensor<1>>) -> Tensor<3> {
    let (mut x, y, gate) = (whole(x), dense(y), gate.map(dense));
    add::add_gated(Isa::best(), x.storage_mut(), slice(&y), gate.as_ref().map(slice));
    Tensor::from_primitive::<Flex>(x)
}

/// Softmax attention, `q` `[b, n, d]` to `k`, `v` `[b, m, d]`, with these products.
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, products: Products) -> Tensor<3> {
    let ([batch, queries, d], keys) = (q.dims(), k.dims()[1]);
    let (q, k, v) = (dense(q), dense(k), dense(v));
    let shape = Shape {
        batch,
        queries,
        keys,
        heads,
        head_dim: d / heads,
    };
    let out = attention::attention(Isa::best(), products, slice(&q), slice(&k), slice(&v), shape);
    tensor(out, [batch, queries, d])
}

/// RMS norm of `x` `[b, n, d]` over groups of as many channels as `scale` has, then, with tables
/// `[1, n, 1, head_dim/2]`, the rotation of its heads.
pub fn rms_rope(x: Tensor<3>, scale: Tensor<1>, rotary: Option<&[Tensor<4>; 2]>, eps: f64) -> Tensor<3> {
    let rows = x.dims()[2] / scale.dims()[0];
    let (mut x, scale) = (whole(x), dense(scale));
    let tables = rotary.map(Tables::of);
    let rotary = tables.as_ref().map(|tables| tables.rotary(rows));
    rms_rope::rms_rope(Isa::best(), x.storage_mut(), slice(&scale), rotary, eps as f32);
    Tensor::from_primitive::<Flex>(x)
}

/// The rotation of the heads of `x` `[b, n, d]` by tables `[1, n, 1, head_dim/2]`.
pub fn rope(x: Tensor<3>, rotary: &[Tensor<4>; 2]) -> Tensor<3> {
    let (d, tables) = (x.dims()[2], Tables::of(rotary));
    let mut x = whole(x);
    rms_rope::rope(Isa::best(), x.storage_mut(), d, tables.rotary(1));
    Tensor::from_primitive::<Flex>(x)
}

/// Cosines and sines as the kernels read them.
struct Tables {
    cos_sin: [Host; 2],
    head_dim: usize,
}

impl Tables {
    fn of(rotary: &[Tensor<4>; 2]) -> Tables {
        Tables {
            cos_sin: rotary.clone().map(dense),
            head_dim: 2 * rotary[0].dims()[3],
        }
    }
    /// For a norm of so many rows a token.
    fn rotary(&self, rows: usize) -> Rotary<'_> {
        let [cos, sin] = self.cos_sin.each_ref().map(slice);
        Rotary {
            cos,
            sin,
            head_dim: self.head_dim,
            rows,
        }
    }
}

/// A vector that `fill(i, chunk)` writes chunk by chunk, in parallel: no time is lost on zeros.
///
/// # Safety
/// `fill` must write every element of the chunk.
unsafe fn filled(len: usize, chunk: usize, fill: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    let chunks = values.spare_capacity_mut()[..len].par_chunks_mut(chunk);
    chunks.enumerate().for_each(|(i, chunk)| fill(i, chunk));
    // SAFETY: the capacity is there, and by contract all is written.
    unsafe { values.set_len(len) };
    values
}

/// The tensor in row-major order; only a strided view is copied.
fn dense<const D: usize>(x: Tensor<D>) -> Host {
    let x = x
        .try_into_primitive::<Flex>()
        .expect("the caller has asked whether the kernels serve this tensor");
    if x.is_contiguous() { x } else { x.to_contiguous() }
}

/// The tensor in a buffer that holds nothing else. Its `storage_mut` is the buffer itself when this was
/// the last owner, a copy otherwise.
fn whole<const D: usize>(x: Tensor<D>) -> Host {
    let x = dense(x);
    if x.storage::<f32>().len() == x.layout().num_elements() {
        return x;
    }
    let shape: Vec<usize> = x.shape().to_vec();
    Host::from_data(TensorData::new(slice(&x).to_vec(), shape))
}

fn slice(x: &Host) -> &[f32] {
    x.as_slice::<f32>().expect("a dense f32 tensor")
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(Host::from_data(TensorData::new(values, shape)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_that_others_hold_is_left_alone() {
        let values = numbers(1, 3 * 40, 3.0);
        let x = Tensor::<3>::from_data(TensorData::new(values.clone(), [1, 3, 40]), &Device::flex());
        let all = crate::tensors::host(gelu_tanh(x.clone()));
        let last = crate::tensors::host(gelu_tanh(x.clone().narrow(1, 2, 1)));
        assert_eq!(last, all[80..]);
        let turned = crate::tensors::host(gelu_tanh(x.clone().swap_dims(1, 2))); // strided
        assert_eq!(turned[1], all[40]);
        assert_eq!(crate::tensors::host(x), values);
    }

    /// Numbers in [−size, size), the same in every run.
    pub fn numbers(seed: u64, n: usize, size: f32) -> Vec<f32> {
        use rand::{Rng, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        (0..n)
            .map(|_| (rng.next_u32() as f32 / 2f32.powi(31) - 1.0) * size)
            .collect()
    }

    /// Runs on a pool of so many threads.
    pub fn at_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a thread pool");
        pool.install(run)
    }
}
