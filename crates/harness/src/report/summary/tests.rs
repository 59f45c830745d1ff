use super::*;

fn run(policy: &str, prompt: &str, repeat: u32, seconds: f64) -> RunRow {
    RunRow {
        policy: policy.into(),
        label: policy.into(),
        series: policy.into(),
        prompt: prompt.into(),
        repeat,
        steps: 50,
        denoise_s: Some(seconds),
        ..RunRow::default()
    }
}

fn find<'a>(group: &'a Group, label: &str) -> &'a Summary {
    group.summaries.iter().find(|summary| summary.label == label).unwrap()
}

#[test]
fn speed_is_compared_with_the_uncached_run_of_the_same_prompt() {
    // The slow prompt is slow for both: unpaired medians would give another ratio.
    let runs = [
        run("off", "short", 0, 10.0),
        run("off", "long", 0, 100.0),
        run("tea", "short", 0, 5.0),
        run("tea", "long", 0, 50.0),
    ];
    let groups = summarise(&runs);
    let speedup = find(&groups[0], "tea").speedup.unwrap();
    assert_eq!(
        speedup,
        Estimate {
            value: 2.0,
            interval: Some((2.0, 2.0))
        }
    );
    assert_eq!(find(&groups[0], "off").speedup.unwrap().value, 1.0);
}

#[test]
fn the_faster_of_two_uncached_modes_is_the_baseline() {
    let mode = |mode: &str, row| RunRow {
        guidance_mode: mode.into(),
        ..row
    };
    let runs = [
        mode("two-pass", run("off", "p", 0, 10.0)),
        mode("batched", run("off", "p", 0, 8.0)),
        mode("two-pass", run("tea", "p", 0, 4.0)),
    ];
    let group = summarise(&runs).remove(0);
    assert_eq!(group.baseline, Some(("off (batched)".to_string(), 8.0)));
    assert_eq!(find(&group, "tea").speedup.unwrap().value, 2.0);
    assert_eq!(find(&group, "off (two-pass)").speedup.unwrap().value, 0.8);
}

#[test]
fn repeats_of_a_clip_do_not_narrow_the_interval_of_quality() {
    let with = |psnr, row| RunRow {
        psnr_db: Some(psnr),
        ..row
    };
    let once = vec![with(30.0, run("tea", "a", 0, 1.0)), with(40.0, run("tea", "b", 0, 1.0))];
    let mut thrice = once.clone();
    for repeat in 1..3 {
        thrice.extend(once.iter().map(|row| RunRow { repeat, ..row.clone() }));
    }
    let psnr = |runs: &[RunRow]| summarise(runs)[0].summaries[0].psnr_db.unwrap();
    assert_eq!(psnr(&once), psnr(&thrice));
    assert_eq!(
        psnr(&once),
        Estimate {
            value: 35.0,
            interval: Some((30.0, 40.0))
        }
    );
}

#[test]
fn failed_runs_are_counted_and_measure_nothing() {
    let failed = RunRow {
        error: Some("out of memory".into()),
        ..run("tea", "a", 0, 0.001)
    };
    let groups = summarise(&[run("off", "a", 0, 10.0), failed]);
    let tea = find(&groups[0], "tea");
    assert_eq!((tea.runs, tea.failures, tea.speedup), (0, 1, None));
}

#[test]
fn realised_is_the_share_of_the_saved_work_that_became_speed() {
    let half = RunRow {
        compute_fraction: Some(0.25),
        ..run("tea", "a", 0, 5.0)
    };
    let groups = summarise(&[run("off", "a", 0, 10.0), half]);
    assert_eq!(find(&groups[0], "tea").realised(), Some(0.5));
}

/// Four uncached runs of 10 s, 1 % up and down: exp(3.182 · √2 · .0115) = 1.053. Half the work at 2.05× is within it,
/// at 2.2× it is not.
#[test]
fn a_speed_up_beyond_the_saved_work_and_the_spread_of_the_uncached_runs_is_impossible() {
    let half = |prompt: &str, seconds: f64| RunRow {
        compute_fraction: Some(0.5),
        ..run("tea", prompt, 0, seconds)
    };
    let with = |speedup: f64| {
        let prompts = [("a", 9.9), ("b", 10.1), ("c", 9.9), ("d", 10.1)];
        let off = prompts.map(|(prompt, seconds)| run("off", prompt, 0, seconds));
        let tea = prompts.map(|(prompt, seconds)| half(prompt, seconds / speedup));
        summarise(&[off, tea].concat()).remove(0)
    };
    let (possible, impossible) = (with(2.05), with(2.2));
    // The deviation of the logarithms is .0115470 up to terms of third order.
    assert!((possible.off_spread.unwrap() - 1.0534).abs() < 1e-3);
    assert!(!find(&possible, "tea").is_impossible(possible.off_spread));
    assert!(find(&impossible, "tea").is_impossible(impossible.off_spread));
    let alone = summarise(&[run("off", "a", 0, 10.0), half("a", 1.0)]).remove(0);
    assert_eq!(alone.off_spread, None, "one uncached run tells nothing of the noise");
}

#[test]
fn devices_and_step_counts_are_not_mixed_but_fewer_steps_joins_its_full_run() {
    let fewer = RunRow {
        steps: 20,
        ..run("fewer-steps", "a", 0, 4.0)
    };
    let gpu = RunRow {
        device: "gpu".into(),
        ..run("off", "a", 0, 1.0)
    };
    let short = RunRow {
        steps: 25,
        ..run("off", "a", 0, 5.0)
    };
    let groups = summarise(&[run("off", "a", 0, 10.0), fewer, gpu, short]);
    assert_eq!(groups.iter().map(|group| group.steps).collect::<Vec<_>>(), [25, 50, 50]);
    let speedup = groups.iter().find_map(|group| {
        let summary = group.summaries.iter().find(|s| s.policy == "fewer-steps")?;
        Some(summary.speedup.unwrap().value)
    });
    assert_eq!(speedup, Some(2.5));
}

#[test]
fn controls_are_told_from_policies() {
    let summary = |policy: &str, series: &str| Summary {
        policy: policy.into(),
        series: series.into(),
        ..Summary::default()
    };
    assert!(summary("fewer_steps", "fewer_steps").is_control());
    assert!(summary("step", "step schedule=random form=residual").is_control());
    assert!(!summary("step", "step form=residual").is_control());
    assert!(summary("mix", "mix penalty=last").is_mix());
}
