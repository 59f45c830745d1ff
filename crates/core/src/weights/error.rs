//! Why weights could not be used.

use std::path::PathBuf;

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
    /// A file of `torch.save` that holds more than tensors, or holds them in a way that is not read.
    #[error(
        "cannot read {origin}, a pickle of PyTorch: {why}. Nothing in it was run. Download the model in safetensors, or, \
         where you trust the file, load it in PyTorch 1.6 or newer and save its state dict alone again, its tensors \
         made contiguous"
    )]
    Pickle {
        /// The file.
        origin: String,
        /// What was found.
        why: String,
    },
    /// Scales in a file of their own, of which one is missing.
    #[error("{} holds no scale for `{layer}`, whose weight has eight bits: download both files again", path.display())]
    Scale {
        /// The file of scales.
        path: PathBuf,
        /// The layer without one.
        layer: String,
    },
    /// A folder without one clear checkpoint.
    #[error("{} holds {found}: expected one `.safetensors` file, shards with a `.safetensors.index.json` or `.bin.index.json`, or one file of `torch.save`", folder.display())]
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
