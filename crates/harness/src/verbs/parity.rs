//! `mixcache parity`: our numbers against those of the reference implementations.

use crate::parity::{Finding, Verdict, compare, kernels, tokenizers};
use crate::terminal::{self, Side};
use anyhow::{Result, bail};
use burn::tensor::Device;
use mixcache_core::device;
use std::path::PathBuf;

/// Compare everything found in a folder of reference numbers, and a GPU's kernels with the CPU's; fail if something
/// differs.
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
    let device = device::open(&args.device)?;
    let mut findings = compare(&args.folder, &device)?;
    if device != Device::flex() {
        findings.extend(kernels::compare(&device));
    }
    if let Some(folder) = &args.tokenizers {
        findings.extend(tokenizers::compare(&args.folder, folder)?);
    }
    let row = |finding: &Finding| {
        let (verdict, error, allowed, quantity) = match &finding.verdict {
            Verdict::Measured { error, tolerance } => {
                let verdict = if finding.is_failure() { "DIFFERS" } else { "equal" };
                let [error, allowed] = [error, tolerance].map(|value| format!("{value:.1e}"));
                (verdict, error, allowed, finding.quantity.clone())
            }
            Verdict::NotCovered(why) => ("not covered", String::new(), String::new(), why.clone()),
            Verdict::Failed(why) => ("FAILED", String::new(), String::new(), why.clone()),
        };
        vec![verdict.to_string(), finding.case.clone(), error, allowed, quantity]
    };
    let heads = [
        ("verdict", Side::Left),
        ("case", Side::Left),
        ("error", Side::Right),
        ("allowed", Side::Right),
        ("quantity", Side::Left),
    ];
    println!("{}", terminal::table(&heads, findings.iter().map(row)));
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
