//! Whichever model an experiment names.
#![expect(
    clippy::large_enum_variant,
    reason = "there is one of each at a time: nothing to save"
)]

/// The same expression whichever model it is.
macro_rules! each {
    ($of:ident, $any:expr, $one:ident => $do:expr) => {
        match $any {
            $of::Wan($one) => $do,
            $of::WanExperts($one) => $do,
            $of::Hunyuan($one) => $do,
            $of::CogVideoX($one) => $do,
        }
    };
}

mod chain; // behind the macro, which it uses
mod config;

pub use config::Config;

use super::cogvideox::{CogVideoX, CogVideoXChain, CogVideoXCond, CogVideoXCtx};
use super::hunyuan::{Hunyuan, HunyuanChain, HunyuanCond, HunyuanCtx};
use super::patch::GridError;
use super::prompt::{Prompt, PromptShapeError};
use super::wan::{Wan, WanChain, WanCond, WanCtx};
use super::wan::{WanExperts, WanExpertsChain, WanExpertsCond, WanExpertsCtx};
use burn::tensor::{Device, FloatDType};

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
    /// The dtype of its hidden states.
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
