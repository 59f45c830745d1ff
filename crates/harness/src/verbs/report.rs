//! `mixcache report`: plots, tables and a page of a recording. Reads results only, never runs a model.

use anyhow::Result;
use std::path::PathBuf;

/// Make plots, tables and a page to explore in a browser of a recording.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of the recording, e.g. results/mini/2026-01-31-1a2b3c4d.
    recording: PathBuf,
    /// Print the table as JSON, with every column.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let report = crate::report::write(&args.recording)?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report.json())?),
        false => report.show(),
    }
    Ok(())
}
