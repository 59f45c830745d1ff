//! What a user meets: a sweep from start to end, a sweep that was interrupted, and every kind of bad input.

use mixcache_harness::record;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
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

#[test]
fn a_sweep_records_reports_replays_and_verifies() {
    let folder = tiny(&[]);
    let shown = succeeds(folder.path(), &["sweep", "tiny.toml"]);
    assert!(shown.contains("step interval=3"), "{shown}");
    assert_fits(&shown);
    let recording = recording(folder.path());
    let (runs, events) = record::load(&recording).unwrap();
    assert_eq!(runs.len(), 5);
    assert!(
        runs.iter()
            .all(|run| run.error.is_none() && run.denoise_s.unwrap() > 0.0)
    );
    let off = runs.iter().find(|run| run.label == "off").unwrap();
    assert_eq!(
        (off.compute_fraction, off.reads, off.cache_peak_bytes),
        (Some(1.0), Some(0), Some(0))
    );
    let step = runs.iter().find(|run| run.label == "step interval=3").unwrap();
    assert!(step.compute_fraction.unwrap() < 0.7 && step.psnr_db.unwrap() > 10.0);
    assert!(step.lpips.unwrap() > 0.0 && step.flicker_error.unwrap() > 0.0 && step.warping_error.unwrap() > 0.0);
    assert_eq!(step.cache_peak_bytes, step.cache_claimed_bytes);
    assert!(
        events
            .iter()
            .any(|event| event.run_key == step.run_key && event.action == "reuse")
    );
    for file in [
        "report/report.md",
        "report/index.html",
        "report/curves.svg",
        "report/curves.png",
        "report/table.csv",
        "videos/off-prompt0.png",
    ] {
        assert!(recording.join(file).is_file(), "{file}");
    }
    let path = recording.to_str().unwrap();
    let shown = succeeds(
        folder.path(),
        &[
            "replay",
            "tiny.toml",
            "--recording",
            path,
            "--run",
            "first-blocks threshold=0.1",
        ],
    );
    assert!(shown.contains("bit for bit"), "{shown}");
    succeeds(folder.path(), &["export", path]);
    assert_eq!(
        std::fs::read_to_string(recording.join("runs.csv"))
            .unwrap()
            .lines()
            .count(),
        6
    );
    let shown = succeeds(folder.path(), &["tables"]);
    assert!(shown.contains("results/tables"), "{shown}");
    let costs = std::fs::read_to_string(folder.path().join("results/tables/costs.md")).unwrap();
    assert!(costs.contains("| step | interval=3 |"), "{costs}");
    let shown = succeeds(folder.path(), &["list", "tiny.toml"]);
    assert!(shown.contains("step interval=2"), "{shown}");
    assert_fits(&shown);
    let report = succeeds(folder.path(), &["report", path, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON and nothing else");
    let shown = report["settings"][0]["configurations"].as_array().unwrap();
    let shown = shown
        .iter()
        .find(|row| row["policy"] == "step" && row["knob"] == 3.0)
        .unwrap();
    assert_eq!(shown["psnr_db"].as_f64(), step.psnr_db);
    let listing = succeeds(folder.path(), &["list", "tiny.toml", "--json"]);
    let listing: serde_json::Value = serde_json::from_str(&listing).expect("JSON and nothing else");
    let planned = listing["policies"].as_array().unwrap();
    let planned = planned
        .iter()
        .find(|policy| policy["label"] == "step interval=3")
        .unwrap();
    assert_eq!(
        planned["compute_fraction"].as_f64(),
        step.compute_fraction,
        "as it was then measured"
    );
    assert_eq!(planned["cache_claimed_bytes"].as_u64(), step.cache_claimed_bytes);
    let shown = mixcache(folder.path(), &["verify", "tiny.toml"]);
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("ok    off equals the plain forward, bit for bit"),
        "{shown}"
    );
    assert!(
        !shown
            .lines()
            .any(|line| line.starts_with("WRONG") && !line.contains("faster")),
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

/// Starts a sweep and stops it once its journal has so many lines; returns the journal.
fn interrupted(folder: &Path, lines: usize) -> PathBuf {
    let program = env!("CARGO_BIN_EXE_mixcache");
    let mut sweep = Command::new(program);
    sweep
        .args(["sweep", "tiny.toml"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut sweep = sweep.spawn().unwrap();
    let began = Instant::now();
    let journal = || {
        let entry = std::fs::read_dir(folder.join("results/tiny")).ok()?.next()?.ok()?;
        Some(entry.path().join("journal.jsonl"))
    };
    let recorded = || Some(std::fs::read_to_string(journal()?).ok()?.lines().count());
    while recorded().unwrap_or(0) < lines {
        assert!(began.elapsed() < Duration::from_secs(300), "no run was recorded");
        assert!(
            sweep.try_wait().unwrap().is_none(),
            "the sweep ended before it could be interrupted"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    journal().unwrap()
}

#[test]
fn an_interrupted_sweep_goes_on_without_repeating_or_losing_a_run() {
    let folder = tiny(&[]);
    interrupted(folder.path(), 3);
    let shown = mixcache(folder.path(), &["sweep", "tiny.toml"]);
    let told = text(&shown.stderr);
    assert!(shown.status.success() && told.contains("going on in"), "{told}");
    let (runs, _) = record::load(&recording(folder.path())).unwrap();
    let keys: std::collections::BTreeSet<&str> = runs.iter().map(|run| run.run_key.as_str()).collect();
    assert_eq!((runs.len(), keys.len()), (5, 5));
    // The reference survived the interruption: quality is there for every run but the uncached one.
    assert!(runs.iter().all(|run| run.label == "off" || run.psnr_db.is_some()));
}

#[test]
fn a_run_that_failed_is_tried_again_when_its_sweep_goes_on() {
    let folder = tiny(&[("seeds = [7]", "seeds = [7, 8]")]);
    // Past the first clip: its uncached latent, which a run of it is compared with, is not at hand any more.
    let journal = interrupted(folder.path(), 7);
    let lines = std::fs::read_to_string(&journal).unwrap();
    let mut lines: Vec<serde_json::Value> = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let is_step = |line: &&mut serde_json::Value| line["run"]["row"]["label"] == "step interval=3";
    let line = lines.iter_mut().find(is_step).expect("the first clip is done");
    let psnr_db = line["run"]["row"]["psnr_db"].take();
    line["run"]["row"]["error"] = "the device was lost".into();
    line["run"]["events"] = serde_json::json!([]);
    let text_of = |line: &serde_json::Value| line.to_string() + "\n";
    std::fs::write(&journal, lines.iter().map(text_of).collect::<String>()).unwrap();

    let shown = mixcache(folder.path(), &["sweep", "tiny.toml", "--json"]);
    let told = text(&shown.stderr);
    assert!(told.contains("1 failed") && told.contains("tried again"), "{told}");
    serde_json::from_str::<serde_json::Value>(&text(&shown.stdout)).expect("JSON and nothing else");
    let (runs, events) = record::load(&recording(folder.path())).unwrap();
    assert_eq!(runs.len(), 10);
    let again: Vec<_> = runs
        .iter()
        .filter(|run| run.label == "step interval=3" && run.seed == 7)
        .collect();
    assert_eq!((again.len(), &again[0].error), (1, &None));
    assert_eq!(
        again[0].psnr_db,
        psnr_db.as_f64(),
        "compared with the same uncached clip"
    );
    assert!(events.iter().any(|event| event.run_key == again[0].run_key));
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
fn bad_input_is_one_clear_error_and_leaves_nothing_behind() {
    for (from, to, expected) in [
        ("steps = 6", "stepz = 6", vec!["tiny.toml", "stepz"]),
        ("steps = 6", "steps = \"six\"", vec!["tiny.toml", "steps", "six"]),
        ("steps = 6", "steps = 0", vec!["sampler.steps", "at least one"]),
        ("steps = 6", "steps = ", vec!["tiny.toml", "line 15"]),
        ("kind = \"unipc\"", "kind = \"heun\"", vec!["heun", "euler", "unipc"]),
        (
            "kind = \"unipc\"",
            "kind = \"ddim\"",
            vec!["sampler.kind", "wan-mini predicts the velocity", "unipc"],
        ),
        (
            "interval = [2, 3]",
            "interval = 0",
            vec!["step", "interval = 0", "at least 1"],
        ),
        (
            "interval = [2, 3]",
            "interval = []",
            vec!["interval", "at least one value"],
        ),
        ("interval = [2, 3]", "intervall = 2", vec!["step", "intervall"]),
        (
            "threshold = 0.1",
            "threshold = 0.1\nfirst = 8",
            vec!["first-blocks", "of 8 blocks"],
        ),
        (
            "kind = \"first-blocks\"",
            "kind = \"fbcache\"",
            vec!["fbcache", "first-blocks"],
        ),
        (
            "cache_budget_gib = 0.1",
            "cache_budget_gib = 0.0001",
            vec!["budget", "cache_budget_gib"],
        ),
        ("a star spins on red", "a unicorn spins on red", vec!["unicorn", "star"]),
        ("wan-mini", "wan-maxi", vec!["wan-maxi", "wan2.1-t2v-14b"]),
        ("width = 64", "width = 96", vec!["video", "96"]),
        (
            "guidance = 2.0",
            "guidance = 2.0\nguidance_mode = \"embedded\"",
            vec!["guidance_mode", "wan-mini does not take"],
        ),
        (
            "guidance = 2.0",
            "guidance = 2.0\ntrue_cfg = 4.0",
            vec!["sampler.true_cfg", "wan-mini", "leave `true_cfg` out"],
        ),
    ] {
        let folder = tiny(&[(from, to)]);
        let message = refused(folder.path(), &["sweep", "tiny.toml"]);
        for part in expected {
            assert!(message.contains(part), "{to}: expected `{part}` in: {message}");
        }
    }
}

/// The tiny experiment on hunyuan-mini, with a cfg cache and `guided` behind its embedded guidance.
fn on_hunyuan_mini(guided: &str) -> TempDir {
    tiny(&[
        ("wan-mini", "hunyuan-mini"),
        ("\"unipc\"", "\"euler\""),
        ("guidance = 2.0", &format!("guidance = 3.0\n{guided}")),
        (
            "kind = \"off\"\nguidance_mode = \"batched\"",
            "kind = \"cfg\"\ninterval = 2",
        ),
    ])
}

#[test]
fn guidance_beside_an_embedded_scale_is_a_second_pass_which_a_cfg_cache_may_skip() {
    let [one, two] = ["", "true_cfg = 2.0"].map(on_hunyuan_mini);
    let listing = |folder: &TempDir| -> serde_json::Value {
        let shown = succeeds(folder.path(), &["list", "tiny.toml", "--json"]);
        serde_json::from_str(&shown).unwrap()
    };
    let of = |listing: &serde_json::Value, label: &str| {
        let policies = listing["policies"].as_array().unwrap().iter();
        policies
            .clone()
            .find(|policy| policy["label"] == label)
            .unwrap()
            .clone()
    };
    let listed = [&one, &two].map(listing);
    let [flops, twice] = listed
        .each_ref()
        .map(|listed| of(listed, "off")["flops"].as_f64().unwrap());
    assert_eq!(twice, 2.0 * flops);
    // The residual of each branch, and one in flight.
    let claimed = listed
        .each_ref()
        .map(|listed| of(listed, "step interval=2")["cache_claimed_bytes"].as_u64());
    assert_eq!(2 * claimed[1].unwrap(), 3 * claimed[0].unwrap());
    assert_eq!(listed[1]["true_cfg"], 2.0);

    let message = refused(one.path(), &["sweep", "tiny.toml"]);
    assert!(
        message.contains("cfg interval=2: a CFG cache needs") && message.contains("1 pass a step"),
        "{message}"
    );
    succeeds(two.path(), &["sweep", "tiny.toml"]);
    let (runs, events) = record::load(&recording(two.path())).unwrap();
    let run = |label: &str| runs.iter().find(|run| run.label == label).unwrap();
    let (off, cfg) = (run("off"), run("cfg interval=2"));
    assert_eq!(
        (off.guidance, off.true_cfg, off.guidance_mode.as_str()),
        (3.0, Some(2.0), "two-pass")
    );
    assert_eq!(off.flops, Some(twice));
    // Of six steps, full at both ends, every other computes both: of twelve passes two are saved.
    assert_eq!(cfg.error, None);
    let skipped: Vec<(u32, u32)> = events
        .iter()
        .filter(|event| event.run_key == cfg.run_key && event.action == "reuse")
        .map(|event| (event.step, event.branch))
        .collect();
    assert_eq!(skipped, [(1, 1), (3, 1)]);
    assert!((cfg.compute_fraction.unwrap() - 10.0 / 12.0).abs() < 1e-9); // rounding
    assert_eq!(cfg.cache_peak_bytes, cfg.cache_claimed_bytes);
    // The negative prompt is empty, the other has words: both branches replay, each at its own length.
    let verified = text(&mixcache(two.path(), &["verify", "tiny.toml"]).stdout);
    for holds in [
        "off equals the plain forward",
        "cfg interval=2: its trace replays",
        "step interval=3: its trace replays",
    ] {
        assert!(verified.contains(&format!("ok    {holds}")), "{verified}");
    }
    std::fs::remove_dir_all(two.path().join("results")).unwrap();
    for (guided, expected) in [
        ("true_cfg = 0.5", "`sampler.true_cfg = 0.5`: expected 1 (none) or more"),
        (
            "true_cfg = 2.0\nguidance_mode = \"batched\"",
            "runs a second pass for `true_cfg`, one prompt at a time",
        ),
        ("true_cfg = 1.0", "1 pass a step"),
    ] {
        let message = refused(on_hunyuan_mini(guided).path(), &["sweep", "tiny.toml"]);
        assert!(message.contains(expected), "{guided}: {message}");
    }
}

#[test]
fn a_device_or_checkpoint_that_is_not_there_is_one_clear_error() {
    let folder = tiny(&[]);
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--device", "tpu"]);
    assert!(message.contains("tpu") && message.contains("cpu"), "{message}");
    let message = refused(
        folder.path(),
        &["sweep", "tiny.toml", "--weights", "nowhere.safetensors"],
    );
    assert!(message.contains("nowhere.safetensors"), "{message}");
    std::fs::write(folder.path().join("torn.safetensors"), [255u8; 100]).unwrap();
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--weights", "torn.safetensors"]);
    assert!(message.contains("torn.safetensors"), "{message}");
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--results", "torn.safetensors"]);
    assert!(message.contains("torn.safetensors"), "{message}");
    for (file, why) in [
        ("nowhere.safetensors", "cannot read"),
        ("torn.safetensors", "not a complete safetensors"),
    ] {
        let message = refused(folder.path(), &["sweep", "tiny.toml", "--i3d", file]);
        assert!(
            message.contains(file) && message.contains("I3D") && message.contains(why),
            "{message}"
        );
    }
    let message = refused(folder.path(), &["sweep", "no-such-experiment"]);
    assert!(
        message.contains("no-such-experiment") && message.contains("mini"),
        "{message}"
    );
    let message = refused(folder.path(), &["report", "nowhere"]);
    assert!(message.contains("nowhere"), "{message}");
    let message = refused(folder.path(), &["parity", "nowhere"]);
    assert!(message.contains("nowhere"), "{message}");
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_back_end_that_was_not_built_says_how_to_build_it() {
    let folder = tiny(&[]);
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--device", "cuda:0"]);
    assert!(message.contains("--features cuda"), "{message}");
}

#[test]
fn a_model_that_cannot_be_had_gives_its_stand_in_and_says_so_everywhere() {
    for (name, model, stand_in, blocks) in [
        ("wan14b", "wan2.1-t2v-14b", "wan-mini", 8),
        ("hunyuan", "hunyuan-video", "hunyuan-mini", 7),
        ("cogvideox5b", "cogvideox-5b", "wan-mini", 8),
    ] {
        gives_its_stand_in(name, model, stand_in, blocks);
    }
}

/// Three steps of a model on a checkpoint.
fn on_checkpoint(model: &str, sampler: &str) -> TempDir {
    let policies = TINY.find("[[policy]]").unwrap();
    let text = [
        ("wan-mini", model),
        ("frames = 16", "frames = 9"),
        ("\"unipc\"", sampler),
        ("steps = 6", "steps = 3"),
    ]
    .iter()
    .fold(TINY[..policies].to_string(), |text, (from, to)| text.replace(from, to));
    let folder = TempDir::new().unwrap();
    let policy = "[[policy]]\nkind = \"first-blocks\"\nthreshold = 1.0\n";
    std::fs::write(folder.path().join("tiny.toml"), text + policy).unwrap();
    folder
}

#[test]
fn a_fake_checkpoint_of_every_model_runs_by_the_way_of_a_real_one_and_every_row_says_what_it_is() {
    for (model, sampler, layout) in [
        ("wan2.1-t2v-1.3b", "\"unipc\"", "original"),
        ("wan2.1-t2v-14b", "\"dpmpp\"", "diffusers"),
        ("wan2.2-t2v-a14b", "\"unipc\"", "original"),
        ("wan2.2-t2v-a14b", "\"euler\"", "diffusers"),
        ("hunyuan-video", "\"euler\"", "original"),
        ("hunyuan-video", "\"euler\"", "diffusers"),
        ("cogvideox-5b", "\"ddim\"", "original"),
        ("cogvideox-5b", "\"ddim\"", "diffusers"),
    ] {
        let folder = on_checkpoint(model, sampler);
        succeeds(
            folder.path(),
            &["fake-weights", model, "--layout", layout, "-o", "weights"],
        );
        let shown = succeeds(folder.path(), &["sweep", "tiny.toml", "--weights", "weights"]);
        assert!(shown.starts_with("SUBSTITUTED: random weights, seed 0; "), "{shown}");
        let listed = succeeds(folder.path(), &["list", "tiny.toml", "--weights", "weights"]);
        assert!(listed.contains("memory: at least"), "{listed}");
        let has_decoder = layout == "diffusers"; // the authors' are pickles
        assert_eq!(listed.contains("; then decoding "), has_decoder, "{listed}");
        let (runs, _) = record::load(&recording(folder.path())).unwrap();
        assert_eq!(runs.len(), 2, "{model}, {layout}");
        for run in runs {
            assert_eq!(run.error, None, "{model}, {layout}");
            assert!(
                run.substituted.contains("blocks of width 64 instead of"),
                "{}",
                run.substituted
            );
        }
    }
}

#[test]
fn two_experts_share_a_run_and_nothing_is_reused_where_the_second_takes_over() {
    let model = "wan2.2-t2v-a14b";
    let folder = on_checkpoint(model, "\"unipc\"");
    let path = folder.path().join("tiny.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text
        .replace("steps = 3", "steps = 12")
        .replace("guidance = 2.0", "guidance = 4.0\nguidance_low_noise = 3.0");
    let text = &text[..text.find("[[policy]]").unwrap()];
    let policies = "[[policy]]\nkind = \"step\"\ninterval = 3\n[[policy]]\nkind = \"cfg\"\ninterval = 9\n";
    std::fs::write(&path, text.to_string() + policies).unwrap();
    succeeds(folder.path(), &["fake-weights", model, "-o", "weights"]);
    // Whether a run of milliseconds is as fast as it should be is left to longer ones.
    let verified = crate::text(&mixcache(folder.path(), &["verify", "tiny.toml", "--weights", "weights"]).stdout);
    for holds in [
        "off equals the plain forward",
        "step interval=3: its trace replays",
        "cfg interval=9: its trace replays",
    ] {
        assert!(verified.contains(&format!("ok    {holds}")), "{verified}");
    }
    succeeds(folder.path(), &["sweep", "tiny.toml", "--weights", "weights"]);
    let (runs, events) = record::load(&recording(folder.path())).unwrap();
    let run = runs.iter().find(|run| run.policy == "step").unwrap();
    let own = events
        .iter()
        .filter(|event| event.run_key == run.run_key && event.branch == 0);
    let computed: Vec<u32> = own
        .filter(|event| event.value.is_none())
        .map(|event| event.step)
        .collect();
    // Timesteps 999, 970, 937, 899 are the first expert's, 856 and less the second's: step 4 would be reused.
    assert_eq!(computed, [0, 3, 4, 6, 9, 11]);
    std::fs::remove_dir_all(folder.path().join("results")).unwrap();

    for (weights, of, expected) in [
        (
            "weights/transformer_2",
            model,
            "runs wan2.2-t2v-a14b (Wan, two experts of 40 blocks",
        ),
        (
            "weights",
            "wan2.1-t2v-14b",
            "weights holds wan (Wan, two experts of 4 blocks of width 64)",
        ),
    ] {
        std::fs::write(&path, text.replace(model, of) + policies).unwrap();
        let message = refused(folder.path(), &["sweep", "tiny.toml", "--weights", weights]);
        assert!(message.contains(expected), "{message}");
    }
    std::fs::write(&path, text.replace(model, "wan-mini") + policies).unwrap();
    let message = refused(folder.path(), &["sweep", "tiny.toml"]);
    assert!(
        message.contains("guidance_low_noise`: wan-mini has one expert"),
        "{message}"
    );
}

#[test]
fn a_checkpoint_that_is_not_the_experiments_is_refused_with_what_it_is() {
    let folder = on_checkpoint("wan2.1-t2v-1.3b", "\"unipc\"");
    let fake = |arguments: &[&str]| succeeds(folder.path(), &[&["fake-weights"], arguments].concat());
    fake(&["hunyuan-video", "--layout", "diffusers", "-o", "hunyuan"]);
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--weights", "hunyuan"]);
    assert!(
        message.contains("hunyuan holds hunyuan (HunyuanVideo, 2 + 3 blocks of width 64)")
            && message.contains("wan2.1-t2v-1.3b (Wan, 30 blocks of width 1536)"),
        "{message}"
    );
    // Without its config.json that of the autoencoder tells, and without both the keys.
    std::fs::remove_file(folder.path().join("hunyuan/transformer/config.json")).unwrap();
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--weights", "hunyuan"]);
    assert!(
        message.contains("vae/config.json: not the `config.json` of Wan's autoencoder"),
        "{message}"
    );
    std::fs::remove_dir_all(folder.path().join("hunyuan/vae")).unwrap();
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--weights", "hunyuan"]);
    assert!(
        message.contains("they look like HunyuanVideo in diffusers' keys"),
        "{message}"
    );
    // What stands in the folder already is not written over.
    let message = refused(folder.path(), &["fake-weights", "wan2.1-t2v-1.3b", "-o", "hunyuan"]);
    assert!(
        message.contains("hunyuan") && message.contains("empty or new"),
        "{message}"
    );
    let message = refused(folder.path(), &["fake-weights", "wan-mini", "-o", "mini"]);
    assert!(message.contains("comes with the program"), "{message}");
}

fn gives_its_stand_in(name: &str, model: &str, stand_in: &str, blocks: usize) {
    let folder = TempDir::new().unwrap();
    let experiment = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../experiments/{name}.toml"));
    let text = std::fs::read_to_string(&experiment).unwrap();
    // The same experiment, short: three steps, a policy that fits the stand-in, and one that does not.
    let policies = text.find("[[policy]]").unwrap();
    let short = text[..policies].replace("steps = 50", "steps = 3")
        + &format!("[[policy]]\nkind = \"tea\"\ncoefficients = \"{model}\"\nthreshold = 0.2\n")
        + "[[policy]]\nkind = \"first-blocks\"\nfirst = 8\nthreshold = 0.1\n";
    std::fs::write(folder.path().join("short.toml"), short).unwrap();
    let coefficients = folder.path().join("coefficients");
    std::fs::create_dir(&coefficients).unwrap();
    std::fs::copy(
        experiment.with_file_name("coefficients/teacache.toml"),
        coefficients.join("teacache.toml"),
    )
    .unwrap();
    let shown = succeeds(folder.path(), &["sweep", "short.toml"]);
    assert!(
        shown.starts_with(&format!("SUBSTITUTED: {stand_in} stands in for {model}")),
        "{shown}"
    );
    let recording = std::fs::read_dir(folder.path().join("results/short"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let (runs, _) = record::load(&recording).unwrap();
    assert!(runs.iter().all(|run| run.substituted.contains("stands in")), "{runs:?}");
    let failed: Vec<_> = runs.iter().filter_map(|run| run.error.as_deref()).collect();
    assert!(
        failed.len() == 1 && failed[0].contains(&format!("of {blocks} blocks")),
        "{failed:?}"
    );
    for file in ["report/report.md", "report/curves.svg"] {
        let shown = std::fs::read_to_string(recording.join(file)).unwrap();
        assert!(shown.contains("stands in for") || shown.contains("STAND-IN"), "{file}");
    }
}
