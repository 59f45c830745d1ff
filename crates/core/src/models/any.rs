//! Whichever model an experiment names.
#![expect(
    clippy::large_enum_variant,
    reason = "there is one of each at a time: nothing to save"
)]

use super::Chain;
use super::cogvideox::{CogVideoX, CogVideoXChain, CogVideoXCond, CogVideoXConfig, CogVideoXCtx};
use super::config::{self, ConfigError, ConfigFileError};
use super::hunyuan::{Hunyuan, HunyuanChain, HunyuanCond, HunyuanConfig, HunyuanCtx};
use super::likeness::likeness;
use super::patch::GridError;
use super::prompt::{Prompt, PromptShapeError};
use super::wan::{Wan, WanChain, WanCond, WanConfig, WanCtx};
use super::wan::{WanExperts, WanExpertsChain, WanExpertsCond, WanExpertsCtx};
use crate::inventory::{Asked, KeyLayout};
use crate::sampler::Prediction;
use crate::tensors::{Hidden, Latent};
use crate::weights::{Weights, WeightsError};
use burn::tensor::{Device, FloatDType};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{Signal, TimeSignal, Unit, UnitKind};
use std::path::Path;

/// Sizes of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Config {
    /// Of Wan2.1, or of each expert of Wan2.2.
    Wan(WanConfig),
    /// Of HunyuanVideo.
    Hunyuan(HunyuanConfig),
    /// Of CogVideoX.
    CogVideoX(CogVideoXConfig),
}

/// A model with its weights on a device.
pub enum Model {
    /// Wan2.1.
    Wan(Wan),
    /// Wan2.2.
    WanExperts(WanExperts),
    /// HunyuanVideo.
    Hunyuan(Hunyuan),
    /// CogVideoX.
    CogVideoX(CogVideoX),
}

/// A model on latents of one size.
pub enum ModelChain<'a> {
    /// Wan2.1.
    Wan(WanChain<'a>),
    /// Wan2.2.
    WanExperts(WanExpertsChain<'a>),
    /// HunyuanVideo.
    Hunyuan(HunyuanChain<'a>),
    /// CogVideoX.
    CogVideoX(CogVideoXChain<'a>),
}

/// A prompt as a model's chain takes it.
#[derive(Clone, Debug)]
pub enum Cond {
    /// Of Wan2.1.
    Wan(WanCond),
    /// Of Wan2.2.
    WanExperts(WanExpertsCond),
    /// Of HunyuanVideo.
    Hunyuan(HunyuanCond),
    /// Of CogVideoX.
    CogVideoX(CogVideoXCond),
}

/// What stays fixed within one pass.
pub enum Ctx {
    /// Of Wan2.1.
    Wan(WanCtx),
    /// Of Wan2.2.
    WanExperts(WanExpertsCtx),
    /// Of HunyuanVideo.
    Hunyuan(HunyuanCtx),
    /// Of CogVideoX.
    CogVideoX(CogVideoXCtx),
}

/// The same expression whichever model it is.
macro_rules! each {
    (Config, $any:expr, $one:ident => $do:expr) => {
        match $any {
            Config::Wan($one) => $do,
            Config::Hunyuan($one) => $do,
            Config::CogVideoX($one) => $do,
        }
    };
    ($of:ident, $any:expr, $one:ident => $do:expr) => {
        match $any {
            $of::Wan($one) => $do,
            $of::WanExperts($one) => $do,
            $of::Hunyuan($one) => $do,
            $of::CogVideoX($one) => $do,
        }
    };
}

/// The same expression for a chain and a context of the same model.
macro_rules! within {
    ($chain:expr, $ctx:expr, ($one:ident, $its:ident) => $do:expr) => {
        match ($chain, $ctx) {
            (ModelChain::Wan($one), Ctx::Wan($its)) => $do,
            (ModelChain::WanExperts($one), Ctx::WanExperts($its)) => $do,
            (ModelChain::Hunyuan($one), Ctx::Hunyuan($its)) => $do,
            (ModelChain::CogVideoX($one), Ctx::CogVideoX($its)) => $do,
            _ => panic!("a context of another model"),
        }
    };
}

impl Config {
    /// The sizes in the `config.json` beside a transformer's weights; none where there is no such file.
    ///
    /// # Errors
    /// [`ConfigFileError`] when it cannot be read, or describes no model that is supported.
    pub fn beside(transformer: &Path) -> Result<Option<Config>, ConfigFileError> {
        config::beside(transformer, Config::parse)
    }
    /// Names of all presets.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        let video_and_text = HunyuanConfig::PRESETS.into_iter().chain(CogVideoXConfig::PRESETS);
        WanConfig::PRESETS.into_iter().chain(video_and_text)
    }
    /// A preset by name.
    pub fn preset(name: &str) -> Option<Config> {
        let wan = WanConfig::preset(name).map(Config::Wan);
        let hunyuan = || HunyuanConfig::preset(name).map(Config::Hunyuan);
        let cogvideox = || CogVideoXConfig::preset(name).map(Config::CogVideoX);
        wan.or_else(hunyuan).or_else(cogvideox)
    }
    /// Sizes and kind of model of a `config.json`, in the authors' or in diffusers' keys.
    ///
    /// # Errors
    /// [`ConfigError`] when it describes no model that is supported.
    pub fn parse(json: &str) -> Result<Config, ConfigError> {
        let file: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        if let Some(class) = file["_class_name"].as_str()
            && !["Wan", "HunyuanVideo", "CogVideoX"]
                .iter()
                .any(|known| class.starts_with(known))
        {
            let why =
                format!("this is a {class}; expected a transformer of Wan2.1 or Wan2.2, HunyuanVideo or CogVideoX");
            return Err(ConfigError::Unsupported(why));
        }
        // Keys that every file of a model has, in either style.
        let has = |key: &str| json.contains(&format!("\"{key}\""));
        if has("mm_double_blocks_depth") || has("num_single_layers") {
            HunyuanConfig::parse(json).map(Config::Hunyuan)
        } else if has("time_embed_dim") {
            CogVideoXConfig::parse(json).map(Config::CogVideoX)
        } else {
            WanConfig::parse(json).map(Config::Wan)
        }
    }
    /// Name of the kind of model, whatever its sizes.
    pub fn family(&self) -> &'static str {
        match self {
            Config::Wan(_) => "Wan",
            Config::Hunyuan(_) => "HunyuanVideo",
            Config::CogVideoX(_) => "CogVideoX",
        }
    }
    /// Its name: a preset's, or of other sizes that of the kind.
    pub fn name(&self) -> &str {
        each!(Config, self, config => &config.name)
    }
    /// Kind and sizes in words.
    pub fn shown(&self) -> String {
        let blocks = match self {
            Config::Wan(config) => config.layers.to_string(),
            Config::Hunyuan(config) => format!("{} + {}", config.double_layers, config.single_layers),
            Config::CogVideoX(config) => config.layers.to_string(),
        };
        let [width, _] = self.widths();
        let each = if self.experts() == 2 { "two experts of " } else { "" };
        format!("{}, {each}{blocks} blocks of width {width}", self.family())
    }
    /// The same sizes for each of two experts, where there are such models.
    pub fn of_experts(self) -> Option<Config> {
        match self {
            Config::Wan(config) => Some(Config::Wan(config.of_experts())),
            Config::Hunyuan(_) | Config::CogVideoX(_) => None,
        }
    }
    /// Transformers of these sizes, each with weights of its own: one, or two experts that share a run.
    pub fn experts(&self) -> usize {
        match self {
            Config::Wan(config) => config.experts(),
            Config::Hunyuan(_) | Config::CogVideoX(_) => 1,
        }
    }
    /// Timestep below which the second expert takes over from the first, where there are two.
    pub fn boundary(&self) -> Option<f32> {
        match self {
            Config::Wan(config) => config.boundary,
            Config::Hunyuan(_) | Config::CogVideoX(_) => None,
        }
    }
    /// A model without weights, which knows its sizes and cannot run, and what it, or each of its experts, would ask a
    /// checkpoint for.
    pub fn hollow(&self, layout: KeyLayout, dtype: FloatDType) -> (Model, Vec<Asked>) {
        match self.clone() {
            Config::Wan(config) if config.experts() == 2 => {
                let (high, asked) = Wan::hollow(config.clone(), layout, dtype);
                let (low, _) = Wan::hollow(config.clone(), layout, dtype);
                (Model::WanExperts(WanExperts::of(config, high, low)), asked)
            }
            Config::Wan(config) => {
                let (wan, asked) = Wan::hollow(config, layout, dtype);
                (Model::Wan(wan), asked)
            }
            Config::Hunyuan(config) => {
                let (hunyuan, asked) = Hunyuan::hollow(config, layout, dtype);
                (Model::Hunyuan(hunyuan), asked)
            }
            Config::CogVideoX(config) => {
                let (cogvideox, asked) = CogVideoX::hollow(config, layout, dtype);
                (Model::CogVideoX(cogvideox), asked)
            }
        }
    }
    /// What a model of these sizes, or each of its experts, asks a checkpoint for.
    pub fn inventory(&self, layout: KeyLayout) -> Vec<Asked> {
        self.hollow(layout, FloatDType::F32).1
    }
    /// Width, and that of the feed-forward.
    pub fn widths(&self) -> [usize; 2] {
        match self {
            Config::Wan(config) => [config.dim, config.ffn_dim],
            Config::Hunyuan(config) => [config.dim, config.mlp_dim],
            Config::CogVideoX(config) => [config.dim, config.mlp_dim],
        }
    }
    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        each!(Config, self, config => config.parameters())
    }
    /// The same widths with another number of blocks; of HunyuanVideo's a third are double, as published.
    pub fn with_blocks(&self, blocks: usize) -> Config {
        match self.clone() {
            Config::Wan(config) => Config::Wan(WanConfig {
                layers: blocks,
                ..config
            }),
            Config::Hunyuan(config) => Config::Hunyuan(HunyuanConfig {
                double_layers: blocks.div_ceil(3),
                single_layers: blocks - blocks.div_ceil(3),
                ..config
            }),
            Config::CogVideoX(config) => Config::CogVideoX(CogVideoXConfig {
                layers: blocks,
                ..config
            }),
        }
    }
    /// Block and kind of each unit of the chain, in execution order.
    pub fn unit_kinds(&self) -> Vec<(usize, UnitKind)> {
        each!(Config, self, config => config.unit_kinds())
    }
    /// Channels of a latent.
    pub fn latent_channels(&self) -> usize {
        each!(Config, self, config => config.in_channels)
    }
    /// Latent elements of one channel in a token.
    pub fn patch_volume(&self) -> usize {
        each!(Config, self, config => config.patch_volume())
    }
    /// Most tokens of a prompt.
    pub fn text_len(&self) -> usize {
        each!(Config, self, config => config.text_len)
    }
    /// Tokens of every prompt, where the text encoder's padding is attended like the rest of its states.
    pub fn padded_text(&self) -> Option<usize> {
        match self {
            Config::CogVideoX(config) => Some(config.text_len),
            Config::Wan(_) | Config::Hunyuan(_) => None, // padded with zeros by the model; left out
        }
    }
    /// Width of the text encoder's states, and of its pooled vector where the model takes one.
    pub fn text_widths(&self) -> (usize, Option<usize>) {
        match self {
            Config::Wan(config) => (config.text_dim, None),
            Config::Hunyuan(config) => (config.text_dim, Some(config.pooled_dim)),
            Config::CogVideoX(config) => (config.text_dim, None),
        }
    }
    /// Whether the guidance scale is an input of the model: no unconditional pass is needed.
    pub fn embeds_guidance(&self) -> bool {
        matches!(self, Config::Hunyuan(_))
    }
    /// What it predicts, which decides the solvers that it goes with.
    pub fn prediction(&self) -> Prediction {
        match self {
            Config::Wan(_) | Config::Hunyuan(_) => Prediction::Flow,
            Config::CogVideoX(_) => Prediction::V,
        }
    }
    /// Frames a second of the videos that the authors' models make.
    pub fn fps(&self) -> u16 {
        match self {
            Config::Wan(_) => 16,
            Config::Hunyuan(_) => 24,
            Config::CogVideoX(_) => 8,
        }
    }
    /// Loads a checkpoint in the authors' or in diffusers' key layout.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown, and what the checkpoint looks like.
    pub fn load(self, weights: Weights, device: &Device, dtype: FloatDType) -> Result<Model, WeightsError> {
        let (found, expected) = (likeness(&weights), self.shown());
        let loaded = match self {
            Config::Wan(config) => Wan::load(config, weights, device, dtype).map(Model::Wan),
            Config::Hunyuan(config) => Hunyuan::load(config, weights, device, dtype).map(Model::Hunyuan),
            Config::CogVideoX(config) => CogVideoX::load(config, weights, device, dtype).map(Model::CogVideoX),
        };
        loaded.map_err(|mut error| {
            if let (WeightsError::Mismatch { likeness, .. }, Some(found)) = (&mut error, found) {
                *likeness = format!("they look like {found}; expected was {expected}\n");
            }
            error
        })
    }
    /// Loads the checkpoints of two experts, for high noise and for low.
    ///
    /// # Errors
    /// As of [`Config::load`], of either.
    ///
    /// # Panics
    /// When the model has no experts.
    pub fn load_experts(
        self,
        [high, low]: [Weights; 2],
        device: &Device,
        dtype: FloatDType,
    ) -> Result<Model, WeightsError> {
        let Config::Wan(config) = self else {
            panic!("{} has no experts", self.shown());
        };
        let one = WanConfig {
            boundary: None,
            ..config.clone()
        };
        let load = |weights| match Config::Wan(one.clone()).load(weights, device, dtype)? {
            Model::Wan(wan) => Ok(wan),
            _ => unreachable!("the sizes of a Wan model load one"),
        };
        Ok(Model::WanExperts(WanExperts::of(config, load(high)?, load(low)?)))
    }
    /// Random weights, for runs that only measure speed and memory.
    pub fn random(self, seed: u64, device: &Device, dtype: FloatDType) -> Model {
        match self {
            Config::Wan(config) if config.experts() == 2 => {
                let random = |seed| Wan::random(config.clone(), seed, device, dtype);
                let (high, low) = (random(seed), random(seed + 1));
                Model::WanExperts(WanExperts::of(config, high, low))
            }
            Config::Wan(config) => Model::Wan(Wan::random(config, seed, device, dtype)),
            Config::Hunyuan(config) => Model::Hunyuan(Hunyuan::random(config, seed, device, dtype)),
            Config::CogVideoX(config) => Model::CogVideoX(CogVideoX::random(config, seed, device, dtype)),
        }
    }
}

impl Model {
    /// Its sizes.
    pub fn config(&self) -> Config {
        match self {
            Model::Wan(wan) => Config::Wan(wan.config().clone()),
            Model::WanExperts(wan) => Config::Wan(wan.config().clone()),
            Model::Hunyuan(hunyuan) => Config::Hunyuan(hunyuan.config().clone()),
            Model::CogVideoX(cogvideox) => Config::CogVideoX(cogvideox.config().clone()),
        }
    }
    /// Where its weights lie.
    pub fn device(&self) -> &Device {
        each!(Model, self, model => model.device())
    }
    /// The dtype it computes in.
    pub fn dtype(&self) -> FloatDType {
        each!(Model, self, model => model.dtype())
    }
    /// The model on latents of `grid` = frames, rows, columns, `batch` of them in a pass, with prompts of
    /// `text_tokens` tokens (Wan pads all prompts alike), of HunyuanVideo at most so many.
    ///
    /// # Errors
    /// [`GridError`] when patches do not divide the grid.
    ///
    /// # Panics
    /// On a batch, where the model embeds its guidance: it runs one prompt a pass.
    pub fn on(&self, grid: [usize; 3], batch: usize, text_tokens: usize) -> Result<ModelChain<'_>, GridError> {
        Ok(match self {
            Model::Wan(wan) => ModelChain::Wan(wan.on(grid, batch)?),
            Model::WanExperts(wan) => ModelChain::WanExperts(wan.on(grid, batch)?),
            Model::Hunyuan(hunyuan) => {
                assert_eq!(batch, 1, "HunyuanVideo runs one prompt a pass");
                ModelChain::Hunyuan(hunyuan.on(grid, text_tokens)?)
            }
            Model::CogVideoX(cogvideox) => ModelChain::CogVideoX(cogvideox.on(grid, batch, text_tokens)?),
        })
    }
    /// Prepares a prompt. `guidance` matters only where the model embeds it.
    ///
    /// # Errors
    /// [`PromptShapeError`] when it is too long or of another width.
    pub fn condition(&self, prompt: Prompt, guidance: f32) -> Result<Cond, PromptShapeError> {
        Ok(match self {
            Model::Wan(wan) => Cond::Wan(wan.condition(prompt.states)?),
            Model::WanExperts(wan) => Cond::WanExperts(wan.condition(prompt.states)?),
            Model::Hunyuan(hunyuan) => Cond::Hunyuan(hunyuan.condition(prompt, guidance)?),
            Model::CogVideoX(cogvideox) => Cond::CogVideoX(cogvideox.condition(prompt.states)?),
        })
    }
}

impl Cond {
    /// A conditional and an unconditional prompt along the batch axis, for guidance in one pass.
    ///
    /// # Panics
    /// Where the model embeds its guidance: it runs one prompt a pass.
    pub fn batch(conds: Vec<Cond>) -> Cond {
        let (mut wan, mut experts, mut cogvideox) = (vec![], vec![], vec![]);
        for cond in conds {
            match cond {
                Cond::Wan(cond) => wan.push(cond),
                Cond::WanExperts(cond) => experts.push(cond),
                Cond::CogVideoX(cond) => cogvideox.push(cond),
                Cond::Hunyuan(_) => panic!("HunyuanVideo runs one prompt a pass"),
            }
        }
        match (wan.is_empty(), experts.is_empty()) {
            (false, _) => Cond::Wan(WanCond::batch(wan)),
            (_, false) => Cond::WanExperts(WanExpertsCond::batch(experts)),
            _ => Cond::CogVideoX(CogVideoXCond::batch(cogvideox)),
        }
    }
}

impl Chain for ModelChain<'_> {
    fn model(&self) -> &str {
        each!(ModelChain, self, chain => chain.model())
    }
    fn latent_shape(&self) -> [usize; 5] {
        each!(ModelChain, self, chain => chain.latent_shape())
    }
    fn hidden_shape(&self) -> [usize; 3] {
        each!(ModelChain, self, chain => chain.hidden_shape())
    }
    fn tokens(&self) -> usize {
        each!(ModelChain, self, chain => chain.tokens())
    }
    fn dtype(&self) -> FloatDType {
        each!(ModelChain, self, chain => chain.dtype())
    }
    fn signals(&self) -> Vec<Signal> {
        each!(ModelChain, self, chain => chain.signals())
    }
    fn units(&self) -> Vec<Unit> {
        each!(ModelChain, self, chain => chain.units())
    }
    fn rest_flops(&self) -> f64 {
        each!(ModelChain, self, chain => chain.rest_flops())
    }
    fn switches(&self, timesteps: &[f32]) -> Vec<usize> {
        each!(ModelChain, self, chain => chain.switches(timesteps))
    }
}

impl Dit for ModelChain<'_> {
    type Hidden = Hidden;
    type Latent = Latent;
    type Cond = Cond;
    type Ctx = Ctx;

    fn embed(&self, latent: &Latent, timestep: f32, cond: &Cond) -> (Hidden, Ctx) {
        match (self, cond) {
            (ModelChain::Wan(chain), Cond::Wan(cond)) => {
                let (hidden, ctx) = chain.embed(latent, timestep, cond);
                (hidden, Ctx::Wan(ctx))
            }
            (ModelChain::WanExperts(chain), Cond::WanExperts(cond)) => {
                let (hidden, ctx) = chain.embed(latent, timestep, cond);
                (hidden, Ctx::WanExperts(ctx))
            }
            (ModelChain::Hunyuan(chain), Cond::Hunyuan(cond)) => {
                let (hidden, ctx) = chain.embed(latent, timestep, cond);
                (hidden, Ctx::Hunyuan(ctx))
            }
            (ModelChain::CogVideoX(chain), Cond::CogVideoX(cond)) => {
                let (hidden, ctx) = chain.embed(latent, timestep, cond);
                (hidden, Ctx::CogVideoX(ctx))
            }
            _ => panic!("a condition of another model"),
        }
    }
    fn eval(&self, i: usize, hidden: &Hidden, ctx: &Ctx) -> Hidden {
        within!(self, ctx, (chain, ctx) => chain.eval(i, hidden, ctx))
    }
    fn join(&self, i: usize, hidden: Hidden, raw: &Hidden, ctx: &Ctx) -> Hidden {
        within!(self, ctx, (chain, ctx) => chain.join(i, hidden, raw, ctx))
    }
    fn first_input(&self, hidden: &Hidden, ctx: &Ctx) -> Hidden {
        within!(self, ctx, (chain, ctx) => chain.first_input(hidden, ctx))
    }
    fn head(&self, hidden: Hidden, ctx: &Ctx) -> Latent {
        within!(self, ctx, (chain, ctx) => chain.head(hidden, ctx))
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        each!(ModelChain, self, chain => chain.time_signals(signal, timesteps))
    }
}
