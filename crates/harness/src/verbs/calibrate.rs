//! `mixcache calibrate`: measure what policies need to know of a model, sampler and size.

use super::Chosen;
use crate::calibration::{What, calibrate};
use crate::experiment::Experiment;
use crate::report::fit;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Measure what MixCache, PlanCache, MagCache and TeaCache draw on; write it with its provenance.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// What to calibrate; without it, everything.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<What>,
    /// Steps at which a run is disturbed for MixCache.
    #[arg(long, default_value_t = 5)]
    probes: usize,
    /// Name of the calibration; without it, the model's.
    #[arg(long)]
    name: Option<String>,
    /// The folder to write to; without it, the experiment's.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<()> {
    let experiment = args.chosen.settle()?;
    let name = args.name.clone().unwrap_or(experiment.model.name.clone());
    let beside = Experiment::find(&args.chosen.experiment)?;
    let folder = args
        .output
        .as_deref()
        .or(beside.parent())
        .context("a file is in a folder")?;
    let what = match args.only.is_empty() {
        true => &[What::Mix, What::Planned, What::Mag, What::Tea][..],
        false => &args.only,
    };
    let calibrated = calibrate(&experiment, what, args.probes)?;
    if let Some(mix) = calibrated.mix {
        println!(
            "MixCache: drift {:.4}, impact of step 1, cfg {:.3}, block {:.3}",
            mix.drift, mix.impact.cfg, mix.impact.block
        );
        write(folder, "calibration", &name, &name, mix)?;
    }
    if let Some(moments) = calibrated.planned {
        let gains: Vec<String> = moments
            .gain
            .iter()
            .step_by(7)
            .map(|gain| format!("{gain:.2}"))
            .collect();
        println!(
            "PlanCache: an error grows by {} (every 7th step) until the end",
            gains.join(", ")
        );
        write(folder, "moments", &name, &name, moments)?;
    }
    if let Some(ratios) = calibrated.mag {
        write(folder, "ratios", &name, &name, ratios)?;
    }
    for (signal, (coefficients, points)) in calibrated.tea {
        println!("TeaCache on the {}: {}", coefficients.signal, coefficients.source);
        let entry = format!("{name}-{signal}");
        write(folder, "coefficients", &entry, &entry, &coefficients)?;
        fit::write(&folder.join("coefficients"), &entry, &coefficients, &points)?;
    }
    Ok(())
}

fn write(folder: &Path, kind: &str, file: &str, name: &str, data: impl Serialize) -> Result<()> {
    let path = folder.join(kind).join(format!("{file}.toml"));
    let text = toml::to_string(&BTreeMap::from([(name, data)]))?;
    std::fs::create_dir_all(path.parent().context("a file needs a folder")?)?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}
