//! The data plane: a model as a chain of units, and the one loop that walks it.

use crate::plan::*;
use crate::store::{InHand, Store, WalkError};

/// Tensor arithmetic that the cache needs; `f32` implements it in the tests.
pub trait Feature: Clone {
    /// A number that is still on the device.
    type Scalar;
    /// `self + weight · other`; `weight` 1 adds exactly.
    fn add_scaled(self, weight: f32, other: &Self) -> Self;
    /// `weight · self`.
    fn scaled(&self, weight: f32) -> Self;
    /// `self − before`; takes `before`, whose memory may be reused.
    fn since(&self, before: Self) -> Self;
    /// `(mean |self − other|, mean |other|)`, summed in f32, left on the device.
    fn l1_pair(&self, other: &Self) -> [Self::Scalar; 2];
    /// Brings numbers to the host in one synchronising read.
    fn read(scalars: Vec<Self::Scalar>) -> Vec<f32>;
}

/// A latent or a prediction: it has image planes, so it has spatial frequencies.
pub trait Planes: Feature {
    /// The part inside the disc of [`Weight::Bands`].
    fn low_pass(&self) -> Self;
    /// With the gains of [`Weight::Spectrum`].
    fn denoised(&self, sigma: f32) -> Self;
    /// `Σ self · other`, summed in f32, left on the device.
    fn dot(&self, other: &Self) -> Self::Scalar;
}

/// A diffusion transformer as a chain of residual units.
pub trait Dit {
    /// Hidden state of the video tokens (and of the text, where the model updates it).
    type Hidden: Feature;
    /// Latent and prediction.
    type Latent: Planes<Scalar = <Self::Hidden as Feature>::Scalar>;
    /// Prepared condition of one branch.
    type Cond;
    /// What stays fixed within one pass: modulation, rotary tables, text.
    type Ctx;

    /// Latent to tokens, and what the pass needs.
    fn embed(&self, latent: &Self::Latent, timestep: f32, cond: &Self::Cond) -> (Self::Hidden, Self::Ctx);
    /// `f_i(x)` before its gate: the expensive part of unit `i`.
    fn eval(&self, i: usize, hidden: &Self::Hidden, ctx: &Self::Ctx) -> Self::Hidden;
    /// `x + gate·f`: the cheap part of unit `i`, with the gate of this timestep.
    fn join(&self, i: usize, hidden: Self::Hidden, raw: &Self::Hidden, ctx: &Self::Ctx) -> Self::Hidden;
    /// Unit `i`.
    fn unit(&self, i: usize, hidden: Self::Hidden, ctx: &Self::Ctx) -> Self::Hidden {
        let raw = self.eval(i, &hidden, ctx);
        self.join(i, hidden, &raw, ctx)
    }
    /// What the first unit computes on: the embedded video tokens after its norm and modulation.
    fn first_input(&self, hidden: &Self::Hidden, ctx: &Self::Ctx) -> Self::Hidden;
    /// Tokens to prediction.
    fn head(&self, hidden: Self::Hidden, ctx: &Self::Ctx) -> Self::Latent;
    /// The signal at each of these timesteps, on the host. Reads the device once.
    ///
    /// # Panics
    /// When the signal is not among [`Run::signals`].
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>>;
}

/// What a pass ends with.
pub struct Passed<Z> {
    /// The prediction, computed or put in its place.
    pub prediction: Z,
    /// What this branch's predictions of earlier steps lacked, by step, to be made good in the latent.
    pub lacked: Vec<(usize, Z)>,
}

/// A policy that has not moved on after this many looks at one place never will.
const LOOKS_PER_STOP_MAX: usize = 8;

/// One pass of the model under a policy: the whole walk.
///
/// `now` holds the predictions that earlier branches made in this step.
///
/// # Errors
/// [`WalkError`] when the policy asks for what it did not claim, did not store, or may not do.
pub fn pass<D: Dit>(
    dit: &D,
    policy: &mut dyn CachePolicy,
    store: &mut Store<D::Hidden, D::Latent>,
    mut at: At,
    latent: &D::Latent,
    cond: &D::Cond,
    now: &[D::Latent],
) -> Result<Passed<D::Latent>, WalkError> {
    // To another expert, and to the policy there, this is where the run begins.
    if at.branch == COND && store.run().switches.contains(&at.step) {
        store.forget(policy.warnings());
        policy.begin(store.run())?;
    }
    let (end, output) = (store.run().end(), store.run().output());
    let timestep = store.run().timesteps[at.step];
    let mut state: Option<(D::Hidden, D::Ctx)> = None; // embedded on first need: a reused output needs none
    let (mut seen, mut looks) = (vec![], 0);
    let mut undecided = false; // whether something is held at the end of the chain
    while at.unit < end || undecided {
        let act = policy.next(at, &seen);
        seen.clear();
        match &act {
            Move::Compute { to, keep, lacked } => {
                let (to, keep) = (*to, *keep);
                if to <= at.unit || to > output {
                    return Err(WalkError::bad(at, format!("compute to unit {to} of {output}")));
                }
                let ends = to == output || to == end && keep != Keep::Hold;
                if !lacked.is_empty() && !ends {
                    return Err(unfinished(at));
                }
                let (mut hidden, ctx) = match state.take() {
                    Some(state) => state,
                    None => store.count_embed(|| dit.embed(latent, timestep, cond)),
                };
                for i in at.unit..to.min(end) {
                    store.remember(at.branch, i, &hidden);
                    store.open(at.branch, i, keep, &hidden);
                    if store.wants_raw(at.branch, i, keep) {
                        let raw = dit.eval(i, &hidden, &ctx);
                        hidden = dit.join(i, hidden, &raw, &ctx);
                        store.keep_hidden(at.branch, Value::Raw { unit: i }, raw);
                    } else {
                        hidden = dit.unit(i, hidden, &ctx);
                    }
                    store.close(at.branch, i + 1, keep, &hidden);
                }
                store.count_units(at.unit, to.min(end));
                if keep == Keep::Store {
                    store.keep_held(at.branch);
                }
                if ends {
                    let prediction = dit.head(hidden, &ctx);
                    let made = Some(&prediction);
                    let lacked = store.lacked(
                        at,
                        lacked,
                        InHand {
                            made,
                            ..InHand::new(latent, now)
                        },
                    )?;
                    if to == output {
                        store.keep_prediction(at.branch, keep, &prediction, latent);
                    }
                    store.record(at, act, vec![]);
                    store.end_pass(at.branch, latent, &prediction);
                    return Ok(Passed { prediction, lacked });
                }
                store.record(at, act, vec![]);
                state = Some((hidden, ctx));
                (at.unit, looks) = (to, 0);
                undecided = to == end;
            }
            Move::Reuse {
                value,
                terms,
                kept,
                lacked,
            } => {
                if at.full {
                    return Err(WalkError::Forbidden { step: at.step });
                }
                let here = match value {
                    Value::Delta { from, to } => *from == at.unit && *to > at.unit && *to <= end,
                    Value::Raw { unit } => *unit == at.unit,
                    Value::State { unit } => *unit > at.unit && *unit <= end,
                    Value::Output | Value::Change => true,
                    Value::Latent | Value::Made => false,
                };
                if !here {
                    return Err(WalkError::bad(
                        at,
                        format!("reuse of the {value}, which does not start here"),
                    ));
                }
                if *kept && !store.wants_raw(at.branch, at.unit, Keep::Store) {
                    return Err(WalkError::bad(
                        at,
                        format!("the {value} is no raw output with memory to keep it in"),
                    ));
                }
                let (value, to, kept) = (*value, value.to(store.run()), *kept);
                if !lacked.is_empty() && to < output {
                    return Err(unfinished(at));
                }
                let hands = InHand::new(latent, now);
                if to == output {
                    let from = (value == Value::Change).then(|| latent.clone());
                    let prediction = store.add_latents(at, from, terms, hands)?;
                    let lacked = store.lacked(at, lacked, hands)?;
                    store.record(at, act, vec![]);
                    store.end_pass(at.branch, latent, &prediction);
                    return Ok(Passed { prediction, lacked });
                }
                let (mut hidden, ctx) = match state.take() {
                    Some(state) => state,
                    None => store.count_embed(|| dit.embed(latent, timestep, cond)),
                };
                store.remember(at.branch, at.unit, &hidden);
                hidden = match value {
                    Value::Raw { unit } => {
                        let raw = store.add_hiddens(at, None, terms, hands)?;
                        hidden = dit.join(unit, hidden, &raw, &ctx);
                        if kept {
                            store.keep_hidden(at.branch, value, raw);
                        }
                        hidden
                    }
                    Value::State { .. } => store.add_hiddens(at, None, terms, hands)?,
                    _ => store.add_hiddens(at, Some(hidden), terms, hands)?,
                };
                store.record(at, act, vec![]);
                state = Some((hidden, ctx));
                (at.unit, looks) = (to, 0);
            }
            Move::Look { probes } | Move::Note { probes } => {
                looks += 1;
                if looks > LOOKS_PER_STOP_MAX {
                    return Err(WalkError::bad(at, format!("{looks} looks without a step forward")));
                }
                if probes.contains(&Probe::Input) {
                    let embed = || store.count_embed(|| dit.embed(latent, timestep, cond));
                    let (hidden, ctx) = state.get_or_insert_with(embed);
                    store.renew_input(at, || dit.first_input(hidden, ctx))?;
                }
                let hidden = state.as_ref().map(|(hidden, _)| hidden);
                let hands = InHand {
                    hidden,
                    ..InHand::new(latent, now)
                };
                match act {
                    Move::Look { .. } => seen = store.look(at, probes, hands)?,
                    _ => store.note(at, probes, hands)?,
                }
                store.record(at, act, seen.clone());
            }
        }
    }
    let (hidden, ctx) = state.expect("a walk that moved on has a hidden state");
    let prediction = dit.head(hidden, &ctx);
    store.end_pass(at.branch, latent, &prediction);
    Ok(Passed {
        prediction,
        lacked: vec![],
    })
}

fn unfinished(at: At) -> WalkError {
    WalkError::bad(at, "earlier predictions are amended where a pass ends".into())
}
