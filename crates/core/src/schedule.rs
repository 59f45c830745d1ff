//! Noise levels of a run and the timesteps the model is given for them.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the noise levels are laid out. `shift` moves steps towards the noisy end:
/// `σ = shift·u/(1 + (shift − 1)·u)`, but for CogVideoX.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grid {
    /// `u` from 1 to 0 in equal steps, timestep `1000·σ` unrounded: HunyuanVideo
    /// (`scheduling_flow_match_discrete.py`) and wan-mini.
    Flow,
    /// What diffusers' `FlowMatchEulerDiscreteScheduler.set_timesteps(n)` makes: the ends of its range
    /// are shifted once when it is built, every level again here.
    FlowTwice,
    /// The Wan authors' UniPC (`fm_solvers_unipc.py`), and diffusers' DPM++ with `use_flow_sigmas`: `u` from
    /// 0.999, timestep truncated to an integer.
    Wan,
    /// The Wan authors' DPM++ (`fm_solvers.py`): `u` from 1, timestep truncated to an integer.
    WanDpmpp,
    /// diffusers' UniPC with `use_flow_sigmas`: `u` from 1 to 1/1000 without the end, the
    /// first level lowered by 1e-6, timestep truncated to an integer.
    DiffusersMultistep,
    /// CogVideoX (`CogVideoXDDIMScheduler`): a chain of 1000 betas, linear in their roots; `shift` divides the
    /// signal-to-noise ratio (`snr_shift_scale`); then rescaled to end in pure noise; timesteps "trailing".
    CogVideoX,
}

/// How the guidance scale goes through a run.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Course {
    /// The same in every step.
    #[default]
    Constant,
    /// CogVideoX's dynamic guidance, `1 + w·(1 − cos(π·((T − t)/T)⁵))/2`, as its authors' sampler and diffusers run
    /// it: `t` is the timestep of 1000, not the step of `T`, so the scale does not rise with time as meant but jumps
    /// between 1 and `1 + w`.
    CogvideoxDynamic,
}

/// Noise levels and timesteps of a run, from noise to data.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Noise level before each step, decreasing, and 0 at the end: one more than there are steps. It is the share of
    /// noise, `σ/(α + σ)` in a latent `α·data + σ·noise`; of a flow `α + σ` is 1.
    pub sigmas: Vec<f32>,
    /// What the model is given at each step, in (0, 1000].
    pub timesteps: Vec<f32>,
    /// How the guidance scale goes.
    pub course: Course,
    /// A timestep below which the guidance scale is another, and that scale.
    pub low_noise: Option<(f32, f32)>,
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
        let shares = match grid {
            Grid::CogVideoX => cogvideox_shares(shift),
            _ => vec![],
        };
        let level = |i: usize| {
            let i = i as f64;
            match grid {
                Grid::Flow => shifted(1.0 - i / n),
                Grid::FlowTwice => {
                    let end = shifted(1.0 / TRAIN_STEPS);
                    shifted(1.0 - (1.0 - end) * i / (n - 1.0).max(1.0))
                }
                Grid::Wan => shifted((1.0 - 1.0 / TRAIN_STEPS) * (1.0 - i / n)),
                Grid::WanDpmpp => shifted(1.0 - i / n),
                Grid::DiffusersMultistep => shifted(1.0 - (1.0 - 1.0 / TRAIN_STEPS) * i / n).min(1.0 - 1e-6),
                Grid::CogVideoX => shares[trailing(i, n) as usize],
            }
        };
        let mut sigmas: Vec<f32> = (0..steps).map(|i| level(i) as f32).collect();
        let timesteps = (0..steps)
            .map(|i| match grid {
                Grid::Flow | Grid::FlowTwice => TRAIN_STEPS as f32 * sigmas[i],
                Grid::Wan | Grid::WanDpmpp | Grid::DiffusersMultistep => (TRAIN_STEPS * level(i)).trunc() as f32,
                Grid::CogVideoX => trailing(i as f64, n) as f32,
            })
            .collect();
        sigmas.push(0.0);
        Schedule {
            sigmas,
            timesteps,
            course: Course::Constant,
            low_noise: None,
        }
    }
    /// With another guidance scale below a timestep: that of Wan2.2's expert for low noise.
    pub fn with_low_noise(self, boundary: f32, scale: f32) -> Schedule {
        let low_noise = Some((boundary, scale));
        Schedule { low_noise, ..self }
    }
    /// With another course of the guidance scale.
    pub fn with_course(self, course: Course) -> Schedule {
        Schedule { course, ..self }
    }
    /// The guidance scale at a step of a run whose scale is `w`.
    pub fn scale(&self, w: f32, step: usize) -> f32 {
        let (steps, timestep) = (self.steps() as f64, self.timesteps[step] as f64);
        let below = self.low_noise.filter(|(boundary, _)| self.timesteps[step] < *boundary);
        let w = below.map_or(w, |(_, scale)| scale);
        match self.course {
            Course::Constant => w,
            Course::CogvideoxDynamic => {
                let angle = PI * ((steps - timestep) / steps).powi(5);
                (1.0 + w as f64 * (1.0 - angle.cos()) / 2.0) as f32
            }
        }
    }
    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }
}

/// Timesteps in training, of all models alike.
const TRAIN_STEPS: f64 = 1000.0;

/// Ends of CogVideoX's chain of betas (`scheduler_config.json`, `scaled_linear`).
const BETAS: [f64; 2] = [0.00085, 0.012];

/// The share of noise at each of CogVideoX's timesteps.
fn cogvideox_shares(shift: f64) -> Vec<f64> {
    let alphas = cogvideox_alphas(shift);
    let (clean, noisy) = (alphas[0], alphas[alphas.len() - 1]);
    let share = |alpha: f64| {
        // The last becomes pure noise, the first stays (arXiv 2305.08891, algorithm 1).
        let alpha = (alpha - noisy) * clean / (clean - noisy);
        let sigma = (1.0 - alpha * alpha).sqrt();
        sigma / (alpha + sigma)
    };
    alphas.into_iter().map(share).collect()
}

/// α at each timestep, before it is rescaled.
fn cogvideox_alphas(shift: f64) -> Vec<f64> {
    let [first, last] = BETAS.map(f64::sqrt);
    let mut square = 1.0;
    let alpha = |t: usize| {
        let beta = (first + (last - first) * t as f64 / (TRAIN_STEPS - 1.0)).powi(2);
        square *= 1.0 - beta;
        (square / (shift + (1.0 - shift) * square)).sqrt()
    };
    (0..TRAIN_STEPS as usize).map(alpha).collect()
}

/// Step `i` of `n` at the trailing ends of equal stretches of the timesteps.
fn trailing(i: f64, n: f64) -> f64 {
    (TRAIN_STEPS - i * TRAIN_STEPS / n).round_ties_even() - 1.0
}

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
    fn cogvideox_starts_in_pure_noise_and_a_shift_makes_it_noisier() {
        let schedule = Schedule::new(Grid::CogVideoX, 50, 1.0);
        assert_eq!(schedule.timesteps[..3], [999.0, 979.0, 959.0]);
        assert_eq!(
            (schedule.timesteps[49], schedule.sigmas[0], schedule.sigmas[50]),
            (19.0, 1.0, 0.0)
        );
        // Three times the noise-to-signal ratio of CogVideoX-2B: noisier everywhere between the ends.
        let shifted = Schedule::new(Grid::CogVideoX, 50, 3.0);
        assert!((1..50).all(|i| shifted.sigmas[i] > schedule.sigmas[i]));
    }

    #[test]
    fn cogvideox_has_the_betas_of_stable_diffusion_whose_last_alpha_is_published() {
        let alphas = cogvideox_alphas(1.0);
        // arXiv 2305.08891, table 1: √ᾱ_T = 0.068265.
        assert!((alphas[999] - 0.068265).abs() < 5e-7, "{}", alphas[999]);
    }

    #[test]
    fn dynamic_guidance_jumps_as_it_does_in_diffusers() {
        let schedule = Schedule::new(Grid::CogVideoX, 50, 1.0).with_course(Course::CogvideoxDynamic);
        // `pipeline_cogvideox.py`'s formula in Python, for t = 999, 979, 519, 499, 19 of 50 steps at scale 6.
        for (step, expected) in [
            (0, 2.291_487_174_551_452),
            (1, 2.543_502_866_764_631_8),
            (24, 6.985_373_217_572_254),
            (25, 1.521_265_693_502_664_3),
            (49, 1.123_397_939_968_981),
        ] {
            let scale = schedule.scale(6.0, step) as f64;
            // The angle is up to eight million radians: a rounding of f64 there is 1e-9 of them; then one of f32.
            assert!(
                (scale - expected).abs() < 1e-6,
                "step {step}: {scale}, expected {expected}"
            );
        }
        let constant = Schedule::new(Grid::CogVideoX, 50, 1.0);
        assert!((0..50).all(|step| constant.scale(6.0, step) == 6.0));
    }

    #[test]
    fn wan2_2_goes_over_to_the_smaller_scale_at_the_boundary() {
        let schedule = Schedule::new(Grid::Wan, 40, 12.0).with_low_noise(875.0, 3.0);
        let first = schedule.timesteps.iter().position(|t| *t < 875.0).unwrap();
        // The authors' solver in Python: step 26 of 40 is at timestep 865, the one before at 877.
        assert_eq!(
            (first, &schedule.timesteps[first - 1..=first]),
            (26, &[877.0, 865.0][..])
        );
        assert_eq!([first - 1, first].map(|step| schedule.scale(4.0, step)), [4.0, 3.0]);
    }

    #[test]
    fn a_shift_of_one_spaces_the_levels_evenly() {
        let schedule = Schedule::new(Grid::Flow, 4, 1.0);
        assert_eq!(schedule.sigmas, [1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(schedule.timesteps, [1000.0, 750.0, 500.0, 250.0]);
    }
}
