//! A recording: one directory a sweep, written row by row, never overwritten, resumed after a crash.

use crate::clock;
use crate::machine::Machine;
use crate::schema::{self, EventRow, RunRow};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const JOURNAL: &str = "journal.jsonl";
const RUNS: &str = "runs.parquet";
const EVENTS: &str = "events.parquet";

/// An open recording. While it is open, its journal is locked: two sweeps cannot write into one directory.
#[derive(Debug)]
pub struct Recording {
    directory: PathBuf,
    journal: File,
    finished: BTreeSet<String>,
    failed: BTreeSet<String>,
}

/// A line of the journal. The first is the header, the others are runs.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Header {
        experiment: String,
        experiment_hash: String,
        git_revision: String,
    },
    Run {
        row: Box<RunRow>,
        events: Vec<EventRow>,
    },
}

impl Recording {
    /// Starts a recording in a new directory `root/<date>-<first 8 of hash>[-n]` and writes into it all that is
    /// known before the first run.
    ///
    /// # Errors
    /// If the directory cannot be written: before anything ran, not after hours.
    pub fn create(
        root: &Path,
        experiment: &str,
        experiment_toml: &str,
        experiment_hash: &str,
        git_revision: &str,
        machine: &Machine,
    ) -> Result<Recording> {
        let directory = new_directory(root, experiment_hash)?;
        let write = || -> Result<File> {
            schema::replace_file(&directory.join("experiment.toml"), experiment_toml.as_bytes())?;
            let machine = serde_json::to_string_pretty(machine)? + "\n";
            schema::replace_file(&directory.join("machine.json"), machine.as_bytes())?;
            let journal = File::create_new(directory.join(JOURNAL))?;
            journal.try_lock()?;
            write_line(
                &journal,
                &Line::Header {
                    experiment: experiment.into(),
                    experiment_hash: experiment_hash.into(),
                    git_revision: git_revision.into(),
                },
            )?;
            schema::sync_directory(&directory);
            Ok(journal)
        };
        let journal = write().with_context(|| format!("cannot start a recording in {}", directory.display()))?;
        Ok(Recording {
            directory,
            journal,
            finished: BTreeSet::new(),
            failed: BTreeSet::new(),
        })
    }

    /// Opens the newest unfinished recording of the same experiment, revision and machine, if there is one that
    /// no other process is writing. What a crash tore off the end of its journal is dropped.
    pub fn resume(
        root: &Path,
        experiment_hash: &str,
        git_revision: &str,
        machine: &Machine,
    ) -> Result<Option<Recording>> {
        for directory in newest_first(root, experiment_hash)? {
            if directory.join(RUNS).exists() || read_machine(&directory).as_ref() != Some(machine) {
                continue;
            }
            let path = directory.join(JOURNAL);
            let Ok(journal) = OpenOptions::new().append(true).open(&path) else {
                continue;
            };
            if journal.try_lock().is_err() {
                continue;
            }
            let (header, runs, whole_bytes) = read_journal(&path)?;
            match header {
                Some((hash, revision)) if hash == experiment_hash && revision == git_revision => {}
                _ => continue,
            }
            journal.set_len(whole_bytes)?;
            let (failed, finished) = outcomes(&runs);
            return Ok(Some(Recording {
                directory,
                journal,
                finished,
                failed,
            }));
        }
        Ok(None)
    }

    /// Where it is written.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Keys of the runs that were recorded and have not failed: a resumed sweep skips them.
    pub fn finished(&self) -> &BTreeSet<String> {
        &self.finished
    }

    /// Keys of the runs that a resumed sweep tries again: those that failed before, and those that had nothing to be compared
    /// with because their uncached run did. Their rows stand until they are recorded again.
    pub fn failed(&self) -> &BTreeSet<String> {
        &self.failed
    }

    /// Records a run, in place of one of its key that failed before. When this returns, the run is on disk.
    ///
    /// # Errors
    /// If the run key was recorded before, or the disk refuses.
    pub fn append(&mut self, row: &RunRow, events: &[EventRow]) -> Result<()> {
        ensure!(
            !self.finished.contains(&row.run_key),
            "run {} ({}) is already recorded in {}",
            row.run_key,
            row.label,
            self.directory.display()
        );
        let line = Line::Run {
            row: Box::new(row.clone()),
            events: events.to_vec(),
        };
        write_line(&self.journal, &line)
            .with_context(|| format!("cannot append to {}", self.directory.join(JOURNAL).display()))?;
        self.failed.remove(&row.run_key);
        let keys = if row.error.is_none() {
            &mut self.finished
        } else {
            &mut self.failed
        };
        keys.insert(row.run_key.clone());
        Ok(())
    }

    /// Turns the journal into `events.parquet` and `runs.parquet` and removes it. Returns the directory.
    pub fn finish(self) -> Result<PathBuf> {
        let journal = self.directory.join(JOURNAL);
        let (runs, events) = split(read_journal(&journal)?.1);
        schema::write_events(&self.directory.join(EVENTS), &events)?;
        // Last: `runs.parquet` is what marks a recording as finished.
        schema::write_runs(&self.directory.join(RUNS), &runs)?;
        fs::remove_file(&journal).with_context(|| format!("cannot remove {}", journal.display()))?;
        Ok(self.directory)
    }
}

/// The run with this key, or the first with this label.
///
/// # Errors
/// When there is none; the error names the labels there are.
pub fn find<'a>(rows: &'a [RunRow], run: &str) -> Result<&'a RunRow> {
    rows.iter()
        .find(|row| row.run_key == run || row.label == run)
        .with_context(|| {
            let mut labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
            labels.sort();
            labels.dedup();
            format!("there is no run `{run}`; the labels: {}", labels.join(", "))
        })
}

/// Rows of a recording, from Parquet or, while it is unfinished, from its journal.
///
/// # Errors
/// If `directory` is not a recording, or a file in it is broken; the error names the file.
pub fn load(directory: &Path) -> Result<(Vec<RunRow>, Vec<EventRow>)> {
    let runs = directory.join(RUNS);
    if runs.exists() {
        return Ok((schema::read_runs(&runs)?, schema::read_events(&directory.join(EVENTS))?));
    }
    let journal = directory.join(JOURNAL);
    if !journal.exists() {
        bail!(
            "{} is not a recording: expected {RUNS} and {EVENTS}, or {JOURNAL}; name a directory that a sweep made",
            directory.display()
        );
    }
    Ok(split(read_journal(&journal)?.1))
}

/// Keys of the runs to try again, and of the others.
fn outcomes(runs: &Recorded) -> (BTreeSet<String>, BTreeSet<String>) {
    let clip = |row: &RunRow| (row.prompt.clone(), row.seed, row.repeat);
    let failed = |row: &RunRow| row.error.is_some();
    let rows = || runs.iter().map(|(row, _)| row);
    let lost: BTreeSet<_> = rows()
        .filter(|row| row.label == "off" && failed(row))
        .map(clip)
        .collect();
    let (again, done): (Vec<_>, Vec<_>) = rows().partition(|row| failed(row) || lost.contains(&clip(row)));
    let keys = |rows: Vec<&RunRow>| rows.into_iter().map(|row| row.run_key.clone()).collect();
    (keys(again), keys(done))
}

fn split(runs: Recorded) -> (Vec<RunRow>, Vec<EventRow>) {
    let (runs, events): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
    (runs, events.into_iter().flatten().collect())
}

fn new_directory(root: &Path, experiment_hash: &str) -> Result<PathBuf> {
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    let name = format!("{}-{}", clock::utc_today(), short(experiment_hash));
    for n in 1.. {
        let name = if n == 1 { name.clone() } else { format!("{name}-{n}") };
        let directory = root.join(name);
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot create {}", directory.display()));
            }
        }
    }
    unreachable!("there is always a next number")
}

fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

/// Directories of this experiment under `root`, by date and number, newest first.
fn newest_first(root: &Path, experiment_hash: &str) -> Result<Vec<PathBuf>> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let Some((date, rest)) = name.split_at_checked("YYYY-MM-DD".len()) else {
            continue;
        };
        let Some(number) = rest.strip_prefix(&format!("-{}", short(experiment_hash))) else {
            continue;
        };
        let number = match number.strip_prefix('-') {
            Some(number) => number.parse::<u32>().ok(),
            None => number.is_empty().then_some(1),
        };
        if let Some(number) = number {
            found.push((date.to_string(), number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().rev().map(|(_, _, path)| path).collect())
}

fn read_machine(directory: &Path) -> Option<Machine> {
    serde_json::from_slice(&fs::read(directory.join("machine.json")).ok()?).ok()
}

fn write_line(mut journal: &File, line: &Line) -> Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    journal.write_all(&text)?;
    journal.sync_data()?;
    Ok(())
}

type Header = (String, String); // experiment hash, git revision
type Recorded = Vec<(RunRow, Vec<EventRow>)>;

/// Header, runs, and the length in bytes of the part of the journal that is whole. A run that was tried again stands where it
/// first stood, as it came out last.
fn read_journal(path: &Path) -> Result<(Option<Header>, Recorded, u64)> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut header, mut runs, mut whole_bytes) = (None, Recorded::new(), 0);
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let is_last = whole_bytes + line.len() == bytes.len();
        if is_last && !line.ends_with(b"\n") {
            break; // a crash in mid-write
        }
        match serde_json::from_slice(line) {
            Ok(Line::Header {
                experiment_hash,
                git_revision,
                ..
            }) => {
                header = Some((experiment_hash, git_revision));
            }
            Ok(Line::Run { row, events }) => match places.get(&row.run_key) {
                Some(&place) => runs[place] = (*row, events),
                None => {
                    places.insert(row.run_key.clone(), runs.len());
                    runs.push((*row, events));
                }
            },
            Err(_) if is_last => break,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{}, line {}: not a recorded run", path.display(), number + 1));
            }
        }
        whole_bytes += line.len();
    }
    Ok((header, runs, whole_bytes as u64))
}

#[cfg(test)]
mod tests;
