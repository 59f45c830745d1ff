use super::*;

fn sheet() -> Sheet {
    let speedup = Estimate {
        value: 1.5,
        interval: Some((1.25, 1.75)),
    };
    let gained = Estimate {
        value: 3.0,
        interval: Some((-0.25, 4.0)),
    };
    Sheet {
        columns: vec![
            Column::text("policy", "policy"),
            Column::estimate("speedup", "speed-up", 2, "×"),
            Column::range("gained_db", "gained", 1, ""),
            Column::share("compute_fraction", "compute"),
            Column::number("lpips", "LPIPS", 3),
            Column::hidden("series"),
        ],
        rows: vec![
            vec![
                "a_b | 50 %".into(),
                Cell::from(speedup).bold(true).linked(&Link {
                    name: "mini".into(),
                    target: "../mini/report.md".into(),
                }),
                gained.into(),
                0.625.into(),
                None::<f64>.into(),
                "a".into(),
            ],
            vec![
                "off".into(),
                None::<f64>.into(),
                None::<f64>.into(),
                1.0.into(),
                None::<f64>.into(),
                "off".into(),
            ],
        ],
    }
}

#[test]
fn markdown_leaves_out_empty_columns_and_links_numbers() {
    let expected = "| policy | speed-up | gained | compute |\n|---|---:|---:|---:|\n\
                    | a_b \\| 50 % | [**1.50× ± 0.25**][mini] | 3.0 [-0.2, 4.0] | 62 % |\n\
                    | off | – | – | 100 % |\n\n[mini]: ../mini/report.md\n";
    assert_eq!(sheet().markdown(), expected);
}

#[test]
fn csv_keeps_every_column_the_ends_of_intervals_and_the_source() {
    let expected = "policy,speedup,speedup_low,speedup_high,gained_db,gained_db_low,gained_db_high,compute_fraction,\
                    lpips,series,source_file\na_b | 50 %,1.5,1.25,1.75,3,-0.25,4,0.625,,a,../mini/report.md\n\
                    off,,,,,,,1,,off,\n";
    assert_eq!(sheet().csv().unwrap(), expected);
}

#[test]
fn latex_prints_awkward_letters_as_they_stand() {
    let expected = "\\begin{tabular}{lrrr}\n\\toprule\npolicy & speed-up & gained & compute \\\\\n\\midrule\n\
                    a\\_b | 50 \\% & \\href{../mini/report.md}{\\textbf{1.50$\\times$ $\\pm$ 0.25}} & \
                    3.0 [-0.2, 4.0] & 62 \\% \\\\\noff & -- & -- & 100 \\% \\\\\n\\bottomrule\n\\end{tabular}\n";
    assert_eq!(sheet().latex(), expected);
}

#[test]
fn json_keeps_every_column_by_its_name_in_csv() {
    let json = sheet().json();
    assert_eq!(
        (&json[0]["speedup"], &json[0]["speedup_high"]),
        (&1.5.into(), &1.75.into())
    );
    assert_eq!(
        (&json[0]["policy"], &json[0]["series"]),
        (&"a_b | 50 %".into(), &"a".into())
    );
    assert!(json[1]["speedup"].is_null() && json[1]["speedup_low"].is_null());
    assert_eq!(json[0].as_object().unwrap().len(), 10, "{json}");
}

#[test]
fn a_terminal_shows_what_markdown_shows_without_its_marks() {
    let shown = sheet().terminal();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 4, "{shown}");
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["policy", "speed-up", "gained", "compute"]
    );
    assert!(
        lines[2].contains("1.50× ± 0.25") && !shown.contains("**") && !shown.contains("mini"),
        "{shown}"
    );
}
