//! MagCache's magnitude ratios: the mean over clips of those of the uncached runs.

use super::Origin;
use crate::dynamics::{Quantity, Reading, averages};
use mixcache_policies::data::MagRatios;
use mixcache_policies::plan::{COND, Run, UNCOND};

pub(super) fn ratios(readings: &[Reading], origin: &Origin, run: &Run) -> MagRatios {
    let magnitudes = readings.iter().filter(|r| r.quantity == Quantity::Magnitude).cloned();
    let means = averages(magnitudes.collect(), &run.sigmas);
    let of = |branch: usize| {
        let own = means.iter().filter(|average| average.branch == Some(branch));
        // The first has nothing before it. Five digits, as the published ones have.
        std::iter::once(1.0)
            .chain(own.map(|average| ((average.mean * 1e5).round() / 1e5) as f32))
            .collect()
    };
    MagRatios {
        model: origin.model.clone(),
        source: origin.source.clone(),
        cond: of(COND),
        uncond: if run.branches == 2 { of(UNCOND) } else { vec![] },
    }
}
