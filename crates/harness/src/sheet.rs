//! A table in five forms: for a terminal and Markdown to read, CSV and JSON to compute with, LaTeX to print.

mod render;

use crate::stats::Estimate;

/// A table.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// What a row holds.
    pub columns: Vec<Column>,
    /// Cells in the order of the columns.
    pub rows: Vec<Vec<Cell>>,
}

/// What stands in a column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name in CSV, units last.
    pub name: String,
    /// Name for readers.
    pub title: String,
    /// What its cells hold.
    pub kind: Kind,
}

/// What the cells of a column hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Words.
    Text,
    /// A number, read as `scale` times its value with so many digits and a unit.
    Number {
        /// Factor between what is computed with and what is read.
        scale: f64,
        /// After the point.
        digits: usize,
        /// Follows the number at once.
        unit: &'static str,
    },
    /// The same with an interval, read as ± half its width; in CSV its ends have columns of their own.
    Estimate {
        /// After the point.
        digits: usize,
        /// Follows the number at once.
        unit: &'static str,
    },
    /// The same with the ends of the interval, where it matters what it leaves out.
    Range {
        /// After the point.
        digits: usize,
        /// Follows the number at once.
        unit: &'static str,
    },
    /// Words for CSV alone.
    Hidden,
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// What it says.
    pub value: Value,
    /// Whether it is to be seen first.
    pub is_bold: bool,
    /// Where it comes from.
    pub link: Option<Link>,
}

/// Where a number comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Short name, unique among the links of a page.
    pub name: String,
    /// File, relative to the table's folder.
    pub target: String,
}

/// What a cell says.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing is known.
    #[default]
    Missing,
    /// Words.
    Text(String),
    /// A number.
    Number(f64),
    /// A number with its interval.
    Estimate(Estimate),
}

impl Sheet {
    /// The same with one remark in every row, for CSV and JSON, where no heading says it. Nothing where there is none.
    pub fn remarked(mut self, name: &str, remark: &str) -> Sheet {
        if !remark.is_empty() {
            self.columns.push(Column::hidden(name));
            self.rows.iter_mut().for_each(|row| row.push(remark.into()));
        }
        self
    }
}

impl Column {
    /// A column of words.
    pub fn text(name: &str, title: &str) -> Column {
        Column::new(name, title, Kind::Text)
    }
    /// A column of numbers with so many digits.
    pub fn number(name: &str, title: &str, digits: usize) -> Column {
        let (scale, unit) = (1.0, "");
        Column::new(name, title, Kind::Number { scale, digits, unit })
    }
    /// A share, read in percent.
    pub fn share(name: &str, title: &str) -> Column {
        let (scale, digits, unit) = (100.0, 0, " %");
        Column::new(name, title, Kind::Number { scale, digits, unit })
    }
    /// Bytes, read in MiB.
    pub fn mib(name: &str, title: &str) -> Column {
        let (scale, digits, unit) = (1.0 / f64::from(1 << 20), 1, "");
        Column::new(name, title, Kind::Number { scale, digits, unit })
    }
    /// Numbers with intervals.
    pub fn estimate(name: &str, title: &str, digits: usize, unit: &'static str) -> Column {
        Column::new(name, title, Kind::Estimate { digits, unit })
    }
    /// Numbers with the ends of their intervals.
    pub fn range(name: &str, title: &str, digits: usize, unit: &'static str) -> Column {
        Column::new(name, title, Kind::Range { digits, unit })
    }
    /// A column for computing alone.
    pub fn hidden(name: &str) -> Column {
        Column::new(name, "", Kind::Hidden)
    }
    fn new(name: &str, title: &str, kind: Kind) -> Column {
        let (name, title) = (name.to_string(), title.to_string());
        Column { name, title, kind }
    }
}

impl Cell {
    /// The same cell, to be seen first.
    pub fn bold(mut self, is_bold: bool) -> Cell {
        self.is_bold = is_bold;
        self
    }
    /// The same cell with where it comes from; a cell that says nothing comes from nowhere.
    pub fn linked(mut self, link: &Link) -> Cell {
        self.link = (self.value != Value::Missing).then(|| link.clone());
        self
    }
    fn of(value: Value) -> Cell {
        Cell {
            value,
            ..Cell::default()
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::of(Value::Text(text))
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        text.to_string().into()
    }
}

impl From<Option<f64>> for Cell {
    fn from(value: Option<f64>) -> Cell {
        Cell::of(value.map_or(Value::Missing, Value::Number))
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Cell {
        Some(value).into()
    }
}

impl From<Option<Estimate>> for Cell {
    fn from(value: Option<Estimate>) -> Cell {
        Cell::of(value.map_or(Value::Missing, Value::Estimate))
    }
}

impl From<Estimate> for Cell {
    fn from(value: Estimate) -> Cell {
        Some(value).into()
    }
}

#[cfg(test)]
mod tests;
