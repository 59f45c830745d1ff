//! MixCache (arXiv 2508.12691): at each cached step choose the granularity — the whole step, the
//! unconditional branch, or a range of blocks — whose penalty P = D·I is least.
//!
//! We go by the abstract and by what others report of the paper: no code and no constants were found. What is the paper's, what is known from
//! secondary sources, and what is our own design is marked **P**, **S**, **O**:
//! - **P** three granularities; context-aware triggering; adaptive hybrid decision.
//! - **S** `P = D·I`, the smallest wins; a factor 5 against choosing the same one twice in a row; an
//!   interval that shortens above δ₂ and lengthens below δ₁.
//! - **O** every norm, reference and default: D is relative L1 per step of distance between the last
//!   two full steps; I is the measured gain of a perturbation ([`crate::data::MixCalibration`]);
//!   thresholds in units of the calibrated drift d̄; full steps alone write caches; the forecast (`order`).

mod rule;

use crate::cfg::rebuilt_uncond;
use crate::data::{Impact, Kind, find};
use crate::forecast::Forecast;
use crate::form::Form;
use crate::plan::*;
use rule::{Grain, Rule};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Choose the granularity at run time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Name of the calibration: drift d̄ and impacts I.
    pub calibration: String,
    /// Allow a calibration of another model.
    pub foreign: bool,
    /// Which granularities may be chosen.
    pub step: bool,
    /// See `step`. Without guidance in two passes it is never chosen.
    pub cfg: bool,
    /// See `step`.
    pub block: bool,
    /// Steps from one full step to the next, at first (N₀).
    pub interval: usize,
    /// Whether the interval adapts to the measured change.
    pub adaptive: bool,
    /// Shortest adapted interval.
    pub interval_min: usize,
    /// Longest adapted interval.
    pub interval_max: usize,
    /// Change, in d̄, below which the interval grows (δ₁).
    pub calm: f32,
    /// Change, in d̄, above which the interval shrinks (δ₂).
    pub rough: f32,
    /// When caching begins.
    pub trigger: Trigger,
    /// Change, in d̄, below which caching begins (τ).
    pub start: f32,
    /// Share of the steps before which caching never begins.
    pub warmup_min: f32,
    /// Share of the steps after which it begins anyway; with the fixed trigger, where it begins.
    pub warmup_max: f32,
    /// Steps at the end that are computed.
    pub tail: usize,
    /// λ: factor against the granularity used before; 1 = none.
    pub penalty: f32,
    /// What the penalty remembers.
    pub memory: Memory,
    /// How long it remembers.
    pub scope: Scope,
    /// Where I comes from.
    pub impact: ImpactFrom,
    /// γ: the score is P / (1 − cost)^γ; 0 ignores the cost, as stated.
    pub cost_exponent: f32,
    /// What a cached step reuses.
    pub step_form: Form,
    /// Derivatives in the reuse of whole steps and of the branch difference (TaylorSeer, arXiv 2503.06923). 0 is
    /// the last full step's value, as the paper reuses it; 1 goes on along the last two, which D keeps anyway.
    pub order: usize,
    /// Weight of the low frequencies of the branch difference in the first half of the run, and of
    /// the high ones in the second (FasterCache boosts by 1.1); 1 = the plain difference.
    pub cfg_boost: f32,
    /// ρ: share of the blocks in the cached range.
    pub block_share: f32,
    /// Start of the range, as a share of the blocks.
    pub block_from: f32,
    /// Ranges of ρ·L blocks to choose from, by lowest D; 1 = the fixed range.
    pub block_ranges: usize,
    #[serde(skip)]
    state: State,
}

/// When caching begins.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// As soon as the measured change is small.
    Online,
    /// After `warmup_max` of the steps.
    Fixed,
}

/// What the penalty remembers.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// The granularity used last: factor λ.
    Last,
    /// All uses: factor λ^uses.
    Cumulative,
}

/// How long the penalty remembers.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The whole run.
    Run,
    /// Until the next full step.
    Interval,
}

/// Where the impact I of a granularity comes from.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImpactFrom {
    /// The calibration.
    Measured,
    /// 1 for all.
    One,
    /// From the guidance formula: an error of ε_u − ε_c enters with gain w − 1, others with 1.
    Analytic,
}

impl Default for Mix {
    fn default() -> Self {
        Mix {
            calibration: String::new(),
            foreign: false,
            step: true,
            cfg: true,
            block: true,
            interval: 3,
            adaptive: true,
            interval_min: 2,
            interval_max: 5,
            calm: 2.5,
            rough: 4.5,
            trigger: Trigger::Online,
            start: 3.0,
            warmup_min: 0.1,
            warmup_max: 0.3,
            tail: 1,
            penalty: 5.0,
            memory: Memory::Last,
            scope: Scope::Run,
            impact: ImpactFrom::Measured,
            cost_exponent: 0.0,
            step_form: Form::Output,
            order: 0,
            cfg_boost: 1.0,
            block_share: 0.7,
            block_from: 0.15,
            block_ranges: 1,
            state: State::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    rule: Rule,
    ranges: Vec<Range<usize>>, // units
    held_to: usize,            // where the last range ends
    end: usize,
    step_value: Option<Value>,
    forecast: Forecast,
    half: usize,
    guidance: f32,
    branches: usize,
    grain: Grain,
    range: usize, // of `ranges`, the one a block step reuses
    noted: bool,  // the fresh block residuals of this pass
}

impl CachePolicy for Mix {
    fn is_hybrid() -> bool {
        true
    }
    fn draws_on(&self) -> Option<(Kind, &str)> {
        Some((Kind::Calibration, &self.calibration))
    }
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        self.check(run)?;
        let calibration = find(run, "MixCache calibration", &run.data.mix, &self.calibration, |c| &c.model, self.foreign)?;
        let ranges = if self.block { self.block_units(run) } else { vec![] };
        let mut claim = Claim::default().keeping(run, Value::Output, 2.max(self.order + 1));
        for range in &ranges {
            claim = claim.holding(run, delta(range));
        }
        if self.step && self.step_form != Form::Output {
            claim = claim.keeping(run, self.step_form.value(run), self.order + 1);
        }
        let share = |units: &Range<usize>| run.flops_of(units.clone()) / run.pass_flops();
        let saved = [1.0, 0.5, ranges.first().map_or(0.0, |r| share(r) as f32)];
        let impact = match self.impact {
            ImpactFrom::Measured => calibration.impact,
            ImpactFrom::One => Impact { step: 1.0, cfg: 1.0, block: 1.0 },
            ImpactFrom::Analytic => Impact { step: 1.0, cfg: (run.guidance - 1.0).abs(), block: 1.0 },
        };
        self.state = State {
            rule: Rule::new(self, run, calibration.drift, impact, saved),
            held_to: ranges.iter().map(|r| r.end).max().unwrap_or(0),
            ranges,
            end: run.end(),
            step_value: Some(self.step_form.value(run)),
            forecast: Forecast::new(self.order, run),
            half: run.steps() / 2,
            guidance: run.guidance,
            branches: run.branches,
            ..State::default()
        };
        Ok(claim)
    }

    fn next(&mut self, at: At, seen: &[f32]) -> Move {
        let state = &mut self.state;
        if at.unit == 0 {
            state.noted = false;
            if at.branch == COND {
                if state.rule.unread(at.step) {
                    if seen.is_empty() {
                        return Move::Look { probes: state.predictions() };
                    }
                    state.range = state.rule.learn(seen, state.branches, state.ranges.len());
                }
                state.grain = state.rule.decide(at);
            }
        }
        let range = state.ranges.get(state.range);
        match (state.grain, at.branch) {
            (Grain::Plain, _) => Move::compute(state.end),
            (Grain::Full { note }, _) => match at.unit {
                0 if note && state.held_to > 0 => Move::hold(state.held_to),
                unit if unit > 0 && !state.noted => {
                    state.noted = true;
                    Move::Note { probes: state.ranges.iter().map(|r| Probe::Fresh(delta(r))).collect() }
                }
                _ => {
                    state.forecast.wrote(at);
                    Move::store(state.end + 1)
                }
            },
            (Grain::Step, _) => state.forecast.reuse(state.step_value.expect("set by begin"), at),
            (Grain::Cfg, COND) => Move::compute(state.end),
            (Grain::Cfg, _) => {
                let (low, high) = if at.step < state.half { (self.cfg_boost, 1.0) } else { (1.0, self.cfg_boost) };
                let weight = |w: f32| match low == high {
                    true => Weight::Flat(w),
                    false => Weight::Bands { low: low * w, high: high * w },
                };
                let ages = state.forecast.weights(at);
                rebuilt_uncond(&ages.into_iter().map(|w| (weight(w), weight(-w))).collect::<Vec<_>>())
            }
            (Grain::Block, _) => match range {
                Some(range) if at.unit == range.start => Move::newest(delta(range), at),
                Some(range) if at.unit < range.start => Move::compute(range.start),
                _ => Move::compute(state.end),
            },
        }
    }
}

impl Mix {
    fn check(&self, run: &Run) -> Result<(), Unfit> {
        let expect = |holds: bool, what: String| if holds { Ok(()) } else { Err(Unfit(what)) };
        let (min, n, max) = (self.interval_min, self.interval, self.interval_max);
        expect(n >= 2, format!("`interval = {n}`: expected at least 2 (one full step, one cached)"))?;
        expect(
            !self.adaptive || (2..=n).contains(&min) && n <= max,
            format!("`interval_min = {min}`, `interval = {n}`, `interval_max = {max}`: expected 2 ≤ min ≤ interval ≤ max"),
        )?;
        let (low, high) = (self.warmup_min, self.warmup_max);
        expect(
            0.0 <= low && low <= high && high <= 1.0,
            format!("`warmup_min = {low}`, `warmup_max = {high}`: expected 0 ≤ min ≤ max ≤ 1"),
        )?;
        expect(self.penalty > 0.0, format!("`penalty = {}`: expected more than 0", self.penalty))?;
        let any = self.step || self.block || self.cfg && run.branches == 2;
        expect(any, "no granularity is left to choose: allow `step` or `block` (`cfg` needs guidance in two passes)".into())?;
        let (from, share) = (self.block_from, self.block_share);
        expect(
            !self.block || 0.0 < share && 0.0 <= from && from + share <= 1.0 && self.block_ranges > 0,
            format!(
                "`block_from = {from}`, `block_share = {share}`, `block_ranges = {}`: expected a range inside 0..1, and at least one",
                self.block_ranges
            ),
        )
    }
    /// The candidate ranges, as units: the fixed one, or `block_ranges` of equal length spread from
    /// the first block to the last.
    pub fn block_units(&self, run: &Run) -> Vec<Range<usize>> {
        let blocks = run.blocks();
        let length = ((self.block_share * blocks as f32).round() as usize).clamp(1, blocks);
        let starts: Vec<usize> = match self.block_ranges {
            1 => vec![((self.block_from * blocks as f32).ceil() as usize).min(blocks - length)],
            n => (0..n).map(|i| i * (blocks - length) / (n - 1)).collect(),
        };
        starts.into_iter().map(|start| run.units_of(start..start + length)).collect()
    }
}

impl State {
    /// D of the guided prediction and of the branch difference, between the last two full steps.
    fn predictions(&self) -> Vec<Probe> {
        let kept = |weight, branch, age| Term::kept(weight, Value::Output, branch, age);
        let between = |terms: &dyn Fn(usize) -> Vec<Term>| Probe::Distance { new: terms(0), old: terms(1) };
        let w = self.guidance;
        match self.branches {
            2 => vec![
                between(&|age| vec![kept(w, COND, age), kept(1.0 - w, UNCOND, age)]),
                between(&|age| vec![kept(1.0, UNCOND, age), kept(-1.0, COND, age)]),
            ],
            _ => vec![between(&|age| vec![kept(1.0, COND, age)])],
        }
    }
}

fn delta(units: &Range<usize>) -> Value {
    Value::Delta { from: units.start, to: units.end }
}
