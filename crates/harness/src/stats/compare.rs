//! Two policies at equal speed, and at equal quality.
//!
//! The curves are read where they overlap, straight between their points, as the Bjøntegaard deltas of video coding read
//! rate and distortion (there with polynomials). Clips are resampled for both curves at once, so the intervals are
//! those of the difference, and hold the noise of timing as well.

use super::curve::{Curve, at, extent, mean_height, sorted};
use super::resample::{Estimate, resampled};

/// How a policy differs from a reference.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Speed-ups that both reach.
    pub range: (f64, f64),
    /// Mean quality of the policy over the range: the area under its curve, divided by the width of the range.
    pub height: f64,
    /// The same of the reference.
    pub reference_height: f64,
    /// Quality gained at equal speed, mean over the range.
    pub gain: Estimate,
    /// Quality gained at each of the speed-ups asked for, where both curves reach it.
    pub gain_at: Vec<Option<Estimate>>,
    /// Speed-up / that of the reference at equal quality, geometric mean over the qualities that both reach.
    pub faster: Option<Estimate>,
}

/// Compares `policy` with `reference` on the same `clips`. None where no speed is reached by both, or the reference is a
/// single point, which has no neighbourhood to be read in.
pub fn compare(policy: &Curve, reference: &Curve, clips: usize, speedups: &[f64]) -> Option<Comparison> {
    let all: Vec<usize> = (0..clips).collect();
    let (own, other) = (policy.over(&all), reference.over(&all));
    if clips == 0 || own.is_empty() || other.len() < 2 {
        return None;
    }
    let range = overlap(&own, &other)?;
    let is_inside = |x: f64| range.0 <= x && x <= range.1;
    let gain_at = |x: f64| {
        resampled(clips, |clips| {
            at(&policy.over(clips), x) - at(&reference.over(clips), x)
        })
    };
    Some(Comparison {
        range,
        height: mean_height(&own, range.0, range.1),
        reference_height: mean_height(&other, range.0, range.1),
        gain: resampled(clips, |clips| {
            advantage(&policy.over(clips), &reference.over(clips), range)
        }),
        gain_at: speedups
            .iter()
            .map(|&x| (own.len() > 1 && is_inside(x)).then(|| gain_at(x)))
            .collect(),
        faster: faster(policy, reference, clips),
    })
}

fn faster(policy: &Curve, reference: &Curve, clips: usize) -> Option<Estimate> {
    let turned = |curve: &Curve, clips: &[usize]| {
        let points = curve.over(clips).into_iter();
        sorted(points.map(|(speedup, quality)| (quality, speedup.ln())).collect())
    };
    let all: Vec<usize> = (0..clips).collect();
    let (own, other) = (turned(policy, &all), turned(reference, &all));
    if other.len() < 2 {
        return None;
    }
    let range = overlap(&own, &other)?;
    Some(resampled(clips, |clips| {
        advantage(&turned(policy, clips), &turned(reference, clips), range).exp()
    }))
}

/// Mean difference in height over `range`; of a policy with a single point, the difference there.
fn advantage(own: &[(f64, f64)], other: &[(f64, f64)], (low, high): (f64, f64)) -> f64 {
    match own {
        [(x, y)] => y - at(other, *x),
        _ => mean_height(own, low, high) - mean_height(other, low, high),
    }
}

fn overlap(a: &[(f64, f64)], b: &[(f64, f64)]) -> Option<(f64, f64)> {
    let (a, b) = (extent(a), extent(b));
    let (low, high) = (a.0.max(b.0), a.1.min(b.1));
    (low <= high).then_some((low, high))
}
