//! Checkpoints: safetensors by path or embedded, converted to the dtype of the run, checked in full
//! before a model is handed out.

mod error;
mod files;
mod fp8;
mod loader;
mod numbers;
mod place;

pub use error::WeightsError;
pub use loader::Loader;
pub use place::{Layout, Part, Place};

use files::{checkpoint_files, is_pickle};
use memmap2::Mmap;
use numbers::{floats, is_wide};
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

enum Bytes {
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

struct Shard {
    bytes: Bytes,
    start: usize, // of the tensor data
    metadata: Metadata,
}

impl Shard {
    fn new(bytes: Bytes, origin: &str) -> Result<Shard, WeightsError> {
        match SafeTensors::read_metadata(bytes.as_slice()) {
            Ok((header, metadata)) => Ok(Shard {
                bytes,
                start: header + size_of::<u64>(),
                metadata,
            }),
            Err(why) => Err(WeightsError::Format {
                origin: origin.to_string(),
                why: why.to_string(),
            }),
        }
    }
}

/// The tensors of a checkpoint, not yet read. Copies share the files.
#[derive(Clone)]
pub struct Weights {
    origin: String,
    shards: Arc<Vec<Shard>>,
    keys: BTreeMap<String, (usize, String)>, // to shard, and name in it
    marker: Option<String>,                  // of a file of scaled weights of eight bits
    offload: bool,
}

impl Weights {
    /// Opens a `.safetensors` file, a folder with one, or a folder of shards with their index. The files
    /// are mapped, not read: do not change them while a model loads.
    ///
    /// # Errors
    /// [`WeightsError`] when a file is absent, cut short, or not safetensors.
    pub fn open(path: &Path) -> Result<Weights, WeightsError> {
        if is_pickle(path) {
            return Err(WeightsError::Pickle { path: path.into() });
        }
        let files = if path.is_dir() {
            checkpoint_files(path)?
        } else {
            vec![path.to_path_buf()]
        };
        let mut shards = vec![];
        for file in &files {
            let io = |source| WeightsError::Io {
                path: file.clone(),
                source,
            };
            let opened = File::open(file).map_err(io)?;
            // SAFETY: the map is private to this process; the caller is told not to change the file.
            let map = unsafe { Mmap::map(&opened) }.map_err(io)?;
            shards.push(Shard::new(Bytes::Mapped(map), &file.display().to_string())?);
        }
        Ok(Weights::of(path.display().to_string(), shards))
    }
    /// A safetensors file compiled into the program.
    ///
    /// # Errors
    /// [`WeightsError::Format`] when the bytes are not safetensors.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Result<Weights, WeightsError> {
        Ok(Weights::of(
            name.to_string(),
            vec![Shard::new(Bytes::Embedded(bytes), name)?],
        ))
    }
    fn of(origin: String, shards: Vec<Shard>) -> Weights {
        let keys: BTreeMap<_, _> = shards
            .iter()
            .enumerate()
            .flat_map(|(i, shard)| {
                let names = shard.metadata.tensors().into_keys();
                names.map(move |key| (key.clone(), (i, key)))
            })
            .collect();
        Weights {
            origin,
            marker: marker(&keys),
            shards: Arc::new(shards),
            keys,
            offload: false,
        }
    }
    /// The same by shorter names: without `prefix`, where a name begins with it.
    pub fn without_prefix(self, prefix: &str) -> Weights {
        let short = |key: String| key.strip_prefix(prefix).map(str::to_string).unwrap_or(key);
        let keys: BTreeMap<_, _> = self.keys.into_iter().map(|(key, place)| (short(key), place)).collect();
        let marker = marker(&keys);
        Weights { keys, marker, ..self }
    }
    /// For a model whose blocks stay in the host's memory, each copied to the device when a pass reaches it.
    pub fn offloaded(self) -> Weights {
        Weights { offload: true, ..self }
    }
    /// The names of all tensors.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }
    /// Shape of a tensor.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.find(key).map(|(_, info)| info.shape.as_slice())
    }
    /// Whether tensors are stored in eight bits, which have lost digits that the published model has.
    pub fn holds_fp8(&self) -> bool {
        let mut all = self.keys.keys().filter_map(|key| self.find(key));
        all.any(|(_, info)| fp8::is_fp8(info.dtype))
    }
    /// A tensor's numbers as f32, in row-major order; `None` when it is absent or of none of F32, F16 and BF16.
    pub fn floats(&self, key: &str) -> Option<Vec<f32>> {
        let (bytes, info) = self.find(key)?;
        is_wide(info.dtype).then(|| floats(bytes, info.dtype))
    }
    /// A tensor's stored bytes, e.g. of `u8` frames.
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.find(key).map(|(bytes, _)| bytes)
    }
    /// What the metadata of its first file say under `key`.
    pub fn note(&self, key: &str) -> Option<&str> {
        let notes = self.shards.first()?.metadata.metadata().as_ref()?;
        notes.get(key).map(String::as_str)
    }
    fn find(&self, key: &str) -> Option<(&[u8], &TensorInfo)> {
        let (shard, name) = self.keys.get(key)?;
        let shard = &self.shards[*shard];
        let info = shard.metadata.info(name)?;
        let (from, to) = info.data_offsets;
        Some((&shard.bytes.as_slice()[shard.start + from..shard.start + to], info))
    }
}

fn marker<T>(keys: &BTreeMap<String, T>) -> Option<String> {
    keys.keys().find(|key| fp8::is_marker(key)).cloned()
}
