//! Published numbers of one policy as points: speed-up against quality.

use super::axis::Axis;
use super::chart::{Frame, grid};
use super::draw::{self, Heading, INK, PALETTE, SMALL_PX, WIDTH};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

const PANEL: i32 = 460;
const LEGEND_ROW: i32 = 28;

/// One point.
pub struct Marker {
    /// Who reports it.
    pub name: String,
    /// Across.
    pub speedup: Option<f64>,
    /// Upwards, one a panel.
    pub values: [Option<f64>; 2],
}

/// Two panels over one legend, as SVG.
///
/// # Errors
/// If the picture cannot be drawn.
pub fn scatter(title: &str, measures: [&str; 2], markers: &[Marker]) -> Result<String> {
    let subtitle = ["As each source reports it: other machines, prompts and scripts".to_string()];
    let heading = Heading::new(title, &subtitle, &[])?;
    let rows = markers.len().div_ceil(2) as i32;
    let height = heading.height + PANEL + rows * LEGEND_ROW + 20;
    draw::svg(height, |canvas| {
        heading.draw(canvas)?;
        let bottom = heading.height + PANEL - 80;
        for (panel, measure) in measures.iter().enumerate() {
            let left = 20 + panel as i32 * (WIDTH - 40) / 2;
            let frame = Frame {
                left: left + 90,
                right: left + (WIDTH - 40) / 2 - 25,
                top: heading.height + 10,
                bottom,
            };
            let points = || {
                let places = markers.iter().enumerate();
                places.filter_map(move |(i, marker)| Some((i, marker.speedup?, marker.values[panel]?)))
            };
            let x = Axis::linear(points().map(|point| point.1), frame.left, frame.right);
            let y = Axis::linear(points().map(|point| point.2), frame.bottom, frame.top);
            grid(canvas, frame, &x, &y, "×")?;
            let middle = ((frame.left + frame.right) / 2, bottom + 50);
            draw::text(canvas, "speed-up", middle, 19.0, INK, HPos::Center)?;
            draw::text_upwards(canvas, measure, (frame.left - 72, (frame.top + bottom) / 2), 19.0)?;
            for (i, speedup, value) in points() {
                canvas.draw(&dot((x.pixel(speedup), y.pixel(value)), i))?;
            }
        }
        for (i, marker) in markers.iter().enumerate() {
            let (column, row) = (i as i32 / rows, i as i32 % rows);
            let at = (
                60 + column * (WIDTH - 80) / 2,
                heading.height + PANEL + row * LEGEND_ROW,
            );
            canvas.draw(&dot(at, i))?;
            draw::text(canvas, &marker.name, (at.0 + 18, at.1), SMALL_PX, INK, HPos::Left)?;
        }
        Ok(())
    })
}

/// The colour tells the source.
fn dot(at: (i32, i32), source: usize) -> Circle<(i32, i32), i32> {
    Circle::new(at, 9, PALETTE[source % PALETTE.len()].filled())
}
