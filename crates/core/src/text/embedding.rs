//! Tokens as vectors: of the table of an encoder only the rows of its prompts are read.

use crate::weights::Loader;
use burn::tensor::Tensor;

/// Tokens that an encoder cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// A prompt without tokens.
    #[error("a prompt has no tokens: expected at least the end token, which the tokenizer adds")]
    None,
    /// A token of another vocabulary.
    #[error("token {id} is outside the encoder's vocabulary of {vocabulary}: the tokenizer belongs to another encoder")]
    Unknown {
        /// The token.
        id: u32,
        /// Tokens that the encoder knows.
        vocabulary: usize,
    },
}

/// Whether an encoder with so large a vocabulary takes these prompts.
pub fn check(prompts: &[Vec<u32>], vocabulary: usize) -> Result<(), TokensError> {
    if prompts.iter().any(Vec::is_empty) {
        return Err(TokensError::None);
    }
    match prompts.iter().flatten().find(|id| **id as usize >= vocabulary) {
        Some(&id) => Err(TokensError::Unknown { id, vocabulary }),
        None => Ok(()),
    }
}

/// Vectors of tokens, `[1, tokens, width]`, from the table `key` of `shape` `[vocabulary, width]`.
pub fn embed(key: &str, shape: [usize; 2], ids: &[u32], loader: &mut Loader) -> Tensor<3> {
    let row = |id: &u32| loader.row(key, *id as usize, shape);
    Tensor::cat(ids.iter().map(row).collect(), 0).unsqueeze()
}
