//! What `mixcache` can be told to do: one verb, one file.

pub mod calibrate;
pub mod completions;
pub mod dynamics;
pub mod embed;
pub mod export;
pub mod fake_weights;
pub mod generate;
pub mod list;
pub mod man;
pub mod oracle;
pub mod parity;
pub mod replay;
pub mod report;
pub mod scaling;
pub mod sweep;
pub mod tables;
pub mod time;
pub mod trace;
pub mod tune;
pub mod verify;

use crate::experiment::Experiment;
use crate::subject::settle;
use crate::terminal;
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Which experiment, and what to change in it.
#[derive(clap::Args, Debug)]
pub struct Chosen {
    /// Name in `experiments/`, or path of a .toml file.
    pub experiment: String,
    /// With what it runs.
    #[command(flatten)]
    pub means: Means,
    /// All prompts and seeds, where the experiment has a quick selection.
    #[arg(long)]
    pub full: bool,
    /// Only the first N prompts.
    #[arg(long, value_name = "N")]
    pub prompts: Option<usize>,
    /// Only the first N seeds.
    #[arg(long, value_name = "N")]
    pub seeds: Option<usize>,
}

/// With what an experiment runs, where not as its file says.
#[derive(clap::Args, Debug)]
pub struct Means {
    /// Checkpoint of the model: a folder as downloaded, or a file of its transformer.
    #[arg(long)]
    pub weights: Option<PathBuf>,
    /// Text states of the prompts, made by `mixcache embed`.
    #[arg(long, value_name = "FILE")]
    pub embeddings: Option<PathBuf>,
    /// cpu, wgpu, wgpu:N or cuda:N, instead of the experiment's.
    #[arg(long)]
    pub device: Option<String>,
    /// f32, f16 or bf16, instead of the experiment's; on a CPU, bf16 is that of linear layers and attention, all else stays in f32.
    #[arg(long)]
    pub dtype: Option<String>,
    /// Keep the blocks of the transformer in the host's memory, and copy each to the device when a pass reaches it.
    #[arg(long)]
    pub offload: bool,
}

impl Means {
    /// Applies the options to an experiment, and settles what will run.
    fn settle(&self, mut experiment: Experiment) -> Result<Experiment> {
        if let Some(device) = &self.device {
            experiment.model.device = device.clone();
        }
        if let Some(dtype) = &self.dtype {
            experiment.model.dtype = dtype.clone();
        }
        experiment.model.offload |= self.offload;
        if self.weights.is_some() {
            experiment.model.weights = self.weights.clone();
        }
        if self.embeddings.is_some() {
            experiment.model.embeddings = self.embeddings.clone();
        }
        settle(experiment)
    }
}

/// Says first what was substituted.
fn announce(experiment: &Experiment) {
    if !experiment.substituted.is_empty() {
        terminal::say(&format!("SUBSTITUTED: {}\n\n", experiment.substituted));
    }
}

impl Chosen {
    /// Reads the experiment, applies the options, and settles what will run. Says first what was substituted.
    pub fn settle(&self) -> Result<Experiment> {
        self.settle_for(false)
    }

    /// The same; where JSON is printed, nothing else is, and the JSON says what was substituted.
    fn settle_for(&self, json: bool) -> Result<Experiment> {
        let experiment = Experiment::read(&Experiment::find(&self.experiment)?)?;
        let settled = self.means.settle(experiment)?;
        let experiment = settled.narrowed(self.full, self.prompts, self.seeds);
        if !json {
            announce(&experiment);
        }
        Ok(experiment)
    }
}

/// Writes a table of measurements into a folder, which is made where it is missing.
fn write_csv(folder: &Path, name: &str, rows: &[impl Serialize]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(name);
    let mut table = csv::Writer::from_path(&path).with_context(|| format!("cannot write {}", path.display()))?;
    for row in rows {
        table.serialize(row)?;
    }
    Ok(table.flush()?)
}
