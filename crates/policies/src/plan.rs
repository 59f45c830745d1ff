//! The vocabulary of the walk, as plain data.
//!
//! A pass of a diffusion transformer is a chain of residual units. A cache replaces a contiguous
//! span of that chain by a weighted sum of values stored earlier. A policy walks the chain and says,
//! span by span: compute, reuse, or look. What it says is data ([`Move`]), so a policy needs no
//! tensor, no model and no GPU; every run leaves a trace ([`Event`]); a trace can be replayed.
//!
//! ```text
//! unit     0 ─ 1 ─ 2 ─ … ─ end      output          (one pass, one branch, one step)
//!          └ block 0 ┘      │ head    │
//!          x after embed    x before  velocity
//! ```

mod claim;
mod unfit;

pub use claim::{Claim, Slot, Value};
pub use unfit::Unfit;
pub(crate) use unfit::{at_least_one, needs_guidance, needs_like_branches};

use crate::data::{Data, Kind};
use serde::{Deserialize, Serialize};
use std::{ops::Range, sync::Arc};

/// Branch of the conditional pass.
pub const COND: usize = 0;
/// Branch of the unconditional pass.
pub const UNCOND: usize = 1;

/// Where a pass stands. The loop tells a policy where it is; a policy never counts calls.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// Sampler step, 0 = the noisiest.
    pub step: usize,
    /// Guidance branch: [`COND`] or [`UNCOND`].
    pub branch: usize,
    /// Next unit to run.
    pub unit: usize,
    /// Whether the run forbids reuse in this step ([`Run::is_full`]).
    pub full: bool,
}

/// What a unit computes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitKind {
    /// Self-attention over the video tokens, jointly with those of the text where the model updates both.
    SelfAttn,
    /// Cross-attention from video tokens to text.
    CrossAttn,
    /// Feed-forward.
    Mlp,
    /// Self-attention and feed-forward side by side, on the same input and under one gate.
    Fused,
}

/// One residual unit `x ← x + gate·f(x)` of the chain.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Unit {
    /// Transformer block it belongs to.
    pub block: usize,
    /// What it computes.
    pub kind: UnitKind,
    /// Floating-point operations of one pass through it (multiply-add = 2, attention included).
    pub flops: f64,
}

/// What a policy may know of a run before it starts.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name of the model, to tell whether calibrated coefficients belong to it.
    pub model: String,
    /// The chain, in execution order.
    pub units: Vec<Unit>,
    /// Floating-point operations outside the chain in one pass (embedding and head).
    pub rest_flops: f64,
    /// Passes per step: 2 with classifier-free guidance, 1 when guidance is distilled, batched or off.
    pub branches: usize,
    /// Whether the hidden states of all branches have one shape: not where text of its own length goes along with the
    /// video in each (HunyuanVideo under true CFG).
    pub branches_alike: bool,
    /// Guidance scale w of `ε = ε_u + w·(ε_c − ε_u)`.
    pub guidance: f32,
    /// Noise level of each step, decreasing, in (0, 1].
    pub sigmas: Vec<f32>,
    /// Timestep the model is given at each step, in (0, 1000].
    pub timesteps: Vec<f32>,
    /// Steps at either end in which reuse is forbidden.
    pub full: (usize, usize),
    /// Steps, in order, at which another expert of the model takes over (Wan2.2). To it nothing means anything
    /// that the one before left: the walk drops what is kept, begins the policy anew, and forbids reuse there.
    pub switches: Vec<usize>,
    /// Signals that the model has.
    pub signals: Vec<Signal>,
    /// Bytes of one hidden state `[tokens, dim]` in the dtype of the run.
    pub hidden_bytes: u64,
    /// Bytes of one [`Signal::Input`].
    pub input_bytes: u64,
    /// Bytes of one prediction, the size of the latent.
    pub latent_bytes: u64,
    /// Limit on everything the cache holds at once.
    pub budget_bytes: u64,
    /// What was calibrated.
    pub data: Arc<Data>,
}

impl Run {
    /// Number of units: the place after the last block, before the head.
    pub fn end(&self) -> usize {
        self.units.len()
    }
    /// One past [`Run::end`]: a span that ends here contains the head and yields a prediction.
    pub fn output(&self) -> usize {
        self.end() + 1
    }
    /// Number of sampler steps.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }
    /// Number of transformer blocks.
    pub fn blocks(&self) -> usize {
        self.units.last().map_or(0, |u| u.block + 1)
    }
    /// Units of the blocks `blocks`.
    pub fn units_of(&self, blocks: Range<usize>) -> Range<usize> {
        let first = |block| self.units.iter().position(|u| u.block >= block);
        first(blocks.start).unwrap_or(self.end())..first(blocks.end).unwrap_or(self.end())
    }
    /// Whether reuse is forbidden in `step`.
    pub fn is_full(&self, step: usize) -> bool {
        step < self.full.0 || step + self.full.1 >= self.steps() || self.switches.contains(&step)
    }
    /// Floating-point operations of one uncached pass.
    pub fn pass_flops(&self) -> f64 {
        self.rest_flops + self.flops_of(0..self.end())
    }
    /// Floating-point operations of these units in one pass.
    pub fn flops_of(&self, units: Range<usize>) -> f64 {
        self.units[units].iter().map(|u| u.flops).sum()
    }
    /// Floating-point operations of the whole run without a cache.
    pub fn total_flops(&self) -> f64 {
        self.pass_flops() * (self.steps() * self.branches) as f64
    }
}

/// Where a term of a weighted sum comes from.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A stored value: which branch wrote it, and how many writes ago (0 = newest).
    Kept {
        /// What was stored.
        value: Value,
        /// The branch that wrote it.
        branch: usize,
        /// Writes ago, 0 = newest.
        age: usize,
    },
    /// The prediction of another branch in this very step. The guidance holds it anyway: no memory.
    Now {
        /// The branch, run earlier in this step.
        branch: usize,
    },
    /// What this very pass has in hand: a delta it holds, the hidden state where it stands, the latent it
    /// was given, the prediction it has just made. No memory beyond what is claimed for holding.
    Fresh {
        /// Of these, which.
        value: Value,
    },
}

/// Weight of a term.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Weight {
    /// The same for all frequencies.
    Flat(f32),
    /// One weight for the low and one for the high spatial frequencies of a latent. The border is a
    /// disc of radius `⌊min(H, W)/5⌋` around zero frequency, per frame (FasterCache, arXiv 2410.19355).
    Bands {
        /// Weight inside the disc.
        low: f32,
        /// Weight outside.
        high: f32,
    },
    /// A gain for each frequency along frames, rows and columns of a latent: what is left of a clean video's
    /// spectrum at this noise level (SeaCache, arXiv 2602.18993; see [`crate::sea`]).
    Spectrum {
        /// The noise level.
        sigma: f32,
    },
}

/// One term of a weighted sum.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// Its weight.
    pub weight: Weight,
    /// What is weighted.
    pub of: Source,
}

impl Term {
    /// `weight ×` the stored copy of `value` that `branch` wrote `age` writes ago.
    pub fn kept(weight: f32, value: Value, branch: usize, age: usize) -> Term {
        Term {
            weight: Weight::Flat(weight),
            of: Source::Kept { value, branch, age },
        }
    }
    /// `weight ×` what this pass has in hand of `value`.
    pub fn fresh(weight: f32, value: Value) -> Term {
        Term {
            weight: Weight::Flat(weight),
            of: Source::Fresh { value },
        }
    }
}

/// What the prediction of an earlier step lacked, as is known by now: the one that should have stood in its place minus
/// the one that did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lacked {
    /// That step.
    pub step: usize,
    /// The difference, as a weighted sum of predictions.
    pub terms: Vec<Term>,
}

/// Signal of the timestep alone, the same for every prompt, seed and branch.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeSignal {
    /// Output of the time-embedding MLP, `e` in Wan's code, `[d]`.
    Embedding,
    /// Output of the time projection, `e0` in Wan's code, `[6·d]`.
    Projection,
}

/// What tells beforehand, more or less, how much the output of a pass will have changed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// What the first unit computes on: the video tokens after its norm and modulation. It depends on
    /// the clip, so it costs an embedding and a read a look.
    Input,
    /// A signal of the timestep alone.
    #[serde(untagged)]
    Time(TimeSignal),
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Signal::Input => "input of the first unit",
            Signal::Time(TimeSignal::Embedding) => "time embedding",
            Signal::Time(TimeSignal::Projection) => "time projection",
        })
    }
}

/// A measurement. All but the cosine are relative L1 distances `mean|a − b| / mean|b|`, `b` the older
/// one. All are infinite when there is nothing to compare with yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// The claimed [`TimeSignal`] of this step against that of the step before. On the host, no read.
    Time,
    /// The claimed [`Signal::Input`] of this pass against the one this branch looked at before. Only
    /// in front of the first unit, once a pass.
    Input,
    /// What this pass has in hand of this value against the newest stored copy of this branch.
    Fresh(Value),
    /// One weighted sum against another, both of latents and predictions or both of hidden states.
    Distance {
        /// The newer.
        new: Vec<Term>,
        /// The older, in the denominator.
        old: Vec<Term>,
    },
    /// The cosine of the angle between two weighted sums of latents and predictions.
    Cosine {
        /// The one.
        a: Vec<Term>,
        /// The other.
        b: Vec<Term>,
    },
}

impl Probe {
    /// `mean|Σ change| / mean|Σ of|`, as the distance between `of + change` and `of`.
    pub fn ratio(change: Vec<Term>, of: Vec<Term>) -> Probe {
        let mut new = of.clone();
        new.extend(change);
        Probe::Distance { new, old: of }
    }
}

/// What becomes of the values that a computation completes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Nothing is stored, nothing is cloned.
    Nothing,
    /// Claimed deltas are held: a [`Probe::Fresh`] can look at them, a later `Store` of the same
    /// pass stores them too; otherwise they are dropped when the pass ends. A move that holds up to
    /// [`Run::end`] leaves the pass open: the policy is asked once more before the head.
    Hold,
    /// Claimed values are stored, together with those held.
    Store,
}

/// One decision: everything a cache can do, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "move", deny_unknown_fields)]
pub enum Move {
    /// Run the units up to `to` (and the head, if `to` is [`Run::output`]). `keep` says what becomes
    /// of the claimed values on the way. A delta is kept only if the moves that pass its start and
    /// its end both keep.
    Compute {
        /// One past the last unit to run.
        to: usize,
        /// What becomes of completed values.
        keep: Keep,
        /// What predictions of earlier steps lacked, as this one tells, to be made good in the latent. Only in a move
        /// that ends the pass; this prediction itself stays as computed, in hand as the fresh [`Value::Output`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lacked: Vec<Lacked>,
    },
    /// Skip to the end of `value`, putting a weighted sum in its place.
    Reuse {
        /// What is replaced.
        value: Value,
        /// By what.
        terms: Vec<Term>,
        /// Whether the sum is stored as if it had been computed (raw outputs only).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        kept: bool,
        /// What predictions of earlier steps lacked, as another branch of this step told. Only in a move that puts a
        /// prediction in place.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lacked: Vec<Lacked>,
    },
    /// Measure, and wait for the answers: one device-to-host read for these probes and all noted before.
    Look {
        /// What to measure.
        probes: Vec<Probe>,
    },
    /// Measure, but leave the result on the device: the next look reads it, in front of its own.
    Note {
        /// What to measure.
        probes: Vec<Probe>,
    },
}

impl Move {
    /// Compute up to `to`, storing nothing.
    pub fn compute(to: usize) -> Move {
        Move::computed(to, Keep::Nothing)
    }
    /// Compute up to `to`, storing what is claimed.
    pub fn store(to: usize) -> Move {
        Move::computed(to, Keep::Store)
    }
    /// Compute up to `to`, holding what is claimed.
    pub fn hold(to: usize) -> Move {
        Move::computed(to, Keep::Hold)
    }
    /// The move that ends a pass, amending what earlier predictions `lacked`.
    pub fn amending(self, lacked: Vec<Lacked>) -> Move {
        match self {
            Move::Compute { to, keep, .. } => Move::Compute { to, keep, lacked },
            Move::Reuse { value, terms, kept, .. } => Move::Reuse {
                value,
                terms,
                kept,
                lacked,
            },
            other => other,
        }
    }
    fn computed(to: usize, keep: Keep) -> Move {
        let lacked = vec![];
        Move::Compute { to, keep, lacked }
    }
    /// Reuse the newest copy of `value` of the branch that stands at `at`.
    pub fn newest(value: Value, at: At) -> Move {
        Move::reuse(value, vec![Term::kept(1.0, value, at.branch, 0)])
    }
    /// Put this sum in place of `value`.
    pub fn reuse(value: Value, terms: Vec<Term>) -> Move {
        let (kept, lacked) = (false, vec![]);
        Move::Reuse {
            value,
            terms,
            kept,
            lacked,
        }
    }
}

/// A cache method.
pub trait CachePolicy {
    /// Steps the sampler should take where the experiment plans `planned`. Only the control
    /// `fewer-steps` differs.
    fn steps(&self, planned: usize) -> usize {
        planned
    }
    /// Forget everything, check that the method fits this run, and claim the memory it will use. Asked before the
    /// first step, and in front of every step of [`Run::switches`] again.
    ///
    /// # Errors
    /// [`Unfit`] when the method has no meaning for the run, e.g. a CFG cache without guidance.
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit>;
    /// The next move of the pass standing at `at`; `seen` answers the [`Move::Look`] just before,
    /// and is empty otherwise.
    fn next(&mut self, at: At, seen: &[f32]) -> Move;
    /// What it looks up in [`Run::data`]: kind and name.
    fn draws_on(&self) -> Option<(Kind, &str)> {
        None
    }
    /// What the user should know after a run, e.g. a signal outside its calibrated range.
    fn warnings(&self) -> Vec<String> {
        vec![]
    }
    /// Whether it may reuse at more than one granularity: whole steps, one branch of a step, blocks or parts of them.
    /// Said of the method with any knobs, not of what a run happened to reuse.
    fn is_hybrid() -> bool
    where
        Self: Sized,
    {
        false
    }
}

/// One line of the decision trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Where the pass stood.
    pub at: At,
    /// What the policy said.
    pub act: Move,
    /// What a look saw, noted probes first.
    pub seen: Vec<f32>,
}
