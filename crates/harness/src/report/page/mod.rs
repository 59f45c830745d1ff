//! The companion page of a recording: one HTML file that needs nothing else, neither a server nor a network.
//!
//! What the page shows is plain data ([`Page`]), worked out here and embedded as JSON; `assets/page` draws it. The
//! same recording gives the same page byte for byte.

mod clips;
mod compared;
mod configurations;
mod decisions;
mod provenance;
mod quality;
mod signals;

use super::curves::{self, Curve};
use super::summary::Group;
use super::{Prose, comparisons, frechet, table, warnings};
use crate::schema::{EventRow, RunRow};
use anyhow::{Context, Result};
use clips::Clips;
use compared::Compared;
use configurations::{Configuration, Measured};
use decisions::Decisions;
use provenance::Provenance;
use quality::Quality;
use serde::Serialize;
use std::path::Path;

const HTML: &str = include_str!("../../../assets/page/page.html");
const STYLE: &str = include_str!("../../../assets/page/page.css");

/// One script, in this order: what a later part calls, an earlier one defines.
const SCRIPT: [&str; 8] = [
    include_str!("../../../assets/page/base.js"),
    include_str!("../../../assets/page/table.js"),
    include_str!("../../../assets/page/plot.js"),
    include_str!("../../../assets/page/compared.js"),
    include_str!("../../../assets/page/clips.js"),
    include_str!("../../../assets/page/decisions.js"),
    include_str!("../../../assets/page/signals.js"),
    include_str!("../../../assets/page/main.js"),
];

/// Everything the page knows.
#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    analysis: &'a str,
    qualities: Vec<&'static Quality>,
    /// What frames went through before they were measured; empty where nothing.
    through: &'a str,
    groups: Vec<Shown<'a>>,
    decisions: Decisions<'a>,
    clips: Clips,
    provenance: Provenance,
}

/// Runs that may be compared.
#[derive(Serialize)]
struct Shown<'a> {
    name: String,
    sample: String,
    baseline: String,
    warnings: Vec<String>,
    series: Vec<Series>,
    configurations: Vec<Configuration<'a>>,
    /// What the Fréchet distance is and is worth; empty where it was not measured.
    frechet: String,
    compared: Vec<Compared<'a>>,
    runs: Vec<Measured<'a>>,
}

/// A curve and how it looks in every plot of this recording.
#[derive(Serialize)]
struct Series {
    name: String,
    colour: String,
    marker: usize,
    dashed: bool,
    width: u32,
}

impl Series {
    fn of(curve: &Curve) -> Series {
        let plotters::style::RGBColor(r, g, b) = curve.style.colour;
        Series {
            name: curve.name.clone(),
            colour: format!("#{r:02x}{g:02x}{b:02x}"),
            marker: curve.style.marker % 5,
            dashed: curve.style.dashed,
            width: curve.style.width,
        }
    }
}

/// The page of a recording.
///
/// # Errors
/// If a file of the recording cannot be read; the error names it.
pub fn html(
    directory: &Path,
    prose: &Prose,
    runs: &[RunRow],
    events: &[EventRow],
    groups: &[Group],
    compared: &[Vec<comparisons::Table>], // by group
) -> Result<String> {
    let qualities = quality::seen(runs)?;
    let page = Page {
        title: prose.title.as_deref().unwrap_or(&runs[0].experiment),
        analysis: prose.analysis.as_deref().unwrap_or_default(),
        groups: groups
            .iter()
            .zip(compared)
            .map(|(group, compared)| shown(group, runs, compared, &qualities))
            .collect::<Result<_>>()?,
        through: &runs[0].through,
        decisions: Decisions::of(runs, events),
        clips: Clips::of(directory, runs)?,
        provenance: Provenance::of(directory, runs)?,
        qualities,
    };
    assembled(&page)
}

fn shown<'a>(
    group: &'a Group,
    runs: &'a [RunRow],
    compared: &'a [comparisons::Table],
    qualities: &[&'static Quality],
) -> Result<Shown<'a>> {
    let curves = curves::curves(group);
    let (configurations, runs) = configurations::of(group, runs, &curves, qualities)?;
    let by_value = compared.iter().filter(|table| table.is_by_first); // what answers most comes first
    let whole = compared.iter().filter(|table| !table.is_by_first);
    Ok(Shown {
        name: group.describe(),
        sample: group.sample(),
        baseline: table::baseline(group),
        warnings: warnings(group),
        series: curves.iter().map(Series::of).collect(),
        configurations,
        frechet: frechet::words(group).replace("**", "").trim().to_string(),
        compared: by_value.chain(whole).map(Compared::of).collect(),
        runs,
    })
}

fn assembled(page: &Page) -> Result<String> {
    // Inside a script element only `<` could end it or open a comment; in JSON it may be written otherwise.
    let data = serde_json::to_string(page)?.replace('<', "\\u003c");
    let title = page
        .title
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let mut html = String::new();
    let mut rest = HTML;
    for (mark, text) in [
        ("{{title}}", title.as_str()),
        ("{{style}}", STYLE),
        ("{{data}}", &data),
        ("{{script}}", &SCRIPT.concat()),
    ] {
        let (before, after) = rest
            .split_once(mark)
            .with_context(|| format!("assets/page/page.html lacks {mark}, or has it out of order"))?;
        html += before;
        html += text;
        rest = after;
    }
    Ok(html + rest)
}

/// A number to four significant digits: in a curve more cannot be seen, and would double the page.
fn rounded(value: f64) -> Option<f64> {
    if !value.is_finite() {
        return None;
    }
    format!("{value:.3e}").parse().ok()
}

#[cfg(test)]
mod tests;
