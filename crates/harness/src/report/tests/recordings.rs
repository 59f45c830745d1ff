//! Recordings as they come: old, unfinished, failed, or none at all.

use super::*;

#[test]
fn a_speed_up_beyond_what_was_saved_is_called_an_error() {
    let (mut runs, events) = sweep();
    let page = |runs: &[RunRow]| {
        let (_root, directory) = recorded(runs, &events);
        fs::read_to_string(write(&directory).unwrap().page).unwrap()
    };
    assert!(!page(&runs).contains("ERROR"));
    for run in runs.iter_mut().filter(|run| run.label.contains("interval=3")) {
        run.denoise_s = run.denoise_s.map(|seconds| seconds / 2.0);
    }
    assert!(page(&runs).contains("**ERROR: mix penalty=last interval=3 is"));
}

/// Recordings made before a column was thought of.
#[test]
fn a_recording_without_the_newer_columns_can_be_reported() {
    use polars::prelude::{ParquetReader, ParquetWriter, SerReader};
    let (runs, events) = sweep();
    let (_root, directory) = recorded(&runs, &events);
    let path = directory.join("runs.parquet");
    let mut frame = ParquetReader::new(fs::File::open(&path).unwrap()).finish().unwrap();
    for column in [
        "upper",
        "i3d_logits",
        "ms_ssim",
        "lpips",
        "flicker_error",
        "warping_error",
    ] {
        frame = frame.drop(column).unwrap();
    }
    ParquetWriter::new(fs::File::create(&path).unwrap())
        .finish(&mut frame)
        .unwrap();
    let page = fs::read_to_string(write(&directory).unwrap().page).unwrap();
    assert!(page.contains("PSNR dB") && !page.contains("LPIPS") && !page.contains("Fréchet"));
}

#[test]
fn the_same_results_give_the_same_report_byte_for_byte() {
    let (runs, events) = sweep();
    let (_root, directory) = recorded(&runs, &events);
    let read = |report: Report| -> Vec<_> { report.files.iter().map(|file| fs::read(file).unwrap()).collect() };
    assert_eq!(read(write(&directory).unwrap()), read(write(&directory).unwrap()));
}

#[test]
fn an_unfinished_recording_with_failures_can_be_reported() {
    let (mut runs, events) = sweep();
    let failed = runs.last_mut().unwrap();
    failed.error = Some("latents hold NaN at step 7".into());
    failed.denoise_s = None;
    let root = tempfile::tempdir().unwrap();
    let machine = Machine::detect();
    let mut recording =
        Recording::create(root.path(), "sweep", EXPERIMENT, "0123456789abcdef", "abc", &machine).unwrap();
    for run in &runs {
        recording.append(run, &own(run, &events)).unwrap();
    }
    let page = fs::read_to_string(write(recording.directory()).unwrap().page).unwrap();
    assert!(page.contains("1 failed") && page.contains("latents hold NaN at step 7"));
}

#[test]
fn without_an_uncached_run_there_is_a_table_but_no_speed_up() {
    let (mut runs, events) = sweep();
    runs.retain(|run| run.policy != "off");
    let (_root, directory) = recorded(&runs, &events);
    let page = fs::read_to_string(write(&directory).unwrap().page).unwrap();
    assert!(page.contains("speed-ups are unknown"));
    assert!(!directory.join("report/curves.svg").exists());
}

#[test]
fn what_is_not_a_recording_is_refused_with_its_name() {
    let root = tempfile::tempdir().unwrap();
    let error = write(root.path()).err().unwrap().to_string();
    assert!(error.contains("is not a recording"), "{error}");

    let (_root, empty) = recorded(&[], &[]);
    assert!(write(&empty).err().unwrap().to_string().contains("holds no run yet"));

    fs::write(empty.join("runs.parquet"), "torn").unwrap();
    assert!(write(&empty).err().unwrap().to_string().contains("runs.parquet"));
}
