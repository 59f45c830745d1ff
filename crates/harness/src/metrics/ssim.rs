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
    let pairs: Vec<_> = planes(frames).zip(planes(reference)).collect();
    let each: Vec<f64> = pairs.par_iter().map(|(a, b)| similarity(a, b).ssim).collect();
    Some(each.iter().sum::<f64>() / each.len() as f64)
}

/// Every channel of every frame.
pub(super) fn planes(clip: &Frames) -> impl Iterator<Item = Plane> {
    (0..clip.count)
        .flat_map(|t| [(t, 0), (t, 1), (t, 2)])
        .map(|(t, channel)| {
            let values = clip.frame(t).iter().skip(channel).step_by(3);
            Plane {
                values: values.map(|&x| f64::from(x)).collect(),
                width: clip.width,
            }
        })
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
    let along_rows: Vec<f64> = plane
        .chunks(width)
        .flat_map(|row| row.windows(WINDOW).map(|part| dot(part.iter(), window)))
        .collect();
    let width = width - WINDOW + 1;
    let places = 0..along_rows.len() - (WINDOW - 1) * width;
    places
        .map(|at| dot(along_rows[at..].iter().step_by(width), window))
        .collect()
}

fn dot<'a>(values: impl Iterator<Item = &'a f64>, window: &[f64; WINDOW]) -> f64 {
    values.zip(window).map(|(value, weight)| value * weight).sum()
}

fn gaussian() -> [f64; WINDOW] {
    let centre = (WINDOW / 2) as f64;
    let raw: [f64; WINDOW] = std::array::from_fn(|i| (-(i as f64 - centre).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
    raw.map(|weight| weight / raw.iter().sum::<f64>())
}
