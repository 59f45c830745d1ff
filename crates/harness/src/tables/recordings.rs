//! The recordings that tables are made of.

use crate::record;
use crate::report::{Group, slug, summarise};
use crate::schema::RunRow;
use crate::sheet::Link;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// A recording, summarised.
pub struct Recording {
    /// Name of its experiment: the folder it lies in, and what frames went through before they were measured.
    pub experiment: String,
    /// What its experiment file calls itself.
    pub title: String,
    /// Its runs in the order they were made.
    pub runs: Vec<RunRow>,
    /// Runs that may be compared with one another.
    pub groups: Vec<Group>,
    /// Its report, as seen from the folder of the tables.
    pub link: Link,
}

/// The newest finished recording of each experiment under `results`, by name; one more for each thing that frames went through
/// before they were measured, since such numbers are others. Newest is the one whose runs began last.
///
/// # Errors
/// If a recording cannot be read, or there is none.
pub fn newest(results: &Path, output: &Path) -> Result<Vec<Recording>> {
    fs::create_dir_all(output).with_context(|| format!("cannot create {}", output.display()))?;
    let mut found = Vec::new();
    for experiment in folders(results)? {
        let mut newest: BTreeMap<String, (String, PathBuf, Vec<RunRow>)> = BTreeMap::new();
        for folder in folders(&experiment)? {
            if !folder.join("runs.parquet").is_file() {
                continue;
            }
            let (runs, _) = record::load(&folder)?;
            let Some(last) = runs.iter().max_by_key(|run| &run.started_at) else {
                continue;
            };
            let (began, through) = (last.started_at.clone(), last.through.clone());
            if newest.get(&through).is_none_or(|(other, ..)| *other <= began) {
                newest.insert(through, (began, folder, runs));
            }
        }
        for (through, (_, folder, runs)) in newest {
            let name = experiment.file_name().unwrap_or_default().to_string_lossy();
            found.push(Recording {
                experiment: match through.as_str() {
                    "" => name.into_owned(),
                    through => format!("{name}-through-{}", slug(through)),
                },
                title: title(&folder)?,
                groups: summarise(&runs),
                link: Link {
                    name: short(&folder),
                    target: relative(output, &folder.join("report/report.md"))?,
                },
                runs,
            });
        }
    }
    ensure!(
        !found.is_empty(),
        "{} holds no finished recording: expected folders EXPERIMENT/DATE-HASH as `mixcache sweep` makes them",
        results.display()
    );
    Ok(found)
}

/// The last two parts of a path: experiment and date.
fn short(folder: &Path) -> String {
    let parts: Vec<_> = folder.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// The folders in a folder, by name.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let mut paths: Vec<PathBuf> = paths.into_iter().filter(|path| path.is_dir()).collect();
    paths.sort();
    Ok(paths)
}

fn title(folder: &Path) -> Result<String> {
    let path = folder.join("experiment.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: toml::Table = toml::from_str(&text).with_context(|| format!("{} is not TOML", path.display()))?;
    let title = table.get("title").and_then(|title| title.as_str());
    Ok(title.unwrap_or_default().to_string())
}

/// `target` as a link in a file of `folder`: the same wherever the two lie together.
fn relative(folder: &Path, target: &Path) -> Result<String> {
    let parent = target.parent().unwrap_or(Path::new("."));
    // The file itself need not be there yet.
    let there = match fs::canonicalize(parent) {
        Ok(parent) => parent,
        Err(_) => fs::canonicalize(parent.parent().unwrap_or(parent))?.join(parent.file_name().unwrap_or_default()),
    };
    let there = there.join(target.file_name().unwrap_or_default());
    let here = fs::canonicalize(folder)?;
    let (here, there): (Vec<Component>, Vec<Component>) = (here.components().collect(), there.components().collect());
    let common = here.iter().zip(&there).take_while(|(a, b)| a == b).count();
    let up = here[common..].iter().map(|_| "..".to_string());
    let down = there[common..]
        .iter()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    Ok(up.chain(down).collect::<Vec<_>>().join("/"))
}
