//! A table in three forms: Markdown to read, CSV to compute with, LaTeX to print.

use crate::stats::Estimate;
use anyhow::Result;
use std::collections::BTreeMap;

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
    fn csv_names(&self) -> Vec<String> {
        match self.kind {
            Kind::Estimate { .. } | Kind::Range { .. } => {
                ["", "_low", "_high"].map(|end| format!("{}{end}", self.name)).to_vec()
            }
            _ => vec![self.name.clone()],
        }
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
    fn text(&self, kind: Kind) -> String {
        let plain = |value: f64, digits: usize, unit: &str| format!("{value:.digits$}{unit}");
        match (&self.value, kind) {
            (Value::Missing, _) => "–".into(),
            (Value::Text(text), _) => text.clone(),
            (Value::Number(value), Kind::Number { scale, digits, unit }) => plain(value * scale, digits, unit),
            // Quoted: with the digits it was published with.
            (Value::Number(value), Kind::Estimate { unit, .. } | Kind::Range { unit, .. }) => format!("{value}{unit}"),
            (Value::Number(value), _) => value.to_string(),
            (Value::Estimate(Estimate { value, interval }), Kind::Range { digits, unit }) => {
                let ends = interval.map(|(low, high)| format!(" [{low:.digits$}, {high:.digits$}]"));
                plain(*value, digits, unit) + &ends.unwrap_or_default()
            }
            (Value::Estimate(Estimate { value, interval }), kind) => {
                let (digits, unit) = match kind {
                    Kind::Estimate { digits, unit } => (digits, unit),
                    _ => (2, ""),
                };
                let spread = interval.map(|(low, high)| format!(" ± {:.digits$}", (high - low) / 2.0));
                plain(*value, digits, unit) + &spread.unwrap_or_default()
            }
        }
    }
    fn csv_values(&self, kind: Kind) -> Vec<String> {
        let mut values = match &self.value {
            Value::Missing => vec![],
            Value::Text(text) => vec![text.clone()],
            Value::Number(value) => vec![value.to_string()],
            Value::Estimate(Estimate { value, interval }) => {
                let ends = interval.map(|(low, high)| [low, high]).into_iter().flatten();
                std::iter::once(*value).chain(ends).map(|x| x.to_string()).collect()
            }
        };
        let has_ends = matches!(kind, Kind::Estimate { .. } | Kind::Range { .. });
        let width = if has_ends { 3 } else { 1 };
        values.resize(width, String::new());
        values
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

impl Sheet {
    /// A Markdown table, with its links below. Columns in which no row says anything are left out.
    pub fn markdown(&self) -> String {
        let shown = self.shown();
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let titles = shown.iter().map(|&i| self.columns[i].title.clone()).collect();
        let rule = shown.iter().map(|&i| if self.is_text(i) { "---" } else { "---:" });
        let mut text = line(titles) + &format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
        for row in &self.rows {
            let cell = |&i: &usize| {
                let text = row[i].text(self.columns[i].kind).replace('|', "\\|");
                let text = if row[i].is_bold { format!("**{text}**") } else { text };
                match &row[i].link {
                    Some(link) => format!("[{text}][{}]", link.name),
                    None => text,
                }
            };
            text += &line(shown.iter().map(cell).collect());
        }
        let links = self.rows.iter().flatten().filter_map(|cell| cell.link.as_ref());
        let links: BTreeMap<&str, &str> = links.map(|link| (link.name.as_str(), link.target.as_str())).collect();
        if !links.is_empty() {
            text += "\n";
        }
        for (name, target) in links {
            text += &format!("[{name}]: {target}\n");
        }
        text
    }

    /// All columns as CSV, null as an empty field. Where cells are linked, the last column names the file.
    ///
    /// # Errors
    /// None but of memory.
    pub fn csv(&self) -> Result<String> {
        let is_linked = self.rows.iter().flatten().any(|cell| cell.link.is_some());
        let mut csv = csv::Writer::from_writer(Vec::new());
        let names = self.columns.iter().flat_map(Column::csv_names);
        csv.write_record(names.chain(is_linked.then(|| "source_file".into())))?;
        for row in &self.rows {
            let cells = row.iter().zip(&self.columns);
            let values = cells.flat_map(|(cell, column)| cell.csv_values(column.kind));
            let link = row.iter().find_map(|cell| cell.link.as_ref());
            let target = link.map_or(String::new(), |link| link.target.clone());
            csv.write_record(values.chain(is_linked.then_some(target)))?;
        }
        Ok(String::from_utf8(csv.into_inner()?)?)
    }

    /// A LaTeX `tabular` with the rules of the package booktabs and links of hyperref.
    pub fn latex(&self) -> String {
        let shown = self.shown();
        let sides: String = shown.iter().map(|&i| if self.is_text(i) { 'l' } else { 'r' }).collect();
        let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
        let titles = shown.iter().map(|&i| escaped(&self.columns[i].title)).collect();
        let mut text = format!("\\begin{{tabular}}{{{sides}}}\n\\toprule\n{}\\midrule\n", line(titles));
        for row in &self.rows {
            let cell = |&i: &usize| {
                let text = escaped(&row[i].text(self.columns[i].kind));
                let text = if row[i].is_bold {
                    format!("\\textbf{{{text}}}")
                } else {
                    text
                };
                match &row[i].link {
                    Some(link) => {
                        let target = link.target.replace('%', "\\%").replace('#', "\\#");
                        format!("\\href{{{target}}}{{{text}}}")
                    }
                    None => text,
                }
            };
            text += &line(shown.iter().map(cell).collect());
        }
        text + "\\bottomrule\n\\end{tabular}\n"
    }

    /// Places of the columns that are read and in which some row says something.
    fn shown(&self) -> Vec<usize> {
        let says = |i: &usize| self.rows.iter().any(|row| row[*i].value != Value::Missing);
        let is_read = |i: &usize| self.columns[*i].kind != Kind::Hidden;
        (0..self.columns.len()).filter(is_read).filter(says).collect()
    }

    fn is_text(&self, column: usize) -> bool {
        self.columns[column].kind == Kind::Text
    }
}

/// Text that LaTeX prints as it stands.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', letter]),
            '×' => out += "$\\times$",
            '±' => out += "$\\pm$",
            '−' => out += "$-$",
            '–' => out += "--",
            'Δ' => out += "$\\Delta$",
            '²' => out += "$^2$",
            '·' => out += "$\\cdot$",
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let speedup = Estimate {
            value: 1.5,
            interval: Some((1.25, 1.75)),
        };
        let gained = Estimate {
            value: 3.0,
            interval: Some((-0.25, 4.0)),
        };
        Sheet {
            columns: vec![
                Column::text("policy", "policy"),
                Column::estimate("speedup", "speed-up", 2, "×"),
                Column::range("gained_db", "gained", 1, ""),
                Column::share("compute_fraction", "compute"),
                Column::number("lpips", "LPIPS", 3),
                Column::hidden("series"),
            ],
            rows: vec![
                vec![
                    "a_b | 50 %".into(),
                    Cell::from(speedup).bold(true).linked(&Link {
                        name: "mini".into(),
                        target: "../mini/report.md".into(),
                    }),
                    gained.into(),
                    0.625.into(),
                    None::<f64>.into(),
                    "a".into(),
                ],
                vec![
                    "off".into(),
                    None::<f64>.into(),
                    None::<f64>.into(),
                    1.0.into(),
                    None::<f64>.into(),
                    "off".into(),
                ],
            ],
        }
    }

    #[test]
    fn markdown_leaves_out_empty_columns_and_links_numbers() {
        let expected = "| policy | speed-up | gained | compute |\n|---|---:|---:|---:|\n\
                        | a_b \\| 50 % | [**1.50× ± 0.25**][mini] | 3.0 [-0.2, 4.0] | 62 % |\n\
                        | off | – | – | 100 % |\n\n[mini]: ../mini/report.md\n";
        assert_eq!(sheet().markdown(), expected);
    }

    #[test]
    fn csv_keeps_every_column_the_ends_of_intervals_and_the_source() {
        let expected = "policy,speedup,speedup_low,speedup_high,gained_db,gained_db_low,gained_db_high,compute_fraction,\
                        lpips,series,source_file\na_b | 50 %,1.5,1.25,1.75,3,-0.25,4,0.625,,a,../mini/report.md\n\
                        off,,,,,,,1,,off,\n";
        assert_eq!(sheet().csv().unwrap(), expected);
    }

    #[test]
    fn latex_prints_awkward_letters_as_they_stand() {
        let expected = "\\begin{tabular}{lrrr}\n\\toprule\npolicy & speed-up & gained & compute \\\\\n\\midrule\n\
                        a\\_b | 50 \\% & \\href{../mini/report.md}{\\textbf{1.50$\\times$ $\\pm$ 0.25}} & \
                        3.0 [-0.2, 4.0] & 62 \\% \\\\\noff & -- & -- & 100 \\% \\\\\n\\bottomrule\n\\end{tabular}\n";
        assert_eq!(sheet().latex(), expected);
    }
}
