//! How far a clip is from the uncached one: the columns that say so, and how to draw them.

use crate::schema::RunRow;
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

/// A column of quality. Those of [`crate::metrics::METRICS`] and the latent's.
#[derive(Serialize)]
pub struct Quality {
    /// Column of `runs.parquet`.
    pub column: &'static str,
    name: &'static str,
    unit: &'static str,
    digits: usize,
    higher_is_closer: bool,
    log: bool,
    /// Whether it is of frames, as opposed to latents.
    of_frames: bool,
    /// Its value for frames that equal the uncached ones: off the scale of the others.
    identical: f64,
    /// Whether the table shows it only when asked for all columns.
    further: bool,
}

const fn higher(
    column: &'static str,
    name: &'static str,
    unit: &'static str,
    digits: usize,
    identical: f64,
) -> Quality {
    Quality {
        column,
        name,
        unit,
        digits,
        higher_is_closer: true,
        log: false,
        of_frames: true,
        identical,
        further: false,
    }
}

const fn lower(column: &'static str, name: &'static str) -> Quality {
    Quality {
        column,
        name,
        unit: "",
        digits: 4,
        higher_is_closer: false,
        log: true,
        of_frames: true,
        identical: 0.0,
        further: false,
    }
}

const fn further(quality: Quality) -> Quality {
    Quality {
        further: true,
        ..quality
    }
}

/// All there may be; a recording shows those it has.
const QUALITIES: &[Quality] = &[
    higher("psnr_db", "PSNR", "dB", 2, 100.0),
    further(higher("psnr_pooled_db", "PSNR, pooled", "dB", 2, 100.0)),
    higher("ssim", "SSIM", "", 4, 1.0),
    further(higher("ms_ssim", "MS-SSIM", "", 4, 1.0)),
    lower("lpips", "LPIPS"),
    further(lower("flicker_error", "flicker error")),
    further(lower("warping_error", "warping error")),
    Quality {
        of_frames: false,
        ..lower("latent_rel_l2", "latent error")
    },
];

/// Those that some run of the recording has.
pub fn seen(runs: &[RunRow]) -> Result<Vec<&'static Quality>> {
    let mut seen = vec![false; QUALITIES.len()];
    for run in runs {
        for (seen, value) in seen.iter_mut().zip(values(run, QUALITIES)?) {
            *seen |= value.is_some();
        }
    }
    let with = QUALITIES.iter().zip(seen);
    Ok(with.filter(|(_, seen)| *seen).map(|(quality, _)| quality).collect())
}

/// The run's values in the order of `qualities`. They are looked up by column, so that a new metric needs a line
/// above and nothing else.
pub fn values<'a>(run: &RunRow, qualities: impl IntoIterator<Item = &'a Quality>) -> Result<Vec<Option<f64>>> {
    let row = serde_json::to_value(run)?;
    let value = |quality: &Quality| row.get(quality.column).and_then(Value::as_f64);
    Ok(qualities.into_iter().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_frames_can_be_shown() {
        for metric in crate::metrics::METRICS {
            let shown = QUALITIES.iter().any(|quality| quality.column == metric.column);
            assert!(
                shown,
                "`{}` has no line in report/page/quality.rs: the page would not show it",
                metric.column
            );
        }
    }
}
