//! Where the numbers come from: what was asked for, what ran it, what stood in for what.

use crate::report::{command, count};
use crate::schema::RunRow;
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What stands at the end of the page.
#[derive(Serialize)]
pub struct Provenance {
    /// The command that makes this page again.
    command: String,
    runs: String,
    /// Name and value, in the order shown.
    facts: Vec<(String, String)>,
    prompts: Vec<String>,
    failures: Vec<(String, String)>,
    /// Text of `experiment.toml`.
    experiment: String,
}

/// What a fact is called, and where a run says it.
type Fact = (&'static str, fn(&RunRow) -> String);

const FACTS: [Fact; 12] = [
    ("experiment", |run| run.experiment.clone()),
    ("experiment hash", |run| run.experiment_hash.clone()),
    ("revision", |run| run.git_revision.clone()),
    ("versions", |run| run.versions.clone()),
    ("model", |run| run.model.clone()),
    ("weights", |run| run.weights.clone()),
    ("substituted", |run| match run.substituted.as_str() {
        "" => "nothing".to_string(),
        substituted => substituted.to_string(),
    }),
    ("frames measured", |run| match run.through.as_str() {
        "" => "straight from the decoder".to_string(),
        through => format!("through {through}"),
    }),
    ("device", |run| format!("{}, {}", run.device, run.dtype)),
    ("threads", |run| run.threads.to_string()),
    ("guidance", |run| {
        format!("{} ({})", run.guidance_in_words(), run.guidance_mode)
    }),
    ("steps without reuse", |run| {
        format!("first {}, last {}", run.full_first, run.full_last)
    }),
];

impl Provenance {
    /// Reads `experiment.toml` and `machine.json` beside the runs.
    ///
    /// # Errors
    /// If one of the two cannot be read.
    pub fn of(directory: &Path, runs: &[RunRow]) -> Result<Provenance> {
        let mut facts: Vec<(String, String)> = FACTS
            .iter()
            .map(|(name, fact)| {
                let values: BTreeSet<String> = runs.iter().map(fact).collect();
                (name.to_string(), values.into_iter().collect::<Vec<_>>().join("; "))
            })
            .collect();
        let path = directory.join("machine.json");
        let machine: Map<String, Value> =
            serde_json::from_str(&read(&path)?).with_context(|| format!("{} is not a JSON object", path.display()))?;
        facts.extend(machine.into_iter().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), String::from);
            (name.replace("_gib", ", GiB"), value)
        }));
        let started = || runs.iter().map(|run| run.started_at.as_str());
        if let (Some(first), Some(last)) = (started().min(), started().max()) {
            facts.push(("recorded".into(), format!("{first} to {last}")));
        }
        let mut prompts: Vec<String> = Vec::new();
        for run in runs {
            let place = run.prompt_index as usize;
            prompts.resize(prompts.len().max(place + 1), String::new());
            prompts[place].clone_from(&run.prompt);
        }
        Ok(Provenance {
            command: command(directory),
            runs: count(runs),
            facts,
            prompts,
            failures: runs
                .iter()
                .filter_map(|run| Some((run.label.clone(), run.error.clone()?)))
                .collect(),
            experiment: read(&directory.join("experiment.toml"))?,
        })
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
