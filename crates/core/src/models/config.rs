//! What the `config.json` of all models have in common.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A configuration that describes no model that is supported.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not the expected JSON.
    #[error("not the `config.json` of {model} ({source}): expected the authors' or diffusers' keys, e.g. {keys}")]
    Json {
        /// What it should describe.
        model: &'static str,
        /// Some keys of both.
        keys: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Sizes that do not fit together, or a variant of the model that is not supported.
    #[error("{0}")]
    Unsupported(String),
}

/// A `config.json` that is there but cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It describes nothing that is supported here.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
}

/// What the `config.json` in a folder says; none where there is no such file.
///
/// # Errors
/// [`ConfigFileError`] when it cannot be read or used.
pub fn beside<C>(folder: &Path, parse: impl Fn(&str) -> Result<C, ConfigError>) -> Result<Option<C>, ConfigFileError> {
    let path = folder.join("config.json");
    if !path.is_file() {
        return Ok(None);
    }
    match std::fs::read_to_string(&path) {
        Err(source) => Err(ConfigFileError::Io { path, source }),
        Ok(json) => match parse(&json) {
            Err(source) => Err(ConfigFileError::Config { path, source }),
            Ok(config) => Ok(Some(config)),
        },
    }
}

/// The sizes in a `config.json`, and the name it gives. The sizes stand in a section `model`, beside those
/// of text and codec, or alone.
pub fn read<Sizes: DeserializeOwned>(json: &str) -> Result<(Sizes, Option<String>), serde_json::Error> {
    let mut value: Value = serde_json::from_str(json)?;
    let name = value["name"].as_str().map(str::to_string);
    if let Some(model) = value.get_mut("model") {
        value = model.take();
    }
    Ok((serde_json::from_value(value)?, name))
}

/// Number of parameters of a linear layer.
pub fn linear(from: usize, to: usize) -> u64 {
    (from * to + to) as u64
}
