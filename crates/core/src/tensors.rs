//! Hidden states and latents: the tensors a cache stores, weighs and compares.

use burn::tensor::{FloatDType, Tensor, TensorData, Transaction};
use mixcache_policies::chain::{Feature, Planes};
use mixcache_policies::sea::gains;
use std::f64::consts::TAU;

/// Hidden state `[b, tokens, d]`, in the dtype of the run (on a CPU f32 where that is bf16): the video tokens and, behind them, those of
/// the text where the model updates both. Arithmetic is on all tokens, distances are of the video alone.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// `[b, tokens, d]`
    pub tokens: Tensor<3>,
    /// How many tokens are the video's.
    pub video: usize,
}

impl Hidden {
    /// A hidden state without text.
    pub fn of_video(tokens: Tensor<3>) -> Hidden {
        let video = tokens.dims()[1];
        Hidden { tokens, video }
    }
    /// The video tokens `[b, video, d]`.
    pub fn video_tokens(&self) -> Tensor<3> {
        match self.tokens.dims()[1] {
            all if all == self.video => self.tokens.clone(),
            _ => self.tokens.clone().narrow(1, 0, self.video),
        }
    }
    /// The same split with other tokens.
    fn with(&self, tokens: Tensor<3>) -> Hidden {
        let video = self.video;
        Hidden { tokens, video }
    }
}

/// Latent or prediction `[b, c, f, h, w]`, in f32 whatever the dtype of the run: the sampler and the
/// guidance work in full precision.
#[derive(Clone, Debug)]
pub struct Latent(pub Tensor<5>);

impl Hidden {
    /// Mean over video tokens of `‖self‖₂ / ‖before‖₂`, in f32, left on the device: MagCache's magnitude ratio of
    /// a residual and the one a step before (arXiv 2506.09045).
    pub fn magnitude_ratio(&self, before: &Hidden) -> Tensor<1> {
        let norms = |x: &Hidden| x.video_tokens().cast(FloatDType::F32).square().sum_dim(2).sqrt(); // [b, n, 1]
        (norms(self) / norms(before)).mean()
    }
}

impl Latent {
    /// A latent from host numbers in row-major order.
    ///
    /// # Panics
    /// When `values` does not hold exactly the elements of `shape`.
    pub fn from_host(values: Vec<f32>, shape: [usize; 5], device: &burn::tensor::Device) -> Latent {
        Latent(Tensor::from_data(TensorData::new(values, shape), device))
    }
    /// The numbers in row-major order: one synchronising read.
    pub fn to_host(&self) -> Vec<f32> {
        host(self.0.clone())
    }
    /// Several latents along the batch axis.
    pub fn batch(latents: Vec<Latent>) -> Latent {
        Latent(Tensor::cat(latents.into_iter().map(|z| z.0).collect(), 0))
    }
    /// The rows of the batch, one latent each.
    pub fn rows(&self) -> Vec<Latent> {
        let rows = self.0.dims()[0];
        (0..rows).map(|i| Latent(self.0.clone().narrow(0, i, 1))).collect()
    }
}

/// Reads one tensor as f32.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .cast(FloatDType::F32)
        .into_data()
        .try_into_vec()
        .expect("a tensor cast to f32 holds f32")
}

fn add_scaled<const D: usize>(a: Tensor<D>, weight: f32, b: &Tensor<D>) -> Tensor<D> {
    if weight == 1.0 {
        a + b.clone()
    } else {
        a + b.clone().mul_scalar(weight)
    }
}

/// Sums of half-precision numbers lose their small terms, so both means are taken in f32.
fn l1_pair<const D: usize>(new: &Tensor<D>, old: &Tensor<D>) -> [Tensor<1>; 2] {
    let new = new.clone().cast(FloatDType::F32);
    let old = old.clone().cast(FloatDType::F32);
    [(new - old.clone()).abs().mean(), old.abs().mean()]
}

fn read(scalars: Vec<Tensor<1>>) -> Vec<f32> {
    let transaction = scalars.into_iter().fold(Transaction::default(), |t, s| t.register(s));
    let numbers = transaction.execute();
    numbers.iter().map(|n| n.as_slice::<f32>().expect("f32")[0]).collect()
}

impl Feature for Hidden {
    type Scalar = Tensor<1>;
    fn add_scaled(self, weight: f32, other: &Self) -> Self {
        let video = self.video;
        let tokens = add_scaled(self.tokens, weight, &other.tokens);
        Hidden { tokens, video }
    }
    fn scaled(&self, weight: f32) -> Self {
        self.with(self.tokens.clone().mul_scalar(weight))
    }
    fn since(&self, before: Self) -> Self {
        self.with(self.tokens.clone() - before.tokens)
    }
    fn l1_pair(&self, other: &Self) -> [Tensor<1>; 2] {
        l1_pair(&self.video_tokens(), &other.video_tokens())
    }
    fn read(scalars: Vec<Tensor<1>>) -> Vec<f32> {
        read(scalars)
    }
}

impl Feature for Latent {
    type Scalar = Tensor<1>;
    fn add_scaled(self, weight: f32, other: &Self) -> Self {
        Latent(add_scaled(self.0, weight, &other.0))
    }
    fn scaled(&self, weight: f32) -> Self {
        Latent(self.0.clone().mul_scalar(weight))
    }
    fn since(&self, before: Self) -> Self {
        Latent(self.0.clone() - before.0)
    }
    fn l1_pair(&self, other: &Self) -> [Tensor<1>; 2] {
        l1_pair(&self.0, &other.0)
    }
    fn read(scalars: Vec<Tensor<1>>) -> Vec<f32> {
        read(scalars)
    }
}

impl Planes for Latent {
    /// Per frame: 2-D DFT, keep the frequencies `k` with `k_h² + k_w² ≤ r²`, `r = ⌊min(H, W)/5⌋`, back,
    /// real part (FasterCache, arXiv 2410.19355). Only `2r + 1` frequencies of an axis can lie in the
    /// disc, so the transform is a few thin matrix products.
    fn low_pass(&self) -> Latent {
        let [b, c, f, h, w] = self.0.dims();
        let radius = h.min(w) / 5;
        let kept = 2 * radius + 1;
        let device = self.0.device();
        let [cos_h, sin_h] = waves(radius, h, &device); // [kept, h]
        let [cos_w, sin_w] = waves(radius, w, &device); // [kept, w]
        let disc: Vec<f32> = (0..kept * kept)
            .map(|i| (i / kept, i % kept))
            .map(|(i, j)| i.abs_diff(radius).pow(2) + j.abs_diff(radius).pow(2) <= radius * radius)
            .map(|inside| inside as u8 as f32 / (h * w) as f32) // the inverse transform's 1/HW
            .collect();
        let disc = Tensor::<3>::from_data(TensorData::new(disc, [1, kept, kept]), &device);

        let x = self.0.clone().reshape([b * c * f, h, w]);
        let (p, q) = (
            x.clone().matmul(cos_w.clone().transpose()),
            x.matmul(sin_w.clone().transpose()),
        );
        let real = cos_h.clone().matmul(p.clone()) - sin_h.clone().matmul(q.clone());
        let minus_imaginary = sin_h.clone().matmul(p) + cos_h.clone().matmul(q);
        let (real, minus_imaginary) = (real * disc.clone(), minus_imaginary * disc);
        let even = real.clone().matmul(cos_w.clone()) + minus_imaginary.clone().matmul(sin_w.clone());
        let odd = minus_imaginary.matmul(cos_w) - real.matmul(sin_w);
        let low = cos_h.transpose().matmul(even) + sin_h.transpose().matmul(odd);
        Latent(low.reshape([b, c, f, h, w]))
    }
    /// The gains are even in the frequency, so on each axis the filter is a symmetric circulant matrix; the three
    /// commute, and their mean gains multiply.
    fn denoised(&self, sigma: f32) -> Latent {
        let [b, c, f, h, w] = self.0.dims();
        let filter = |size: usize| filter(size, sigma, &self.0.device());
        let x = self.0.clone().reshape([b * c * f, h, w]);
        let x = filter(h).matmul(x.matmul(filter(w))).reshape([b * c, f, h * w]);
        Latent(filter(f).matmul(x).reshape([b, c, f, h, w]))
    }
    fn dot(&self, other: &Latent) -> Tensor<1> {
        (self.0.clone() * other.0.clone()).sum()
    }
}

/// The matrix `[1, size, size]` that multiplies each frequency of an axis by its gain.
fn filter(size: usize, sigma: f32, device: &burn::tensor::Device) -> Tensor<3> {
    let gains = gains(size, sigma);
    let at = |distance: usize| {
        let wave = |(k, gain): (usize, &f64)| gain * (TAU * (k * distance % size) as f64 / size as f64).cos();
        gains.iter().enumerate().map(wave).sum::<f64>() / size as f64
    };
    let values = (0..size * size)
        .map(|i| at((i / size).abs_diff(i % size)) as f32)
        .collect();
    Tensor::from_data(TensorData::new(values, [1, size, size]), device)
}

/// `cos` and `sin` of `2πkn/size` for `k` in `−radius..=radius`, each `[1, 2·radius + 1, size]`.
fn waves(radius: usize, size: usize, device: &burn::tensor::Device) -> [Tensor<3>; 2] {
    let kept = 2 * radius + 1;
    let angle = |i: usize| TAU * ((i / size) as f64 - radius as f64) * (i % size) as f64 / size as f64;
    [f64::cos, f64::sin].map(|wave| {
        let values: Vec<f32> = (0..kept * size).map(|i| wave(angle(i)) as f32).collect();
        Tensor::from_data(TensorData::new(values, [1, kept, size]), device)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    // Sums of at most 240 products of numbers near 1 in f32.
    const ROUNDING: f32 = 2e-5;

    fn latent(value: impl Fn(usize, usize) -> f32) -> Latent {
        let values = (0..2 * 12 * 20).map(|i| value(i / 20 % 12, i % 20)).collect();
        Latent::from_host(values, [1, 2, 1, 12, 20], &Device::flex())
    }
    fn largest(z: &Latent) -> f32 {
        z.to_host().into_iter().fold(0.0, |m, x| m.max(x.abs()))
    }

    #[test]
    fn a_constant_is_all_low_frequency() {
        let flat = latent(|_, _| 3.0);
        assert!(largest(&flat.low_pass().since(flat)) < ROUNDING);
    }

    #[test]
    fn a_checkerboard_has_no_low_frequency() {
        let board = latent(|i, j| if (i + j) % 2 == 0 { 1.0 } else { -1.0 });
        assert!(largest(&board.low_pass()) < ROUNDING);
    }

    #[test]
    fn the_band_is_a_disc_of_a_fifth_of_the_shorter_side() {
        // min(12, 20)/5 = 2: two waves down a column pass, two down and one across do not, three do not.
        let wave = |down: f32, across: f32| {
            latent(move |i, j| (std::f32::consts::TAU * (down * i as f32 / 12.0 + across * j as f32 / 20.0)).cos())
        };
        let inside = wave(2.0, 0.0);
        assert!(largest(&inside.low_pass().since(inside)) < ROUNDING);
        assert!(largest(&wave(2.0, 1.0).low_pass()) < ROUNDING);
        assert!(largest(&wave(0.0, 3.0).low_pass()) < ROUNDING);
    }

    #[test]
    fn filtering_twice_changes_nothing_more() {
        let once = latent(|i, j| ((i * 7 + j * 13) % 11) as f32 - 5.0).low_pass();
        assert!(largest(&once) > 0.1);
        assert!(largest(&once.low_pass().since(once)) < ROUNDING * 5.0); // values up to 5
    }

    #[test]
    fn a_filter_without_noise_passes_everything_and_one_of_pure_noise_the_mean_alone() {
        let z = latent(|i, j| ((i * 7 + j * 13) % 11) as f32 - 4.0);
        assert!(largest(&z.denoised(0.0).since(z.clone())) < ROUNDING * 5.0); // values up to 6
        // The mean gain is 1, and of 12·20 frequencies one is left.
        let mean = z.to_host().iter().sum::<f32>() / (2 * 12 * 20) as f32;
        let flat = latent(|_, _| mean * 240.0);
        assert!(largest(&z.denoised(1.0).since(flat)) < 240.0 * 1e-3); // what is left of the other gains
    }

    #[test]
    fn a_wave_is_multiplied_by_the_gains_of_its_frequencies() {
        let wave = latent(|i, j| {
            (std::f32::consts::TAU * 2.0 * i as f32 / 12.0).cos()
                * (std::f32::consts::TAU * 3.0 * j as f32 / 20.0).cos()
        });
        let gain = (gains(12, 0.6)[2] * gains(20, 0.6)[3]) as f32;
        assert!(largest(&wave.denoised(0.6).since(wave.scaled(gain))) < ROUNDING);
    }

    #[test]
    fn the_cosine_of_a_latent_and_its_multiple_is_that_of_their_signs() {
        let z = latent(|i, j| (i + j) as f32);
        let minus = z.scaled(-2.0);
        let [ab, aa, bb] = [z.dot(&minus), z.dot(&z), minus.dot(&minus)].map(|n| host(n)[0]);
        assert!((ab / (aa * bb).sqrt() + 1.0).abs() < 1e-6); // rounding
    }

    #[test]
    fn the_magnitude_ratio_weighs_every_token_alike() {
        let of =
            |values: [f32; 4]| Hidden::of_video(Tensor::<1>::from_floats(values, &Device::flex()).reshape([1, 2, 2]));
        // Token norms 5 and 100 after 1 and 200: ratios 5 and 0.5.
        let ratio = of([3.0, 4.0, 60.0, 80.0]).magnitude_ratio(&of([0.0, 1.0, 120.0, 160.0]));
        assert!((host(ratio)[0] - 2.75).abs() < 1e-6); // rounding
    }

    #[test]
    fn a_look_at_half_precision_sums_in_f32() {
        // 4096 ones: a sum kept in bf16 would stall at 256, where the next number is 258.
        let ones = Tensor::<3>::ones([1, 64, 64], (&Device::flex(), burn::tensor::DType::BF16));
        let [a, b] = [ones.clone().mul_scalar(3.0), ones].map(Hidden::of_video);
        assert_eq!(Hidden::read(a.l1_pair(&b).into()), [2.0, 1.0]);
    }

    #[test]
    fn text_tokens_are_cached_but_not_measured() {
        let hidden = |video: f32, text: f32| Hidden {
            tokens: Tensor::<3>::from_floats([[[video], [video], [text]]], &Device::flex()),
            video: 2,
        };
        let (old, new) = (hidden(1.0, 5.0), hidden(3.0, -5.0));
        assert_eq!(Hidden::read(new.l1_pair(&old).into()), [2.0, 1.0]);
        assert_eq!(host(new.since(old).tokens), [2.0, 2.0, -10.0]);
    }
}
