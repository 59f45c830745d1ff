//! Checkpoints: safetensors by path or embedded, converted to the dtype of the run, checked in full
//! before a model is handed out.

use crate::device;
use crate::inventory::Asked;
use crate::linear::Linear;
use crate::models::blocks::{Blocks, Movable};
use burn::tensor::{DType, Device, Distribution, FloatDType, Tensor, TensorData};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    keys: BTreeMap<String, usize>, // to shard
    offload: bool,
}

impl Weights {
    /// Opens a `.safetensors` file, a folder with one, or a folder of shards with their index. The files
    /// are mapped, not read: do not change them while a model loads.
    ///
    /// # Errors
    /// [`WeightsError`] when a file is absent, cut short, or not safetensors.
    pub fn open(path: &Path) -> Result<Weights, WeightsError> {
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
        let keys = shards
            .iter()
            .enumerate()
            .flat_map(|(i, shard)| shard.metadata.tensors().into_keys().map(move |key| (key, i)))
            .collect();
        Weights {
            origin,
            shards: Arc::new(shards),
            keys,
            offload: false,
        }
    }
    /// For a model whose blocks stay in the host's memory, each copied to the device when a pass reaches it. Only Wan
    /// makes a difference of it.
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
    /// A tensor's numbers as f32, in row-major order; `None` when it is absent or not a float tensor.
    pub fn floats(&self, key: &str) -> Option<Vec<f32>> {
        let (bytes, info) = self.find(key)?;
        is_float(info.dtype).then(|| floats(bytes, info.dtype))
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
        let shard = &self.shards[*self.keys.get(key)?];
        let info = shard.metadata.info(key)?;
        let (from, to) = info.data_offsets;
        Some((&shard.bytes.as_slice()[shard.start + from..shard.start + to], info))
    }
}

/// The safetensors files of a folder.
fn checkpoint_files(folder: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        |source| WeightsError::Io { path, source }
    };
    let mut names: Vec<PathBuf> = vec![];
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        names.push(entry.map_err(io(folder))?.path());
    }
    names.sort();
    let ending = |end: &str| -> Vec<PathBuf> {
        names
            .iter()
            .filter(|n| n.to_string_lossy().ends_with(end))
            .cloned()
            .collect()
    };
    let folder_error = |found: String| WeightsError::Folder {
        folder: folder.to_path_buf(),
        found,
    };
    let index = ending(".safetensors.index.json");
    if let [index] = index.as_slice() {
        let format = |why: String| WeightsError::Format {
            origin: index.display().to_string(),
            why,
        };
        let text = fs::read_to_string(index).map_err(io(index))?;
        let parsed: Index = serde_json::from_str(&text).map_err(|e| format(e.to_string()))?;
        let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
        let missing: Vec<&String> = shards.iter().filter(|name| !folder.join(name).is_file()).collect();
        if let Some(first) = missing.first() {
            return Err(WeightsError::Partial {
                folder: folder.to_path_buf(),
                missing: missing.len(),
                of: shards.len(),
                first: first.to_string(),
            });
        }
        return Ok(shards.iter().map(|name| folder.join(name)).collect());
    }
    let files = ending(".safetensors");
    match (files.len(), index.len()) {
        (1, 0) => Ok(files),
        (0, 0) => Err(folder_error("no `.safetensors` file".into())),
        (n, 0) => Err(folder_error(format!("{n} `.safetensors` files without an index"))),
        (_, n) => Err(folder_error(format!("{n} index files"))),
    }
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F16 => halves().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
    }
}

/// The numbers of a part of a stored tensor.
fn floats_of(part: Part, bytes: &[u8], info: &TensorInfo) -> Vec<f32> {
    let inner = info.shape[part.axis + 1..].iter().product::<usize>() * info.dtype.bitsize() / 8; // bytes of an index
    let slices = bytes.chunks_exact(part.total * inner);
    slices
        .flat_map(|slice| floats(&slice[part.start * inner..][..part.len * inner], info.dtype))
        .collect()
}

fn whole(key: &str) -> Place {
    let key = key.to_string();
    Place { key, part: None }
}

/// Where a checkpoint keeps a tensor of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name in the file.
    pub key: String,
    /// The part of what stands under that name; none = all of it.
    pub part: Option<Part>,
}

impl Place {
    /// With `prefix` in front of the key.
    pub fn behind(mut self, prefix: &str) -> Place {
        self.key.insert_str(0, prefix);
        self
    }
    /// With every first text of `pairs` replaced by its second, in order.
    pub fn renamed(mut self, pairs: &[(&str, &str)]) -> Place {
        for (from, to) in pairs {
            self.key = self.key.replace(from, to);
        }
        self
    }
}

/// A part of a stored tensor, along one of its axes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The axis: of a linear layer 0 are its outputs, 1 its inputs.
    pub axis: usize,
    /// First index of the part.
    pub start: usize,
    /// Its length.
    pub len: usize,
    /// Length of the whole axis.
    pub total: usize,
}

impl Part {
    /// Outputs `outputs` of a linear layer that has `total` of them.
    pub fn outputs(outputs: Range<usize>, total: usize) -> Part {
        Part {
            axis: 0,
            start: outputs.start,
            len: outputs.len(),
            total,
        }
    }
    /// Inputs `inputs` of a linear layer that has `total` of them.
    pub fn inputs(inputs: Range<usize>, total: usize) -> Part {
        let axis = 1;
        Part {
            axis,
            ..Part::outputs(inputs, total)
        }
    }
}

/// From where the model's own names put a tensor to where a checkpoint has it.
pub type Layout = fn(Place) -> Place;

enum Source {
    Files(Weights),
    Shapes(Weights),
    Random,
    /// Nothing: what is asked for is written down.
    None(Vec<Asked>),
}

/// Takes the tensors of a model by name, and remembers everything that does not fit.
pub struct Loader<'a> {
    source: Source,
    device: &'a Device,
    host: Device,
    to_host: bool, // what is taken now
    dtype: FloatDType,
    layout: Layout,
    ignored: &'static [&'static str],
    taken: BTreeSet<String>,
    missing: Vec<String>,
    misshapen: Vec<String>,
}

impl<'a> Loader<'a> {
    /// Takes tensors from a checkpoint that keeps them in `layout`.
    pub fn files(weights: Weights, layout: Layout, device: &'a Device, dtype: FloatDType) -> Self {
        Loader::new(Source::Files(weights), layout, device, dtype)
    }
    /// Looks at names and shapes alone and reads nothing: what [`Loader::finish`] will say of a model too large to
    /// be held at once. The tensors it hands out are stand-ins.
    pub fn shapes(weights: Weights, layout: Layout, device: &'a Device) -> Self {
        Loader::new(Source::Shapes(weights), layout, device, FloatDType::F32)
    }
    /// Draws every tensor at random, for runs that only measure speed.
    pub fn random(seed: u64, device: &'a Device, dtype: FloatDType) -> Self {
        device.seed(seed);
        Loader::new(Source::Random, std::convert::identity, device, dtype)
    }
    /// Takes nothing: notes what is asked for in a checkpoint of this layout, and hands out stand-ins.
    pub fn listing(layout: Layout, device: &'a Device, dtype: FloatDType) -> Self {
        Loader::new(Source::None(vec![]), layout, device, dtype)
    }
    /// What was asked of a [`Loader::listing`].
    pub fn into_asked(self) -> Vec<Asked> {
        match self.source {
            Source::None(asked) => asked,
            Source::Files(_) | Source::Shapes(_) | Source::Random => vec![],
        }
    }
    fn new(source: Source, layout: Layout, device: &'a Device, dtype: FloatDType) -> Self {
        Loader {
            source,
            device,
            host: Device::flex(),
            to_host: false,
            dtype,
            layout,
            ignored: &[],
            taken: BTreeSet::new(),
            missing: vec![],
            misshapen: vec![],
        }
    }
    /// Tensors that have one of these in their names may be in the file: no model needs them.
    pub fn ignoring(self, ignored: &'static [&'static str]) -> Self {
        Loader { ignored, ..self }
    }
    /// The dtype of the run.
    pub fn dtype(&self) -> FloatDType {
        self.dtype
    }
    /// The dtype of hidden states: that of the run, but on a CPU, whose kernels round on the way into a product, f32.
    pub fn states(&self) -> FloatDType {
        match self.source {
            Source::None(_) => self.dtype,
            _ => device::states(self.device, self.dtype),
        }
    }
    /// The blocks of a model, on the host where the checkpoint says so.
    pub(crate) fn blocks<B: Movable>(
        &mut self,
        count: usize,
        mut block: impl FnMut(usize, &mut Self) -> B,
    ) -> Blocks<B> {
        self.to_host = matches!(&self.source, Source::Files(weights) if weights.offload);
        let blocks = (0..count).map(|i| block(i, self)).collect();
        match std::mem::take(&mut self.to_host) {
            true => Blocks::offloaded(blocks, self.device),
            false => Blocks::resident(blocks),
        }
    }
    /// A tensor kept in f32 in every run, like those of norms and modulation.
    pub fn take<const D: usize>(&mut self, key: &str, shape: [usize; D]) -> Tensor<D> {
        self.tensor(whole(key), &shape, shape, FloatDType::F32, None)
    }
    /// A linear layer in the dtype of the run.
    pub fn linear(&mut self, key: &str, from: usize, to: usize) -> Linear {
        self.linear_in(self.dtype, key, &[to, from])
    }
    /// A linear layer kept in `dtype` whatever the run; `stored` is the shape of its weight in the file,
    /// outputs first.
    pub fn linear_in(&mut self, dtype: FloatDType, key: &str, stored: &[usize]) -> Linear {
        let (to, from) = (stored[0], stored[1..].iter().product());
        let weight = self.tensor(
            whole(&format!("{key}.weight")),
            stored,
            [from, to],
            dtype,
            Some([to, from]),
        );
        let bias = self.tensor(whole(&format!("{key}.bias")), &[to], [to], dtype, None);
        match self.to_host {
            true => Linear::Tensors { weight, bias }, // laid out where it is computed
            false => Linear::new(weight, bias),
        }
    }
    /// A linear layer that has no bias, in the dtype of the run.
    pub fn linear_without_bias(&mut self, key: &str, from: usize, to: usize) -> Linear {
        let (place, dtype) = (whole(&format!("{key}.weight")), self.dtype);
        let weight = self.tensor(place, &[to, from], [from, to], dtype, Some([to, from]));
        Linear::new(weight, Tensor::zeros([to], (self.device, DType::from(dtype))))
    }
    /// One row of a table of `shape`, `[1, columns]` in f32: of word vectors only those of a prompt are read.
    pub fn row(&mut self, key: &str, row: usize, shape: [usize; 2]) -> Tensor<2> {
        let [rows, columns] = shape;
        let place = Place {
            key: key.to_string(),
            part: Some(Part::outputs(row..row + 1, rows)),
        };
        self.tensor(place, &[1, columns], [1, columns], FloatDType::F32, None)
    }
    /// Leaves aside what a file holds beside the model.
    pub fn ignore(&mut self, is_beside: impl Fn(&str) -> bool) {
        if let Source::Files(weights) | Source::Shapes(weights) = &self.source {
            let beside = weights.keys().filter(|key| is_beside(key)).map(str::to_string);
            self.taken.extend(beside);
        }
    }
    /// A part of a linear layer, in the dtype of the run, as a layer of its own. Of parts of the inputs,
    /// whose outputs add up, the first has the bias, the others zeros.
    pub fn linear_part(&mut self, key: &str, from: usize, to: usize, part: Part) -> Linear {
        let dtype = self.dtype;
        let place = |tensor: &str, part| Place {
            key: format!("{key}.{tensor}"),
            part,
        };
        let weight = place("weight", Some(part));
        let bias = match (part.axis, part.start) {
            (0, _) => Some(place("bias", Some(part))),
            (_, 0) => Some(place("bias", None)),
            _ => None,
        };
        let zeros = Tensor::zeros([to], (self.device, DType::from(dtype)));
        let weight = self.tensor(weight, &[to, from], [from, to], dtype, Some([to, from]));
        let bias = bias.map_or(zeros, |place| self.tensor(place, &[to], [to], dtype, None));
        Linear::new(weight, bias)
    }
    /// `stored` is the shape expected in the file, or of the part of it, `shape` the one wanted;
    /// `transposed` the matrix `[rows, columns]` to transpose on the way. What does not fit is noted, and
    /// an empty stand-in returned, so that one error can name everything.
    fn tensor<const D: usize>(
        &mut self,
        place: Place,
        stored: &[usize],
        shape: [usize; D],
        dtype: FloatDType,
        transposed: Option<[usize; 2]>,
    ) -> Tensor<D> {
        let only_shapes = matches!(self.source, Source::Shapes(_));
        let device = if self.to_host { &self.host } else { self.device };
        let weights = match &mut self.source {
            Source::Files(weights) | Source::Shapes(weights) => weights,
            Source::None(asked) => {
                asked.push(Asked {
                    own: place.clone(),
                    file: (self.layout)(place),
                    shape: stored.to_vec(),
                    dtype,
                });
                return Tensor::zeros([1; D], device);
            }
            Source::Random => {
                // Keeps the scale of activations near 1 from layer to layer.
                let spread = 1.0 / (shape[0] as f64).sqrt();
                let dtype: DType = dtype.into();
                return Tensor::random(shape, Distribution::Normal(0.0, spread), (device, dtype));
            }
        };
        let Place { key, part } = (self.layout)(place);
        let mut stored = stored.to_vec(); // in the file, with all parts
        if let Some(part) = part {
            stored[part.axis] = part.total;
        }
        let found = weights.find(&key);
        // Several parts of one tensor are one complaint.
        let is_new = self.taken.insert(key.clone());
        let Some((bytes, info)) = found else {
            self.missing.extend(is_new.then(|| format!("{key} {stored:?}")));
            return Tensor::zeros([1; D], device);
        };
        if info.shape != stored || !is_float(info.dtype) {
            let (found, kind) = (&info.shape, info.dtype);
            let complaint = format!("{key}: found {found:?} {kind:?}, expected {stored:?} in F32, F16 or BF16");
            self.misshapen.extend(is_new.then_some(complaint));
            return Tensor::zeros([1; D], device);
        }
        if only_shapes {
            return Tensor::zeros([1; D], device);
        }
        let mut values = match part {
            None => floats(bytes, info.dtype),
            Some(part) => floats_of(part, bytes, info),
        };
        if let Some([rows, columns]) = transposed {
            values = transpose(&values, rows, columns);
        }
        let data = TensorData::new(values, shape).convert_dtype(dtype.into());
        Tensor::from_data(data, (device, dtype.into()))
    }
    /// Checks that everything fitted and nothing was left over.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with the first ten missing, misshapen and unknown keys.
    pub fn finish(self) -> Result<(), WeightsError> {
        let (Source::Files(weights) | Source::Shapes(weights)) = self.source else {
            return Ok(());
        };
        let unknown: Vec<String> = weights
            .keys
            .into_keys()
            .filter(|key| !self.taken.contains(key) && !self.ignored.iter().any(|part| key.contains(part)))
            .collect();
        let mut report = String::new();
        for (what, keys) in [
            ("missing", self.missing),
            ("misshapen", self.misshapen),
            ("unknown", unknown),
        ] {
            for key in keys.iter().take(LISTED_MAX) {
                report += &format!("  {what}: {key}\n");
            }
            if keys.len() > LISTED_MAX {
                report += &format!("  {what}: {} more\n", keys.len() - LISTED_MAX);
            }
        }
        if report.is_empty() {
            return Ok(());
        }
        Err(WeightsError::Mismatch {
            origin: weights.origin,
            report,
            likeness: String::new(),
        })
    }
}

/// Keys of one kind that an error names.
const LISTED_MAX: usize = 10;

/// Rows and columns exchanged, tile by tile so that both sides stay in the cache.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for r0 in (0..rows).step_by(TILE) {
        for c0 in (0..columns).step_by(TILE) {
            for c in c0..columns.min(c0 + TILE) {
                for r in r0..rows.min(r0 + TILE) {
                    out[c * rows + r] = values[r * columns + c];
                }
            }
        }
    }
    out
}
