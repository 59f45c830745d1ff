//! Rows to files and back.
//!
//! Every row passes through a JSON map on its way, so that the column tables drive writing and reading and no
//! field is named twice. Results are thousands of rows, not millions: clarity is worth the detour.

use super::{Column, ColumnType, EVENT_COLUMNS, EventRow, RUN_COLUMNS, RunRow};
use anyhow::{Context, Result, bail, ensure};
use polars::prelude as pl;
use polars::prelude::{IntoSeries, ListBuilderTrait, NamedFrom, SerReader};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

type Row = Map<String, Value>;
type Named = (String, ColumnType);

const KNOB_PREFIX: &str = "knob_";

/// Writes `runs.parquet`. The file appears whole or not at all.
pub fn write_runs(path: &Path, runs: &[RunRow]) -> Result<()> {
    let (columns, rows) = flatten(runs)?;
    write_parquet(path, &columns, &rows)
}

/// Reads what [`write_runs`] wrote.
///
/// # Errors
/// Names the file and the column that is missing, unknown or of another type.
pub fn read_runs(path: &Path) -> Result<Vec<RunRow>> {
    read_parquet(path, RUN_COLUMNS, Some(KNOB_PREFIX), |mut row| {
        let is_knob = |name: &String| !RUN_COLUMNS.iter().any(|column| column.name == name);
        let names: Vec<String> = row.keys().filter(|name| is_knob(name)).cloned().collect();
        let mut knobs = Map::new();
        for name in names {
            let Some(value) = row.remove(&name).filter(|value| !value.is_null()) else {
                continue;
            };
            knobs.insert(name[KNOB_PREFIX.len()..].to_string(), value);
        }
        row.insert("knobs".into(), Value::Object(knobs));
        row
    })
}

/// Writes `events.parquet`. The file appears whole or not at all.
pub fn write_events(path: &Path, events: &[EventRow]) -> Result<()> {
    let columns: Vec<_> = EVENT_COLUMNS.iter().map(|c| (c.name.to_string(), c.kind)).collect();
    let rows = events.iter().map(to_row).collect::<Result<Vec<_>>>()?;
    write_parquet(path, &columns, &rows)
}

/// Reads what [`write_events`] wrote.
pub fn read_events(path: &Path) -> Result<Vec<EventRow>> {
    read_parquet(path, EVENT_COLUMNS, None, |row| row)
}

/// Writes the runs as CSV with the columns of the Parquet file but lists; null is an empty field.
pub fn write_runs_csv(path: &Path, runs: &[RunRow]) -> Result<()> {
    let (mut columns, rows) = flatten(runs)?;
    columns.retain(|(_, kind)| *kind != ColumnType::F32List); // a cell holds one value
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(columns.iter().map(|(name, _)| name))?;
    for row in &rows {
        csv.write_record(columns.iter().map(|(name, _)| match row.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        }))?;
    }
    replace_file(path, &csv.into_inner()?)
}

/// Writes a file by way of a temporary one in the same directory: readers see the old file or the new one.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_with(path, |file| Ok(file.write_all(bytes)?))
}

fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let temporary = path.with_added_extension(format!("{}.tmp", std::process::id()));
    let make = || -> Result<()> {
        let mut file = File::create(&temporary)?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(path.parent().unwrap_or(Path::new(".")));
        Ok(())
    };
    let made = make();
    if made.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    made.with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a rename or a new file survive a power cut. Not every system can sync a directory; none loses data by
/// trying.
pub(crate) fn sync_directory(directory: &Path) {
    let _ = File::open(directory).and_then(|handle| handle.sync_all());
}

fn to_row(row: &impl Serialize) -> Result<Row> {
    match serde_json::to_value(row)? {
        Value::Object(map) => Ok(map),
        other => bail!("a row is written as a map, not as {other}"),
    }
}

/// Knobs become columns of their own beside the fixed ones.
fn flatten(runs: &[RunRow]) -> Result<(Vec<Named>, Vec<Row>)> {
    let mut columns: Vec<_> = RUN_COLUMNS.iter().map(|c| (c.name.to_string(), c.kind)).collect();
    let mut rows = Vec::with_capacity(runs.len());
    let mut knobs = BTreeSet::new();
    for run in runs {
        let mut row = to_row(run)?;
        if let Some(Value::Object(own)) = row.remove("knobs") {
            for (name, value) in own {
                let column = format!("{KNOB_PREFIX}{name}");
                ensure!(
                    !RUN_COLUMNS.iter().any(|fixed| fixed.name == column),
                    "run {}: a knob cannot be called `{name}`: its column `{column}` exists; rename the knob",
                    run.run_key
                );
                row.insert(column.clone(), value);
                knobs.insert(column);
            }
        }
        rows.push(row);
    }
    for column in knobs {
        let kind = knob_type(rows.iter().filter_map(|row| row.get(&column)));
        columns.push((column, kind));
    }
    Ok((columns, rows))
}

/// The narrowest type that holds every value: text where types do not mix.
fn knob_type<'a>(values: impl Iterator<Item = &'a Value>) -> ColumnType {
    let kinds = values.filter_map(|value| match value {
        Value::Bool(_) => Some(ColumnType::Bool),
        Value::Number(number) if number.is_f64() => Some(ColumnType::F64),
        Value::Number(_) => Some(ColumnType::I64),
        Value::Null => None,
        _ => Some(ColumnType::Text),
    });
    kinds
        .reduce(|a, b| match (a, b) {
            _ if a == b => a,
            (ColumnType::I64, ColumnType::F64) | (ColumnType::F64, ColumnType::I64) => ColumnType::F64,
            _ => ColumnType::Text,
        })
        .unwrap_or(ColumnType::F64)
}

fn write_parquet(path: &Path, columns: &[Named], rows: &[Row]) -> Result<()> {
    let columns = columns
        .iter()
        .map(|(name, kind)| to_column(name, *kind, rows))
        .collect();
    let mut frame = pl::DataFrame::new(rows.len(), columns)?;
    replace_with(path, |file| {
        pl::ParquetWriter::new(file).finish(&mut frame)?;
        Ok(())
    })
}

fn to_column(name: &str, kind: ColumnType, rows: &[Row]) -> pl::Column {
    fn get<'a, T>(rows: &'a [Row], name: &str, read: impl Fn(&'a Value) -> Option<T>) -> Vec<Option<T>> {
        rows.iter().map(|row| row.get(name).and_then(&read)).collect()
    }
    let series = match kind {
        ColumnType::Text => {
            let texts = get(rows, name, |value| match value {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            });
            pl::Series::new(name.into(), texts)
        }
        ColumnType::Bool => pl::Series::new(name.into(), get(rows, name, Value::as_bool)),
        ColumnType::U32 => {
            let numbers = get(rows, name, |value| value.as_u64()?.try_into().ok());
            pl::Series::new(name.into(), numbers as Vec<Option<u32>>)
        }
        ColumnType::U64 => pl::Series::new(name.into(), get(rows, name, Value::as_u64)),
        ColumnType::I64 => pl::Series::new(name.into(), get(rows, name, Value::as_i64)),
        ColumnType::F64 => pl::Series::new(name.into(), get(rows, name, Value::as_f64)),
        ColumnType::F32List => {
            let mut lists = pl::ListPrimitiveChunkedBuilder::<pl::Float32Type>::new(
                name.into(),
                rows.len(),
                rows.len(),
                pl::DataType::Float32,
            );
            for list in get(rows, name, Value::as_array) {
                let numbers = list.into_iter().flatten();
                let floats: Vec<f32> = numbers.map(|x| x.as_f64().map_or(f32::NAN, |x| x as f32)).collect();
                lists.append_slice(&floats);
            }
            return pl::Column::from(lists.finish().into_series());
        }
    };
    pl::Column::from(series)
}

/// Reads a table of the columns `expected`, and of any whose names begin with `more`.
fn read_parquet<T: DeserializeOwned>(
    path: &Path,
    expected: &[Column],
    more: Option<&str>,
    shape: impl Fn(Row) -> Row,
) -> Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let frame = pl::ParquetReader::new(file)
        .finish()
        .with_context(|| format!("{} is not a readable Parquet file", path.display()))?;
    let names: Vec<&str> = frame.columns().iter().map(|column| column.name().as_str()).collect();
    for column in expected {
        ensure!(
            column.nullable || names.contains(&column.name),
            "{}: column `{}` is missing; the file was written by another version of this program",
            path.display(),
            column.name
        );
    }
    for name in &names {
        let known = expected.iter().any(|column| column.name == *name);
        ensure!(
            known || more.is_some_and(|prefix| name.starts_with(prefix)),
            "{}: unknown column `{name}`; results/SCHEMA.md lists the columns this program knows",
            path.display()
        );
    }
    (0..frame.height())
        .map(|i| {
            let mut row = Row::new();
            for column in frame.columns() {
                row.insert(column.name().to_string(), to_value(column.get(i)?)?);
            }
            serde_json::from_value(Value::Object(shape(row))).with_context(|| format!("{}, row {i}", path.display()))
        })
        .collect()
}

fn to_value(value: pl::AnyValue) -> Result<Value> {
    use polars::prelude::AnyValue;
    Ok(match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(x) => x.into(),
        AnyValue::UInt32(x) => x.into(),
        AnyValue::UInt64(x) => x.into(),
        AnyValue::Int64(x) => x.into(),
        AnyValue::Float32(x) => x.into(),
        AnyValue::Float64(x) => x.into(),
        AnyValue::String(x) => x.into(),
        AnyValue::StringOwned(x) => x.as_str().into(),
        AnyValue::List(series) => {
            let numbers: Result<Vec<_>> = series.iter().map(to_value).collect();
            Value::Array(numbers?)
        }
        other => bail!("a column of type {} was not written by this program", other.dtype()),
    })
}
