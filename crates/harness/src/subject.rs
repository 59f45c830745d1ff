//! The model under test, with what turns prompts into conditions and latents into frames.

use crate::experiment::Experiment;
use crate::machine::Machine;
use crate::metrics::Frames;
use crate::runner::Reference;
use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use mixcache_core::codec::PatchCodec;
use mixcache_core::mini::{self, Mini};
use mixcache_core::models::wan::{UNITS_A_BLOCK, Wan, WanCond, WanConfig};
use mixcache_core::tensors::Latent;
use mixcache_core::text::Vocabulary;
use mixcache_core::weights::Weights;
use mixcache_core::{device, noise::noise};
use std::path::Path;

/// Latent frames, rows and columns of Wan's video autoencoder: `(f − 1)/4 + 1`, `h/8`, `w/8`.
const WAN_STRIDES: [usize; 3] = [4, 8, 8];

/// Text tokens drawn for a prompt when there is no text encoder.
const RANDOM_TOKENS: usize = 64;

/// The model under test.
pub struct Subject {
    /// Its transformer.
    pub wan: Wan,
    /// Where the weights come from.
    pub weights: String,
    /// Latent frames, rows, columns.
    pub grid: [usize; 3],
    /// Frames a second of its videos.
    pub fps: u16,
    /// Whether differences to the uncached run mean anything.
    pub trained: bool,
    text: Text,
    codec: Option<PatchCodec>,
}

enum Text {
    Words(Vocabulary),
    /// Text states drawn from the prompt: the model has no text encoder here.
    Random,
}

/// Decides what will run: the experiment itself, or its stand-in. Loads nothing.
///
/// # Errors
/// When the model cannot be had, cannot be held, or is not known, and there is no stand-in.
pub fn settle(mut experiment: Experiment) -> Result<Experiment> {
    let name = &experiment.model.name;
    let config = WanConfig::preset(name).with_context(|| unknown_model(name))?;
    let (dtype, on_cpu) = (dtype(&experiment.model.dtype)?, experiment.model.device == "cpu");
    let needed_gib = config.parameters() as f64 * bytes_of(dtype) as f64 / (1u64 << 30) as f64;
    if name == "wan-mini" && experiment.model.weights.is_none() {
        return Ok(experiment);
    }
    if experiment.model.weights.is_some() {
        let memory_gib = Machine::detect().memory_gib.unwrap_or(f64::INFINITY);
        ensure!(
            !on_cpu || needed_gib < memory_gib,
            "{name} needs {needed_gib:.1} GiB for its weights in {}, this machine has {memory_gib:.1} GiB: choose another device or dtype",
            experiment.model.dtype
        );
        if name != "wan-mini" {
            experiment.substituted = "random text states for the prompts; latents are not decoded".into();
        }
        return Ok(experiment);
    }
    if on_cpu {
        let why = format!("no weights given, and {name} at full size is out of reach of a CPU");
        return experiment.on_stand_in(&why);
    }
    experiment.substituted = "random weights: speed only".into();
    Ok(experiment)
}

/// The block that each unit of a model's chain belongs to.
///
/// # Errors
/// When the model is not known.
pub fn blocks_of_units(model: &str) -> Result<Vec<usize>> {
    let config = WanConfig::preset(model).with_context(|| unknown_model(model))?;
    Ok((0..config.layers * UNITS_A_BLOCK)
        .map(|unit| unit / UNITS_A_BLOCK)
        .collect())
}

fn unknown_model(name: &str) -> String {
    format!(
        "`model.name = \"{name}\"`: expected one of {}",
        WanConfig::PRESETS.join(", ")
    )
}

impl Subject {
    /// Loads what [`settle`] decided on.
    pub fn load(experiment: &Experiment) -> Result<Subject> {
        let model = &experiment.model;
        let device = device::open(&model.device)?;
        let dtype = dtype(&model.dtype)?;
        let video = experiment.video;
        if model.name == "wan-mini" && model.weights.is_none() {
            let Mini { wan, text, codec } = Mini::load(&device, dtype)?;
            let [f, h, w] = mini::GRID;
            let made = [16, 64, 64];
            ensure!(
                [video.frames, video.height, video.width] == made,
                "`video`: found {} frames of {}×{}, wan-mini makes {} of {}×{}",
                video.frames,
                video.height,
                video.width,
                made[0],
                made[1],
                made[2]
            );
            return Ok(Subject {
                wan,
                weights: "embedded".into(),
                grid: [f, h, w],
                fps: mini::FPS as u16,
                trained: true,
                text: Text::Words(text),
                codec: Some(codec),
            });
        }
        let config = WanConfig::preset(&model.name).expect("settled");
        let (wan, weights, trained) = match &model.weights {
            Some(path) => (
                load_wan(config, path, &device, dtype)?,
                path.display().to_string(),
                true,
            ),
            None => (Wan::random(config, 0, &device, dtype), "random, seed 0".into(), false),
        };
        let [t, h, w] = WAN_STRIDES;
        ensure!(
            video.frames % t == 1 && video.height.is_multiple_of(2 * h) && video.width.is_multiple_of(2 * w),
            "`video`: found {} frames of {}×{}; expected 4n + 1 frames, height and width multiples of 16",
            video.frames,
            video.height,
            video.width
        );
        Ok(Subject {
            wan,
            weights,
            grid: [(video.frames - 1) / t + 1, video.height / h, video.width / w],
            fps: 16,
            trained,
            text: Text::Random,
            codec: None,
        })
    }

    /// Conditions of a prompt: conditional, unconditional.
    pub fn conds(&self, prompt: &str) -> Result<[WanCond; 2]> {
        let (device, width) = (self.wan.device(), self.wan.config().text_dim);
        let (cond, uncond) = match &self.text {
            Text::Words(words) => (words.encode(prompt, device)?, Tensor::zeros([1, 1, width], device)),
            Text::Random => (random_text(prompt, width, device), random_text("", width, device)),
        };
        Ok([self.wan.condition(cond)?, self.wan.condition(uncond)?])
    }

    /// The initial noise of a seed, the same on every device.
    pub fn noise(&self, seed: u64) -> Latent {
        let shape = self.latent_shape();
        Latent::from_host(noise(seed, &shape), shape, self.wan.device())
    }

    fn latent_shape(&self) -> [usize; 5] {
        let [f, h, w] = self.grid;
        [1, self.wan.config().in_channels, f, h, w]
    }

    /// What was made, from the numbers of its latent.
    pub fn decoded(&self, latent: Vec<f32>) -> Reference {
        let shape = self.latent_shape();
        let frames = self.frames(&Latent::from_host(latent.clone(), shape, self.wan.device()));
        Reference { latent, frames }
    }

    /// RGB frames, where the model has a decoder here.
    pub fn frames(&self, latent: &Latent) -> Option<Frames> {
        let codec = self.codec.as_ref()?;
        let frames = codec.decode(latent);
        let [count, height, width, _] = frames.dims();
        let data = frames
            .into_data()
            .convert::<f32>()
            .try_to_vec()
            .expect("f32 after conversion");
        Some(Frames {
            count,
            height,
            width,
            data,
        })
    }
}

/// The dtype that an experiment names.
pub fn dtype(name: &str) -> Result<FloatDType> {
    match name {
        "f32" => Ok(FloatDType::F32),
        "f16" => Ok(FloatDType::F16),
        "bf16" => Ok(FloatDType::BF16),
        _ => anyhow::bail!("`model.dtype = \"{name}\"`: expected f32, f16 or bf16"),
    }
}

fn bytes_of(dtype: FloatDType) -> usize {
    if dtype == FloatDType::F32 { 4 } else { 2 }
}

fn load_wan(config: WanConfig, path: &Path, device: &Device, dtype: FloatDType) -> Result<Wan> {
    Ok(Wan::load(config, Weights::open(path)?, device, dtype)?)
}

/// Text states drawn from the prompt's characters: equal prompts get equal states.
fn random_text(prompt: &str, width: usize, device: &Device) -> Tensor<3> {
    let seed = prompt
        .bytes()
        .fold(0u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte as u64));
    let shape = [1, RANDOM_TOKENS, width];
    Tensor::from_data(TensorData::new(noise(seed, &shape), shape), device)
}
