//! TeaCache's polynomial: from the change of a signal to the change of the prediction, both relative L1 from step
//! to step, degree 4, by least squares over all steps of all clips (arXiv 2411.19108, eq. 6; the authors publish
//! the coefficients, not the script).

use super::{Clip, Origin};
use crate::dynamics::Quantity;
use mixcache_policies::chain::Dit;
use mixcache_policies::data::TeaCoefficients;
use mixcache_policies::linear::solve;
use mixcache_policies::plan::{Signal, TimeSignal};

/// Degree of the published polynomials.
const DEGREE: usize = 4;

/// One step of a clip: how the signal changed, how the prediction did.
pub type Point = [f64; 2];

/// The points of one clip for `signal`.
pub(super) fn points(clip: &Clip, signal: Signal) -> Vec<Point> {
    let predictions = clip
        .exact
        .readings
        .iter()
        .filter(|r| r.quantity == Quantity::Prediction);
    let of_time = |signal: TimeSignal| {
        let values = clip.job.chain.time_signals(signal, &clip.job.run.timesteps);
        let change = |pair: &[Vec<f32>]| {
            let sum = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x.abs() as f64).sum::<f64>();
            sum(&mut pair[1].iter().zip(&pair[0]).map(|(new, old)| new - old)) / sum(&mut pair[0].iter().copied())
        };
        values.windows(2).map(change).collect::<Vec<_>>()
    };
    match signal {
        Signal::Time(signal) => {
            let changes = of_time(signal);
            predictions.map(|r| [changes[r.step - 1], r.value as f64]).collect()
        }
        Signal::Input => {
            let inputs = clip.exact.readings.iter().filter(|r| r.quantity == Quantity::Input);
            let change = |r: &&crate::dynamics::Reading| {
                let input = inputs.clone().find(|i| (i.step, i.branch) == (r.step, r.branch));
                [input.expect("every pass has an input").value as f64, r.value as f64]
            };
            predictions.map(|reading| change(&reading)).collect()
        }
    }
}

/// The fit, and the share of the variance that it explains (R²).
pub(super) fn fit(points: &[Point], signal: Signal, origin: &Origin) -> (TeaCoefficients, f64) {
    let low = points.iter().map(|p| p[0]).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p[0]).fold(0.0, f64::max);
    // In units of the largest change: else the powers differ by orders of magnitude.
    let powers = |x: f64| (0..=DEGREE).map(|n| (x / high).powi(n as i32)).collect::<Vec<_>>();
    let mut a = vec![vec![0.0; DEGREE + 1]; DEGREE + 1];
    let mut b = vec![0.0; DEGREE + 1];
    for &[x, y] in points {
        let powers = powers(x);
        for (i, p) in powers.iter().enumerate() {
            b[i] += p * y;
            for (j, q) in powers.iter().enumerate() {
                a[i][j] += p * q;
            }
        }
    }
    let ascending = solve(&a, &b);
    let value = |x: f64| powers(x).iter().zip(&ascending).map(|(p, c)| p * c).sum::<f64>();
    let mean = points.iter().map(|p| p[1]).sum::<f64>() / points.len() as f64;
    let squares = |rest: &dyn Fn(&Point) -> f64| points.iter().map(|p| rest(p).powi(2)).sum::<f64>();
    let explained = 1.0 - squares(&|p| p[1] - value(p[0])) / squares(&|p| p[1] - mean);
    let scaled = ascending.iter().enumerate().map(|(n, c)| c / high.powi(n as i32));
    let mut polynomial: Vec<f64> = scaled.collect();
    polynomial.reverse();
    let coefficients = TeaCoefficients {
        model: origin.model.clone(),
        source: format!("{}, R² = {explained:.3} over {} steps", origin.source, points.len()),
        signal,
        polynomial,
        range: [low, high],
    };
    (coefficients, explained)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polynomial_of_degree_4_is_found_again_and_explains_everything() {
        let truth = |x: f64| 3.0 * x.powi(4) - 2.0 * x.powi(2) + 0.5 * x + 0.01;
        let points: Vec<Point> = (1..60).map(|i| i as f64 * 0.005).map(|x| [x, truth(x)]).collect();
        let (found, explained) = fit(&points, Signal::Input, &Origin::default());
        for (found, expected) in found.polynomial.iter().zip([3.0, 0.0, -2.0, 0.5, 0.01]) {
            // The normal equations of degree 4 have a condition of some 1e6: six of sixteen digits are lost.
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
        assert!(explained > 1.0 - 1e-9);
        assert_eq!(found.range, [0.005, 0.295]);
    }
}
