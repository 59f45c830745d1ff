//! How much of what the upper line gains over the controls each policy reaches.

use super::paired::{PSNR, Paired};
use super::summary::{Group, Summary};
use crate::sheet::{Cell, Column, Sheet};
use crate::stats::{Estimate, Priced};

/// Shares of the uncached work at which curves are read.
const COMPUTES: [f64; 5] = [0.3, 0.4, 0.5, 0.6, 0.7];

/// The policies of a group between its controls and its upper line.
pub struct Shares {
    clips: usize,
    rows: Vec<Row>,
}

/// One policy at one compute that it reaches.
struct Row {
    compute: f64,
    series: String,
    psnr_db: f64,
    control: (String, f64), // the best there, dB
    upper: (String, f64),
    share: Option<Estimate>,
}

impl Shares {
    /// None without an upper line, or where no compute is reached by it, a control and a policy.
    pub fn of(group: &Group) -> Option<Shares> {
        let paired = Paired::of(group, PSNR)?;
        let clips = paired.clips;
        let scale = |db| db;
        let series = paired.series().into_iter();
        let series: Vec<(&Summary, Priced)> = series
            .map(|(summary, trials)| (summary, Priced { trials, scale }))
            .collect();
        let of_kind = |is_wanted: fn(&Summary) -> bool| series.iter().filter(move |(summary, _)| is_wanted(summary));
        let best = |is_wanted: fn(&Summary) -> bool, compute: f64| {
            of_kind(is_wanted)
                .filter_map(|(summary, priced)| Some((summary, priced, priced.quality(compute, clips)?)))
                .max_by(|a, b| a.2.total_cmp(&b.2))
        };
        let at = |compute: f64| {
            let (control, low, low_db) = best(|summary| summary.is_control(), compute)?;
            let (upper, high, high_db) = best(|summary| summary.is_upper, compute)?;
            let policies = of_kind(|summary| !summary.is_control() && !summary.is_upper);
            let rows = policies.filter_map(move |(summary, priced)| {
                Some(Row {
                    compute,
                    series: summary.series.clone(),
                    psnr_db: priced.quality(compute, clips)?,
                    control: (control.series.clone(), low_db),
                    upper: (upper.series.clone(), high_db),
                    share: priced.share_of_gain(low, high, compute, clips),
                })
            });
            Some(rows.collect::<Vec<_>>())
        };
        let rows: Vec<Row> = COMPUTES.into_iter().filter_map(at).flatten().collect();
        (!rows.is_empty()).then_some(Shares { clips, rows })
    }

    /// One row a policy and compute, to compute with.
    pub fn sheet(&self) -> Sheet {
        let columns = vec![
            Column::share("compute_fraction", "compute"),
            Column::text("series", "policy"),
            Column::number("psnr_db", "PSNR dB", 1),
            Column::text("control", "control"),
            Column::number("control_psnr_db", "of the control", 1),
            Column::text("upper", "upper line"),
            Column::number("upper_psnr_db", "of the upper line", 1),
            Column::range("share_of_gain", "share of the gain", 2, ""),
        ];
        let row = |row: &Row| {
            vec![
                row.compute.into(),
                row.series.as_str().into(),
                row.psnr_db.into(),
                row.control.0.as_str().into(),
                row.control.1.into(),
                row.upper.0.as_str().into(),
                row.upper.1.into(),
                row.share.into(),
            ]
        };
        let rows = self.rows.iter().map(row).collect();
        Sheet { columns, rows }
    }

    /// What stands under one compute of [`Shares::sheet`].
    pub fn words(&self) -> String {
        format!(
            "(PSNR of the policy − PSNR of the best control) / (PSNR of the upper line − PSNR of the best control) at this compute, with \
             the 95 % interval over {} clips. The upper line is an estimate of what could be reached, no bound: a share may exceed 1.",
            self.clips
        )
    }

    /// The shares to read: a column a compute, the upper line and the best control above.
    pub fn markdown(&self) -> String {
        let mut computes: Vec<f64> = self.rows.iter().map(|row| row.compute).collect();
        computes.dedup();
        let mut columns = vec![Column::text("series", "policy")];
        let title = |compute: f64| format!("{:.0} % compute", 100.0 * compute);
        columns.extend(
            computes
                .iter()
                .map(|&at| Column::range(&title(at), &title(at), 0, " %")),
        );
        let ends = |name: &str, of: fn(&Row) -> &(String, f64)| {
            let mut cells: Vec<Cell> = vec![name.into()];
            cells.extend(computes.iter().map(|&compute| {
                let row = self.rows.iter().find(|row| row.compute == compute);
                row.map_or(Cell::default(), |row| {
                    format!("{:.1} dB, {}", of(row).1, of(row).0).into()
                })
            }));
            cells
        };
        let mut rows = vec![
            ends("upper line", |row| &row.upper),
            ends("best control", |row| &row.control),
        ];
        let mut series: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !series.contains(&row.series.as_str()) {
                series.push(&row.series);
            }
        }
        let percent = |share: Estimate| Estimate {
            value: 100.0 * share.value,
            interval: share.interval.map(|(low, high)| (100.0 * low, 100.0 * high)),
        };
        let of_policy = |name: &str| {
            let mut cells: Vec<Cell> = vec![name.into()];
            cells.extend(computes.iter().map(|&compute| {
                let row = self
                    .rows
                    .iter()
                    .find(|row| row.compute == compute && row.series == name);
                row.and_then(|row| row.share).map(percent).into()
            }));
            cells
        };
        rows.extend(series.into_iter().map(of_policy));
        format!(
            "\n### Share of the upper line's gain\n\nAt equal compute, mean PSNR above the best control / mean PSNR of the upper line \
             above that control, read straight between settings, with the 95 % interval over {} clips; – where a curve does \
             not reach. The upper line is an estimate, no bound: more than 100 % can be.\n\n{}",
            self.clips,
            Sheet { columns, rows }.markdown()
        )
    }
}
