//! Noise levels of a run and the timesteps the model is given for them.

use serde::{Deserialize, Serialize};

/// How the noise levels are laid out. `shift` moves steps towards the noisy end:
/// `σ = shift·u/(1 + (shift − 1)·u)`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grid {
    /// `u` from 1 to 0 in equal steps, timestep `1000·σ` unrounded: HunyuanVideo
    /// (`scheduling_flow_match_discrete.py`) and wan-mini.
    Flow,
    /// What diffusers' `FlowMatchEulerDiscreteScheduler.set_timesteps(n)` makes: the ends of its range
    /// are shifted once when it is built, every level again here.
    FlowTwice,
    /// The Wan authors' multistep solvers (`fm_solvers_unipc.py`): `u` from 0.999, timestep truncated
    /// to an integer.
    Wan,
    /// diffusers' multistep solvers with `use_flow_sigmas`: `u` from 1 to 1/1000 without the end, the
    /// first level lowered by 1e-6, timestep truncated to an integer.
    DiffusersMultistep,
}

/// Noise levels and timesteps of a run, from noise to data.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Noise level before each step, decreasing, and 0 at the end: one more than there are steps.
    pub sigmas: Vec<f32>,
    /// What the model is given at each step, in (0, 1000].
    pub timesteps: Vec<f32>,
}

impl Schedule {
    /// The noise levels of `steps` steps.
    ///
    /// # Panics
    /// When `steps` is 0 or `shift` is not positive.
    pub fn new(grid: Grid, steps: usize, shift: f64) -> Schedule {
        assert!(steps > 0, "a schedule needs at least one step");
        assert!(shift > 0.0, "a shift must be positive, found {shift}");
        let shifted = |u: f64| shift * u / (1.0 + (shift - 1.0) * u);
        let n = steps as f64;
        let level = |i: usize| {
            let i = i as f64;
            match grid {
                Grid::Flow => shifted(1.0 - i / n),
                Grid::FlowTwice => {
                    let end = shifted(1.0 / TRAIN_STEPS);
                    shifted(1.0 - (1.0 - end) * i / (n - 1.0).max(1.0))
                }
                Grid::Wan => shifted((1.0 - 1.0 / TRAIN_STEPS) * (1.0 - i / n)),
                Grid::DiffusersMultistep => shifted(1.0 - (1.0 - 1.0 / TRAIN_STEPS) * i / n).min(1.0 - 1e-6),
            }
        };
        let mut sigmas: Vec<f32> = (0..steps).map(|i| level(i) as f32).collect();
        let timesteps = (0..steps)
            .map(|i| match grid {
                Grid::Flow | Grid::FlowTwice => TRAIN_STEPS as f32 * sigmas[i],
                Grid::Wan | Grid::DiffusersMultistep => (TRAIN_STEPS * level(i)).trunc() as f32,
            })
            .collect();
        sigmas.push(0.0);
        Schedule { sigmas, timesteps }
    }
    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }
}

/// Timesteps in training, of Wan and HunyuanVideo alike.
const TRAIN_STEPS: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timesteps_of_the_authors_wan_solver_are_these() {
        let timesteps = Schedule::new(Grid::Wan, 50, 5.0).timesteps;
        assert_eq!(timesteps[..6], [999.0, 995.0, 991.0, 987.0, 982.0, 978.0]);
        assert_eq!(timesteps[44..], [405.0, 356.0, 302.0, 241.0, 172.0, 92.0]);
    }

    #[test]
    fn a_shift_of_one_spaces_the_levels_evenly() {
        let schedule = Schedule::new(Grid::Flow, 4, 1.0);
        assert_eq!(schedule.sigmas, [1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(schedule.timesteps, [1000.0, 750.0, 500.0, 250.0]);
    }
}
