//! Structural similarity (Wang et al. 2004), for values in [0, 1]: Gaussian window 11, sigma 1.5, valid region,
//! C1 = .01², C2 = .03², population (not sample) covariance; mean over pixels, channels, frames; in f64.

use super::Frames;
use rayon::prelude::*;

/// Pixels a side of the window.
pub(super) const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// One channel of one frame. `// [h, w]`
pub(super) struct Plane {
    pub values: Vec<f64>,
    pub width: usize,
}

/// What two planes have in common, each a mean over places of the window.
pub(super) struct Similarity {
    /// Luminance, contrast and structure.
    pub ssim: f64,
    /// Contrast and structure alone.
    pub contrast: f64,
}

/// SSIM of each frame, mean over frames. None for frames smaller than the window.
pub fn mean_of_frames(frames: &Frames, reference: &Frames) -> Option<f64> {
    if frames.height.min(frames.width) < WINDOW {
        return None;
    }
    Some(mean_of_planes(frames, reference, |a, b| similarity(&a, &b).ssim))
}

/// Mean over the channels of all frames. Planes are made as they are needed: those of a whole clip are gigabytes.
pub(super) fn mean_of_planes(frames: &Frames, reference: &Frames, of: impl Fn(Plane, Plane) -> f64 + Sync) -> f64 {
    let pair = |i: usize| of(plane(frames, i / 3, i % 3), plane(reference, i / 3, i % 3));
    let each: Vec<f64> = (0..frames.count * 3).into_par_iter().map(pair).collect();
    each.iter().sum::<f64>() / each.len() as f64
}

fn plane(clip: &Frames, frame: usize, channel: usize) -> Plane {
    let values = clip.frame(frame).iter().skip(channel).step_by(3);
    Plane {
        values: values.map(|&x| f64::from(x)).collect(),
        width: clip.width,
    }
}

/// Both planes must hold a window.
pub(super) fn similarity(a: &Plane, b: &Plane) -> Similarity {
    let window = gaussian();
    let (width, a, b) = (a.width, &a.values, &b.values);
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).collect::<Vec<_>>();
    let blur = |plane: &[f64]| blur(plane, width, &window);
    let (mean_a, mean_b) = (blur(a), blur(b));
    let (aa, bb, ab) = (blur(&product(a, a)), blur(&product(b, b)), blur(&product(a, b)));
    let (mut ssim, mut contrast) = (0.0, 0.0);
    for i in 0..mean_a.len() {
        let (ma, mb) = (mean_a[i], mean_b[i]);
        let (var_a, var_b, cov) = (aa[i] - ma * ma, bb[i] - mb * mb, ab[i] - ma * mb);
        let at = (2.0 * cov + C2) / (var_a + var_b + C2);
        contrast += at;
        ssim += at * (2.0 * ma * mb + C1) / (ma * ma + mb * mb + C1);
    }
    let places = mean_a.len() as f64;
    Similarity {
        ssim: ssim / places,
        contrast: contrast / places,
    }
}

/// Weighted mean over the window around every pixel whose window lies inside. `// [h, w] -> [h-10, w-10]`
fn blur(plane: &[f64], width: usize, window: &[f64; WINDOW]) -> Vec<f64> {
    let narrow = width - WINDOW + 1;
    let mut along_rows = vec![0.0; plane.len() / width * narrow];
    for (row, out) in plane.chunks(width).zip(along_rows.chunks_mut(narrow)) {
        window
            .iter()
            .enumerate()
            .for_each(|(k, &weight)| add(out, weight, &row[k..]));
    }
    let mut blurred = vec![0.0; along_rows.len() - (WINDOW - 1) * narrow];
    for (y, out) in blurred.chunks_mut(narrow).enumerate() {
        window
            .iter()
            .enumerate()
            .for_each(|(k, &weight)| add(out, weight, &along_rows[(y + k) * narrow..]));
    }
    blurred
}

/// A row at a time, so that the compiler has lanes to fill.
fn add(out: &mut [f64], weight: f64, row: &[f64]) {
    out.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
}

fn gaussian() -> [f64; WINDOW] {
    let centre = (WINDOW / 2) as f64;
    let raw: [f64; WINDOW] = std::array::from_fn(|i| (-(i as f64 - centre).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
    raw.map(|weight| weight / raw.iter().sum::<f64>())
}
