//! The model under test, with what turns prompts into conditions and latents into frames.

use crate::checkpoint::Checkpoint;
use crate::experiment::{Experiment, WireModel};
use crate::memory::Need;
use crate::metrics::Frames;
use crate::runner::{Reference, name_of};
use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use mixcache_core::codec::PatchCodec;
use mixcache_core::fake;
use mixcache_core::inventory::KeyLayout;
use mixcache_core::mini::{self, Mini};
use mixcache_core::models::{Chain, Cond, Config, Model, ModelChain, Prompt};
use mixcache_core::sampler::Prediction;
use mixcache_core::tensors::Latent;
use mixcache_core::text::{TextStates, Vocabulary};
use mixcache_core::vae::{Vae, VaeConfig};
use mixcache_core::weights::Weights;
use mixcache_core::{device, noise::noise};
use std::path::Path;

/// Latent frames, rows and columns of the video autoencoders of all models: `(f − 1)/4 + 1`,
/// `h/8`, `w/8`.
const STRIDES: [usize; 3] = [4, 8, 8];

/// Text tokens drawn for a prompt when there is no text encoder, where the model has room for so many.
const RANDOM_TOKENS: usize = 64;

/// The model under test.
pub struct Subject {
    /// Its transformer.
    pub model: Model,
    /// Where the weights come from.
    pub weights: String,
    /// Latent frames, rows, columns.
    pub grid: [usize; 3],
    /// Frames a second of its videos.
    pub fps: u16,
    /// Whether differences to the uncached run mean anything.
    pub trained: bool,
    text: Text,
    /// What the unconditional branch is given, where a run may have one.
    negative_prompt: Option<String>,
    decoder: Option<Decoder>,
}

/// What makes frames of latents.
#[expect(clippy::large_enum_variant, reason = "there is one at a time: nothing to save")]
enum Decoder {
    Patches(PatchCodec),
    Vae(Vae),
}

enum Text {
    Words(Vocabulary),
    /// What a text encoder made of the prompts, once.
    Encoded(TextStates),
    /// Text states drawn from the prompt: the model has no text encoder here.
    Random,
}

/// Decides what will run: the experiment itself, or its stand-in. Loads nothing.
///
/// # Errors
/// When the model cannot be had, or is not known, and there is no stand-in; when the solver is
/// not one for what the model predicts.
pub fn settle(experiment: Experiment) -> Result<Experiment> {
    let mut settled = substituted(experiment)?;
    if let Some(scale) = settled.sampler.true_cfg {
        let name = &settled.model.name;
        ensure!(
            preset(name)?.embeds_guidance(),
            "`sampler.true_cfg`: {name} takes no guidance scale as an input beside which there could be another; `guidance` alone guides it, leave `true_cfg` out"
        );
        ensure!(
            scale.is_finite() && scale >= 1.0,
            "`sampler.true_cfg = {scale}`: expected 1 (none) or more"
        );
    }
    settled.sampler.true_cfg.take_if(|scale| *scale == 1.0);
    let (name, kind) = (&settled.model.name, settled.sampler.kind);
    let (expected, known) = match preset(name)?.prediction() {
        Prediction::Flow => ("the velocity of a flow", "euler, unipc or dpmpp"),
        Prediction::V => ("v at constant variance", "ddim or dpmpp-sde"),
    };
    ensure!(
        !settled.model.offload || settled.model.weights.is_some(),
        "`model.offload`: the blocks of a checkpoint, given with `--weights`, can stay in the host's memory; {name} has none here, leave it out"
    );
    let sampler = &settled.sampler;
    ensure!(
        sampler.guidance_low_noise.is_none() || preset(name)?.experts() == 2 && sampler.guidance != 1.0,
        "`sampler.guidance_low_noise`: {name} has one expert, or there is no guidance (`guidance = 1`); leave it out"
    );
    ensure!(
        kind.prediction() == preset(name)?.prediction(),
        "`sampler.kind = \"{}\"`: {name} predicts {expected}, expected {known}",
        name_of(&kind)
    );
    Ok(settled)
}

fn substituted(mut experiment: Experiment) -> Result<Experiment> {
    let name = &experiment.model.name;
    let config = sizes_of(name, experiment.model.weights.as_deref())?;
    let on_cpu = experiment.model.device == "cpu";
    let is_embedded = mini::find(name).is_some();
    ensure!(
        experiment.model.embeddings.is_none() || experiment.model.weights.is_some() || !is_embedded,
        "`model.embeddings`: the {name} that comes with the program knows its own words; leave them out"
    );
    if is_embedded && experiment.model.weights.is_none() {
        return Ok(experiment);
    }
    if let Some(weights) = &experiment.model.weights {
        let mut remarks = remarks(&experiment.model, &config)?;
        if experiment.model.embeddings.is_none() {
            remarks.push("random text states for the prompts".into());
        }
        if let Err(why) = Checkpoint::find(weights).vae {
            remarks.push(format!("latents are not decoded ({why})"));
        }
        experiment.substituted = remarks.join("; ");
        return Ok(experiment);
    }
    if on_cpu {
        let why = format!("no weights given, and {name} at full size is out of reach of a CPU");
        return experiment.on_stand_in(&why);
    }
    experiment.substituted = "random weights: speed only".into();
    Ok(experiment)
}

/// The sizes of the model that will run: those that a checkpoint comes with, or the preset's.
///
/// # Errors
/// When the model is not known, or the checkpoint is of another.
pub fn sizes_of(model: &str, weights: Option<&Path>) -> Result<Config> {
    let asked = preset(model)?;
    let Some(path) = weights else { return Ok(asked) };
    let checkpoint = Checkpoint::find(path);
    let found = match Config::beside(&checkpoint.transformer)? {
        Some(expert) if checkpoint.low_noise.is_some() => expert.clone().of_experts().unwrap_or(expert),
        found => found.unwrap_or(asked.clone()),
    };
    let is_other = found.name() != asked.name() && Config::preset(found.name()).is_some();
    ensure!(
        found.family() == asked.family() && found.experts() == asked.experts() && !is_other,
        "{} holds {} ({}), the experiment runs {} ({}): choose an experiment for that model, or another checkpoint",
        path.display(),
        found.name(),
        found.shown(),
        asked.name(),
        asked.shown()
    );
    Ok(found)
}

/// What every row must say of a checkpoint that is not the published one.
fn remarks(model: &WireModel, found: &Config) -> Result<Vec<String>> {
    let path = model.weights.as_deref().expect("a checkpoint was given");
    let asked = preset(&model.name)?;
    let weights = Weights::open(&Checkpoint::find(path).transformer)?;
    let random = weights.note(fake::NOTE).map(|seed| format!("random weights, {seed}"));
    let resized = (*found != asked).then(|| format!("{} instead of {}", found.shown(), asked.name()));
    Ok(random.into_iter().chain(resized).collect())
}

/// The block that each unit of a model's chain belongs to.
///
/// # Errors
/// When the model is not known.
pub fn blocks_of_units(model: &str) -> Result<Vec<usize>> {
    Ok(preset(model)?
        .unit_kinds()
        .into_iter()
        .map(|(block, _)| block)
        .collect())
}

/// The sizes of a model.
///
/// # Errors
/// When the model is not known.
pub fn preset(name: &str) -> Result<Config> {
    Config::preset(name).with_context(|| {
        let known: Vec<_> = Config::presets().collect();
        format!("there is no model `{name}`: expected one of {}", known.join(", "))
    })
}

impl Subject {
    /// Loads what [`settle`] decided on, once it is known that the device can hold it.
    ///
    /// # Errors
    /// When it cannot, or when checkpoint, clip and device are not what the experiment needs.
    pub fn load(experiment: &Experiment) -> Result<Subject> {
        if mini::find(&experiment.model.name).is_none() {
            Need::of(experiment)?.check(experiment)?;
        }
        Subject::build(experiment, false)
    }
    /// The same without weights, which cannot run: what it would need is known by its sizes.
    ///
    /// # Errors
    /// As of [`Subject::load`], but for the device's memory and the weights.
    pub fn hollow(experiment: &Experiment) -> Result<Subject> {
        Subject::build(experiment, true)
    }
    fn build(experiment: &Experiment, hollow: bool) -> Result<Subject> {
        let model = &experiment.model;
        let device = device::open(&model.device)?;
        let dtype = dtype(&model.dtype)?;
        let video = experiment.video;
        if let Some(embedded) = mini::find(&model.name).filter(|_| model.weights.is_none()) {
            let Mini { model, text, codec } = embedded.load(&device, dtype)?;
            let made = [16, 64, 64];
            ensure!(
                [video.frames, video.height, video.width] == made,
                "`video`: found {} frames of {}×{}, {} makes {} of {}×{}",
                video.frames,
                video.height,
                video.width,
                embedded.name,
                made[0],
                made[1],
                made[2]
            );
            return Ok(Subject {
                negative_prompt: negative_prompt(experiment, &model.config()),
                model,
                weights: "embedded".into(),
                grid: mini::GRID,
                fps: mini::FPS,
                trained: true,
                text: Text::Words(text),
                decoder: Some(Decoder::Patches(codec)),
            });
        }
        let config = sizes_of(&model.name, model.weights.as_deref())?;
        let (fps, at_once) = (config.fps(), VaeConfig::published(&config).frames_at_once());
        let mut decoder = None;
        let (transformer, weights, trained) = match &model.weights {
            _ if hollow => {
                let states = device::states(&device, dtype);
                (config.hollow(KeyLayout::Original, states).0, "none".into(), false)
            }
            Some(path) => {
                let checkpoint = Checkpoint::find(path);
                let open = |path: &Path| {
                    let weights = Weights::open(path)?;
                    anyhow::Ok(if model.offload { weights.offloaded() } else { weights })
                };
                let weights = open(&checkpoint.transformer)?;
                let is_random = weights.note(fake::NOTE).is_some();
                let mut from = checkpoint.transformer.display().to_string();
                if weights.holds_fp8() {
                    from += ", stored in fp8";
                }
                if let Ok(path) = &checkpoint.vae {
                    decoder = Some(Decoder::Vae(vae(&config, path, model.vae_tiles, &device)?));
                    from += &format!(", decoder {}", path.display());
                }
                let loaded = match (config.experts(), &checkpoint.low_noise) {
                    (1, _) => config.load(weights, &device, dtype)?,
                    (_, Some(low_noise)) => config.load_experts([weights, open(low_noise)?], &device, dtype)?,
                    (_, None) => bail!(
                        "{}: {} has two experts, found one transformer; expected `transformer/` and `transformer_2/`, or `high_noise_model/` and `low_noise_model/`",
                        path.display(),
                        config.name()
                    ),
                };
                (loaded, from, !is_random)
            }
            None => (config.random(0, &device, dtype), "random, seed 0".into(), false),
        };
        let text = match &model.embeddings {
            Some(path) => Text::Encoded(TextStates::open(path)?),
            None => Text::Random,
        };
        let weights = match &text {
            Text::Encoded(states) => format!("{weights}, text states of {}", states.origin()),
            _ => weights,
        };
        let [t, h, w] = STRIDES;
        ensure!(
            video.frames % at_once == 1 && video.height.is_multiple_of(2 * h) && video.width.is_multiple_of(2 * w),
            "`video`: found {} frames of {}×{}; expected {at_once}n + 1 frames, height and width multiples of 16",
            video.frames,
            video.height,
            video.width
        );
        Ok(Subject {
            negative_prompt: negative_prompt(experiment, &transformer.config()),
            model: transformer,
            weights,
            grid: [(video.frames - 1) / t + 1, video.height / h, video.width / w],
            fps,
            trained,
            text,
            decoder,
        })
    }

    /// Conditions of a prompt: conditional and, unless the model embeds the guidance scale and that is all there is,
    /// unconditional.
    pub fn conds(&self, prompt: &str, guidance: f32) -> Result<Vec<Cond>> {
        let branches = std::iter::once(prompt).chain(self.negative_prompt.as_deref());
        let cond = |text| Ok(self.model.condition(self.prompt(text)?, guidance)?);
        branches.map(cond).collect()
    }

    /// The model on the grid of the clip, for `batch` latents in a pass and this prompt, or the negative one where that
    /// is longer.
    pub fn chain(&self, batch: usize, prompt: &str) -> Result<ModelChain<'_>> {
        let text_tokens = self.tokens(prompt)?.max(self.negative_tokens().unwrap_or(0));
        Ok(self.model.on(self.grid, batch, text_tokens)?)
    }

    /// Whether a pass over this prompt has hidden states of the shape of one over the negative prompt, if there is one.
    pub fn branches_alike(&self, prompt: &str) -> Result<bool> {
        let shape = |tokens| Ok::<_, anyhow::Error>(self.model.on(self.grid, 1, tokens)?.hidden_shape());
        Ok(match self.negative_tokens() {
            Some(negative) => shape(self.tokens(prompt)?)? == shape(negative)?,
            None => true,
        })
    }

    fn tokens(&self, prompt: &str) -> Result<usize> {
        Ok(self.prompt(prompt)?.states.dims()[1])
    }

    /// None as well where it was not encoded: that is told by `conds`, which names the prompt.
    fn negative_tokens(&self) -> Option<usize> {
        self.tokens(self.negative_prompt.as_deref()?).ok()
    }

    /// A prompt as numbers.
    pub fn prompt(&self, text: &str) -> Result<Prompt> {
        let device = self.model.device();
        let config = self.model.config();
        let (width, pooled) = config.text_widths();
        let tokens = config.padded_text().unwrap_or(RANDOM_TOKENS.min(config.text_len()));
        Ok(match &self.text {
            Text::Words(words) => words.encode(text, device)?,
            Text::Encoded(states) => states.find(text, device)?,
            Text::Random => Prompt {
                states: Tensor::from_data(random_text(text, [1, tokens, width]), device),
                pooled: Tensor::from_data(random_text(text, [1, pooled.unwrap_or(width)]), device),
            },
        })
    }

    /// The initial noise of a seed, the same on every device.
    pub fn noise(&self, seed: u64) -> Latent {
        let shape = self.latent_shape();
        Latent::from_host(noise(seed, &shape), shape, self.model.device())
    }

    fn latent_shape(&self) -> [usize; 5] {
        let [f, h, w] = self.grid;
        [1, self.model.config().latent_channels(), f, h, w]
    }

    /// Whether latents become frames here.
    pub fn makes_frames(&self) -> bool {
        self.decoder.is_some()
    }

    /// What was made, from the numbers of its latent.
    pub fn decoded(&self, latent: Vec<f32>) -> Reference {
        let shape = self.latent_shape();
        let frames = self.frames(&Latent::from_host(latent.clone(), shape, self.model.device()));
        Reference { latent, frames }
    }

    /// Whether latents are decoded into frames here.
    pub fn has_decoder(&self) -> bool {
        self.decoder.is_some()
    }

    /// RGB frames, where the model has a decoder here.
    pub fn frames(&self, latent: &Latent) -> Option<Frames> {
        let frames = match self.decoder.as_ref()? {
            Decoder::Patches(codec) => codec.decode(latent),
            Decoder::Vae(vae) => vae.decode(latent),
        };
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

/// What the unconditional branch of a run is given; none where the model embeds all guidance there is.
fn negative_prompt(experiment: &Experiment, config: &Config) -> Option<String> {
    let is_guided = !config.embeds_guidance() || experiment.sampler.true_cfg.is_some();
    is_guided.then(|| experiment.runs.negative_prompt.clone())
}

/// The autoencoder of a model, whose latents must be the model's.
fn vae(model: &Config, path: &Path, tiles: bool, device: &Device) -> Result<Vae> {
    let mut vae = Vae::open(model, path, device)?;
    let (channels, strides) = (vae.latent_channels(), vae.strides());
    let expected = model.latent_channels();
    ensure!(
        channels == expected && strides == STRIDES,
        "{}: found latents of {channels} channels and {strides:?} frames, rows and columns of pixels; the model's have {expected} channels and {STRIDES:?}: give the checkpoint's own autoencoder",
        path.display()
    );
    if tiles {
        vae.tile();
    }
    Ok(vae)
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

/// Text states drawn from the prompt's characters: equal prompts get equal states.
fn random_text<const D: usize>(prompt: &str, shape: [usize; D]) -> TensorData {
    let seed = prompt
        .bytes()
        .fold(0u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte as u64));
    TensorData::new(noise(seed, &shape), shape)
}
