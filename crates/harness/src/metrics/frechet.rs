//! Fréchet distance of two sets of features, each taken as a normal distribution (Dowson and Landau 1982; Heusel et al. 2017
//! for pictures, Unterthiner et al. 2019 for videos):
//! |μ₁ − μ₂|² + tr C₁ + tr C₂ − 2 tr (C₁C₂)^½.
//!
//! With C = AAᵀ for the centred features A, the eigenvalues of C₁C₂ other than zero are the squared singular values of A₁ᵀA₂.
//! So the last trace is the sum of those, of a matrix as large as the sets: no root of a covariance, which few clips leave
//! singular, is taken.

/// Clips below which the distance means little: a covariance of n clips has rank n − 1, of the 400 of I3D's logits.
/// Published distances rest on thousands.
pub const CLIPS_LEAST: usize = 50;

/// Distance of two sets of features of equal length, one a clip. None for fewer than two clips, which have no covariance, or
/// features of several lengths.
pub fn distance(a: &[&[f32]], b: &[&[f32]]) -> Option<f64> {
    let width = a.first()?.len();
    if a.len() < 2 || b.len() < 2 || a.iter().chain(b).any(|features| features.len() != width) {
        return None;
    }
    let ((mean_a, a), (mean_b, b)) = (centred(a), centred(b));
    let apart: f64 = mean_a.iter().zip(&mean_b).map(|(a, b)| (a - b).powi(2)).sum();
    let spread = |rows: &[Vec<f64>]| rows.iter().map(|row| dot(row, row)).sum::<f64>();
    let cross = b.iter().map(|b| a.iter().map(|a| dot(a, b)).collect()).collect();
    let common: f64 = singular_values(cross).iter().sum();
    Some((apart + spread(&a) + spread(&b) - 2.0 * common).max(0.0))
}

/// Mean, and what is left of each clip over the root of clips − 1: their outer products add up to the covariance.
fn centred(rows: &[&[f32]]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mean: Vec<f64> = (0..rows[0].len())
        .map(|i| rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / rows.len() as f64)
        .collect();
    let scale = ((rows.len() - 1) as f64).sqrt();
    let left = |row: &&[f32]| {
        row.iter()
            .zip(&mean)
            .map(|(x, mean)| (f64::from(*x) - mean) / scale)
            .collect()
    };
    let rows = rows.iter().map(left).collect();
    (mean, rows)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Singular values of the matrix with these columns, by one-sided Jacobi rotations (Hestenes 1958): columns are turned in
/// pairs until all are perpendicular; then their lengths are the values.
fn singular_values(mut columns: Vec<Vec<f64>>) -> Vec<f64> {
    /// Cosine below which two columns count as perpendicular: a few roundings of f64.
    const PERPENDICULAR: f64 = 1e-14;
    /// A few sweeps converge quadratically; more than these only shuffle roundings.
    const SWEEPS_MOST: usize = 60;
    for _ in 0..SWEEPS_MOST {
        let mut is_turned = false;
        for p in 1..columns.len() {
            let (before, rest) = columns.split_at_mut(p);
            let second = &mut rest[0];
            for first in before {
                let (a, b, c) = (dot(first, first), dot(second, second), dot(first, second));
                if c.abs() <= PERPENDICULAR * (a * b).sqrt() {
                    continue;
                }
                is_turned = true;
                let zeta = (b - a) / (2.0 * c);
                let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
                let sine = cosine * tangent;
                for (x, y) in first.iter_mut().zip(second.iter_mut()) {
                    (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
                }
            }
        }
        if !is_turned {
            break;
        }
    }
    columns.iter().map(|column| dot(column, column).sqrt()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(set: &[Vec<f32>]) -> Vec<&[f32]> {
        set.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn a_set_has_no_distance_from_itself_and_a_shift_counts_squared() {
        let set: Vec<Vec<f32>> = vec![
            vec![1.0, 0.0, 4.0],
            vec![0.0, 2.0, 1.0],
            vec![3.0, 1.0, 0.5],
            vec![0.0; 3],
        ];
        let shifted: Vec<Vec<f32>> = set.iter().map(|row| vec![row[0] + 3.0, row[1] - 4.0, row[2]]).collect();
        // Exact but for the rounding of squares of about 10.
        assert!(distance(&rows(&set), &rows(&set)).unwrap() < 1e-12);
        assert!((distance(&rows(&set), &rows(&shifted)).unwrap() - 25.0).abs() < 1e-12);
    }

    /// Of covariances that commute the distance is known: (√λ₁ − √λ₂)² along each common axis, here turned by 3-4-5.
    #[test]
    fn the_distance_of_stretched_sets_has_a_closed_form() {
        let turned = |x: f32, y: f32| vec![0.6 * x - 0.8 * y, 0.8 * x + 0.6 * y];
        let cross = |x: f32, y: f32| vec![turned(x, 0.0), turned(-x, 0.0), turned(0.0, y), turned(0.0, -y)];
        // Variances 2x²/3 and 2y²/3.
        let (a, b) = (cross(1.0, 2.0), cross(3.0, 5.0));
        let expected = 2.0 / 3.0 * ((3f64 - 1.0).powi(2) + (5f64 - 2.0).powi(2));
        // Features are f32.
        assert!((distance(&rows(&a), &rows(&b)).unwrap() - expected).abs() < 1e-5);
    }

    /// Of covariances that do not commute: in two dimensions tr M^½ = √(tr M + 2 √det M).
    #[test]
    fn the_distance_of_sets_stretched_along_other_axes_has_a_closed_form() {
        let a: Vec<Vec<f32>> = vec![vec![2.0, 0.0], vec![-2.0, 0.0], vec![0.0, 1.0], vec![0.0, -1.0]];
        let b: Vec<Vec<f32>> = vec![
            vec![3.0, 3.0],
            vec![-3.0, -3.0],
            vec![1.0, -1.0],
            vec![-1.0, 1.0],
            vec![0.0; 2],
        ];
        // C₁ = diag(8, 2)/3; C₂ = [20, 16; 16, 20]/4.
        let product = [[8.0 / 3.0 * 5.0, 8.0 / 3.0 * 4.0], [2.0 / 3.0 * 4.0, 2.0 / 3.0 * 5.0]];
        let trace: f64 = product[0][0] + product[1][1];
        let determinant = product[0][0] * product[1][1] - product[0][1] * product[1][0];
        let expected = 10.0 / 3.0 + 10.0 - 2.0 * (trace + 2.0 * determinant.sqrt()).sqrt();
        assert!((distance(&rows(&a), &rows(&b)).unwrap() - expected).abs() < 1e-12);
    }

    /// More features than clips: only what the clips span counts, as with the roots of singular covariances.
    #[test]
    fn few_clips_of_many_features_have_a_distance() {
        let set = |at: usize| -> Vec<Vec<f32>> {
            let axis = |length: f32| {
                let mut row = vec![0.0; 400];
                row[at] = length;
                row
            };
            vec![axis(1.0), axis(-1.0)]
        };
        // Perpendicular lines of variance 2 have no direction in common.
        assert!((distance(&rows(&set(7)), &rows(&set(300))).unwrap() - 4.0).abs() < 1e-12);
        assert_eq!(
            distance(&rows(&set(7))[..1], &rows(&set(7))),
            None,
            "one clip has no covariance"
        );
    }
}
