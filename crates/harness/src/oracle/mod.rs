//! The search for a schedule that is better than any policy's, on clips whose uncached run is known: every plan is
//! judged by running it.

mod search;

use crate::experiment::{Experiment, Variant};
use crate::metrics::relative_l2;
use crate::runner::Runner;
use anyhow::{Result, ensure};
use mixcache_core::denoise::Outcome;
use mixcache_policies::PolicySpec;
use mixcache_policies::planned::Planned;
pub use search::{Space, Trials, Tried, beam, greedy};

/// A clip with its uncached run.
struct Clip<'a> {
    prompt: &'a str,
    seed: u64,
    exact: Vec<f32>, // its final latent
}

/// What plans are tried on.
pub struct Bench<'a> {
    runner: &'a Runner<'a>,
    clips: Vec<Clip<'a>>,
    steps: usize,
    policy: Planned,
}

impl<'a> Bench<'a> {
    /// The clips of the experiment, run uncached; plans are those of `policy`.
    ///
    /// # Errors
    /// When there are no clips, or a run fails.
    pub fn new(experiment: &'a Experiment, runner: &'a Runner<'a>, policy: Planned) -> Result<Bench<'a>> {
        let steps = experiment.sampler.steps;
        let mut clips = vec![];
        for prompt in &experiment.runs.prompts {
            for &seed in &experiment.runs.seeds {
                let off = Variant::off();
                let outcome = runner.denoise(&off, &mut *off.spec.policy(), prompt, seed, steps)?;
                let exact = outcome.latent.to_host();
                clips.push(Clip { prompt, seed, exact });
            }
        }
        ensure!(!clips.is_empty(), "{} has no prompts or no seeds", experiment.name);
        Ok(Bench {
            runner,
            clips,
            steps,
            policy,
        })
    }
    /// Prompts and seeds of the clips.
    pub fn clips(&self) -> impl Iterator<Item = (&str, u64)> {
        self.clips.iter().map(|clip| (clip.prompt, clip.seed))
    }
    /// The geometric mean over clips of the relative error of the final latent under a plan.
    ///
    /// # Errors
    /// When the plan does not fit the run.
    pub fn error(&self, plan: &str) -> Result<f64> {
        // Where nothing is skipped there is no error, which has no logarithm; f32 cannot tell less than this.
        const LEAST: f64 = 1e-12;
        let mut logs = 0.0;
        for clip in &self.clips {
            let outcome = self.outcome(plan, clip)?;
            logs += relative_l2(&outcome.latent.to_host(), &clip.exact)?.max(LEAST).ln();
        }
        Ok((logs / self.clips.len() as f64).exp())
    }
    /// The first clip under a plan.
    ///
    /// # Errors
    /// When the plan does not fit the run.
    pub fn first(&self, plan: &str) -> Result<Outcome> {
        self.outcome(plan, &self.clips[0])
    }
    fn outcome(&self, plan: &str, clip: &Clip) -> Result<Outcome> {
        let mut policy = self.policy.clone();
        policy.plan = plan.into();
        let variant = Variant {
            spec: PolicySpec::Planned(policy.clone()),
            label: "planned".into(),
            ..Variant::off()
        };
        self.runner
            .denoise(&variant, &mut policy, clip.prompt, clip.seed, self.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Subject;
    use mixcache_policies::plan::CachePolicy;
    use mixcache_policies::planned::OWN_MOMENTS;
    use mixcache_policies::replay::Replay;
    use std::path::Path;

    #[test]
    fn what_is_found_is_no_worse_than_its_start_and_within_the_budget_and_replays_bit_for_bit() {
        let smoke = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/smoke.toml");
        let experiment = Experiment::read(&smoke).unwrap();
        let subject = Subject::load(&experiment).unwrap();
        let runner = Runner::new(&experiment, &subject);
        let compute = 0.65;
        let mut planned = Planned::new(OWN_MOMENTS, compute);
        let variant = Variant {
            spec: PolicySpec::Planned(planned.clone()),
            ..Variant::off()
        };
        let (prompt, seed, steps) = (experiment.runs.prompts[0].as_str(), 1, experiment.sampler.steps);
        let run = runner.prepare(&variant, prompt, seed, steps).unwrap().run;
        planned.begin(&run).unwrap();
        let start = planned.letters().to_string();
        planned.blocks = [('b', [2, 6]), ('c', [1, 7])].into();
        let space = Space::new(&planned, &run, compute).unwrap();
        let bench = Bench::new(&experiment, &runner, planned).unwrap();
        let mut error = |tried: &Tried| bench.error(&tried.plan);
        let mut trials = Trials::new(&space, &mut error);
        let best = beam(&mut trials, &start, 2, 5).unwrap();
        let before = trials.of(start).unwrap().error;
        assert!(best.error <= before, "{} from {before}", best.error);
        // Whatever was tried reuses blocks as well.
        for plan in [best.plan.as_str(), "FFboFocF"] {
            let outcome = bench.first(plan).unwrap();
            let share = outcome.costs.flops / run.total_flops();
            assert!((share - space.compute(plan)).abs() < 1e-9, "{plan}: {share}");
            assert!(share <= compute, "{plan}: {share} of {compute}");
            let mut replay = Replay::new(&outcome.trace);
            let again = runner
                .denoise(&Variant::off(), &mut replay, prompt, seed, steps)
                .unwrap();
            assert_eq!(again.latent.to_host(), outcome.latent.to_host(), "{plan}");
        }
    }
}
