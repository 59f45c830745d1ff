//! A scalar stand-in for a diffusion transformer, which counts what is done to it.
#![allow(dead_code)] // shared: each test uses its part

use mixcache_policies::PolicySpec;
use mixcache_policies::chain::{Dit, Feature, Planes, pass};
use mixcache_policies::data::{Data, Impact, MagRatios, MixCalibration, Moments, TeaCoefficients};
use mixcache_policies::plan::*;
use mixcache_policies::store::{Costs, Store, WalkError};
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    static CLONES: Cell<usize> = const { Cell::new(0) };
    static EMBEDS: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug, PartialEq)]
pub struct Number(pub f32);

impl Clone for Number {
    fn clone(&self) -> Self {
        CLONES.set(CLONES.get() + 1);
        Number(self.0)
    }
}

impl Feature for Number {
    type Scalar = f32;
    fn add_scaled(self, weight: f32, other: &Number) -> Number {
        Number(self.0 + weight * other.0)
    }
    fn scaled(&self, weight: f32) -> Number {
        Number(weight * self.0)
    }
    fn since(&self, before: Number) -> Number {
        Number(self.0 - before.0)
    }
    fn l1_pair(&self, other: &Number) -> [f32; 2] {
        [(self.0 - other.0).abs(), other.0.abs()]
    }
    fn read(scalars: Vec<f32>) -> Vec<f32> {
        scalars
    }
}

impl Planes for Number {
    fn low_pass(&self) -> Number {
        Number(self.0) // a constant plane: all of it is low
    }
    fn denoised(&self, _: f32) -> Number {
        Number(self.0) // a single frequency: its gain is the mean gain, 1
    }
    fn dot(&self, other: &Number) -> f32 {
        self.0 * other.0
    }
}

/// Eight blocks of three units; each adds a smooth function of the timestep and a little of the state.
pub struct Mock {
    /// Change the time signal this fast.
    pub pace: f32,
    /// What the expert of the first steps computes, as a multiple of what the other does.
    pub first_expert: f32,
    /// Timestep, as a share of 1000, above which it runs.
    pub boundary: f32,
}

/// One model for all steps.
impl Default for Mock {
    fn default() -> Mock {
        Mock {
            pace: 1.0,
            first_expert: 1.0,
            boundary: 1.0,
        }
    }
}

impl Mock {
    fn expert(&self, t: f32) -> f32 {
        if t > self.boundary { self.first_expert } else { 1.0 }
    }
}

impl Dit for Mock {
    type Hidden = Number;
    type Latent = Number;
    type Cond = f32;
    type Ctx = (f32, f32);
    fn embed(&self, latent: &Number, timestep: f32, cond: &f32) -> (Number, (f32, f32)) {
        EMBEDS.set(EMBEDS.get() + 1);
        (Number(latent.0), (timestep / 1000.0, *cond))
    }
    fn eval(&self, i: usize, hidden: &Number, &(t, cond): &(f32, f32)) -> Number {
        Number(self.expert(t) * (t * (1.0 + i as f32 * 0.1)).sin() + 0.05 * cond * hidden.0)
    }
    fn join(&self, _: usize, hidden: Number, raw: &Number, &(t, _): &(f32, f32)) -> Number {
        Number(hidden.0 + 0.02 * (1.0 + 0.1 * t) * raw.0)
    }
    fn first_input(&self, hidden: &Number, &(t, _): &(f32, f32)) -> Number {
        Number(self.expert(t) + 0.1 * hidden.0 + self.pace * t)
    }
    fn head(&self, hidden: Number, _: &(f32, f32)) -> Number {
        hidden
    }
    fn time_signals(&self, _: TimeSignal, timesteps: &[f32]) -> Vec<Vec<f32>> {
        timesteps
            .iter()
            .map(|t| vec![self.expert(t / 1000.0) + self.pace * t / 1000.0, 1.0])
            .collect()
    }
}

pub const STEPS: usize = 20;
pub const CONDS: [f32; 2] = [1.0, -1.0];
pub const GUIDANCE: f32 = 5.0;
pub const HIDDEN_BYTES: u64 = 1000;
pub const INPUT_BYTES: u64 = 900;
pub const LATENT_BYTES: u64 = 10;

pub fn run() -> Run {
    let kinds = [UnitKind::SelfAttn, UnitKind::CrossAttn, UnitKind::Mlp];
    let unit = |block| {
        move |kind| Unit {
            block,
            kind,
            flops: 1.0,
        }
    };
    let sigmas: Vec<f32> = (0..STEPS).map(|i| 1.0 - i as f32 / STEPS as f32).collect();
    let identity = |signal| TeaCoefficients {
        model: "any".into(),
        source: "the identity".into(),
        signal,
        polynomial: vec![1.0, 0.0],
        range: [0.0, 1.0],
    };
    let calibration = MixCalibration {
        model: "mock".into(),
        source: "invented for the tests".into(),
        sampler: "euler".into(),
        steps: STEPS,
        guidance: GUIDANCE,
        drift: 0.05,
        impact: Impact {
            step: 1.0,
            cfg: 2.0,
            block: 1.5,
        },
    };
    let ratios = MagRatios {
        model: "mock".into(),
        source: "invented for the tests".into(),
        cond: vec![0.98; STEPS],
        uncond: vec![0.97; STEPS],
    };
    // Predictions that bend more at the start, with branches that differ.
    let prediction = |row: usize| {
        let (t, branch) = ((row / 2) as f64 / STEPS as f64, (row % 2) as f64);
        [1.0, t, (-4.0 * t).exp(), branch * (0.2 + 0.1 * t * t)]
    };
    let moment = |i, j| prediction(i).iter().zip(prediction(j)).map(|(a, b)| a * b).sum();
    let moments = Moments {
        model: "mock".into(),
        source: "invented for the tests".into(),
        branches: 2,
        guidance: GUIDANCE,
        sigmas: sigmas.clone(),
        gain: (0..STEPS).map(|step| 1.0 + 5.0 / (1.0 + step as f64)).collect(),
        moments: (0..2 * STEPS)
            .map(|i| (0..=i).map(|j| moment(i, j)).collect())
            .collect(),
    };
    Run {
        model: "mock".into(),
        units: (0..8).flat_map(|block| kinds.map(unit(block))).collect(),
        rest_flops: 0.0,
        branches: 2,
        branches_alike: true,
        guidance: GUIDANCE,
        timesteps: sigmas.iter().map(|s| 1000.0 * s).collect(),
        sigmas,
        full: (1, 1),
        switches: vec![],
        signals: vec![Signal::Time(TimeSignal::Embedding), Signal::Input],
        hidden_bytes: HIDDEN_BYTES,
        input_bytes: INPUT_BYTES,
        latent_bytes: LATENT_BYTES,
        budget_bytes: 1 << 20,
        data: Arc::new(Data {
            tea: [
                ("identity".into(), identity(Signal::Time(TimeSignal::Embedding))),
                ("identity-input".into(), identity(Signal::Input)),
                (
                    "identity-projection".into(),
                    identity(Signal::Time(TimeSignal::Projection)),
                ),
                (
                    "other".into(),
                    TeaCoefficients {
                        model: "wan2.1-t2v-14b".into(),
                        ..identity(Signal::Time(TimeSignal::Projection))
                    },
                ),
            ]
            .into(),
            mix: [("mock".into(), calibration)].into(),
            ratios: [("mock".into(), ratios)].into(),
            moments: [("mock".into(), moments)].into(),
            ..Data::default()
        }),
    }
}

pub struct Outcome {
    pub latent: f32,
    pub trace: Vec<Event>,
    pub costs: Costs,
    pub claimed_bytes: u64,
    pub clones: usize,
}

/// The mock model under a policy.
pub fn go(policy: &mut dyn CachePolicy, run: Run) -> Result<Outcome, WalkError> {
    go_on(&Mock::default(), policy, run)
}

/// Euler with guidance in two passes: the smallest driver of the walk. Where an expert takes over, its latent is given:
/// the cache alone could carry anything over.
pub fn go_on<D>(dit: &D, policy: &mut dyn CachePolicy, run: Run) -> Result<Outcome, WalkError>
where
    D: Dit<Hidden = Number, Latent = Number, Cond = f32>,
{
    let start = CLONES.get();
    let claim = policy.begin(&run)?;
    claim.check(&run)?;
    let signals = claim
        .time_signal
        .map(|s| dit.time_signals(s, &run.timesteps))
        .unwrap_or_default();
    let (mut store, mut latent) = (Store::new(run.clone(), &claim, signals)?, Number(0.7));
    for step in 0..run.steps() {
        if run.switches.contains(&step) {
            latent = Number(0.6);
        }
        let (mut now, mut lacked): (Vec<Number>, Vec<(usize, usize, Number)>) = (vec![], vec![]);
        for (branch, cond) in CONDS[..run.branches].iter().enumerate() {
            let at = At {
                step,
                branch,
                unit: 0,
                full: run.is_full(step),
            };
            let passed = pass(dit, policy, &mut store, at, &latent, cond, &now)?;
            now.push(passed.prediction);
            lacked.extend(passed.lacked.into_iter().map(|(past, lacked)| (branch, past, lacked)));
        }
        latent = advance(&run, step, latent, &now);
        for (branch, past, lacked) in lacked {
            let mut alone: Vec<Number> = now.iter().map(|_| Number(0.0)).collect();
            alone[branch] = lacked;
            latent = advance(&run, past, latent, &alone);
        }
    }
    let (costs, claimed_bytes) = (store.costs(), store.claimed_bytes());
    Ok(Outcome {
        latent: latent.0,
        trace: store.into_trace(),
        costs,
        claimed_bytes,
        clones: CLONES.get() - start,
    })
}

/// The same without any cache machinery: what "off" must equal.
pub fn plain(run: &Run) -> f32 {
    let (dit, mut latent) = (Mock::default(), Number(0.7));
    for step in 0..run.steps() {
        let forward = |cond: &f32| {
            let (hidden, ctx) = dit.embed(&latent, run.timesteps[step], cond);
            dit.head((0..run.end()).fold(hidden, |hidden, i| dit.unit(i, hidden, &ctx)), &ctx)
        };
        let now: Vec<Number> = CONDS[..run.branches].iter().map(forward).collect();
        latent = advance(run, step, latent, &now);
    }
    latent.0
}

fn advance(run: &Run, step: usize, latent: Number, now: &[Number]) -> Number {
    let velocity = match now {
        [cond, uncond] => uncond.0 + GUIDANCE * (cond.0 - uncond.0),
        _ => now[0].0,
    };
    let next = run.sigmas.get(step + 1).copied().unwrap_or(0.0);
    Number(latent.0 + (next - run.sigmas[step]) * velocity)
}

pub fn embeds() -> usize {
    EMBEDS.get()
}

/// A policy as an experiment writes it.
pub fn policy(toml: &str) -> Box<dyn CachePolicy> {
    toml::from_str::<PolicySpec>(toml)
        .unwrap_or_else(|e| panic!("{toml}: {e}"))
        .policy()
}

/// One letter a step: F computed, o output, r residual of the whole stack, x output minus input,
/// u unconditional branch rebuilt, b a range of blocks replaced, s a stored hidden state, m outputs of modules.
pub fn letters(trace: &[Event], branch: usize) -> String {
    let steps = trace.last().map_or(0, |e| e.at.step + 1);
    let mut letters = vec!['F'; steps];
    for event in trace.iter().filter(|e| e.at.branch == branch) {
        if let Move::Reuse { value, terms, .. } = &event.act {
            letters[event.at.step] = match value {
                _ if terms.iter().any(|term| matches!(term.of, Source::Now { .. })) => 'u',
                Value::Output => 'o',
                Value::Change => 'x',
                Value::Delta { from: 0, to: 24 } => 'r',
                Value::Delta { .. } => 'b',
                Value::State { .. } => 's',
                Value::Raw { .. } => 'm',
                Value::Latent | Value::Made => unreachable!("never reused"),
            };
        }
    }
    letters.into_iter().collect()
}
