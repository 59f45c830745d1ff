//! What to run: a strict TOML file with its own prose. `Wire…` is the file, the rest the program's view.

mod data;
mod shipped;
mod variants;

pub use data::{Origins, read_data};
pub use variants::Variant;

use crate::metrics::through::Through;
use anyhow::{Context, Result, bail, ensure};
use mixcache_core::denoise::Guidance;
use mixcache_core::models::Config;
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::Course;
use mixcache_policies::PolicySpec;
use mixcache_policies::data::Data;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use toml::Table;
use variants::multiply_out;

/// An experiment, read and multiplied out.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Name: the file's stem.
    pub name: String,
    /// The file as it stands.
    pub text: String,
    /// One line for plots and tables.
    pub title: String,
    /// Model and where it runs.
    pub model: WireModel,
    /// Size of the clip.
    pub video: WireVideo,
    /// Sampler and guidance.
    pub sampler: WireSampler,
    /// How quality is measured.
    pub metrics: WireMetrics,
    /// Prompts, seeds, repeats.
    pub runs: WireRuns,
    /// What to use where the model cannot be had.
    pub stand_in: Option<WireStandIn>,
    /// Every policy with every knob value, `off` first.
    pub policies: Vec<Variant>,
    /// Calibrated data.
    pub data: Data,
    /// Where that stands.
    pub origins: Origins,
    /// What was substituted for what; empty when nothing was.
    pub substituted: String,
    /// Whether another model stands in for the one the file names.
    pub on_stand_in: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    title: String,
    #[serde(rename = "analysis")]
    _analysis: Option<String>,
    model: WireModel,
    video: WireVideo,
    sampler: WireSampler,
    #[serde(default)]
    metrics: WireMetrics,
    runs: WireRuns,
    stand_in: Option<WireStandIn>,
    policy: Vec<Table>,
}

/// Model and where it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireModel {
    /// Preset, one of [`mixcache_core::models::Config::presets`].
    pub name: String,
    /// Checkpoint: file or folder. `--weights` overrides it.
    pub weights: Option<PathBuf>,
    /// Text states of the prompts, made by `mixcache embed`. `--embeddings` overrides it.
    pub embeddings: Option<PathBuf>,
    /// `cpu`, `wgpu`, `cuda:0`, … `--device` overrides it.
    #[serde(default = "cpu")]
    pub device: String,
    /// `f32`, `f16` or `bf16`.
    #[serde(default = "f32")]
    pub dtype: String,
    /// Decode large frames in tiles where the authors decode whole ones (Wan, CogVideoX): less memory, faint seams.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vae_tiles: bool,
    /// Keep the blocks of the transformer in the host's memory, and copy each to the device when a pass reaches it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offload: bool,
}

fn cpu() -> String {
    "cpu".into()
}
fn f32() -> String {
    "f32".into()
}

/// Size of the clip in pixels and frames.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireVideo {
    /// Frames of the clip.
    pub frames: usize,
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
}

/// Sampler and guidance.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireSampler {
    /// `euler`, `unipc` or `dpmpp` for flows, `ddim` or `dpmpp-sde` for CogVideoX.
    pub kind: SamplerKind,
    /// Steps.
    pub steps: usize,
    /// Shift of the noise schedule; of CogVideoX the divisor of its signal-to-noise ratio.
    pub shift: f64,
    /// Guidance scale w.
    pub guidance: f32,
    /// That of the expert for low noise, where a model has two (Wan2.2) and it is another; policies are told the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_low_noise: Option<f32>,
    /// Scale of classifier-free guidance beside `guidance`, where that is an input of the model (HunyuanVideo): a second
    /// pass a step, over the negative prompt. 1 = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub true_cfg: Option<f32>,
    /// How the guidance scale goes through a run; policies are told the scale itself.
    #[serde(default)]
    pub guidance_course: Course,
    /// How guidance is run; two passes a step where the model leaves a choice and the file makes none.
    pub guidance_mode: Option<GuidanceMode>,
    /// First steps in which no policy may reuse.
    pub full_first: usize,
    /// Last steps in which no policy may reuse.
    pub full_last: usize,
}

/// How guidance is run.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuidanceMode {
    /// One pass for each branch of classifier-free guidance: what caches of a branch need.
    TwoPass,
    /// One pass over both as a batch: the other baseline a speed-up must be quoted against.
    Batched,
    /// The scale is an input of the model, as of HunyuanVideo: one pass, without `true_cfg`.
    Embedded,
}

impl GuidanceMode {
    /// This mode at scale `w`; 1 means no guidance.
    pub fn at(self, scale: f32) -> Guidance {
        match self {
            GuidanceMode::Embedded => Guidance::None,
            _ if scale == 1.0 => Guidance::None,
            GuidanceMode::TwoPass => Guidance::TwoPass { scale },
            GuidanceMode::Batched => Guidance::Batched { scale },
        }
    }
}

/// How quality is measured.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireMetrics {
    /// What the frames of both clips go through before they are compared: `8-bit`, `h264` or `h264:CRF`. Without it they
    /// come straight from the decoder. `--through` overrides it.
    pub through: Option<Through>,
}

/// Prompts, seeds, repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireRuns {
    /// Prompts.
    pub prompts: Vec<String>,
    /// What the unconditional branch is given.
    #[serde(default)]
    pub negative_prompt: String,
    /// Seeds of the initial noise, for each prompt.
    pub seeds: Vec<u64>,
    /// Repeats of each run, for timing.
    #[serde(default = "one")]
    pub repeats: u32,
    /// Steps of an untimed run at the start.
    #[serde(default = "two")]
    pub warmup_steps: usize,
    /// Limit on what a cache may hold, GiB.
    pub cache_budget_gib: f64,
    /// How many prompts get a video of every policy beside the uncached one.
    #[serde(default)]
    pub videos: usize,
    /// What runs unless `--full` is given.
    pub quick: Option<WireQuick>,
}

/// The first few prompts and seeds of an experiment.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireQuick {
    /// How many prompts.
    pub prompts: usize,
    /// How many seeds.
    pub seeds: usize,
}

fn one() -> u32 {
    1
}
fn two() -> usize {
    2
}

/// What to use where the model cannot be had. Every row, table and plot then says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireStandIn {
    /// Preset of the stand-in.
    pub model: String,
    /// Its clip.
    pub video: WireVideo,
    /// Prompts it understands.
    pub prompts: Vec<String>,
    /// TeaCache polynomial used instead of one that belongs to the model.
    pub coefficients: String,
    /// MixCache calibration used instead of one that belongs to the model.
    pub calibration: String,
    /// Its solver, where it cannot be that of the model.
    pub sampler: Option<SamplerKind>,
    /// Its shift.
    pub shift: f64,
    /// Its guidance.
    pub guidance: f32,
}

impl Experiment {
    /// Reads and checks an experiment.
    pub fn read(path: &Path) -> Result<Experiment> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = path.parent().unwrap_or(Path::new("."));
        let (data, origins) = read_data(folder)?;
        let parsed = Experiment::parse(&name, &text, data).with_context(|| format!("in {}", path.display()))?;
        Ok(Experiment { origins, ..parsed })
    }

    /// An experiment from its text.
    pub fn parse(name: &str, text: &str, data: Data) -> Result<Experiment> {
        let wire: Wire = toml::from_str(text)?;
        let (video, sampler, runs) = (wire.video, wire.sampler, &wire.runs);
        for (key, value) in [
            ("video.frames", video.frames),
            ("video.height", video.height),
            ("video.width", video.width),
            ("sampler.steps", sampler.steps),
            ("runs.prompts", runs.prompts.len()),
            ("runs.seeds", runs.seeds.len()),
            ("runs.repeats", runs.repeats as usize),
            ("policy", wire.policy.len()),
        ] {
            ensure!(value > 0, "`{key}`: found none, expected at least one");
        }
        ensure!(
            sampler.shift > 0.0,
            "`sampler.shift = {}`: expected more than 0",
            sampler.shift
        );
        ensure!(
            runs.cache_budget_gib >= 0.0,
            "`runs.cache_budget_gib = {}`: expected 0 or more",
            runs.cache_budget_gib
        );
        let mut policies = vec![Variant::off()];
        for table in &wire.policy {
            for variant in multiply_out(table)? {
                if !policies.contains(&variant) {
                    policies.push(variant);
                }
            }
        }
        Ok(Experiment {
            name: name.into(),
            text: text.into(),
            title: wire.title,
            model: wire.model,
            video,
            sampler,
            metrics: wire.metrics,
            runs: wire.runs,
            stand_in: wire.stand_in,
            policies,
            data,
            origins: Origins::new(),
            substituted: String::new(),
            on_stand_in: false,
        })
    }

    /// Hash of all that decides what will run, calibrated data included; 16 hex digits.
    pub fn hash(&self) -> String {
        let asked = (&self.model, &self.metrics, &self.runs, &self.substituted);
        hash(&(&self.text, asked, format!("{:?}", self.data)))
    }

    /// Keeps the first few prompts and seeds: those of `quick`, unless told otherwise.
    pub fn narrowed(mut self, full: bool, prompts: Option<usize>, seeds: Option<usize>) -> Experiment {
        let quick = self.runs.quick.filter(|_| !full);
        if let Some(n) = prompts.or(quick.map(|q| q.prompts)) {
            self.runs.prompts.truncate(n.max(1));
        }
        if let Some(n) = seeds.or(quick.map(|q| q.seeds)) {
            self.runs.seeds.truncate(n.max(1));
        }
        self
    }

    /// The same policies on the stand-in that the file names, or an error that says why one is needed.
    pub fn on_stand_in(mut self, why: &str) -> Result<Experiment> {
        let Some(stand_in) = self.stand_in.take() else {
            bail!("{why}, and {} names no [stand_in]: give --weights DIR", self.name);
        };
        self.on_stand_in = true;
        self.substituted = format!("{} stands in for {}: {why}", stand_in.model, self.model.name);
        self.model = WireModel {
            name: stand_in.model,
            weights: None,
            embeddings: None,
            device: self.model.device,
            dtype: f32(),
            vae_tiles: false,
            offload: false,
        };
        (self.video, self.runs.prompts) = (stand_in.video, stand_in.prompts);
        self.runs.negative_prompt.clear();
        (self.sampler.shift, self.sampler.guidance) = (stand_in.shift, stand_in.guidance);
        self.sampler.guidance_low_noise = None;
        let embeds = |model: &str| Config::preset(model).is_some_and(|config| config.embeds_guidance());
        self.sampler.true_cfg.take_if(|_| !embeds(&self.model.name));
        self.sampler.kind = stand_in.sampler.unwrap_or(self.sampler.kind);
        for variant in &mut self.policies {
            match variant.spec.inner() {
                PolicySpec::Tea(tea) => tea.coefficients = stand_in.coefficients.clone(),
                PolicySpec::Mix(mix) => mix.calibration = stand_in.calibration.clone(),
                _ => {}
            }
        }
        Ok(self)
    }
}

/// 16 hex digits that stand for a definition.
pub fn hash(definition: &impl Serialize) -> String {
    let json = serde_json::to_vec(definition).expect("plain data");
    Sha256::digest(json)[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
