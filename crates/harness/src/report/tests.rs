use super::*;
use crate::machine::Machine;
use crate::record::Recording;
use crate::schema::Knob;

const EXPERIMENT: &str = r#"
title = "Cache policies on a made-up model"
analysis = '''
Numbers in this recording are invented.
'''
"#;

/// Kind, series, name and values of the swept knob, share of work at a value, PSNR lost at full speed.
type Sweep = (
    &'static str,
    &'static str,
    &'static str,
    &'static [f64],
    fn(f64) -> f64,
    f64,
);

const SWEEPS: [Sweep; 7] = [
    ("off", "off", "", &[0.0], |_| 1.0, 0.0),
    (
        "fewer-steps",
        "fewer-steps",
        "steps",
        &[20.0, 25.0, 30.0, 40.0],
        |n| n / 50.0,
        24.0,
    ),
    (
        "step",
        "step schedule=uniform form=residual",
        "interval",
        &[2.0, 3.0, 4.0, 5.0],
        |n| 0.12 + 0.88 / n,
        21.0,
    ),
    (
        "step",
        "step schedule=random form=residual",
        "share",
        &[0.3, 0.5, 0.7],
        |share| 1.0 - share * 0.9,
        25.0,
    ),
    (
        "step",
        "step form=output",
        "interval",
        &[2.0, 3.0, 4.0],
        |n| 0.14 + 0.86 / n,
        23.0,
    ),
    (
        "tea",
        "tea coefficients=wan-1.3b",
        "threshold",
        &[0.05, 0.08, 0.1, 0.15, 0.2],
        |t| 1.0 / (1.0 + 9.0 * t),
        17.0,
    ),
    (
        "mix",
        "mix penalty=last",
        "interval",
        &[2.0, 3.0, 4.0, 5.0],
        |n| 0.16 + 0.84 / (n * 0.9),
        12.0,
    ),
];

/// A plausible sweep: 3 prompts × 2 seeds, quality falling with speed at a rate that depends on the policy.
pub(super) fn sweep() -> (Vec<RunRow>, Vec<EventRow>) {
    let (mut runs, mut events) = (Vec::new(), Vec::new());
    for (policy, series, knob_name, values, work, loss) in SWEEPS {
        for (&value, clip) in values.iter().flat_map(|value| (0..6).map(move |clip| (value, clip))) {
            let work = work(value);
            let noise = f64::from((clip * 7 + 3) % 11) / 11.0 - 0.5;
            let off = policy == "off";
            let psnr = 38.0 - loss * (1.0 / work - 1.0) / 1.5 + 3.0 * noise;
            let label = if off {
                "off".into()
            } else {
                format!("{series} {knob_name}={value}")
            };
            let run = RunRow {
                run_key: format!("{:016x}", runs.len()),
                experiment: "sweep".into(),
                git_revision: "abcdef0".into(),
                machine: "AMD EPYC 7B13, 2 cores, 23.4 GiB".into(),
                device: "cpu (flex)".into(),
                dtype: "f32".into(),
                model: "wan-mini".into(),
                weights: "trained for this project".into(),
                sampler: "unipc".into(),
                steps: if policy == "fewer-steps" { value as u32 } else { 50 },
                shift: 5.0,
                guidance: 5.0,
                guidance_mode: "two-pass".into(),
                frames: 9,
                height: 64,
                width: 64,
                tokens: 768,
                threads: 2,
                policy: policy.into(),
                label,
                series: series.into(),
                knob: (!off).then_some(value),
                knob_name: (!off).then(|| knob_name.into()),
                knobs: [(knob_name.to_string(), Knob::Float(value))]
                    .into_iter()
                    .filter(|_| !off)
                    .collect(),
                prompt: ["a red fox", "a spinning globe", "rain on a window"][clip as usize / 2].into(),
                prompt_index: clip / 2,
                seed: u64::from(clip % 2),
                denoise_s: Some((60.0 + 3.0 * noise) * (work + 0.03 * f64::from(!off as u8) + 0.01 * noise)),
                compute_fraction: Some(work),
                reads: Some(if policy == "tea" { 50 } else { 0 }),
                cache_claimed_bytes: Some(if off { 0 } else { 9 << 20 }),
                cache_peak_bytes: Some(if off { 0 } else { 6 << 20 }),
                psnr_db: (!off).then_some(psnr),
                ssim: (!off).then_some(1.0 - 10f64.powf(-psnr / 25.0)),
                lpips: (!off).then_some(10f64.powf(-psnr / 20.0)),
                latent_rel_l2: (!off).then_some(10f64.powf(-psnr / 20.0) * 4.0),
                ..RunRow::default()
            };
            events.extend(decisions(&run));
            runs.push(run);
        }
    }
    (runs, events)
}

/// Steps of a 12-block model; `mix` takes turns between its three granularities.
fn decisions(run: &RunRow) -> Vec<EventRow> {
    let mut events: Vec<EventRow> = Vec::new();
    for (step, branch) in (0..run.steps).flat_map(|step| [(step, 0), (step, 1)]) {
        let full = step < 5 || step + 1 == run.steps;
        let mut push = |action: &str, value: Option<&str>, blocks: (u32, u32)| {
            events.push(EventRow {
                run_key: run.run_key.clone(),
                index: events.len() as u32,
                step,
                branch,
                full,
                block_from: blocks.0,
                block_to: blocks.1,
                action: action.into(),
                value: value.map(Into::into),
                ..EventRow::default()
            });
        };
        let reuse = !full && step % 4 != 0 && !["off", "fewer-steps"].contains(&run.policy.as_str());
        match (reuse, run.policy.as_str(), step % 4) {
            (true, "mix", 2) if branch == 1 => {
                push("reuse", Some("output: conditional + guidance difference"), (0, 12))
            }
            (true, "mix", 1) => {
                push("compute", None, (0, 3));
                push("reuse", Some("delta of the middle blocks"), (3, 10));
                push("compute", None, (10, 12));
            }
            (true, "mix", 3) => push("reuse", Some("output"), (0, 12)),
            (true, "mix", _) | (false, ..) => {
                if run.policy == "tea" || run.policy == "mix" {
                    push("look", None, (0, 0));
                }
                push("compute", None, (0, 12));
            }
            (true, ..) => push("reuse", Some("residual of all blocks"), (0, 12)),
        }
    }
    events
}

pub(super) fn recorded(runs: &[RunRow], events: &[EventRow]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let mut recording = Recording::create(
        root.path(),
        "sweep",
        EXPERIMENT,
        "0123456789abcdef",
        "abc",
        &Machine::detect(),
    )
    .unwrap();
    for run in runs {
        recording.append(run, &own(run, events)).unwrap();
    }
    let directory = recording.finish().unwrap();
    (root, directory)
}

/// `REPORT_SAMPLE=folder` keeps the pictures, to be looked at.
pub(super) fn keep(name: &str, report: &Report) {
    if let Some(folder) = std::env::var_os("REPORT_SAMPLE") {
        let folder = Path::new(&folder).join(name);
        fs::create_dir_all(&folder).unwrap();
        for file in &report.files {
            fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
    }
}

/// No text is cut off at the edge of the picture, and no two texts lie on each other.
fn assert_readable(svg: &Path) {
    let (boxes, height) = draw::text_boxes(&fs::read_to_string(svg).unwrap());
    assert!(boxes.len() > 10, "{} holds hardly any text", svg.display());
    for (i, (text, [left, top, right, bottom])) in boxes.iter().enumerate() {
        let inside = *left >= 0.0 && *top >= 0.0 && *right <= 1600.0 && *bottom <= height;
        assert!(inside, "{}: `{text}` is cut off", svg.display());
        for (other, [l, t, r, b]) in &boxes[..i] {
            // A line of text is a few pixels higher than its letters.
            let apart = right <= l || r <= left || bottom - 3.0 <= *t || b - 3.0 <= *top;
            assert!(apart, "{}: `{text}` lies on `{other}`", svg.display());
        }
    }
}

fn png_size(path: &Path) -> (u32, u32) {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    (reader.info().width, reader.info().height)
}

#[test]
fn a_report_shows_every_series_and_says_what_it_was_made_from() {
    let (runs, events) = sweep();
    let (_root, directory) = recorded(&runs, &events);
    let report = write(&directory).unwrap();
    keep("sweep", &report);

    for picture in report
        .files
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "svg"))
    {
        assert_readable(picture);
    }
    let page = fs::read_to_string(&report.page).unwrap();
    assert!(page.starts_with("# Cache policies on a made-up model\n\nNumbers in this recording are invented."));
    assert!(page.contains(&format!(
        "`mixcache report results/{}`",
        directory.file_name().unwrap().display()
    )));
    assert!(page.contains("Speed-ups are relative to off (median"));
    let svg = fs::read_to_string(directory.join("report/curves.svg")).unwrap();
    for (_, series, knob, ..) in &SWEEPS[1..] {
        assert!(
            svg.contains(&format!("{series} (by {knob})")),
            "{series} is not in the legend"
        );
    }
    assert!(!svg.contains("STAND-IN") && !svg.contains("Speed only"));
    assert_eq!(png_size(&directory.join("report/curves.png")), (3200, 1800));
    assert!(
        directory
            .join("report/heatmap-mix-penalty-last-interval-3.svg")
            .exists()
    );
    let table = fs::read_to_string(directory.join("report/table.csv")).unwrap();
    assert_eq!(
        table.lines().count(),
        1 + SWEEPS.iter().map(|sweep| sweep.3.len()).sum::<usize>()
    );
}

/// The sweep is made so that `mix` loses least at any speed, and `random` most.
#[test]
fn policies_are_compared_at_equal_speed_and_ranked() {
    let (runs, events) = sweep();
    let (_root, directory) = recorded(&runs, &events);
    let page = fs::read_to_string(write(&directory).unwrap().page).unwrap();
    let after = |title: &str| page[page.find(title).unwrap()..].to_string();
    let first_row = |title: &str| {
        after(title)
            .lines()
            .skip_while(|line| !line.starts_with("|---"))
            .nth(1)
            .map(String::from)
    };
    let best = first_row("### PSNR gained over fewer-steps, clip by clip").unwrap();
    assert!(
        best.starts_with("| mix penalty=last |") && best.contains("**"),
        "{best}"
    );
    let ranks = first_row("### Ranks at").unwrap();
    assert!(ranks.starts_with("| mix penalty=last | 1.00 |"), "{ranks}");
    let against_mix = after("### PSNR gained over mix penalty=last");
    let random = against_mix
        .lines()
        .find(|line| line.contains("schedule=random"))
        .unwrap();
    assert!(random.contains("**-"), "{random}");
    let csv = fs::read_to_string(directory.join("report/compared.csv")).unwrap();
    assert!(
        csv.starts_with("reference,series,speedups,mean_db,reference_mean_db,gained_db,gained_db_low,gained_db_high,")
    );
}

/// Rows of a CSV of the report, by column.
fn csv_rows(directory: &Path, name: &str) -> Vec<BTreeMap<String, String>> {
    let text = fs::read(directory.join("report").join(name)).unwrap();
    csv::Reader::from_reader(&text[..])
        .deserialize()
        .map(Result::unwrap)
        .collect()
}

/// By the formula of the sweep 30 dB take 1 / (1 + 12 / loss) of the work: .5 under `mix`, .59 under `tea`, less than under
/// any other policy of one granularity.
#[test]
fn policies_are_priced_at_equal_quality_beside_the_best_of_one_granularity() {
    let (mut runs, events) = sweep();
    for run in runs.iter_mut().filter(|run| run.series == "step form=output") {
        run.policy = "amended".into();
    }
    let (_root, directory) = recorded(&runs, &events);
    let page = fs::read_to_string(write(&directory).unwrap().page).unwrap();
    assert!(page.contains("### At equal PSNR") && page.contains("### At equal LPIPS"));
    let rows = csv_rows(&directory, "equal-psnr.csv");
    let at = |quality: &str, series: &str| {
        let found = rows
            .iter()
            .find(|row| row["psnr_db"] == quality && row["series"] == series);
        found.unwrap_or_else(|| panic!("no row of {series}")).clone()
    };
    let at_30 = |series: &str| at("30", series);
    let (mix, tea) = (at_30("mix penalty=last"), at_30("tea coefficients=wan-1.3b"));
    assert_eq!(
        (mix["granularities"].as_str(), tea["granularities"].as_str()),
        ("several", "one")
    );
    assert_eq!(mix["best_of_one_granularity"], "tea coefficients=wan-1.3b");
    assert_eq!(at_30("step schedule=random form=residual")["granularities"], "control");
    assert_eq!(
        at("25", "step form=output")["granularities"],
        "amended",
        "which nobody publishes so"
    );
    let number = |row: &BTreeMap<String, String>, name: &str| row[name].parse::<f64>().unwrap();
    // Lines between settings lie a little above the formula, which is convex.
    assert!((number(&mix, "compute_fraction") - 0.5).abs() < 0.02, "{mix:?}");
    assert!((number(&tea, "compute_fraction") - 0.586).abs() < 0.02, "{tea:?}");
    let ratio = number(&tea, "compute_fraction") / number(&mix, "compute_fraction");
    assert!((number(&mix, "less_compute") - ratio).abs() < 1e-12, "{mix:?}");
    assert!(
        number(&mix, "less_compute_low") > 1.0 && number(&mix, "faster") > 1.0,
        "{mix:?}"
    );
    assert!(tea["less_compute"].is_empty(), "the best is not compared with itself");
}

/// Marked runs are those of `tea`, 5 dB better: they would win everywhere.
#[test]
fn the_upper_line_is_drawn_and_measured_against_but_no_candidate() {
    let (mut runs, events) = sweep();
    let tea: Vec<RunRow> = runs.iter().filter(|run| run.policy == "tea").cloned().collect();
    runs.extend(tea.into_iter().map(|run| RunRow {
        run_key: format!("u{}", &run.run_key[1..]),
        label: format!("told {}", run.label),
        series: "told".into(),
        psnr_db: run.psnr_db.map(|db| db + 5.0),
        upper: true,
        ..run
    }));
    let (_root, directory) = recorded(&runs, &events);
    let report = write(&directory).unwrap();
    keep("upper", &report);
    let name = "upper line (estimate): told";
    let svg = fs::read_to_string(directory.join("report/curves.svg")).unwrap();
    assert!(svg.contains(name) && fs::read_to_string(report.html).unwrap().contains(name));
    let page = fs::read_to_string(&report.page).unwrap();
    let ranks = &page[page.find("### Ranks at").unwrap()..];
    assert!(!ranks[..ranks.find("### At equal").unwrap()].contains(name));
    let equal = csv_rows(&directory, "equal-psnr.csv");
    assert!(
        equal
            .iter()
            .any(|row| row["series"] == name && row["granularities"] == "upper line")
    );
    assert!(equal.iter().all(|row| row["best_of_one_granularity"] != name));

    let shares = csv_rows(&directory, "share-of-gain.csv");
    let number = |row: &BTreeMap<String, String>, name: &str| row[name].parse::<f64>().unwrap();
    let tea = shares.iter().filter(|row| row["series"] == "tea coefficients=wan-1.3b");
    for row in tea.clone() {
        let [own, control, upper] = ["psnr_db", "control_psnr_db", "upper_psnr_db"].map(|name| number(row, name));
        assert!((upper - own - 5.0).abs() < 1e-9, "the same line, 5 dB below: {row:?}");
        assert!(
            (number(row, "share_of_gain") - (own - control) / (upper - control)).abs() < 1e-12,
            "{row:?}"
        );
        assert!(
            row["control"].contains("uniform") || row["control"] == "fewer-steps",
            "both lose less than random steps"
        );
    }
    assert!(tea.count() > 1 && page.contains("### Share of the upper line's gain"));
}

/// Every cached clip lies (3, 4) from its uncached one: the sets differ in their means alone, by 3² + 4².
#[test]
fn the_frechet_distance_of_a_policy_is_that_of_its_set_of_clips() {
    let (mut runs, events) = sweep();
    for run in &mut runs {
        let clip = 2.0 * run.prompt_index as f32 + run.seed as f32;
        let by = if run.policy == "off" { 0.0 } else { 1.0 };
        run.i3d_logits = vec![clip + 3.0 * by, clip * clip + 4.0 * by];
    }
    let (_root, directory) = recorded(&runs, &events);
    let page = fs::read_to_string(write(&directory).unwrap().page).unwrap();
    assert!(
        page.contains("Fréchet I3D") && page.contains("**6 clips are fewer than 50"),
        "{page}"
    );
    for row in csv_rows(&directory, "table.csv")
        .iter()
        .filter(|row| row["policy"] != "off")
    {
        // Features are f32, of up to 40.
        assert!(
            (row["i3d_frechet"].parse::<f64>().unwrap() - 25.0).abs() < 1e-9,
            "{row:?}"
        );
    }
    // One run without them, and its policy's set is not the same set any more.
    runs.last_mut().unwrap().i3d_logits.clear();
    let (_root, directory) = recorded(&runs, &events);
    write(&directory).unwrap();
    let rows = csv_rows(&directory, "table.csv");
    assert_eq!(
        rows.iter()
            .filter(|row| row["policy"] != "off" && row["i3d_frechet"].is_empty())
            .count(),
        1
    );
}

/// Speed without quality, or a policy without a curve, leaves nothing to compare: the page says so by its silence.
#[test]
fn without_quality_nothing_is_compared() {
    let (mut runs, events) = sweep();
    for run in &mut runs {
        (run.psnr_db, run.latent_rel_l2) = (None, None);
    }
    let (_root, directory) = recorded(&runs, &events);
    let page = fs::read_to_string(write(&directory).unwrap().page).unwrap();
    assert!(!page.contains("clip by clip") && !page.contains("### Ranks"));
}

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
fn stand_ins_and_missing_quality_are_said_in_the_picture() {
    let (mut runs, events) = sweep();
    for run in &mut runs {
        run.substituted = "random weights for Wan2.1 1.3B".into();
        (run.psnr_db, run.ssim, run.latent_rel_l2) = (None, None, None);
    }
    let (_root, directory) = recorded(&runs, &events);
    let report = write(&directory).unwrap();
    keep("stand-in", &report);
    let svg = fs::read_to_string(directory.join("report/curves.svg")).unwrap();
    assert!(svg.contains("STAND-IN: random weights for Wan2.1 1.3B") && svg.contains("Speed only"));
    let heatmap = fs::read_to_string(directory.join("report/heatmap-mix-penalty-last-interval-3.svg")).unwrap();
    assert!(heatmap.contains("STAND-IN"));
}

/// Two uncached modes, fourteen curves with long names, a policy that changes nothing, another sampler, long prompts.
#[test]
fn a_crowded_recording_stays_readable() {
    let (runs, events) = sweep();
    let mut all = Vec::new();
    for run in &runs {
        let batched = RunRow {
            run_key: format!("b{}", &run.run_key[1..]),
            guidance_mode: "batched".into(),
            denoise_s: run.denoise_s.map(|seconds| seconds * 0.93),
            ..run.clone()
        };
        let euler = RunRow {
            run_key: format!("e{}", &run.run_key[1..]),
            sampler: "euler".into(),
            ..run.clone()
        };
        let variant = RunRow {
            run_key: format!("f{}", &run.run_key[1..]),
            series: format!("{} with a second knob at its other value", run.series),
            label: format!("{} with a second knob at its other value", run.label),
            denoise_s: run.denoise_s.map(|seconds| seconds * 0.97),
            psnr_db: run.knob.map(|knob| if knob == 2.0 { 100.0 } else { 25.0 + knob }),
            latent_rel_l2: run.knob.map(|knob| if knob == 2.0 { 0.0 } else { 0.01 * knob }),
            ..run.clone()
        };
        all.push(run.clone());
        match run.policy.as_str() {
            "off" => all.extend([batched, euler]),
            "mix" => all.extend([euler, variant]),
            _ => all.push(variant),
        }
    }
    for run in &mut all {
        run.prompt = format!(
            "{} {}",
            run.prompt,
            "in the warm light of a long summer evening ".repeat(6)
        );
        run.substituted = "random weights of the right shapes for Wan2.1 1.3B, ".repeat(5);
    }
    let renamed: Vec<EventRow> = all
        .iter()
        .flat_map(|run| {
            let original = format!("0{}", &run.run_key[1..]);
            let own = events.iter().filter(move |event| event.run_key == original);
            own.map(|event| EventRow {
                run_key: run.run_key.clone(),
                ..event.clone()
            })
            .collect::<Vec<_>>()
        })
        .collect();
    let (_root, directory) = recorded(&all, &renamed);
    let report = write(&directory).unwrap();
    keep("crowded", &report);
    assert_eq!(report.groups.len(), 2, "one for each sampler");
    for picture in report
        .files
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "svg"))
    {
        assert_readable(picture);
    }
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
fn a_heat_map_can_be_asked_for_by_run_key() {
    let (runs, events) = sweep();
    let (_root, directory) = recorded(&runs, &events);
    let last = runs.last().unwrap();
    let [svg, _] = write_heatmap(&directory, &last.run_key).unwrap();
    assert!(fs::read_to_string(svg).unwrap().contains(&last.label));
    let error = write_heatmap(&directory, "feed").unwrap_err().to_string();
    assert!(error.contains("`feed`"), "{error}");
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
