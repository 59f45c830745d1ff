//! What HunyuanVideo's encoder and decoder are chains of.

use super::super::conv::{Conv, repeated_but_first};
use super::super::norm::GroupNorm;
use crate::linear::Linear;
use crate::models::ops::{attention, project};
use crate::weights::Loader;
use burn::tensor::activation::silu;
use burn::tensor::ops::PadMode;
use burn::tensor::{FloatDType, Tensor};

/// A convolution that sees the current frame and the two before it. What lies outside of the video is the nearest
/// number inside.
pub(super) struct Causal(Conv);

impl Causal {
    pub fn load(loader: &mut Loader, key: &str, from: usize, to: usize) -> Causal {
        Causal(Conv::load(loader, &format!("{key}.conv"), from, to, [3; 3]))
    }
    fn strided(self, stride: [usize; 3]) -> Causal {
        Causal(self.0.strided(stride))
    }
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.0.forward(x.pad([(2, 0), (1, 1), (1, 1)], PadMode::Edge), [0; 2])
    }
}

/// Two convolutions, each behind a norm, added to what came in.
pub(super) struct Residual {
    norms: [GroupNorm; 2],
    convs: [Causal; 2],
    shortcut: Option<Conv>,
}

impl Residual {
    pub fn load(loader: &mut Loader, key: &str, from: usize, to: usize, groups: usize) -> Residual {
        let shortcut = format!("{key}.conv_shortcut.conv");
        Residual {
            norms: [
                GroupNorm::load(loader, &format!("{key}.norm1"), from, groups),
                GroupNorm::load(loader, &format!("{key}.norm2"), to, groups),
            ],
            convs: [
                Causal::load(loader, &format!("{key}.conv1"), from, to),
                Causal::load(loader, &format!("{key}.conv2"), to, to),
            ],
            shortcut: (from != to).then(|| Conv::load(loader, &shortcut, from, to, [1; 3])),
        }
    }
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let kept = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x.clone(), [0; 2]),
            None => x.clone(),
        };
        let both = self.norms.iter().zip(&self.convs);
        kept + both.fold(x, |x, (norm, conv)| conv.forward(silu(norm.forward(x))))
    }
}

/// Attention of one head, of the pixels of a frame to those of this and all frames before it, added to what came in.
pub(super) struct Attention {
    norm: GroupNorm,
    qkv: [Linear; 3],
    out: Linear,
}

impl Attention {
    pub fn load(loader: &mut Loader, key: &str, width: usize, groups: usize) -> Attention {
        let layer = |name: &str, loader: &mut Loader| {
            loader.linear_in(FloatDType::F32, &format!("{key}.{name}"), &[width, width])
        };
        Attention {
            qkv: ["to_q", "to_k", "to_v"].map(|name| layer(name, loader)),
            out: layer("to_out.0", loader),
            norm: GroupNorm::load(loader, &format!("{key}.group_norm"), width, groups),
        }
    }
    /// Frame by frame: what the reference forbids with a mask is not computed.
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [b, c, t, h, w] = x.dims();
        let pixels = self.norm.forward(x.clone()).permute([0, 2, 3, 4, 1]);
        let pixels = pixels.reshape([b, t * h * w, c]);
        let [q, k, v] = self.qkv.each_ref().map(|layer| project(pixels.clone(), layer));
        let frames = (0..t).map(|i| {
            let (from, len) = (i * h * w, h * w);
            let [k, v] = [&k, &v].map(|x| x.clone().narrow(1, 0, from + len));
            attention(q.clone().narrow(1, from, len), k, v, 1, self.out.products())
        });
        let mixed = project(Tensor::cat(frames.collect(), 1), &self.out);
        x + mixed.reshape([b, t, h, w, c]).permute([0, 4, 1, 2, 3])
    }
}

/// Frames, rows and columns upsampled; the first frame of a video stays one.
pub(super) struct Up {
    conv: Causal,
    factors: [usize; 3],
}

impl Up {
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.conv.forward(repeated_but_first(x, self.factors))
    }
}

/// A layer of the encoder or of the decoder.
pub(super) enum Layer {
    Conv(Causal),
    Residual(Residual),
    Attention(Attention),
    Up(Up),
    Norm(GroupNorm),
    Head(Causal),
}

impl Layer {
    /// A convolution in steps of frames, rows and columns.
    pub fn down(loader: &mut Loader, key: &str, width: usize, stride: [usize; 3]) -> Layer {
        Layer::Conv(Causal::load(loader, key, width, width).strided(stride))
    }
    /// Nearest-neighbour upsampling and a convolution.
    pub fn up(loader: &mut Loader, key: &str, width: usize, factors: [usize; 3]) -> Layer {
        let conv = Causal::load(loader, key, width, width);
        Layer::Up(Up { conv, factors })
    }
    /// # Shapes
    /// - `x`: `[b, c, t, h, w]`
    /// - output: `[b, c′, t′, h′, w′]`
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        match self {
            Layer::Conv(conv) => conv.forward(x),
            Layer::Residual(block) => block.forward(x),
            Layer::Attention(block) => block.forward(x),
            Layer::Up(up) => up.forward(x),
            Layer::Norm(norm) => norm.forward(x),
            Layer::Head(conv) => conv.forward(silu(x)),
        }
    }
}
