//! Clips to look at. Small ones are lossless animated PNG: every browser plays it, and no codec stands between a run and
//! the eye. Of the large models' that would be a hundred megabytes each: they are MP4.

mod mp4;

pub use mp4::write_mp4;

use crate::metrics::Frames;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// Largest frame that is kept lossless, pixels.
const LOSSLESS_MAX: usize = 256 * 256;

/// Writes a clip into a folder under this name, as APNG or, where frames are large, as MP4.
pub fn write(folder: &Path, name: &str, frames: &Frames, fps: u16) -> Result<()> {
    match frames.height * frames.width <= LOSSLESS_MAX {
        true => write_apng(&folder.join(format!("{name}.png")), frames, fps),
        false => write_mp4(&folder.join(format!("{name}.mp4")), frames, fps),
    }
}

/// Writes `frames` as an endlessly repeating APNG at `fps` frames a second, 8 bits a channel.
pub fn write_apng(path: &Path, frames: &Frames, fps: u16) -> Result<()> {
    let write = || -> Result<()> {
        ensure!(fps > 0, "0 frames a second");
        let [count, height, width] = frames.size().map(|n| n as u32);
        let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        if count > 1 {
            encoder.set_animated(count, 0)?;
            encoder.set_frame_delay(1, fps)?;
        }
        let mut writer = encoder.write_header()?;
        for t in 0..frames.count {
            let bytes: Vec<u8> = frames.frame(t).iter().map(|&x| to_byte(x)).collect();
            writer.write_image_data(&bytes)?;
        }
        writer.finish()?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Reference on the left, policy on the right.
///
/// # Errors
/// If the two differ in count or height.
pub fn beside(reference: &Frames, policy: &Frames) -> Result<Frames> {
    ensure!(
        (reference.count, reference.height) == (policy.count, policy.height),
        "frames [t, h, w] = {:?} do not fit beside {:?}",
        reference.size(),
        policy.size()
    );
    let left = reference.data.chunks(reference.width * 3);
    let right = policy.data.chunks(policy.width * 3);
    let data = left
        .zip(right)
        .flat_map(|(left, right)| [left, right].concat())
        .collect();
    Frames::new(reference.count, reference.height, reference.width + policy.width, data)
}

/// The nearest of 256 values.
pub(crate) fn to_byte(x: f32) -> u8 {
    (x.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn ramp(count: usize) -> Frames {
        let bytes = count * 4 * 5 * 3;
        let data = (0..bytes).map(|i| (i * 7 % 256) as f32 / 255.0).collect();
        Frames::new(count, 4, 5, data).unwrap()
    }

    fn decoded(path: &Path) -> (u32, Vec<u8>, f64) {
        let file = BufReader::new(File::open(path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let count = reader
            .info()
            .animation_control()
            .map_or(1, |control| control.num_frames);
        let mut all = Vec::new();
        let mut delay_s = 0.0;
        for _ in 0..count {
            let mut frame = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut frame).unwrap();
            if let Some(control) = reader.info().frame_control() {
                delay_s = f64::from(control.delay_num) / f64::from(control.delay_den);
            }
            all.extend(frame);
        }
        (count, all, delay_s)
    }

    #[test]
    fn frames_come_back_byte_for_byte_at_their_rate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.png");
        let frames = ramp(3);
        write_apng(&path, &frames, 16).unwrap();
        let bytes: Vec<u8> = frames.data.iter().map(|x| (x * 255.0).round() as u8).collect();
        assert_eq!(decoded(&path), (3, bytes, 1.0 / 16.0));
    }

    #[test]
    fn a_single_frame_is_a_plain_png() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frame.png");
        write_apng(&path, &ramp(1), 16).unwrap();
        assert_eq!(decoded(&path).0, 1);
    }

    #[test]
    fn beside_keeps_every_pixel_of_both() {
        let (left, mut right) = (ramp(2), ramp(2));
        right.data.fill(1.0);
        let both = beside(&left, &right).unwrap();
        assert_eq!(both.size(), [2, 4, 10]);
        assert_eq!(both.frame(1)[..15], left.frame(1)[..15]);
        assert_eq!(both.frame(1)[15..30], [1.0; 15]);
        assert!(beside(&left, &ramp(3)).is_err());
    }
}
