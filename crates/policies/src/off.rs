//! No cache: the whole chain in one move; nothing stored, nothing measured. The reference of every figure.

use crate::plan::*;
use serde::{Deserialize, Serialize};

/// No cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Off {
    #[serde(skip)]
    end: usize,
}

impl CachePolicy for Off {
    fn begin(&mut self, run: &Run) -> Result<Claim, Unfit> {
        self.end = run.end();
        Ok(Claim::default())
    }
    fn next(&mut self, _: At, _: &[f32]) -> Move {
        Move::compute(self.end)
    }
}
