//! Ablations: recordings whose experiments are called `ablation…`, one table each, the variants beside the first of them.

use super::recordings::Recording;
use super::{Page, Table, of_each};
use crate::report::{Clip, Group, Summary};
use crate::sheet::{Cell, Column, Sheet};
use crate::stats::{CLIPS_LEAST, Estimate, estimate, mean};

/// The ablations among the recordings.
pub fn page(recordings: &[Recording]) -> Page {
    Page {
        stem: "ablations",
        title: "Ablations".into(),
        words: "Variants of a policy in the order of their experiment. Differences are to the first variant at the same value of \
                the swept knob (to its first value, where a variant has another), clip by clip, with the 95 % interval of the \
                mean: bold where it leaves out zero on six clips or more. ± is half the 95 % interval. Every number leads to \
                its recording."
            .into(),
        tables: of_each(recordings, table),
    }
}

fn table(recording: &Recording, suffix: &str, group: &Group) -> Table {
    let order = in_order(recording, group);
    let rows = order.iter().map(|summary| row(recording, summary, &order)).collect();
    let columns = vec![
        Column::text("series", "variant"),
        Column::text("knob", "setting"),
        Column::estimate("speedup", "speed-up", 2, "×"),
        Column::share("compute_fraction", "compute"),
        Column::estimate("psnr_db", &group.of_frames("PSNR dB"), 2, ""),
        Column::estimate("ssim", &group.of_frames("SSIM"), 4, ""),
        Column::estimate("lpips", &group.of_frames("LPIPS"), 4, ""),
        Column::estimate("latent_rel_l2", "latent error", 4, ""),
        Column::range("gained_db", "PSNR gained", 2, ""),
        Column::range("lpips_more", "LPIPS more", 4, ""),
        Column::range("latent_rel_l2_more", "latent error more", 4, ""),
        Column::number("looks", "looks", 0),
        Column::mib("cache_claimed_bytes", "claimed MiB"),
    ];
    Table {
        stem: format!("{}{suffix}", recording.experiment),
        title: recording.title.clone(),
        words: format!("{}; {}.", group.describe(), group.sample()),
        sheet: Sheet { columns, rows }.remarked("through", &group.common.through),
        picture: None,
    }
}

/// Configurations but the uncached, in the order of the experiment: that in which the first clip ran.
fn in_order<'a>(recording: &Recording, group: &'a Group) -> Vec<&'a Summary> {
    // A label may end with the mode of guidance, where that tells rows apart.
    let is_of = |summary: &Summary, label: &str| {
        let rest = summary.label.strip_prefix(label);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
    };
    let place = |summary: &Summary| recording.runs.iter().position(|run| is_of(summary, &run.label));
    let mut order: Vec<&Summary> = group.summaries.iter().filter(|summary| !summary.is_off()).collect();
    // Settings of a variant stay together, at the place of its first.
    let first = |summary: &Summary| {
        let same = group.summaries.iter().filter(|other| other.series == summary.series);
        same.filter_map(place).min()
    };
    order.sort_by_key(|summary| (first(summary), place(summary)));
    order
}

fn row(recording: &Recording, summary: &Summary, order: &[&Summary]) -> Vec<Cell> {
    let first = order.iter().filter(|other| other.series == order[0].series);
    let value = |summary: &Summary| summary.knob.as_ref().map(|knob| knob.1);
    let same_value = first.clone().find(|other| value(other) == value(summary));
    let reference = same_value.or(first.clone().next()).copied().unwrap_or(summary);
    let link = |cell: Cell| cell.linked(&recording.link);
    let difference = |value: fn(&Clip) -> Option<f64>| {
        let (more, clips) = paired(summary, reference, value);
        let is_sure = clips >= CLIPS_LEAST && more.is_some_and(|more| more.excludes(0.0));
        let is_itself = std::ptr::eq(summary, reference);
        link(Cell::from(more.filter(|_| !is_itself)).bold(is_sure))
    };
    let knob = summary.knob.as_ref().map(|(name, value)| format!("{name}={value}"));
    vec![
        summary.series.clone().into(),
        knob.map_or(Cell::default(), Cell::from),
        link(summary.speedup.into()),
        link(summary.compute_fraction.into()),
        link(summary.psnr_db.into()),
        link(summary.ssim.into()),
        link(summary.lpips.into()),
        link(summary.latent_rel_l2.into()),
        difference(|clip| clip.psnr_db),
        difference(|clip| clip.lpips),
        difference(|clip| clip.latent_rel_l2),
        link(summary.looks.into()),
        link(summary.cache_claimed_bytes.map(|bytes| bytes as f64).into()),
    ]
}

/// Mean difference over the clips that both have, and their number.
fn paired(summary: &Summary, reference: &Summary, value: fn(&Clip) -> Option<f64>) -> (Option<Estimate>, usize) {
    let other = |clip: &Clip| {
        let same = reference.clips.iter().find(|other| other.key == clip.key);
        same.and_then(value)
    };
    let differences: Vec<f64> = summary
        .clips
        .iter()
        .filter_map(|clip| Some(value(clip)? - other(clip)?))
        .collect();
    (estimate(&differences, mean), differences.len())
}
