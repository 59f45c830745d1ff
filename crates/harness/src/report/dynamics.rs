//! The picture of a model's dynamics: changes from step to step, and magnitudes beside published ones.

use super::chart::{Chart, Frame, Line};
use super::draw::{self, Heading, INK, PALETTE, VERMILLION, WIDTH};
use crate::dynamics::{Average, Quantity};
use anyhow::Result;
use mixcache_policies::data::MagRatios;
use mixcache_policies::plan::COND;
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

const PANEL_HEIGHT: i32 = 560;

/// Writes `dynamics.svg` and `dynamics.png`.
pub fn write(
    folder: &Path,
    averages: &[Average],
    subtitle: &str,
    published: &BTreeMap<String, MagRatios>,
) -> Result<()> {
    let heading = Heading::new(
        "What changes from step to step, without a cache",
        &[subtitle.to_string()],
        &[],
    )?;
    let charts = [
        changes(averages),
        blocks(averages),
        magnitudes(averages, published),
        branches(averages),
    ];
    let charts: Vec<&Chart> = charts.iter().filter(|chart| !chart.lines.is_empty()).collect();
    let rows = charts.len().div_ceil(2) as i32;
    let svg = draw::svg(heading.height + rows * PANEL_HEIGHT + 20, |canvas| {
        heading.draw(canvas)?;
        for (i, chart) in charts.iter().enumerate() {
            let (column, row) = (i as i32 % 2, i as i32 / 2);
            let (left, top) = (20 + column * (WIDTH / 2), heading.height + row * PANEL_HEIGHT);
            let frame = Frame {
                left,
                right: left + WIDTH / 2 - 40,
                top,
                bottom: top + PANEL_HEIGHT - 20,
            };
            chart.draw(canvas, frame)?;
        }
        Ok(())
    })?;
    draw::save(folder, "dynamics", &svg)?;
    Ok(())
}

/// In words: where the model changes least, and by how much.
pub fn summary(averages: &[Average]) -> String {
    let guided = points(averages, Quantity::Guided, None, None);
    let Some(quietest) = guided.iter().min_by(|a, b| a.1.total_cmp(&b.1)) else {
        return "nothing was measured: a run needs at least two steps".into();
    };
    let mean_of = |low: f64, high: f64| {
        let steps = guided.len() as f64;
        let inside = guided
            .iter()
            .enumerate()
            .filter(|(i, _)| (low * steps..high * steps).contains(&(*i as f64)));
        let values: Vec<f64> = inside.map(|(_, p)| p.1).collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    };
    format!(
        "change of the guided prediction: first fifth {:.3}, middle {:.3}, last fifth {:.3}; least at step {} ({:.3})",
        mean_of(0.0, 0.2),
        mean_of(0.2, 0.8),
        mean_of(0.8, 1.0),
        quietest.0,
        quietest.1
    )
}

fn points(averages: &[Average], quantity: Quantity, branch: Option<usize>, block: Option<usize>) -> Vec<(f64, f64)> {
    let chosen = averages
        .iter()
        .filter(|a| (a.quantity, a.branch, a.block) == (quantity, branch, block));
    chosen.map(|a| (a.step as f64, a.mean)).collect()
}

fn line(name: &str, points: Vec<(f64, f64)>, colour: RGBColor, width: u32) -> Line {
    Line {
        name: name.into(),
        points,
        colour,
        width,
        dashed: false,
    }
}

fn changes(averages: &[Average]) -> Chart {
    let of = |name: &str, quantity, branch, colour| line(name, points(averages, quantity, branch, None), colour, 3);
    let mut lines = vec![
        of("residual of all blocks", Quantity::Residual, Some(COND), PALETTE[2]),
        of("guided prediction", Quantity::Guided, None, VERMILLION),
    ];
    // Without a second branch the guided prediction is the conditional one.
    if averages.iter().any(|a| a.quantity == Quantity::Branches) {
        lines.insert(
            0,
            of("prediction, conditional", Quantity::Prediction, Some(COND), PALETTE[0]),
        );
    }
    Chart {
        title: "Change of predictions and residuals".into(),
        x: "step".into(),
        y: "relative L1 to the step before".into(),
        log: [false, true],
        lines,
    }
}

/// First block light, last block dark.
fn blocks(averages: &[Average]) -> Chart {
    let count = averages.iter().filter_map(|a| a.block).max().map_or(0, |last| last + 1);
    let shade = |block: usize| {
        let share = block as f64 / (count - 1).max(1) as f64;
        let part = |light: f64, dark: f64| (light + (dark - light) * share) as u8;
        RGBColor(part(170.0, 0.0), part(210.0, 40.0), part(240.0, 90.0))
    };
    let name = |block: usize| match block {
        0 => "first block".to_string(),
        block if block + 1 == count => "last block".to_string(),
        _ => String::new(),
    };
    let lines = (0..count).map(|block| {
        let points = points(averages, Quantity::Block, Some(COND), Some(block));
        line(&name(block), points, shade(block), 2)
    });
    Chart {
        title: "Change of each block's residual".into(),
        x: "step".into(),
        y: "relative L1 to the step before".into(),
        log: [false, true],
        lines: lines.collect(),
    }
}

fn magnitudes(averages: &[Average], published: &BTreeMap<String, MagRatios>) -> Chart {
    let mut lines: Vec<Line> = published
        .iter()
        .enumerate()
        .map(|(i, (name, ratios))| Line {
            dashed: true,
            ..line(
                &format!("{name}, published"),
                ratios
                    .cond
                    .iter()
                    .enumerate()
                    .skip(1)
                    .map(|(i, r)| (i as f64, *r as f64))
                    .collect(),
                PALETTE[i % 5],
                2,
            )
        })
        .collect();
    lines.push(line(
        "this model",
        points(averages, Quantity::Magnitude, Some(COND), None),
        VERMILLION,
        4,
    ));
    Chart {
        title: "Magnitude of the residual against the step before".into(),
        x: "step".into(),
        y: "ratio of norms".into(),
        log: [false, false],
        lines,
    }
}

fn branches(averages: &[Average]) -> Chart {
    let between: Vec<(f64, f64)> = averages
        .iter()
        .filter(|a| a.quantity == Quantity::Branches)
        .map(|a| (a.step as f64, a.mean))
        .collect();
    let difference = points(averages, Quantity::BranchDifference, None, None);
    let lines = vec![
        line("distance of the branches", between, INK, 3),
        line("change of their difference", difference, PALETTE[3], 3),
    ];
    Chart {
        title: "Conditional against unconditional".into(),
        x: "step".into(),
        y: "relative L1".into(),
        log: [false, true],
        lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
    }
}
