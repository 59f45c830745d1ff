//! Decisions as rows, and rows as decisions.

use crate::schema::EventRow;
use anyhow::{Context, Result};
use mixcache_policies::plan::{At, Event, Move, Run, Value};

/// A row for each decision of a run.
pub fn event_rows(run_key: &str, run: &Run, trace: &[Event]) -> Vec<EventRow> {
    let block = |unit: usize| run.units.get(unit).map_or(run.blocks(), |u| u.block) as u32;
    trace
        .iter()
        .enumerate()
        .map(|(index, Event { at, act, seen })| {
            let (action, to, value) = match act {
                Move::Compute { to, .. } => ("compute", *to, None),
                Move::Reuse { value, .. } => ("reuse", value.to(run), Some(named(value))),
                Move::Look { .. } => ("look", at.unit, None),
                Move::Note { .. } => ("note", at.unit, None),
            };
            EventRow {
                run_key: run_key.into(),
                index: index as u32,
                step: at.step as u32,
                branch: at.branch as u32,
                full: at.full,
                unit_from: at.unit as u32,
                unit_to: to as u32,
                block_from: block(at.unit),
                // One past the last block touched.
                block_to: if to > at.unit {
                    block(to - 1).min(run.blocks() as u32 - 1) + 1
                } else {
                    block(at.unit)
                },
                action: action.into(),
                value,
                move_json: serde_json::to_string(act).expect("plain data"),
                seen: seen.clone(),
            }
        })
        .collect()
}

/// What is reused, in the words of the plots.
fn named(value: &Value) -> String {
    match value {
        Value::Delta { .. } => "delta",
        Value::Raw { .. } => "raw",
        Value::Output => "output",
        Value::Change => "change",
        Value::State { .. } => "state",
        Value::Latent => "latent",
        Value::Made => "prediction as made",
    }
    .into()
}

/// The decisions of recorded rows, in order.
pub fn read_trace<'a>(rows: impl IntoIterator<Item = &'a EventRow>) -> Result<Vec<Event>> {
    rows.into_iter()
        .map(|row| {
            let act = serde_json::from_str(&row.move_json)
                .with_context(|| format!("event {} of run {}: cannot read its move", row.index, row.run_key))?;
            let (step, branch, unit) = (row.step as usize, row.branch as usize, row.unit_from as usize);
            Ok(Event {
                at: At {
                    step,
                    branch,
                    unit,
                    full: row.full,
                },
                act,
                seen: row.seen.clone(),
            })
        })
        .collect()
}
