//! What one run decided: steps along, blocks up, one panel a guidance branch.

use super::draw::{self, Canvas, Heading, INK, PALETTE, SMALL_PX, VERMILLION, WIDTH};
use crate::schema::{EventRow, RunRow};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use std::collections::{BTreeMap, BTreeSet};

const COMPUTE: RGBColor = RGBColor(225, 225, 225);
const OTHER: RGBColor = RGBColor(120, 120, 120);
const COLOURS: [RGBColor; 6] = [VERMILLION, PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[3], PALETTE[4]];
const HEIGHT: i32 = 900;
/// Panels never get lower than this: the picture grows instead.
const PANEL_LEAST: i32 = 150;
/// Title above and ticks below a panel.
const BETWEEN: i32 = 80;
const LEFT: i32 = 110;
const RIGHT: i32 = WIDTH - 40;

/// A rectangle of the map: a decision that covers blocks `from..to`.
pub(super) struct Cell<'a> {
    pub(super) step: u32,
    pub(super) branch: u32,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) kind: &'a str,
}

/// The picture of one run's events.
pub fn draw(run: &RunRow, events: &[EventRow]) -> Result<String> {
    let blocks = events.iter().map(|event| event.block_to).max().unwrap_or(0).max(1);
    let steps = events
        .iter()
        .map(|event| event.step + 1)
        .max()
        .unwrap_or(0)
        .max(run.steps);
    let branches: BTreeSet<u32> = events.iter().map(|event| event.branch).collect();
    let kinds = kinds(events);
    let colour = |kind: &str| match kinds.iter().position(|other| *other == kind) {
        Some(place) => COLOURS[place],
        None if kind == "compute" => COMPUTE,
        None => OTHER,
    };
    let cells = cells(events, blocks);
    let subtitle = [
        format!(
            "{}, {} {} steps, guidance {}",
            run.model,
            run.sampler,
            run.steps,
            run.guidance_in_words()
        ),
        format!("“{}”, seed {}{}", shortened(&run.prompt), run.seed, outcome(run)),
    ];
    let warnings: Vec<String> = match run.substituted.as_str() {
        "" => Vec::new(),
        substituted => vec![format!("STAND-IN: {substituted}")],
    };
    let mut entries = vec![("compute".to_string(), COMPUTE)];
    entries.extend(kinds.iter().map(|kind| (format!("reuse: {kind}"), colour(kind))));
    if cells.iter().any(|cell| colour(cell.kind) == OTHER) {
        entries.push(("reuse: other values".to_string(), OTHER));
    }
    let entries = legend_places(entries);
    let legend_height = 110 + entries.last().map_or(0, |entry| entry.at.1);
    let heading = Heading::new(&format!("Decisions of {}", run.label), &subtitle, &warnings)?;
    let count = branches.len().max(1) as i32;
    let room = (HEIGHT - heading.height - legend_height) / count - BETWEEN;
    let panel_height = room.max(PANEL_LEAST);
    let height = heading.height + count * (panel_height + BETWEEN) + legend_height;
    draw::svg(height, |canvas| {
        heading.draw(canvas)?;
        let mut top = heading.height + 15;
        for &branch in &branches {
            let grid = Grid {
                top: top + 30,
                bottom: top + 30 + panel_height,
                steps,
                blocks,
            };
            let name = branch_name(branch, branches.len());
            draw::text(canvas, name, (LEFT, top), 19.0, INK, HPos::Left)?;
            for cell in cells.iter().filter(|cell| cell.branch == branch) {
                canvas.draw(&Rectangle::new(grid.rectangle(cell), colour(cell.kind).filled()))?;
            }
            grid.separators(canvas)?;
            marks(canvas, &grid, events, branch)?;
            grid.axes(canvas)?;
            top = grid.bottom + 50;
        }
        draw::text(
            canvas,
            "step (0 = noisiest)",
            ((LEFT + RIGHT) / 2, top + 8),
            19.0,
            INK,
            HPos::Center,
        )?;
        legend(canvas, &entries, top + 45)
    })
}

/// Values that were reused, those of most decisions first, as many as there are colours.
fn kinds(events: &[EventRow]) -> Vec<&str> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event.action == "reuse") {
        *times.entry(kind(event)).or_default() += 1;
    }
    let mut kinds: Vec<(&str, usize)> = times.into_iter().collect();
    kinds.sort_by_key(|&(_, times)| std::cmp::Reverse(times));
    kinds.into_iter().take(COLOURS.len()).map(|(kind, _)| kind).collect()
}

/// A prompt that fits into the heading.
fn shortened(prompt: &str) -> String {
    const MOST: usize = 160;
    match prompt.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", prompt[..end].trim_end()),
        None => prompt.to_string(),
    }
}

fn kind(event: &EventRow) -> &str {
    // A term of this very step (`Source::Now`) comes from the other branch: what a CFG cache does.
    let rebuilt = event.move_json.contains("\"now\"");
    match (event.action.as_str(), event.value.as_deref()) {
        ("reuse", Some("output")) if rebuilt => "output rebuilt from the other branch",
        ("reuse", Some(value)) => value,
        ("reuse", None) => "a stored value",
        _ => "compute",
    }
}

fn outcome(run: &RunRow) -> String {
    let compute = run
        .compute_fraction
        .map(|share| format!(" · {:.0} % of the work done", share * 100.0));
    let through = match run.through.as_str() {
        "" => String::new(),
        through => format!(" ({through})"),
    };
    let psnr = run.psnr_db.map(|psnr| format!(" · PSNR{through} {psnr:.1} dB"));
    compute.unwrap_or_default() + &psnr.unwrap_or_default()
}

pub(super) fn branch_name(branch: u32, branches: usize) -> &'static str {
    match (branch, branches) {
        (0, 1) => "all blocks",
        (0, _) => "conditional branch",
        (1, _) => "unconditional branch",
        _ => "further branch",
    }
}

/// Reuse and compute as rectangles. A block that several moves share (attention reused, MLP computed) is split into
/// that many strips, first move lowest.
pub(super) fn cells(events: &[EventRow], blocks: u32) -> Vec<Cell<'_>> {
    let moves = || {
        events
            .iter()
            .filter(|event| matches!(event.action.as_str(), "compute" | "reuse"))
    };
    let range = |event: &EventRow| {
        // An output holds the prediction of the whole chain: nothing after it runs.
        let is_output = event.action == "reuse" && kind(event).to_lowercase().starts_with("output");
        (
            event.block_from,
            if is_output { blocks } else { event.block_to.min(blocks) },
        )
    };
    let mut shared: BTreeMap<(u32, u32, u32), Vec<u32>> = BTreeMap::new(); // step, branch, block -> moves
    for event in moves() {
        let (from, to) = range(event);
        for block in from..to {
            shared
                .entry((event.step, event.branch, block))
                .or_default()
                .push(event.index);
        }
    }
    let mut cells = Vec::new();
    for event in moves() {
        let (from, to) = range(event);
        let (step, branch, kind) = (event.step, event.branch, kind(event));
        for block in from..to {
            let sharers = &shared[&(step, branch, block)];
            let place = sharers.iter().position(|index| *index == event.index).unwrap_or(0);
            let strip = 1.0 / sharers.len() as f64;
            let from = f64::from(block) + place as f64 * strip;
            match cells.last_mut() {
                // One rectangle for neighbouring blocks keeps the file small and free of hairlines.
                Some(Cell { to, .. }) if block > range(event).0 && (*to - from).abs() < 1e-9 => *to = from + strip,
                _ => cells.push(Cell {
                    step,
                    branch,
                    from,
                    to: from + strip,
                    kind,
                }),
            }
        }
    }
    cells
}

/// Pixels of one panel.
struct Grid {
    top: i32,
    bottom: i32,
    steps: u32,
    blocks: u32,
}

impl Grid {
    fn x(&self, step: f64) -> i32 {
        LEFT + (step / f64::from(self.steps) * f64::from(RIGHT - LEFT)).round() as i32
    }

    fn y(&self, block: f64) -> i32 {
        self.bottom - (block / f64::from(self.blocks) * f64::from(self.bottom - self.top)).round() as i32
    }

    fn rectangle(&self, cell: &Cell) -> [(i32, i32); 2] {
        let step = f64::from(cell.step);
        [(self.x(step), self.y(cell.to)), (self.x(step + 1.0), self.y(cell.from))]
    }

    fn separators(&self, canvas: &Canvas) -> Result<()> {
        for step in 1..self.steps {
            let x = self.x(f64::from(step));
            let line = vec![(x, self.top), (x, self.bottom)];
            canvas.draw(&PathElement::new(line, WHITE.stroke_width(2)))?;
        }
        Ok(())
    }

    fn axes(&self, canvas: &Canvas) -> Result<()> {
        let frame = [(LEFT, self.top), (RIGHT, self.bottom)];
        canvas.draw(&Rectangle::new(frame, INK.stroke_width(1)))?;
        for step in (0..self.steps).step_by(stride(self.steps, 12)) {
            let at = (self.x(f64::from(step) + 0.5), self.bottom + 18);
            draw::text(canvas, &step.to_string(), at, SMALL_PX, INK, HPos::Center)?;
        }
        for block in (0..self.blocks).step_by(stride(self.blocks, 6)) {
            let at = (LEFT - 10, self.y(f64::from(block) + 0.5));
            draw::text(canvas, &block.to_string(), at, SMALL_PX, INK, HPos::Right)?;
        }
        draw::text_upwards(canvas, "block", (LEFT - 65, (self.top + self.bottom) / 2), 19.0)
    }
}

/// At most `most` labels along an axis.
fn stride(count: u32, most: u32) -> usize {
    [1, 2, 5, 10, 20, 50, 100]
        .into_iter()
        .find(|step| count / step <= most)
        .unwrap_or(200) as usize
}

/// A bar above steps in which nothing may be reused, a dot under steps with a look.
fn marks(canvas: &Canvas, grid: &Grid, events: &[EventRow], branch: u32) -> Result<()> {
    let steps = |wanted: fn(&EventRow) -> bool| -> BTreeSet<u32> {
        events
            .iter()
            .filter(|event| event.branch == branch && wanted(event))
            .map(|event| event.step)
            .collect()
    };
    for step in steps(|event| event.full) {
        let x = [f64::from(step), f64::from(step) + 1.0].map(|step| grid.x(step));
        let bar = [(x[0] + 2, grid.top - 9), (x[1] - 2, grid.top - 4)];
        canvas.draw(&Rectangle::new(bar, INK.filled()))?;
    }
    for step in steps(|event| event.action == "look") {
        let at = (grid.x(f64::from(step) + 0.5), grid.bottom - 7);
        canvas.draw(&Circle::new(at, 5, WHITE.filled()))?;
        canvas.draw(&Circle::new(at, 4, BLACK.filled()))?;
    }
    Ok(())
}

/// A colour with its meaning and its place, counted from the legend's corner.
struct Entry {
    name: String,
    colour: RGBColor,
    at: (i32, i32),
}

fn legend_places(entries: Vec<(String, RGBColor)>) -> Vec<Entry> {
    let (mut x, mut y) = (0, 0);
    let place = |(name, colour): (String, RGBColor)| {
        let width = 60 + draw::text_width(&name, SMALL_PX);
        if x + width > RIGHT - LEFT && x > 0 {
            (x, y) = (0, y + 32);
        }
        let at = (x, y);
        x += width;
        Entry { name, colour, at }
    };
    entries.into_iter().map(place).collect()
}

fn legend(canvas: &Canvas, entries: &[Entry], top: i32) -> Result<()> {
    let swatch = |x: i32, y: i32, half: i32, colour: RGBColor| {
        Rectangle::new([(x, y - half), (x + 24, y + half)], colour.filled())
    };
    for Entry { name, colour, at } in entries {
        let (x, y) = (LEFT + at.0, top + at.1);
        canvas.draw(&swatch(x, y, 10, *colour))?;
        draw::text(canvas, name, (x + 32, y), SMALL_PX, INK, HPos::Left)?;
    }
    let y = top + entries.last().map_or(0, |entry| entry.at.1) + 32;
    let full = "reuse forbidden in this step";
    canvas.draw(&swatch(LEFT, y, 2, INK))?;
    draw::text(canvas, full, (LEFT + 32, y), SMALL_PX, INK, HPos::Left)?;
    let x = LEFT + 72 + draw::text_width(full, SMALL_PX);
    canvas.draw(&Circle::new((x, y), 4, BLACK.filled()))?;
    draw::text(
        canvas,
        "a look: the policy measured",
        (x + 12, y),
        SMALL_PX,
        INK,
        HPos::Left,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(index: u32, action: &str, value: Option<&str>, blocks: (u32, u32)) -> EventRow {
        EventRow {
            index,
            action: action.into(),
            value: value.map(Into::into),
            block_from: blocks.0,
            block_to: blocks.1,
            ..EventRow::default()
        }
    }

    fn extents<'a>(cells: &'a [Cell]) -> Vec<(f64, f64, &'a str)> {
        cells.iter().map(|cell| (cell.from, cell.to, cell.kind)).collect()
    }

    #[test]
    fn reuse_of_the_output_covers_every_block() {
        let events = [event(0, "reuse", Some("output"), (0, 0))];
        assert_eq!(extents(&cells(&events, 8)), [(0.0, 8.0, "output")]);
    }

    #[test]
    fn what_a_cfg_cache_rebuilds_is_told_from_what_a_step_cache_reuses() {
        use mixcache_policies::plan::{COND, Move, Source, Term, Value, Weight};
        let of = Source::Now { branch: COND };
        let terms = vec![Term {
            weight: Weight::Flat(1.0),
            of,
        }];
        let act = Move::reuse(Value::Output, terms);
        let mut cfg = event(0, "reuse", Some("output"), (0, 0));
        cfg.move_json = serde_json::to_string(&act).unwrap();
        assert_eq!(kind(&cfg), "output rebuilt from the other branch");
    }

    #[test]
    fn spans_lie_above_one_another_and_looks_cover_nothing() {
        let events = [
            event(0, "look", None, (0, 8)),
            event(1, "compute", None, (0, 3)),
            event(2, "reuse", Some("delta"), (3, 8)),
        ];
        assert_eq!(
            extents(&cells(&events, 8)),
            [(0.0, 3.0, "compute"), (3.0, 8.0, "delta")]
        );
    }

    #[test]
    fn a_block_with_reused_attention_and_computed_mlp_is_split() {
        let events = [
            event(0, "reuse", Some("attention"), (0, 1)),
            event(1, "compute", None, (0, 2)),
        ];
        let cells = cells(&events, 2);
        assert_eq!(extents(&cells), [(0.0, 0.5, "attention"), (0.5, 2.0, "compute")]);
    }
}
