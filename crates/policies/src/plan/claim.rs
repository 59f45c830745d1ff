//! What can be stored, and the memory that a policy claims for it before a run.

#[cfg(doc)]
use super::Keep;
use super::{Probe, Run, Signal, TimeSignal};
use serde::{Deserialize, Serialize};

/// What can be stored and reused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// `x_to − x_from`: the residual of a span of units. Reuse adds it to the current hidden state.
    Delta {
        /// First unit of the span.
        from: usize,
        /// One past its last unit.
        to: usize,
    },
    /// `f(x)` of one unit before its gate, which depends on the timestep. Reuse applies the current gate.
    Raw {
        /// The unit.
        unit: usize,
    },
    /// The prediction (velocity) of the pass. Reuse returns it as it is.
    Output,
    /// Prediction − latent it was made from. Reuse adds it to the current latent.
    Change,
    /// The hidden state in front of a unit. Written by every pass that goes through, whatever its moves
    /// keep. Reuse puts it in place of the current one.
    State {
        /// The unit.
        unit: usize,
    },
    /// The latent that a pass is given. Written at the end of every pass; never reused, only looked at.
    Latent,
    /// The prediction that a pass ends with, computed or put in its place. Written at the end of every pass; it tells
    /// what others lacked, and is never reused itself.
    Made,
}

impl Value {
    /// Where a pass stands after this value was reused.
    pub fn to(self, run: &Run) -> usize {
        match self {
            Value::Delta { to, .. } => to,
            Value::Raw { unit } => unit + 1,
            Value::State { unit } => unit,
            Value::Output | Value::Change | Value::Latent | Value::Made => run.output(),
        }
    }
    /// Bytes of one stored copy.
    pub fn bytes(self, run: &Run) -> u64 {
        if self.is_hidden() {
            run.hidden_bytes
        } else {
            run.latent_bytes
        }
    }
    /// Whether it has the size of a hidden state; a latent's otherwise.
    pub fn is_hidden(self) -> bool {
        matches!(self, Value::Delta { .. } | Value::Raw { .. } | Value::State { .. })
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Value::Delta { from, to } => write!(f, "delta of units {from}..{to}"),
            Value::Raw { unit } => write!(f, "raw output of unit {unit}"),
            Value::Output => write!(f, "output"),
            Value::Change => write!(f, "output minus input"),
            Value::State { unit } => write!(f, "hidden state in front of unit {unit}"),
            Value::Latent => write!(f, "input latent"),
            Value::Made => write!(f, "prediction as made"),
        }
    }
}

/// Memory claimed before the run: the newest `depth` copies of a value, written by one branch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What is stored.
    pub value: Value,
    /// The branch that writes it.
    pub branch: usize,
    /// How many copies are kept; the oldest makes room.
    pub depth: usize,
    /// Whether a fresh copy may be held beside the stored ones until the pass ends ([`Keep::Hold`]).
    pub held: bool,
}

/// Everything a policy asks of a run before its first kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Memory it will use.
    pub slots: Vec<Slot>,
    /// Signal of the timestep it looks at with [`Probe::Time`].
    pub time_signal: Option<TimeSignal>,
    /// Whether it looks at [`Signal::Input`], with [`Probe::Input`].
    pub input_signal: bool,
}

impl Claim {
    /// The newest `depth` copies of `value`, for every branch of the run.
    pub fn keeping(self, run: &Run, value: Value, depth: usize) -> Claim {
        (0..run.branches).fold(self, |claim, branch| claim.keeping_of(branch, value, depth))
    }
    /// The newest `depth` copies of `value`, for one branch.
    pub fn keeping_of(mut self, branch: usize, value: Value, depth: usize) -> Claim {
        let held = false;
        self.slots.push(Slot {
            value,
            branch,
            depth,
            held,
        });
        self
    }
    /// One copy of `value` for every branch, and a fresh one held while the policy looks at it.
    pub fn holding(self, run: &Run, value: Value) -> Claim {
        (0..run.branches).fold(self, |claim, branch| claim.holding_of(branch, value, 1))
    }
    /// The newest `depth` copies of `value` for one branch, and a fresh one held while the policy looks at it.
    pub fn holding_of(mut self, branch: usize, value: Value, depth: usize) -> Claim {
        let held = true;
        self.slots.push(Slot {
            value,
            branch,
            depth,
            held,
        });
        self
    }
    /// The probe that looks at `signal`, with what it needs claimed.
    pub fn watching(self, signal: Signal) -> (Claim, Probe) {
        match signal {
            Signal::Time(signal) => {
                let time_signal = Some(signal);
                (Claim { time_signal, ..self }, Probe::Time)
            }
            Signal::Input => {
                let input_signal = true;
                (Claim { input_signal, ..self }, Probe::Input)
            }
        }
    }
    /// Bytes the cache will hold at its peak: what is stored, and what a pass has in flight. A delta
    /// is in flight from the unit where its span starts (one clone of the hidden state) until it is
    /// stored; a held one until the pass ends. An input signal is in flight while it is compared, which
    /// is before the first unit.
    pub fn bytes(&self, run: &Run) -> u64 {
        let stored: u64 = self.slots.iter().map(|s| s.depth as u64 * s.value.bytes(run)).sum();
        let input = if self.input_signal { run.input_bytes } else { 0 };
        let in_flight = self.in_flight(run) as u64 * run.hidden_bytes;
        stored + run.branches as u64 * input + in_flight.max(input)
    }
    /// The most deltas that one pass has in flight at once.
    fn in_flight(&self, run: &Run) -> usize {
        let open_at = |unit: usize, branch: usize| {
            self.slots
                .iter()
                .filter(|s| s.branch == branch)
                .filter(|s| match s.value {
                    Value::Delta { from, to } => from <= unit && (unit < to || s.held),
                    _ => false,
                })
                .count()
        };
        (0..run.branches)
            .flat_map(|branch| (0..run.end()).map(move |unit| open_at(unit, branch)))
            .max()
            .unwrap_or(0)
    }
}
