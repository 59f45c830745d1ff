//! Prompts as token ids, by the `tokenizer.json` that comes with a checkpoint.

use std::path::{Path, PathBuf};

/// The tokenizer of a text encoder.
pub struct Tokenizer {
    tokenizer: tokenizers::Tokenizer,
    origin: PathBuf,
    end_token: u32,
    tokens_max: usize,
}

/// A prompt as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The tokens, the end token last.
    pub ids: Vec<u32>,
    /// How many were left out, because the prompt is longer than the model takes.
    pub left_out: usize,
}

/// A tokenizer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file that is absent or no `tokenizer.json`.
    #[error("cannot use {} as a tokenizer ({why}): expected the `tokenizer.json` of the checkpoint", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        why: String,
    },
    /// A tokenizer of another kind of encoder.
    #[error(
        "{} ends a prompt with the token {found:?}, the encoder was trained with {expected:?}: \
         use the `tokenizer.json` of its own checkpoint", path.display()
    )]
    End {
        /// The file.
        path: PathBuf,
        /// The last token of an empty prompt.
        found: Option<u32>,
        /// The one expected; none = any.
        expected: Option<u32>,
    },
    /// A prompt that it cannot split.
    #[error("cannot split the prompt \"{prompt}\" into tokens: {why}")]
    Prompt {
        /// The prompt.
        prompt: String,
        /// What the tokenizer says.
        why: String,
    },
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, for an encoder whose prompts have at most `tokens_max` tokens and end with
    /// `end_token`; none = with what the file puts there. Truncation and padding that it asks for are not used.
    ///
    /// # Errors
    /// [`TokenizerError`] when the file cannot be used, or puts another token there or none.
    pub fn open(path: &Path, end_token: Option<u32>, tokens_max: usize) -> Result<Tokenizer, TokenizerError> {
        let file = |why: tokenizers::Error| TokenizerError::File {
            path: path.to_path_buf(),
            why: why.to_string(),
        };
        let mut tokenizer = tokenizers::Tokenizer::from_file(path).map_err(file)?;
        tokenizer.with_padding(None).with_truncation(None).map_err(file)?;
        let mut tokenizer = Tokenizer {
            tokenizer,
            origin: path.to_path_buf(),
            end_token: 0,
            tokens_max,
        };
        match tokenizer.split("")?.last() {
            Some(&found) if end_token.is_none_or(|expected| expected == found) => tokenizer.end_token = found,
            found => {
                return Err(TokenizerError::End {
                    path: path.to_path_buf(),
                    found: found.copied(),
                    expected: end_token,
                });
            }
        }
        Ok(tokenizer)
    }
    /// The file it was read from.
    pub fn origin(&self) -> &Path {
        &self.origin
    }
    /// A prompt's tokens. Of a prompt that is too long the first are kept, and the end token.
    ///
    /// # Errors
    /// [`TokenizerError::Prompt`] when the tokenizer fails on it.
    pub fn tokens(&self, prompt: &str) -> Result<Tokens, TokenizerError> {
        let mut ids = self.split(prompt)?;
        let left_out = ids.len().saturating_sub(self.tokens_max);
        if left_out > 0 {
            ids.truncate(self.tokens_max - 1);
            ids.push(self.end_token);
        }
        Ok(Tokens { ids, left_out })
    }
    fn split(&self, prompt: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.tokenizer.encode(prompt, true);
        let failed = |why: tokenizers::Error| TokenizerError::Prompt {
            prompt: prompt.to_string(),
            why: why.to_string(),
        };
        Ok(encoding.map_err(failed)?.get_ids().to_vec())
    }
}
