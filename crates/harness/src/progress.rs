//! Bars for what takes long, with the time that is left. They are drawn on a terminal alone, never into a file or a pipe.

use crate::runner::Cell;
use crate::terminal;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Duration;

/// A bar over `total` things to do.
pub fn bar(total: usize) -> ProgressBar {
    ProgressBar::new(total as u64).with_style(style("{eta}"))
}

/// The line of all bars; `left` says how long it still takes.
fn style(left: &str) -> ProgressStyle {
    let template = format!("{{wide_bar}} {{pos}}/{{len}} {{elapsed}} (ETA {left})");
    ProgressStyle::with_template(&template).expect("a valid template")
}

/// A sweep on its way: a bar over all runs, and below it the policy under way with its own runs.
pub struct Sweep {
    bars: MultiProgress,
    all: ProgressBar,
    policy: ProgressBar,
    pace: Pace,
}

impl Sweep {
    /// A sweep over these cells.
    pub fn over(cells: &[Cell]) -> Sweep {
        let bars = MultiProgress::new();
        let all = bars.add(ProgressBar::new(cells.len() as u64).with_style(style("{msg}")));
        let line = ProgressStyle::with_template("{wide_msg}").expect("a valid template");
        let policy = bars.add(ProgressBar::new_spinner().with_style(line));
        let pace = Pace::over(cells.iter().map(|cell| cell.variant.label.as_str()));
        Sweep {
            bars,
            all,
            policy,
            pace,
        }
    }

    /// Says that a run begins; `is_again` where it failed before.
    pub fn begin(&self, label: &str, is_again: bool) {
        let again = if is_again { ", tried again after it failed" } else { "" };
        self.policy.set_message(format!("{}{again}", self.pace.describe(label)));
        self.all.set_message(shown(self.pace.left_s()));
    }

    /// Says that a run has ended, and what it took; None where it was done before.
    pub fn end(&mut self, label: &str, took: Option<Duration>) {
        self.pace.end(label, took);
        self.all.inc(1);
    }

    /// Prints a line above the bars.
    pub fn say(&self, text: &str) {
        self.bars.suspend(|| eprintln!("{}", terminal::item(text)));
    }

    /// Takes the bars away.
    pub fn finish(self) {
        self.policy.finish_and_clear();
        self.all.finish_and_clear();
    }
}

/// How many runs each policy has had, how long they took, and so how long the others will.
struct Pace {
    policies: BTreeMap<String, Own>,
}

#[derive(Default)]
struct Own {
    runs: usize,
    done: usize,
    timed: usize, // of those done: not those of an earlier session
    timed_s: f64,
}

impl Own {
    fn mean_s(&self) -> Option<f64> {
        (self.timed > 0).then(|| self.timed_s / self.timed as f64)
    }
}

impl Pace {
    fn over<'a>(labels: impl Iterator<Item = &'a str>) -> Pace {
        let mut policies: BTreeMap<String, Own> = BTreeMap::new();
        for label in labels {
            policies.entry(label.into()).or_default().runs += 1;
        }
        Pace { policies }
    }

    fn end(&mut self, label: &str, took: Option<Duration>) {
        let own = self.policies.entry(label.into()).or_default();
        own.done += 1;
        if let Some(took) = took {
            own.timed += 1;
            own.timed_s += took.as_secs_f64();
        }
    }

    /// Seconds of the mean run; None before one was timed.
    fn mean_s(&self) -> Option<f64> {
        let timed: usize = self.policies.values().map(|own| own.timed).sum();
        let timed_s: f64 = self.policies.values().map(|own| own.timed_s).sum();
        (timed > 0).then(|| timed_s / timed as f64)
    }

    /// Seconds that the other runs of a policy will take. Before one of its own was timed it counts as the mean run.
    fn left_of_s(&self, label: &str) -> Option<f64> {
        let own = self.policies.get(label)?;
        Some((own.runs - own.done) as f64 * own.mean_s().or(self.mean_s())?)
    }

    /// Seconds that all other runs will take.
    fn left_s(&self) -> Option<f64> {
        self.policies.keys().map(|label| self.left_of_s(label)).sum()
    }

    fn describe(&self, label: &str) -> String {
        let (done, runs) = self.policies.get(label).map_or((0, 0), |own| (own.done, own.runs));
        let left = shown(self.left_of_s(label));
        format!("{label}: run {} of {runs} (ETA of its runs {left})", done + 1)
    }
}

fn shown(left_s: Option<f64>) -> String {
    let human = |seconds| format!("{:#}", HumanDuration(Duration::from_secs_f64(seconds)));
    left_s.map_or("?".into(), human)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_each_policys_own_pace() {
        let mut pace = Pace::over(["off", "step", "off", "step", "off", "step"].into_iter());
        assert_eq!(pace.describe("off"), "off: run 1 of 3 (ETA of its runs ?)");
        pace.end("off", Some(Duration::from_secs(60)));
        assert_eq!(
            pace.left_of_s("step"),
            Some(3.0 * 60.0),
            "not timed yet, it counts as the mean run"
        );
        assert_eq!(pace.left_s(), Some(5.0 * 60.0));
        pace.end("step", Some(Duration::from_secs(20)));
        assert_eq!(pace.left_s(), Some(2.0 * 60.0 + 2.0 * 20.0));
        assert_eq!(pace.describe("step"), "step: run 2 of 3 (ETA of its runs 40s)");
    }

    #[test]
    fn runs_of_an_earlier_session_are_done_but_say_nothing_of_the_pace() {
        let mut pace = Pace::over(["off", "off", "off"].into_iter());
        pace.end("off", None);
        assert_eq!(pace.left_s(), None);
        pace.end("off", Some(Duration::from_secs(7)));
        assert_eq!((pace.left_s(), pace.left_of_s("off")), (Some(7.0), Some(7.0)));
    }
}
