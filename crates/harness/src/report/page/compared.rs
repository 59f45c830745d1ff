//! The tables that compare policies, as data: the page shows one at a time and sorts it.

use super::rounded;
use crate::report::comparisons::Table;
use crate::sheet::{Cell, Column, Kind, Value};
use serde::Serialize;

/// One table.
#[derive(Serialize)]
pub struct Compared<'a> {
    title: &'a str,
    words: &'a str,
    /// Whether it is shown for one value of its first column at a time.
    by_first: bool,
    columns: Vec<Head<'a>>,
    rows: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Head<'a> {
    name: &'a str,
    title: &'a str,
    word: bool,
    scale: f64,
    digits: usize,
    unit: &'static str,
    /// Whether an interval is shown by its ends, not by half its width.
    ends: bool,
    largest_first: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    cells: Vec<Shown<'a>>,
    /// Places of those to be seen first.
    bold: Vec<usize>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Missing(()),
    Word(&'a str),
    Number(Option<f64>),
    Interval(Option<f64>, Option<f64>, Option<f64>),
}

/// Columns that say what another column is about: a reader looks for the numbers first.
const LAST: [&str; 3] = ["best_of_one_granularity", "control", "upper"];
/// Columns of which less is better.
const LEAST_FIRST: [&str; 2] = ["compute_fraction", "rank"];

impl<'a> Compared<'a> {
    /// The table without its hidden columns.
    pub fn of(table: &'a Table) -> Compared<'a> {
        let sheet = &table.sheet;
        let mut places: Vec<usize> = (0..sheet.columns.len())
            .filter(|&i| sheet.columns[i].kind != Kind::Hidden)
            .collect();
        places.sort_by_key(|&i| LAST.contains(&sheet.columns[i].name.as_str()));
        let row = |row: &'a Vec<Cell>| Row {
            cells: places.iter().map(|&i| Shown::of(&row[i])).collect(),
            bold: (0..places.len()).filter(|&i| row[places[i]].is_bold).collect(),
        };
        Compared {
            title: &table.title,
            words: &table.words,
            by_first: table.is_by_first,
            columns: places.iter().map(|&i| Head::of(&sheet.columns[i])).collect(),
            rows: sheet.rows.iter().map(row).collect(),
        }
    }
}

impl<'a> Head<'a> {
    fn of(column: &'a Column) -> Head<'a> {
        let (scale, digits, unit) = match column.kind {
            Kind::Number { scale, digits, unit } => (scale, digits, unit),
            Kind::Estimate { digits, unit } | Kind::Range { digits, unit } => (1.0, digits, unit),
            Kind::Text | Kind::Hidden => (1.0, 0, ""),
        };
        Head {
            name: &column.name,
            title: &column.title,
            word: column.kind == Kind::Text,
            scale,
            digits,
            unit,
            ends: matches!(column.kind, Kind::Range { .. }),
            largest_first: !LEAST_FIRST.contains(&column.name.as_str()),
        }
    }
}

impl<'a> Shown<'a> {
    fn of(cell: &'a Cell) -> Shown<'a> {
        match &cell.value {
            Value::Missing => Shown::Missing(()),
            Value::Text(text) => Shown::Word(text),
            Value::Number(value) => Shown::Number(rounded(*value)),
            Value::Estimate(estimate) => {
                let (low, high) = estimate.interval.unzip();
                let [low, high] = [low, high].map(|end| end.and_then(rounded));
                Shown::Interval(rounded(estimate.value), low, high)
            }
        }
    }
}
