//! A table as text.

use super::{Cell, Column, Kind, Sheet, Value};
use crate::stats::Estimate;
use crate::terminal::{self, Side};
use anyhow::Result;
use serde_json::{Map, json};
use std::collections::BTreeMap;

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

    /// The table for a terminal, without its links. Columns in which no row says anything are left out.
    pub fn terminal(&self) -> String {
        let shown = self.shown();
        let side = |i: usize| if self.is_text(i) { Side::Left } else { Side::Right };
        let heads: Vec<_> = shown
            .iter()
            .map(|&i| (self.columns[i].title.as_str(), side(i)))
            .collect();
        let cells = |row: &Vec<Cell>| shown.iter().map(|&i| row[i].text(self.columns[i].kind)).collect();
        terminal::table(&heads, self.rows.iter().map(cells))
    }

    /// All columns as an array of objects, under their names in CSV, the ends of intervals apart.
    pub fn json(&self) -> serde_json::Value {
        let object = |row: &Vec<Cell>| -> serde_json::Value {
            let cells = row.iter().zip(&self.columns);
            let fields = cells.flat_map(|(cell, column)| column.csv_names().into_iter().zip(cell.json_values()));
            fields.collect::<Map<_, _>>().into()
        };
        self.rows.iter().map(object).collect()
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

impl Column {
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
    /// Value and the ends of its interval, as many as there may be.
    fn json_values(&self) -> [serde_json::Value; 3] {
        match &self.value {
            Value::Missing => [json!(null), json!(null), json!(null)],
            Value::Text(text) => [json!(text), json!(null), json!(null)],
            Value::Number(value) => [json!(value), json!(null), json!(null)],
            Value::Estimate(Estimate { value, interval }) => {
                let (low, high) = interval.unzip();
                [json!(value), json!(low), json!(high)]
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
