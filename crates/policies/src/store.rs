//! What a cache holds: slots claimed before the run, rings of stored values, bytes, looks, the trace.

use crate::chain::{Feature, Planes};
use crate::plan::*;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Why a walk could not go on. Each is a fault of the policy or of the configuration, never of chance.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WalkError {
    /// The method has no meaning for this run.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// More memory is claimed than allowed; found out before the first kernel.
    #[error(
        "the cache needs {} bytes at its peak, the budget is {}: raise `runs.cache_budget_gib`, or choose a policy that stores less",
        needed,
        budget
    )]
    OverBudget {
        /// Bytes claimed.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
    },
    /// Reuse in a step that the run marks as full.
    #[error("step {step} must be computed in full: the run forbids reuse in its first and last steps")]
    Forbidden {
        /// The step.
        step: usize,
    },
    /// Reuse of something that was never stored.
    #[error("step {step}, branch {branch}: there is no stored {what}")]
    Missing {
        /// Where the pass stood.
        step: usize,
        /// Where the pass stood.
        branch: usize,
        /// What was asked for.
        what: String,
    },
    /// A move that makes no sense where it was made.
    #[error("step {}, branch {}, unit {}: {why}", at.step, at.branch, at.unit)]
    BadMove {
        /// Where the pass stood.
        at: At,
        /// What is wrong.
        why: String,
    },
}

impl WalkError {
    pub(crate) fn bad(at: At, why: String) -> WalkError {
        WalkError::BadMove { at, why }
    }
}

impl Claim {
    /// Whether the model has the signals, and the run's budget holds the bytes that are claimed.
    ///
    /// # Errors
    /// [`WalkError::Unfit`] naming the signal, [`WalkError::OverBudget`] with both numbers.
    pub fn check(&self, run: &Run) -> Result<(), WalkError> {
        let time = self.time_signal.map(Signal::Time);
        let mut signals = time.into_iter().chain(self.input_signal.then_some(Signal::Input));
        if let Some(signal) = signals.find(|signal| !run.signals.contains(signal)) {
            return Err(WalkError::Unfit(Unfit(format!(
                "it looks at the {signal}, which {} does not have: choose another signal",
                run.model
            ))));
        }
        let (needed, budget) = (self.bytes(run), run.budget_bytes);
        if needed > budget {
            Err(WalkError::OverBudget { needed, budget })
        } else {
            Ok(())
        }
    }
}

/// What a run cost, counted where it happens.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Costs {
    /// Synchronising device-to-host reads, including the one for time signals.
    pub reads: usize,
    /// Looks, with or without a read.
    pub looks: usize,
    /// Seconds blocked in reads.
    pub looks_s: f64,
    /// Floating-point operations done.
    pub flops: f64,
    /// Most bytes held at once.
    pub peak_bytes: u64,
}

/// A measurement on its way to the policy.
enum Pending<S> {
    Known(f32),
    Pair([S; 2]),
}

/// Everything the cache of one run holds.
pub struct Store<H: Feature, Z: Feature> {
    run: Run,
    claimed_bytes: u64,
    slots: HashMap<(usize, Value), Slot>,
    hiddens: HashMap<(usize, Value), VecDeque<H>>, // newest first
    latents: HashMap<(usize, Value), VecDeque<Z>>, // newest first
    open: Vec<(Value, H)>,
    held: Vec<(Value, H)>,
    noted: Vec<Pending<H::Scalar>>,
    time_signals: Vec<Vec<f32>>, // one per step, if claimed
    input_claimed: bool,
    inputs: HashMap<usize, (usize, H)>, // per branch: when it was looked at, and what was seen
    input_drift: Option<Pending<H::Scalar>>,
    bytes: u64,
    costs: Costs,
    trace: Vec<Event>,
}

impl<H: Feature, Z: Planes<Scalar = H::Scalar>> Store<H, Z> {
    /// Reserves what is claimed. `time_signals` are those of the claim, one per step.
    ///
    /// # Errors
    /// What [`Claim::check`] refuses.
    pub fn new(run: Run, claim: &Claim, time_signals: Vec<Vec<f32>>) -> Result<Self, WalkError> {
        claim.check(&run)?;
        let claimed_bytes = claim.bytes(&run);
        let costs = Costs {
            reads: !time_signals.is_empty() as usize,
            ..Costs::default()
        };
        Ok(Store {
            run,
            claimed_bytes,
            slots: claim.slots.iter().map(|s| ((s.branch, s.value), *s)).collect(),
            hiddens: HashMap::new(),
            latents: HashMap::new(),
            open: vec![],
            held: vec![],
            noted: vec![],
            time_signals,
            input_claimed: claim.input_signal,
            inputs: HashMap::new(),
            input_drift: None,
            bytes: 0,
            costs,
            trace: vec![],
        })
    }
    /// The run this store serves.
    pub fn run(&self) -> &Run {
        &self.run
    }
    /// Bytes promised before the run.
    pub fn claimed_bytes(&self) -> u64 {
        self.claimed_bytes
    }
    /// What the run has cost so far.
    pub fn costs(&self) -> Costs {
        self.costs
    }
    /// Every decision of the run.
    pub fn into_trace(self) -> Vec<Event> {
        self.trace
    }

    pub(crate) fn record(&mut self, at: At, act: Move, seen: Vec<f32>) {
        self.trace.push(Event { at, act, seen });
    }
    pub(crate) fn count_embed<T>(&mut self, embed: impl FnOnce() -> T) -> T {
        self.costs.flops += self.run.rest_flops;
        embed()
    }
    pub(crate) fn count_units(&mut self, from: usize, to: usize) {
        self.costs.flops += self.run.flops_of(from..to);
    }
    fn hold_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.costs.peak_bytes = self.costs.peak_bytes.max(self.bytes);
    }

    /// Clones the hidden state for each claimed delta that starts at `unit`.
    pub(crate) fn open(&mut self, branch: usize, unit: usize, keep: Keep, hidden: &H) {
        if keep == Keep::Nothing || self.slots.is_empty() {
            return;
        }
        let starts: Vec<Slot> = self
            .slots
            .values()
            .filter(|s| s.branch == branch && matches!(s.value, Value::Delta { from, .. } if from == unit))
            .copied()
            .collect();
        for slot in starts {
            self.hold_bytes(self.run.hidden_bytes);
            self.open.push((slot.value, hidden.clone()));
        }
    }
    /// Turns each open clone whose span ends at `unit` into a delta, stored or held.
    pub(crate) fn close(&mut self, branch: usize, unit: usize, keep: Keep, hidden: &H) {
        if keep == Keep::Nothing {
            return;
        }
        while let Some(i) = self
            .open
            .iter()
            .position(|(v, _)| matches!(v, Value::Delta { to, .. } if *to == unit))
        {
            let (value, before) = self.open.swap_remove(i);
            let delta = hidden.since(before); // the clone's bytes are now the delta's
            if keep == Keep::Hold {
                self.held.push((value, delta));
            } else {
                self.bytes -= self.run.hidden_bytes;
                self.keep_hidden(branch, value, delta);
            }
        }
    }
    pub(crate) fn wants_raw(&self, branch: usize, unit: usize, keep: Keep) -> bool {
        keep == Keep::Store && self.slots.contains_key(&(branch, Value::Raw { unit }))
    }
    /// Stores a hidden-sized value; the oldest copy makes room first.
    pub(crate) fn keep_hidden(&mut self, branch: usize, value: Value, hidden: H) {
        let depth = self.slots[&(branch, value)].depth;
        let ring = self.hiddens.entry((branch, value)).or_default();
        if ring.len() == depth {
            ring.pop_back();
            self.bytes -= self.run.hidden_bytes;
        }
        ring.push_front(hidden);
        self.hold_bytes(self.run.hidden_bytes);
    }
    pub(crate) fn keep_held(&mut self, branch: usize) {
        for (value, delta) in std::mem::take(&mut self.held) {
            self.bytes -= self.run.hidden_bytes;
            self.keep_hidden(branch, value, delta);
        }
    }
    /// Stores what is claimed of a prediction made from `latent`.
    pub(crate) fn keep_prediction(&mut self, branch: usize, keep: Keep, prediction: &Z, latent: &Z) {
        if keep != Keep::Store {
            return;
        }
        for value in [Value::Output, Value::Change] {
            let Some(slot) = self.slots.get(&(branch, value)) else {
                continue;
            };
            let kept = match value {
                Value::Output => prediction.clone(),
                _ => prediction.since(latent.clone()),
            };
            let ring = self.latents.entry((branch, value)).or_default();
            if ring.len() == slot.depth {
                ring.pop_back();
                self.bytes -= self.run.latent_bytes;
            }
            ring.push_front(kept);
            self.hold_bytes(self.run.latent_bytes);
        }
    }
    /// Drops what the pass left open or held.
    pub(crate) fn end_pass(&mut self) {
        self.bytes -= (self.open.len() + self.held.len()) as u64 * self.run.hidden_bytes;
        self.open.clear();
        self.held.clear();
    }

    /// `from + Σ weight · hidden`.
    pub(crate) fn add_hiddens(&self, at: At, from: Option<H>, terms: &[Term]) -> Result<H, WalkError> {
        let mut sum = from;
        for term in terms {
            let Weight::Flat(weight) = term.weight else {
                return Err(WalkError::bad(
                    at,
                    "frequency bands weigh latents, not hidden states".into(),
                ));
            };
            let Source::Kept { value, branch, age } = term.of else {
                return Err(WalkError::bad(
                    at,
                    "a prediction cannot be added to a hidden state".into(),
                ));
            };
            let hidden = self.hiddens.get(&(branch, value)).and_then(|ring| ring.get(age));
            sum = Some(added(
                sum,
                weight,
                hidden.ok_or_else(|| missing(at, value, branch, age))?,
            ));
        }
        sum.ok_or_else(|| WalkError::bad(at, "a weighted sum without terms".into()))
    }
    /// `from + Σ weight · latent`.
    pub(crate) fn add_latents(&self, at: At, from: Option<Z>, terms: &[Term], now: &[Z]) -> Result<Z, WalkError> {
        let mut sum = from;
        for term in terms {
            let latent = match term.of {
                Source::Now { branch } => now.get(branch).ok_or_else(|| WalkError::Missing {
                    step: at.step,
                    branch: at.branch,
                    what: format!("prediction of branch {branch} in this step"),
                })?,
                Source::Kept { value, branch, age } => self
                    .latents
                    .get(&(branch, value))
                    .and_then(|ring| ring.get(age))
                    .ok_or_else(|| missing(at, value, branch, age))?,
            };
            sum = Some(match term.weight {
                Weight::Flat(weight) => added(sum, weight, latent),
                Weight::Bands { low, high } => added(Some(added(sum, high, latent)), low - high, &latent.low_pass()),
            });
        }
        sum.ok_or_else(|| WalkError::bad(at, "a weighted sum without terms".into()))
    }

    /// Takes the input signal of this pass in place of the one before it, and measures how it changed.
    pub(crate) fn renew_input(&mut self, at: At, signal: impl FnOnce() -> H) -> Result<(), WalkError> {
        let before = self.inputs.remove(&at.branch);
        let looked = before.as_ref().is_some_and(|(step, _)| *step == at.step);
        if !self.input_claimed || at.unit > 0 || looked {
            let why = "a look at an input signal: expected one a pass, claimed, in front of the first unit";
            return Err(WalkError::bad(at, why.into()));
        }
        let signal = signal();
        self.hold_bytes(self.run.input_bytes);
        self.input_drift = Some(match before {
            None => Pending::Known(f32::INFINITY),
            Some((_, before)) => {
                self.bytes -= self.run.input_bytes;
                Pending::Pair(signal.l1_pair(&before))
            }
        });
        self.inputs.insert(at.branch, (at.step, signal));
        Ok(())
    }

    /// Measures now, leaves the numbers on the device.
    pub(crate) fn note(&mut self, at: At, probes: &[Probe]) -> Result<(), WalkError> {
        for probe in probes {
            let pending = self.measure(at, probe)?;
            self.noted.push(pending);
        }
        Ok(())
    }
    /// Measures, and brings these and all noted numbers to the host in at most one read: the only
    /// place where a pass waits for the device.
    pub(crate) fn look(&mut self, at: At, probes: &[Probe]) -> Result<Vec<f32>, WalkError> {
        self.note(at, probes)?;
        self.costs.looks += 1;
        let (mut seen, mut places, mut scalars) = (vec![], vec![], vec![]);
        for pending in self.noted.drain(..) {
            match pending {
                Pending::Known(distance) => seen.push(distance),
                Pending::Pair(pair) => {
                    places.push(seen.len());
                    seen.push(f32::NAN);
                    scalars.extend(pair);
                }
            }
        }
        if !scalars.is_empty() {
            let start = Instant::now();
            let numbers = H::read(scalars);
            self.costs.looks_s += start.elapsed().as_secs_f64();
            self.costs.reads += 1;
            for (pair, place) in numbers.chunks_exact(2).zip(places) {
                seen[place] = relative(pair[0], pair[1]);
            }
        }
        Ok(seen)
    }
    fn measure(&mut self, at: At, probe: &Probe) -> Result<Pending<H::Scalar>, WalkError> {
        Ok(match probe {
            Probe::Time => {
                if self.time_signals.is_empty() {
                    return Err(WalkError::bad(
                        at,
                        "a look at a time signal that was not claimed".into(),
                    ));
                }
                Pending::Known(match at.step.checked_sub(1) {
                    None => f32::INFINITY,
                    Some(before) => time_drift(&self.time_signals[at.step], &self.time_signals[before]),
                })
            }
            Probe::Input => {
                let drift = self.input_drift.take();
                drift.ok_or_else(|| WalkError::bad(at, "two probes of one input signal".into()))?
            }
            Probe::Fresh(value) => {
                let fresh = self.held.iter().find(|(v, _)| v == value);
                let (_, fresh) = fresh.ok_or_else(|| WalkError::bad(at, format!("no fresh {value} is held")))?;
                match self.hiddens.get(&(at.branch, *value)).and_then(|ring| ring.front()) {
                    Some(stored) => Pending::Pair(fresh.l1_pair(stored)),
                    None => Pending::Known(f32::INFINITY),
                }
            }
            Probe::Distance { new, old } => {
                let latents = self
                    .add_latents(at, None, new, &[])
                    .and_then(|a| Ok((a, self.add_latents(at, None, old, &[])?)));
                match latents {
                    Ok((a, b)) => Pending::Pair(a.l1_pair(&b)),
                    Err(WalkError::Missing { .. }) => Pending::Known(f32::INFINITY),
                    Err(error) => return Err(error),
                }
            }
        })
    }
}

fn added<T: Feature>(sum: Option<T>, weight: f32, other: &T) -> T {
    match sum {
        Some(sum) => sum.add_scaled(weight, other),
        None if weight == 1.0 => other.clone(),
        None => other.scaled(weight),
    }
}

fn missing(at: At, value: Value, branch: usize, age: usize) -> WalkError {
    let what = format!("{value} of branch {branch}, {age} writes ago");
    WalkError::Missing {
        step: at.step,
        branch: at.branch,
        what,
    }
}

/// `mean|a − b| / (mean|b| + 1e-8)`: the guard only matters when `b` is zero throughout.
fn relative(mean_difference: f32, mean_old: f32) -> f32 {
    mean_difference / (mean_old + 1e-8)
}

fn time_drift(new: &[f32], old: &[f32]) -> f32 {
    let difference: f64 = new.iter().zip(old).map(|(a, b)| (a - b).abs() as f64).sum();
    let size: f64 = old.iter().map(|b| b.abs() as f64).sum();
    (difference / size) as f32
}
