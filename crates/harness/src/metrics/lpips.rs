//! LPIPS v0.1 with AlexNet (Zhang et al. 2018): distance of the two pictures as a network for recognition sees them.
//!
//! The network is embedded in half precision, which moves a distance by 1e-5 (`assets/lpips-alex-LICENSE.txt` says where
//! it comes from). At 64×64 pixels, the size of the small models, its last layers see 3×3 places: the lower limit.

use super::Frames;
use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use mixcache_core::weights::{Loader, Weights, WeightsError};

const WEIGHTS: &[u8] = include_bytes!("../../assets/lpips-alex.safetensors");

/// Pixels a side from which the distance means something.
const SIDE_LEAST: usize = 64;
/// Frames in one pass of the network: bounds its memory.
const BATCH: usize = 16;
/// Mean and spread of the pictures the network learned from, for values in [−1, 1] (LPIPS' `ScalingLayer`).
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Added to the length of a feature vector before it is divided by it.
const EPSILON: f32 = 1e-10;

/// One convolution of AlexNet: index in torchvision's `features`, channels in and out, side of the window, stride,
/// padding, and whether a 3×3 maximum at stride 2 comes before it.
struct Layer(usize, usize, usize, usize, usize, usize, bool);

const LAYERS: [Layer; 5] = [
    Layer(0, 3, 64, 11, 4, 2, false),
    Layer(3, 64, 192, 5, 1, 2, true),
    Layer(6, 192, 384, 3, 1, 1, true),
    Layer(8, 384, 256, 3, 1, 1, false),
    Layer(10, 256, 256, 3, 1, 1, false),
];

/// The network on a device.
pub struct Lpips {
    layers: Vec<Convolution>,
    device: Device,
}

struct Convolution {
    weight: Tensor<4>, // [out, in, window, window]
    bias: Tensor<1>,
    head: Tensor<4>, // [1, out, 1, 1], what a difference in each channel counts
    options: ConvOptions<2>,
    pooled: bool,
}

impl Lpips {
    /// Unpacks the network onto a device, in f32.
    pub fn new(device: &Device) -> Lpips {
        let layers = load(device).expect("a test loads the embedded network");
        let device = device.clone();
        Lpips { layers, device }
    }

    /// Distance of each frame, mean over frames. None for frames smaller than 64 pixels a side.
    pub fn mean_of_frames(&self, frames: &Frames, reference: &Frames) -> Option<f64> {
        if frames.height.min(frames.width) < SIDE_LEAST {
            return None;
        }
        let batches = (0..frames.count).step_by(BATCH);
        let sums = batches.map(|from| {
            let count = BATCH.min(frames.count - from);
            let picture = |clip: &Frames| self.picture(clip, from, count);
            self.distances(Tensor::cat(vec![picture(frames), picture(reference)], 0))
        });
        let total: Tensor<1> = sums.reduce(|a, b| a + b)?;
        Some(f64::from(total.into_scalar::<f32>()) / frames.count as f64)
    }

    /// Frames as the network wants them. `// [count, 3, h, w]`
    fn picture(&self, clip: &Frames, from: usize, count: usize) -> Tensor<4> {
        let values = clip.data[from * clip.frame_len()..(from + count) * clip.frame_len()].to_vec();
        let data = TensorData::new(values, [count, clip.height, clip.width, 3]);
        let row = |values: [f32; 3]| Tensor::<1>::from_floats(values, &self.device).reshape([1, 1, 1, 3]);
        let rgb: Tensor<4> = Tensor::from_data(data, &self.device);
        ((rgb * 2.0 - 1.0 - row(SHIFT)) / row(SCALE)).permute([0, 3, 1, 2])
    }

    /// Sum of the distances between the first and the second half of `pictures`. `// [1]`
    fn distances(&self, mut pictures: Tensor<4>) -> Tensor<1> {
        let mut sum = Tensor::zeros([1], &self.device);
        for layer in &self.layers {
            if layer.pooled {
                pictures = max_pool2d(pictures, MaxPoolOptions::new([3, 3]).with_stride([2, 2]));
            }
            let (weight, bias) = (layer.weight.clone(), layer.bias.clone());
            pictures = relu(conv2d(pictures, weight, Some(bias), layer.options.clone()));
            let length = pictures.clone().square().sum_dim(1).sqrt();
            let unit = pictures.clone() / (length + EPSILON);
            let mut halves = unit.chunk(2, 0);
            let difference = halves.pop().expect("two halves") - halves.pop().expect("two halves");
            let [_, _, height, width] = difference.dims();
            sum = sum + (difference.square() * layer.head.clone()).sum() / (height * width) as f32;
        }
        sum
    }
}

fn load(device: &Device) -> Result<Vec<Convolution>, WeightsError> {
    let weights = Weights::embedded("lpips-alex", WEIGHTS)?;
    let mut loader = Loader::files(weights, std::convert::identity, device, FloatDType::F32);
    let layers = LAYERS.iter().enumerate();
    let layers = layers.map(|(i, &Layer(at, from, to, side, stride, padding, pooled))| Convolution {
        weight: loader.take(&format!("features.{at}.weight"), [to, from, side, side]),
        bias: loader.take(&format!("features.{at}.bias"), [to]),
        head: loader.take(&format!("lin{i}.weight"), [1, to, 1, 1]),
        options: ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1),
        pooled,
    });
    let layers = layers.collect();
    loader.finish()?;
    Ok(layers)
}
