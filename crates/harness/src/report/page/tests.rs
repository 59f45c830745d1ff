use crate::report::tests::{recorded, sweep};
use crate::report::write;
use crate::schema::RunRow;
use serde_json::Value;
use std::fs;

/// The page of these runs, and the data in it.
fn page(runs: &[RunRow], events: &[crate::schema::EventRow]) -> (String, Value) {
    let (_root, directory) = recorded(runs, events);
    let report = write(&directory).unwrap();
    crate::report::tests::keep(&format!("page-{}", runs.len()), &report);
    let html = fs::read_to_string(report.html).unwrap();
    let data = data_of(&html);
    (html, data)
}

fn data_of(html: &str) -> Value {
    let (_, data) = html
        .split_once(r#"<script type="application/json" id="data">"#)
        .unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    serde_json::from_str(data).expect("the embedded data is JSON")
}

#[test]
fn the_page_holds_every_run_and_what_it_decided() {
    let (mut runs, events) = sweep();
    runs[20].error = Some("latents hold NaN at step 7".into());
    let (_, data) = page(&runs, &events);
    let shown = data["groups"][0]["runs"].as_array().unwrap();
    let keys: Vec<&str> = shown.iter().map(|run| run["key"].as_str().unwrap()).collect();
    assert_eq!(keys, runs.iter().map(|run| run.run_key.as_str()).collect::<Vec<_>>());
    assert_eq!(shown[20]["error"], "latents hold NaN at step 7");
    let (patterns, decided) = (
        data["decisions"]["patterns"].as_array().unwrap(),
        &data["decisions"]["runs"],
    );
    for run in &runs {
        let passes = decided[&run.run_key]["passes"].as_array().unwrap();
        assert_eq!(passes.len(), 2 * run.steps as usize, "a pass for each step and branch");
        assert!(
            passes
                .iter()
                .all(|pass| (pass.as_u64().unwrap() as usize) < patterns.len())
        );
    }
}

/// The tables of report.md, each with the numbers of its CSV to four digits.
#[test]
fn the_page_compares_policies_as_the_report_does() {
    let (mut runs, events) = sweep();
    for run in runs.iter_mut().filter(|run| run.policy == "tea") {
        run.upper = true;
    }
    let (_root, directory) = recorded(&runs, &events);
    let report = write(&directory).unwrap();
    let data = data_of(&fs::read_to_string(report.html).unwrap());
    let tables = data["groups"][0]["compared"].as_array().unwrap();
    let mut titles: Vec<&str> = tables.iter().map(|table| table["title"].as_str().unwrap()).collect();
    let text = fs::read_to_string(report.page).unwrap();
    let mut headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(
        titles[..2],
        ["At equal PSNR", "At equal LPIPS"],
        "what answers most comes first"
    );
    titles.sort();
    headings.sort();
    assert_eq!(titles, headings);

    let shares = tables
        .iter()
        .find(|table| table["title"] == "Share of the upper line's gain")
        .unwrap();
    let csv = fs::read(directory.join("report/share-of-gain.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = csv::Reader::from_reader(&csv[..])
        .records()
        .map(Result::unwrap)
        .collect();
    assert_eq!(shares["rows"].as_array().unwrap().len(), rows.len());
    for (shown, row) in shares["rows"].as_array().unwrap().iter().zip(&rows) {
        let cells = shown["cells"].as_array().unwrap();
        assert_eq!(cells[1], row[1]);
        let interval = cells[5].as_array().unwrap();
        for (shown, exact) in interval.iter().zip([&row[7], &row[8], &row[9]]) {
            let exact: f64 = exact.parse().unwrap();
            assert!(
                (shown.as_f64().unwrap() - exact).abs() <= 5e-4 * exact.abs(),
                "{shown}: {exact}"
            );
        }
    }
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let (mut runs, events) = sweep();
    let hostile = "</script><script src=\"https://example.org/x.js\"></script><!--";
    runs.iter_mut().for_each(|run| run.prompt = hostile.into());
    let (html, data) = page(&runs, &events);
    assert_eq!(
        data["provenance"]["prompts"][0], hostile,
        "a prompt is data, whatever it says"
    );
    assert_eq!(html.matches("</script>").count(), 2, "and ends no script");
    let (before, after) = html.split_once(r#"id="data">"#).unwrap();
    let own = format!("{before}{}", after.split_once("</script>").unwrap().1);
    for outside in ["http:", "https:", "//cdn", "@import", "url(", "fetch(", "import("] {
        assert!(
            !own.contains(outside),
            "the page asks for something outside itself: {outside}"
        );
    }
    assert!(own.contains("default-src 'none'"), "and the browser holds it to that");
}

#[test]
fn a_page_of_five_hundred_runs_stays_small() {
    let (runs, events) = sweep();
    let (mut many, mut decided) = (Vec::new(), Vec::new());
    for seed in 0..4 {
        for run in &runs {
            let key = format!("{seed}{}", &run.run_key[1..]);
            let own = events.iter().filter(|event| event.run_key == run.run_key);
            decided.extend(own.map(|event| crate::schema::EventRow {
                run_key: key.clone(),
                ..event.clone()
            }));
            many.push(RunRow {
                run_key: key,
                seed: 10 * seed + run.seed,
                ..run.clone()
            });
        }
    }
    assert!(many.len() > 500);
    let (html, _) = page(&many, &decided);
    // Without videos, which have a limit of their own. 2 kB a run: a hundred passes and as many looks.
    assert!(html.len() < 2048 * many.len(), "{} bytes", html.len());
}
