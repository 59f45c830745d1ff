//! Temporal errors: what a still frame does not show.
//!
//! Both compare *changes* from frame to frame with those of the reference, so an error that stays as it is costs nothing.

use super::Frames;
use super::motion::Motion;

/// Flicker: root of the mean over frames, pixels and channels of ((xₜ − xₜ₋₁) − (rₜ − rₜ₋₁))², the dtSSD of video matting
/// (Erofeev et al. 2015) without its factor 100. 0 = identical, in units of the pixel value in [0, 1]. None for a
/// single frame.
pub fn error(frames: &Frames, reference: &Frames) -> Option<f64> {
    along(frames, reference, |_, at| at)
}

/// The same along the motion of the reference: ((xₜ − W xₜ₋₁) − (rₜ − W rₜ₋₁))², where W moves each block of 8×8 pixels by
/// the displacement that carries the reference's frame t − 1 into its frame t.
///
/// This is the warping error of Lai et al. (2018), ‖xₜ − W xₜ₋₁‖, with two changes. W comes from matching blocks instead of a
/// network for optical flow, so no weights are needed. And what the reference itself leaves (occlusion, light) is
/// subtracted pixel by pixel instead of being masked, so 0 = identical. None for a single frame, or frames smaller
/// than a block.
pub fn warping_error(frames: &Frames, reference: &Frames) -> Option<f64> {
    let motion = Motion::of(reference)?;
    along(frames, reference, |t, at| motion.source(t, at))
}

/// `source(t, i)` is the pixel of frame `t − 1` that pixel `i` of frame `t` is compared with.
fn along(frames: &Frames, reference: &Frames, source: impl Fn(usize, usize) -> usize) -> Option<f64> {
    let pixels = frames.height * frames.width;
    let mut sum = 0.0;
    for t in 1..frames.count {
        let (now, before) = (frames.frame(t), frames.frame(t - 1));
        let (reference_now, reference_before) = (reference.frame(t), reference.frame(t - 1));
        for pixel in 0..pixels {
            let from = source(t, pixel);
            for channel in 0..3 {
                let (i, j) = (3 * pixel + channel, 3 * from + channel);
                let error = (now[i] - before[j]) - (reference_now[i] - reference_before[j]);
                sum += f64::from(error).powi(2);
            }
        }
    }
    let count = (frames.count - 1) * pixels * 3;
    (count > 0).then(|| (sum / count as f64).sqrt())
}
