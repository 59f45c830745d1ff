use super::*;

fn machine() -> Machine {
    Machine {
        cpu: "test".into(),
        cores: 2,
        memory_gib: Some(23.4),
        os: "test".into(),
        rustc: "test".into(),
    }
}

fn create(root: &Path) -> Recording {
    Recording::create(root, "sweep", "title = 't'", "0123456789abcdef", "abc", &machine()).unwrap()
}

fn resume(root: &Path) -> Option<Recording> {
    Recording::resume(root, "0123456789abcdef", "abc", &machine()).unwrap()
}

fn run(key: &str) -> (RunRow, Vec<EventRow>) {
    let row = RunRow {
        run_key: key.into(),
        denoise_s: Some(1.5),
        ..RunRow::default()
    };
    let event = EventRow {
        run_key: key.into(),
        seen: vec![0.1],
        ..EventRow::default()
    };
    (row, vec![event])
}

fn append(recording: &mut Recording, key: &str) {
    let (row, events) = run(key);
    recording.append(&row, &events).unwrap();
}

#[test]
fn a_second_recording_never_overwrites_the_first() {
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (create(root.path()), create(root.path()));
    assert_ne!(first.directory(), second.directory());
    let name = first.directory().file_name().unwrap().to_str().unwrap().to_string();
    assert_eq!(&name[10..], "-01234567");
    assert!(second.directory().ends_with(format!("{name}-2")));
}

#[test]
fn a_run_that_fails_is_no_run_to_compare_with() {
    let root = tempfile::tempdir().unwrap();
    let mut recording = create(root.path());
    let (row, events) = run("off");
    let error = Some("out of memory".into());
    recording.append(&RunRow { error, ..row.clone() }, &events).unwrap();
    assert!(!recording.finished().contains("off") && recording.failed().contains("off"));
    recording.append(&row, &events).unwrap();
    assert!(recording.finished().contains("off") && !recording.failed().contains("off"));
}

#[test]
fn a_finished_recording_holds_every_run_and_no_journal() {
    let root = tempfile::tempdir().unwrap();
    let mut recording = create(root.path());
    append(&mut recording, "a");
    append(&mut recording, "b");
    let unfinished = load(recording.directory()).unwrap();
    let directory = recording.finish().unwrap();
    assert_eq!(load(&directory).unwrap(), unfinished);
    assert_eq!(unfinished.0, [run("a").0, run("b").0]);
    assert_eq!(unfinished.1, [run("a").1, run("b").1].concat());
    assert!(!directory.join(JOURNAL).exists());
    assert!(resume(root.path()).is_none(), "a finished recording is not resumed");
}

#[test]
fn a_crash_in_mid_write_loses_only_the_run_in_flight() {
    let root = tempfile::tempdir().unwrap();
    let mut recording = create(root.path());
    append(&mut recording, "a");
    append(&mut recording, "b");
    let journal = recording.directory().join(JOURNAL);
    drop(recording);
    let length = fs::metadata(&journal).unwrap().len();
    File::options()
        .write(true)
        .open(&journal)
        .unwrap()
        .set_len(length - 9)
        .unwrap();

    let mut recording = resume(root.path()).unwrap();
    assert_eq!(recording.finished().iter().collect::<Vec<_>>(), ["a"]);
    append(&mut recording, "b");
    let (runs, _) = load(&recording.finish().unwrap()).unwrap();
    assert_eq!(runs, [run("a").0, run("b").0]);
}

#[test]
fn a_damaged_line_before_the_last_is_an_error_with_its_number() {
    let root = tempfile::tempdir().unwrap();
    let mut recording = create(root.path());
    append(&mut recording, "a");
    let journal = recording.directory().join(JOURNAL);
    let text = fs::read_to_string(&journal).unwrap().replace("\"row\"", "\"raw\"");
    fs::write(&journal, text.clone() + &text).unwrap();
    let error = load(recording.directory()).unwrap_err().to_string();
    assert!(error.contains("journal.jsonl, line 2"), "{error}");
}

#[test]
fn only_the_same_experiment_revision_and_machine_are_resumed() {
    let root = tempfile::tempdir().unwrap();
    drop(create(root.path()));
    let mut other = machine();
    other.cores = 64;
    let resume = |hash: &str, revision: &str, machine: &Machine| {
        Recording::resume(root.path(), hash, revision, machine)
            .unwrap()
            .is_some()
    };
    assert!(!resume("01234567deadbeef", "abc", &machine()), "another experiment");
    assert!(!resume("0123456789abcdef", "abd", &machine()), "another revision");
    assert!(!resume("0123456789abcdef", "abc", &other), "another machine");
    assert!(resume("0123456789abcdef", "abc", &machine()));
}

#[test]
fn a_recording_that_is_being_written_is_not_resumed_by_a_second_process() {
    let root = tempfile::tempdir().unwrap();
    let recording = create(root.path());
    assert!(resume(root.path()).is_none());
    drop(recording);
    assert!(resume(root.path()).is_some());
}

#[test]
fn the_same_run_is_not_recorded_twice() {
    let root = tempfile::tempdir().unwrap();
    let mut recording = create(root.path());
    append(&mut recording, "a");
    let error = recording.append(&run("a").0, &[]).unwrap_err().to_string();
    assert!(error.contains("run a"), "{error}");
}

#[test]
fn an_unwritable_place_is_an_error_before_anything_ran() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("results");
    fs::write(&file, "a file, not a directory").unwrap();
    let made = Recording::create(&file, "sweep", "", "0123456789abcdef", "abc", &machine());
    assert!(made.unwrap_err().to_string().contains("results"));
}

#[test]
fn a_failed_run_is_recorded_again_in_place_of_its_error() {
    let root = tempfile::tempdir().unwrap();
    let mut recording = create(root.path());
    append(&mut recording, "a");
    let (mut failed, _) = run("b");
    failed.error = Some("the device was lost".into());
    recording.append(&failed, &[]).unwrap();
    append(&mut recording, "c");
    drop(recording);

    let mut recording = resume(root.path()).unwrap();
    assert_eq!(recording.finished().iter().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(recording.failed().iter().collect::<Vec<_>>(), ["b"]);
    let (unfinished, _) = load(recording.directory()).unwrap();
    assert_eq!(unfinished[1], failed, "its error stands until it is tried again");
    append(&mut recording, "b");
    assert!(recording.failed().is_empty());
    let (runs, events) = load(&recording.finish().unwrap()).unwrap();
    assert_eq!(runs, [run("a").0, run("b").0, run("c").0]);
    assert_eq!(events.len(), 3, "one run's decisions each");
}

#[test]
fn what_had_nothing_to_be_compared_with_is_tried_again_with_its_uncached_run() {
    let root = tempfile::tempdir().unwrap();
    let mut recording = create(root.path());
    for (seed, error) in [(1, Some("out of memory".to_string())), (2, None)] {
        for label in ["off", "step"] {
            let row = RunRow {
                run_key: format!("{label} {seed}"),
                label: label.into(),
                seed,
                error: error.clone().filter(|_| label == "off"),
                ..RunRow::default()
            };
            recording.append(&row, &[]).unwrap();
        }
    }
    drop(recording);
    let recording = resume(root.path()).unwrap();
    assert_eq!(recording.failed().iter().collect::<Vec<_>>(), ["off 1", "step 1"]);
    assert_eq!(recording.finished().iter().collect::<Vec<_>>(), ["off 2", "step 2"]);
}
