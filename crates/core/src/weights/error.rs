//! Why weights could not be used.

use std::path::{Path, PathBuf};

/// Why weights could not be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file or folder that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that is not safetensors, or is cut short.
    #[error("{origin} is not a complete safetensors file ({why}): download it again, or convert it to safetensors")]
    Format {
        /// The file.
        origin: String,
        /// What the parser says.
        why: String,
    },
    /// A file as `torch.save` writes it.
    #[error(
        "{} is a pickle, a program, which is not run: download the model in safetensors, or convert it{}",
        path.display(),
        scales_elsewhere(path)
    )]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// A folder without one clear checkpoint.
    #[error("{} holds {found}: expected one `.safetensors` file, or shards with a `.safetensors.index.json`", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// A checkpoint whose index names files that are not there.
    #[error(
        "{} is not complete: {missing} of the {of} files that its index names are missing, first {first}: download it again",
        folder.display()
    )]
    Partial {
        /// The folder.
        folder: PathBuf,
        /// Number of files that are missing.
        missing: usize,
        /// Number of files that there should be.
        of: usize,
        /// Name of the first that is missing.
        first: String,
    },
    /// The keys or shapes are not those of the model.
    #[error(
        "the weights in {origin} are not those of this model:\n{report}{likeness}check that the checkpoint and the model's configuration belong together"
    )]
    Mismatch {
        /// File or folder.
        origin: String,
        /// Missing, misshapen and unknown keys, a line each.
        report: String,
        /// What they look like instead, a line; empty where that is not known.
        likeness: String,
    },
}

/// HunyuanVideo's authors keep the scales of its fp8 weights, by layer, in a pickle of their own
/// (`hyvideo/modules/fp8_optimization.py`).
fn scales_elsewhere(pickle: &Path) -> String {
    match pickle.file_stem().and_then(|stem| stem.to_str()) {
        Some(stem) if stem.ends_with("_fp8") => format!(
            ". If {stem}_map.pt lies beside it, that holds a scale for each layer: store the scale of LAYER.weight as LAYER.scale_weight"
        ),
        _ => String::new(),
    }
}
