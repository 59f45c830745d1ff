//! `mixcache trace`: a recorded run's decisions as a file that an experiment can play back.

use crate::record;
use crate::subject::blocks_of_units;
use crate::trace::read_trace;
use anyhow::{Context, Result};
use mixcache_policies::data::Recorded;
use mixcache_policies::plan::Move;
use std::path::PathBuf;

/// Write a recorded run's decisions as a file for `kind = "trace"`: put it into `traces/` beside the experiment.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of the recording.
    recording: PathBuf,
    /// Key of the run, or its label (then the first run with it).
    #[arg(long)]
    run: String,
    /// The .json file to write.
    #[arg(short, long)]
    output: PathBuf,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let (rows, events) = record::load(&args.recording)?;
    let row = record::find(&rows, &args.run).with_context(|| format!("in {}", args.recording.display()))?;
    let mut trace = read_trace(events.iter().filter(|event| event.run_key == row.run_key))?;
    trace.retain(|event| matches!(event.act, Move::Compute { .. } | Move::Reuse { .. }));
    let passes = trace
        .iter()
        .map(|event| event.at.branch)
        .max()
        .map_or(0, |last| last + 1);
    let recorded = Recorded {
        model: row.model.clone(),
        source: format!(
            "{}, {}, \"{}\", seed {}, revision {}",
            args.recording.display(),
            row.label,
            row.prompt,
            row.seed,
            row.git_revision
        ),
        steps: row.steps as usize,
        branches: passes,
        blocks: blocks_of_units(&row.model)?,
        events: trace,
    };
    let moves = recorded.events.len();
    let text = serde_json::to_string(&recorded)?;
    std::fs::write(&args.output, text).with_context(|| format!("cannot write {}", args.output.display()))?;
    println!("{moves} decisions in {}", args.output.display());
    Ok(())
}
