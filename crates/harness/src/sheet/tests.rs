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
