//! `mixcache sweep`: run every policy of an experiment, record, report.

use super::Chosen;
use crate::experiment::{Experiment, Variant};
use crate::machine::Machine;
use crate::metrics::Frames;
use crate::metrics::i3d::{self, I3d};
use crate::metrics::through::Through;
use crate::progress;
use crate::record::Recording;
use crate::runner::{Cell, Reference, Runner, Taken};
use crate::schema::RunRow;
use crate::subject::Subject;
use crate::{report, video};
use anyhow::{Context, Result, bail, ensure};
use mixcache_core::weights::Weights;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

/// Run every policy of an experiment; write Parquet, plots and tables.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Folder of all recordings. This one goes to a new folder in it, under the experiment's name.
    #[arg(long, default_value = "results")]
    results: PathBuf,
    /// Weights of I3D (Kinetics-400, safetensors), for the Fréchet distance of clips; MIXCACHE_I3D says the same.
    #[arg(long, value_name = "FILE")]
    i3d: Option<PathBuf>,
    /// What the frames of both clips go through before they are measured, as before published numbers: 8-bit; h264 (CRF 25, as
    /// diffusers writes); h264:10 (as Wan's own code does). Needs the program ffmpeg for H.264.
    #[arg(long, value_name = "8-bit|h264[:CRF]")]
    through: Option<Through>,
    /// Start anew even if an unfinished recording of the same experiment could go on.
    #[arg(long)]
    fresh: bool,
    /// Print the table as JSON, with every column, and nothing else.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let mut experiment = args.chosen.settle_for(args.json)?;
    experiment.metrics.through = args.through.or(experiment.metrics.through);
    let subject = Subject::load(&experiment)?;
    let mut runner = Runner::new(&experiment, &subject);
    runner.check()?;
    if let Some(path) = args.i3d.or_else(|| std::env::var_os("MIXCACHE_I3D").map(PathBuf::from)) {
        runner = runner.with_i3d(network(&path, &experiment, &subject)?);
    }
    let root = args.results.join(&experiment.name);
    let mut recording = open(&experiment, &root, args.fresh)?;
    let cells = runner.cells();
    warm_up(&runner, &cells[0], experiment.runs.warmup_steps)?;
    // On a CPU, scoring would take the cores of the run that is timed.
    let beside = experiment.model.device != "cpu";
    let failures = record(&runner, &experiment, subject.fps, &mut recording, beside)?;
    let folder = recording.finish()?;
    // It only served a resume; a leftover does no harm.
    let _ = std::fs::remove_file(reference_file(&folder));
    let report = report::write(&folder)?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report.json())?),
        false => {
            report.show();
            println!("recorded in {}", folder.display());
        }
    }
    match failures {
        0 => {}
        n if n == cells.len() => bail!("all {n} runs failed: see the column `error`"),
        n => eprintln!("{n} of {} runs failed: see the column `error`", cells.len()),
    }
    Ok(())
}

/// Runs every cell that is not recorded yet, and returns how many failed.
///
/// With `beside`, what scoring needs of the host alone, most metrics and the videos, is done beside the next run. Rows are
/// written in order, one behind at most. What needs the device stays in the sequence: a network that scores there would share it
/// with the run that is timed.
fn record(
    runner: &Runner,
    experiment: &Experiment,
    fps: u16,
    recording: &mut Recording,
    beside: bool,
) -> Result<usize> {
    let folder = recording.directory().to_path_buf();
    let mut group = Group::new(runner, &folder);
    let cells = runner.cells();
    let mut written = Written {
        recording,
        progress: progress::Sweep::over(&cells),
        failures: 0,
    };
    // Threads of its own: this one is among those of the common pool, and alone there on a machine of one core.
    let threads = beside.then(|| rayon::ThreadPoolBuilder::new().build()).transpose()?;
    std::thread::scope(|scope| -> Result<()> {
        let mut scoring: Option<Scoring> = None;
        for cell in &cells {
            let (label, key) = (&cell.variant.label, runner.row(cell).run_key);
            if written.recording.finished().contains(&key) {
                written.progress.end(label, None);
                continue;
            }
            written.progress.begin(label, written.recording.failed().contains(&key));
            let start = Instant::now();
            let reference = group.reference(cell, written.recording.finished())?;
            let mut taken = runner.take(cell, reference.as_ref());
            if let Some(made) = &taken.made {
                group.offer(cell, made)?;
            }
            if let Some(before) = scoring.take() {
                written.write(before.start, before.end())?;
            }
            let folder = &folder;
            let score = move || {
                taken.score();
                if let Some(made) = &taken.made {
                    write_video(experiment, fps, cell, made, reference.as_deref(), folder)
                        .with_context(|| format!("{label}, prompt {}, seed {}", cell.prompt, cell.seed))?;
                }
                Ok(taken)
            };
            match &threads {
                Some(threads) => {
                    let score = scope.spawn(|| threads.install(score));
                    scoring = Some(Scoring { start, score });
                }
                None => written.write(start, score())?,
            }
        }
        scoring.map_or(Ok(()), |last| written.write(last.start, last.end()))
    })?;
    written.progress.finish();
    Ok(written.failures)
}

/// A run whose scoring is under way.
struct Scoring<'s> {
    start: Instant,
    score: ScopedJoinHandle<'s, Result<Taken>>,
}

impl Scoring<'_> {
    /// Waits until it is done.
    fn end(self) -> Result<Taken> {
        self.score.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// What a sweep leaves behind.
struct Written<'a> {
    recording: &'a mut Recording,
    progress: progress::Sweep,
    failures: usize,
}

impl Written<'_> {
    /// Records a run that is scored.
    fn write(&mut self, start: Instant, scored: Result<Taken>) -> Result<()> {
        let Taken { row, events, .. } = scored?;
        tell(&self.progress, &row);
        self.failures += row.error.is_some() as usize;
        self.recording.append(&row, &events)?;
        self.progress.end(&row.label, Some(start.elapsed()));
        Ok(())
    }
}

/// I3D, where the experiment makes clips that it can see.
fn network(path: &Path, experiment: &Experiment, subject: &Subject) -> Result<I3d> {
    let frames = experiment.video.frames;
    ensure!(
        frames >= i3d::FRAMES_LEAST,
        "`video.frames = {frames}`: I3D needs {} or more; leave --i3d (MIXCACHE_I3D) out",
        i3d::FRAMES_LEAST
    );
    ensure!(
        subject.trained && subject.has_decoder(),
        "{} makes no frames that I3D could see, without trained weights and a decoder; leave --i3d (MIXCACHE_I3D) out",
        experiment.model.name
    );
    I3d::open(path, subject.model.device())
}

fn open(experiment: &Experiment, root: &Path, fresh: bool) -> Result<Recording> {
    let (hash, revision, machine) = (experiment.hash(), env!("MIXCACHE_GIT_REVISION"), Machine::detect());
    if !fresh && let Some(recording) = Recording::resume(root, &hash, revision, &machine)? {
        let again = match recording.failed().len() {
            0 => String::new(),
            n => format!(", {n} failed (or what they are compared with did) and will be tried again"),
        };
        let (folder, done) = (recording.directory().display(), recording.finished().len());
        eprintln!("going on in {folder}: {done} runs are done{again}");
        return Ok(recording);
    }
    Recording::create(root, &experiment.name, &experiment.text, &hash, revision, &machine)
}

/// An untimed, unrecorded run of a few steps, so that the first timed one finds everything in place.
fn warm_up(runner: &Runner, cell: &Cell, steps: usize) -> Result<()> {
    if steps > 0 {
        let mut policy = cell.variant.spec.policy();
        let prompt = runner.row(cell).prompt;
        runner.denoise(&cell.variant, &mut *policy, &prompt, cell.seed, steps)?;
    }
    Ok(())
}

fn tell(progress: &progress::Sweep, row: &RunRow) {
    if let Some(error) = &row.error {
        progress.say(&format!(
            "{} (prompt {}, seed {}): {error}",
            row.label, row.prompt_index, row.seed
        ));
    }
    if !row.warnings.is_empty() && row.prompt_index == 0 && row.repeat == 0 {
        progress.say(&format!("{}: {}", row.label, row.warnings));
    }
}

/// The uncached run that the others of its prompt, seed and repeat are compared with. Its latent is
/// kept on disk, so that a resumed sweep finds it.
struct Group<'a> {
    runner: &'a Runner<'a>,
    path: PathBuf,
    current: Option<(String, Arc<Reference>)>,
}

impl<'a> Group<'a> {
    fn new(runner: &'a Runner<'a>, folder: &Path) -> Group<'a> {
        Group {
            runner,
            path: reference_file(folder),
            current: None,
        }
    }
    fn name(cell: &Cell) -> String {
        format!("prompt {}, seed {}, repeat {}", cell.prompt, cell.seed, cell.repeat)
    }
    /// None for an uncached run that is to be recorded, and where it failed.
    fn reference(&mut self, cell: &Cell, finished: &BTreeSet<String>) -> Result<Option<Arc<Reference>>> {
        if cell.variant.label == "off" {
            return Ok(None); // its latent may be on disk from a sweep that was stopped before its row was
        }
        let name = Group::name(cell);
        if self.current.as_ref().is_none_or(|(current, _)| *current != name) {
            self.current = self.on_disk(&name)?.map(|reference| (name, Arc::new(reference)));
        }
        let off = Cell {
            variant: Variant::off(),
            ..cell.clone()
        };
        // The file holds that of the last clip. A run of an earlier one, tried again, needs it made anew: the same bits.
        if self.current.is_none() && finished.contains(&self.runner.row(&off).run_key) {
            let Taken { row, made, .. } = self.runner.measure(&off, None);
            let made = made.with_context(|| row.error.unwrap_or_default());
            self.offer(&off, &made.context("the uncached run was recorded, and now fails")?)?;
        }
        Ok(self.current.as_ref().map(|(_, reference)| reference.clone()))
    }
    fn on_disk(&self, name: &str) -> Result<Option<Reference>> {
        let latent = Weights::open(&self.path).ok().and_then(|file| file.floats(name));
        latent.map(|latent| self.runner.made(latent)).transpose()
    }
    fn offer(&mut self, cell: &Cell, made: &Arc<Reference>) -> Result<()> {
        if cell.variant.label != "off" {
            return Ok(());
        }
        let name = Group::name(cell);
        let bytes: Vec<u8> = made.latent.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = TensorView::new(Dtype::F32, vec![made.latent.len()], &bytes)?;
        safetensors::serialize_to_file([(&name, tensor)], None, &self.path)
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.current = Some((name, made.clone()));
        Ok(())
    }
}

/// Where the latent of the newest uncached run lies while a sweep is under way.
fn reference_file(folder: &Path) -> PathBuf {
    folder.join("reference.safetensors.tmp")
}

/// A video of the chosen prompts: what the policy made, beside what the uncached run made.
fn write_video(
    experiment: &Experiment,
    fps: u16,
    cell: &Cell,
    made: &Reference,
    reference: Option<&Reference>,
    folder: &Path,
) -> Result<()> {
    let chosen = cell.prompt < experiment.runs.videos && cell.repeat == 0 && cell.seed == experiment.runs.seeds[0];
    let (Some(frames), true) = (&made.frames, chosen) else {
        return Ok(());
    };
    let reference: Option<&Frames> = reference.and_then(|r| r.frames.as_ref());
    let shown = match reference {
        Some(reference) => video::beside(reference, frames)?,
        None => frames.clone(),
    };
    let folder = folder.join("videos");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let name = format!("{}-prompt{}", report::slug(&cell.variant.label), cell.prompt);
    video::write(&folder, &name, &shown, fps)
}

#[cfg(test)]
mod tests;
