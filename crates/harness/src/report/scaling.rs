//! The picture of the scaling experiment: time against the counted operations.

use super::chart::{Chart, Frame, Line};
use super::draw::{self, Heading, PALETTE, WIDTH};
use anyhow::Result;
use plotters::prelude::RGBColor;
use serde::Serialize;
use std::path::Path;

const HEIGHT: i32 = 620;

/// What is varied.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Varied {
    /// Latent frames.
    Tokens,
    /// Blocks.
    Depth,
    /// Sampler steps.
    Steps,
}

/// One size.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// What is varied.
    pub varied: Varied,
    /// Video tokens.
    pub tokens: usize,
    /// Blocks.
    pub layers: usize,
    /// Sampler steps.
    pub steps: usize,
    /// Floating-point operations of the run, by the model that every speed-up is compared with.
    pub flops: f64,
    /// Median time of the run, in seconds.
    pub seconds: f64,
}

/// Writes `scaling.svg` and `scaling.png`.
pub fn write(folder: &Path, points: &[Point], subtitle: &str) -> Result<()> {
    let heading = Heading::new(
        "Time of an uncached run against its operations",
        &[subtitle.to_string()],
        &[],
    )?;
    let charts = [
        (Varied::Tokens, "video tokens"),
        (Varied::Depth, "blocks"),
        (Varied::Steps, "steps"),
    ]
    .map(|(varied, name)| chart(points, varied, name));
    let svg = draw::svg(heading.height + HEIGHT + 20, |canvas| {
        heading.draw(canvas)?;
        let width = (WIDTH - 40) / charts.len() as i32;
        for (i, chart) in charts.iter().enumerate() {
            let left = 20 + i as i32 * width;
            let frame = Frame {
                left,
                right: left + width,
                top: heading.height,
                bottom: heading.height + HEIGHT,
            };
            chart.draw(canvas, frame)?;
        }
        Ok(())
    })?;
    draw::save(folder, "scaling", &svg)?;
    Ok(())
}

/// Measured seconds, and what the operations would take at the rate of the size that all three share.
fn chart(points: &[Point], varied: Varied, name: &str) -> Chart {
    let mut chosen: Vec<&Point> = points.iter().filter(|point| point.varied == varied).collect();
    let of = |point: &Point| match varied {
        Varied::Tokens => point.tokens as f64,
        Varied::Depth => point.layers as f64,
        Varied::Steps => point.steps as f64,
    };
    chosen.sort_by(|a, b| of(a).total_cmp(&of(b)));
    // The largest size, where fixed costs weigh least.
    let rate = chosen.last().map_or(1.0, |point| point.flops / point.seconds);
    let line = |name: &str, colour: RGBColor, dashed: bool, value: &dyn Fn(&Point) -> f64| Line {
        name: name.into(),
        points: chosen.iter().map(|point| (of(point), value(point))).collect(),
        colour,
        width: if dashed { 2 } else { 4 },
        dashed,
    };
    Chart {
        title: format!("over {name}"),
        x: name.into(),
        y: "seconds".into(),
        log: [true, true],
        lines: vec![
            line("operations ÷ best rate", RGBColor(110, 110, 110), true, &|point| {
                point.flops / rate
            }),
            line("measured", PALETTE[0], false, &|point| point.seconds),
        ],
    }
}
