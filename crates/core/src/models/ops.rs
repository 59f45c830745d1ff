//! The tensor operations of a transformer block: every heavy call of a model goes through here.
//!
//! Norms, rotary embedding and gates compute in f32, as the reference implementations do; what enters
//! a matrix product is in the dtype of the run. On the CPU the slow ones go to [`kernels`], on tensors of f32: those round
//! to the bf16 of a layer by themselves.

#[cfg(feature = "gpu")]
use crate::gpu;
use crate::kernels::{self, Products, Then};
use crate::linear::Linear;
use burn::tensor::activation::sigmoid;
use burn::tensor::module::{attention as fused_attention, layer_norm, linear};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{FloatDType, Tensor};

/// `x·W + b`.
///
/// # Shapes
/// - `x`: `[.., in]`
/// - output: `[.., out]`
pub fn project<const D: usize>(x: Tensor<D>, layer: &Linear) -> Tensor<D> {
    match layer {
        Linear::Panels(panels) => kernels::linear(x, panels, Then::Bias),
        #[cfg(feature = "cuda")]
        Linear::Tensors { weight, bias } if gpu::nvidia::multiplies(&x, weight) => {
            gpu::nvidia::linear(x, weight, bias, false)
        }
        Linear::Tensors { weight, bias } => linear(x, weight.clone(), Some(bias.clone())),
    }
}

/// [`project`], then [`gelu_tanh`]: the first half of a feed-forward.
///
/// # Shapes
/// - `x`: `[b, n, in]`
/// - output: `[b, n, out]`
pub fn project_gelu(x: Tensor<3>, layer: &Linear) -> Tensor<3> {
    match layer {
        Linear::Panels(panels) => kernels::linear(x, panels, Then::BiasGelu),
        #[cfg(feature = "cuda")]
        Linear::Tensors { weight, bias } if gpu::nvidia::multiplies(&x, weight) => {
            gpu::nvidia::linear(x, weight, bias, true)
        }
        Linear::Tensors { .. } => gelu_tanh(project(x, layer)),
    }
}

/// Layer norm with a scale and a shift per channel: `(x − mean)/√(var + eps)·scale + shift`, in f32, then rounded to
/// the dtype `into`.
///
/// # Shapes
/// - `x`: `[b, n, d]`; `scale`, `shift`: `[d]` in f32
/// - output: `[b, n, d]`
pub fn norm(x: &Tensor<3>, scale: Tensor<1>, shift: Tensor<1>, eps: f64, into: FloatDType) -> Tensor<3> {
    if kernels::serve(x) {
        return kernels::layer_norm(x.clone(), scale, shift, eps).cast(into);
    }
    #[cfg(feature = "gpu")]
    if gpu::serve(x) {
        return gpu::layer_norm(x.clone(), scale, shift, eps, into);
    }
    layer_norm(x.clone().cast(FloatDType::F32), scale, Some(shift), eps).cast(into)
}

/// Layer norm without weights, then scale and shift of this timestep: [`norm`] with `1 + scale`.
pub fn modulated(x: &Tensor<3>, scale: Tensor<1>, shift: Tensor<1>, eps: f64, into: FloatDType) -> Tensor<3> {
    norm(x, scale.add_scalar(1.0), shift, eps, into)
}

/// RMS norm over groups of as many channels as `scale` has, the whole width or each head:
/// `x/√(mean(x²) + eps)·scale`, in f32, then rounded to the dtype `into`.
///
/// # Shapes
/// - `x`: `[b, n, d]`; `scale`: `[d]` or `[head_dim]` in f32
/// - output: `[b, n, d]`
pub fn rms_norm(x: Tensor<3>, scale: &Tensor<1>, eps: f64, into: FloatDType) -> Tensor<3> {
    if kernels::serve(&x) {
        return kernels::rms_rope(x, scale.clone(), None, eps).cast(into);
    }
    #[cfg(feature = "gpu")]
    if gpu::serve(&x) {
        return gpu::rms_rope(x, scale.clone(), None, eps, into);
    }
    composed_rms_norm(x, scale, eps, into)
}

/// [`rms_norm`] of tensor operations.
fn composed_rms_norm(x: Tensor<3>, scale: &Tensor<1>, eps: f64, into: FloatDType) -> Tensor<3> {
    let ([b, n, d], [width]) = (x.dims(), scale.dims());
    let x = x.cast(FloatDType::F32).reshape([b, n * d / width, width]);
    let squares = x.clone() * x.clone();
    let inverse = squares.mean_dim(2).add_scalar(eps).sqrt().recip(); // [b, n·d/width, 1]
    (x * inverse * scale.clone().unsqueeze()).reshape([b, n, d]).cast(into)
}

/// [`rms_norm`], then [`rotate`]: queries and keys of self-attention.
///
/// # Shapes
/// - `x`: `[b, n, heads·head_dim]`; `scale`: `[heads·head_dim]` or `[head_dim]` in f32
/// - `rotary`: cosine and sine, `[1, n, 1, head_dim/2]` each
/// - output: like `x`, in the dtype `into`
pub fn rms_rotate(x: Tensor<3>, scale: &Tensor<1>, rotary: &[Tensor<4>; 2], eps: f64, into: FloatDType) -> Tensor<3> {
    if kernels::serve(&x) {
        return kernels::rms_rope(x, scale.clone(), Some(rotary), eps).cast(into);
    }
    #[cfg(feature = "gpu")]
    if gpu::serve(&x) {
        return gpu::rms_rope(x, scale.clone(), Some(rotary), eps, into);
    }
    rotate(rms_norm(x, scale, eps, FloatDType::F32), rotary).cast(into)
}

/// What a layer makes of a conditioning vector, as `N` vectors in f32: shifts, scales, gates.
///
/// # Shapes
/// - `signal`: `[1, in]`
/// - output: `[out/N]` each
pub fn vectors<const N: usize>(signal: &Tensor<2>, layer: &Linear) -> [Tensor<1>; N] {
    let all = project(signal.clone(), layer).cast(FloatDType::F32);
    let width = all.dims()[1] / N;
    std::array::from_fn(|i| all.clone().narrow(1, i * width, width).squeeze_dim(0))
}

/// GELU in its tanh form, as `x·sigmoid(2u)` with `u = √(2/π)·(x + 0.044715·x³)`: the same function
/// with fewer passes over memory.
pub fn gelu_tanh(x: Tensor<3>) -> Tensor<3> {
    if kernels::serve(&x) {
        return kernels::gelu_tanh(x);
    }
    composed_gelu(x)
}

/// [`gelu_tanh`] of tensor operations.
fn composed_gelu(x: Tensor<3>) -> Tensor<3> {
    const LINEAR: f64 = 1.595_769_121_605_731; // 2·√(2/π)
    let twice_u = (x.clone() * x.clone()).mul_scalar(LINEAR * 0.044715).add_scalar(LINEAR) * x.clone();
    x * sigmoid(twice_u)
}

/// Rotates the channel pairs `(2j, 2j + 1)` of every head by the angles of its token, in f32.
///
/// # Shapes
/// - `x`: `[b, n, heads·head_dim]`
/// - `rotary`: cosine and sine, `[1, n, 1, head_dim/2]` each
/// - output: like `x`
pub fn rotate(x: Tensor<3>, rotary: &[Tensor<4>; 2]) -> Tensor<3> {
    if kernels::serve(&x) {
        return kernels::rope(x, rotary);
    }
    composed_rotate(x, rotary)
}

/// [`rotate`] of tensor operations.
fn composed_rotate(x: Tensor<3>, rotary: &[Tensor<4>; 2]) -> Tensor<3> {
    let [b, n, d] = x.dims();
    let [_, _, _, pairs] = rotary[0].dims();
    let x = x.reshape([b, n, d / (2 * pairs), pairs, 2]);
    let even: Tensor<4> = x.clone().narrow(4, 0, 1).squeeze_dim(4);
    let odd: Tensor<4> = x.narrow(4, 1, 1).squeeze_dim(4);
    let [cos, sin] = rotary;
    let turned = [
        even.clone() * cos.clone() - odd.clone() * sin.clone(),
        even * sin.clone() + odd * cos.clone(),
    ];
    Tensor::stack::<5>(turned.into(), 4).reshape([b, n, d])
}

/// Softmax attention of all queries to all keys, no mask; `products` are those of a CPU, elsewhere the dtype of the
/// tensors decides.
///
/// # Shapes
/// - `q`: `[b, n, d]`; `k`, `v`: `[b, m, d]`
/// - output: `[b, n, d]`
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, products: Products) -> Tensor<3> {
    if kernels::serve(&q) {
        return kernels::attention(q, k, v, heads, products);
    }
    #[cfg(feature = "cuda")]
    if gpu::nvidia::attends([&q, &k, &v], heads) {
        return gpu::nvidia::attention(q, k, v, heads);
    }
    #[cfg(feature = "gpu")]
    if gpu::attends([&q, &k, &v]) {
        return gpu::attention(q, k, v, heads);
    }
    let [b, n, d] = q.dims();
    let split = |x: Tensor<3>| {
        let m = x.dims()[1];
        x.reshape([b, m, heads, d / heads]).swap_dims(1, 2) // [b, h, m, d/h]
    };
    // An explicit scale or mask would keep GPU back ends from their fused kernels; the default scale is 1/√(d/h).
    let mixed = fused_attention(
        split(whole_stages(q)),
        split(k),
        split(v),
        None,
        None,
        AttentionModuleOptions::default(),
    );
    mixed.swap_dims(1, 2).narrow(1, 0, n).reshape([b, n, d])
}

/// Rows of zeros up to a whole number of stages of the GPU back ends' fused attention (16 queries for each
/// of 2, 4 or 8 planes): other lengths fall back to a score matrix in memory, queries × keys for each head.
/// Wan's 32,760 tokens at 480p are 8 short of one.
fn whole_stages(q: Tensor<3>) -> Tensor<3> {
    const STAGE: usize = 128;
    let [b, n, d] = q.dims();
    if n < STAGE || n.is_multiple_of(STAGE) {
        return q;
    }
    let padding = Tensor::zeros([b, n.next_multiple_of(STAGE) - n, d], (&q.device(), q.dtype()));
    Tensor::cat(vec![q, padding], 1)
}

/// `x + gate·y`, added in f32, back in the dtype of `x`.
///
/// # Shapes
/// - `x`, `y`: `[b, n, d]`; `gate`: `[d]` in f32, none = 1
pub fn add_gated(x: Tensor<3>, y: Tensor<3>, gate: Option<Tensor<1>>) -> Tensor<3> {
    if kernels::serve(&x) {
        return kernels::add_gated(x, y, gate);
    }
    let dtype: FloatDType = x.dtype().into();
    let y = y.cast(FloatDType::F32);
    let y = match gate {
        Some(gate) => y * gate.unsqueeze(),
        None => y,
    };
    (x.cast(FloatDType::F32) + y).cast(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::host;
    use burn::tensor::{Device, Distribution};

    /// On the CPU the kernels answer; GPU back ends take these where they have none of their own.
    #[test]
    fn composed_of_tensor_operations_they_say_what_the_kernels_say() {
        let device = Device::flex();
        let draw = |shape: [usize; 3]| Tensor::<3>::random(shape, Distribution::Normal(0.0, 2.0), &device);
        let (heads, pairs) = (3, 5);
        let x = draw([2, 7, heads * 2 * pairs]);
        let scale: Tensor<1> = draw([1, 1, 2 * pairs]).reshape([2 * pairs]);
        let angles: Tensor<4> = draw([1, 7, pairs]).unsqueeze_dim(2);
        let rotary = [angles.clone().cos(), angles.sin()];
        let f32 = FloatDType::F32;
        for (what, composed, kernel) in [
            ("gelu", composed_gelu(x.clone()), gelu_tanh(x.clone())),
            (
                "rotation",
                composed_rotate(x.clone(), &rotary),
                rotate(x.clone(), &rotary),
            ),
            (
                "norm",
                composed_rms_norm(x.clone(), &scale, 1e-6, f32),
                rms_norm(x.clone(), &scale, 1e-6, f32),
            ),
        ] {
            for (ours, expected) in host(composed).into_iter().zip(host(kernel)) {
                // Some roundings of numbers up to 10.
                assert!((ours - expected).abs() < 4e-6, "{what}: {ours} for {expected}");
            }
        }
    }

    #[test]
    fn gelu_follows_its_definition() {
        let xs: Vec<f32> = (-40..=40).map(|i| i as f32 * 0.2).collect();
        let x = Tensor::<1>::from_floats(xs.as_slice(), &Device::flex()).reshape([1, 1, 81]);
        let ours = host(gelu_tanh(x));
        for (x, ours) in xs.iter().zip(ours) {
            let x = *x as f64;
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            let expected = 0.5 * x * (1.0 + u.tanh());
            // A few f32 roundings of values up to 8.
            assert!(
                (ours as f64 - expected).abs() < 2e-6,
                "gelu({x}) = {ours}, expected {expected}"
            );
        }
    }

    #[test]
    fn a_rotation_keeps_the_length_of_every_pair() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats([3.0, 4.0, 1.0, 0.0], &device).reshape([1, 1, 4]);
        let angles = Tensor::<1>::from_floats([0.5, std::f32::consts::FRAC_PI_2], &device).reshape([1, 1, 1, 2]);
        let turned = host(rotate(x, &[angles.clone().cos(), angles.sin()]));
        assert!((turned[0].hypot(turned[1]) - 5.0).abs() < 1e-6); // rounding
        assert!(
            turned[2].abs() < 1e-6 && (turned[3] - 1.0).abs() < 1e-6,
            "a quarter turn takes (1, 0) to (0, 1)"
        );
    }
}
