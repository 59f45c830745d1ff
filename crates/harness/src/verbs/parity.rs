//! `mixcache parity`: our numbers against those of the reference implementations.

use crate::parity::{Verdict, compare, tokenizers};
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Compare everything found in a folder of reference numbers; fail if something differs.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of cases: JSON files with a `kind`, tensors beside them.
    folder: PathBuf,
    /// cpu, wgpu, wgpu:N or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Folder of tokenizers, NAME_tokenizer.json, to compare with recorded token ids as well.
    #[arg(long, value_name = "DIR")]
    tokenizers: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let mut findings = compare(&args.folder, &mixcache_core::device::open(&args.device)?)?;
    if let Some(folder) = &args.tokenizers {
        findings.extend(tokenizers::compare(&args.folder, folder)?);
    }
    let width = findings.iter().map(|f| f.case.len()).max().unwrap_or(0);
    println!(
        "{:<11} {:<width$} {:>9} {:>9}  quantity",
        "verdict", "case", "error", "allowed"
    );
    for finding in &findings {
        let (case, quantity) = (&finding.case, &finding.quantity);
        match &finding.verdict {
            Verdict::Measured { error, tolerance } => {
                let verdict = if finding.is_failure() { "DIFFERS" } else { "equal" };
                println!("{verdict:<11} {case:<width$} {error:>9.1e} {tolerance:>9.1e}  {quantity}");
            }
            Verdict::NotCovered(why) => println!("{:<11} {case:<width$} {:>9} {:>9}  {why}", "not covered", "", ""),
            Verdict::Failed(why) => println!("{:<11} {case:<width$} {:>9} {:>9}  {why}", "FAILED", "", ""),
        }
    }
    let failures = findings.iter().filter(|finding| finding.is_failure()).count();
    let skipped = findings
        .iter()
        .filter(|finding| matches!(finding.verdict, Verdict::NotCovered(_)))
        .count();
    println!(
        "\n{} equal, {failures} not, {skipped} not covered",
        findings.len() - failures - skipped
    );
    match failures {
        0 => Ok(()),
        n => bail!("{n} quantities differ from the reference"),
    }
}
