//! A run without tensors: what a policy claims and decides, before any model is touched.

use crate::subject::Subject;
use mixcache_policies::chain::{Dit, Feature, Planes, pass};
use mixcache_policies::plan::*;
use mixcache_policies::store::{Costs, Store, WalkError};

/// What a walk over nothing cost.
pub struct Plan {
    /// Bytes the policy claims.
    pub claimed_bytes: u64,
    /// What it would cost.
    pub costs: Costs,
    /// Whether every decision was made without a look at a tensor.
    pub decided: bool,
}

/// Walks a policy over nothing: costs as they will be counted, no arithmetic.
///
/// # Errors
/// [`WalkError`] when the policy does not fit the run.
pub fn walk(policy: &mut dyn CachePolicy, run: Run, subject: &Subject) -> Result<Plan, WalkError> {
    let claim = policy.begin(&run)?;
    let dry = Dry { subject };
    let signals = claim
        .time_signal
        .map(|signal| dry.time_signals(signal, &run.timesteps))
        .unwrap_or_default();
    let host_reads = !signals.is_empty() as usize;
    let mut store = Store::new(run.clone(), &claim, signals)?;
    for step in 0..run.steps() {
        let now = vec![Nothing; run.branches];
        for branch in 0..run.branches {
            let at = At {
                step,
                branch,
                unit: 0,
                full: run.is_full(step),
            };
            pass(&dry, policy, &mut store, at, &Nothing, &(), &now[..branch])?;
        }
    }
    let costs = store.costs();
    Ok(Plan {
        claimed_bytes: store.claimed_bytes(),
        costs,
        decided: costs.reads == host_reads,
    })
}

/// A tensor without numbers.
#[derive(Clone)]
struct Nothing;

impl Feature for Nothing {
    type Scalar = ();
    fn add_scaled(self, _: f32, _: &Nothing) -> Nothing {
        Nothing
    }
    fn scaled(&self, _: f32) -> Nothing {
        Nothing
    }
    fn since(&self, _: Nothing) -> Nothing {
        Nothing
    }
    fn l1_pair(&self, _: &Nothing) -> [(); 2] {
        [(); 2]
    }
    fn read(scalars: Vec<()>) -> Vec<f32> {
        vec![f32::NAN; scalars.len()]
    }
}

impl Planes for Nothing {
    fn low_pass(&self) -> Nothing {
        Nothing
    }
    fn denoised(&self, _: f32) -> Nothing {
        Nothing
    }
    fn dot(&self, _: &Nothing) {}
}

/// A chain without tensors; only its time signals, which do not depend on the clip, are real.
struct Dry<'a> {
    subject: &'a Subject,
}

impl Dit for Dry<'_> {
    type Hidden = Nothing;
    type Latent = Nothing;
    type Cond = ();
    type Ctx = ();
    fn embed(&self, _: &Nothing, _: f32, _: &()) -> (Nothing, ()) {
        (Nothing, ())
    }
    fn eval(&self, _: usize, _: &Nothing, _: &()) -> Nothing {
        Nothing
    }
    fn join(&self, _: usize, hidden: Nothing, _: &Nothing, _: &()) -> Nothing {
        hidden
    }
    fn first_input(&self, _: &Nothing, _: &()) -> Nothing {
        Nothing
    }
    fn head(&self, _: Nothing, _: &()) -> Nothing {
        Nothing
    }
    fn time_signals(&self, signal: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        let model = self.subject.model.on(self.subject.grid, 1, 1); // whatever the prompt
        model.expect("the grid fits").time_signals(signal, timesteps)
    }
}
