//! Checkpoints: safetensors by path or embedded, or PyTorch's pickles, converted to the dtype of the run, checked in full
//! before a model is handed out.

mod error;
mod files;
mod fp8;
mod loader;
mod numbers;
mod pickle;
mod place;
mod scales;
mod shard;
mod stored;

pub use error::WeightsError;
pub use files::PICKLES;
pub use loader::Loader;
pub use place::{Layout, Part, Place};

use files::checkpoint_files;
use numbers::{floats, is_wide};
use shard::{Bytes, Shard};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use stored::Stored;

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
    /// Opens a `.safetensors` file, one that `torch.save` wrote (`.pt`, `.pth`, `.bin` or `.ckpt`, of which nothing is
    /// run), a folder with one, or a folder of shards with their index. The files are mapped, not read: do not change
    /// them while a model loads.
    ///
    /// # Errors
    /// [`WeightsError`] when a file is absent, cut short, or neither safetensors nor tensors alone.
    pub fn open(path: &Path) -> Result<Weights, WeightsError> {
        let files = if path.is_dir() {
            checkpoint_files(path)?
        } else {
            vec![path.to_path_buf()]
        };
        let mut shards = vec![];
        for file in &files {
            let shard = Shard::open(file)?;
            let scales = scales::open(file, &shard)?;
            shards.extend([shard].into_iter().chain(scales));
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
            vec![Shard::safetensors(Bytes::Embedded(bytes), name)?],
        ))
    }
    fn of(origin: String, shards: Vec<Shard>) -> Weights {
        let keys: BTreeMap<_, _> = shards
            .iter()
            .enumerate()
            .flat_map(|(i, shard)| {
                let names = shard.tensors.keys().cloned();
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
    /// Those behind `prefix` alone, by shorter names, where any are.
    pub fn behind_prefix(mut self, prefix: &str) -> Weights {
        if self.keys.keys().any(|key| key.starts_with(prefix)) {
            self.keys.retain(|key, _| key.starts_with(prefix));
        }
        self.without_prefix(prefix)
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
        self.find(key).map(|found| found.info.shape.as_slice())
    }
    /// Whether tensors are stored in eight bits, which have lost digits that the published model has.
    pub fn holds_fp8(&self) -> bool {
        let mut all = self.keys.keys().filter_map(|key| self.find(key));
        all.any(|found| fp8::is_fp8(found.info.dtype))
    }
    /// A tensor's numbers as f32, in row-major order; `None` when it is absent or of none of F32, F16 and BF16.
    pub fn floats(&self, key: &str) -> Option<Vec<f32>> {
        let found = self.find(key)?;
        is_wide(found.info.dtype).then(|| found.floats(None))
    }
    /// A tensor's stored bytes in row-major order, e.g. of `u8` frames.
    pub fn bytes(&self, key: &str) -> Option<Cow<'_, [u8]>> {
        self.find(key).map(|found| found.info.bytes(found.file, None))
    }
    /// What the metadata of its first file say under `key`.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.shards.first()?.notes.get(key).map(String::as_str)
    }
    fn find(&self, key: &str) -> Option<Found<'_>> {
        let (shard, name) = self.keys.get(key)?;
        let shard = &self.shards[*shard];
        let info = shard.tensors.get(name)?;
        Some(Found {
            file: shard.file(),
            info,
        })
    }
}

/// A tensor that is there.
struct Found<'a> {
    file: &'a [u8],
    info: &'a Stored,
}

impl Found<'_> {
    /// Its numbers, or those of a part of it; of eight bits without their scale.
    fn floats(&self, part: Option<Part>) -> Vec<f32> {
        floats(&self.info.bytes(self.file, part), self.info.dtype)
    }
}

fn marker<T>(keys: &BTreeMap<String, T>) -> Option<String> {
    keys.keys().find(|key| fp8::is_marker(key)).cloned()
}
