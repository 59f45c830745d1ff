//! What to run: a strict TOML file with its own prose. `Wire…` is the file, the rest the program's view.

use anyhow::{Context, Result, anyhow, bail, ensure};
use mixcache_core::denoise::Guidance;
use mixcache_core::models::Config;
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::Course;
use mixcache_policies::PolicySpec;
use mixcache_policies::amended::Amended;
use mixcache_policies::data::{Data, MagRatios, MixCalibration, Moments, Recorded, TeaCoefficients};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

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
    /// Prompts, seeds, repeats.
    pub runs: WireRuns,
    /// What to use where the model cannot be had.
    pub stand_in: Option<WireStandIn>,
    /// Every policy with every knob value, `off` first.
    pub policies: Vec<Variant>,
    /// Calibrated data.
    pub data: Data,
    /// What was substituted for what; empty when nothing was.
    pub substituted: String,
    /// Whether another model stands in for the one the file names.
    pub on_stand_in: bool,
}

/// One policy with one setting of its knobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The policy.
    pub spec: PolicySpec,
    /// Readable name with all knobs given, e.g. `tea threshold=0.1`.
    pub label: String,
    /// The curve it belongs to: name and the knobs that are not swept.
    pub series: String,
    /// The swept knob, if one is.
    pub knob: Option<(String, f64)>,
    /// How guidance is run, where it differs from the experiment's.
    pub guidance_mode: Option<GuidanceMode>,
    /// Whether it estimates what could be reached: drawn and named so, and no candidate where the best is looked for.
    pub upper: bool,
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

/// The shipped experiment on each model: its size, sampler and policies are what the model is used with.
const OF_MODELS: [(&str, &str); 7] = [
    ("wan2.1-t2v-1.3b", "wan1_3b"),
    ("wan2.1-t2v-14b", "wan14b"),
    ("wan2.2-t2v-a14b", "wan2_2"),
    ("wan-mini", "mini"),
    ("hunyuan-video", "hunyuan"),
    ("hunyuan-mini", "hunyuan-mini"),
    ("cogvideox-5b", "cogvideox5b"),
];

impl Experiment {
    /// The shipped experiment on a model.
    ///
    /// # Errors
    /// When there is no such model or the experiments are not at hand.
    pub fn of_model(model: &str) -> Result<PathBuf> {
        let shipped = OF_MODELS.iter().find(|(known, _)| *known == model);
        let (_, experiment) = shipped.with_context(|| {
            let known: Vec<_> = OF_MODELS.iter().map(|(known, _)| *known).collect();
            format!("there is no model `{model}`: expected one of {}", known.join(", "))
        })?;
        Experiment::find(experiment)
    }

    /// Finds an experiment: a path to a TOML file, or a name in `experiments/` here, above, or where
    /// the program was built.
    pub fn find(name: &str) -> Result<PathBuf> {
        if name.ends_with(".toml") {
            ensure!(Path::new(name).is_file(), "there is no file {name}");
            return Ok(name.into());
        }
        let folders = Experiment::folders()?;
        let found = folders
            .iter()
            .map(|dir| dir.join(format!("{name}.toml")))
            .find(|path| path.is_file());
        found.with_context(|| {
            let known: Vec<String> = folders.iter().flat_map(|dir| names_in(dir, ".toml")).collect();
            format!(
                "there is no experiment `{name}`; known: {} (or give the path of a .toml file)",
                known.join(", ")
            )
        })
    }

    /// The nearest folder `experiments/`, which holds published and calibrated numbers as well.
    pub fn folder() -> Result<PathBuf> {
        let nearest = Experiment::folders()?.into_iter().next();
        nearest.context("there is no folder `experiments` here, above, or where the program was built")
    }

    /// Every folder `experiments/` here, above, and where the program was built.
    fn folders() -> Result<Vec<PathBuf>> {
        let here = std::env::current_dir()?;
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folders = here.ancestors().map(Path::to_path_buf).chain([built]);
        let folders = folders.map(|dir| dir.join("experiments"));
        Ok(folders.filter(|dir| dir.is_dir()).collect())
    }

    /// Reads and checks an experiment.
    pub fn read(path: &Path) -> Result<Experiment> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = path.parent().unwrap_or(Path::new("."));
        let data = read_data(folder)?;
        Experiment::parse(&name, &text, data).with_context(|| format!("in {}", path.display()))
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
            runs: wire.runs,
            stand_in: wire.stand_in,
            policies,
            data,
            substituted: String::new(),
            on_stand_in: false,
        })
    }

    /// Hash of all that decides what will run, calibrated data included; 16 hex digits.
    pub fn hash(&self) -> String {
        let asked = (&self.model, &self.runs, &self.substituted);
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

impl Variant {
    /// The uncached reference of every experiment.
    pub fn off() -> Variant {
        Variant {
            spec: PolicySpec::Off(Default::default()),
            label: "off".into(),
            series: "off".into(),
            knob: None,
            guidance_mode: None,
            upper: false,
        }
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

fn names_in(folder: &Path, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|e| {
            e.file_name()
                .into_string()
                .ok()?
                .strip_suffix(ending)
                .map(str::to_string)
        })
        .collect();
    names.sort();
    names
}

/// All of `coefficients/*.toml`, `calibration/*.toml`, `ratios/*.toml`, `moments/*.toml` and `traces/*.json` beside the experiment.
pub fn read_data(folder: &Path) -> Result<Data> {
    fn read<T: serde::de::DeserializeOwned>(folder: PathBuf) -> Result<BTreeMap<String, T>> {
        let mut all = BTreeMap::new();
        for name in names_in(&folder, ".toml") {
            let path = folder.join(format!("{name}.toml"));
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let more: BTreeMap<String, T> = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
            all.extend(more);
        }
        Ok(all)
    }
    Ok(Data {
        tea: read::<TeaCoefficients>(folder.join("coefficients"))?,
        mix: read::<MixCalibration>(folder.join("calibration"))?,
        ratios: read::<MagRatios>(folder.join("ratios"))?,
        moments: read::<Moments>(folder.join("moments"))?,
        traces: read_traces(&folder.join("traces"))?,
    })
}

fn read_traces(folder: &Path) -> Result<BTreeMap<String, Recorded>> {
    let read = |name: String| {
        let path = folder.join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let trace = serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        Ok((name, trace))
    };
    names_in(folder, ".json").into_iter().map(read).collect()
}

/// A `[[policy]]` table whose arrays multiply out.
fn multiply_out(table: &Table) -> Result<Vec<Variant>> {
    let mut fixed = table.clone();
    let name = match fixed.remove("name") {
        None => None,
        Some(Value::String(name)) => Some(name),
        Some(other) => bail!("`policy.name = {other}`: expected a string"),
    };
    let guidance_mode = match fixed.remove("guidance_mode") {
        None => None,
        Some(mode) => Some(mode.try_into().context("`policy.guidance_mode`")?),
    };
    let upper = match fixed.remove("upper") {
        None => false,
        Some(Value::Boolean(upper)) => upper,
        Some(other) => bail!("`policy.upper = {other}`: expected true or false"),
    };
    let mut swept: Vec<(String, Vec<Value>)> = vec![];
    for (key, value) in table {
        if let Value::Array(values) = value {
            ensure!(!values.is_empty(), "`policy.{key} = []`: expected at least one value");
            fixed.remove(key);
            swept.push((key.clone(), values.clone()));
        }
    }
    // The knob of the curve is the one with most values; the others make curves of their own.
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|i| i as f64));
    let numeric = swept
        .iter()
        .filter(|(_, values)| values.iter().all(|v| number(v).is_some()));
    let knob = numeric
        .max_by_key(|(_, values)| values.len())
        .map(|(key, _)| key.clone());
    let mut settings = vec![fixed];
    for (key, values) in &swept {
        let with = |setting: &Table, value: &Value| {
            let mut setting = setting.clone();
            setting.insert(key.clone(), value.clone());
            setting
        };
        settings = settings
            .iter()
            .flat_map(|s| values.iter().map(move |v| with(s, v)))
            .collect();
    }
    settings
        .into_iter()
        .map(|setting| {
            let kind = setting.get("kind").and_then(Value::as_str).unwrap_or("?").to_string();
            let spec = policy_of(&setting, &kind)?;
            let knob = knob
                .as_ref()
                .and_then(|key| Some((key.clone(), number(setting.get(key)?)?)));
            let shown = |keep: &dyn Fn(&str) -> bool| {
                let knobs = setting.iter().filter(|(key, _)| *key != "kind" && keep(key));
                knobs
                    .map(|(key, value)| format!(" {key}={}", value.to_string().trim_matches('"')))
                    .collect::<String>()
            };
            let batched = if guidance_mode == Some(GuidanceMode::Batched) {
                " (batched guidance)"
            } else {
                ""
            };
            let is_swept = |key: &str| swept.iter().any(|(k, _)| k == key);
            let is_knob = |key: &str| knob.as_ref().is_some_and(|(k, _)| k == key);
            // A named curve hides the knobs that are fixed in it: the name stands for them.
            let named = name.is_some();
            let head = name.clone().unwrap_or(kind);
            let series = format!(
                "{head}{batched}{}",
                shown(&|key| !is_knob(key) && (is_swept(key) || !named))
            );
            let label = format!("{series}{}", shown(&is_knob));
            Ok(Variant {
                spec,
                label,
                series,
                knob,
                guidance_mode,
                upper,
            })
        })
        .collect()
}

/// A policy from its keys. serde names the wrong type, not the key that has it: here the key is named too.
fn policy_of(setting: &Table, kind: &str) -> Result<PolicySpec> {
    let mut setting = setting.clone();
    let amended = match setting.remove("amended") {
        None => false,
        Some(Value::Boolean(amended)) => amended,
        Some(other) => bail!("in [[policy]] kind = \"{kind}\", `amended = {other}`: expected true or false"),
    };
    let wrap = |spec| {
        if amended {
            PolicySpec::Amended(Amended::new(spec))
        } else {
            spec
        }
    };
    let read = |table: &Table| table.clone().try_into::<PolicySpec>();
    read(&setting).map(wrap).map_err(|error| {
        let is_to_blame = |key: &&String| {
            let mut without = setting.clone();
            without.remove(*key);
            read(&without)
                .err()
                .is_none_or(|error| error.to_string().contains(&format!("missing field `{key}`")))
        };
        let culprit = setting.keys().filter(|key| *key != "kind").find(is_to_blame);
        let place = culprit
            .map(|key| format!(", `{key} = {}`", setting[key]))
            .unwrap_or_default();
        anyhow!("in [[policy]] kind = \"{kind}\"{place}: {}", error.to_string().trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variants(text: &str) -> Vec<Variant> {
        multiply_out(&toml::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn arrays_multiply_out_and_the_longest_is_the_knob() {
        let all = variants("kind = 'step'\ninterval = [2, 3, 4]\nform = ['output', 'residual']");
        assert_eq!(all.len(), 6);
        assert_eq!(all[0].label, "step form=output interval=2");
        assert_eq!(all[0].series, "step form=output");
        assert_eq!(all[0].knob, Some(("interval".into(), 2.0)));
        let curves: std::collections::BTreeSet<_> = all.iter().map(|v| v.series.as_str()).collect();
        assert_eq!(curves.len(), 2);
    }

    #[test]
    fn every_model_has_a_shipped_experiment() {
        let of_models: Vec<&str> = OF_MODELS.iter().map(|(model, _)| *model).collect();
        assert_eq!(of_models, mixcache_core::models::Config::presets().collect::<Vec<_>>());
        for model in of_models {
            let experiment = Experiment::read(&Experiment::of_model(model).unwrap()).unwrap();
            assert_eq!(experiment.model.name, model);
        }
    }

    #[test]
    fn a_name_stands_for_the_fixed_knobs() {
        let all = variants("kind = 'first-blocks'\nname = 'FBCache'\nwarmup = 4\nthreshold = [0.1, 0.2]");
        assert_eq!(all[1].label, "FBCache threshold=0.2");
        assert_eq!(all[1].series, "FBCache");
    }

    #[test]
    fn any_policy_can_be_amended_and_its_knobs_stay_its_own() {
        let all = variants("kind = 'sea'\namended = [false, true]\nthreshold = [0.1, 0.2]");
        assert_eq!(all[3].label, "sea amended=true threshold=0.2");
        assert!(
            matches!(&all[3].spec, PolicySpec::Amended(amended) if *amended.of == multiply_out(&toml::from_str("kind = 'sea'\nthreshold = 0.2").unwrap()).unwrap()[0].spec)
        );
        assert!(matches!(&all[0].spec, PolicySpec::Sea(_)));
        let error = multiply_out(&toml::from_str("kind = 'sea'\namended = 1").unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("`amended = 1`: expected true or false"),
            "{error}"
        );
    }

    #[test]
    fn the_upper_line_is_marked_and_its_mark_is_no_knob() {
        let all = variants("kind = 'uniform'\nupper = true\ncomputed = [20, 25]");
        assert!(all.iter().all(|v| v.upper));
        assert_eq!(
            (all[0].label.as_str(), all[0].series.as_str()),
            ("uniform computed=20", "uniform")
        );
        assert!(!variants("kind = 'uniform'\ncomputed = 20")[0].upper);
        let error = multiply_out(&toml::from_str("kind = 'uniform'\nupper = 'yes'").unwrap()).unwrap_err();
        assert!(error.to_string().contains("`policy.upper = \"yes\"`"), "{error}");
    }

    #[test]
    fn a_wrong_knob_names_policy_and_key() {
        let table = toml::from_str("kind = 'tea'\nthreshold = 'high'\ncoefficients = 'x'").unwrap();
        let error = format!("{:#}", multiply_out(&table).unwrap_err());
        assert!(error.contains("tea") && error.contains("threshold"), "{error}");
        let table = toml::from_str("kind = 'teacache'").unwrap();
        let error = format!("{:#}", multiply_out(&table).unwrap_err());
        assert!(error.contains("teacache") && error.contains("first-blocks"), "{error}");
    }
}
