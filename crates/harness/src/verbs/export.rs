//! `mixcache export`: the runs of a recording as CSV.

use crate::{record, schema};
use anyhow::Result;
use std::path::PathBuf;

/// Write the runs of a recording as CSV.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of the recording.
    recording: PathBuf,
    /// The file to write; without it, runs.csv in that folder.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let (runs, _) = record::load(&args.recording)?;
    let path = args.output.unwrap_or_else(|| args.recording.join("runs.csv"));
    schema::write_runs_csv(&path, &runs)?;
    println!("{} runs in {}", runs.len(), path.display());
    Ok(())
}
