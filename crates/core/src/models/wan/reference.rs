//! A Wan model against numbers recorded from a reference implementation.
//!
//! A case is a folder with `config.json`, weights (`diffusers.safetensors`, `original.safetensors`) and
//! `io.safetensors`: inputs, outputs `tN.out` at timesteps `tN.timestep`, activations `tN.act.*` under
//! diffusers' module names, and in some a batch with one prompt each, `cfg.*`.

use super::{ConfigError, GridError, Sinusoid, TextShapeError, Wan, WanChain, WanCond, WanConfig};
use crate::tensors::{Hidden, Latent, host};
use crate::weights::{Weights, WeightsError};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::TimeSignal;
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
    /// Not the configuration of a Wan model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A prompt embedding of another width.
    #[error(transparent)]
    Text(#[from] TextShapeError),
    /// A latent that the patches do not divide.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// A recorded tensor is missing.
    #[error("`io.safetensors` of the case has no float tensor `{key}` of rank {rank}")]
    Missing {
        /// Its name.
        key: String,
        /// Dimensions it must have.
        rank: usize,
    },
}

/// Runs a case with one of its weight files, in f32.
///
/// # Errors
/// [`CaseError`] when a file is missing or does not describe a Wan model.
pub fn run_case(folder: &Path, weights: &str, device: &Device) -> Result<Vec<Reading>, CaseError> {
    let path = folder.join("config.json");
    let json = std::fs::read_to_string(&path).map_err(|source| CaseError::Io {
        path: path.display().to_string(),
        source,
    })?;
    let io = Recorded {
        tensors: Weights::open(&folder.join("io.safetensors"))?,
        device,
    };
    let text = io.tensor::<3>("in.encoder_hidden_states")?;
    let config = WanConfig {
        sinusoid: Sinusoid::F32,  // the recordings come from diffusers
        text_len: text.dims()[1], // the recorded prompts are already padded
        ..WanConfig::parse(&json)?
    };
    let wan = Wan::load(config, Weights::open(&folder.join(weights))?, device, FloatDType::F32)?;
    let latent = Latent(io.tensor::<5>("in.hidden_states")?);
    let cond = wan.condition(text)?;

    let mut readings = vec![];
    io.compare(
        "t0.act.condition_embedder.text_embedder.out",
        || host(cond.0.clone()),
        &mut readings,
    );
    for t in (0..)
        .map(|i| format!("t{i}"))
        .take_while(|t| io.has(&format!("{t}.out")))
    {
        let timesteps = io.floats(&format!("{t}.timestep"))?;
        compare_pass(&wan, &io, &t, &timesteps, &latent, &cond, &mut readings)?;
    }
    if io.has("cfg.out") {
        let cond = wan.condition(io.tensor::<3>("cfg.encoder_hidden_states")?)?;
        let batch = cond.0.dims()[0];
        let latents = Latent::batch(vec![latent; batch]);
        let timestep = io.floats("cfg.timestep")?[0];
        let chain = wan.on(grid(&latents), batch)?;
        let (hidden, ctx) = chain.embed(&latents, timestep, &cond);
        let hidden = (0..chain.units().len()).fold(hidden, |x, i| chain.unit(i, x, &ctx));
        io.compare("cfg.out", || chain.head(hidden, &ctx).to_host(), &mut readings);
    }
    Ok(readings)
}

fn grid(latent: &Latent) -> [usize; 3] {
    let [_, _, f, h, w] = latent.0.dims();
    [f, h, w]
}

/// One recorded pass. A pass of ours has one timestep: rows recorded at different timesteps run one by
/// one, which is the same function since rows do not meet.
fn compare_pass(
    wan: &Wan,
    io: &Recorded,
    t: &str,
    timesteps: &[f32],
    latent: &Latent,
    cond: &WanCond,
    readings: &mut Vec<Reading>,
) -> Result<(), CaseError> {
    let chain = wan.on(grid(latent), 1)?;
    for (signal, name) in [
        (TimeSignal::Embedding, "time_embedder"),
        (TimeSignal::Projection, "time_proj"),
    ] {
        let ours = || chain.time_signals(signal, timesteps).concat();
        io.compare(&format!("{t}.act.condition_embedder.{name}.out"), ours, readings);
    }
    let rows = latent.rows().into_iter().enumerate().map(|(i, row)| {
        let cond = WanCond(cond.0.clone().narrow(0, i, 1));
        traced(&chain, &row, timesteps[i], &cond)
    });
    let traces = rows.reduce(|mut all, row| {
        for ((_, values), (_, more)) in all.iter_mut().zip(row) {
            values.extend(more);
        }
        all
    });
    for (name, ours) in traces.unwrap_or_default() {
        io.compare(&format!("{t}.{name}"), || ours, readings);
    }
    Ok(())
}

/// Every value of a pass that the walk can see, under diffusers' module names.
fn traced(chain: &WanChain, latent: &Latent, timestep: f32, cond: &WanCond) -> Vec<(String, Vec<f32>)> {
    let mut seen = vec![];
    let mut see = |name: String, x: &Hidden| seen.push((name, host(x.0.clone())));
    let (mut hidden, ctx) = chain.embed(latent, timestep, cond);
    see("act.blocks.0.in".into(), &hidden);
    let units = chain.units();
    for (i, unit) in units.iter().enumerate() {
        let raw = chain.eval(i, &hidden, &ctx);
        let module = ["attn1", "attn2", "ffn"][i % 3];
        see(format!("act.blocks.{}.{module}.out", unit.block), &raw);
        hidden = chain.join(i, hidden, &raw, &ctx);
        if units.get(i + 1).is_none_or(|next| next.block > unit.block) {
            see(format!("act.blocks.{}.out", unit.block), &hidden);
        }
    }
    seen.push(("out".into(), chain.head(hidden, &ctx).to_host()));
    seen
}

struct Recorded<'a> {
    tensors: Weights,
    device: &'a Device,
}

impl Recorded<'_> {
    fn has(&self, key: &str) -> bool {
        self.tensors.shape(key).is_some()
    }
    fn floats(&self, key: &str) -> Result<Vec<f32>, CaseError> {
        let missing = || CaseError::Missing {
            key: key.into(),
            rank: 1,
        };
        self.tensors.floats(key).ok_or_else(missing)
    }
    fn tensor<const D: usize>(&self, key: &str) -> Result<Tensor<D>, CaseError> {
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
    fn compare(&self, key: &str, ours: impl FnOnce() -> Vec<f32>, readings: &mut Vec<Reading>) {
        if let Some(recorded) = self.tensors.floats(key) {
            readings.push(Reading {
                name: key.into(),
                ours: ours(),
                recorded,
            });
        }
    }
}
