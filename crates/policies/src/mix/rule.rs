//! The decision of MixCache, as arithmetic on what was measured.

use super::{Memory, Mix, Scope, Trigger};
use crate::data::Impact;
use crate::plan::{At, Run};

/// What a step does.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub(super) enum Grain {
    /// Compute everything, store nothing: nobody will ask for it.
    #[default]
    Plain,
    /// Compute everything and refresh all caches. `note`: measure how the block residuals changed.
    Full { note: bool },
    Step,
    Cfg,
    Block,
}

const STEP: usize = 0;
const CFG: usize = 1;
const BLOCK: usize = 2;

/// When to cache, for how long, at which granularity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rule {
    allowed: [bool; 3],
    impact: [f32; 3],
    saved: [f32; 3], // share of a step's compute that the granularity saves
    penalty: f32,
    cumulative: bool,
    per_interval: bool,
    cost_exponent: f32,
    adaptive: bool,
    bounds: (usize, usize),
    calm: f32,
    rough: f32,
    online: bool,
    start: f32,
    warmup: (usize, usize),
    last_cached: usize, // first step of the tail

    active: bool,
    interval: usize,
    cached: usize,        // cached steps since the last full one
    full: Option<usize>,  // the last full step whose values were stored
    before: Option<usize>, // the one before it
    unread: bool,         // whether what changed between them is still to be read
    drift: [f32; 3],      // D, per step of distance
    uses: [i32; 3],
    previous: Option<usize>,
}

impl Rule {
    pub(super) fn new(mix: &Mix, run: &Run, drift: f32, impact: Impact, saved: [f32; 3]) -> Rule {
        let steps = |share: f32| (share * run.steps() as f32).ceil() as usize;
        Rule {
            allowed: [mix.step, mix.cfg && run.branches == 2, mix.block],
            impact: [impact.step, impact.cfg, impact.block],
            saved,
            penalty: mix.penalty,
            cumulative: mix.memory == Memory::Cumulative,
            per_interval: mix.scope == Scope::Interval,
            cost_exponent: mix.cost_exponent,
            adaptive: mix.adaptive,
            bounds: (mix.interval_min, mix.interval_max),
            calm: mix.calm * drift,
            rough: mix.rough * drift,
            online: mix.trigger == Trigger::Online,
            start: mix.start * drift,
            warmup: match mix.trigger {
                Trigger::Online => (steps(mix.warmup_min).max(1), steps(mix.warmup_max)),
                Trigger::Fixed => (steps(mix.warmup_max).max(1), steps(mix.warmup_max)),
            },
            last_cached: run.steps().saturating_sub(mix.tail),
            interval: mix.interval,
            ..Rule::default()
        }
    }

    /// Whether the last full step left measurements that `step` needs.
    pub(super) fn unread(&self, step: usize) -> bool {
        self.unread && step < self.last_cached
    }

    /// Takes what a look saw: per branch the change of each block range, then that of the guided
    /// prediction, then (with two branches) that of the branch difference. Returns the block range
    /// that changed least.
    pub(super) fn learn(&mut self, seen: &[f32], branches: usize, ranges: usize) -> usize {
        self.unread = false;
        let (Some(full), Some(before)) = (self.full, self.before) else { return 0 };
        let distance = (full - before) as f32;
        let blocks = |range: usize| (0..branches).map(|b| seen[b * ranges + range]).sum::<f32>() / branches as f32;
        let calmest = (0..ranges).min_by(|&a, &b| blocks(a).total_cmp(&blocks(b))).unwrap_or(0);
        let change = seen[branches * ranges];
        self.drift[STEP] = change / distance;
        self.drift[CFG] = seen.get(branches * ranges + 1).map_or(f32::INFINITY, |d| d / distance);
        self.drift[BLOCK] = if ranges > 0 { blocks(calmest) / distance } else { f32::INFINITY };
        if self.active && distance > 1.0 && self.adaptive {
            self.interval = match change {
                q if q > self.rough => self.bounds.0.max(self.interval - 1),
                q if q < self.calm => self.bounds.1.min(self.interval + 1),
                _ => self.interval,
            };
        }
        let calm_enough = self.online && distance == 1.0 && change < self.start;
        self.active |= full + 1 >= self.warmup.1 || full + 1 >= self.warmup.0 && calm_enough;
        calmest
    }

    /// What this step does.
    pub(super) fn decide(&mut self, at: At) -> Grain {
        let full = !self.active || at.full || at.step >= self.last_cached || self.cached + 1 >= self.interval;
        if full {
            return self.refresh(at.step);
        }
        let score = |grain: usize| {
            let penalty = match (self.cumulative, self.previous) {
                (true, _) => self.penalty.powi(self.uses[grain]),
                (false, Some(previous)) if previous == grain => self.penalty,
                _ => 1.0,
            };
            self.drift[grain] * self.impact[grain] * penalty / self.saved[grain].powf(self.cost_exponent)
        };
        // Ties go to what saves more, which stands first when sorted by what it saves.
        let mut grains: Vec<usize> = (0..3).filter(|&grain| self.allowed[grain]).collect();
        grains.sort_by(|&a, &b| score(a).total_cmp(&score(b)).then(self.saved[b].total_cmp(&self.saved[a])));
        let chosen = grains[0];
        self.previous = Some(chosen);
        self.uses[chosen] += 1;
        self.cached += 1;
        [Grain::Step, Grain::Cfg, Grain::Block][chosen]
    }

    fn refresh(&mut self, step: usize) -> Grain {
        self.cached = 0;
        if self.per_interval {
            self.previous = None;
            self.uses = [0; 3];
        }
        // The first decision comes at the end of the warm-up, and needs the two full steps before it.
        let needed = step + 2 >= self.warmup.0 && step < self.last_cached;
        if !needed {
            return Grain::Plain;
        }
        (self.before, self.full) = (self.full, Some(step));
        self.unread = self.before.is_some();
        Grain::Full { note: self.unread }
    }
}
