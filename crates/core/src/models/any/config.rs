//! Sizes of whichever model it is, and the models of them.

use super::Model;
use crate::inventory::{Asked, KeyLayout};
use crate::models::cogvideox::{CogVideoX, CogVideoXConfig};
use crate::models::config::{self, ConfigError, ConfigFileError};
use crate::models::hunyuan::{Hunyuan, HunyuanConfig};
use crate::models::likeness::likeness;
use crate::models::wan::{Wan, WanConfig, WanExperts};
use crate::sampler::Prediction;
use crate::weights::{Weights, WeightsError};
use burn::tensor::{Device, FloatDType};
use mixcache_policies::plan::UnitKind;
use std::path::Path;

/// In front of every key of a checkpoint that ComfyUI saved or reads (`unet_prefix_from_state_dict` in its
/// `comfy/model_detection.py`), or, the last, that a trainer saved (`krea-realtime-video-14b.safetensors`).
const PREFIXES: [&str; 4] = ["model.diffusion_model.", "model.model.", "net.", "model."];

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

/// The same expression whichever model it is.
macro_rules! of_each {
    ($any:expr, $one:ident => $do:expr) => {
        match $any {
            Config::Wan($one) => $do,
            Config::Hunyuan($one) => $do,
            Config::CogVideoX($one) => $do,
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
        of_each!(self, config => &config.name)
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
        of_each!(self, config => config.parameters())
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
        of_each!(self, config => config.unit_kinds())
    }
    /// Channels of a latent.
    pub fn latent_channels(&self) -> usize {
        of_each!(self, config => config.in_channels)
    }
    /// Latent elements of one channel in a token.
    pub fn patch_volume(&self) -> usize {
        of_each!(self, config => config.patch_volume())
    }
    /// Most tokens of a prompt.
    pub fn text_len(&self) -> usize {
        of_each!(self, config => config.text_len)
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
    /// Loads a checkpoint in the authors' or in diffusers' key layout, with a prefix of ComfyUI's or without.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] naming what is missing, misshapen or unknown, and what the checkpoint looks like.
    pub fn load(self, weights: Weights, device: &Device, dtype: FloatDType) -> Result<Model, WeightsError> {
        let bare = match self {
            Config::CogVideoX(_) => weights.clone(), // its authors' own keys begin so
            _ => PREFIXES.into_iter().fold(weights.clone(), Weights::without_prefix),
        };
        let (found, expected) = (likeness(&weights).or_else(|| likeness(&bare)), self.shown());
        let loaded = match self {
            Config::Wan(config) => Wan::load(config, bare, device, dtype).map(Model::Wan),
            Config::Hunyuan(config) => Hunyuan::load(config, bare, device, dtype).map(Model::Hunyuan),
            Config::CogVideoX(config) => CogVideoX::load(config, bare, device, dtype).map(Model::CogVideoX),
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
