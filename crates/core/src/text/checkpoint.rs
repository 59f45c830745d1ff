//! Text encoders and tokenizers as they come with the checkpoint of a video model.

use super::{Tokenizer, TokenizerError, TokensError};
use crate::models::config::beside;
use crate::models::{ConfigError, ConfigFileError};
use crate::weights::{Weights, WeightsError};
use std::path::{Path, PathBuf};

/// UMT5 as Wan's authors publish it, beside their transformer.
const UMT5: &str = "models_t5_umt5-xxl-enc-bf16.pth";

/// A checkpoint whose text encoders cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// No encoder in the folder.
    #[error(
        "{} holds no folder `{name}` with a text encoder: expected `config.json` and weights in it, as in diffusers' layout, \
         or for Wan `{UMT5}`", folder.display()
    )]
    NoEncoder {
        /// Folder of the checkpoint.
        folder: PathBuf,
        /// Where the encoder was expected.
        name: &'static str,
    },
    /// No tokenizer in the folder.
    #[error(
        "{} holds no tokenizer: expected {} in it, as published; where it came without, transformers makes it: \
         AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)", folder.display(), names.join(" or ")
    )]
    NoTokenizer {
        /// Folder of the checkpoint.
        folder: PathBuf,
        /// Where it was expected.
        names: &'static [&'static str],
    },
    /// A `config.json` that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    /// States of another width than the model takes.
    #[error("{} gives states of width {found}, the model takes {expected}: use the encoder it was trained with", folder.display())]
    Width {
        /// Folder of the encoder.
        folder: PathBuf,
        /// Width of its states.
        found: usize,
        /// Width the model takes.
        expected: usize,
    },
    /// Weights that do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tokenizer that does not fit.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Tokens that do not fit.
    #[error(transparent)]
    Tokens(#[from] TokensError),
}

/// The folder of a checkpoint.
pub struct Checkpoint<'a>(pub &'a Path);

impl Checkpoint<'_> {
    /// Whether there is a text encoder of any kind.
    pub fn has_encoder(&self) -> bool {
        self.0.join("text_encoder").is_dir() || self.0.join(UMT5).is_file()
    }
    /// An encoder in the folder `name`: its sizes by `parse`, where the folder has no `config.json` `published`, and
    /// its weights, not yet read. Without such a folder it is the file of UMT5, where that is what is `published`. Its
    /// states must have width `expected`.
    pub fn encoder<Config>(
        &self,
        name: &'static str,
        parse: fn(&str) -> Result<Config, ConfigError>,
        published: Option<Config>,
        width: fn(&Config) -> usize,
        expected: usize,
    ) -> Result<(Config, Weights), CheckpointError> {
        let (mut folder, file) = (self.0.join(name), self.0.join(UMT5));
        if !folder.is_dir() && published.is_some() && file.is_file() {
            folder = file;
        }
        if !folder.exists() {
            return Err(CheckpointError::NoEncoder {
                folder: self.0.to_path_buf(),
                name,
            });
        }
        let config = match beside(&folder, parse)?.or(published) {
            Some(config) => config,
            None => {
                return Err(CheckpointError::NoEncoder {
                    folder: self.0.to_path_buf(),
                    name,
                });
            }
        };
        let found = width(&config);
        if found != expected {
            return Err(CheckpointError::Width {
                folder,
                found,
                expected,
            });
        }
        Ok((config, Weights::open(&folder)?))
    }
    /// The first tokenizer of `names`, see [`Tokenizer::open`].
    pub fn tokenizer(
        &self,
        names: &'static [&'static str],
        end_token: Option<u32>,
        tokens_max: usize,
    ) -> Result<Tokenizer, CheckpointError> {
        let mut places = names.iter().map(|name| self.0.join(name));
        let Some(path) = places.find(|path| path.is_file()) else {
            return Err(CheckpointError::NoTokenizer {
                folder: self.0.to_path_buf(),
                names,
            });
        };
        Ok(Tokenizer::open(&path, end_token, tokens_max)?)
    }
}
