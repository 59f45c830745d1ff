//! Text states on disk: what a text encoder made of some prompts, so that runs need no encoder.
//!
//! A safetensors file. For the `N`-th prompt `states.N` `[tokens, width]` without padding and, where the encoder
//! gives one, `pooled.N` `[width]`; the prompts in the metadata, under `prompts` as a JSON list, and where they come
//! from.

use super::Encoded;
use crate::models::Prompt;
use crate::tensors::host;
use crate::weights::{Weights, WeightsError};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use half::bf16;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Text states of some prompts.
pub struct TextStates {
    weights: Weights,
    origin: String,
    prompts: Vec<String>,
}

/// Text states that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StatesError {
    /// A file that cannot be read, or is not safetensors.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A file of something else.
    #[error("{origin} holds no text states: {why}; make it with `mixcache embed`")]
    Format {
        /// The file.
        origin: String,
        /// What is missing.
        why: String,
    },
    /// A prompt that was not encoded.
    #[error(
        "the prompt \"{prompt}\" is not among the {count} in {origin}: encode it with `mixcache embed`, letter by \
         letter as the experiment has it"
    )]
    Missing {
        /// The prompt.
        prompt: String,
        /// The file.
        origin: String,
        /// Prompts in it.
        count: usize,
    },
    /// A file that cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: SafeTensorError,
    },
}

impl TextStates {
    /// Opens a file that [`TextStates::write`] made.
    ///
    /// # Errors
    /// [`StatesError`] when it cannot be read, or lacks its prompts or a tensor.
    pub fn open(path: &Path) -> Result<TextStates, StatesError> {
        let (weights, origin) = (Weights::open(path)?, path.display().to_string());
        let format = |why: String| StatesError::Format {
            origin: origin.clone(),
            why,
        };
        let list = weights
            .note("prompts")
            .ok_or_else(|| format("its metadata has no `prompts`".into()))?;
        let prompts: Vec<String> =
            serde_json::from_str(list).map_err(|error| format(format!("`prompts` of its metadata: {error}")))?;
        for i in 0..prompts.len() {
            let shape = weights.shape(&format!("states.{i}"));
            if !matches!(shape, Some(&[tokens, width]) if tokens > 0 && width > 0) {
                return Err(format(format!("`states.{i}` is {shape:?}, expected [tokens, width]")));
            }
        }
        Ok(TextStates {
            weights,
            origin,
            prompts,
        })
    }
    /// The prompts.
    pub fn prompts(&self) -> &[String] {
        &self.prompts
    }
    /// The file.
    pub fn origin(&self) -> &str {
        &self.origin
    }
    /// The states of a prompt.
    ///
    /// # Errors
    /// [`StatesError::Missing`] naming prompt and file.
    pub fn find(&self, prompt: &str, device: &Device) -> Result<Prompt, StatesError> {
        let Some(i) = self.prompts.iter().position(|known| known == prompt) else {
            return Err(StatesError::Missing {
                prompt: prompt.to_string(),
                origin: self.origin.clone(),
                count: self.prompts.len(),
            });
        };
        let read = |key: &str| Some((self.weights.floats(key)?, self.weights.shape(key)?));
        let (values, shape) = read(&format!("states.{i}")).ok_or_else(|| StatesError::Format {
            origin: self.origin.clone(),
            why: format!("`states.{i}` is not of floats"),
        })?;
        let states = Tensor::from_data(TensorData::new(values, [1, shape[0], shape[1]]), device);
        Ok(match read(&format!("pooled.{i}")) {
            None => Prompt::averaged(states),
            Some((values, shape)) => Prompt {
                states,
                pooled: Tensor::from_data(TensorData::new(values, [1, shape.iter().product()]), device),
            },
        })
    }
    /// Writes what encoders made of prompts, in f32 or bf16, with `notes` on where it comes from.
    ///
    /// # Errors
    /// [`StatesError::Write`] when the file cannot be written.
    ///
    /// # Panics
    /// On another dtype.
    pub fn write(
        path: &Path,
        dtype: FloatDType,
        encoded: &[(String, Encoded)],
        notes: &[(&str, String)],
    ) -> Result<(), StatesError> {
        let prompts: Vec<&str> = encoded.iter().map(|(prompt, _)| prompt.as_str()).collect();
        let prompts = serde_json::to_string(&prompts).expect("a list of strings");
        let notes = notes.iter().map(|(key, value)| (key.to_string(), value.clone()));
        let metadata: HashMap<_, _> = notes.chain([("prompts".to_string(), prompts)]).collect();
        let mut tensors = vec![];
        for (i, (_, encoded)) in encoded.iter().enumerate() {
            tensors.push((format!("states.{i}"), Stored::new(encoded.states.clone(), dtype)));
            let pooled = encoded.pooled.clone().map(|pooled| Stored::new(pooled, dtype));
            tensors.extend(pooled.map(|pooled| (format!("pooled.{i}"), pooled)));
        }
        let views = tensors.iter().map(|(key, stored)| (key, stored.view()));
        safetensors::serialize_to_file(views, Some(metadata), path).map_err(|source| StatesError::Write {
            path: path.to_path_buf(),
            source,
        })
    }
}

/// A tensor as it stands in a file.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    /// A tensor without the batch axis in front.
    fn new<const D: usize>(tensor: Tensor<D>, dtype: FloatDType) -> Stored {
        let shape = tensor.dims()[1..].to_vec();
        let numbers = host(tensor).into_iter();
        let (dtype, bytes) = match dtype {
            FloatDType::F32 => (Dtype::F32, numbers.flat_map(f32::to_le_bytes).collect()),
            FloatDType::BF16 => {
                let halves = numbers.flat_map(|x| bf16::from_f32(x).to_le_bytes());
                (Dtype::BF16, halves.collect())
            }
            other => panic!("text states are stored in f32 or bf16, not in {other:?}"),
        };
        Stored { dtype, shape, bytes }
    }
    fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, self.shape.clone(), &self.bytes).expect("as many bytes as numbers")
    }
}
