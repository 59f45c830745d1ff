//! How far two measurements of the same thing lie apart.

/// The ratio that two more values of the same kind stay below, larger over smaller, in 95 of 100 pairs: from the scatter
/// of the logarithms, taken as normal; few values widen it by Student's t. None for fewer than two, which tell nothing.
pub fn pair_spread(values: &[f64]) -> Option<f64> {
    let freedom = values.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
    let logarithms: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    let centre = logarithms.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = logarithms.iter().map(|value| (value - centre).powi(2)).sum();
    let deviation = (squares / freedom as f64).sqrt();
    Some((student_t(freedom) * 2f64.sqrt() * deviation).exp())
}

/// 97.5 percentile of Student's t.
fn student_t(freedom: usize) -> f64 {
    const TABLE: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    // Beyond the table within .01 of the true value.
    TABLE.get(freedom - 1).copied().unwrap_or(1.96 + 2.6 / freedom as f64)
}
