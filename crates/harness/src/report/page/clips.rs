//! The recording's videos as strips of frames: an animated PNG plays by itself, a strip follows the page's clock.
//!
//! A policy's strip holds what it adds to the uncached one. That is little, so it compresses well, and loses nothing: the page
//! measures differences of a thousandth, which no lossy codec would leave as they are.

use crate::report::slug;
use crate::schema::RunRow;
use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use png::Filter;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Frames shown of a clip at most; of a longer one every second, third, … is.
const MOST_FRAMES: usize = 24;
/// Bytes of all strips in the page. Where they would take more, all clips are shown smaller.
const MOST_BYTES: usize = 8 << 20;
/// How far a strip is compressed at best: clips that would be too many even so are not tried.
const BEST_RATIO: usize = 16;

/// All clips.
#[derive(Default, Serialize)]
pub struct Clips {
    clips: Vec<Clip>,
    /// PNG as data URI, frames below one another; of a policy the difference from its reference, modulo 256.
    strips: Vec<String>,
    /// How many pixels of the video one shown pixel is the mean of, along each side.
    shrunk: usize,
}

/// One run's video.
#[derive(Serialize)]
struct Clip {
    run: String,
    /// Place of its strip.
    strip: usize,
    /// Place of the uncached run's strip; none where this is the uncached run.
    reference: Option<usize>,
    width: usize,
    height: usize,
    count: usize,
    fps: f64,
}

/// An animated PNG that was found beside the results.
struct Film {
    path: PathBuf,
    run: String,
    /// Videos beside one another: the uncached one and the run's, or the run's alone.
    beside: usize,
    width: usize,
    height: usize,
    count: usize,
    fps: f64,
}

impl Clips {
    /// Reads what [`crate::video`] wrote for these runs. A recording need not have kept videos.
    ///
    /// # Errors
    /// If a video cannot be read or is not as wide as its run says.
    pub fn of(directory: &Path, runs: &[RunRow]) -> Result<Clips> {
        let mut films = Vec::new();
        let mut named = BTreeSet::new();
        // The first run of a label and prompt has the first seed, which is the one whose video is kept.
        for run in runs {
            let name = format!("{}-prompt{}.png", slug(&run.label), run.prompt_index);
            let path = directory.join("videos").join(&name);
            if named.insert(name) && path.exists() {
                films.push(Film::open(&path, run).with_context(|| format!("cannot show {}", path.display()))?);
            }
        }
        let bytes = |film: &Film| 3 * film.width * film.height * film.count.min(MOST_FRAMES);
        let all: usize = films.iter().map(bytes).sum();
        let first = (1..).find(|n| all / (n * n) <= BEST_RATIO * MOST_BYTES).unwrap_or(1);
        for shrunk in first.. {
            let mut clips = Clips {
                shrunk,
                ..Clips::default()
            };
            for film in &films {
                let clip = clips.cut(film);
                let clip = clip.with_context(|| format!("cannot show {}", film.path.display()))?;
                clips.clips.push(clip);
            }
            if clips.strips.iter().map(String::len).sum::<usize>() <= MOST_BYTES {
                return Ok(clips);
            }
        }
        unreachable!("of a clip that is shown small enough nothing is left, which is an error")
    }

    fn cut(&mut self, film: &Film) -> Result<Clip> {
        let stride = film.count.div_ceil(MOST_FRAMES);
        let frames: Vec<Vec<u8>> = film.frames()?.into_iter().step_by(stride).collect();
        let (width, height) = (film.width / self.shrunk, film.height / self.shrunk);
        ensure!(
            width > 0 && height > 0,
            "{} × {} pixels are too few",
            film.width,
            film.height
        );
        let strip = |side: usize| -> Vec<u8> {
            let sides = frames.iter().map(|frame| film.side(frame, side, self.shrunk));
            sides.flatten().collect()
        };
        let (strips, size) = (
            (0..film.beside).map(strip).collect::<Vec<_>>(),
            (width, height * frames.len()),
        );
        let (reference, strip) = match &strips[..] {
            [reference, strip] => {
                let differences = strip.iter().zip(reference).map(|(a, b)| a.wrapping_sub(*b));
                let differences: Vec<u8> = differences.collect();
                let reference = self.keep(reference, size, Filter::Adaptive)?;
                // Neighbours of a difference say little about it: predicted from them it would be no smaller.
                (Some(reference), self.keep(&differences, size, Filter::NoFilter)?)
            }
            _ => (None, self.keep(&strips[0], size, Filter::Adaptive)?),
        };
        Ok(Clip {
            run: film.run.clone(),
            strip,
            reference,
            width,
            height,
            count: frames.len(),
            fps: film.fps / stride as f64,
        })
    }

    /// The place of a strip. The uncached clip stands beside every policy's: it is kept once.
    fn keep(&mut self, rgb: &[u8], (width, height): (usize, usize), filter: Filter) -> Result<usize> {
        let uri = data_uri(rgb, width, height, filter)?;
        let known = self.strips.iter().position(|other| *other == uri);
        Ok(known.unwrap_or_else(|| {
            self.strips.push(uri);
            self.strips.len() - 1
        }))
    }
}

impl Film {
    fn open(path: &Path, run: &RunRow) -> Result<Film> {
        let reader = png::Decoder::new(BufReader::new(File::open(path)?)).read_info()?;
        let info = reader.info();
        let (shown, width) = (info.width as usize, run.width as usize);
        ensure!(
            shown == width || shown == 2 * width,
            "it is {shown} pixels wide; expected {width}, or {} with the uncached video beside it",
            2 * width
        );
        let delay = info
            .frame_control()
            .map_or((1, 1), |control| (control.delay_num, control.delay_den));
        Ok(Film {
            path: path.to_path_buf(),
            run: run.run_key.clone(),
            beside: shown / width,
            width,
            height: info.height as usize,
            count: info
                .animation_control()
                .map_or(1, |control| control.num_frames as usize),
            fps: f64::from(delay.1) / f64::from(delay.0.max(1)),
        })
    }

    /// `// [t]` of `[h, w, c]`, all that stand beside one another included.
    fn frames(&self) -> Result<Vec<Vec<u8>>> {
        let mut reader = png::Decoder::new(BufReader::new(File::open(&self.path)?)).read_info()?;
        let bytes = 3 * self.beside * self.width * self.height;
        (0..self.count)
            .map(|_| {
                let mut frame = vec![0; reader.output_buffer_size().context("its frames are too large")?];
                let found = reader.next_frame(&mut frame)?.buffer_size();
                ensure!(
                    found == bytes,
                    "a frame holds {found} bytes, expected {bytes} of 8-bit RGB"
                );
                Ok(frame)
            })
            .collect()
    }

    /// One of the videos that stand beside one another, as the mean over squares of `n` pixels.
    fn side(&self, frame: &[u8], side: usize, n: usize) -> Vec<u8> {
        let row = 3 * self.beside * self.width;
        let at = |x: usize, y: usize, c: usize| u32::from(frame[y * row + 3 * (side * self.width + x) + c]);
        let (width, height, area) = (self.width / n, self.height / n, (n * n) as u32);
        let mut pixels = Vec::with_capacity(3 * width * height);
        for (y, x, c) in (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (y, x, c)))) {
            let square = (0..n * n).map(|i| at(x * n + i % n, y * n + i / n, c));
            pixels.push(((square.sum::<u32>() + area / 2) / area) as u8);
        }
        pixels
    }
}

fn data_uri(rgb: &[u8], width: usize, height: usize, filter: Filter) -> Result<String> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(filter);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Frames;
    use crate::video;

    /// Two frames of 2 × 4 pixels of one grey a frame.
    fn greys(greys: [f32; 2]) -> Frames {
        Frames::new(2, 2, 4, greys.iter().flat_map(|&grey| [grey; 24]).collect()).unwrap()
    }

    fn pixels(uri: &str) -> (u32, u32, Vec<u8>) {
        let bytes = BASE64_STANDARD
            .decode(uri.strip_prefix("data:image/png;base64,").unwrap())
            .unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width, info.height, pixels)
    }

    #[test]
    fn a_video_becomes_the_uncached_strip_and_what_the_policy_adds_to_it_pixel_for_pixel() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("videos")).unwrap();
        let (reference, policy) = (greys([0.2, 1.0]), greys([0.0, 0.6]));
        let run = |label: &str| RunRow {
            label: label.into(),
            run_key: label.into(),
            width: 4,
            ..RunRow::default()
        };
        let write = |name: &str, frames: &Frames| {
            video::write_apng(&folder.path().join("videos").join(name), frames, 8).unwrap()
        };
        write("off-prompt0.png", &reference);
        write("step-prompt0.png", &video::beside(&reference, &policy).unwrap());
        let clips = Clips::of(folder.path(), &[run("off"), run("step"), run("unseen")]).unwrap();
        assert_eq!(
            (clips.clips.len(), clips.strips.len()),
            (2, 2),
            "the uncached strip is kept once"
        );
        let step = &clips.clips[1];
        assert_eq!((step.reference, step.strip, step.count, step.fps), (Some(0), 1, 2, 8.0));
        let expected = |greys: [u8; 2]| (4, 4, greys.iter().flat_map(|&grey| [grey; 24]).collect());
        assert_eq!(clips.shrunk, 1);
        assert_eq!(pixels(&clips.strips[0]), expected([51, 255]));
        let added: [u8; 2] = [205, 154]; // 51 + 205 = 0, 255 + 154 = 153, modulo 256
        assert_eq!(pixels(&clips.strips[1]), expected(added));
    }

    #[test]
    fn of_a_long_video_every_nth_frame_is_shown_at_the_same_pace() {
        let folder = tempfile::tempdir().unwrap();
        let count = 2 * MOST_FRAMES + 1;
        let data = (0..count).flat_map(|t| [t as f32 / 255.0; 24]).collect();
        let path = folder.path().join("long.png");
        video::write_apng(&path, &Frames::new(count, 2, 4, data).unwrap(), 15).unwrap();
        let run = RunRow {
            width: 4,
            ..RunRow::default()
        };
        let mut clips = Clips {
            shrunk: 2,
            ..Clips::default()
        };
        let clip = clips.cut(&Film::open(&path, &run).unwrap()).unwrap();
        let shown = count.div_ceil(3);
        assert_eq!((clip.width, clip.height, clip.count, clip.fps), (2, 1, shown, 5.0));
        let expected = (0..shown).flat_map(|t| [3 * t as u8; 6]).collect();
        assert_eq!(pixels(&clips.strips[0]), (2, shown as u32, expected));
    }

    #[test]
    fn a_shrunk_pixel_is_the_mean_of_its_square() {
        let film = Film {
            path: PathBuf::new(),
            run: String::new(),
            beside: 2,
            width: 2,
            height: 2,
            count: 1,
            fps: 1.0,
        };
        let grey = |values: [u8; 8]| values.iter().flat_map(|&value| [value; 3]).collect::<Vec<_>>();
        let frame = grey([0, 10, 100, 100, 20, 30, 200, 200]);
        assert_eq!(film.side(&frame, 0, 2), [15; 3]);
        assert_eq!(film.side(&frame, 1, 2), [150; 3]);
    }

    #[test]
    fn a_video_of_another_size_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("videos")).unwrap();
        video::write_apng(&folder.path().join("videos/off-prompt0.png"), &greys([0.0, 1.0]), 8).unwrap();
        let run = RunRow {
            label: "off".into(),
            width: 3,
            ..RunRow::default()
        };
        let error = format!("{:#}", Clips::of(folder.path(), &[run]).err().unwrap());
        assert!(
            error.contains("off-prompt0.png") && error.contains("expected 3"),
            "{error}"
        );
    }
}
