//! Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003), for values in [0, 1]: contrast and structure at
//! five scales, luminance at the coarsest, each to the power of its weight; a channel each, mean over channels and frames.

use super::Frames;
use super::ssim::{Plane, WINDOW, mean_of_planes, similarity};

/// How much each scale counts, the finest first (Wang et al. 2003).
const WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
/// The coarsest scale must still hold a whole window.
const SIDE_LEAST: usize = (WINDOW - 1) * (1 << (WEIGHTS.len() - 1)) + 1;

/// MS-SSIM of each frame, mean over frames. None for frames smaller than 161 pixels a side, such as those of the small
/// models: with fewer scales it would be another measure under the same name.
pub fn mean_of_frames(frames: &Frames, reference: &Frames) -> Option<f64> {
    if frames.height.min(frames.width) < SIDE_LEAST {
        return None;
    }
    Some(mean_of_planes(frames, reference, ms_ssim))
}

fn ms_ssim(mut a: Plane, mut b: Plane) -> f64 {
    let mut product = 1.0;
    for (scale, weight) in WEIGHTS.iter().enumerate() {
        let found = similarity(&a, &b);
        let is_coarsest = scale + 1 == WEIGHTS.len();
        let value = if is_coarsest { found.ssim } else { found.contrast };
        // A negative correlation has no fractional power; it counts as none, as in the usual implementations.
        product *= value.max(0.0).powf(*weight);
        if !is_coarsest {
            (a, b) = (halved(&a), halved(&b));
        }
    }
    product
}

/// Means of 2×2 pixels. A side of odd length repeats its first row or column.
fn halved(plane: &Plane) -> Plane {
    let (height, width) = (plane.values.len() / plane.width, plane.width);
    let pair = |at: usize, length: usize| {
        let last = 2 * at + 1 - length % 2;
        [last.saturating_sub(1), last]
    };
    let mut values = Vec::with_capacity(height.div_ceil(2) * width.div_ceil(2));
    for y in 0..height.div_ceil(2) {
        for x in 0..width.div_ceil(2) {
            let rows = pair(y, height).map(|y| &plane.values[y * width..(y + 1) * width]);
            let sum: f64 = rows.iter().flat_map(|row| pair(x, width).map(|x| row[x])).sum();
            values.push(sum / 4.0);
        }
    }
    let width = width.div_ceil(2);
    Plane { values, width }
}
