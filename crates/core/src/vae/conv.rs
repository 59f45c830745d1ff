//! What all autoencoders convolve with.

use crate::weights::Loader;
use burn::tensor::Tensor;
use burn::tensor::module::conv3d;
use burn::tensor::ops::ConvOptions;

/// A convolution over frames, rows and columns, in f32.
#[derive(Clone, Debug)]
pub(super) struct Conv {
    weight: Tensor<5>, // [out, in, frames, rows, columns]
    bias: Tensor<1>,
    stride: [usize; 3],
}

impl Conv {
    /// A convolution from `from` to `to` channels with a kernel of frames, rows, columns.
    pub fn load(loader: &mut Loader, key: &str, from: usize, to: usize, kernel: [usize; 3]) -> Conv {
        let [t, h, w] = kernel;
        Conv {
            weight: loader.take(&format!("{key}.weight"), [to, from, t, h, w]),
            bias: loader.take(&format!("{key}.bias"), [to]),
            stride: [1; 3],
        }
    }
    /// One that the checkpoint keeps as a convolution of images: each frame for itself.
    pub fn load_2d(loader: &mut Loader, key: &str, from: usize, to: usize, kernel: [usize; 2]) -> Conv {
        let [h, w] = kernel;
        let weight: Tensor<4> = loader.take(&format!("{key}.weight"), [to, from, h, w]);
        Conv {
            weight: weight.unsqueeze_dim(2),
            bias: loader.take(&format!("{key}.bias"), [to]),
            stride: [1; 3],
        }
    }
    /// The same in steps of frames, rows, columns.
    pub fn strided(self, stride: [usize; 3]) -> Conv {
        Conv { stride, ..self }
    }
    /// Zeros are assumed on both sides of rows and columns, as many as `border` says.
    ///
    /// # Shapes
    /// - `x`: `[b, in, t, h, w]`
    /// - output: `[b, out, t′, h′, w′]`
    pub fn forward(&self, x: Tensor<5>, border: [usize; 2]) -> Tensor<5> {
        let options = ConvOptions::new(self.stride, [0, border[0], border[1]], [1; 3], 1);
        conv3d(x, self.weight.clone(), Some(self.bias.clone()), options)
    }
}

/// Every number `factors` times along frames, rows and columns: nearest-neighbour upsampling.
///
/// # Shapes
/// - `x`: `[b, c, t, h, w]`
/// - output: `[b, c, t·factors[0], h·factors[1], w·factors[2]]`
pub(super) fn repeated(x: Tensor<5>, factors: [usize; 3]) -> Tensor<5> {
    let [b, c, t, h, w] = x.dims();
    let [ft, fh, fw] = factors;
    x.reshape([b * c, t, 1, h, 1, w, 1])
        .expand([b * c, t, ft, h, fh, w, fw])
        .reshape([b, c, t * ft, h * fh, w * fw])
}

/// The same, but the first frame stays one.
///
/// # Shapes
/// - `x`: `[b, c, t, h, w]`
/// - output: `[b, c, 1 + (t − 1)·factors[0], h·factors[1], w·factors[2]]`
pub(super) fn repeated_but_first(x: Tensor<5>, factors: [usize; 3]) -> Tensor<5> {
    let [_, fh, fw] = factors;
    let frames = x.dims()[2];
    let first = repeated(x.clone().narrow(2, 0, 1), [1, fh, fw]);
    match frames {
        1 => first,
        _ => Tensor::cat(vec![first, repeated(x.narrow(2, 1, frames - 1), factors)], 2),
    }
}

/// A number for each channel, to multiply or add to `[b, c, t, h, w]`.
pub(super) fn per_channel(numbers: Tensor<1>) -> Tensor<5> {
    let [c] = numbers.dims();
    numbers.reshape([1, c, 1, 1, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::host;
    use burn::tensor::Device;

    #[test]
    fn upsampling_repeats_every_number() {
        let x = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &Device::flex()).reshape([1, 1, 1, 2, 2]);
        let rows = [
            1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 3.0, 3.0, 4.0, 4.0,
        ];
        assert_eq!(host(repeated(x, [1, 2, 2])), rows);
    }

    #[test]
    fn the_first_frame_can_be_left_out() {
        let x = Tensor::<1>::from_floats([1.0, 2.0, 3.0], &Device::flex()).reshape([1, 1, 3, 1, 1]);
        let frames = [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0];
        assert_eq!(host(repeated_but_first(x, [2, 1, 2])), frames);
    }
}
