//! Quality against speed-up: one curve a series, through the values of its swept knob.

mod facets;
mod labels;

use super::axis::{Axis, number};
use super::chart::{Frame, grid};
use super::draw::{self, Canvas, Heading, INK, PALETTE, SMALL_PX, VERMILLION, WIDTH};
use super::summary::{Group, Summary};
use crate::stats::Estimate;
use anyhow::Result;
use labels::Labels;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

const HEIGHT: i32 = 900;
/// Panels never get lower than this, axes included: the picture grows instead.
const PANEL_LEAST: i32 = 500;
const LEGEND_ROW: i32 = 30;
/// More curves cannot be told apart in one panel: each gets its own.
const CURVES_MOST: usize = 24;
/// Of an upper line: no colour of a policy, dark enough to be seen through its dashes.
const UPPER: RGBColor = RGBColor(106, 27, 154);
const GREYS: [RGBColor; 3] = [RGBColor(110, 110, 110), RGBColor(150, 150, 150), RGBColor(70, 70, 70)];

/// One measure on the vertical axis.
struct Panel {
    title: &'static str,
    of_frames: bool,
    log: bool,
    value: fn(&Summary) -> Option<Estimate>,
    /// The value of a run that equals the uncached one: it lies off the scale and is drawn at the edge.
    identical: Option<f64>,
}

const QUALITY: [Panel; 2] = [
    Panel {
        title: "PSNR, dB (higher is closer)",
        of_frames: true,
        log: false,
        value: |s| s.psnr_db,
        identical: Some(100.0),
    },
    Panel {
        title: "latent error, relative L2 (lower is closer)",
        of_frames: false,
        log: true,
        value: |s| s.latent_rel_l2,
        identical: Some(0.0),
    },
];

const WORK: Panel = Panel {
    title: "share of the transformer's work done",
    of_frames: false,
    log: false,
    value: |s| {
        Some(Estimate {
            value: s.compute_fraction?,
            interval: None,
        })
    },
    identical: None,
};

impl Panel {
    fn title(&self, group: &Group) -> String {
        match self.of_frames {
            true => group.of_frames(self.title),
            false => self.title.to_string(),
        }
    }
}

/// The configurations of one series, in the order of their speed-up.
pub(super) struct Curve<'a> {
    pub(super) name: String,
    pub(super) points: Vec<&'a Summary>,
    pub(super) style: Look,
}

/// How a curve looks: policies in colour, MixCache heavy, controls grey and dashed, an upper line dashed.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) colour: RGBColor,
    pub(super) marker: usize,
    pub(super) dashed: bool,
    pub(super) width: u32,
}

/// The picture, or none where there is no speed-up to draw.
pub fn draw(group: &Group, title: &str) -> Result<Option<String>> {
    let curves = curves(group);
    if curves.is_empty() {
        return Ok(None);
    }
    let seen = |panel: &Panel| {
        curves
            .iter()
            .any(|curve| curve.points.iter().any(|s| (panel.value)(s).is_some()))
    };
    let mut panels: Vec<&Panel> = QUALITY.iter().filter(|panel| seen(panel)).collect();
    if panels.is_empty() && seen(&WORK) {
        panels.push(&WORK);
    }
    if panels.is_empty() {
        return Ok(None);
    }
    let common = &group.common;
    let subtitle = [
        format!("{} · {}", group.describe(), group.sample()),
        format!("{}, {} · {}", common.device, common.dtype, common.machine),
    ];
    let heading = Heading::new(title, &subtitle, &super::warnings(group))?;
    if curves.len() > CURVES_MOST {
        return Ok(Some(facets::draw(&heading, panels[0], &curves, group)?));
    }
    let legend_height = 45 + legend_shape(&curves).1 * LEGEND_ROW;
    let height = HEIGHT.max(heading.height + PANEL_LEAST + legend_height);
    let svg = draw::svg(height, |canvas| {
        heading.draw(canvas)?;
        let top = heading.height;
        let legend_top = height - legend_height;
        legend(canvas, &curves, group, legend_top)?;
        let width = (WIDTH - 40) / panels.len() as i32;
        for (i, panel) in panels.iter().enumerate() {
            let left = 20 + i as i32 * width;
            let frame = Frame {
                left: left + 90,
                right: left + width - 25,
                top: top + 10,
                bottom: legend_top - 90,
            };
            draw_panel(canvas, panel, &frame, &curves)?;
            let title = panel.title(group);
            draw::text_upwards(canvas, &title, (frame.left - 72, (frame.top + frame.bottom) / 2), 19.0)?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// What is drawn, in drawing order.
pub(super) fn curves(group: &Group) -> Vec<Curve<'_>> {
    let mut curves: Vec<Curve> = Vec::new();
    let (mut colours, mut greys) = (0, 0);
    for summary in &group.summaries {
        if summary.is_off() || summary.speedup.is_none() {
            continue;
        }
        let name = match &summary.knob {
            Some((knob, _)) => format!("{} (by {knob})", summary.series),
            None => summary.series.clone(),
        };
        if let Some(curve) = curves.iter_mut().find(|curve| curve.name == name) {
            curve.points.push(summary);
            continue;
        }
        let style = if summary.is_mix() && !curves.iter().any(|curve| curve.style.width == 5) {
            Look {
                colour: VERMILLION,
                marker: 0,
                dashed: false,
                width: 5,
            }
        } else if summary.is_upper {
            Look {
                colour: UPPER,
                marker: 3,
                dashed: true,
                width: 3,
            }
        } else if summary.is_control() {
            greys += 1;
            Look {
                colour: GREYS[(greys - 1) % 3],
                marker: greys,
                dashed: true,
                width: 3,
            }
        } else {
            colours += 1;
            let (turn, colour) = ((colours - 1) / PALETTE.len(), (colours - 1) % PALETTE.len());
            Look {
                colour: PALETTE[colour],
                marker: colours + turn,
                dashed: turn % 2 == 1,
                width: 3,
            }
        };
        curves.push(Curve {
            name,
            points: vec![summary],
            style,
        });
    }
    // What is drawn last lies on top.
    curves.sort_by_key(|curve| (!curve.style.dashed, curve.style.width));
    curves
}

/// Columns and rows of the legend.
fn legend_shape(curves: &[Curve]) -> (i32, i32) {
    let widths = curves.iter().map(|curve| draw::text_width(&curve.name, SMALL_PX));
    let widest = widths.max().unwrap_or(0);
    let count = curves.len() as i32;
    let columns = ((WIDTH - 80) / (widest + 110)).clamp(1, count);
    (columns, (count + columns - 1) / columns)
}

/// Legend along the bottom, the heaviest curve first.
fn legend(canvas: &Canvas, curves: &[Curve], group: &Group, top: i32) -> Result<()> {
    let (columns, rows) = legend_shape(curves);
    for (i, curve) in curves.iter().rev().enumerate() {
        let (column, row) = (i as i32 / rows, i as i32 % rows);
        let x = 60 + column * ((WIDTH - 80) / columns);
        let y = top + row * LEGEND_ROW + LEGEND_ROW / 2;
        line(canvas, &[(x, y), (x + 60, y)], &curve.style)?;
        marker(canvas, (x + 30, y), &curve.style)?;
        draw::text(canvas, &curve.name, (x + 72, y), SMALL_PX, INK, HPos::Left)?;
    }
    draw::text(
        canvas,
        &note(curves, group),
        (60, top + rows * LEGEND_ROW + 20),
        SMALL_PX,
        RGBColor(90, 90, 90),
        HPos::Left,
    )
}

/// What a reader must know of every panel.
fn note(curves: &[Curve], group: &Group) -> String {
    let mut note = "Numbers beside markers: value of the knob.".to_string();
    if group
        .summaries
        .iter()
        .any(|s| s.psnr_db.or(s.latent_rel_l2).is_some_and(|e| e.interval.is_some()))
    {
        note += " Bands: 95 % bootstrap interval over prompts and seeds.";
    }
    let same =
        |panel: &Panel, s: &Summary| panel.identical.is_some() && (panel.value)(s).map(|e| e.value) == panel.identical;
    if curves
        .iter()
        .flat_map(|curve| &curve.points)
        .any(|s| QUALITY.iter().any(|panel| same(panel, s)))
    {
        note += " On the frame: identical to off.";
    }
    note += " Grey, dashed: controls.";
    if group.summaries.iter().any(|s| s.is_upper) {
        note += " Violet: upper line.";
    }
    note
}

/// Thin strokes of a digit need more contrast than a thick line of the same colour.
fn darker(RGBColor(r, g, b): RGBColor) -> RGBColor {
    let [r, g, b] = [r, g, b].map(|part| (f64::from(part) * 0.72) as u8);
    RGBColor(r, g, b)
}

/// Where values lie in a panel.
struct Scale<'a> {
    panel: &'a Panel,
    top: i32,
    x: Axis,
    y: Axis,
}

impl<'a> Scale<'a> {
    /// Room for every curve; `x` lays out the speed-ups.
    fn new(panel: &'a Panel, frame: &Frame, curves: &[Curve], x: impl Fn(Vec<f64>) -> Axis) -> Self {
        let points = || curves.iter().flat_map(|curve| &curve.points).copied();
        let speeds = points().filter_map(|s| Some(s.speedup?.value)).chain([1.0]);
        let on_scale = |value: &f64| panel.identical != Some(*value);
        let values = points().filter_map(panel.value).flat_map(|e| {
            let (low, high) = e.interval.unwrap_or((e.value, e.value));
            [low, e.value, high]
        });
        let values = values.filter(on_scale);
        Scale {
            panel,
            top: frame.top,
            x: x(speeds.collect()),
            y: match panel.log {
                true => Axis::log(values, frame.bottom, frame.top),
                false => Axis::linear(values, frame.bottom, frame.top),
            },
        }
    }

    fn y_pixel(&self, value: f64) -> i32 {
        match self.panel.identical {
            Some(identical) if identical == value && !self.panel.log => self.top,
            _ => self.y.pixel(value),
        }
    }

    fn place(&self, s: &Summary) -> Option<(i32, i32)> {
        let value = (self.panel.value)(s)?.value;
        Some((self.x.pixel(s.speedup?.value), self.y_pixel(value)))
    }

    fn path(&self, curve: &Curve) -> Vec<(i32, i32)> {
        curve.points.iter().filter_map(|s| self.place(s)).collect()
    }

    /// Around the intervals of a curve's points.
    fn outline(&self, curve: &Curve) -> Vec<(i32, i32)> {
        let band = |end: fn((f64, f64)) -> f64| -> Vec<(i32, i32)> {
            let ends = curve.points.iter().filter_map(|s| {
                let estimate = (self.panel.value)(s)?;
                let value = estimate.interval.map_or(estimate.value, end);
                Some((self.x.pixel(s.speedup?.value), self.y_pixel(value)))
            });
            ends.collect()
        };
        band(|i| i.0)
            .into_iter()
            .chain(band(|i| i.1).into_iter().rev())
            .collect()
    }
}

fn draw_panel(canvas: &Canvas, panel: &Panel, frame: &Frame, curves: &[Curve]) -> Result<()> {
    let scale = Scale::new(panel, frame, curves, |speeds| {
        Axis::linear(speeds.into_iter(), frame.left, frame.right)
    });
    axes(canvas, frame, &scale.x, &scale.y)?;
    let mut labels = Labels::new(frame);
    for curve in curves {
        let path = line_and_band(canvas, &scale, curve, &curve.style)?;
        labels.avoid_line(&path);
        for &at in &path {
            labels.avoid_marker(at);
        }
    }
    for curve in curves {
        for at in scale.path(curve) {
            marker(canvas, at, &curve.style)?;
        }
    }
    // The heaviest curve is labelled first: where room is scarce, it keeps its numbers.
    for curve in curves.iter().rev() {
        put_knobs(canvas, &mut labels, &scale, curve, curve.style.colour)?;
    }
    Ok(())
}

/// Draws a curve without its markers; returns where these belong.
fn line_and_band(canvas: &Canvas, scale: &Scale, curve: &Curve, style: &Look) -> Result<Vec<(i32, i32)>> {
    let path = scale.path(curve);
    if path.len() > 1 {
        canvas.draw(&Polygon::new(scale.outline(curve), style.colour.mix(0.13)))?;
    }
    line(canvas, &path, style)?;
    Ok(path)
}

fn put_knobs(canvas: &Canvas, labels: &mut Labels, scale: &Scale, curve: &Curve, colour: RGBColor) -> Result<()> {
    for summary in &curve.points {
        if let (Some((_, knob)), Some(at)) = (&summary.knob, scale.place(summary)) {
            labels.put(canvas, &number(*knob), at, darker(colour))?;
        }
    }
    Ok(())
}

fn axes(canvas: &Canvas, frame: &Frame, x: &Axis, y: &Axis) -> Result<()> {
    let Frame {
        left,
        right,
        top,
        bottom,
    } = *frame;
    grid(canvas, *frame, x, y, "×")?;
    let off = Look {
        colour: GREYS[0],
        marker: 0,
        dashed: true,
        width: 2,
    };
    line(canvas, &[(x.pixel(1.0), top), (x.pixel(1.0), bottom)], &off)?;
    let at = (x.pixel(1.0) + 8, bottom - 14);
    draw::text(canvas, "off", at, SMALL_PX, GREYS[0], HPos::Left)?;
    draw::text(
        canvas,
        "speed-up",
        ((left + right) / 2, bottom + 50),
        19.0,
        INK,
        HPos::Center,
    )
}

fn line(canvas: &Canvas, path: &[(i32, i32)], style: &Look) -> Result<()> {
    if path.len() < 2 {
        return Ok(());
    }
    let stroke = style.colour.stroke_width(style.width);
    if style.dashed {
        Ok(canvas.draw(&DashedPathElement::new(path.to_vec(), 10, 7, stroke))?)
    } else {
        Ok(canvas.draw(&PathElement::new(path.to_vec(), stroke))?)
    }
}

/// Shapes differ as well as colours: the picture can be read in grey.
fn marker(canvas: &Canvas, (x, y): (i32, i32), style: &Look) -> Result<()> {
    let r = if style.width > 3 { 10 } else { 7 };
    let fill = style.colour.filled();
    let polygon =
        |points: &[(i32, i32)]| Polygon::new(points.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>(), fill);
    match style.marker % 5 {
        0 => canvas.draw(&Circle::new((x, y), r, fill))?,
        1 => canvas.draw(&Rectangle::new([(x - r + 1, y - r + 1), (x + r - 1, y + r - 1)], fill))?,
        2 => canvas.draw(&polygon(&[(-r, r - 1), (r, r - 1), (0, -r)]))?,
        3 => canvas.draw(&polygon(&[(-r - 1, 0), (0, -r - 1), (r + 1, 0), (0, r + 1)]))?,
        _ => canvas.draw(&polygon(&[(-r, 1 - r), (r, 1 - r), (0, r)]))?,
    }
    Ok(())
}
