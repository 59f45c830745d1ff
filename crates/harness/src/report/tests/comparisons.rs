//! The tables that compare policies.

use super::*;

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

/// A sweep that ends above the quality asked for has not failed to reach it: left out, `tea` would leave the place of the
/// best to a policy that needs more.
#[test]
fn a_policy_whose_every_setting_is_better_is_the_best_at_its_cheapest() {
    let (mut runs, events) = sweep();
    for run in runs.iter_mut().filter(|run| run.policy == "tea") {
        run.psnr_db = run.psnr_db.map(|db| db + 40.0);
    }
    let cheapest = runs
        .iter()
        .filter(|run| run.policy == "tea")
        .map(|run| run.compute_fraction);
    let cheapest = cheapest.flatten().fold(f64::INFINITY, f64::min);
    let (_root, directory) = recorded(&runs, &events);
    let page = fs::read_to_string(write(&directory).unwrap().page).unwrap();
    let rows = csv_rows(&directory, "equal-psnr.csv");
    let at_30 = |series: &str| {
        let found = rows
            .iter()
            .find(|row| row["psnr_db"] == "30" && row["series"] == series);
        found.unwrap_or_else(|| panic!("no row of {series}"))
    };
    let (mix, tea) = (at_30("mix penalty=last"), at_30("tea coefficients=wan-1.3b"));
    assert_eq!((tea["bound"].as_str(), mix["bound"].as_str()), ("at most", ""));
    assert!((tea["compute_fraction"].parse::<f64>().unwrap() - cheapest).abs() < 1e-12); // a mean of equal numbers
    assert_eq!(mix["best_of_one_granularity"], "tea coefficients=wan-1.3b");
    assert!(mix["less_compute"].is_empty(), "how much less is not known: {mix:?}");
    assert!(page.contains(&format!("**≤ {:.0} %, ≥ ", 100.0 * cheapest)), "{page}");
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
