//! Many curves: a panel each, with all the others pale behind it.

use super::labels::Labels;
use super::{Curve, Look, Panel, Scale, line_and_band, marker, note, put_knobs};
use crate::report::axis::Axis;
use crate::report::chart::Frame;
use crate::report::draw::{self, Canvas, Heading, INK, PALETTE, SMALL_PX, VERMILLION, WIDTH};
use crate::report::summary::Group;
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

const COLUMNS: i32 = 6;
/// Left of the first column: ticks and the name of the measure.
const LEFT: i32 = 105;
const GAP: i32 = 22;
const PANEL_HEIGHT: i32 = 165;
const TITLE_ROW: i32 = 21;
/// Between a panel and the middle of its title's last row: room for the number above a marker.
const TITLE_ABOVE: i32 = 28;
/// Under each panel; the lowest of a column have their ticks there.
const BELOW: i32 = 34;
/// Under all of them: the name of the horizontal axis, and the note.
const FOOT: i32 = 95;

const PALE: RGBColor = RGBColor(208, 208, 208);

/// The picture of one measure.
pub(super) fn draw(heading: &Heading, panel: &Panel, curves: &[Curve], group: &Group) -> Result<String> {
    let width = (WIDTH - LEFT - 20) / COLUMNS - GAP;
    // The heaviest first, as in a legend.
    let shown: Vec<&Curve> = curves.iter().rev().collect();
    let titles: Vec<Vec<String>> = shown.iter().map(|c| draw::wrap(&c.name, SMALL_PX, width)).collect();
    let title_height = titles.iter().map(Vec::len).max().unwrap_or(0) as i32 * TITLE_ROW + TITLE_ABOVE - TITLE_ROW / 2;
    let cell_height = title_height + PANEL_HEIGHT + BELOW;
    let rows = (shown.len() as i32 + COLUMNS - 1) / COLUMNS;
    let bottom = heading.height + rows * cell_height;
    draw::svg(bottom + FOOT, |canvas| {
        heading.draw(canvas)?;
        for (i, (curve, title)) in shown.iter().zip(&titles).enumerate() {
            let (column, row) = (i as i32 % COLUMNS, i as i32 / COLUMNS);
            let (left, top) = (
                LEFT + column * (width + GAP),
                heading.height + row * cell_height + title_height,
            );
            let frame = Frame {
                left,
                right: left + width,
                top,
                bottom: top + PANEL_HEIGHT,
            };
            for (j, text) in title.iter().rev().enumerate() {
                let at = (left, top - TITLE_ABOVE - j as i32 * TITLE_ROW);
                draw::text(canvas, text, at, SMALL_PX, INK, HPos::Left)?;
            }
            let is_lowest = i + COLUMNS as usize >= shown.len();
            draw_facet(canvas, panel, &frame, curves, curve, [column == 0, is_lowest])?;
        }
        let middle = (heading.height + title_height + bottom - BELOW) / 2;
        draw::text_upwards(canvas, &panel.title(group), (28, middle), 19.0)?;
        let at = ((LEFT + WIDTH) / 2, bottom + 18);
        draw::text(canvas, "speed-up", at, 19.0, INK, HPos::Center)?;
        let note = format!("{} Pale: all the others.", note(curves, group));
        let grey = RGBColor(90, 90, 90);
        draw::text(canvas, &note, (40, bottom + 62), SMALL_PX, grey, HPos::Left)
    })
}

/// One curve before the others; `ticks` says whether the vertical and the horizontal axis are numbered.
fn draw_facet(
    canvas: &Canvas,
    panel: &Panel,
    frame: &Frame,
    curves: &[Curve],
    own: &Curve,
    ticks: [bool; 2],
) -> Result<()> {
    let scale = Scale::new(panel, frame, curves, |speeds| {
        Axis::log(speeds.into_iter(), frame.left, frame.right) // most speed-ups are small: a linear axis crowds them
    });
    let grid = RGBColor(236, 236, 236).stroke_width(1);
    for (value, label) in scale.y.ticks() {
        let at = scale.y.pixel(value);
        canvas.draw(&PathElement::new(vec![(frame.left, at), (frame.right, at)], grid))?;
        if ticks[0] {
            draw::text(canvas, &label, (frame.left - 10, at), SMALL_PX, INK, HPos::Right)?;
        }
    }
    for (value, label) in scale.x.ticks() {
        let at = scale.x.pixel(value);
        canvas.draw(&PathElement::new(vec![(at, frame.top), (at, frame.bottom)], grid))?;
        let label = format!("{label}×");
        let is_inside = at + draw::text_width(&label, SMALL_PX) / 2 <= frame.right + GAP / 2;
        if ticks[1] && is_inside {
            draw::text(canvas, &label, (at, frame.bottom + 18), SMALL_PX, INK, HPos::Center)?;
        }
    }
    for other in curves.iter().filter(|other| other.name != own.name) {
        let path = scale.path(other);
        let stroke = PALE.stroke_width(2);
        match path[..] {
            [at] => canvas.draw(&Circle::new(at, 3, PALE.filled()))?,
            _ => canvas.draw(&PathElement::new(path, stroke))?,
        }
    }
    let edge = vec![
        (frame.left, frame.top),
        (frame.left, frame.bottom),
        (frame.right, frame.bottom),
    ];
    canvas.draw(&PathElement::new(edge, INK.stroke_width(1)))?;
    let look = look(own);
    let path = line_and_band(canvas, &scale, own, &look)?;
    let mut labels = Labels::new(frame);
    labels.avoid_line(&path);
    for at in path {
        labels.avoid_marker(at);
        marker(canvas, at, &look)?;
    }
    put_knobs(canvas, &mut labels, &scale, own, look.colour)
}

/// Alone in its panel a curve needs no colour of its own: only what kind of policy it is.
fn look(curve: &Curve) -> Look {
    let is = |kind: fn(&crate::report::Summary) -> bool| curve.points.iter().any(|s| kind(s));
    let (is_upper, is_control) = (is(|s| s.is_upper), is(|s| s.is_control()));
    Look {
        colour: match (is_upper || is_control, is(|s| s.is_mix())) {
            (true, _) => curve.style.colour,
            (_, true) => VERMILLION,
            _ => PALETTE[0],
        },
        marker: 0,
        dashed: is_upper || is_control,
        width: 3,
    }
}
