use super::*;
use crate::metrics::Meter;
use crate::schema::RunRow;
use burn::tensor::Device;
use safetensors::SafeTensors;

const GOLDEN: &[u8] = include_bytes!("../../../tests/data/bikes.safetensors");
const VALUES: &str = include_str!("../../../tests/data/bikes.json");

/// A golden clip, every value moved by less than half a level, up and down in turns.
fn moved(name: &str) -> Frames {
    let tensors = SafeTensors::deserialize(GOLDEN).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let [t, h, w, _] = tensor.shape() else {
        panic!("[t, h, w, c]")
    };
    // In another order for the reference, so that the two do not cancel.
    let nudge = |i: usize| [0.45, -0.45, 0.3][(i + usize::from(name == "ref")) % 3];
    let level = |(i, &byte): (usize, &u8)| (f32::from(byte) + nudge(i)) / 255.0;
    let data = tensor.data().iter().enumerate().map(level).collect();
    Frames::new(*t, *h, *w, data).unwrap()
}

fn row(frames: &Frames, reference: &Frames) -> RunRow {
    let mut row = RunRow::default();
    let meter = Meter::new(&Device::flex());
    meter.measure(&mut row, frames, reference).unwrap();
    row
}

fn psnr_db(frames: &Frames, reference: &Frames) -> f64 {
    row(frames, reference).psnr_db.unwrap()
}

fn flat(value: f32) -> Frames {
    Frames::new(2, 16, 16, vec![value; 2 * 16 * 16 * 3]).unwrap()
}

/// The values were measured on clips of bytes: eight bits must give those back, whatever a decoder adds below half a level.
/// The tolerances are those of the metrics' own test.
#[test]
fn through_eight_bits_the_metrics_are_those_that_scripts_measure_on_bytes() {
    let values: serde_json::Value = serde_json::from_str(VALUES).unwrap();
    let through = |name: &str| Through::EightBit.frames(&moved(name), 16).unwrap();
    for distortion in ["blur", "shifted_frame"] {
        let row = row(&through(&format!("dist.{distortion}")), &through("ref"));
        let expected = |key: &str| values["values"][distortion][key].as_f64().unwrap();
        assert!((row.psnr_db.unwrap() - expected("psnr_mean_of_frames")).abs() < 1e-3);
        assert!((row.ssim.unwrap() - expected("ssim_mean_common_metrics")).abs() < 1e-5);
        assert!((row.lpips.unwrap() - expected("lpips_alex_mean")).abs() < 1e-4);
    }
    let straight = psnr_db(&moved("dist.blur"), &moved("ref"));
    let expected = values["values"]["blur"]["psnr_mean_of_frames"].as_f64().unwrap();
    assert!((straight - expected).abs() > 1e-3, "{straight}");
}

#[test]
fn what_differs_by_less_than_a_byte_can_say_becomes_identical() {
    let (reference, near) = (flat(100.0 / 255.0), flat((100.0 + 0.49) / 255.0));
    // 20·log10(255 / 0.49); f32 pixels are off by 3e-8 of 2e-3.
    assert!((psnr_db(&near, &reference) - 54.327).abs() < 1e-2);
    let [reference, near] = [reference, near].map(|frames| Through::EightBit.frames(&frames, 16).unwrap());
    assert_eq!(near, reference);
    assert_eq!(psnr_db(&near, &reference), 100.0);
}

/// 0.5 · 255 = 127.5 and 0.51 · 255 = 130.05: levels 128 and 130, which are 20·log10(255 / 2) apart.
#[test]
fn eight_bits_move_psnr_as_their_levels_do() {
    let [reference, policy] = [0.5, 0.51].map(|value| Through::EightBit.frames(&flat(value), 16).unwrap());
    // f32 pixels, as above.
    assert!((psnr_db(&flat(0.51), &flat(0.5)) - 40.0).abs() < 1e-4);
    assert!((psnr_db(&policy, &reference) - 42.110_2).abs() < 1e-4);
    let beyond = Through::EightBit.frames(&flat(1.2), 16).unwrap();
    assert_eq!(beyond.data[0], 1.0);
}

#[test]
fn a_diverged_clip_is_refused_and_does_not_become_black() {
    let mut frames = flat(0.5);
    frames.data[16 * 16 * 3] = f32::NAN;
    let error = Through::EightBit.frames(&frames, 16).unwrap_err();
    assert_eq!(error.to_string(), "frame 1 holds NaN");
}

#[test]
fn it_is_written_as_it_is_read() {
    let read = |text: &str| text.parse::<Through>();
    for (text, written, words) in [
        ("8-bit", "8-bit", "8 bits"),
        ("h264", "h264:25", "H.264, CRF 25"),
        ("h264:10", "h264:10", "H.264, CRF 10"),
    ] {
        let through = read(text).unwrap();
        assert_eq!(
            (through.to_string().as_str(), through.in_words().as_str()),
            (written, words)
        );
        assert_eq!(read(written).unwrap(), through);
    }
    for wrong in ["h265", "8bit", "h264:52", "h264:-1", "h264:", "8-bit:25", ""] {
        let error = read(wrong).unwrap_err().to_string();
        assert!(
            error.contains(&format!("\"{wrong}\"")) && error.contains("8-bit, h264"),
            "{error}"
        );
    }
}

/// A machine without ffmpeg must say so; one with it must keep what follows.
#[test]
fn h264_keeps_size_order_and_colours_and_is_finer_at_a_lower_crf() {
    let clip = moved("ref");
    let through = |crf: u8, frames: &Frames| Through::H264 { crf }.frames(frames, 16);
    if h264::version().is_none() {
        let error = format!("{:#}", through(25, &clip).unwrap_err());
        assert!(error.contains("cannot run the program `ffmpeg`"), "{error}");
        return;
    }
    let through = |crf: u8, frames: &Frames| through(crf, frames).unwrap();
    let (fine, usual, coarse) = (through(10, &clip), through(25, &clip), through(45, &clip));
    assert_eq!(usual.size(), clip.size());
    assert_eq!(usual, through(25, &clip), "the same bytes a second time");
    let row = row(&usual, &through(25, &clip));
    assert_eq!(
        (row.psnr_db, row.lpips, row.flicker_error),
        (Some(100.0), Some(0.0), Some(0.0))
    );
    let [fine, usual, coarse] = [fine, usual, coarse].map(|frames| psnr_db(&frames, &clip));
    // A wrong order of channels, or of frames, would cost more than 28 dB leave. 3 dB are half the errors.
    assert!(
        fine > usual + 3.0 && usual > coarse + 3.0 && usual > 28.0,
        "{fine} {usual} {coarse}"
    );
    // Frames that brighten one after the other come back in that order; red stays red.
    let brightening: Vec<f32> = (0..6).flat_map(|t| vec![0.1 + 0.15 * t as f32; 32 * 48 * 3]).collect();
    let clip = through(10, &Frames::new(6, 32, 48, brightening).unwrap());
    let firsts: Vec<f32> = (0..6).map(|t| clip.frame(t)[0]).collect();
    assert!(firsts.is_sorted_by(|a, b| a + 0.1 < *b), "{firsts:?}");
    let red: Vec<f32> = [1.0, 0.0, 0.0].repeat(2 * 32 * 32);
    let red = through(10, &Frames::new(2, 32, 32, red).unwrap());
    // Limited range and rounding to bytes cost a few of 255 levels.
    let [r, g, b] = [0, 1, 2].map(|channel| red.data[channel]);
    assert!(r > 0.97 && g < 0.03 && b < 0.03, "{r} {g} {b}");
}

#[test]
fn what_libx264_cannot_code_is_told_in_its_words() {
    let odd = Frames::new(2, 15, 17, vec![0.5; 2 * 15 * 17 * 3]).unwrap();
    let error = format!("{:#}", Through::H264 { crf: 25 }.frames(&odd, 16).unwrap_err());
    let expected = match h264::version() {
        Some(_) => "not divisible by 2",
        None => "cannot run the program `ffmpeg`",
    };
    assert!(error.contains("h264:25") && error.contains(expected), "{error}");
}
