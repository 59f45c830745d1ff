//! HunyuanVideo text-to-video (`hyvideo/modules/models.py` of Tencent-Hunyuan/HunyuanVideo), in any size.
//!
//! Video and text tokens lie one behind the other and attend to each other. In a double block each has
//! weights of its own: two units, joint attention and feed-forward. In a single block both share weights,
//! and attention and feed-forward run side by side: one unit. The velocity `noise − data` is predicted.
//!
//! The guidance scale is an input, so there is one pass a step, unless classifier-free guidance is asked for beside it.
//! Padding of a prompt is left out: the reference keeps it from being attended to, so nothing depends on it. Prompts
//! of different lengths may therefore share a run; what is counted of it is counted by the longest.

mod chain;
mod config;
mod flops;
mod keys;
pub mod reference;
mod refiner;

pub use chain::{HunyuanChain, HunyuanCtx};
pub use config::HunyuanConfig;

use crate::inventory::{Asked, KeyLayout};
use crate::linear::Linear;
use crate::models::blocks::{Blocks, Movable};
use crate::models::modulation::Modulation;
use crate::models::ops::project;
use crate::models::prompt::{Prompt, PromptShapeError, check_states};
use crate::models::time::{NumberEmbedding, Sinusoid};
use crate::weights::{Loader, Part, Weights, WeightsError};
use burn::tensor::activation::silu;
use burn::tensor::{Device, FloatDType, Tensor};
use refiner::Refiner;

/// Projections in front of an attention, and the norms of each head's queries and keys.
struct Heads {
    qkv: [Linear; 3],
    norm_q: Tensor<1>, // [head_dim]
    norm_k: Tensor<1>,
}

/// The half of a double block that belongs to the video or to the text.
struct Stream {
    attn_mod: Modulation,
    heads: Heads,
    attn_out: Linear,
    mlp_mod: Modulation,
    mlp: [Linear; 2],
}

struct Double {
    video: Stream,
    text: Stream,
}

struct Single {
    modulation: Modulation,
    heads: Heads,
    mlp: Linear,
    attn_out: Linear, // the two halves of one layer: their outputs add up
    mlp_out: Linear,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a model has some dozens, each of many megabytes"
)]
enum Block {
    Double(Double),
    Single(Single),
}

/// A HunyuanVideo transformer with its weights on a device.
pub struct Hunyuan {
    config: HunyuanConfig,
    device: Device,
    dtype: FloatDType,
    patch: Linear,
    text: Linear,
    summary: [Linear; 2],
    refiner: Refiner,
    time: NumberEmbedding,
    guidance: NumberEmbedding,
    pooled: [Linear; 2],
    blocks: Blocks<Block>,
    head: Linear,
    head_shift: Linear,
    head_scale: Linear,
}

/// A prompt and a guidance scale as a pass sees them. They do not depend on the timestep, so one serves a
/// whole run.
#[derive(Clone, Debug)]
pub struct HunyuanCond {
    text: Tensor<3>,    // [1, tokens, d], before the refiner
    summary: Tensor<2>, // [1, d] in f32: the mean of the text states, for the refiner
    vector: Tensor<2>,  // [1, d] in f32: pooled prompt and guidance, for the blocks
}

impl Hunyuan {
    /// Loads a checkpoint in the authors' or in diffusers' key layout, whichever the keys show.
    /// Weights are converted to `dtype`; norms, embeddings of numbers and prompt, and head stay in f32.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown.
    pub fn load(
        config: HunyuanConfig,
        weights: Weights,
        device: &Device,
        dtype: FloatDType,
    ) -> Result<Hunyuan, WeightsError> {
        let layout = keys::layout(&weights);
        let mut loader = Loader::files(weights, layout, device, dtype);
        let hunyuan = Hunyuan::build(config, device, &mut loader);
        loader.finish()?;
        Ok(hunyuan)
    }
    /// Random weights, for runs that only measure speed and memory.
    pub fn random(config: HunyuanConfig, seed: u64, device: &Device, dtype: FloatDType) -> Hunyuan {
        Hunyuan::build(config, device, &mut Loader::random(seed, device, dtype))
    }
    /// A model without weights, which knows its sizes and cannot run, and what it would ask a checkpoint for.
    pub fn hollow(config: HunyuanConfig, layout: KeyLayout, dtype: FloatDType) -> (Hunyuan, Vec<Asked>) {
        let device = Device::flex();
        let mut loader = Loader::listing(keys::of(layout), &device, dtype);
        let model = Hunyuan::build(config, &device, &mut loader);
        (model, loader.into_asked())
    }
    fn build(config: HunyuanConfig, device: &Device, loader: &mut Loader) -> Hunyuan {
        let d = config.dim;
        let [pt, ph, pw] = config.patch;
        let number =
            |key: &str, loader: &mut Loader| NumberEmbedding::build(key, config.freq_dim, d, Sinusoid::F32, loader);
        let exact = |key: &str, from: usize, to: usize, loader: &mut Loader| {
            loader.linear_in(FloatDType::F32, key, &[to, from])
        };
        Hunyuan {
            device: device.clone(),
            dtype: loader.states(),
            patch: loader.linear_in(loader.dtype(), "img_in.proj", &[d, config.in_channels, pt, ph, pw]),
            text: loader.linear("txt_in.input_embedder", config.text_dim, d),
            summary: [
                exact("txt_in.c_embedder.linear_1", config.text_dim, d, loader),
                exact("txt_in.c_embedder.linear_2", d, d, loader),
            ],
            refiner: Refiner::build(&config, number("txt_in.t_embedder.mlp", loader), loader),
            time: number("time_in.mlp", loader),
            guidance: number("guidance_in.mlp", loader),
            pooled: [
                exact("vector_in.in_layer", config.pooled_dim, d, loader),
                exact("vector_in.out_layer", d, d, loader),
            ],
            blocks: loader.blocks(config.double_layers + config.single_layers, |i, loader| {
                Block::build(&config, i, loader)
            }),
            head: exact(
                "final_layer.linear",
                d,
                config.out_channels * config.patch_volume(),
                loader,
            ),
            head_shift: loader.linear_part("final_layer.adaLN_modulation.1", d, d, Part::outputs(0..d, 2 * d)),
            head_scale: loader.linear_part("final_layer.adaLN_modulation.1", d, d, Part::outputs(d..2 * d, 2 * d)),
            config,
        }
    }
    /// Sizes of this model.
    pub fn config(&self) -> &HunyuanConfig {
        &self.config
    }
    /// Where its weights lie.
    pub fn device(&self) -> &Device {
        &self.device
    }
    /// The dtype of its hidden states.
    pub fn dtype(&self) -> FloatDType {
        self.dtype
    }
    /// Prepares a prompt and a guidance scale: everything made of them that no timestep enters.
    ///
    /// # Errors
    /// [`PromptShapeError`] when the prompt has no token, too many, or states of another width.
    pub fn condition(&self, prompt: Prompt, guidance: f32) -> Result<HunyuanCond, PromptShapeError> {
        let Prompt { states, pooled } = prompt;
        check_states(&states, self.config.text_len, self.config.text_dim)?;
        let (found, expected) = (pooled.dims()[1], self.config.pooled_dim);
        if found != expected {
            return Err(PromptShapeError::Pooled { found, expected });
        }
        let mean = states.clone().cast(FloatDType::F32).mean_dim(1).squeeze_dim(1);
        let mlp = |x: Tensor<2>, [first, second]: &[Linear; 2]| project(silu(project(x, first)), second);
        // The model was given the scale in thousandths, like a timestep.
        let guidance = self.guidance.embed(&[1000.0 * guidance], &self.device);
        Ok(HunyuanCond {
            text: project(states.cast(self.dtype), &self.text),
            summary: mlp(mean, &self.summary),
            vector: mlp(pooled.cast(FloatDType::F32), &self.pooled) + guidance,
        })
    }
}

impl Block {
    /// The `i`-th of all, double blocks first.
    fn build(config: &HunyuanConfig, i: usize, loader: &mut Loader) -> Block {
        match i.checked_sub(config.double_layers) {
            None => Block::Double(Double::build(config, i, loader)),
            Some(single) => Block::Single(Single::build(config, single, loader)),
        }
    }
}

impl Double {
    fn build(config: &HunyuanConfig, i: usize, loader: &mut Loader) -> Double {
        let mut stream = |name: &str| Stream::build(config, &format!("double_blocks.{i}.{name}"), loader);
        Double {
            video: stream("img"),
            text: stream("txt"),
        }
    }
}

impl Stream {
    fn build(config: &HunyuanConfig, key: &str, loader: &mut Loader) -> Stream {
        let (d, width) = (config.dim, config.mlp_dim);
        let modulation = |of, loader: &mut Loader| Modulation::build(&format!("{key}_mod.linear"), [d, d], of, loader);
        Stream {
            attn_mod: modulation((0, 2), loader),
            heads: Heads::build(
                config,
                &format!("{key}_attn_qkv"),
                3 * d,
                &format!("{key}_attn_"),
                loader,
            ),
            attn_out: loader.linear(&format!("{key}_attn_proj"), d, d),
            mlp_mod: modulation((1, 2), loader),
            mlp: [
                loader.linear(&format!("{key}_mlp.fc1"), d, width),
                loader.linear(&format!("{key}_mlp.fc2"), width, d),
            ],
        }
    }
}

impl Single {
    fn build(config: &HunyuanConfig, i: usize, loader: &mut Loader) -> Single {
        let (d, width) = (config.dim, config.mlp_dim);
        let key = |part: &str| format!("single_blocks.{i}.{part}");
        let (first, second) = (key("linear1"), key("linear2"));
        Single {
            modulation: Modulation::build(&key("modulation.linear"), [d, d], (0, 1), loader),
            heads: Heads::build(config, &first, 3 * d + width, &key(""), loader),
            mlp: loader.linear_part(&first, d, width, Part::outputs(3 * d..3 * d + width, 3 * d + width)),
            attn_out: loader.linear_part(&second, d, d, Part::inputs(0..d, d + width)),
            mlp_out: loader.linear_part(&second, width, d, Part::inputs(d..d + width, d + width)),
        }
    }
}

impl Heads {
    /// Queries, keys and values are the first outputs of a layer that has `outputs`.
    fn build(config: &HunyuanConfig, layer: &str, outputs: usize, norms: &str, loader: &mut Loader) -> Heads {
        let (d, head_dim) = (config.dim, config.head_dim());
        let mut norm = |which| loader.take(&format!("{norms}{which}_norm.weight"), [head_dim]);
        let [norm_q, norm_k] = ["q", "k"].map(&mut norm);
        Heads {
            qkv: [0, 1, 2].map(|i| loader.linear_part(layer, d, d, Part::outputs(i * d..(i + 1) * d, outputs))),
            norm_q,
            norm_k,
        }
    }
}

impl Movable for Block {
    fn on(&self, device: &Device) -> Block {
        match self {
            Block::Double(Double { video, text }) => Block::Double(Double {
                video: video.on(device),
                text: text.on(device),
            }),
            Block::Single(block) => Block::Single(Single {
                modulation: block.modulation.on(device),
                heads: block.heads.on(device),
                mlp: block.mlp.on(device),
                attn_out: block.attn_out.on(device),
                mlp_out: block.mlp_out.on(device),
            }),
        }
    }
}

impl Movable for Stream {
    fn on(&self, device: &Device) -> Stream {
        Stream {
            attn_mod: self.attn_mod.on(device),
            heads: self.heads.on(device),
            attn_out: self.attn_out.on(device),
            mlp_mod: self.mlp_mod.on(device),
            mlp: self.mlp.on(device),
        }
    }
}

impl Movable for Heads {
    fn on(&self, device: &Device) -> Heads {
        Heads {
            qkv: self.qkv.on(device),
            norm_q: self.norm_q.on(device),
            norm_k: self.norm_k.on(device),
        }
    }
}
