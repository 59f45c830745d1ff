//! What every policy costs beside its compute: memory, measurements, reads.

use super::recordings::Recording;
use super::{Page, Table, of_each};
use crate::report::{Group, Summary};
use crate::sheet::{Cell, Column, Sheet};

/// Memory, measurements and reads of all recordings.
pub fn page(recordings: &[Recording]) -> Page {
    Page {
        stem: "costs",
        title: "Memory and looks of every policy".into(),
        words: "Bytes are claimed before a run and held at its peak. A look is a measurement that a decision rests on, a read \
                fetches numbers from the device and waits for it; both are means a run, and their time is a share of the run's. \
                Every number leads to its recording."
            .into(),
        tables: of_each(recordings, table),
    }
}

fn table(recording: &Recording, suffix: &str, group: &Group) -> Table {
    let columns = vec![
        Column::text("policy", "policy"),
        Column::text("knobs", "knobs"),
        Column::mib("cache_claimed_bytes", "claimed MiB"),
        Column::mib("cache_peak_bytes", "held MiB"),
        Column::number("looks", "looks", 0),
        Column::number("reads", "reads", 0),
        Column::share("looks_share", "time of looks"),
        Column::share("compute_fraction", "compute"),
        Column::estimate("speedup", "speed-up", 2, "×"),
    ];
    let tested = group.summaries.iter().filter(|summary| !summary.is_off());
    let rows = tested.map(|summary| row(recording, summary)).collect();
    Table {
        stem: format!("costs-{}{suffix}", recording.experiment),
        title: format!("{}: {}", recording.experiment, recording.title),
        words: format!("{}; {}, on {}.", group.describe(), group.sample(), group.common.device),
        sheet: Sheet { columns, rows },
        picture: None,
    }
}

fn row(recording: &Recording, s: &Summary) -> Vec<Cell> {
    let link = |cell: Cell| cell.linked(&recording.link);
    let bytes = |bytes: Option<u64>| link(bytes.map(|bytes| bytes as f64).into());
    vec![
        s.policy.clone().into(),
        s.knobs().into(),
        bytes(s.cache_claimed_bytes),
        bytes(s.cache_peak_bytes),
        link(s.looks.into()),
        link(s.reads.into()),
        link(s.looks_share.into()),
        link(s.compute_fraction.into()),
        link(s.speedup.into()),
    ]
}
