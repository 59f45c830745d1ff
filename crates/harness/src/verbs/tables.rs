//! `mixcache tables`: the tables of a paper, from every recording and from published numbers.

use crate::experiment::Experiment;
use crate::tables;
use anyhow::Result;
use std::path::PathBuf;

/// Make the tables of a paper from all recordings: Markdown, CSV, LaTeX.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of all recordings.
    #[arg(default_value = "results")]
    results: PathBuf,
    /// Folder to write to; without it, `tables` in the folder of recordings.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Folder of published numbers; without it, `experiments/quoted`.
    #[arg(long)]
    quoted: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let output = args.output.unwrap_or_else(|| args.results.join("tables"));
    let quoted = match args.quoted {
        Some(folder) => folder,
        None => Experiment::folder()?.join("quoted"),
    };
    let files = tables::write(&args.results, &quoted, &output)?;
    println!("{} files in {}", files.len(), output.display());
    Ok(())
}
