//! Frames as AV1 in MP4: small, and every current browser plays it.
//!
//! Lossy, and colours at half the resolution: for looking at, while metrics are of the frames themselves.

use super::to_byte;
use crate::metrics::Frames;
use anyhow::{Context, Result, ensure};
use rav1e::prelude::{
    ChromaSampling, ColorDescription, ColorPrimaries, Config, EncoderConfig, EncoderStatus, FrameType,
    MatrixCoefficients, PixelRange, Rational, SpeedSettings, TransferCharacteristics,
};
use shiguredo_mp4::boxes::{Av01Box, Av1cBox, SampleEntry, VisualSampleEntryFields};
use shiguredo_mp4::mux::{Mp4FileMuxer, Sample};
use shiguredo_mp4::{TrackKind, Uint};
use std::num::NonZeroU32;
use std::path::Path;

/// AV1's quantiser, of 0 to 255: no loss that one sees when a clip plays.
const QUANTIZER: usize = 60;
/// rav1e's fastest preset: the files are small enough with it.
const SPEED: u8 = 10;
/// Parts of a frame that are coded at the same time, whatever the machine, so that equal frames give equal files.
const TILES: usize = 4;
/// `seq_level_idx` of level 5.1, up to 4096 × 2176 at 60 frames a second (AV1 specification, annex A.3).
const LEVEL: u8 = 13;
/// What rav1e puts in front of the frames that are shown together; MP4 leaves it out.
const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0x00];
/// First byte of the part of a packet that describes the whole sequence.
const SEQUENCE_HEADER: u8 = 0x0a;

/// Writes `frames` as an MP4 at `fps` frames a second, 8 bits a channel.
///
/// # Errors
/// If height or width is odd, or the file cannot be written.
pub fn write_mp4(path: &Path, frames: &Frames, fps: u16) -> Result<()> {
    let write = || -> Result<()> {
        let packets = encoded(frames, fps)?;
        Ok(std::fs::write(path, file(&packets, frames, fps)?)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A coded frame.
struct Packet {
    bytes: Vec<u8>,
    is_key: bool,
}

fn encoded(frames: &Frames, fps: u16) -> Result<Vec<Packet>> {
    let [_, height, width] = frames.size();
    ensure!(fps > 0, "0 frames a second");
    ensure!(
        height.is_multiple_of(2) && width.is_multiple_of(2),
        "frames of {height}×{width} pixels: colours are kept for 2×2 pixels, so both must be even"
    );
    let settings = EncoderConfig {
        width,
        height,
        time_base: Rational::new(1, fps.into()),
        bit_depth: 8,
        chroma_sampling: ChromaSampling::Cs420,
        pixel_range: PixelRange::Limited,
        color_description: Some(ColorDescription {
            color_primaries: ColorPrimaries::BT709,
            transfer_characteristics: TransferCharacteristics::BT709,
            matrix_coefficients: MatrixCoefficients::BT709,
        }),
        level_idx: Some(LEVEL),
        low_latency: true, // frames come out in the order they are shown
        quantizer: QUANTIZER,
        tiles: TILES,
        speed_settings: SpeedSettings::from_preset(SPEED),
        ..EncoderConfig::default()
    };
    let mut encoder = Config::new().with_encoder_config(settings).new_context::<u8>()?;
    let mut packets = vec![];
    for t in 0..frames.count {
        let mut frame = encoder.new_frame();
        let planes = planes(frames.frame(t), width);
        for (plane, (values, width)) in frame
            .planes
            .iter_mut()
            .zip(planes.iter().zip([width, width / 2, width / 2]))
        {
            plane.copy_from_raw_u8(values, width, 1);
        }
        encoder.send_frame(frame)?;
    }
    encoder.flush();
    loop {
        match encoder.receive_packet() {
            Ok(packet) => packets.push(Packet {
                is_key: packet.frame_type == FrameType::KEY,
                bytes: packet
                    .data
                    .strip_prefix(&TEMPORAL_DELIMITER)
                    .map_or(packet.data.clone(), <[u8]>::to_vec),
            }),
            Err(EncoderStatus::Encoded) => {}
            Err(EncoderStatus::LimitReached) => return Ok(packets),
            Err(why) => return Err(why.into()),
        }
    }
}

/// Luma, and the two colour differences at half the resolution: BT.709 in its narrow range (ITU-R BT.709-6, items 3.2
/// to 3.5).
///
/// # Shapes
/// - `rgb`: `[h, w, 3]` in [0, 1]
/// - output: `[h, w]`, `[h/2, w/2]`, `[h/2, w/2]`
fn planes(rgb: &[f32], width: usize) -> [Vec<u8>; 3] {
    let luma = |[r, g, b]: [f32; 3]| 0.2126 * r + 0.7152 * g + 0.0722 * b;
    let pixels: Vec<[f32; 3]> = rgb
        .as_chunks::<3>()
        .0
        .iter()
        .map(|pixel| pixel.map(|x| x.clamp(0.0, 1.0)))
        .collect();
    let y = pixels
        .iter()
        .map(|&pixel| to_byte((16.0 + 219.0 * luma(pixel)) / 255.0))
        .collect();
    let (mut cb, mut cr) = (vec![], vec![]);
    for rows in pixels.chunks_exact(2 * width) {
        for x in (0..width).step_by(2) {
            let four = [x, x + 1, width + x, width + x + 1].map(|at| rows[at]);
            let mean: [f32; 3] = std::array::from_fn(|c| four.iter().map(|pixel| pixel[c]).sum::<f32>() / 4.0);
            let difference = |channel: f32, full: f32| to_byte((128.0 + 224.0 * (channel - luma(mean)) / full) / 255.0);
            cb.push(difference(mean[2], 1.8556));
            cr.push(difference(mean[0], 1.5748));
        }
    }
    [y, cb, cr]
}

/// One video track; every packet is shown equally long.
fn file(packets: &[Packet], frames: &Frames, fps: u16) -> Result<Vec<u8>> {
    let mut muxer = Mp4FileMuxer::new()?;
    let mut bytes = muxer.initial_boxes_bytes().to_vec();
    let mut entry = Some(description(packets, frames)?);
    for packet in packets {
        muxer.append_sample(&Sample {
            track_kind: TrackKind::Video,
            sample_entry: entry.take(), // the others are like the first
            keyframe: packet.is_key,
            timescale: NonZeroU32::from(std::num::NonZeroU16::new(fps).context("0 frames a second")?),
            duration: 1,
            composition_time_offset: None,
            data_offset: bytes.len() as u64,
            data_size: packet.bytes.len(),
        })?;
        bytes.extend(&packet.bytes);
    }
    for (offset, part) in muxer.finalize()?.offset_and_bytes_pairs() {
        let offset = offset as usize;
        bytes.resize(bytes.len().max(offset + part.len()), 0);
        bytes[offset..offset + part.len()].copy_from_slice(part);
    }
    Ok(bytes)
}

/// What a player must know before the first frame (AV1 Codec ISO Media File Format Binding, section 2).
fn description(packets: &[Packet], frames: &Frames) -> Result<SampleEntry> {
    let first = packets.first().context("no frames")?;
    // A header of a byte, a length of a byte, and as much.
    let header = match first.bytes.as_slice() {
        [SEQUENCE_HEADER, len, ..] => first.bytes.get(..2 + *len as usize),
        _ => None,
    };
    let pixels = |n: usize| u16::try_from(n).with_context(|| format!("{n} pixels: MP4 counts up to 65535"));
    Ok(SampleEntry::Av01(Av01Box {
        visual: VisualSampleEntryFields {
            data_reference_index: VisualSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
            width: pixels(frames.width)?,
            height: pixels(frames.height)?,
            horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
            vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
            frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
            compressorname: VisualSampleEntryFields::NULL_COMPRESSORNAME,
            depth: VisualSampleEntryFields::DEFAULT_DEPTH,
        },
        av1c_box: Av1cBox {
            seq_profile: Uint::new(0),
            seq_level_idx_0: Uint::new(LEVEL),
            seq_tier_0: Uint::new(0),
            high_bitdepth: Uint::new(0),
            twelve_bit: Uint::new(0),
            monochrome: Uint::new(0),
            chroma_subsampling_x: Uint::new(1),
            chroma_subsampling_y: Uint::new(1),
            chroma_sample_position: Uint::new(0),
            initial_presentation_delay_minus_one: None,
            config_obus: header.context("the encoder gave no sequence header")?.to_vec(),
        },
        unknown_boxes: vec![],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiguredo_mp4::demux::{Input, Mp4FileDemuxer};

    /// A white bar that moves to the right over red.
    fn bar(count: usize, height: usize, width: usize) -> Frames {
        let pixel = |t: usize, x: usize| {
            if (x + width - 4 * t) % width < 8 {
                [1.0; 3]
            } else {
                [0.8, 0.1, 0.1]
            }
        };
        let data = (0..count * height * width).flat_map(|i| pixel(i / (height * width), i % width));
        Frames::new(count, height, width, data.collect()).unwrap()
    }

    #[test]
    fn a_file_tells_its_frames_size_and_rate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.mp4");
        write_mp4(&path, &bar(9, 48, 64), 24).unwrap();
        let data = std::fs::read(&path).unwrap();
        let mut demuxer = Mp4FileDemuxer::new();
        demuxer.handle_input(Input {
            position: 0,
            data: &data,
        });
        let tracks = demuxer.tracks().unwrap();
        assert_eq!(tracks.len(), 1);
        assert_eq!((tracks[0].duration, tracks[0].timescale.get()), (9, 24));
        let mut at = 0;
        while let Some(sample) = demuxer.next_sample().unwrap() {
            assert_eq!((sample.timestamp, sample.duration, sample.keyframe), (at, 1, at == 0));
            let bytes = &data[sample.data_offset as usize..][..sample.data_size];
            if let Some(SampleEntry::Av01(entry)) = sample.sample_entry {
                assert_eq!((entry.visual.width, entry.visual.height), (64, 48));
                assert!(bytes.starts_with(&entry.av1c_box.config_obus));
            }
            assert_ne!(bytes[..2], TEMPORAL_DELIMITER);
            at += 1;
        }
        assert_eq!(at, 9);
    }

    #[test]
    fn the_same_frames_give_the_same_file() {
        let made = || file(&encoded(&bar(3, 32, 32), 16).unwrap(), &bar(3, 32, 32), 16).unwrap();
        assert_eq!(made(), made());
    }

    #[test]
    fn colours_are_those_of_the_standard() {
        // Luma and colour differences of BT.709 in 8 bits: white, black, pure red and pure blue.
        for (rgb, expected) in [
            ([1.0; 3], [235, 128, 128]),
            ([0.0; 3], [16, 128, 128]),
            ([1.0, 0.0, 0.0], [63, 102, 240]),
            ([0.0, 0.0, 1.0], [32, 240, 118]),
        ] {
            let [y, cb, cr] = planes(&[rgb; 4].concat(), 2);
            assert_eq!([y[0], cb[0], cr[0]], expected, "{rgb:?}");
            assert_eq!([y.len(), cb.len(), cr.len()], [4, 1, 1]);
        }
    }

    #[test]
    fn an_odd_size_is_refused_with_the_file() {
        let refused = write_mp4(Path::new("odd.mp4"), &bar(1, 33, 64), 16).unwrap_err();
        let shown = format!("{refused:#}");
        assert!(shown.contains("odd.mp4") && shown.contains("33×64"), "{shown}");
    }
}
