//! Distance of final latents: needs neither VAE nor codec.

use anyhow::{Result, ensure};

/// ‖a − b‖₂ / ‖b‖₂, summed in f64; `b` is the uncached latent, both flattened in the same order.
///
/// # Errors
/// If lengths differ or `b` is zero.
pub fn relative_l2(a: &[f32], b: &[f32]) -> Result<f64> {
    ensure!(
        a.len() == b.len(),
        "latents of {} and {} numbers cannot be compared",
        a.len(),
        b.len()
    );
    let square = |x: f64| x * x;
    let norm: f64 = b.iter().map(|&b| square(f64::from(b))).sum();
    ensure!(
        norm > 0.0,
        "the reference latent is zero: a relative error has no meaning"
    );
    let difference: f64 = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    Ok((difference / norm).sqrt())
}
