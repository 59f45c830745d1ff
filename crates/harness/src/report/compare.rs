//! Policies against each other, clip by clip: at equal speed, at equal quality, and by rank.

use super::paired::{LATENT, PSNR, Paired, Quality};
use super::summary::{Group, Summary};
use crate::sheet::{Cell, Column, Sheet};
use crate::stats::{
    CLIPS_LEAST, Comparison, Curve, Estimate, Point, Ranking, Trial, at, compare, mean, rank, resampled,
};

/// Speed-ups at which curves are read.
const SPEEDUPS: [f64; 7] = [1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0];

/// A policy against a reference.
struct Found<'a> {
    name: &'a str,
    is_point: bool,
    by_clock: Comparison,
    by_work: Option<Comparison>,
}

/// The curves of a group over the clips that all of them have.
pub struct Compared {
    quality: Quality,
    curves: Vec<Curve>,
    by_work: Vec<Curve>, // with what the saved work promises in place of the clock: free of noise
    control: Option<usize>,
    mix: Option<usize>,
    is_upper: Vec<bool>, // by curve
    clips: usize,
}

impl Compared {
    /// None where quality or speed was not measured, or no clip has all configurations.
    pub fn new(group: &Group) -> Option<Compared> {
        let is_measured = |summary: &Summary| summary.clips.iter().any(|clip| (PSNR.of)(clip).is_some());
        let quality = match group.summaries.iter().any(is_measured) {
            true => PSNR,
            false => LATENT,
        };
        let paired = Paired::of(group, quality)?;
        let series = paired.series();
        let curves = |speedups: fn(&Trial) -> Vec<f64>| -> Vec<Curve> {
            let point = |trial: &Trial| Point {
                speedups: speedups(trial),
                qualities: trial.qualities.clone(),
            };
            let curve = |(summary, trials): &(&Summary, Vec<Trial>)| Curve {
                name: summary.series.clone(),
                points: trials.iter().map(point).collect(),
            };
            series.iter().map(curve).collect()
        };
        let by_work = curves(|trial| trial.compute.iter().map(|share| 1.0 / share).collect());
        let curves = curves(|trial| trial.speedups.clone());
        let first = |is_wanted: fn(&Summary) -> bool| {
            let mut places = (0..curves.len()).filter(|&i| curves[i].points.len() > 1);
            places.find(|&i| is_wanted(series[i].0))
        };
        Some(Compared {
            quality,
            control: first(Summary::is_control),
            mix: first(Summary::is_mix),
            is_upper: series.iter().map(|(summary, _)| summary.is_upper).collect(),
            clips: paired.clips,
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
            let candidates = self
                .curves
                .iter()
                .zip(&self.is_upper)
                .filter(|(_, is_upper)| !**is_upper);
            candidates.map(|(curve, _)| curve).filter(reaches).collect()
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
