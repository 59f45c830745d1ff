//! Published rows of a model, and ours beside them.

use super::quoted::{Quoted, Row, Setting};
use super::recordings::Recording;
use super::{Page, Table};
use crate::report::{Group, Summary};
use crate::sheet::{Cell, Column, Sheet};

/// Our rows are taken where their speed-up is nearest to the published one, but no further off than this factor.
const SPEEDUP_NEAR: f64 = 1.25;

const STAND_IN: &str =
    "Not this model: its PSNR, SSIM and LPIPS are of another order than those above and do not compare with them.";

/// One table a setting, and one of what small models show in its place: in one table with published rows theirs would be
/// read as rivals.
pub fn page(quoted: &Quoted, recordings: &[Recording]) -> Page {
    let tables = |setting: &Setting| {
        let ours = measured(setting, recordings);
        let (stand_ins, itself): (Vec<Ours>, Vec<Ours>) =
            ours.into_iter().partition(|ours| is_stand_in(setting, ours.group));
        let rows = |ours: &[Ours]| ours.iter().map(|ours| cells(setting, ours)).collect::<Vec<_>>();
        let mut published: Vec<Vec<Cell>> = setting.row.iter().map(published).collect();
        published.extend(rows(&itself));
        let table = |stem: &str, title: String, words: &str, rows| Table {
            stem: format!("{stem}-{}", setting.stem),
            title,
            words: words.into(),
            sheet: sheet(rows),
            picture: None,
        };
        let main = table("main", setting.name.clone(), "", published);
        let in_its_place = (!stand_ins.is_empty()).then(|| {
            let title = format!("{}: small models in its place", setting.name);
            table("stand-in", title, STAND_IN, rows(&stand_ins))
        });
        std::iter::once(main).chain(in_its_place)
    };
    Page {
        stem: "main",
        title: quoted.title.clone(),
        words: format!(
            "{}\n\nLabels: *paper*, from the policy's own authors; *second-hand*, from somebody else; *measured*, by us on the model \
             itself; *measured (stand-in)*, by us on a small model of the same kind; *through*, of frames that went through that before they \
             were measured. Rows of different labels, and quoted rows \
             among themselves, were measured on different machines, prompts and models: they stand side by side, not in a \
             ranking. Of ours, each policy shows the setting whose speed-up is nearest to MixCache's published one, within a \
             factor of {SPEEDUP_NEAR}; ± is half the 95 % interval, and every number leads to its recording.",
            quoted.analysis
        ),
        tables: quoted.setting.iter().flat_map(tables).collect(),
    }
}

/// A table of such rows.
pub fn sheet(rows: Vec<Vec<Cell>>) -> Sheet {
    let columns = vec![
        Column::text("policy", "policy"),
        Column::estimate("speedup", "speed-up", 2, "×"),
        Column::estimate("psnr_db", "PSNR dB", 2, ""),
        Column::estimate("ssim", "SSIM", 4, ""),
        Column::estimate("lpips", "LPIPS", 4, ""),
        Column::estimate("latent_rel_l2", "latent error", 4, ""),
        Column::number("vbench", "VBench %", 2),
        Column::text("label", "label"),
        Column::text("source", "source"),
    ];
    Sheet { columns, rows }
}

/// A published row as cells.
pub fn published(row: &Row) -> Vec<Cell> {
    vec![
        row.policy.clone().into(),
        row.speedup.into(),
        row.psnr_db.into(),
        row.ssim.into(),
        row.lpips.into(),
        None::<f64>.into(),
        row.vbench.into(),
        row.label.name().into(),
        row.source.clone().into(),
    ]
}

/// A configuration of ours with where it comes from.
struct Ours<'a> {
    recording: &'a Recording,
    group: &'a Group,
    summary: &'a Summary,
    speedup: f64,
}

fn measured<'a>(setting: &Setting, recordings: &'a [Recording]) -> Vec<Ours<'a>> {
    let Some(wanted) = setting.speedup else {
        return Vec::new();
    };
    let distance = |ours: &Ours| (ours.speedup / wanted).ln().abs();
    let groups = recordings
        .iter()
        .flat_map(|recording| recording.groups.iter().map(move |group| (recording, group)));
    let groups = groups.filter(|(_, group)| is_of(setting, group));
    let configurations = groups.flat_map(|(recording, group)| {
        let tested = group
            .summaries
            .iter()
            .filter(|summary| !summary.is_off() && !summary.is_upper);
        tested.filter_map(move |summary| {
            Some(Ours {
                recording,
                group,
                summary,
                speedup: summary.speedup?.value,
            })
        })
    });
    let mut chosen: Vec<Ours> = Vec::new();
    for ours in configurations.filter(|ours| distance(ours) <= SPEEDUP_NEAR.ln()) {
        let same = |other: &&mut Ours| {
            let key = |ours: &'_ Ours| {
                let common = &ours.group.common;
                (
                    ours.summary.series.clone(),
                    common.model.clone(),
                    common.through.clone(),
                )
            };
            key(other) == key(&ours)
        };
        match chosen.iter_mut().find(same) {
            None => chosen.push(ours),
            // A policy recorded several times is shown where it ran most often; of one recording, at the nearest speed.
            Some(other) => {
                let key = |ours: &Ours| (ours.summary.runs as f64, -distance(ours));
                if key(&ours) > key(other) {
                    *other = ours;
                }
            }
        }
    }
    chosen.sort_by_key(|ours| {
        (
            !ours.summary.is_mix(),
            ours.summary.is_control(),
            ours.summary.label.clone(),
        )
    });
    chosen
}

/// Whether a group ran another model in the place of the setting's.
fn is_stand_in(setting: &Setting, group: &Group) -> bool {
    !group.common.substituted.is_empty() || !setting.models.contains(&group.common.model)
}

/// Whether a group ran the setting's model at its size, or a stand-in.
fn is_of(setting: &Setting, group: &Group) -> bool {
    let common = &group.common;
    let is_itself =
        setting.models.contains(&common.model) && setting.height.is_none_or(|height| height == common.height);
    is_itself || setting.stand_ins.contains(&common.model)
}

fn cells(setting: &Setting, ours: &Ours) -> Vec<Cell> {
    let common = &ours.group.common;
    let stand_in = is_stand_in(setting, ours.group).then(|| format!("stand-in: {}", common.model));
    let through = (!common.through.is_empty()).then(|| format!("through {}", common.through));
    let remarks: Vec<String> = stand_in.into_iter().chain(through).collect();
    let label = match remarks.as_slice() {
        [] => "measured".to_string(),
        remarks => format!("measured ({})", remarks.join("; ")),
    };
    let Summary {
        label: name,
        speedup,
        psnr_db,
        ssim,
        lpips,
        latent_rel_l2,
        ..
    } = ours.summary;
    let mut cells = vec![name.clone().into()];
    let numbers = [speedup, psnr_db, ssim, lpips, latent_rel_l2];
    cells.extend(numbers.map(|number| Cell::from(*number).linked(&ours.recording.link)));
    cells.extend([
        Cell::default(),
        label.into(),
        Cell::from(format!("{}, {}", ours.recording.experiment, ours.group.sample())).linked(&ours.recording.link),
    ]);
    cells
}
