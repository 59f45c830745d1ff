//! Fused kernels for GPUs: one pass over memory where tensor operations take several.
//!
//! Norms, and attention in f32, are CubeCL kernels, written once for every GPU back end. Matrix products and attention
//! in half precision, where the time goes, are the back end's own, except on an NVIDIA GPU that [`nvidia`] knows.

mod attention;
mod norm;
#[cfg(feature = "cuda")]
pub mod nvidia;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, FloatDType, Tensor};
use burn_cubecl::CubeBackend;

/// Whether the kernels take this tensor: on a GPU, without gradients.
pub fn serve<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device();
    device != burn::tensor::Device::flex() && !device.is_autodiff()
}

/// Whether [`attention`] takes these queries, keys and values.
pub fn attends(qkv: [&Tensor<3>; 3]) -> bool {
    serve(qkv[0]) && qkv.iter().all(|x| x.dtype() == DType::F32)
}

/// The kernels, as operations of a back end.
#[backend_extension(Cube, Fusion)]
pub trait Kernels: Backend {
    /// Layer norm of the last axis.
    #[fusion(dtype = *into, shape = x)]
    fn layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f32,
        into: DType,
    ) -> FloatTensor<Self>;
    /// RMS norm over groups of as many channels as `scale` has.
    #[fusion(dtype = *into, shape = x)]
    fn rms_norm(x: FloatTensor<Self>, scale: FloatTensor<Self>, eps: f32, into: DType) -> FloatTensor<Self>;
    /// The same, then the rotation of every head by tables of cosines and sines.
    #[fusion(dtype = *into, shape = x)]
    fn rms_rope(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
        into: DType,
    ) -> FloatTensor<Self>;
    /// Softmax attention in f32.
    #[fusion(dtype = q, shape = q)]
    fn plain_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
}

impl Kernels for CubeBackend {
    fn layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f32,
        into: DType,
    ) -> FloatTensor<Self> {
        norm::launch(x, scale, Some(shift), None, eps, into)
    }
    fn rms_norm(x: FloatTensor<Self>, scale: FloatTensor<Self>, eps: f32, into: DType) -> FloatTensor<Self> {
        norm::launch(x, scale, None, None, eps, into)
    }
    fn rms_rope(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
        into: DType,
    ) -> FloatTensor<Self> {
        norm::launch(x, scale, None, Some([cos, sin]), eps, into)
    }
    fn plain_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self> {
        attention::launch(q, k, v, heads)
    }
}

/// Layer norm of `x` `[b, n, d]` with `scale` and `shift` `[d]` in f32, the result in `into`.
pub fn layer_norm(x: Tensor<3>, scale: Tensor<1>, shift: Tensor<1>, eps: f64, into: FloatDType) -> Tensor<3> {
    let [scale, shift] = [scale, shift].map(|x| x.cast(FloatDType::F32).into_dispatch());
    Tensor::from_dispatch(<Dispatch as Kernels>::layer_norm(
        x.into_dispatch(),
        scale,
        shift,
        eps as f32,
        into.into(),
    ))
}

/// RMS norm of `x` `[b, n, d]` over groups of as many channels as `scale` has, then, with tables
/// `[1, n, 1, head_dim/2]`, the rotation of its heads; the result in `into`.
pub fn rms_rope(
    x: Tensor<3>,
    scale: Tensor<1>,
    rotary: Option<&[Tensor<4>; 2]>,
    eps: f64,
    into: FloatDType,
) -> Tensor<3> {
    let (x, scale) = (x.into_dispatch(), scale.cast(FloatDType::F32).into_dispatch());
    let (eps, into) = (eps as f32, into.into());
    Tensor::from_dispatch(match rotary {
        None => <Dispatch as Kernels>::rms_norm(x, scale, eps, into),
        Some(tables) => {
            let [cos, sin] = tables.clone().map(|x| x.cast(FloatDType::F32).into_dispatch());
            <Dispatch as Kernels>::rms_rope(x, scale, cos, sin, eps, into)
        }
    })
}

/// Softmax attention in f32, `q` `[b, n, d]` to `k`, `v` `[b, m, d]`.
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize) -> Tensor<3> {
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Kernels>::plain_attention(q, k, v, heads))
}
