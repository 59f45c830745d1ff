//! What the frames of a clip go through before they are measured: nothing, eight bits, or a codec.
//!
//! Published numbers are often of clips that were written as H.264 and read back. That changes every metric of frames, so
//! whoever compares with them sends both clips, the policy's and the uncached one, the same way.

mod h264;

use super::Frames;
use crate::video::to_byte;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// libx264's quality where none is named: imageio turns its default quality of 5 (of 10) into `int(0.5 · 51)`. So write
/// diffusers' `export_to_video` and HunyuanVideo's `save_videos_grid`. Wan's `cache_video` asks for quality 8: 10.
const CRF: u8 = 25;
/// The coarsest that libx264 knows for eight bits.
const CRF_MOST: u8 = 51;

/// What frames go through. Written `8-bit`, `h264` or, with another quality, `h264:10`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Through {
    /// Values are rounded to the nearest of 256, as by diffusers' `numpy_to_pil` and by our lossless clips. Wan's and
    /// HunyuanVideo's writers cut off instead, which darkens both clips by half a level.
    EightBit,
    /// Eight bits, then libx264 at this constant rate factor, as 4:2:0, and back.
    H264 {
        /// 0 (finest) to 51.
        crf: u8,
    },
}

impl Through {
    /// The frames as they come out.
    ///
    /// # Errors
    /// If a value is not finite, which no byte can say; if `ffmpeg` is not there, or refuses.
    pub fn frames(self, frames: &Frames, fps: u16) -> Result<Frames> {
        frames.ensure_finite()?;
        let mut bytes: Vec<u8> = frames.data.iter().map(|&x| to_byte(x)).collect();
        if let Through::H264 { crf } = self {
            bytes = h264::coded(&bytes, frames.size(), fps, crf).with_context(|| format!("`through = \"{self}\"`"))?;
        }
        let data = bytes.into_iter().map(|byte| f32::from(byte) / 255.0).collect();
        Frames::new(frames.count, frames.height, frames.width, data)
    }

    /// Whether it works here, by sending a small clip.
    ///
    /// # Errors
    /// As of [`Through::frames`].
    pub fn check(self) -> Result<()> {
        let [count, side] = [2, 16];
        let grey = Frames::new(count, side, side, vec![0.5; count * side * side * 3])?;
        self.frames(&grey, 16).map(drop)
    }

    /// The program that the outcome depends on, with its version.
    pub fn program(self) -> Option<String> {
        match self {
            Through::EightBit => None,
            Through::H264 { .. } => Some(h264::version().unwrap_or("ffmpeg, unknown".into())),
        }
    }

    /// For readers: `8 bits`; `H.264, CRF 25`.
    pub fn in_words(self) -> String {
        match self {
            Through::EightBit => "8 bits".into(),
            Through::H264 { crf } => format!("H.264, CRF {crf}"),
        }
    }
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Through::EightBit => write!(f, "8-bit"),
            Through::H264 { crf } => write!(f, "h264:{crf}"),
        }
    }
}

impl FromStr for Through {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Through> {
        let found = match text.split_once(':') {
            None if text == "8-bit" => Some(Through::EightBit),
            None if text == "h264" => Some(Through::H264 { crf: CRF }),
            Some(("h264", crf)) => crf.parse().ok().map(|crf| Through::H264 { crf }),
            _ => None,
        };
        let found = found.filter(|through| !matches!(through, Through::H264 { crf } if *crf > CRF_MOST));
        found.with_context(|| {
            format!(
                "`through = \"{text}\"`: expected 8-bit, h264 (CRF {CRF}) or h264:CRF with a CRF of 0 to {CRF_MOST}; leave it out for \
                 frames straight from the decoder"
            )
        })
    }
}

impl TryFrom<String> for Through {
    type Error = anyhow::Error;
    fn try_from(text: String) -> Result<Through> {
        text.parse()
    }
}

impl From<Through> for String {
    fn from(through: Through) -> String {
        through.to_string()
    }
}

#[cfg(test)]
mod tests;
