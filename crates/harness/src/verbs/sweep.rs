//! `mixcache sweep`: run every policy of an experiment, record, report.

use super::Chosen;
use crate::experiment::Experiment;
use crate::machine::Machine;
use crate::metrics::Frames;
use crate::metrics::i3d::{self, I3d};
use crate::record::Recording;
use crate::runner::{Cell, Reference, Runner};
use crate::schema::RunRow;
use crate::subject::Subject;
use crate::{report, video};
use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use mixcache_core::weights::Weights;
use safetensors::tensor::{Dtype, TensorView};
use std::path::{Path, PathBuf};

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
    /// Start anew even if an unfinished recording of the same experiment could go on.
    #[arg(long)]
    fresh: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = args.chosen.settle()?;
    let subject = Subject::load(&experiment)?;
    let mut runner = Runner::new(&experiment, &subject);
    runner.check()?;
    if let Some(path) = args.i3d.or_else(|| std::env::var_os("MIXCACHE_I3D").map(PathBuf::from)) {
        runner = runner.with_i3d(network(&path, &experiment, &subject)?);
    }
    let root = args.results.join(&experiment.name);
    let mut recording = open(&experiment, &root, args.fresh)?;
    let mut group = Group::new(&subject, recording.directory());
    let cells = runner.cells();
    warm_up(&runner, &cells[0], experiment.runs.warmup_steps)?;
    let bar = progress(cells.len() as u64);
    let mut failures = 0;
    for cell in &cells {
        bar.set_message(cell.variant.label.clone());
        let key = runner.row(cell).run_key;
        if !recording.finished().contains(&key) {
            let reference = group.reference(cell);
            let (row, events, made) = runner.measure(cell, reference);
            tell(&bar, &row);
            failures += row.error.is_some() as usize;
            if let Some(made) = made {
                write_video(&experiment, &subject, cell, &made, reference, recording.directory())?;
                group.offer(cell, made)?;
            }
            recording.append(&row, &events)?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let folder = recording.finish()?;
    // It only served a resume; a leftover does no harm.
    let _ = std::fs::remove_file(&group.path);
    let report = report::write(&folder)?;
    for table in report
        .files
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "md") && **file != report.page)
    {
        println!("{}", std::fs::read_to_string(table)?);
    }
    println!("recorded in {}", folder.display());
    println!("report      {}", report.page.display());
    println!("to explore  {}", report.html.display());
    match failures {
        0 => Ok(()),
        n if n == cells.len() => bail!("all {n} runs failed: see the column `error`"),
        n => {
            println!("{n} of {} runs failed: see the column `error`", cells.len());
            Ok(())
        }
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
        println!(
            "going on in {}: {} runs are done",
            recording.directory().display(),
            recording.finished().len()
        );
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

fn progress(cells: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed} (ETA {eta}) {msg:32!}");
    ProgressBar::new(cells).with_style(style.expect("a valid template"))
}

fn tell(bar: &ProgressBar, row: &RunRow) {
    if let Some(error) = &row.error {
        bar.suspend(|| {
            eprintln!(
                "{} (prompt {}, seed {}): {error}",
                row.label, row.prompt_index, row.seed
            )
        });
    }
    if !row.warnings.is_empty() && row.prompt_index == 0 && row.repeat == 0 {
        bar.suspend(|| eprintln!("{}: {}", row.label, row.warnings));
    }
}

/// The uncached run that the others of its prompt, seed and repeat are compared with. Its latent is
/// kept on disk, so that a resumed sweep finds it.
struct Group<'a> {
    subject: &'a Subject,
    path: PathBuf,
    current: Option<(String, Reference)>,
}

impl<'a> Group<'a> {
    fn new(subject: &'a Subject, folder: &Path) -> Group<'a> {
        Group {
            subject,
            path: folder.join("reference.safetensors.tmp"),
            current: None,
        }
    }
    fn name(cell: &Cell) -> String {
        format!("prompt {}, seed {}, repeat {}", cell.prompt, cell.seed, cell.repeat)
    }
    fn reference(&mut self, cell: &Cell) -> Option<&Reference> {
        let name = Group::name(cell);
        if self.current.as_ref().is_none_or(|(current, _)| *current != name) {
            self.current = self.on_disk(&name).map(|reference| (name, reference));
        }
        self.current.as_ref().map(|(_, reference)| reference)
    }
    fn on_disk(&self, name: &str) -> Option<Reference> {
        let latent = Weights::open(&self.path).ok()?.floats(name)?;
        Some(self.subject.decoded(latent))
    }
    fn offer(&mut self, cell: &Cell, made: Reference) -> Result<()> {
        if cell.variant.label != "off" {
            return Ok(());
        }
        let name = Group::name(cell);
        let bytes: Vec<u8> = made.latent.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = TensorView::new(Dtype::F32, vec![made.latent.len()], &bytes)?;
        safetensors::serialize_to_file([(&name, tensor)], None, &self.path)
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.current = Some((name, made));
        Ok(())
    }
}

/// A video of the chosen prompts: what the policy made, beside what the uncached run made.
fn write_video(
    experiment: &Experiment,
    subject: &Subject,
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
    video::write(&folder, &name, &shown, subject.fps)
}
