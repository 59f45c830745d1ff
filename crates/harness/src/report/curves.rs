//! Quality against speed-up: one curve a series, through the values of its swept knob.

use super::axis::{Axis, number};
use super::chart::{Frame, grid};
use super::draw::{self, Canvas, Heading, INK, PALETTE, SMALL_PX, VERMILLION, WIDTH};
use super::summary::{Group, Summary};
use crate::stats::Estimate;
use anyhow::Result;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

const HEIGHT: i32 = 900;
/// Panels never get lower than this, axes included: the picture grows instead.
const PANEL_LEAST: i32 = 500;
const LEGEND_ROW: i32 = 30;
/// Of an upper line: no colour of a policy, dark enough to be seen through its dashes.
const UPPER: RGBColor = RGBColor(106, 27, 154);
const GREYS: [RGBColor; 3] = [RGBColor(110, 110, 110), RGBColor(150, 150, 150), RGBColor(70, 70, 70)];

/// One measure on the vertical axis.
struct Panel {
    title: &'static str,
    log: bool,
    value: fn(&Summary) -> Option<Estimate>,
    /// The value of a run that equals the uncached one: it lies off the scale and is drawn at the edge.
    identical: Option<f64>,
}

const QUALITY: [Panel; 2] = [
    Panel {
        title: "PSNR, dB (higher is closer)",
        log: false,
        value: |s| s.psnr_db,
        identical: Some(100.0),
    },
    Panel {
        title: "latent error, relative L2 (lower is closer)",
        log: true,
        value: |s| s.latent_rel_l2,
        identical: Some(0.0),
    },
];

const WORK: Panel = Panel {
    title: "share of the transformer's work done",
    log: false,
    value: |s| {
        Some(Estimate {
            value: s.compute_fraction?,
            interval: None,
        })
    },
    identical: None,
};

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
    draw::text(
        canvas,
        &note,
        (60, top + rows * LEGEND_ROW + 20),
        SMALL_PX,
        RGBColor(90, 90, 90),
        HPos::Left,
    )
}

/// Thin strokes of a digit need more contrast than a thick line of the same colour.
fn darker(RGBColor(r, g, b): RGBColor) -> RGBColor {
    let [r, g, b] = [r, g, b].map(|part| (f64::from(part) * 0.72) as u8);
    RGBColor(r, g, b)
}

fn draw_panel(canvas: &Canvas, panel: &Panel, frame: &Frame, curves: &[Curve]) -> Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points).copied();
    let speeds = points().filter_map(|s| Some(s.speedup?.value)).chain([1.0]);
    let x = Axis::linear(speeds, frame.left, frame.right);
    let on_scale = |value: &f64| panel.identical != Some(*value);
    let values = points().filter_map(panel.value).flat_map(|e| {
        let (low, high) = e.interval.unwrap_or((e.value, e.value));
        [low, e.value, high]
    });
    let values = values.filter(on_scale);
    let y = match panel.log {
        true => Axis::log(values, frame.bottom, frame.top),
        false => Axis::linear(values, frame.bottom, frame.top),
    };
    let y_pixel = |value: f64| match panel.identical {
        Some(identical) if identical == value && !panel.log => frame.top,
        _ => y.pixel(value),
    };
    axes(canvas, panel, frame, &x, &y)?;

    let mut labels = Labels {
        taken: Vec::new(),
        frame,
    };
    for curve in curves {
        let place = |s: &Summary| Some((x.pixel(s.speedup?.value), y_pixel((panel.value)(s)?.value)));
        let path: Vec<(i32, i32)> = curve.points.iter().filter_map(|s| place(s)).collect();
        let band = |end: fn((f64, f64)) -> f64| -> Vec<(i32, i32)> {
            let ends = curve.points.iter().filter_map(|s| {
                let estimate = (panel.value)(s)?;
                let value = estimate.interval.map_or(estimate.value, end);
                Some((x.pixel(s.speedup?.value), y_pixel(value)))
            });
            ends.collect()
        };
        let outline: Vec<_> = band(|i| i.0)
            .into_iter()
            .chain(band(|i| i.1).into_iter().rev())
            .collect();
        if path.len() > 1 {
            canvas.draw(&Polygon::new(outline, curve.style.colour.mix(0.13)))?;
        }
        line(canvas, &path, &curve.style)?;
        labels.avoid_line(&path);
        for &at in &path {
            labels.avoid_marker(at);
        }
    }
    for curve in curves {
        for summary in &curve.points {
            let Some((speedup, estimate)) = summary.speedup.zip((panel.value)(summary)) else {
                continue;
            };
            let at = (x.pixel(speedup.value), y_pixel(estimate.value));
            marker(canvas, at, &curve.style)?;
        }
    }
    // The heaviest curve is labelled first: where room is scarce, it keeps its numbers.
    for curve in curves.iter().rev() {
        for summary in &curve.points {
            let (Some((_, knob)), Some(speedup), Some(estimate)) =
                (&summary.knob, summary.speedup, (panel.value)(summary))
            else {
                continue;
            };
            let at = (x.pixel(speedup.value), y_pixel(estimate.value));
            labels.put(canvas, &number(*knob), at, darker(curve.style.colour))?;
        }
    }
    Ok(())
}

fn axes(canvas: &Canvas, panel: &Panel, frame: &Frame, x: &Axis, y: &Axis) -> Result<()> {
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
    )?;
    draw::text_upwards(canvas, panel.title, (left - 72, (top + bottom) / 2), 19.0)
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

/// Places numbers beside markers where they cover nothing, and leaves out those that find no room.
struct Labels<'a> {
    taken: Vec<[i32; 4]>, // left, top, right, bottom
    frame: &'a Frame,
}

impl Labels<'_> {
    fn avoid_marker(&mut self, (x, y): (i32, i32)) {
        self.taken.push([x - 11, y - 11, x + 11, y + 11]);
    }

    fn avoid_line(&mut self, path: &[(i32, i32)]) {
        for ends in path.windows(2) {
            let ((x0, y0), (x1, y1)) = (ends[0], ends[1]);
            let steps = ((x1 - x0).abs().max((y1 - y0).abs()) / 5).max(1);
            for i in 0..=steps {
                let (x, y) = (x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps);
                self.taken.push([x - 2, y - 2, x + 2, y + 2]);
            }
        }
    }

    fn put(&mut self, canvas: &Canvas, text: &str, (x, y): (i32, i32), colour: RGBColor) -> Result<()> {
        let (w, h) = (draw::text_width(text, SMALL_PX), SMALL_PX as i32);
        let beside = w / 2 + 15;
        let centres = [
            (0, -22),
            (0, 23),
            (beside, 0),
            (-beside, 0),
            (beside, -16),
            (beside, 16),
            (-beside, -16),
            (-beside, 16),
            (0, -34),
            (0, 35),
            (beside + 8, -26),
            (-beside - 8, 26),
            (beside + 8, 26),
            (-beside - 8, -26),
        ];
        for (dx, dy) in centres {
            let (cx, cy) = (x + dx, y + dy);
            let own = [cx - w / 2 - 2, cy - h / 2 - 1, cx + w / 2 + 2, cy + h / 2 + 1];
            let inside = own[0] > self.frame.left
                && own[1] > self.frame.top - 12
                && own[2] < self.frame.right + 12
                && own[3] < self.frame.bottom - 2;
            let free = self
                .taken
                .iter()
                .all(|other| own[2] < other[0] || other[2] < own[0] || own[3] < other[1] || other[3] < own[1]);
            if inside && free {
                draw::text(canvas, text, (cx, cy), SMALL_PX, colour, HPos::Center)?;
                self.taken.push(own);
                return Ok(());
            }
        }
        Ok(())
    }
}
