//! One run: a policy, a prompt, a seed. The same model, loop, timer and metrics for every policy.

use crate::calibration;
use crate::clock::utc_now;
use crate::experiment::{Experiment, GuidanceMode, Variant, hash};
use crate::machine::Machine;
use crate::metrics::through::Through;
use crate::metrics::{self, Frames, Meter, i3d::I3d};
use crate::schema::{EventRow, Knob, RunRow};
use crate::subject::Subject;
use crate::trace::event_rows;
use anyhow::{Result, ensure};
use mixcache_core::denoise::{CacheLimits, Guidance, Job, Outcome, denoise, run_of};
use mixcache_core::models::{Chain, Cond, ModelChain};
use mixcache_core::sampler::SamplerKind;
use mixcache_core::schedule::Schedule;
use mixcache_core::tensors::Latent;
use mixcache_policies::PolicySpec;
use mixcache_policies::data::Data;
use mixcache_policies::plan::{CachePolicy, Run};
use mixcache_policies::planned::OWN_MOMENTS;
use mixcache_policies::store::WalkError;
use serde::Serialize;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is run on what: one cell of a sweep.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The policy.
    pub variant: Variant,
    /// Index into the experiment's prompts.
    pub prompt: usize,
    /// Seed of the initial noise.
    pub seed: u64,
    /// Which repeat.
    pub repeat: u32,
}

/// The uncached run that others are compared with.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Its final latent.
    pub latent: Vec<f32>,
    /// Its frames, where the model has a decoder.
    pub frames: Option<Frames>,
}

/// A cell that has run, of which the host's part of scoring is left. It needs no device and no runner: it may be done beside the
/// next run.
pub struct Taken {
    /// What was measured so far.
    pub row: RunRow,
    /// Its decisions.
    pub events: Vec<EventRow>,
    /// What it made; none where it failed.
    pub made: Option<Arc<Reference>>,
    compared: Option<Arc<Reference>>,
}

impl Taken {
    /// Works out the metrics that need no device.
    pub fn score(&mut self) {
        if let (Some(made), Some(compared)) = (&self.made, &self.compared)
            && let (Some(frames), Some(reference)) = (&made.frames, &compared.frames)
        {
            metrics::measure_on_host(&mut self.row, frames, reference);
        }
    }
}

/// Runs cells of one experiment on one subject.
pub struct Runner<'a> {
    experiment: &'a Experiment,
    subject: &'a Subject,
    machine: Machine,
    data: Arc<Data>,
    own: RefCell<Option<(String, u64, Arc<Data>)>>, // data with the moments of this clip
    meter: OnceCell<Meter>,
    i3d: Option<I3d>,
    versions: OnceCell<String>,
}

/// A denoising that only lacks its policy.
pub struct Prepared<'a> {
    /// The model on the grid of the clip.
    pub chain: ModelChain<'a>,
    /// What the policy is told.
    pub run: Run,
    /// Noise levels.
    pub schedule: Schedule,
    /// Solver.
    pub sampler: SamplerKind,
    /// Guidance.
    pub guidance: Guidance,
    /// Initial noise.
    pub noise: Latent,
    /// Seed of the noise that a solver adds on its way, if it does.
    pub seed: u64,
    /// A condition for each pass of a step.
    pub conds: Vec<Cond>,
}

impl Prepared<'_> {
    /// The job over these conditions.
    pub fn job<'c, Cond>(&self, conds: &'c [Cond]) -> Job<'c, Cond> {
        let (run, schedule, noise) = (self.run.clone(), self.schedule.clone(), self.noise.clone());
        Job {
            run,
            schedule,
            sampler: self.sampler,
            guidance: self.guidance,
            noise,
            seed: self.seed,
            conds,
        }
    }
}

impl<'a> Runner<'a> {
    /// A runner for `experiment` on `subject`.
    pub fn new(experiment: &'a Experiment, subject: &'a Subject) -> Runner<'a> {
        let mut data = experiment.data.clone();
        if let Some(moments) = data.moments.get(&experiment.model.name).cloned() {
            data.moments.insert(OWN_MOMENTS.into(), moments); // until the clip is known
        }
        Runner {
            experiment,
            subject,
            machine: Machine::detect(),
            data: Arc::new(data),
            own: RefCell::default(),
            meter: OnceCell::new(),
            i3d: None,
            versions: OnceCell::new(),
        }
    }

    /// The same, recording what `network` makes of every clip.
    pub fn with_i3d(self, network: I3d) -> Runner<'a> {
        let i3d = Some(network);
        Runner { i3d, ..self }
    }

    /// Asks every policy whether it fits, every prompt whether it is understood, and whether frames can be measured as
    /// asked, before anything runs.
    ///
    /// # Errors
    /// One error with all reasons.
    pub fn check(&self) -> Result<()> {
        let mut reasons = vec![];
        if let Some(through) = self.experiment.metrics.through {
            let (subject, name) = (self.subject, &self.experiment.model.name);
            ensure!(
                subject.trained && subject.makes_frames(),
                "`through = \"{through}\"`: {name} makes no frames here that could be measured, without trained weights and a decoder; leave it out"
            );
            through.check()?;
        }
        let prompts = &self.experiment.runs.prompts;
        let tokens = |prompt: &&String| self.subject.chain(1, prompt).map_or(0, |chain| chain.hidden_shape()[1]);
        let longest = prompts.iter().max_by_key(tokens).expect("an experiment has prompts"); // holds most
        let is_alike = |prompt: &String| self.subject.branches_alike(prompt).unwrap_or(true); // of others it is told below
        let alike = prompts.iter().all(is_alike);
        for variant in &self.experiment.policies {
            if let Err(reason) = self.mode(variant) {
                reasons.extend(Some(reason.to_string()).filter(|reason| !reasons.contains(reason)));
                continue;
            }
            let mut policy = variant.spec.policy();
            let steps = policy.steps(self.experiment.sampler.steps);
            if steps == 0 {
                reasons.push(format!("{}: `steps = 0`: expected at least 1", variant.label));
                continue;
            }
            let (mut run, _) = self.run(variant, longest, steps)?;
            run.branches_alike = alike;
            let fits = policy
                .begin(&run)
                .map_err(WalkError::from)
                .and_then(|claim| claim.check(&run));
            // Knobs for the large model may not fit the small one that stands in: that is a row with its error.
            let unfit = fits.err().filter(|_| !self.experiment.on_stand_in);
            reasons.extend(unfit.map(|reason| format!("{}: {reason}", variant.label)));
        }
        for prompt in prompts {
            reasons.extend(
                self.subject
                    .conds(prompt, self.experiment.sampler.guidance)
                    .err()
                    .map(|reason| format!("prompt \"{prompt}\": {reason:#}")),
            );
        }
        ensure!(
            reasons.is_empty(),
            "{} cannot run:\n  {}",
            self.experiment.name,
            reasons.join("\n  ")
        );
        Ok(())
    }

    /// Every cell: prompts and seeds outside, policies inside and rotated, so that a machine that
    /// slows down slows all of them.
    pub fn cells(&self) -> Vec<Cell> {
        let runs = &self.experiment.runs;
        let (off, others) = self.experiment.policies.split_first().expect("off is always there");
        let mut cells = vec![];
        let mut turn = 0;
        for repeat in 0..runs.repeats {
            for prompt in 0..runs.prompts.len() {
                for &seed in &runs.seeds {
                    let mut others = others.to_vec();
                    if !others.is_empty() {
                        let by = turn * 7 % others.len();
                        others.rotate_left(by);
                    }
                    let all = std::iter::once(off.clone()).chain(others);
                    cells.extend(all.map(|variant| Cell {
                        variant,
                        prompt,
                        seed,
                        repeat,
                    }));
                    turn += 1;
                }
            }
        }
        cells
    }

    /// What a policy is told of a run of this variant on this prompt.
    pub fn run(&self, variant: &Variant, prompt: &str, steps: usize) -> Result<(Run, Schedule)> {
        let sampler = &self.experiment.sampler;
        let guidance = self.guidance(variant)?;
        let mut schedule =
            Schedule::new(sampler.kind.grid(), steps, sampler.shift).with_course(sampler.guidance_course);
        if let (Some(boundary), Some(scale)) = (self.subject.model.config().boundary(), sampler.guidance_low_noise) {
            schedule = schedule.with_low_noise(boundary, scale);
        }
        let chain = self.subject.chain(guidance.batch(), prompt)?;
        let budget_bytes = (self.experiment.runs.cache_budget_gib * (1u64 << 30) as f64) as u64;
        let limits = CacheLimits {
            full: (sampler.full_first, sampler.full_last),
            budget_bytes,
        };
        let run = run_of(&chain, &schedule, guidance, limits, self.data.clone());
        let branches_alike = self.subject.branches_alike(prompt)?;
        Ok((Run { branches_alike, ..run }, schedule))
    }

    /// Everything a denoising needs but the policy.
    pub fn prepare(&self, variant: &Variant, prompt: &str, seed: u64, steps: usize) -> Result<Prepared<'a>> {
        let guidance = self.guidance(variant)?;
        let (mut run, schedule) = self.run(variant, prompt, steps)?;
        if variant.spec.knows_the_clip() {
            run.data = self.knowing(prompt, seed)?;
        }
        let mut conds = self.subject.conds(prompt, self.experiment.sampler.guidance)?;
        match guidance.batch() {
            2 => conds = vec![Cond::batch(conds)],
            _ => conds.truncate(guidance.branches()),
        }
        let chain = self.subject.chain(guidance.batch(), prompt)?;
        let (noise, sampler) = (self.subject.noise(seed), self.experiment.sampler.kind);
        Ok(Prepared {
            chain,
            run,
            schedule,
            sampler,
            guidance,
            noise,
            seed,
            conds,
        })
    }

    /// What was calibrated, and the moments of this very clip, from an uncached run that is not timed.
    fn knowing(&self, prompt: &str, seed: u64) -> Result<Arc<Data>> {
        if let Some((_, _, data)) = self
            .own
            .borrow()
            .as_ref()
            .filter(|own| (own.0.as_str(), own.1) == (prompt, seed))
        {
            return Ok(data.clone());
        }
        let job = self.prepare(&Variant::off(), prompt, seed, self.experiment.sampler.steps)?;
        let mut data = (*self.data).clone();
        let gain = data.moments.get(OWN_MOMENTS).map(|calibrated| calibrated.gain.clone());
        let own = calibration::moments_of(&job, &self.experiment.model.name, gain)?;
        data.moments.insert(OWN_MOMENTS.into(), own);
        let data = Arc::new(data);
        *self.own.borrow_mut() = Some((prompt.into(), seed, data.clone()));
        Ok(data)
    }

    /// Denoises under any policy.
    pub fn denoise(
        &self,
        variant: &Variant,
        policy: &mut dyn CachePolicy,
        prompt: &str,
        seed: u64,
        steps: usize,
    ) -> Result<Outcome> {
        let prepared = self.prepare(variant, prompt, seed, steps)?;
        Ok(denoise(
            &prepared.chain,
            policy,
            prepared.job(&prepared.conds),
            &mut |_| {},
        )?)
    }

    /// One cell as a row, its decisions, and what it made. A failure is a row with its error.
    pub fn measure(&self, cell: &Cell, reference: Option<&Arc<Reference>>) -> Taken {
        let mut taken = self.take(cell, reference);
        taken.score();
        taken
    }

    /// The same without what the host can do alone.
    pub fn take(&self, cell: &Cell, reference: Option<&Arc<Reference>>) -> Taken {
        let mut row = self.row(cell);
        let compared = reference.filter(|_| self.subject.trained).cloned();
        let (events, made) = match self.try_take(cell, compared.as_deref(), &mut row) {
            Ok((events, made)) => (events, Some(Arc::new(made))),
            Err(error) => {
                row.error = Some(format!("{error:#}"));
                (vec![], None)
            }
        };
        Taken {
            row,
            events,
            made,
            compared,
        }
    }

    fn try_take(
        &self,
        cell: &Cell,
        reference: Option<&Reference>,
        row: &mut RunRow,
    ) -> Result<(Vec<EventRow>, Reference)> {
        let mut policy = cell.variant.spec.policy();
        let planned = self.experiment.sampler.steps;
        let steps = policy.steps(planned);
        row.steps = steps as u32;
        let prompt = &self.experiment.runs.prompts[cell.prompt];
        let outcome = self.denoise(&cell.variant, &mut *policy, prompt, cell.seed, steps)?;
        let full = self.run(&cell.variant, prompt, planned)?.0.total_flops();
        let costs = outcome.costs;
        row.denoise_s = Some(outcome.denoise_s);
        row.looks_s = Some(costs.looks_s);
        row.flops = Some(costs.flops);
        row.flops_full = Some(full);
        row.compute_fraction = Some(costs.flops / full);
        row.reads = Some(costs.reads as u32);
        row.looks = Some(costs.looks as u32);
        row.cache_claimed_bytes = Some(outcome.claimed_bytes);
        row.cache_peak_bytes = Some(costs.peak_bytes);
        let made = self.made(outcome.latent.to_host())?;
        if let Some(reference) = reference {
            row.latent_rel_l2 = Some(metrics::relative_l2(&made.latent, &reference.latent)?);
            if let (Some(frames), Some(reference)) = (&made.frames, &reference.frames) {
                let meter = self.meter.get_or_init(|| Meter::new(self.subject.model.device()));
                meter.measure_on_device(row, frames, reference)?;
            }
        }
        if let (Some(i3d), Some(frames), true) = (&self.i3d, &made.frames, self.subject.trained) {
            row.i3d_logits = i3d.features(frames)?;
        }
        let run = self.run(&cell.variant, prompt, steps)?.0;
        let events = event_rows(&row.run_key, &run, &outcome.trace);
        row.warnings = outcome.warnings.join("; ");
        Ok((events, made))
    }

    /// What was made, from the numbers of its latent, with the frames that are measured.
    pub fn made(&self, latent: Vec<f32>) -> Result<Reference> {
        let mut made = self.subject.decoded(latent);
        if let (Some(through), Some(frames)) = (self.experiment.metrics.through, &made.frames) {
            made.frames = Some(through.frames(frames, self.subject.fps)?);
        }
        Ok(made)
    }

    /// The row of a cell before it has run: everything that defines it.
    pub fn row(&self, cell: &Cell) -> RunRow {
        let (experiment, subject) = (self.experiment, self.subject);
        let (sampler, video) = (experiment.sampler, experiment.video);
        let prompt = &experiment.runs.prompts[cell.prompt];
        let mode = self.mode(&cell.variant).expect("checked before anything runs");
        let [f, h, w] = subject.grid;
        let definition = (
            (
                &experiment.model,
                &subject.weights,
                &experiment.substituted,
                &video,
                &sampler,
                mode,
                &experiment.metrics,
            ),
            (
                &cell.variant.spec,
                (prompt, &experiment.runs.negative_prompt),
                cell.seed,
                cell.repeat,
                experiment.runs.cache_budget_gib.to_bits(),
            ),
        );
        let (policy, knobs) = knobs(&cell.variant.spec);
        RunRow {
            run_key: hash(&definition),
            experiment: experiment.name.clone(),
            experiment_hash: experiment.hash(),
            git_revision: env!("MIXCACHE_GIT_REVISION").into(),
            versions: self.versions.get_or_init(|| self.versions()).clone(),
            machine: self.machine.cpu.clone(),
            device: mixcache_core::device::describe(subject.model.device()),
            dtype: experiment.model.dtype.clone(),
            model: experiment.model.name.clone(),
            weights: subject.weights.clone(),
            substituted: experiment.substituted.clone(),
            through: experiment.metrics.through.map_or(String::new(), Through::in_words),
            sampler: name_of(&sampler.kind),
            steps: sampler.steps as u32,
            shift: sampler.shift,
            guidance: sampler.guidance as f64,
            true_cfg: sampler.true_cfg.map(f64::from),
            guidance_mode: name_of(&mode),
            frames: video.frames as u32,
            height: video.height as u32,
            width: video.width as u32,
            tokens: (f * h * w / subject.model.config().patch_volume()) as u32,
            full_first: sampler.full_first as u32,
            full_last: sampler.full_last as u32,
            threads: rayon::current_num_threads() as u32,
            policy,
            label: cell.variant.label.clone(),
            series: cell.variant.series.clone(),
            knob: cell.variant.knob.as_ref().map(|knob| knob.1),
            knob_name: cell.variant.knob.as_ref().map(|knob| knob.0.clone()),
            upper: cell.variant.upper,
            knobs,
            prompt: prompt.clone(),
            prompt_index: cell.prompt as u32,
            seed: cell.seed,
            repeat: cell.repeat,
            started_at: utc_now(),
            ..RunRow::default()
        }
    }

    fn versions(&self) -> String {
        let program = self.experiment.metrics.through.and_then(Through::program);
        let built_in = [env!("MIXCACHE_VERSIONS").to_string()];
        built_in.into_iter().chain(program).collect::<Vec<_>>().join("; ")
    }

    /// How the passes of a step are combined, and at which scale: beside an embedded scale that of `true_cfg`.
    fn guidance(&self, variant: &Variant) -> Result<Guidance> {
        let sampler = &self.experiment.sampler;
        let embeds = self.subject.model.config().embeds_guidance();
        let scale = match embeds {
            true => sampler.true_cfg.unwrap_or(1.0),
            false => sampler.guidance,
        };
        Ok(self.mode(variant)?.at(scale))
    }

    /// How guidance is run: as asked, unless the model leaves no choice.
    fn mode(&self, variant: &Variant) -> Result<GuidanceMode> {
        use GuidanceMode::*;
        let asked = variant.guidance_mode.or(self.experiment.sampler.guidance_mode);
        let embeds = self.subject.model.config().embeds_guidance();
        let (open, why) = match (embeds, self.experiment.sampler.true_cfg) {
            (false, _) => (&[TwoPass, Batched][..], "does not take the guidance scale as an input"),
            (true, None) => (&[Embedded][..], "takes the guidance scale as an input"),
            (true, Some(_)) => (
                &[TwoPass][..],
                "runs a second pass for `true_cfg`, one prompt at a time",
            ),
        };
        let mode = asked.unwrap_or(open[0]);
        ensure!(
            open.contains(&mode),
            "`guidance_mode = \"{}\"`: {} {why}; leave `guidance_mode` out",
            name_of(&mode),
            self.experiment.model.name
        );
        Ok(mode)
    }
}

/// How serde names a unit variant.
pub(crate) fn name_of(value: &impl Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|v| v.as_str().map(str::to_string))
        .expect("a unit variant")
}

/// Kind and knobs of a policy, typed. Those of a policy within another carry its name: `of.threshold`.
fn knobs(spec: &PolicySpec) -> (String, BTreeMap<String, Knob>) {
    let serde_json::Value::Object(mut fields) = serde_json::to_value(spec).expect("plain data") else {
        unreachable!("a policy is a table");
    };
    let kind = fields
        .remove("kind")
        .and_then(|kind| kind.as_str().map(str::to_string))
        .expect("tagged");
    let knobs = fields.into_iter().flat_map(|(name, value)| match value {
        serde_json::Value::Object(inner) => inner
            .into_iter()
            .map(|(knob, v)| (format!("{name}.{knob}"), v))
            .collect(),
        value => vec![(name, value)],
    });
    let typed = |value| serde_json::from_value(value).expect("knobs are numbers, words and switches");
    (kind, knobs.map(|(name, value)| (name, typed(value))).collect())
}
