//! What a report shows: pictures that can be read, and what they say of their making.

use super::*;

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
    assert!(page.contains(&format!("`mixcache report {}`", directory.display())));
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

#[test]
fn the_command_that_makes_a_report_again_can_be_pasted() {
    let here = std::env::current_dir().unwrap();
    for (directory, argument) in [
        (
            "results/mini/2026-01-31-1a2b3c4d".into(),
            "results/mini/2026-01-31-1a2b3c4d",
        ),
        (
            here.join("results/mini/2026-01-31-1a2b3c4d"),
            "results/mini/2026-01-31-1a2b3c4d",
        ),
        (here, "."),
        (
            "/data/mini/2026-01-31-1a2b3c4d".into(),
            "/data/mini/2026-01-31-1a2b3c4d",
        ),
        ("/data/my results/it's".into(), r"'/data/my results/it'\''s'"),
    ] {
        assert_eq!(command(&directory), format!("mixcache report {argument}"));
    }
}

#[test]
fn each_of_a_crowd_of_policies_gets_a_panel_of_its_own() {
    let (runs, _) = sweep();
    let names: Vec<String> = (0..30).map(|i| format!("p{i}")).collect();
    let one = runs.iter().filter(|run| run.series == "step form=output");
    let like = |name: &str, run: &RunRow| RunRow {
        run_key: format!("{name}-{}", run.run_key),
        series: name.to_string(),
        label: run.label.replace(&run.series, name),
        ..run.clone()
    };
    let crowd = one.flat_map(|run| names.iter().map(|name| like(name, run)));
    let off = runs.iter().filter(|run| run.policy == "off").cloned();
    let (_root, directory) = recorded(&off.chain(crowd).collect::<Vec<_>>(), &[]);
    let report = write(&directory).unwrap();
    keep("crowd", &report);
    let svg = directory.join("report/curves.svg");
    assert_readable(&svg);
    let (texts, _) = draw::text_boxes(&fs::read_to_string(&svg).unwrap());
    let left_of = |name: &String| {
        let title = texts.iter().find(|(text, _)| text.split(' ').next() == Some(name));
        title.unwrap_or_else(|| panic!("{name} has no panel")).1
    };
    let places: std::collections::BTreeSet<_> = names
        .iter()
        .map(left_of)
        .map(|[l, t, ..]| (l as i32, t as i32))
        .collect();
    assert_eq!(places.len(), names.len());
    // Alone, every point has room for its knob.
    let knobs = texts
        .iter()
        .filter(|(text, _)| text.parse::<f64>().is_ok_and(|knob| (2.0..=5.0).contains(&knob)));
    assert_eq!(knobs.count(), 3 * names.len());
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
fn a_heat_map_can_be_asked_for_by_run_key() {
    let (runs, events) = sweep();
    let (_root, directory) = recorded(&runs, &events);
    let last = runs.last().unwrap();
    let [svg, _] = write_heatmap(&directory, &last.run_key).unwrap();
    assert!(fs::read_to_string(svg).unwrap().contains(&last.label));
    let error = write_heatmap(&directory, "feed").unwrap_err().to_string();
    assert!(error.contains("`feed`"), "{error}");
}
