//! Published numbers: TOML files under `experiments/quoted`.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

/// A file of published numbers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quoted {
    /// Heading of the page.
    pub title: String,
    /// What the page says.
    #[serde(default)]
    pub analysis: String,
    /// One table each.
    pub setting: Vec<Setting>,
}

/// A model at a size.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Ending of its files' names.
    pub stem: String,
    /// Model and size in words.
    pub name: String,
    /// Presets that are this model.
    #[serde(default)]
    pub models: Vec<String>,
    /// Pixels, where the size tells settings of one model apart.
    pub height: Option<u32>,
    /// Presets that stand in for it.
    #[serde(default)]
    pub stand_ins: Vec<String>,
    /// Speed-up at which our own rows are taken.
    pub speedup: Option<f64>,
    /// The published rows.
    pub row: Vec<Row>,
}

/// One published row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// As its source names it.
    pub policy: String,
    /// Over the uncached run.
    pub speedup: Option<f64>,
    /// Against the uncached run.
    pub psnr_db: Option<f64>,
    /// Against the uncached run.
    pub ssim: Option<f64>,
    /// Against the uncached run.
    pub lpips: Option<f64>,
    /// Total score, %.
    pub vbench: Option<f64>,
    /// Who says so.
    pub label: Label,
    /// Where it stands.
    pub source: String,
}

/// Who vouches for a number.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// The policy's own authors.
    Paper,
    /// Somebody else.
    SecondHand,
}

impl Label {
    /// As it stands in tables.
    pub fn name(self) -> &'static str {
        match self {
            Label::Paper => "paper",
            Label::SecondHand => "second-hand",
        }
    }
}

impl Quoted {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn read(path: &Path) -> Result<Quoted> {
        let text = std::fs::read_to_string(path).with_context(|| {
            let path = path.display();
            format!("cannot read the published numbers in {path}; name their folder with --quoted")
        })?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }
}

impl Setting {
    /// `Lowest and highest: speed-up 2.00 to 2.20, …`
    pub fn spread(&self) -> String {
        type Measure = (&'static str, usize, fn(&Row) -> Option<f64>);
        let measures: [Measure; 4] = [
            ("speed-up", 2, |row| row.speedup),
            ("PSNR", 2, |row| row.psnr_db),
            ("SSIM", 3, |row| row.ssim),
            ("LPIPS", 3, |row| row.lpips),
        ];
        let spans = measures.iter().filter_map(|(name, digits, value)| {
            let values = || self.row.iter().filter_map(value);
            let low = values().reduce(f64::min)?;
            let high = values().reduce(f64::max)?;
            Some(format!("{name} {low:.digits$} to {high:.digits$}"))
        });
        format!("Lowest to highest: {}.", spans.collect::<Vec<_>>().join(", "))
    }
}
