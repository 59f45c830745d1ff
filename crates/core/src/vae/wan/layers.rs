//! What Wan's encoder and decoder are chains of. They see a video a few frames at a time; the frames are those of one
//! pass over all of it.

use super::super::conv::{Conv, per_channel, repeated};
use super::super::past::{Builder, Past, SEEN, last};
use crate::linear::Linear;
use crate::models::ops::{attention, project};
use burn::tensor::activation::silu;
use burn::tensor::{FloatDType, Tensor};

/// Guard of the norm: below this length a vector of channels counts as this long.
const LENGTH_MIN: f64 = 1e-12;

/// What stands before the first frames of a video.
fn zeros_before(x: &Tensor<5>) -> Tensor<5> {
    let [b, c, _, h, w] = x.dims();
    Tensor::zeros([b, c, SEEN, h, w], &x.device())
}

/// A convolution that sees the current frame and the two before it.
pub(super) struct Causal {
    conv: Conv,
    border: [usize; 2],
    slot: usize,
}

impl Causal {
    /// With a kernel of 3 frames and `side` × `side` pixels.
    pub fn load(parts: &mut Builder, key: &str, from: usize, to: usize, side: usize) -> Causal {
        Causal {
            conv: Conv::load(parts.loader, key, from, to, [SEEN + 1, side, side]),
            border: [side / 2; 2],
            slot: parts.slot(),
        }
    }
    fn forward(&self, x: Tensor<5>, past: &mut Past) -> Tensor<5> {
        self.conv.forward(past.join(self.slot, x, zeros_before), self.border)
    }
    /// Whether `x` are the first frames; if so, zeros are remembered in their place.
    fn passes_over_the_first(&self, x: &Tensor<5>, past: &mut Past) -> bool {
        let is_first = past.is_empty(self.slot);
        if is_first {
            past.replace(self.slot, zeros_before(x));
        }
        is_first
    }
}

/// The channels of a pixel scaled to length √c, then each by a weight.
pub(super) struct Norm(Tensor<5>); // [1, c, 1, 1, 1]

impl Norm {
    /// `D` is the rank that the checkpoint stores the weights in, channels first.
    pub fn load<const D: usize>(parts: &mut Builder, key: &str, width: usize) -> Norm {
        let mut shape = [1; D];
        shape[0] = width;
        let gamma: Tensor<D> = parts.loader.take(&format!("{key}.gamma"), shape);
        Norm(per_channel(gamma.flatten(0, D - 1)).mul_scalar((width as f64).sqrt()))
    }
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let length = (x.clone() * x.clone()).sum_dim(1).sqrt().clamp_min(LENGTH_MIN);
        x / length * self.0.clone()
    }
}

/// Two convolutions, each behind a norm, added to what came in.
pub(super) struct Residual {
    norms: [Norm; 2],
    convs: [Causal; 2],
    shortcut: Option<Conv>,
}

impl Residual {
    pub fn load(parts: &mut Builder, key: &str, from: usize, to: usize) -> Residual {
        Residual {
            norms: [
                Norm::load::<4>(parts, &format!("{key}.residual.0"), from),
                Norm::load::<4>(parts, &format!("{key}.residual.3"), to),
            ],
            convs: [
                Causal::load(parts, &format!("{key}.residual.2"), from, to, 3),
                Causal::load(parts, &format!("{key}.residual.6"), to, to, 3),
            ],
            shortcut: (from != to).then(|| Conv::load(parts.loader, &format!("{key}.shortcut"), from, to, [1; 3])),
        }
    }
    fn forward(&self, x: Tensor<5>, past: &mut Past) -> Tensor<5> {
        let kept = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x.clone(), [0; 2]),
            None => x.clone(),
        };
        let both = self.norms.iter().zip(&self.convs);
        kept + both.fold(x, |x, (norm, conv)| conv.forward(silu(norm.forward(x)), past))
    }
}

/// Attention of one head among the pixels of each frame, added to what came in.
pub(super) struct Attention {
    norm: Norm,
    qkv: Linear,
    out: Linear,
}

impl Attention {
    pub fn load(parts: &mut Builder, key: &str, width: usize) -> Attention {
        let layer = |name: &str, to: usize, parts: &mut Builder| {
            let key = format!("{key}.{name}");
            parts.loader.linear_in(FloatDType::F32, &key, &[to, width, 1, 1])
        };
        Attention {
            qkv: layer("to_qkv", 3 * width, parts),
            out: layer("proj", width, parts),
            norm: Norm::load::<3>(parts, &format!("{key}.norm"), width),
        }
    }
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [b, c, t, h, w] = x.dims();
        let pixels = self.norm.forward(x.clone()).permute([0, 2, 3, 4, 1]);
        let qkv = project(pixels.reshape([b * t, h * w, c]), &self.qkv);
        let [q, k, v] = [0, 1, 2].map(|i| qkv.clone().narrow(2, i * c, c));
        let mixed = project(attention(q, k, v, 1, self.out.products()), &self.out);
        x + mixed.reshape([b, t, h, w, c]).permute([0, 4, 1, 2, 3])
    }
}

/// Rows and columns halved, then in some levels frames.
pub(super) struct Down {
    space: Conv,
    time: Option<(Conv, usize)>,
}

impl Down {
    pub fn load(parts: &mut Builder, key: &str, width: usize, halves_frames: bool) -> Down {
        let space = Conv::load_2d(parts.loader, &format!("{key}.resample.1"), width, width, [3, 3]);
        let time = halves_frames.then(|| {
            let conv = Conv::load(parts.loader, &format!("{key}.time_conv"), width, width, [3, 1, 1]);
            (conv.strided([2, 1, 1]), parts.slot())
        });
        Down {
            space: space.strided([1, 2, 2]),
            time,
        }
    }
    /// The first frame of a video is kept as it is; of those behind it pairs become one.
    fn forward(&self, x: Tensor<5>, past: &mut Past) -> Tensor<5> {
        let x = x.pad([(0, 1), (0, 1)], 0.0); // below and to the right only
        let x = self.space.forward(x, [0; 2]);
        let Some((conv, slot)) = &self.time else { return x };
        let before = past.replace(*slot, last(&x, 1));
        match before {
            Some(before) => conv.forward(Tensor::cat(vec![before, x], 2), [0; 2]),
            None => x,
        }
    }
}

/// In some levels frames doubled, then rows and columns.
pub(super) struct Up {
    space: Conv,
    time: Option<Causal>,
}

impl Up {
    pub fn load(parts: &mut Builder, key: &str, width: usize, doubles_frames: bool) -> Up {
        Up {
            space: Conv::load_2d(parts.loader, &format!("{key}.resample.1"), width, width / 2, [3, 3]),
            time: doubles_frames.then(|| Causal::load(parts, &format!("{key}.time_conv"), width, 2 * width, 1)),
        }
    }
    /// The first frame of a video stays one, and the convolution over time never sees it; every other becomes two.
    fn forward(&self, x: Tensor<5>, past: &mut Past) -> Tensor<5> {
        let x = match &self.time {
            Some(conv) if !conv.passes_over_the_first(&x, past) => {
                let [b, c, t, h, w] = x.dims();
                let pairs = conv.forward(x, past).reshape([b, 2, c, t, h, w]);
                pairs.permute([0, 2, 3, 1, 4, 5]).reshape([b, c, 2 * t, h, w])
            }
            _ => x,
        };
        self.space.forward(repeated(x, [1, 2, 2]), [1; 2])
    }
}

/// A layer of the encoder or of the decoder.
#[expect(
    clippy::large_enum_variant,
    reason = "there are some thirty, most of them the largest"
)]
pub(super) enum Layer {
    Conv(Causal),
    Residual(Residual),
    Attention(Attention),
    Down(Down),
    Up(Up),
    Norm(Norm),
    Head(Causal),
}

impl Layer {
    /// # Shapes
    /// - `x`: `[b, c, t, h, w]`, the next frames
    /// - output: `[b, c′, t′, h′, w′]`
    pub fn forward(&self, x: Tensor<5>, past: &mut Past) -> Tensor<5> {
        match self {
            Layer::Conv(conv) => conv.forward(x, past),
            Layer::Residual(block) => block.forward(x, past),
            Layer::Attention(block) => block.forward(x),
            Layer::Down(down) => down.forward(x, past),
            Layer::Up(up) => up.forward(x, past),
            Layer::Norm(norm) => norm.forward(x),
            Layer::Head(conv) => conv.forward(silu(x), past),
        }
    }
}
