//! The transformers, each a chain of units ([`mixcache_policies::chain::Dit`]).
//!
//! One file and one folder a model, what they share beside them. [`Model`] is the only list.

mod any;
pub(crate) mod blocks;
pub mod cogvideox;
pub(crate) mod config;
pub mod hunyuan;
mod likeness;
mod modulation;
pub mod ops;
mod patch;
mod prompt;
pub mod reference;
pub(crate) mod rotary;
mod time;
pub mod wan;

pub use any::{Cond, Config, Ctx, Model, ModelChain};
pub use config::{ConfigError, ConfigFileError};
pub use patch::GridError;
pub use prompt::{Prompt, PromptShapeError};
pub use time::Sinusoid;

use crate::tensors::{Hidden, Latent};
use burn::tensor::{DType, FloatDType};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::{Signal, Unit};

/// A model on latents of one size: what a run must know of it before it starts.
pub trait Chain: Dit<Hidden = Hidden, Latent = Latent> {
    /// Name of the model.
    fn model(&self) -> &str;
    /// Shape of its latents, `[b, c, f, h, w]`.
    fn latent_shape(&self) -> [usize; 5];
    /// Shape of its hidden states, `[b, tokens, d]`, text included where the model updates it.
    fn hidden_shape(&self) -> [usize; 3];
    /// Video tokens of one latent.
    fn tokens(&self) -> usize;
    /// The dtype of its hidden states.
    fn dtype(&self) -> FloatDType;
    /// Signals that its passes have.
    fn signals(&self) -> Vec<Signal>;
    /// The chain, with the floating-point operations of a pass over the whole batch.
    fn units(&self) -> Vec<Unit>;
    /// Floating-point operations outside the chain in one pass.
    fn rest_flops(&self) -> f64;
    /// Steps at which another expert of the model takes over, of a run whose steps have these timesteps.
    fn switches(&self, timesteps: &[f32]) -> Vec<usize> {
        let _ = timesteps;
        vec![]
    }
    /// Bytes of one hidden state.
    fn hidden_bytes(&self) -> u64 {
        (self.hidden_shape().iter().product::<usize>() * DType::from(self.dtype()).size()) as u64
    }
    /// Bytes of one [`Signal::Input`].
    fn input_bytes(&self) -> u64 {
        let [batch, _, width] = self.hidden_shape();
        (batch * self.tokens() * width * DType::from(self.dtype()).size()) as u64
    }
    /// Bytes of one prediction, which is in f32 whatever the dtype of the run.
    fn latent_bytes(&self) -> u64 {
        (self.latent_shape().iter().product::<usize>() * size_of::<f32>()) as u64
    }
}
