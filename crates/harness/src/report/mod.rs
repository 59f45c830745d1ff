//! Pictures and tables of a recording. Reads results only; never runs a model.

mod axis;
mod chart;
mod compare;
mod comparisons;
mod curves;
mod draw;
pub mod dynamics;
mod equal;
pub mod fit;
mod frechet;
mod heatmap;
mod page;
mod paired;
pub mod scaling;
mod scatter;
mod share;
mod shown;
mod summary;
mod table;

pub use scatter::{Marker, scatter};
pub use summary::{Clip, Group, Summary, summarise};

use crate::record;
use crate::schema::{self, EventRow, RunRow};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a report is made of.
pub struct Report {
    /// The page that shows all the rest.
    pub page: PathBuf,
    /// The same to explore: one file for a browser.
    pub html: PathBuf,
    /// Every file written, the page included.
    pub files: Vec<PathBuf>,
    /// The numbers behind it.
    pub groups: Vec<Group>,
}

/// Writes `<directory>/report/`: `report.md` and what it shows, and `index.html`. Overwrites an older report, never the results.
///
/// # Errors
/// If `directory` is not a recording, holds no run, or a file in it cannot be read; the error names the file.
pub fn write(directory: &Path) -> Result<Report> {
    let (runs, events) = load(directory)?;
    let prose = Prose::read(&directory.join("experiment.toml"))?;
    let folder = folder(directory)?;
    let groups = summarise(&runs);

    let (mut files, mut compared) = (Vec::new(), Vec::new());
    let mut page = prose.heading(&runs[0].experiment);
    page += &format!("Made from {} by `{}`.\n", count(&runs), command(directory));
    for (number, group) in groups.iter().enumerate() {
        let suffix = if number == 0 {
            String::new()
        } else {
            format!("-{}", number + 1)
        };
        page += &introduction(group);
        let title = prose.title.as_deref().unwrap_or(&runs[0].experiment);
        if let Some(svg) = curves::draw(group, title)? {
            let stem = format!("curves{suffix}");
            page += &format!("\n![Quality against speed-up, one curve a policy]({stem}.svg)\n");
            files.extend(draw::save(&folder, &stem, &svg)?);
        }
        let sheet = table::sheet(group);
        page += &format!("\n{}", sheet.markdown());
        page += &frechet::words(group);
        files.push(save(&folder, &format!("table{suffix}.md"), &sheet.markdown())?);
        files.push(save(&folder, &format!("table{suffix}.csv"), &sheet.csv()?)?);
        let tables = comparisons::of(group);
        for table in &tables {
            page += &table.markdown;
            files.push(save(
                &folder,
                &format!("{}{suffix}.csv", table.stem),
                &table.sheet.csv()?,
            )?);
        }
        compared.push(tables);
    }
    page += table::LEGEND;
    let mut shown = Vec::new();
    for run in representatives(&runs, &events) {
        let stem = heatmap_stem(run, &mut shown);
        page += &format!("\n![Decisions of {}]({stem}.svg)\n", run.label);
        files.extend(draw::save(&folder, &stem, &heatmap::draw(run, &own(run, &events))?)?);
    }
    page += &failures(&runs);
    let page = save(&folder, "report.md", &page)?;
    files.push(page.clone());
    let html = page::html(directory, &prose, &runs, &events, &groups, &compared)?;
    let html = save(&folder, "index.html", &html)?;
    files.push(html.clone());
    Ok(Report {
        page,
        html,
        files,
        groups,
    })
}

/// Writes the decision heat map of one run into `<directory>/report/`, as SVG and PNG.
///
/// # Errors
/// If the recording holds no run, or no event, of this key.
pub fn write_heatmap(directory: &Path, run_key: &str) -> Result<[PathBuf; 2]> {
    let (runs, events) = load(directory)?;
    let Some(run) = runs.iter().find(|run| run.run_key == run_key) else {
        bail!(
            "{}: no run has the key `{run_key}`; table `runs` lists {}, among them `{}`",
            directory.display(),
            count(&runs),
            runs[0].run_key
        );
    };
    let own = own(run, &events);
    if own.is_empty() {
        bail!("run {run_key} ({}) recorded no decision", run.label);
    }
    let stem = format!("heatmap-{}-{run_key}", slug(&run.label));
    draw::save(&folder(directory)?, &stem, &heatmap::draw(run, &own)?)
}

fn load(directory: &Path) -> Result<(Vec<RunRow>, Vec<EventRow>)> {
    let (runs, events) = record::load(directory)?;
    if runs.is_empty() {
        bail!("{} holds no run yet: nothing to report", directory.display());
    }
    Ok((runs, events))
}

fn folder(directory: &Path) -> Result<PathBuf> {
    let folder = directory.join("report");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn save(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    schema::replace_file(&path, text.as_bytes())?;
    Ok(path)
}

/// What the experiment says about itself.
#[derive(Default)]
struct Prose {
    title: Option<String>,
    analysis: Option<String>,
}

impl Prose {
    fn read(path: &Path) -> Result<Prose> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let table: toml::Table = toml::from_str(&text).with_context(|| format!("{} is not TOML", path.display()))?;
        let field = |key| {
            table
                .get(key)
                .and_then(|value| value.as_str())
                .map(|s| s.trim().to_string())
        };
        Ok(Prose {
            title: field("title"),
            analysis: field("analysis"),
        })
    }

    fn heading(&self, experiment: &str) -> String {
        let mut text = format!("# {}\n\n", self.title.as_deref().unwrap_or(experiment));
        if let Some(analysis) = &self.analysis {
            text += &format!("{analysis}\n\n");
        }
        text
    }
}

/// The command that makes the report again where this one was made. What lies below that folder is named without it: so
/// the command holds in every copy of a project.
fn command(directory: &Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| Some(directory.strip_prefix(here).ok()?.to_path_buf()));
    let shown = below.unwrap_or_else(|| directory.to_path_buf()).display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:=@,%".contains(c);
    match shown.as_str() {
        "" => "mixcache report .".into(),
        plain if plain.chars().all(is_plain) => format!("mixcache report {plain}"),
        _ => format!("mixcache report '{}'", shown.replace('\'', r"'\''")),
    }
}

fn count(runs: &[RunRow]) -> String {
    let failed = runs.iter().filter(|run| run.error.is_some()).count();
    let plural = if runs.len() == 1 { "" } else { "s" };
    match failed {
        0 => format!("{} run{plural}", runs.len()),
        _ => format!("{} run{plural}, {failed} failed", runs.len()),
    }
}

fn introduction(group: &Group) -> String {
    let common = &group.common;
    let mut text = format!(
        "\n## {}\n\n{}, on {} ({}), {} threads. Weights: {}. Revision {}.\n",
        group.describe(),
        group.sample(),
        common.device,
        common.machine,
        common.threads,
        common.weights,
        common.git_revision
    );
    for warning in warnings(group) {
        text += &format!("\n**{warning}**\n");
    }
    text += &format!("\n{}\n", table::baseline(group));
    text
}

/// What a reader must know before believing a number.
fn warnings(group: &Group) -> Vec<String> {
    let mut warnings = Vec::new();
    if !group.common.substituted.is_empty() {
        warnings.push(format!("STAND-IN: {}", group.common.substituted));
    }
    if group.is_speed_only() {
        warnings.push("Speed only: quality was not measured.".to_string());
    }
    let impossible = group.summaries.iter().filter(|s| s.is_impossible(group.off_spread));
    warnings.extend(impossible.map(|summary| {
        format!(
            "ERROR: {} is {:.2}× faster, but the work it saved explains {:.2}× and timing noise {:.0} % more",
            summary.label,
            summary.speedup.map_or(f64::NAN, |speedup| speedup.value),
            1.0 / summary.compute_fraction.unwrap_or(f64::NAN),
            (group.off_spread.unwrap_or(f64::NAN) - 1.0) * 100.0
        )
    }));
    warnings
}

/// One run a series that reused something: the knob value of middle speed, on the first prompt and seed.
fn representatives<'a>(runs: &'a [RunRow], events: &[EventRow]) -> Vec<&'a RunRow> {
    let reused: std::collections::BTreeSet<&str> = events
        .iter()
        .filter(|event| event.action == "reuse")
        .map(|event| event.run_key.as_str())
        .collect();
    let mut series: BTreeMap<&str, Vec<&RunRow>> = BTreeMap::new();
    for run in runs
        .iter()
        .filter(|run| run.error.is_none() && reused.contains(run.run_key.as_str()))
    {
        series.entry(&run.series).or_default().push(run);
    }
    let middle = |mut runs: Vec<&'a RunRow>| {
        let first = runs.iter().map(|run| (run.prompt_index, run.seed, run.repeat)).min();
        runs.retain(|run| Some((run.prompt_index, run.seed, run.repeat)) == first);
        let work = |run: &RunRow| run.compute_fraction.unwrap_or(1.0);
        runs.sort_by(|a, b| work(a).total_cmp(&work(b)));
        runs.swap_remove(runs.len() / 2)
    };
    series.into_values().map(middle).collect()
}

fn own(run: &RunRow, events: &[EventRow]) -> Vec<EventRow> {
    events
        .iter()
        .filter(|event| event.run_key == run.run_key)
        .cloned()
        .collect()
}

/// Two settings may show the same policy: the second gets its run key into the name.
fn heatmap_stem(run: &RunRow, shown: &mut Vec<String>) -> String {
    let mut stem = format!("heatmap-{}", slug(&run.label));
    if shown.contains(&stem) {
        stem += &format!("-{}", run.run_key);
    }
    shown.push(stem.clone());
    stem
}

/// A label as part of a file name.
pub(crate) fn slug(label: &str) -> String {
    let plain = label
        .to_lowercase()
        .replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    plain
        .split('-')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

fn failures(runs: &[RunRow]) -> String {
    let mut reasons: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for run in runs {
        if let Some(error) = &run.error {
            *reasons.entry((&run.label, error)).or_default() += 1;
        }
    }
    if reasons.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## Failed runs\n\n");
    for ((label, error), times) in reasons {
        text += &format!("- {label}, {times} times: {}\n", error.replace('\n', " "));
    }
    text
}

#[cfg(test)]
mod tests;
