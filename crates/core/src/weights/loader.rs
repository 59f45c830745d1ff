//! The tensors of a model, taken by name.

use super::fp8::{Beside, Fault, is_fp8};
use super::numbers::{is_float, transpose};
use super::{Layout, Part, Place, Weights, WeightsError};
use crate::device;
use crate::inventory::Asked;
use crate::linear::Linear;
use crate::models::blocks::{Blocks, Movable};
use burn::tensor::{DType, Device, Distribution, FloatDType, Tensor, TensorData};
use std::collections::BTreeSet;

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
    to_host: bool,        // what is taken now
    block: Option<usize>, // that it belongs to
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
            block: None,
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
        let mut numbered = |i| {
            self.block = Some(i);
            block(i, self)
        };
        let blocks = (0..count).map(&mut numbered).collect();
        self.block = None;
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
        self.layer(weight, bias)
    }
    fn layer(&self, weight: Tensor<2>, bias: Tensor<1>) -> Linear {
        match self.to_host {
            true => Linear::Tensors { weight, bias }, // laid out where it is computed
            false => Linear::new(weight, bias),
        }
    }
    /// A bias that changes nothing.
    fn zeros(&self, width: usize) -> Tensor<1> {
        Tensor::zeros([width], (self.place(), DType::from(self.dtype)))
    }
    /// Where what is taken now goes.
    fn place(&self) -> &Device {
        if self.to_host { &self.host } else { self.device }
    }
    /// A linear layer that has no bias, in the dtype of the run.
    pub fn linear_without_bias(&mut self, key: &str, from: usize, to: usize) -> Linear {
        let (place, dtype) = (whole(&format!("{key}.weight")), self.dtype);
        let weight = self.tensor(place, &[to, from], [from, to], dtype, Some([to, from]));
        self.layer(weight, self.zeros(to))
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
        let weight = self.tensor(weight, &[to, from], [from, to], dtype, Some([to, from]));
        let bias = match bias {
            Some(place) => self.tensor(place, &[to], [to], dtype, None),
            None => self.zeros(to),
        };
        self.layer(weight, bias)
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
                    block: self.block,
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
        let Some(found) = found else {
            self.missing.extend(is_new.then(|| format!("{key} {stored:?}")));
            return Tensor::zeros([1; D], device);
        };
        let info = found.info;
        if info.shape != stored || !is_float(info.dtype) {
            let (found, kind) = (&info.shape, info.dtype);
            let complaint =
                format!("{key}: found {found:?} {kind:?}, expected {stored:?} in F32, F16, BF16, F8_E4M3 or F8_E5M2");
            self.misshapen.extend(is_new.then_some(complaint));
            return Tensor::zeros([1; D], device);
        }
        let mut scale = 1.0;
        if is_fp8(info.dtype) {
            let beside = Beside::of(weights, &key);
            self.taken.extend(beside.keys.into_iter().chain(weights.marker.clone()));
            match beside.scale {
                Ok(found) => scale = found,
                Err(Fault::Missing(key)) => self.missing.extend(is_new.then_some(key)),
                Err(Fault::Misshapen(complaint)) => self.misshapen.extend(is_new.then_some(complaint)),
            }
        }
        if only_shapes {
            return Tensor::zeros([1; D], device);
        }
        let mut values = found.floats(part);
        if scale != 1.0 {
            values.iter_mut().for_each(|value| *value *= scale);
        }
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

fn whole(key: &str) -> Place {
    let key = key.to_string();
    Place { key, part: None }
}
