use super::*;
use crate::schema::parquet;
use std::path::Path;

fn run(key: &str, knobs: &[(&str, Knob)]) -> RunRow {
    RunRow {
        run_key: key.into(),
        experiment: "sweep".into(),
        steps: 50,
        shift: 5.0,
        seed: u64::MAX,
        policy: "tea".into(),
        knobs: knobs
            .iter()
            .map(|(name, knob)| (name.to_string(), knob.clone()))
            .collect(),
        prompt: "a \"red\" fox,\nrunning | slowly".into(),
        denoise_s: Some(0.1 + 0.2),
        cache_peak_bytes: Some(1 << 40),
        psnr_db: Some(31.25),
        ..RunRow::default()
    }
}

fn written(runs: &[RunRow]) -> Vec<RunRow> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.parquet");
    write_runs(&path, runs).unwrap();
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
    read_runs(&path).unwrap()
}

#[test]
fn runs_come_back_bit_for_bit_with_nulls_and_typed_knobs() {
    let runs = [
        run("a", &[("interval", Knob::Int(3)), ("forecast", Knob::Bool(true))]),
        run(
            "b",
            &[("threshold", Knob::Float(0.1)), ("form", Knob::Text("residual".into()))],
        ),
        RunRow {
            denoise_s: None,
            error: Some("out of memory".into()),
            ..run("c", &[])
        },
    ];
    assert_eq!(written(&runs), runs);
}

#[test]
fn a_knob_that_is_whole_in_one_run_and_not_in_another_is_a_float_column() {
    let runs = written(&[
        run("a", &[("threshold", Knob::Int(1))]),
        run("b", &[("threshold", Knob::Float(0.5))]),
    ]);
    assert_eq!(runs[0].knobs["threshold"], Knob::Float(1.0));
    assert_eq!(runs[1].knobs["threshold"], Knob::Float(0.5));
}

#[test]
fn a_knob_that_would_hide_a_column_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.parquet");
    let error = write_runs(&path, &[run("a", &[("name", Knob::Int(1))])]).unwrap_err();
    assert!(error.to_string().contains("`knob_name`"), "{error}");
    assert!(!path.exists());
}

#[test]
fn an_empty_recording_has_all_its_columns() {
    assert_eq!(written(&[]), []);
}

#[test]
fn events_come_back_with_what_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.parquet");
    let event = EventRow {
        run_key: "a".into(),
        action: "reuse".into(),
        value: Some("delta".into()),
        move_json: r#"{"Reuse":{"to":3}}"#.into(),
        seen: vec![0.1, 1e-20],
        ..EventRow::default()
    };
    let bare = EventRow {
        value: None,
        seen: vec![],
        ..event.clone()
    };
    write_events(&path, &[event.clone(), bare.clone()]).unwrap();
    assert_eq!(read_events(&path).unwrap(), [event.clone(), bare]);

    // A probe on a latent that has diverged sees NaN: the trace must say so, not fail.
    write_events(
        &path,
        &[EventRow {
            seen: vec![f32::NAN, 2.0],
            ..event
        }],
    )
    .unwrap();
    let seen = read_events(&path).unwrap().remove(0).seen;
    assert!(seen[0].is_nan() && seen[1] == 2.0);
}

#[test]
fn the_parquet_files_have_exactly_the_documented_columns() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs.parquet");
    let events = folder.path().join("events.parquet");
    write_runs(&runs, &[run("a", &[("interval", Knob::Int(3))])]).unwrap();
    write_events(&events, &[EventRow::default()]).unwrap();
    let mut expected: Vec<_> = RUN_COLUMNS.iter().map(|column| column.name).collect();
    expected.push("knob_interval");
    assert_eq!(columns_of(&runs), expected);
    let expected: Vec<_> = EVENT_COLUMNS.iter().map(|column| column.name).collect();
    assert_eq!(columns_of(&events), expected);

    // ... and no field of a row is left out.
    let fields = serde_json::to_value(RunRow::default())
        .unwrap()
        .as_object()
        .unwrap()
        .len();
    assert_eq!(fields, RUN_COLUMNS.len() + 1, "every field but `knobs` is a column");
    let fields = serde_json::to_value(EventRow::default())
        .unwrap()
        .as_object()
        .unwrap()
        .len();
    assert_eq!(fields, EVENT_COLUMNS.len());
}

fn columns_of(path: &Path) -> Vec<String> {
    use polars::prelude::{ParquetReader, SerReader};
    let frame = ParquetReader::new(std::fs::File::open(path).unwrap()).finish().unwrap();
    frame.columns().iter().map(|column| column.name().to_string()).collect()
}

#[test]
fn csv_holds_awkward_prompts_and_empty_fields_for_null() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.csv");
    write_runs_csv(&path, &[run("a", &[("interval", Knob::Int(3))]), run("b", &[])]).unwrap();
    let mut reader = csv::Reader::from_path(&path).unwrap();
    let headers = reader.headers().unwrap().clone();
    let place = |name: &str| headers.iter().position(|header| header == name).unwrap();
    assert!(
        headers.iter().all(|header| header != "i3d_logits"),
        "a cell holds one value, not a list"
    );
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(&rows[0][place("prompt")], "a \"red\" fox,\nrunning | slowly");
    assert_eq!(&rows[0][place("error")], "");
    assert_eq!(
        (&rows[0][place("knob_interval")], &rows[1][place("knob_interval")]),
        ("3", "")
    );
}

#[test]
fn a_file_of_another_kind_is_refused_with_its_name_and_the_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.parquet");
    write_events(&path, &[]).unwrap();
    let error = read_runs(&path).unwrap_err().to_string();
    assert!(
        error.contains("events.parquet") && error.contains("`experiment`"),
        "{error}"
    );
    parquet::replace_file(&path, b"not parquet").unwrap();
    let error = read_runs(&path).unwrap_err().to_string();
    assert!(error.contains("not a readable Parquet file"), "{error}");
}

#[test]
fn schema_md_says_what_the_files_hold() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../results/SCHEMA.md");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, markdown()).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text == markdown(),
        "results/SCHEMA.md is stale: rerun this test with UPDATE_SCHEMA=1"
    );
}
