//! A panel of lines over one variable, with its legend below: steps, tokens, sizes.

use super::axis::Axis;
use super::draw::{self, Canvas, INK, SMALL_PX};
use anyhow::Result;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

const LEGEND_ROW: i32 = 26;

/// One line of a panel.
pub struct Line {
    /// Its name in the legend; a nameless line is not listed.
    pub name: String,
    /// Points in drawing order.
    pub points: Vec<(f64, f64)>,
    /// Colour.
    pub colour: RGBColor,
    /// Pixels.
    pub width: u32,
    /// For figures quoted from elsewhere.
    pub dashed: bool,
}

/// A panel.
pub struct Chart {
    /// Above the panel.
    pub title: String,
    /// Below the panel.
    pub x: String,
    /// Beside the panel.
    pub y: String,
    /// Logarithmic axes: horizontal, vertical.
    pub log: [bool; 2],
    /// Its lines; the last lies on top.
    pub lines: Vec<Line>,
}

/// A part of the picture, in pixels.
#[derive(Clone, Copy)]
pub struct Frame {
    /// Left edge.
    pub left: i32,
    /// Right edge.
    pub right: i32,
    /// Top edge.
    pub top: i32,
    /// Bottom edge.
    pub bottom: i32,
}

impl Chart {
    /// Draws the panel into its frame.
    pub fn draw(&self, canvas: &Canvas, frame: Frame) -> Result<()> {
        let named: Vec<&Line> = self.lines.iter().filter(|line| !line.name.is_empty()).collect();
        let (left, right) = (frame.left + 95, frame.right - 20);
        let top = frame.top + 40;
        let widest = named.iter().map(|line| draw::text_width(&line.name, SMALL_PX)).max();
        // A sample of the line, the gaps around it, the name.
        let columns = ((right - left) / (widest.unwrap_or(0) + 70)).clamp(1, 2);
        let rows = (named.len() as i32 + columns - 1) / columns;
        let bottom = frame.bottom - 75 - rows * LEGEND_ROW;
        let axis = |log: bool, values: Vec<f64>, from, to| match log {
            true => Axis::log(values.into_iter(), from, to),
            false => Axis::linear(values.into_iter(), from, to),
        };
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = axis(self.log[0], points().map(|p| p.0).collect(), left, right);
        let y = axis(self.log[1], points().map(|p| p.1).collect(), bottom, top);
        let area = Frame {
            left,
            right,
            top,
            bottom,
        };
        grid(canvas, area, &x, &y, "")?;
        let centre = (left + right) / 2;
        draw::text(canvas, &self.title, (centre, frame.top + 15), 20.0, INK, HPos::Center)?;
        draw::text(canvas, &self.x, (centre, bottom + 44), 18.0, INK, HPos::Center)?;
        draw::text_upwards(canvas, &self.y, (frame.left + 18, (top + bottom) / 2), 18.0)?;
        for line in &self.lines {
            let path = line.points.iter().map(|&(a, b)| (x.pixel(a), y.pixel(b))).collect();
            line.stroke(canvas, path)?;
        }
        for (i, line) in named.iter().enumerate() {
            let (column, row) = (i as i32 % columns, i as i32 / columns);
            let at = (left + column * (right - left) / columns, bottom + 72 + row * LEGEND_ROW);
            line.stroke(canvas, vec![at, (at.0 + 40, at.1)])?;
            draw::text(canvas, &line.name, (at.0 + 50, at.1), SMALL_PX, INK, HPos::Left)?;
        }
        Ok(())
    }
}

/// Grid, ticks and axes around `area`; `unit` follows the numbers along the horizontal axis.
pub fn grid(canvas: &Canvas, area: Frame, x: &Axis, y: &Axis, unit: &str) -> Result<()> {
    let Frame {
        left,
        right,
        top,
        bottom,
    } = area;
    let grid = RGBColor(228, 228, 228).stroke_width(1);
    for (value, label) in y.ticks() {
        let at = y.pixel(value);
        canvas.draw(&PathElement::new(vec![(left, at), (right, at)], grid))?;
        draw::text(canvas, &label, (left - 10, at), SMALL_PX, INK, HPos::Right)?;
    }
    for (value, label) in x.ticks() {
        let at = x.pixel(value);
        canvas.draw(&PathElement::new(vec![(at, top), (at, bottom)], grid))?;
        let label = format!("{label}{unit}");
        draw::text(canvas, &label, (at, bottom + 20), SMALL_PX, INK, HPos::Center)?;
    }
    let edge = vec![(left, top), (left, bottom), (right, bottom)];
    Ok(canvas.draw(&PathElement::new(edge, INK.stroke_width(2)))?)
}

impl Line {
    fn stroke(&self, canvas: &Canvas, path: Vec<(i32, i32)>) -> Result<()> {
        if path.len() < 2 {
            return Ok(());
        }
        let stroke = self.colour.stroke_width(self.width);
        match self.dashed {
            true => canvas.draw(&DashedPathElement::new(path, 8, 6, stroke))?,
            false => canvas.draw(&PathElement::new(path, stroke))?,
        }
        Ok(())
    }
}
