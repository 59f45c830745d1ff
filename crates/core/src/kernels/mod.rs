//! Fused f32 kernels for the CPU back end: one pass over memory where tensor operations take several.
//!
//! The kernels proper work on slices, in plain Rust that the compiler vectorises for each instruction
//! set ([`isa`]). Work is shared out in fixed chunks, so results do not depend on the number of threads;
//! they do depend on the instruction set, which rounds and sums in its own way. The functions of this
//! module bring tensors to them, for inference only: no gradient is recorded.

mod attention;
mod gate;
mod gelu;
pub mod isa;
mod lanes;
mod layer_norm;
mod rms_rope;

use attention::Shape;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Device, Tensor, TensorData};
use isa::Isa;

/// A tensor of the CPU back end.
type Host = FloatTensor<Flex>;

/// Whether the kernels take this tensor: f32 on the CPU back end, without gradients.
pub fn serve<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device();
    x.dtype() == DType::F32 && device == Device::flex() && !device.is_autodiff()
}

/// GELU in its tanh form.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let mut x = whole(x);
    gelu::gelu_tanh(Isa::best(), x.storage_mut());
    Tensor::from_primitive::<Flex>(x)
}

/// Softmax attention, `q` `[b, n, d]` to `k`, `v` `[b, m, d]`.
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize) -> Tensor<3> {
    let ([batch, queries, d], keys) = (q.dims(), k.dims()[1]);
    let (q, k, v) = (dense(q), dense(k), dense(v));
    let shape = Shape {
        batch,
        queries,
        keys,
        heads,
        head_dim: d / heads,
    };
    let out = attention::attention(Isa::best(), slice(&q), slice(&k), slice(&v), shape);
    tensor(out, [batch, queries, d])
}

/// RMS norm of `x` `[b, n, d]` over its width, then, with tables `[1, n, 1, head_dim/2]`, the rotation of
/// its heads.
pub fn rms_rope(x: Tensor<3>, scale: Tensor<1>, rotary: Option<&[Tensor<4>; 2]>, eps: f64) -> Tensor<3> {
    let (mut x, scale) = (whole(x), dense(scale));
    let tables = rotary.map(|tables| (tables.clone().map(dense), 2 * tables[0].dims()[3]));
    let tables = tables
        .as_ref()
        .map(|([cos, sin], head_dim)| ([slice(cos), slice(sin)], *head_dim));
    rms_rope::rms_rope(Isa::best(), x.storage_mut(), slice(&scale), tables, eps as f32);
    Tensor::from_primitive::<Flex>(x)
}

/// Layer norm of `x` `[b, n, d]` with a scale and a shift `[d]`.
pub fn layer_norm(x: Tensor<3>, scale: Tensor<1>, shift: Tensor<1>, eps: f64) -> Tensor<3> {
    let shape = x.dims();
    let (x, scale, shift) = (dense(x), dense(scale), dense(shift));
    tensor(
        layer_norm::layer_norm(Isa::best(), slice(&x), slice(&scale), slice(&shift), eps as f32),
        shape,
    )
}

/// `x + gate·y`: `x`, `y` `[b, n, d]`, `gate` `[d]`.
pub fn add_gated(x: Tensor<3>, y: Tensor<3>, gate: Tensor<1>) -> Tensor<3> {
    let (mut x, y, gate) = (whole(x), dense(y), dense(gate));
    gate::add_gated(Isa::best(), x.storage_mut(), slice(&y), slice(&gate));
    Tensor::from_primitive::<Flex>(x)
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
