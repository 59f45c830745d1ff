//! Peak signal-to-noise ratio, for values in [0, 1].

use super::Frames;

/// PSNR of each frame over all its channels, mean over frames.
pub fn mean_of_frames(frames: &Frames, reference: &Frames) -> Option<f64> {
    let each = (0..frames.count).map(|t| psnr_db(mse(frames.frame(t), reference.frame(t))));
    Some(each.sum::<f64>() / frames.count as f64)
}

/// PSNR from the mean squared error of the whole clip. Lower than [`mean_of_frames`] where errors are uneven.
pub fn pooled(frames: &Frames, reference: &Frames) -> Option<f64> {
    Some(psnr_db(mse(&frames.data, &reference.data)))
}

/// 20·log10(1/√MSE) = −10·log10(MSE); 100 dB below 1e-10, as in TeaCache's `calculate_psnr.py`.
fn psnr_db(mse: f64) -> f64 {
    if mse < 1e-10 { 100.0 } else { -10.0 * mse.log10() }
}

fn mse(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
    squares.sum::<f64>() / a.len() as f64
}
