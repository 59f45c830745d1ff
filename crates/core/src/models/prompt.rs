//! Prompts as a text encoder hands them to a model.

use burn::tensor::Tensor;

/// A prompt as numbers.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// States of its tokens, without padding, `[1, tokens, width]`.
    pub states: Tensor<3>,
    /// One vector for all of it, `[1, width]`; only some models take it.
    pub pooled: Tensor<2>,
}

impl Prompt {
    /// A prompt whose pooled vector is the mean of its states.
    pub fn averaged(states: Tensor<3>) -> Prompt {
        let pooled = states.clone().mean_dim(1).squeeze_dim(1);
        Prompt { states, pooled }
    }
}

/// A prompt that the model cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptShapeError {
    /// Too many states, none, or of another width.
    #[error(
        "the prompt has {tokens} tokens of width {width}, the model takes 1 to {text_len} of width {text_dim}: \
         cut the prompt, or use the text encoder the model was trained with"
    )]
    States {
        /// Tokens of the prompt.
        tokens: usize,
        /// Their width.
        width: usize,
        /// Most tokens of the model.
        text_len: usize,
        /// Their width.
        text_dim: usize,
    },
    /// A pooled vector of another width.
    #[error(
        "the pooled prompt has width {found}, the model takes {expected}: use the text encoder the model was trained with"
    )]
    Pooled {
        /// Width of the vector.
        found: usize,
        /// Width the model takes.
        expected: usize,
    },
}

/// Whether a model of such sizes takes these states.
pub fn check_states(states: &Tensor<3>, text_len: usize, text_dim: usize) -> Result<(), PromptShapeError> {
    let [_, tokens, width] = states.dims();
    if width == text_dim && (1..=text_len).contains(&tokens) {
        return Ok(());
    }
    Err(PromptShapeError::States {
        tokens,
        width,
        text_len,
        text_dim,
    })
}
