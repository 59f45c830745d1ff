//! What every policy needs for the same quality, beside the best policy of one granularity.

use super::paired::{LPIPS, PSNR, Paired, Quality};
use super::summary::{Group, Summary};
use crate::sheet::{Cell, Column, Kind, Sheet};
use crate::stats::{CLIPS_LEAST, Cost, Estimate, Priced};

/// A quality and the values of it at which policies are compared.
struct Scale {
    quality: Quality,
    stem: &'static str,
    /// In CSV.
    column: &'static str,
    unit: &'static str,
    /// Takes a mean to the scale on which curves are straight.
    scale: fn(f64) -> f64,
    /// Round values, from the lowest quality up.
    targets: fn() -> Vec<f64>,
}

const SCALES: [Scale; 2] = [
    Scale {
        quality: PSNR,
        stem: "equal-psnr",
        column: "psnr_db",
        unit: " dB",
        scale: |db| db,
        targets: || (1..20).map(|i| f64::from(5 * i)).collect(),
    },
    Scale {
        quality: LPIPS,
        stem: "equal-lpips",
        column: "lpips",
        unit: "",
        scale: |distance| -distance.log10(),
        targets: || {
            let values = (1..=7).flat_map(|power| [format!("1e-{power}"), format!("3e-{}", power + 1)]);
            values.map(|value| value.parse().expect("a number")).collect()
        },
    },
];

/// Of a sweep that ends above a quality.
const BOUND: &str = "At most (≤): every setting that was run is better, so the policy needs no more than its cheapest, and may \
                     need less than the best that is named; nothing is said of what is saved beside such a bound.";

/// All policies of a group at equal quality.
pub struct Equal {
    /// Name of its file.
    pub stem: &'static str,
    scale: &'static Scale,
    clips: usize,
    targets: Vec<f64>,
    policies: Vec<Policy>,
}

struct Policy {
    name: String,
    role: &'static str,
    needs: Vec<Option<Need>>, // by target
}

/// What a policy needs for a quality.
struct Need {
    compute: f64,
    speedup: f64,
    is_bound: bool, // all of its settings are better: it needs this at most
    best: String,   // of one granularity
    is_best: bool,
    less_compute: Option<Estimate>, // than the best
    faster: Option<Estimate>,
}

/// What the policies of a group need for the same PSNR and the same LPIPS, where those were measured and several policies
/// reach the same value, one of them of one granularity.
pub fn of(group: &Group) -> Vec<Equal> {
    SCALES.iter().filter_map(|scale| Equal::new(group, scale)).collect()
}

fn role(summary: &Summary) -> &'static str {
    match summary {
        _ if summary.is_control() => "control",
        _ if summary.is_upper => "upper line",
        _ if summary.knows_the_clip => "told the clip",
        _ if summary.is_amended() => "amended",
        _ if summary.is_of_one_granularity() => "one",
        _ => "several",
    }
}

impl Equal {
    fn new(group: &Group, scale: &'static Scale) -> Option<Equal> {
        let paired = Paired::of(group, scale.quality)?;
        let clips = paired.clips;
        let series: Vec<(&Summary, Priced)> = paired
            .series()
            .into_iter()
            .map(|(summary, trials)| {
                let scale = scale.scale;
                (summary, Priced { trials, scale })
            })
            .collect();
        let exact = |i: usize, target: f64| series[i].1.cost(Cost::Compute, target, clips);
        let price = |i: usize, cost: Cost, target: f64| {
            let priced: &Priced = &series[i].1;
            let read = priced.cost(cost, target, clips);
            read.or_else(|| priced.cost_at_most(cost, target, clips))
        };
        let best = |target: f64| -> Option<usize> {
            let candidates = (0..series.len()).filter(|&i| role(series[i].0) == "one");
            let reaching = candidates.filter_map(|i| Some((i, price(i, Cost::Compute, target)?)));
            reaching.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
        };
        let is_shared = |target: f64| (0..series.len()).filter(|&i| exact(i, target).is_some()).count() > 1;
        let targets = (scale.targets)().into_iter().filter(|&target| is_shared(target));
        let (targets, bests): (Vec<f64>, Vec<usize>) =
            targets.filter_map(|target| Some((target, best(target)?))).unzip();
        let need = |i: usize, target: f64, best: usize| {
            let saving = |cost| match i == best {
                true => None,
                false => series[i].1.saving(&series[best].1, cost, target, clips),
            };
            Some(Need {
                compute: price(i, Cost::Compute, target)?,
                speedup: price(i, Cost::Speedup, target)?,
                is_bound: exact(i, target).is_none(),
                best: series[best].0.series.clone(),
                is_best: i == best,
                less_compute: saving(Cost::Compute),
                faster: saving(Cost::Speedup),
            })
        };
        let policy = |i: usize| Policy {
            name: series[i].0.series.clone(),
            role: role(series[i].0),
            needs: targets
                .iter()
                .zip(&bests)
                .map(|(&target, &best)| need(i, target, best))
                .collect(),
        };
        let mut policies: Vec<Policy> = (0..series.len()).map(policy).collect();
        policies.retain(|policy| policy.needs.iter().any(Option::is_some));
        policies.sort_by(|a, b| b.advantage().total_cmp(&a.advantage()));
        (!targets.is_empty()).then_some(Equal {
            stem: scale.stem,
            scale,
            clips,
            targets,
            policies,
        })
    }

    /// Its heading.
    pub fn title(&self) -> String {
        format!("At equal {}", self.scale.quality.name)
    }

    /// What stands under one value of [`Equal::sheet`].
    pub fn words(&self) -> String {
        format!(
            "What each policy needs for this {}, read straight between its settings; those that do not reach it are left out. Less \
             compute, faster: how many times less work or time than the best policy of one granularity that reaches it, with the \
             95 % interval over {} clips; bold where it leaves out 1 and there are {CLIPS_LEAST} clips or more. {BOUND}",
            self.scale.quality.name, self.clips
        )
    }

    fn is_sure(&self, saving: Estimate) -> bool {
        self.clips >= CLIPS_LEAST && saving.excludes(1.0)
    }

    fn label(&self, target: f64) -> String {
        format!("{target}{}", self.scale.unit)
    }

    /// One row a policy and value that it reaches, to compute with.
    pub fn sheet(&self) -> Sheet {
        let number = |name: &str, title: &str, digits: usize, unit: &'static str| Column {
            kind: Kind::Number {
                scale: 1.0,
                digits,
                unit,
            },
            ..Column::text(name, title)
        };
        let saving = |saving: Option<Estimate>| Cell::from(saving).bold(saving.is_some_and(|s| self.is_sure(s)));
        let columns = vec![
            number(self.scale.column, self.scale.quality.name, 1, self.scale.unit),
            Column::text("series", "policy"),
            Column::text("granularities", "granularities"),
            Column::text("bound", "bound"),
            Column::share("compute_fraction", "compute"),
            number("speedup", "speed-up", 2, "×"),
            Column::text("best_of_one_granularity", "best of one granularity"),
            Column::range("less_compute", "less compute", 2, "×"),
            Column::range("faster", "faster", 2, "×"),
        ];
        let rows = self.targets.iter().enumerate().flat_map(|(place, &target)| {
            let reaching = self
                .policies
                .iter()
                .filter_map(move |policy| Some((policy, policy.needs[place].as_ref()?)));
            let saving = &saving;
            reaching.map(move |(policy, need)| {
                vec![
                    target.into(),
                    policy.name.as_str().into(),
                    policy.role.into(),
                    if need.is_bound { "at most" } else { "" }.into(),
                    Cell::from(need.compute).bold(need.is_best),
                    need.speedup.into(),
                    need.best.as_str().into(),
                    saving(need.less_compute),
                    saving(need.faster),
                ]
            })
        });
        let rows = rows.collect();
        Sheet { columns, rows }
    }

    /// What each needs, and how much less than the best of one granularity, to read: a column a value.
    pub fn markdown(&self) -> String {
        let needs = |need: &Need| {
            let [at_most, at_least] = if need.is_bound { ["≤ ", "≥ "] } else { [""; 2] };
            let text = format!("{at_most}{:.0} %, {at_least}{:.2}×", 100.0 * need.compute, need.speedup);
            Cell::from(text).bold(need.is_best)
        };
        let saving = |of: fn(&Need) -> Option<Estimate>| {
            move |need: &Need| match of(need) {
                Some(saving) => Cell::from(saving).bold(self.is_sure(saving)),
                None if need.is_best => "best".into(),
                None => Cell::default(),
            }
        };
        format!(
            "\n### {}\n\nCompute that each policy needs, and its speed-up, read straight between its settings{}; – where \
             they do not reach. {BOUND} Bold: least compute of the policies of one granularity that reach it, which reuse steps, branches or parts of \
             blocks alone, by what their kind may do; controls, what is amended and what is told the clip are no candidates.\n\n{}\n\
             How many times less each computes than that best, with the 95 % interval over {} clips: bold where it leaves out 1 \
             and there are {CLIPS_LEAST} clips or more. The best is chosen on the same clips, which favours it.\n\n{}\n\
             The same in measured time, which holds the noise of the clock.\n\n{}",
            self.title(),
            if self.scale.quality.name == LPIPS.name {
                " on a logarithmic scale"
            } else {
                ""
            },
            self.wide(needs).markdown(),
            self.clips,
            self.wide(saving(|need| need.less_compute)).markdown(),
            self.wide(saving(|need| need.faster)).markdown(),
        )
    }

    fn wide(&self, cell: impl Fn(&Need) -> Cell) -> Sheet {
        let mut columns = vec![
            Column::text("series", "policy"),
            Column::text("granularities", "granularities"),
        ];
        let at = |&target: &f64| Column::range(&self.label(target), &self.label(target), 2, "×");
        columns.extend(self.targets.iter().map(at));
        let row = |policy: &Policy| {
            let mut row: Vec<Cell> = vec![policy.name.as_str().into(), policy.role.into()];
            row.extend(
                policy
                    .needs
                    .iter()
                    .map(|need| need.as_ref().map_or(Cell::default(), &cell)),
            );
            row
        };
        let rows = self.policies.iter().map(row).collect();
        Sheet { columns, rows }
    }
}

impl Policy {
    /// Mean logarithm of how many times less it computes than the best, over the values where that is known.
    fn advantage(&self) -> f64 {
        let reached = self.needs.iter().flatten();
        let logarithm = |need: &Need| match need.is_best {
            true => Some(0.0),
            false => need.less_compute.map(|less| less.value.ln()),
        };
        let logarithms: Vec<f64> = reached.filter_map(logarithm).collect();
        logarithms.iter().sum::<f64>() / logarithms.len().max(1) as f64
    }
}
