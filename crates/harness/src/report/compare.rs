//! Policies against each other, clip by clip: at equal speed, at equal quality, and by rank.

use super::summary::{Clip, Group, Summary};
use crate::sheet::{Cell, Column, Sheet};
use crate::stats::{CLIPS_LEAST, Comparison, Curve, Estimate, Point, Ranking, at, compare, mean, rank, resampled};
use std::collections::BTreeSet;

/// Speed-ups at which curves are read.
const SPEEDUPS: [f64; 7] = [1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0];

/// The quality that is compared: higher is better, in dB.
struct Quality {
    name: &'static str,
    of: fn(&Clip) -> Option<f64>,
}

const PSNR: Quality = Quality {
    name: "PSNR",
    // 100 dB stands for identical: no quality, but the lack of an error.
    of: |clip| clip.psnr_db.filter(|db| *db < 100.0),
};

/// For models whose latents are not decoded.
const LATENT: Quality = Quality {
    name: "latent SNR",
    of: |clip| {
        clip.latent_rel_l2
            .filter(|error| *error > 0.0)
            .map(|error| -20.0 * error.log10())
    },
};

/// What a configuration did on a clip.
struct Measured<'a> {
    key: &'a (String, u64),
    speedup: f64,
    promised: f64, // speed-up, by the work that was saved
    quality: f64,
}

/// A policy against a reference.
struct Found<'a> {
    name: &'a str,
    is_point: bool,
    by_clock: Comparison,
    by_work: Option<Comparison>,
}

fn add(curves: &mut Vec<Curve>, name: &str, point: Point) {
    match curves.iter_mut().find(|curve| curve.name == name) {
        Some(curve) => curve.points.push(point),
        None => curves.push(Curve {
            name: name.into(),
            points: vec![point],
        }),
    }
}

/// The curves of a group over the clips that all of them have.
pub struct Compared {
    quality: Quality,
    curves: Vec<Curve>,
    by_work: Vec<Curve>, // with what the saved work promises in place of the clock: free of noise
    control: Option<usize>,
    mix: Option<usize>,
    clips: usize,
}

impl Compared {
    /// None where quality or speed was not measured, or no clip has all configurations.
    pub fn new<'a>(group: &'a Group) -> Option<Compared> {
        let tested = || group.summaries.iter().filter(|summary| !summary.is_off());
        let quality = match tested().any(|summary| summary.clips.iter().any(|clip| (PSNR.of)(clip).is_some())) {
            true => PSNR,
            false => LATENT,
        };
        let measured = |clip: &'a Clip| {
            Some(Measured {
                key: &clip.key,
                speedup: clip.speedup?,
                promised: 1.0 / clip.compute_fraction?,
                quality: (quality.of)(clip)?,
            })
        };
        // A configuration that changes nothing on some clip has no place on a curve.
        let whole: Vec<(&Summary, Vec<Measured>)> = tested()
            .map(|summary| (summary, summary.clips.iter().filter_map(measured).collect::<Vec<_>>()))
            .filter(|(summary, clips)| !clips.is_empty() && clips.len() == summary.clips.len())
            .collect();
        let keys = |clips: &[Measured<'a>]| clips.iter().map(|clip| clip.key).collect::<BTreeSet<_>>();
        let common = whole.iter().map(|(_, clips)| keys(clips)).reduce(|a, b| &a & &b)?;
        if common.is_empty() {
            return None;
        }
        let (mut curves, mut by_work): (Vec<Curve>, Vec<Curve>) = (Vec::new(), Vec::new());
        let mut kinds: Vec<&Summary> = Vec::new();
        for (summary, clips) in whole {
            let chosen: Vec<&Measured> = clips.iter().filter(|clip| common.contains(clip.key)).collect();
            let of = |value: fn(&Measured) -> f64| chosen.iter().map(|clip| value(clip)).collect::<Vec<f64>>();
            if !curves.iter().any(|curve| curve.name == summary.series) {
                kinds.push(summary);
            }
            let (speedups, promised) = (of(|clip| clip.speedup), of(|clip| clip.promised));
            for (curves, speedups) in [(&mut curves, speedups), (&mut by_work, promised)] {
                let qualities = of(|clip| clip.quality);
                add(curves, &summary.series, Point { speedups, qualities });
            }
        }
        let first = |is_wanted: fn(&Summary) -> bool| {
            let mut places = (0..curves.len()).filter(|&i| curves[i].points.len() > 1);
            places.find(|&i| is_wanted(kinds[i]))
        };
        Some(Compared {
            quality,
            control: first(Summary::is_control),
            mix: first(Summary::is_mix),
            clips: common.len(),
            curves,
            by_work,
        })
    }

    /// Every policy against the first control and against MixCache, best first: title, words, table.
    pub fn comparisons(&self) -> Vec<(String, String, Sheet)> {
        let against = |reference: usize| {
            let name = &self.curves[reference].name;
            let others = (0..self.curves.len()).filter(|&i| i != reference);
            let mut found: Vec<Found> = others
                .filter_map(|i| {
                    let curve = &self.curves[i];
                    Some(Found {
                        name: &curve.name,
                        is_point: curve.points.len() == 1,
                        by_clock: compare(curve, &self.curves[reference], self.clips, &SPEEDUPS)?,
                        by_work: compare(&self.by_work[i], &self.by_work[reference], self.clips, &[]),
                    })
                })
                .collect();
            found.sort_by(|a, b| b.by_clock.gain.value.total_cmp(&a.by_clock.gain.value));
            let title = format!("{} gained over {name}, clip by clip", self.quality.name);
            let words = format!(
                "Curves are read straight between their points, where both reach; a policy with one setting is read at its \
                 speed. Gained is the difference of the areas under the two curves, divided by the range, with the 95 % \
                 interval of the difference over {} clips: bold where it leaves out zero and there are {CLIPS_LEAST} clips or \
                 more, not corrected for the number of comparisons. At equal work takes what the saved work promises for the \
                 speed-up: free of timing noise.",
                self.clips
            );
            (!found.is_empty()).then(|| (title, words, self.sheet(name, &found)))
        };
        [self.control, self.mix]
            .into_iter()
            .flatten()
            .filter_map(against)
            .collect()
    }

    fn sheet(&self, reference: &str, found: &[Found]) -> Sheet {
        let name = self.quality.name;
        let mut columns = vec![
            Column::hidden("reference"),
            Column::text("series", "policy"),
            Column::text("speedups", "at speed-ups"),
            Column::number("mean_db", &format!("{name} dB"), 1),
            Column::number("reference_mean_db", &format!("of {reference}"), 1),
            Column::range("gained_db", "gained", 1, ""),
            Column::range("gained_db_at_equal_work", "at equal work", 1, ""),
        ];
        let at = SPEEDUPS.map(|x| Column::range(&format!("gained_db_at_{x}"), &format!("at {x}×"), 1, ""));
        columns.extend(at);
        columns.push(Column::range("speed_ratio", &format!("speed at equal {name}"), 2, "×"));
        let row = |found: &Found| {
            let (low, high) = found.by_clock.range;
            let range = match found.is_point {
                true => format!("{low:.2}"),
                false => format!("{low:.2}–{high:.2}"),
            };
            let marked = |gain: Option<Estimate>, none: f64| {
                let is_sure = self.clips >= CLIPS_LEAST && gain.is_some_and(|gain| gain.excludes(none));
                Cell::from(gain).bold(is_sure)
            };
            let mut cells = vec![
                reference.into(),
                found.name.into(),
                range.into(),
                found.by_clock.height.into(),
                found.by_clock.reference_height.into(),
                marked(Some(found.by_clock.gain), 0.0),
                marked(found.by_work.as_ref().map(|by_work| by_work.gain), 0.0),
            ];
            cells.extend(found.by_clock.gain_at.iter().map(|gain| marked(*gain, 0.0)));
            cells.push(marked(found.by_clock.faster, 1.0));
            cells
        };
        let rows = found.iter().map(row).collect();
        Sheet { columns, rows }
    }

    /// The policies by rank over clips, at the speed-up that most of them reach: title, words, table.
    pub fn ranks(&self) -> Option<(String, String, Sheet)> {
        let all: Vec<usize> = (0..self.clips).collect();
        let reaching = |x: f64| -> Vec<&Curve> {
            let reaches = |curve: &&Curve| {
                let points = curve.over(&all);
                points.len() > 1 && points[0].0 <= x && x <= points[points.len() - 1].0
            };
            self.curves.iter().filter(reaches).collect()
        };
        // A speed that MixCache reaches, before others; then the fastest of those that equally many reach.
        let mix = self.mix.map(|mix| &self.curves[mix].name);
        let reached = |x: f64| {
            let curves = reaching(x);
            let has_mix = curves.iter().any(|curve| Some(&curve.name) == mix);
            (has_mix, curves.len())
        };
        let speedup = SPEEDUPS.into_iter().max_by_key(|&x| reached(x))?;
        let curves = reaching(speedup);
        let values: Vec<Vec<f64>> = (0..self.clips)
            .map(|clip| curves.iter().map(|curve| at(&curve.of_clip(clip), speedup)).collect())
            .collect();
        let Ranking {
            ranks,
            critical_difference,
            p,
        } = rank(&values)?;
        let best = ranks.iter().copied().fold(f64::INFINITY, f64::min);
        let name = self.quality.name;
        let columns = vec![
            Column::text("series", "policy"),
            Column::number("rank", "mean rank", 2),
            Column::estimate("quality_db", &format!("{name} dB at {speedup}×"), 1, ""),
            Column::text("told_apart", "told apart from the first"),
        ];
        let mut order: Vec<usize> = (0..curves.len()).collect();
        order.sort_by(|&a, &b| ranks[a].total_cmp(&ranks[b]));
        let row = |place: usize| {
            let quality = resampled(self.clips, |clips| {
                mean(&mut clips.iter().map(|&clip| values[clip][place]).collect::<Vec<_>>())
            });
            let apart = ranks[place] - best > critical_difference;
            vec![
                curves[place].name.clone().into(),
                ranks[place].into(),
                quality.into(),
                if apart { "yes" } else { "no" }.into(),
            ]
        };
        let rows = order.into_iter().map(row).collect();
        let title = format!("Ranks at {speedup}×, over {} clips", self.clips);
        let words = format!(
            "1 = best {name} on every clip. Friedman's test: p = {p:.4}. Ranks that differ by less than {critical_difference:.2} \
             (Nemenyi, 5 %) are not told apart."
        );
        Some((title, words, Sheet { columns, rows }))
    }
}
