//! A policy as a curve of quality over speed-up, through the values of its swept knob.

use super::resample::{mean, median};

/// One configuration, clip by clip: the same clips in the same order in every point of every curve that is compared.
#[derive(Clone, Debug)]
pub struct Point {
    /// Uncached seconds / seconds.
    pub speedups: Vec<f64>,
    /// Higher is better.
    pub qualities: Vec<f64>,
}

/// The configurations of one policy.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Of the policy.
    pub name: String,
    /// One a value of the swept knob.
    pub points: Vec<Point>,
}

impl Curve {
    /// Speed-up and quality of every configuration over the chosen clips, by speed-up. A configuration has one
    /// speed-up, the median over clips: what a user gains, and freer of timing noise than the speed-up of a clip.
    pub fn over(&self, clips: &[usize]) -> Vec<(f64, f64)> {
        let chosen = |values: &[f64]| -> Vec<f64> { clips.iter().map(|&clip| values[clip]).collect() };
        let point = |point: &Point| {
            let speedup = median(&mut chosen(&point.speedups));
            (speedup, mean(&mut chosen(&point.qualities)))
        };
        sorted(self.points.iter().map(point).collect())
    }

    /// The same with the quality of one clip alone.
    pub fn of_clip(&self, clip: usize) -> Vec<(f64, f64)> {
        let point = |point: &Point| (median(&mut point.speedups.clone()), point.qualities[clip]);
        sorted(self.points.iter().map(point).collect())
    }
}

/// By x. Points of equal x become one, at their mean.
pub(super) fn sorted(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let groups = points.chunk_by(|a, b| a.0 == b.0);
    let merged = groups.map(|group| {
        let mut heights: Vec<f64> = group.iter().map(|point| point.1).collect();
        (group[0].0, mean(&mut heights))
    });
    merged.collect()
}

/// Height at `x` of the line through `points`, which are sorted by x. Beyond the ends it is that of the end: a resample may
/// fall a little short of a speed that the sample reaches, and a steep last segment must not carry it away.
pub fn at(points: &[(f64, f64)], x: f64) -> f64 {
    let end = points.partition_point(|point| point.0 < x);
    if end == 0 || end == points.len() {
        return points[end.min(points.len() - 1)].1;
    }
    let (from, to) = (points[end - 1], points[end]);
    from.1 + (x - from.0) / (to.0 - from.0) * (to.1 - from.1)
}

/// Smallest and largest x.
pub(super) fn extent(points: &[(f64, f64)]) -> (f64, f64) {
    (points[0].0, points[points.len() - 1].0)
}

/// Area under the line from `low` to `high`, divided by its width: the mean height. At a single place, the height.
pub(super) fn mean_height(points: &[(f64, f64)], low: f64, high: f64) -> f64 {
    if low >= high {
        return at(points, low);
    }
    let inner = points.iter().map(|point| point.0).filter(|x| low < *x && *x < high);
    let knots: Vec<f64> = std::iter::once(low).chain(inner).chain([high]).collect();
    let area: f64 = knots
        .windows(2)
        .map(|ends| (ends[1] - ends[0]) * (at(points, ends[0]) + at(points, ends[1])) / 2.0)
        .sum();
    area / (high - low)
}
