//! Statistics of paired runs: every policy sees the same clips (prompt and seed), so what is resampled, compared and
//! ranked is the clip, never the single number.

mod compare;
mod curve;
mod noise;
mod priced;
mod ranks;
mod resample;

pub use compare::{Comparison, compare};
pub use curve::{Curve, Point, at};
pub use noise::pair_spread;
pub use priced::{Cost, Priced, Trial};
pub use ranks::{Ranking, rank};
pub use resample::{CLIPS_LEAST, Estimate, estimate, mean, median, resampled};

#[cfg(test)]
mod tests;
