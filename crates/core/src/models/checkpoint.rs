//! A transformer's place in a downloaded checkpoint, and the sizes that stand beside it.

use super::{Config, ConfigError};
use std::path::{Path, PathBuf};

/// A `config.json` that is there but cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SizesError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It describes no model that is supported.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
}

/// Where the transformer's weights are in what was downloaded: diffusers keeps them in a folder `transformer`.
pub fn transformer(checkpoint: &Path) -> PathBuf {
    let own = checkpoint.join("transformer");
    if own.is_dir() { own } else { checkpoint.to_path_buf() }
}

/// The sizes in the `config.json` of a checkpoint's transformer; none where there is no such file.
///
/// # Errors
/// [`SizesError`] when it cannot be read, or describes no model that is supported.
pub fn sizes(checkpoint: &Path) -> Result<Option<Config>, SizesError> {
    let path = transformer(checkpoint).join("config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|source| SizesError::Io {
        path: path.clone(),
        source,
    })?;
    Config::parse(&text)
        .map(Some)
        .map_err(|source| SizesError::Config { path, source })
}
