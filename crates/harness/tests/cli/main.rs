//! What a user meets: a sweep from start to end, a sweep that was interrupted, and every kind of bad input.

mod checkpoints;
mod refusals;
mod sweeps;
#[path = "../tiny/mod.rs"]
mod tiny;
#[path = "../../../core/tests/common/torch.rs"]
mod torch;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A sweep of a few seconds on the embedded model.
const TINY: &str = r#"
title = "tiny"
analysis = "Six steps on the embedded model."

[model]
name = "wan-mini"

[video]
frames = 16
height = 64
width = 64

[sampler]
kind = "unipc"
steps = 6
shift = 3.0
guidance = 2.0
full_first = 1
full_last = 1

[runs]
prompts = ["a star spins on red"]
seeds = [7]
cache_budget_gib = 0.1
videos = 1

[[policy]]
kind = "step"
interval = [2, 3]

[[policy]]
kind = "first-blocks"
threshold = 0.1

[[policy]]
kind = "off"
guidance_mode = "batched"
"#;

fn mixcache(folder: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_mixcache");
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = mixcache(folder, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// No line is wider than a terminal of a hundred columns, but for paths, which stay whole; and nothing is coloured.
#[track_caller]
fn assert_fits(shown: &str) {
    for line in shown.lines().filter(|line| !line.contains("results/")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(!shown.contains('\x1b'), "{shown}");
}

/// A folder with the tiny experiment, changed by `edits`.
fn tiny(edits: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let text = edits.iter().fold(TINY.to_string(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    std::fs::write(folder.path().join("tiny.toml"), text).unwrap();
    folder
}

/// The only recording of the tiny experiment.
fn recording(folder: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(folder.join("results/tiny")).unwrap();
    let recording = entries.next().expect("a recording").unwrap().path();
    assert!(entries.next().is_none(), "one recording");
    recording
}

/// Runs a sweep that must fail before anything is written, and returns its message.
#[track_caller]
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = mixcache(folder, arguments);
    let message = text(&output.stderr);
    assert!(
        !output.status.success(),
        "{arguments:?} was accepted: {}",
        text(&output.stdout)
    );
    assert!(
        message.starts_with("error: ") && !message.contains("panicked"),
        "{message}"
    );
    assert!(!folder.join("results").exists(), "{arguments:?} left something behind");
    message
}

#[test]
#[cfg(unix)]
fn what_nobody_reads_on_ends_the_program_quietly() {
    use std::os::unix::process::ExitStatusExt;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader); // as `head` does once it has its lines
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixcache"));
    let output = command.args(["completions", "bash"]).stdout(writer).output().unwrap();
    const SIGPIPE: i32 = 13; // on Linux and macOS alike
    assert_eq!(output.status.signal(), Some(SIGPIPE), "{:?}", output.status);
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn measurements_and_comparisons_are_printed_as_json_and_nothing_else() {
    let folder = tiny(&[]);
    let json = |arguments: &[&str]| -> serde_json::Value {
        let shown = succeeds(folder.path(), arguments);
        serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {shown}"))
    };
    let timed = json(&["time", "tiny.toml", "--repeats", "1", "--json"]);
    // A block of wan-mini is three units, of one kind each in all eight blocks; outside stand embedding and head.
    let parts: Vec<u64> = timed["parts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|part| part["count"].as_u64())
        .collect();
    assert_eq!(parts, [1, 8, 8, 8]);
    let predicted = timed["predicted"].as_array().unwrap();
    let of = |label: &str| predicted.iter().find(|row| row["policy"] == label).unwrap();
    assert_eq!(of("off")["speedup"], 1.0);
    assert!(of("step interval=3")["speedup"].as_f64() > of("step interval=2")["speedup"].as_f64());

    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/golden/schedulers");
    let compared = json(&["parity", golden, "--json"]);
    let compared = compared.as_array().unwrap();
    assert!(
        !compared.is_empty() && compared.iter().all(|one| one["verdict"] == "equal"),
        "{compared:?}"
    );
    assert!(
        compared
            .iter()
            .all(|one| one["error"].as_f64() <= one["tolerance"].as_f64())
    );
}

#[test]
fn a_listing_names_the_file_that_each_policy_takes_its_calibration_from() {
    let tea =
        "[[policy]]\nkind = \"tea\"\ncoefficients = \"mine\"\nthreshold = [0.1, 0.2]\n\n[[policy]]\nkind = \"off\"";
    let folder = tiny(&[("[[policy]]\nkind = \"off\"", tea)]);
    let polynomial = "[mine]\nmodel = \"any\"\nsource = \"made up\"\nsignal = \"embedding\"\npolynomial = [1.0, 0.0]\nrange = [0.0, 1.0]";
    std::fs::create_dir(folder.path().join("coefficients")).unwrap();
    for stem in ["a", "stray"] {
        std::fs::write(folder.path().join(format!("coefficients/{stem}.toml")), polynomial).unwrap();
    }
    let listing = succeeds(folder.path(), &["list", "tiny.toml", "--json"]);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let drawn = serde_json::json!([{
        "kind": "coefficients",
        "name": "mine",
        "file": "coefficients/stray.toml", // of two of one name the last in the alphabet
        "policies": ["tea coefficients=mine"],
    }]);
    assert_eq!(listing["data"], drawn);
    let shown = succeeds(folder.path(), &["list", "tiny.toml"]);
    assert!(
        shown.contains("coefficients `mine` from coefficients/stray.toml: tea coefficients=mine"),
        "{shown}"
    );
}

#[test]
fn shells_complete_and_manuals_describe_every_verb() {
    let folder = TempDir::new().unwrap();
    let help = succeeds(folder.path(), &["--help"]);
    let (_, listed) = help.split_once("Commands:\n").unwrap();
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let first = listed.filter(|line| !line.starts_with("   ")); // what a line has no room for stands indented below it
    let verbs: Vec<&str> = first.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.contains(&"sweep") && verbs.len() > 10, "{help}");
    let completions = ["bash", "zsh", "fish"].map(|shell| succeeds(folder.path(), &["completions", shell]));
    succeeds(folder.path(), &["man", "pages"]);
    for verb in verbs {
        for script in &completions {
            assert!(script.contains(verb), "{verb} is not completed");
        }
        let page = folder.path().join(format!("pages/mixcache-{verb}.1"));
        assert!(verb == "help" || page.is_file(), "{} is missing", page.display());
    }
}
