use super::*;
use crate::machine::Machine;
use crate::record;
use crate::schema::RunRow;
use std::collections::BTreeMap;
use std::fs;

const QUOTED: &str = r#"
title = "Main table"
[[setting]]
stem = "large"
name = "A large model"
models = ["large"]
stand_ins = ["small"]
speedup = 2.0
row = [
    { policy = "MixCache", speedup = 1.94, lpips = 0.13, label = "paper", source = "its abstract" },
    { policy = "MixCache", speedup = 1.8, psnr_db = 23.45, label = "second-hand", source = "somebody else" },
]
"#;

/// A recording of two policies with two settings each, on six clips, under `results/<experiment>`.
fn record(results: &Path, experiment: &str, model: &str, started_at: &str, better_db: f64) {
    record_through(results, experiment, model, started_at, better_db, "");
}

/// The same, of frames that went through something.
fn record_through(results: &Path, experiment: &str, model: &str, started_at: &str, better_db: f64, through: &str) {
    let toml = format!("title = \"{experiment} & more\"");
    let root = results.join(experiment);
    let mut recording =
        record::Recording::create(&root, experiment, &toml, "0123456789abcdef", "abc", &Machine::detect()).unwrap();
    let policies = [
        ("off", 1.0, 0.0),
        ("tea", 1.5, 0.0),
        ("tea", 2.1, 0.0),
        ("mix", 1.5, better_db),
        ("mix", 1.9, better_db),
    ];
    for (clip, (policy, speedup, better_db)) in (0..6).flat_map(|clip| policies.map(|policy| (clip, policy))) {
        let off = policy == "off";
        let label = if off {
            "off".to_string()
        } else {
            format!("{policy} threshold={speedup}")
        };
        let psnr_db = 60.0 - 10.0 * speedup + better_db + f64::from(clip);
        let run = RunRow {
            run_key: format!("{label} {clip}"),
            model: model.into(),
            height: 64,
            steps: 50,
            policy: policy.into(),
            series: policy.into(),
            label,
            knob: (!off).then_some(speedup),
            knob_name: (!off).then(|| "threshold".into()),
            prompt: format!("prompt {clip}"),
            denoise_s: Some((10.0 + 0.1 * f64::from(clip)) / speedup),
            compute_fraction: Some(1.0 / speedup),
            cache_claimed_bytes: Some(if off { 0 } else { 3 << 20 }),
            looks: Some(if off { 0 } else { 12 }),
            psnr_db: (!off).then_some(psnr_db),
            through: through.into(),
            started_at: started_at.into(),
            ..RunRow::default()
        };
        recording.append(&run, &[]).unwrap();
    }
    recording.finish().unwrap();
}

/// Results and published numbers in a folder of its own.
fn project() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let (results, quoted) = (root.path().join("results"), root.path().join("quoted"));
    record(&results, "sweep", "small", "2026-01-01T00:00:00Z", 1.0);
    record(&results, "sweep", "small", "2026-02-01T00:00:00Z", 3.0);
    record(&results, "ablation-penalty", "small", "2026-01-01T00:00:00Z", 2.0);
    fs::create_dir(&quoted).unwrap();
    for file in ["mixcache.toml", "teacache.toml"] {
        fs::write(quoted.join(file), QUOTED).unwrap();
    }
    root
}

fn tables(root: &Path) -> BTreeMap<String, String> {
    let output = root.join("results/tables");
    let files = write(&root.join("results"), &root.join("quoted"), &output).unwrap();
    let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
    files
        .iter()
        .map(|file| (name(file), fs::read_to_string(file).unwrap()))
        .collect()
}

#[test]
fn the_same_results_give_the_same_tables_byte_for_byte_wherever_they_lie() {
    let (here, there) = (project(), project());
    let first = tables(here.path());
    assert_eq!(first, tables(here.path()), "a second time, over the first");
    assert_eq!(first, tables(there.path()), "in another folder");
    for kind in ["md", "csv", "tex"] {
        assert!(first.keys().any(|name| name.ends_with(kind)), "no {kind}");
    }
}

#[test]
fn published_rows_keep_their_digits_and_ours_say_what_they_are_and_where_they_come_from() {
    let root = project();
    let main = &tables(root.path())["main.md"];
    assert!(
        main.contains("| MixCache | 1.94× | – | 0.13 |") && main.contains("| paper | its abstract |"),
        "{main}"
    );
    assert!(main.contains("| second-hand | somebody else |"));
    let ours: Vec<&str> = main
        .lines()
        .filter(|line| line.contains("measured (stand-in: small) |"))
        .collect();
    // They stand in a table of their own.
    let apart = main.find("small models in its place").unwrap();
    assert!(main.find("measured (stand-in: small) |").unwrap() > apart, "{main}");
    assert!(main.find("| second-hand | somebody else |").unwrap() < apart, "{main}");
    // One row a policy, at the speed nearest to 2×; of the newest recording: 60 − 19 + 3 + 2.5 dB.
    assert_eq!(ours.len(), 2, "{main}");
    assert!(
        ours[0].starts_with("| mix threshold=1.9 | [1.90×") && ours[0].contains("[46.50 ± "),
        "{}",
        ours[0]
    );
    assert!(ours[1].starts_with("| tea threshold=2.1 |"));
    let link = main.lines().find_map(|line| line.split_once("]: ")).unwrap().1;
    let recording = root.path().join("results/tables").join(link);
    let recording = recording.parent().unwrap().parent().unwrap();
    assert!(recording.join("runs.parquet").is_file(), "{link}");
    assert!(!main.contains("ablation"), "ablations have a page of their own");
}

#[test]
fn numbers_of_frames_that_went_through_a_codec_stand_apart_and_say_so() {
    let root = project();
    // Newer than all others: it must not take their place.
    let (results, newest) = (root.path().join("results"), "2026-03-01T00:00:00Z");
    for experiment in ["sweep", "ablation-penalty"] {
        record_through(&results, experiment, "small", newest, 9.0, "H.264, CRF 25");
    }
    let all = tables(root.path());
    let rows = |label: &str| -> Vec<&str> {
        let lines = all["main.md"].lines();
        lines.filter(|line| line.contains(&format!("| {label} |"))).collect()
    };
    assert_eq!(rows("measured (stand-in: small)").len(), 2);
    let through = rows("measured (stand-in: small; through H.264, CRF 25)");
    assert_eq!(through.len(), 2);
    assert!(
        through[0].contains("[52.50 ± ") && through[0].contains("sweep-through-h.264-crf-25"),
        "{}",
        through[0]
    );
    let page = &all["ablations.md"];
    assert!(
        page.contains("| PSNR dB |") && page.contains("| PSNR dB (H.264, CRF 25) |"),
        "{page}"
    );
    let [plain, coded] = ["ablation-penalty.csv", "ablation-penalty-through-h.264-crf-25.csv"].map(|file| &all[file]);
    assert!(!plain.contains("H.264") && coded.contains("H.264, CRF 25"), "{coded}");
}

#[test]
fn ablations_stand_beside_their_first_variant_clip_by_clip() {
    let root = project();
    let all = tables(root.path());
    let page = &all["ablations.md"];
    assert!(page.contains("## ablation-penalty & more"));
    let row = |start: &str| page.lines().find(|line| line.starts_with(start)).unwrap();
    // The first variant is compared with itself only: nothing is said. The clips differ by decibels, the gain does not.
    assert!(row("| tea | threshold=1.5 |").contains("| – |"), "{page}");
    assert!(
        row("| mix | threshold=1.5 |").contains("**2.00 [2.00, 2.00]**"),
        "{page}"
    );
    assert!(all.contains_key("ablation-penalty.tex"));
}

#[test]
fn memory_and_looks_of_every_policy_are_listed() {
    let root = project();
    let costs = &tables(root.path())["costs.md"];
    let row = costs
        .lines()
        .find(|line| line.starts_with("| mix | threshold=1.9 |"))
        .unwrap();
    assert!(row.contains("[3.0][sweep/") && row.contains("[12][sweep/"), "{row}");
}

#[test]
fn what_cannot_be_used_is_named() {
    let root = project();
    let (results, quoted) = (root.path().join("results"), root.path().join("quoted"));
    let refused = |results: &Path, quoted: &Path| {
        let error = write(results, quoted, &root.path().join("out")).unwrap_err();
        format!("{error:#}")
    };
    assert!(refused(&quoted, &quoted).contains("holds no finished recording"));
    assert!(refused(&results, &results).contains("mixcache.toml"));
    let path = quoted.join("mixcache.toml");
    fs::write(&path, QUOTED.replace("second-hand", "third-hand")).unwrap();
    let error = refused(&results, &quoted);
    assert!(
        error.contains("mixcache.toml") && error.contains("third-hand"),
        "{error}"
    );
}
