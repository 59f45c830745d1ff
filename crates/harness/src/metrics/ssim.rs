//! Structural similarity (Wang et al. 2004), for values in [0, 1]: Gaussian window 11, sigma 1.5, valid region,
//! C1 = .01², C2 = .03², population (not sample) covariance; mean over pixels, channels, frames; in f64.

use super::Frames;
use rayon::prelude::*;

const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// SSIM of each frame, mean over frames. None for frames smaller than the window.
pub fn mean_of_frames(frames: &Frames, reference: &Frames) -> Option<f64> {
    let [count, height, width] = frames.size();
    if height < WINDOW || width < WINDOW {
        return None;
    }
    let window = gaussian();
    let planes: Vec<_> = (0..count).flat_map(|t| [(t, 0), (t, 1), (t, 2)]).collect();
    let each: Vec<f64> = planes
        .par_iter()
        .map(|&(t, channel)| {
            let plane = |frames: &Frames| -> Vec<f64> {
                let values = frames.frame(t).iter().skip(channel).step_by(3);
                values.map(|&x| f64::from(x)).collect()
            };
            ssim(&plane(frames), &plane(reference), width, &window)
        })
        .collect();
    Some(each.iter().sum::<f64>() / each.len() as f64)
}

/// `a`, `b`: one channel of one frame. `// [h, w]`
fn ssim(a: &[f64], b: &[f64], width: usize, window: &[f64; WINDOW]) -> f64 {
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).collect::<Vec<_>>();
    let blur = |plane: &[f64]| blur(plane, width, window);
    let (mean_a, mean_b) = (blur(a), blur(b));
    let (aa, bb, ab) = (blur(&product(a, a)), blur(&product(b, b)), blur(&product(a, b)));
    let total: f64 = (0..mean_a.len())
        .map(|i| {
            let (ma, mb) = (mean_a[i], mean_b[i]);
            let (var_a, var_b, cov) = (aa[i] - ma * ma, bb[i] - mb * mb, ab[i] - ma * mb);
            ((2.0 * ma * mb + C1) * (2.0 * cov + C2)) / ((ma * ma + mb * mb + C1) * (var_a + var_b + C2))
        })
        .sum();
    total / mean_a.len() as f64
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
