//! `mixcache parity`: our numbers against those of the reference implementations.

use crate::parity::{Finding, Verdict, compare, kernels, tokenizers};
use crate::terminal::{self, Side};
use anyhow::{Result, bail};
use burn::tensor::Device;
use mixcache_core::device;
use serde::Serialize;
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
    /// Print the comparisons as JSON.
    #[arg(long)]
    json: bool,
}

/// A finding as JSON.
#[derive(Serialize)]
struct Compared<'a> {
    case: &'a str,
    quantity: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<f64>, // null where it is no number
    #[serde(skip_serializing_if = "Option::is_none")]
    tolerance: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

impl Compared<'_> {
    fn of(finding: &Finding) -> Compared<'_> {
        let (error, tolerance, why) = match &finding.verdict {
            Verdict::Measured { error, tolerance } => (Some(*error), Some(*tolerance), None),
            Verdict::NotCovered(why) | Verdict::Failed(why) => (None, None, Some(why.as_str())),
        };
        Compared {
            case: &finding.case,
            quantity: &finding.quantity,
            verdict: verdict(finding),
            error,
            tolerance,
            why,
        }
    }
}

fn verdict(finding: &Finding) -> &'static str {
    match finding.verdict {
        Verdict::Measured { .. } if finding.is_failure() => "DIFFERS",
        Verdict::Measured { .. } => "equal",
        Verdict::NotCovered(_) => "not covered",
        Verdict::Failed(_) => "FAILED",
    }
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
    let failures = findings.iter().filter(|finding| finding.is_failure()).count();
    if args.json {
        let compared: Vec<_> = findings.iter().map(Compared::of).collect();
        println!("{}", serde_json::to_string_pretty(&compared)?);
    } else {
        show(&findings, failures);
    }
    match failures {
        0 => Ok(()),
        n => bail!("{n} quantities differ from the reference"),
    }
}

fn show(findings: &[Finding], failures: usize) {
    let row = |finding: &Finding| {
        let (error, allowed, quantity) = match &finding.verdict {
            Verdict::Measured { error, tolerance } => {
                let [error, allowed] = [error, tolerance].map(|value| format!("{value:.1e}"));
                (error, allowed, finding.quantity.clone())
            }
            Verdict::NotCovered(why) | Verdict::Failed(why) => (String::new(), String::new(), why.clone()),
        };
        vec![
            verdict(finding).to_string(),
            finding.case.clone(),
            error,
            allowed,
            quantity,
        ]
    };
    let heads = [
        ("verdict", Side::Left),
        ("case", Side::Left),
        ("error", Side::Right),
        ("allowed", Side::Right),
        ("quantity", Side::Left),
    ];
    println!("{}", terminal::table(&heads, findings.iter().map(row)));
    let skipped = findings
        .iter()
        .filter(|finding| matches!(finding.verdict, Verdict::NotCovered(_)))
        .count();
    println!(
        "\n{} equal, {failures} not, {skipped} not covered",
        findings.len() - failures - skipped
    );
}
