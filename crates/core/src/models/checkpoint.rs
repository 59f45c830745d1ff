//! The sizes that stand beside a transformer in a downloaded checkpoint.

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

/// The sizes in the `config.json` beside a transformer's weights; none where there is no such file.
///
/// # Errors
/// [`SizesError`] when it cannot be read, or describes no model that is supported.
pub fn sizes(transformer: &Path) -> Result<Option<Config>, SizesError> {
    let path = transformer.join("config.json");
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
