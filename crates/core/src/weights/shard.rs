//! One file of a checkpoint: mapped, and which tensors stand where in it.

use super::stored::Stored;
use super::{WeightsError, files, pickle};
use memmap2::Mmap;
use safetensors::tensor::SafeTensors;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

/// The bytes of a file.
pub(super) enum Bytes {
    Mapped(Mmap),
    Embedded(&'static [u8]),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Embedded(bytes) => bytes,
        }
    }
}

/// A file of a checkpoint.
pub(super) struct Shard {
    bytes: Bytes,
    /// Its tensors by name.
    pub tensors: BTreeMap<String, Stored>,
    /// What it says of itself.
    pub notes: HashMap<String, String>,
}

impl Shard {
    /// Maps a file, safetensors or, by its ending, a pickle of PyTorch.
    pub fn open(path: &Path) -> Result<Shard, WeightsError> {
        let io = |source| WeightsError::Io {
            path: path.to_path_buf(),
            source,
        };
        let (opened, origin) = (File::open(path).map_err(io)?, path.display().to_string());
        // SAFETY: the map is private to this process; callers of `Weights::open` are told not to change the file.
        let map = unsafe { Mmap::map(&opened) }.map_err(io)?;
        if !files::is_pickle(path) {
            return Shard::safetensors(Bytes::Mapped(map), &origin);
        }
        match pickle::tensors(&map) {
            Ok(tensors) => Ok(Shard {
                bytes: Bytes::Mapped(map),
                tensors,
                notes: HashMap::new(),
            }),
            Err(why) => Err(WeightsError::Pickle { origin, why }),
        }
    }
    /// Safetensors.
    pub fn safetensors(bytes: Bytes, origin: &str) -> Result<Shard, WeightsError> {
        match SafeTensors::read_metadata(bytes.as_slice()) {
            Ok((header, metadata)) => {
                let data = header + size_of::<u64>();
                let tensors = metadata.tensors().into_iter();
                Ok(Shard {
                    tensors: tensors.map(|(name, info)| (name, Stored::of(info, data))).collect(),
                    notes: metadata.metadata().clone().unwrap_or_default(),
                    bytes,
                })
            }
            Err(why) => Err(WeightsError::Format {
                origin: origin.to_string(),
                why: why.to_string(),
            }),
        }
    }
    /// All of the file.
    pub fn file(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}
