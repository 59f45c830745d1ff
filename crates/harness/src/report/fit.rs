//! The picture of a TeaCache fit: what it says beside what was measured.

use super::chart::{Chart, Frame, Line};
use super::draw::{self, Heading, PALETTE, WIDTH};
use crate::calibration::Point;
use anyhow::Result;
use mixcache_policies::data::TeaCoefficients;
use plotters::prelude::RGBColor;
use std::path::Path;

const HEIGHT: i32 = 620;
const BINS: usize = 24;

/// Writes `STEM.svg` and `STEM.png` into `folder`.
pub fn write(folder: &Path, stem: &str, fit: &TeaCoefficients, points: &[Point]) -> Result<()> {
    let title = format!("TeaCache's polynomial for {}", fit.model);
    let heading = Heading::new(&title, std::slice::from_ref(&fit.source), &[])?;
    let chart = chart(fit, points);
    let svg = draw::svg(heading.height + HEIGHT + 20, |canvas| {
        heading.draw(canvas)?;
        let (top, bottom) = (heading.height, heading.height + HEIGHT);
        chart.draw(
            canvas,
            Frame {
                left: 20,
                right: WIDTH - 20,
                top,
                bottom,
            },
        )
    })?;
    draw::save(folder, stem, &svg)?;
    Ok(())
}

fn chart(fit: &TeaCoefficients, points: &[Point]) -> Chart {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let bins: Vec<&[Point]> = sorted.chunks(sorted.len().div_ceil(BINS)).collect();
    let quantile = |bin: &[Point], share: f64| {
        let mut values: Vec<f64> = bin.iter().map(|p| p[1]).collect();
        values.sort_by(f64::total_cmp);
        values[((values.len() - 1) as f64 * share).round() as usize]
    };
    let of_bins = |share: f64| {
        bins.iter()
            .map(|bin| (bin[bin.len() / 2][0], quantile(bin, share)))
            .collect()
    };
    let polynomial = |x: f64| fit.polynomial.iter().fold(0.0, |y, c| y * x + c);
    let [low, high] = fit.range;
    let fitted = (0..=200)
        .map(|i| low + (high - low) * i as f64 / 200.0)
        .map(|x| (x, polynomial(x).max(0.0)));
    let grey = RGBColor(140, 140, 140);
    let line = |name: &str, points, colour, width, dashed| Line {
        name: name.into(),
        points,
        colour,
        width,
        dashed,
    };
    Chart {
        title: String::new(),
        x: format!("change of the {} (relative L1)", fit.signal),
        y: "change of the prediction".into(),
        log: [false, false],
        lines: vec![
            line("upper quarter of the steps", of_bins(0.75), grey, 2, true),
            line("half of the steps", of_bins(0.5), PALETTE[0], 4, false),
            line("lower quarter", of_bins(0.25), grey, 2, true),
            line("polynomial", fitted.collect(), draw::VERMILLION, 4, false),
        ],
    }
}
