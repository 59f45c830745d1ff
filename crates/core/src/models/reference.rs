//! Models against numbers recorded from a reference implementation.
//!
//! A case is a folder with `config.json`, weights (`diffusers.safetensors`, `original.safetensors`) and
//! `io.safetensors`: inputs, outputs `tN.out` at timesteps `tN.timestep`, activations `tN.act.*` under
//! diffusers' module names. Each model runs its cases in a `reference` of its own.

use super::{ConfigError, GridError, PromptShapeError};
use crate::tensors::Latent;
use crate::text::TokensError;
use crate::weights::{Weights, WeightsError};
use burn::tensor::{Device, Tensor, TensorData};
use std::path::Path;

/// Our numbers beside the recorded ones.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Name of the recorded tensor.
    pub name: String,
    /// What we computed.
    pub ours: Vec<f32>,
    /// What was recorded.
    pub recorded: Vec<f32>,
}

impl Reading {
    /// `‖ours − recorded‖ / ‖recorded‖`.
    pub fn relative_l2(&self) -> f64 {
        relative_l2(&self.ours, &self.recorded)
    }
    /// Whether it is an intermediate activation, not a result.
    pub fn is_activation(&self) -> bool {
        self.name.split('.').any(|part| part == "act")
    }
    /// Largest absolute difference.
    pub fn max_abs(&self) -> f32 {
        let differences = self.ours.iter().zip(&self.recorded).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f32::max)
    }
}

/// `‖a − b‖ / ‖b‖`.
///
/// # Panics
/// When the lengths differ.
pub fn relative_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "tensors of different sizes");
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum();
    let size: f64 = b.iter().map(|b| (*b as f64).powi(2)).sum();
    (difference / size).sqrt()
}

/// A case that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// Files that cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A missing `config.json`.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not the configuration of such a model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A prompt embedding of another width.
    #[error(transparent)]
    Prompt(#[from] PromptShapeError),
    /// Tokens outside the vocabulary.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// A latent that the patches do not divide.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// A recorded tensor is missing.
    #[error("`io.safetensors` of the case has no tensor `{key}` of rank {rank} and the right type")]
    Missing {
        /// Its name.
        key: String,
        /// Dimensions it must have.
        rank: usize,
    },
}

/// Frames, rows, columns of a latent.
pub(super) fn grid(latent: &Latent) -> [usize; 3] {
    let [_, _, f, h, w] = latent.0.dims();
    [f, h, w]
}

/// The `config.json` of a case.
pub(crate) fn config_of(folder: &Path) -> Result<String, CaseError> {
    let path = folder.join("config.json");
    std::fs::read_to_string(&path).map_err(|source| CaseError::Io {
        path: path.display().to_string(),
        source,
    })
}

/// Recorded tensors, on their way to a device.
pub(crate) struct Recorded<'a> {
    tensors: Weights,
    device: &'a Device,
}

impl Recorded<'_> {
    /// The `io.safetensors` of a case.
    pub fn open<'a>(folder: &Path, device: &'a Device) -> Result<Recorded<'a>, CaseError> {
        let tensors = Weights::open(&folder.join("io.safetensors"))?;
        Ok(Recorded { tensors, device })
    }
    /// Names of the recorded timesteps: `t0`, `t1`, …
    pub fn times(&self) -> impl Iterator<Item = String> {
        (0..)
            .map(|i| format!("t{i}"))
            .take_while(|t| self.has(&format!("{t}.out")))
    }
    pub fn has(&self, key: &str) -> bool {
        self.tensors.shape(key).is_some()
    }
    pub fn floats(&self, key: &str) -> Result<Vec<f32>, CaseError> {
        let missing = || CaseError::Missing {
            key: key.into(),
            rank: 1,
        };
        self.tensors.floats(key).ok_or_else(missing)
    }
    pub fn tensor<const D: usize>(&self, key: &str) -> Result<Tensor<D>, CaseError> {
        let missing = || CaseError::Missing {
            key: key.into(),
            rank: D,
        };
        let shape = self
            .tensors
            .shape(key)
            .and_then(|shape| <[usize; D]>::try_from(shape).ok());
        let values = self.tensors.floats(key).ok_or_else(missing)?;
        Ok(Tensor::from_data(
            TensorData::new(values, shape.ok_or_else(missing)?),
            self.device,
        ))
    }
    /// Adds a reading, if this tensor was recorded.
    pub fn compare(&self, key: &str, ours: impl FnOnce() -> Vec<f32>, readings: &mut Vec<Reading>) {
        if let Some(recorded) = self.tensors.floats(key) {
            readings.push(Reading {
                name: key.into(),
                ours: ours(),
                recorded,
            });
        }
    }
    /// Adds a reading of one row of a batch, if this tensor was recorded. What the recorded row has beyond
    /// ours is padding.
    pub fn compare_row(&self, key: &str, row: usize, ours: impl FnOnce() -> Vec<f32>, readings: &mut Vec<Reading>) {
        let (Some(recorded), Some([rows, ..])) = (self.tensors.floats(key), self.tensors.shape(key)) else {
            return;
        };
        let (ours, size) = (ours(), recorded.len() / rows);
        let kept = ours.len().min(size);
        readings.push(Reading {
            name: format!("{key} of row {row}"),
            recorded: recorded[row * size..][..kept].to_vec(),
            ours,
        });
    }
    /// Adds a reading of integers, if this tensor was recorded.
    pub fn compare_integers(&self, key: &str, ours: impl FnOnce() -> Vec<f32>, readings: &mut Vec<Reading>) {
        if let Ok(recorded) = self.integers(key) {
            readings.push(Reading {
                name: key.into(),
                ours: ours(),
                recorded: recorded.into_iter().map(|number| number as f32).collect(),
            });
        }
    }
    /// Integers of 64 bits.
    pub fn integers(&self, key: &str) -> Result<Vec<i64>, CaseError> {
        let missing = || CaseError::Missing {
            key: key.into(),
            rank: 1,
        };
        let bytes = self.tensors.bytes(key).ok_or_else(missing)?;
        let numbers = bytes.as_chunks::<8>().0;
        Ok(numbers.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
    }
    /// Rows of a batch.
    pub fn rows(&self, key: &str) -> Result<usize, CaseError> {
        let missing = || CaseError::Missing {
            key: key.into(),
            rank: 2,
        };
        match self.tensors.shape(key) {
            Some([rows, _]) => Ok(*rows),
            _ => Err(missing()),
        }
    }
    /// Token ids of each row of a batch, without its padding.
    pub fn prompts(&self) -> Result<Vec<Vec<u32>>, CaseError> {
        let (ids, rows) = (self.integers("in.input_ids")?, self.rows("in.input_ids")?);
        let kept = |row: usize| {
            let length = ids.len() / rows;
            let tokens = self.count("in.attention_mask", row)?;
            let of_row = &ids[row * length..][..tokens];
            Ok(of_row.iter().map(|&id| id as u32).collect())
        };
        (0..rows).map(kept).collect()
    }
    /// How many numbers of a row of an integer mask are not zero.
    pub fn count(&self, key: &str, row: usize) -> Result<usize, CaseError> {
        let numbers = self.integers(key)?;
        let size = numbers.len() / self.rows(key)?;
        Ok(numbers[row * size..][..size]
            .iter()
            .filter(|number| **number != 0)
            .count())
    }
}
