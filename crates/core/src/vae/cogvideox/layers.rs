//! What CogVideoX's encoder and decoder are chains of. They see a video a batch of frames at a time. The very first
//! frame stands for itself: a batch of an odd number of frames begins with it.

use super::super::conv::{Conv, repeated, repeated_but_first};
use super::super::norm::GroupNorm;
use super::super::past::{Builder, Past, SEEN};
use burn::tensor::Tensor;
use burn::tensor::activation::silu;

/// A convolution that sees the current frame and the two before it.
pub(super) struct Causal {
    conv: Conv,
    slot: usize,
}

impl Causal {
    pub fn load(parts: &mut Builder, key: &str, from: usize, to: usize) -> Causal {
        Causal {
            conv: Conv::load(parts.loader, &format!("{key}.conv"), from, to, [SEEN + 1, 3, 3]),
            slot: parts.slot(),
        }
    }
    fn forward(&self, x: Tensor<5>, past: &mut Past) -> Tensor<5> {
        self.conv.forward(past.join(self.slot, x, first_again), [1; 2])
    }
}

/// What stands before the first frames of a video: the first of them.
fn first_again(x: &Tensor<5>) -> Tensor<5> {
    repeated(x.clone().narrow(2, 0, 1), [SEEN, 1, 1])
}

/// Groups of channels normalised over the frames of a batch; in the decoder then scaled and shifted, pixel by pixel, by
/// what the latent is there (arXiv 2209.09002).
pub(super) struct Norm {
    groups: GroupNorm,
    by_latent: Option<[Conv; 2]>,
}

impl Norm {
    /// `latent` is the number of channels of the latent; none in the encoder.
    pub fn load(parts: &mut Builder, key: &str, width: usize, groups: usize, latent: Option<usize>) -> Norm {
        let Some(channels) = latent else {
            return Norm {
                groups: GroupNorm::load(parts.loader, key, width, groups),
                by_latent: None,
            };
        };
        let by_latent = ["conv_y", "conv_b"]
            .map(|name| Conv::load(parts.loader, &format!("{key}.{name}.conv"), channels, width, [1; 3]));
        Norm {
            groups: GroupNorm::load(parts.loader, &format!("{key}.norm_layer"), width, groups),
            by_latent: Some(by_latent),
        }
    }
    fn forward(&self, x: Tensor<5>, latent: Option<&Tensor<5>>) -> Tensor<5> {
        let size = x.dims();
        let x = self.groups.forward(x);
        let Some([scale, shift]) = &self.by_latent else {
            return x;
        };
        let latent = latent.expect("the decoder's norms are given the latent");
        // The reference enlarges the latent first; a convolution of single pixels gives the same before, on fewer of them.
        let of_pixels = |conv: &Conv| enlarged(conv.forward(latent.clone(), [0; 2]), size);
        x * of_pixels(scale) + of_pixels(shift)
    }
}

/// What holds for a latent's frames and pixels, for those of `size` that are made of them.
fn enlarged(x: Tensor<5>, [_, _, t, h, w]: [usize; 5]) -> Tensor<5> {
    let [_, _, frames, rows, columns] = x.dims();
    let (fh, fw) = (h / rows, w / columns);
    match frames % 2 {
        0 => repeated(x, [t / frames, fh, fw]),
        _ => repeated_but_first(x, [(t - 1) / (frames - 1).max(1), fh, fw]),
    }
}

/// Two convolutions, each behind a norm, added to what came in.
pub(super) struct Residual {
    norms: [Norm; 2],
    convs: [Causal; 2],
    shortcut: Option<Conv>,
}

impl Residual {
    pub fn load(
        parts: &mut Builder,
        key: &str,
        [from, to]: [usize; 2],
        groups: usize,
        latent: Option<usize>,
    ) -> Residual {
        let shortcut = format!("{key}.conv_shortcut");
        Residual {
            norms: [
                Norm::load(parts, &format!("{key}.norm1"), from, groups, latent),
                Norm::load(parts, &format!("{key}.norm2"), to, groups, latent),
            ],
            convs: [
                Causal::load(parts, &format!("{key}.conv1"), from, to),
                Causal::load(parts, &format!("{key}.conv2"), to, to),
            ],
            shortcut: (from != to).then(|| Conv::load(parts.loader, &shortcut, from, to, [1; 3])),
        }
    }
    fn forward(&self, x: Tensor<5>, latent: Option<&Tensor<5>>, past: &mut Past) -> Tensor<5> {
        let kept = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x.clone(), [0; 2]),
            None => x.clone(),
        };
        let both = self.norms.iter().zip(&self.convs);
        kept + both.fold(x, |x, (norm, conv)| conv.forward(silu(norm.forward(x, latent)), past))
    }
}

/// In some levels pairs of frames become their mean; then rows and columns are halved.
pub(super) struct Down {
    space: Conv,
    halves_frames: bool,
}

impl Down {
    pub fn load(parts: &mut Builder, key: &str, width: usize, halves_frames: bool) -> Down {
        let space = Conv::load_2d(parts.loader, &format!("{key}.conv"), width, width, [3, 3]);
        Down {
            space: space.strided([1, 2, 2]),
            halves_frames,
        }
    }
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let x = if self.halves_frames { halved(x) } else { x };
        let x = x.pad([(0, 1), (0, 1)], 0.0); // below and to the right only
        self.space.forward(x, [0; 2])
    }
}

/// Pairs of frames as their means; the first of an odd number stays as it is.
fn halved(x: Tensor<5>) -> Tensor<5> {
    let [b, c, t, h, w] = x.dims();
    let pairs = |x: Tensor<5>| {
        let n = x.dims()[2] / 2;
        let means = x.reshape([b, c, n, 2, h * w]).mean_dim(3);
        means.reshape([b, c, n, h, w])
    };
    match t % 2 {
        0 => pairs(x),
        _ if t == 1 => x,
        _ => {
            let first = x.clone().narrow(2, 0, 1);
            Tensor::cat(vec![first, pairs(x.narrow(2, 1, t - 1))], 2)
        }
    }
}

/// Rows and columns doubled, in some levels frames as well; the first of an odd number of frames stays one.
pub(super) struct Up {
    space: Conv,
    doubles_frames: bool,
}

impl Up {
    pub fn load(parts: &mut Builder, key: &str, width: usize, doubles_frames: bool) -> Up {
        Up {
            space: Conv::load_2d(parts.loader, &format!("{key}.conv"), width, width, [3, 3]),
            doubles_frames,
        }
    }
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let x = match (self.doubles_frames, x.dims()[2] % 2) {
            (false, _) => repeated(x, [1, 2, 2]),
            (true, 0) => repeated(x, [2; 3]),
            (true, _) => repeated_but_first(x, [2; 3]),
        };
        self.space.forward(x, [1; 2])
    }
}

/// A layer of the encoder or of the decoder.
#[expect(
    clippy::large_enum_variant,
    reason = "there are some forty, most of them the largest"
)]
pub(super) enum Layer {
    Conv(Causal),
    Residual(Residual),
    Down(Down),
    Up(Up),
    Norm(Norm),
    Head(Causal),
}

impl Layer {
    /// # Shapes
    /// - `x`: `[b, c, t, h, w]`, the next frames
    /// - `latent`: `[b, z, t″, h″, w″]`, what they are decoded from; none in the encoder
    /// - output: `[b, c′, t′, h′, w′]`
    pub fn forward(&self, x: Tensor<5>, latent: Option<&Tensor<5>>, past: &mut Past) -> Tensor<5> {
        match self {
            Layer::Conv(conv) => conv.forward(x, past),
            Layer::Residual(block) => block.forward(x, latent, past),
            Layer::Down(down) => down.forward(x),
            Layer::Up(up) => up.forward(x),
            Layer::Norm(norm) => norm.forward(x, latent),
            Layer::Head(conv) => conv.forward(silu(x), past),
        }
    }
}
