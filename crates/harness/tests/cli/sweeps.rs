//! Sweeps from start to end, interrupted ones, and what one finds in a recording.

use crate::*;
use mixcache_harness::record;
use std::process::Stdio;
use std::time::{Duration, Instant};

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

/// With one thread to compute on, whoever waits for another one to compute waits for ever.
#[test]
fn one_core_is_enough() {
    let folder = tiny(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixcache"));
    let command = command.args(["sweep", "tiny.toml"]).current_dir(folder.path());
    let command = command
        .env("RAYON_NUM_THREADS", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut sweep = command.spawn().unwrap();
    let start = Instant::now();
    let ended = loop {
        match sweep.try_wait().unwrap() {
            None if start.elapsed() < Duration::from_secs(300) => std::thread::sleep(Duration::from_millis(100)),
            ended => break ended,
        }
    };
    let _ = sweep.kill();
    assert!(ended.expect("a sweep of seconds ends").success());
}

/// Where a figure of frames stands, it says what they went through; an unfinished sweep that was measured otherwise does not go on.
#[test]
fn a_sweep_measured_through_eight_bits_says_so_and_does_not_go_on_with_another() {
    let folder = tiny(&[]);
    let journal = interrupted(folder.path(), 4);
    let shown = succeeds(folder.path(), &["sweep", "tiny.toml", "--through", "8-bit"]);
    assert!(
        shown.contains("frames measured through 8 bits") && shown.contains("PSNR dB (8 bits)"),
        "{shown}"
    );
    let (before, _) = record::load(journal.parent().unwrap()).unwrap();
    assert!(journal.is_file() && before.iter().all(|run| run.through.is_empty()));

    let entries = std::fs::read_dir(folder.path().join("results/tiny")).unwrap();
    let mut recordings = entries.map(|entry| entry.unwrap().path());
    let recording = recordings.find(|path| path.join("runs.parquet").is_file()).unwrap();
    let (runs, _) = record::load(&recording).unwrap();
    assert!(runs.iter().all(|run| run.through == "8 bits" && run.error.is_none()));
    for (file, said) in [
        ("report/report.md", "PSNR dB (8 bits)"),
        ("report/table.csv", ",8 bits"),
        ("report/curves.svg", "(8 bits)"),
        ("report/index.html", "\"through\":\"8 bits\""),
    ] {
        let text = std::fs::read_to_string(recording.join(file)).unwrap();
        assert!(text.contains(said), "{file} lacks {said}");
    }
    // Every frame of a cached clip is as far off as before, but for the rounding: noise of 1/12 of a squared level in either
    // clip, against errors of several levels (PSNR below 40 dB).
    let cached = before
        .iter()
        .find(|run| run.psnr_db.is_some())
        .expect("one was measured");
    let through = runs.iter().find(|run| run.label == cached.label).unwrap();
    let (straight, rounded) = (cached.psnr_db.unwrap(), through.psnr_db.unwrap());
    assert!(
        straight != rounded && (straight - rounded).abs() < 0.1,
        "{straight} {rounded}"
    );
    assert_eq!(cached.latent_rel_l2, through.latent_rel_l2);
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
fn attention_is_shared_only_between_branches_whose_prompts_are_as_long() {
    let folder = on_hunyuan_mini("true_cfg = 2.0");
    let path = folder.path().join("tiny.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let shared = text.replace("kind = \"cfg\"\ninterval = 2", "kind = \"pab\"\nshared_state = true");
    assert_ne!(shared, text);
    std::fs::write(&path, &shared).unwrap();
    let message = refused(folder.path(), &["sweep", "tiny.toml"]);
    assert!(
        message.contains("pab shared_state=true: `shared_state = true`") && message.contains("`negative_prompt`"),
        "{message}"
    );
    let alike = shared.replace("seeds = [7]", "seeds = [7]\nnegative_prompt = \"a star spins on blue\"");
    std::fs::write(&path, alike).unwrap();
    succeeds(folder.path(), &["sweep", "tiny.toml"]);
    let (runs, _) = record::load(&recording(folder.path())).unwrap();
    assert!(runs.iter().all(|run| run.error.is_none()), "{runs:?}");
}
