//! Small systems of linear equations, as least squares needs them.

/// Solves `A·x = b` for a symmetric positive definite `A`, by Cholesky's decomposition `A = L·Lᵀ`. A direction
/// that `A` does not determine gets next to nothing, instead of dividing by zero.
///
/// # Panics
/// When `A` is not as large as `b`.
pub fn solve(a: &[Vec<f64>], b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let mut l = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let rest = a[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            l[i][j] = match i == j {
                true if rest > 1e-14 * a[i][i] => rest.sqrt(),
                true => f64::MAX.sqrt(),
                false => rest / l[j][j],
            };
        }
    }
    let mut x = b.to_vec();
    for i in 0..n {
        x[i] = (x[i] - (0..i).map(|k| l[i][k] * x[k]).sum::<f64>()) / l[i][i];
    }
    for i in (0..n).rev() {
        x[i] = (x[i] - (i + 1..n).map(|k| l[k][i] * x[k]).sum::<f64>()) / l[i][i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_and_one_that_is_not_determined_stays_finite() {
        let a = vec![vec![4.0, 2.0, 0.6], vec![2.0, 5.0, 1.0], vec![0.6, 1.0, 3.0]];
        let x = [1.5, -2.0, 0.25];
        let b: Vec<f64> = a
            .iter()
            .map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum())
            .collect();
        // A few ulps: nine products of numbers around 1.
        assert!(solve(&a, &b).iter().zip(x).all(|(found, x)| (found - x).abs() < 1e-14));
        let twice = vec![vec![1.0, 1.0], vec![1.0, 1.0]];
        assert_eq!(solve(&twice, &[3.0, 3.0]), [3.0, 0.0]);
    }
}
