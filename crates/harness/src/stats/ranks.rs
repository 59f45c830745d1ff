//! Which policy is best over clips, and which cannot be told apart: Friedman's test and Nemenyi's critical difference, as
//! Demšar (2006) recommends for several methods on several data sets.

use super::resample::Draws;

/// Shuffles behind a p-value: its error is below .005.
const SHUFFLES: usize = 10_000;

/// Mean ranks of methods over clips.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// By method, in the order given. 1 = best on every clip.
    pub ranks: Vec<f64>,
    /// Two methods differ, at 5 %, if their ranks differ by more.
    pub critical_difference: f64,
    /// Chance of ranks as uneven as these, were all methods alike. By shuffling the ranks within clips: with few clips
    /// the usual χ² is off.
    pub p: f64,
}

/// Ranks methods by their values, higher is better. `values[clip][method]`
///
/// None with fewer than two clips or methods.
pub fn rank(values: &[Vec<f64>]) -> Option<Ranking> {
    let (clips, methods) = (values.len(), values.first()?.len());
    if clips < 2 || methods < 2 {
        return None;
    }
    let mut ranks: Vec<Vec<f64>> = values.iter().map(|clip| ranks_of(clip)).collect();
    let sums = |ranks: &[Vec<f64>]| -> Vec<f64> {
        (0..methods)
            .map(|method| ranks.iter().map(|clip| clip[method]).sum())
            .collect()
    };
    // Friedman's statistic grows with the squares of the rank sums; the rest of it is the same for every shuffle.
    let unevenness = |sums: &[f64]| sums.iter().map(|sum| sum * sum).sum::<f64>();
    let observed = sums(&ranks);
    let mut draws = Draws::new();
    let mut as_uneven = 0;
    for _ in 0..SHUFFLES {
        for clip in &mut ranks {
            for last in (1..methods).rev() {
                clip.swap(last, draws.below(last + 1));
            }
        }
        // Ranks are multiples of a half: far coarser than rounding.
        as_uneven += usize::from(unevenness(&sums(&ranks)) >= unevenness(&observed) - 1e-6);
    }
    let (n, k) = (clips as f64, methods as f64);
    Some(Ranking {
        ranks: observed.iter().map(|sum| sum / n).collect(),
        critical_difference: critical_range(methods) / 2f64.sqrt() * (k * (k + 1.0) / (6.0 * n)).sqrt(),
        p: (as_uneven + 1) as f64 / (SHUFFLES + 1) as f64,
    })
}

/// Rank of each value, 1 for the highest; equal values share the mean of their ranks.
fn ranks_of(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let higher = values.iter().filter(|other| *other > value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        higher as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

/// The range that `k` standard normal numbers exceed with a chance of 5 %: the studentized range for infinitely many
/// degrees of freedom, from P(range < q) = k ∫ φ(z) [Φ(z) − Φ(z − q)]ᵏ⁻¹ dz.
pub(super) fn critical_range(k: usize) -> f64 {
    const STEP: f64 = 0.01;
    const REACH: f64 = 8.0;
    let density = |z: f64| (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    // Φ at multiples of STEP from −REACH, by Simpson's rule.
    let mut below = vec![0.0];
    for i in 0..(2.0 * REACH / STEP) as usize {
        let z = -REACH + i as f64 * STEP;
        let area = STEP / 6.0 * (density(z) + 4.0 * density(z + STEP / 2.0) + density(z + STEP));
        below.push(below[i] + area);
    }
    let distribution = |z: f64| {
        let place = ((z + REACH) / STEP).clamp(0.0, (below.len() - 1) as f64);
        let i = (place as usize).min(below.len() - 2);
        below[i] + (place - i as f64) * (below[i + 1] - below[i])
    };
    let chance_below = |q: f64| -> f64 {
        let places = (0..below.len()).map(|i| -REACH + i as f64 * STEP);
        let terms = places.map(|z| density(z) * (distribution(z) - distribution(z - q)).powi(k as i32 - 1));
        k as f64 * STEP * terms.sum::<f64>()
    };
    let (mut low, mut high) = (0.0, 2.0 * REACH);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if chance_below(middle) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}
