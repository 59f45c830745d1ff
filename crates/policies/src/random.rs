//! Control: compute a given number of steps, drawn at random; what any rule at all must beat.

use crate::form::{Form, WholeStep};
use crate::plan::*;
use crate::uniform::free_steps;
use rand::{SeedableRng, seq::SliceRandom};
use serde::{Deserialize, Serialize};

/// Compute `computed` steps, drawn at random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// Steps computed, those included that the run forbids to skip.
    pub computed: usize,
    /// Seed of the draw.
    #[serde(default)]
    pub draw: u64,
    /// What a skipped step reuses.
    #[serde(default)]
    pub form: Form,
    #[serde(skip)]
    mask: Vec<bool>,
    #[serde(skip)]
    whole: WholeStep,
}

impl CachePolicy for Random {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        let mut free = free_steps(run, self.computed)?;
        let skipped = run.steps() - self.computed;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(self.draw);
        self.mask = vec![true; run.steps()];
        for &mut step in free.partial_shuffle(&mut rng, skipped).0 {
            self.mask[step] = false;
        }
        let (whole, claim) = WholeStep::new(self.form, run);
        self.whole = whole;
        Ok(claim)
    }
    fn next(&mut self, at: At, _: &[f32]) -> Move {
        self.whole.next(at, at.full || self.mask[at.step])
    }
}
