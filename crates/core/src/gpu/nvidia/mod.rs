//! Matrix products by cuBLASLt, and attention by a kernel for Hopper's tensor cores.
//!
//! CubeCL's own stay in place where the library is not found, or the GPU is another.

mod attention;
mod beside;
mod gemm;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeDevice};

/// Operations on an NVIDIA GPU.
#[backend_extension(Cube, Fusion)]
pub trait Nvidia: Backend {
    /// `x·weight + bias`, then perhaps GELU in its tanh form.
    #[fusion(dtype = x, shape = gemm::shape(x, weight))]
    fn blas_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gelu: bool,
    ) -> FloatTensor<Self>;
    /// Softmax attention.
    #[fusion(dtype = q, shape = q)]
    fn hopper_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
}

impl Nvidia for CubeBackend {
    fn blas_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        gelu: bool,
    ) -> FloatTensor<Self> {
        gemm::linear(x, weight, bias, gelu)
    }
    fn hopper_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self> {
        attention::attention(q, k, v, heads)
    }
}

/// Whether [`linear`] takes this tensor and a layer of these weights.
pub fn multiplies<const D: usize>(x: &Tensor<D>, weight: &Tensor<2>) -> bool {
    let known = x.dtype() == weight.dtype() && matches!(x.dtype(), DType::F32 | DType::F16 | DType::BF16);
    known && cuda_index(x).is_some() && gemm::is_present()
}

/// Whether [`attention`] takes these queries, keys and values.
pub fn attends([q, k, v]: [&Tensor<3>; 3], heads: usize) -> bool {
    let head_dim = q.dims()[2] / heads;
    let known = attention::HEAD_DIMS.contains(&head_dim) && [q, k, v].iter().all(|x| x.dtype() == DType::BF16);
    known && cuda_index(q).is_some_and(attention::is_hopper)
}

/// A linear layer of `weight` `[in, out]` and `bias` `[out]`, then perhaps GELU in its tanh form.
pub fn linear<const D: usize>(x: Tensor<D>, weight: &Tensor<2>, bias: &Tensor<1>, gelu: bool) -> Tensor<D> {
    let [weight, bias] = [weight.clone().into_dispatch(), bias.clone().into_dispatch()];
    Tensor::from_dispatch(<Dispatch as Nvidia>::blas_linear(x.into_dispatch(), weight, bias, gelu))
}

/// Softmax attention, `q` `[b, n, d]` to `k`, `v` `[b, m, d]`.
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize) -> Tensor<3> {
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Nvidia>::hopper_attention(q, k, v, heads))
}

/// The number of the CUDA device that holds a tensor, without gradients, if its driver is new enough.
fn cuda_index<const D: usize>(x: &Tensor<D>) -> Option<usize> {
    let device = x.device();
    if device.is_autodiff() {
        return None;
    }
    match device.as_dispatch() {
        burn::backend::DispatchDevice::Cube(CubeDevice::Cuda(cuda)) => beside::is_possible().then_some(cuda.index),
        _ => None,
    }
}

/// A tensor with rows of consecutive numbers at even distances, which it is copied for only where it has none, and
/// that distance in numbers.
fn rows(x: CubeTensor) -> (CubeTensor, usize) {
    let distance = |x: &CubeTensor| {
        let (shape, strides) = (x.meta.shape(), x.meta.strides());
        let rank = shape.num_dims();
        let pitch = if rank > 1 { strides[rank - 2] } else { shape[0] };
        let even = (0..rank.saturating_sub(2)).all(|i| shape[i] == 1 || strides[i] == strides[i + 1] * shape[i + 1]);
        (strides[rank - 1] == 1 && even && pitch >= shape[rank - 1]).then_some(pitch)
    };
    match distance(&x) {
        Some(pitch) => (x, pitch),
        None => {
            let x = into_contiguous(x);
            let shape = x.meta.shape();
            let width = shape[shape.num_dims() - 1];
            (x, width)
        }
    }
}
