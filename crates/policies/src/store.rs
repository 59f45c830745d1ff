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
    #[error(
        "step {step} must be computed in full: the run forbids reuse in its first and last steps, and where another expert takes over"
    )]
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
    /// `mean |a − b|` and `mean |b|`.
    Distance([S; 2]),
    /// `a·b`, `a·a`, `b·b`.
    Cosine([S; 3]),
}

/// What becomes of the scalars of a [`Pending`] once they are read.
enum Finish {
    Known(f32),
    Distance,
    Cosine,
}

/// What a pass has in hand where it stands.
pub(crate) struct InHand<'a, H, Z> {
    /// The latent it was given.
    pub latent: &'a Z,
    /// The predictions that earlier branches made in this step.
    pub now: &'a [Z],
    /// The prediction it has just computed, once it has.
    pub made: Option<&'a Z>,
    /// The hidden state, if anything was computed yet.
    pub hidden: Option<&'a H>,
}

impl<'a, H, Z> InHand<'a, H, Z> {
    /// What every pass has in hand from its start.
    pub fn new(latent: &'a Z, now: &'a [Z]) -> Self {
        InHand {
            latent,
            now,
            made: None,
            hidden: None,
        }
    }
}

impl<H, Z> Clone for InHand<'_, H, Z> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<H, Z> Copy for InHand<'_, H, Z> {}

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
    warnings: Vec<String>,
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
            warnings: vec![],
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
    /// What a policy that began anew had to say of the steps before.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
    /// Every decision of the run.
    pub fn into_trace(self) -> Vec<Event> {
        self.trace
    }

    /// Drops everything that is kept, between two passes: another expert takes over. `warnings` are the policy's,
    /// which forgets as well.
    pub(crate) fn forget(&mut self, warnings: Vec<String>) {
        self.hiddens.clear();
        self.latents.clear();
        self.inputs.clear();
        self.noted.clear();
        self.bytes = 0;
        self.warnings.extend(warnings);
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
    /// Stores the hidden state in front of `unit`, if that is claimed.
    pub(crate) fn remember(&mut self, branch: usize, unit: usize, hidden: &H) {
        let value = Value::State { unit };
        if self.slots.contains_key(&(branch, value)) {
            self.keep_hidden(branch, value, hidden.clone());
        }
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
        self.keep_latent(branch, Value::Output, || prediction.clone());
        self.keep_latent(branch, Value::Change, || prediction.since(latent.clone()));
    }
    /// Stores a latent-sized value, if that is claimed; the oldest copy makes room first.
    fn keep_latent(&mut self, branch: usize, value: Value, latent: impl FnOnce() -> Z) {
        let Some(slot) = self.slots.get(&(branch, value)) else {
            return;
        };
        let ring = self.latents.entry((branch, value)).or_default();
        if ring.len() == slot.depth {
            ring.pop_back();
            self.bytes -= self.run.latent_bytes;
        }
        ring.push_front(latent());
        self.hold_bytes(self.run.latent_bytes);
    }
    /// Stores latent and prediction of the pass, if they are claimed; drops what the pass left open or held.
    pub(crate) fn end_pass(&mut self, branch: usize, latent: &Z, prediction: &Z) {
        self.keep_latent(branch, Value::Latent, || latent.clone());
        self.keep_latent(branch, Value::Made, || prediction.clone());
        self.bytes -= (self.open.len() + self.held.len()) as u64 * self.run.hidden_bytes;
        self.open.clear();
        self.held.clear();
    }

    /// `from + Σ weight · hidden`.
    pub(crate) fn add_hiddens(
        &self,
        at: At,
        from: Option<H>,
        terms: &[Term],
        hands: InHand<H, Z>,
    ) -> Result<H, WalkError> {
        let mut sum = from;
        for term in terms {
            let Weight::Flat(weight) = term.weight else {
                return Err(WalkError::bad(
                    at,
                    "frequencies of latents can be weighed, not of hidden states".into(),
                ));
            };
            let hidden = match term.of {
                Source::Kept { value, branch, age } => self.kept(&self.hiddens, at, value, branch, age)?,
                Source::Fresh { value } => self.fresh(at, value, hands)?,
                Source::Now { .. } => {
                    return Err(WalkError::bad(
                        at,
                        "a prediction cannot be added to a hidden state".into(),
                    ));
                }
            };
            sum = Some(added(sum, weight, hidden));
        }
        sum.ok_or_else(|| WalkError::bad(at, "a weighted sum without terms".into()))
    }
    /// What each of these earlier predictions lacked.
    pub(crate) fn lacked(&self, at: At, lacked: &[Lacked], hands: InHand<H, Z>) -> Result<Vec<(usize, Z)>, WalkError> {
        let of = |of: &Lacked| match of.step < at.step {
            true => Ok((of.step, self.add_latents(at, None, &of.terms, hands)?)),
            false => Err(WalkError::bad(
                at,
                format!("step {} is amended before its end", of.step),
            )),
        };
        lacked.iter().map(of).collect()
    }
    /// `from + Σ weight · latent`.
    pub(crate) fn add_latents(
        &self,
        at: At,
        from: Option<Z>,
        terms: &[Term],
        hands: InHand<H, Z>,
    ) -> Result<Z, WalkError> {
        let mut sum = from;
        for term in terms {
            let latent = match term.of {
                Source::Kept { value, branch, age } => self.kept(&self.latents, at, value, branch, age)?,
                Source::Now { branch } => hands.now.get(branch).ok_or_else(|| WalkError::Missing {
                    step: at.step,
                    branch: at.branch,
                    what: format!("prediction of branch {branch} in this step"),
                })?,
                Source::Fresh { value: Value::Latent } => hands.latent,
                Source::Fresh { value: Value::Output } => hands.made.ok_or_else(|| not_in_hand(at, Value::Output))?,
                Source::Fresh { value } => return Err(not_in_hand(at, value)),
            };
            sum = Some(match term.weight {
                Weight::Flat(weight) => added(sum, weight, latent),
                Weight::Bands { low, high } => added(Some(added(sum, high, latent)), low - high, &latent.low_pass()),
                Weight::Spectrum { sigma } => added(sum, 1.0, &latent.denoised(sigma)),
            });
        }
        sum.ok_or_else(|| WalkError::bad(at, "a weighted sum without terms".into()))
    }
    fn kept<'a, T>(
        &self,
        rings: &'a HashMap<(usize, Value), VecDeque<T>>,
        at: At,
        value: Value,
        branch: usize,
        age: usize,
    ) -> Result<&'a T, WalkError> {
        let ring = rings.get(&(branch, value));
        ring.and_then(|ring| ring.get(age)).ok_or_else(|| WalkError::Missing {
            step: at.step,
            branch: at.branch,
            what: format!("{value} of branch {branch}, {age} writes ago"),
        })
    }
    /// A hidden-sized value that the pass has in hand.
    fn fresh<'a>(&'a self, at: At, value: Value, hands: InHand<'a, H, Z>) -> Result<&'a H, WalkError> {
        let found = match value {
            Value::State { unit } => hands.hidden.filter(|_| unit == at.unit),
            _ => self.held.iter().find(|(v, _)| *v == value).map(|(_, delta)| delta),
        };
        found.ok_or_else(|| not_in_hand(at, value))
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
                Pending::Distance(signal.l1_pair(&before))
            }
        });
        self.inputs.insert(at.branch, (at.step, signal));
        Ok(())
    }

    /// Measures now, leaves the numbers on the device.
    pub(crate) fn note(&mut self, at: At, probes: &[Probe], hands: InHand<H, Z>) -> Result<(), WalkError> {
        for probe in probes {
            let pending = self.measure(at, probe, hands)?;
            self.noted.push(pending);
        }
        Ok(())
    }
    /// Measures, and brings these and all noted numbers to the host in at most one read: the only
    /// place where a pass waits for the device.
    pub(crate) fn look(&mut self, at: At, probes: &[Probe], hands: InHand<H, Z>) -> Result<Vec<f32>, WalkError> {
        self.note(at, probes, hands)?;
        self.costs.looks += 1;
        let (mut scalars, mut finish) = (vec![], vec![]);
        for pending in self.noted.drain(..) {
            match pending {
                Pending::Known(number) => finish.push(Finish::Known(number)),
                Pending::Distance(pair) => {
                    scalars.extend(pair);
                    finish.push(Finish::Distance);
                }
                Pending::Cosine(products) => {
                    scalars.extend(products);
                    finish.push(Finish::Cosine);
                }
            }
        }
        let mut numbers = vec![].into_iter();
        if !scalars.is_empty() {
            let start = Instant::now();
            numbers = H::read(scalars).into_iter();
            self.costs.looks_s += start.elapsed().as_secs_f64();
            self.costs.reads += 1;
        }
        let mut read = || numbers.next().expect("as many numbers as were asked for");
        let seen = finish.into_iter().map(|finish| match finish {
            Finish::Known(number) => number,
            Finish::Distance => relative(read(), read()),
            Finish::Cosine => read() / (read() * read()).sqrt(),
        });
        Ok(seen.collect())
    }
    fn measure(&mut self, at: At, probe: &Probe, hands: InHand<H, Z>) -> Result<Pending<H::Scalar>, WalkError> {
        let measured = match probe {
            Probe::Time => return self.time_drift(at),
            Probe::Input => {
                let drift = self.input_drift.take();
                return drift.ok_or_else(|| WalkError::bad(at, "two probes of one input signal".into()));
            }
            Probe::Fresh(value) => {
                let (new, old) = (Term::fresh(1.0, *value), Term::kept(1.0, *value, at.branch, 0));
                self.distance(at, &[new], &[old], hands)
            }
            Probe::Distance { new, old } => self.distance(at, new, old, hands),
            Probe::Cosine { a, b } => self.add_latents(at, None, a, hands).and_then(|a| {
                let b = self.add_latents(at, None, b, hands)?;
                Ok(Pending::Cosine([a.dot(&b), a.dot(&a), b.dot(&b)]))
            }),
        };
        match measured {
            Err(WalkError::Missing { .. }) => Ok(Pending::Known(f32::INFINITY)),
            measured => measured,
        }
    }
    /// Between two sums of hidden states, or two of latents.
    fn distance(
        &self,
        at: At,
        new: &[Term],
        old: &[Term],
        hands: InHand<H, Z>,
    ) -> Result<Pending<H::Scalar>, WalkError> {
        let hidden = new.first().is_some_and(|term| match term.of {
            Source::Kept { value, .. } | Source::Fresh { value } => value.is_hidden(),
            Source::Now { .. } => false,
        });
        // A fresh value that is not at hand is a fault of the policy even when there is nothing to compare it with.
        if hidden {
            let new = self.add_hiddens(at, None, new, hands)?;
            Ok(Pending::Distance(new.l1_pair(&self.add_hiddens(at, None, old, hands)?)))
        } else {
            let new = self.add_latents(at, None, new, hands)?;
            Ok(Pending::Distance(new.l1_pair(&self.add_latents(at, None, old, hands)?)))
        }
    }
    fn time_drift(&self, at: At) -> Result<Pending<H::Scalar>, WalkError> {
        if self.time_signals.is_empty() {
            return Err(WalkError::bad(
                at,
                "a look at a time signal that was not claimed".into(),
            ));
        }
        let is_first = self.run.switches.contains(&at.step); // of an expert, whose signal is its own
        Ok(Pending::Known(match at.step.checked_sub(1).filter(|_| !is_first) {
            None => f32::INFINITY,
            Some(before) => time_drift(&self.time_signals[at.step], &self.time_signals[before]),
        }))
    }
}

fn added<T: Feature>(sum: Option<T>, weight: f32, other: &T) -> T {
    match sum {
        Some(sum) => sum.add_scaled(weight, other),
        None if weight == 1.0 => other.clone(),
        None => other.scaled(weight),
    }
}

fn not_in_hand(at: At, value: Value) -> WalkError {
    WalkError::bad(at, format!("no fresh {value} is held"))
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
