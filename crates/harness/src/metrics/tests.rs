use super::*;
use safetensors::SafeTensors;

const GOLDEN: &[u8] = include_bytes!("../../tests/data/bikes.safetensors");
const VALUES: &str = include_str!("../../tests/data/bikes.json");

fn golden(name: &str) -> Frames {
    let tensors = SafeTensors::deserialize(GOLDEN).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let [t, h, w, _] = tensor.shape() else {
        panic!("[t, h, w, c]")
    };
    let data = tensor.data().iter().map(|&byte| f32::from(byte) / 255.0).collect();
    Frames::new(*t, *h, *w, data).unwrap()
}

fn row(frames: &Frames, reference: &Frames) -> RunRow {
    let mut row = RunRow::default();
    Meter::new(&Device::flex())
        .measure(&mut row, frames, reference)
        .unwrap();
    row
}

fn measured(frames: &Frames, reference: &Frames) -> (f64, f64, f64) {
    let row = row(frames, reference);
    (row.psnr_db.unwrap(), row.psnr_pooled_db.unwrap(), row.ssim.unwrap())
}

fn flat(count: usize, side: usize, value: f32) -> Frames {
    Frames::new(count, side, side, vec![value; count * side * side * 3]).unwrap()
}

/// PSNR 1e-3 dB and SSIM 1e-5: what a table prints; f32 pixels cost about 1e-6 of either.
#[test]
fn psnr_and_ssim_agree_with_the_scripts_published_tables_come_from() {
    let values: serde_json::Value = serde_json::from_str(VALUES).unwrap();
    for (distortion, expected) in values["values"].as_object().unwrap() {
        let frames = golden(&format!("dist.{distortion}"));
        let (psnr, pooled, ssim) = measured(&frames, &golden("ref"));
        let number = |key: &str| expected[key].as_f64().unwrap();
        assert!(
            (psnr - number("psnr_mean_of_frames")).abs() < 1e-3,
            "{distortion}: {psnr}"
        );
        assert!(
            (pooled - number("psnr_from_mean_mse")).abs() < 1e-3,
            "{distortion}: {pooled}"
        );
        assert!(
            (ssim - number("ssim_mean_common_metrics")).abs() < 1e-5,
            "{distortion}: {ssim}"
        );
    }
}

/// 1e-4 is what a table prints; half-precision weights cost up to 3e-5 on these clips.
#[test]
fn lpips_agrees_with_its_authors_package() {
    let values: serde_json::Value = serde_json::from_str(VALUES).unwrap();
    for (distortion, expected) in values["values"].as_object().unwrap() {
        let lpips = row(&golden(&format!("dist.{distortion}")), &golden("ref"))
            .lpips
            .unwrap();
        let expected = expected["lpips_alex_mean"].as_f64().unwrap();
        assert!((lpips - expected).abs() < 1e-4, "{distortion}: {lpips} and {expected}");
    }
}

/// More frames than one pass of the network takes.
#[test]
fn lpips_of_a_long_clip_is_the_mean_of_its_frames() {
    let (frames, reference) = (golden("dist.blur"), golden("ref"));
    let long = |clip: &Frames| Frames::new(20, clip.height, clip.width, clip.data.repeat(5)).unwrap();
    let [once, five_times] = [(&frames, &reference), (&long(&frames), &long(&reference))]
        .map(|(frames, reference)| row(frames, reference).lpips.unwrap());
    // f32 sums in another order.
    assert!((once - five_times).abs() < 1e-6 * once, "{once} {five_times}");
}

#[test]
fn identical_frames_have_100_db_and_ssim_1() {
    let frames = golden("ref");
    let (psnr, pooled, ssim) = measured(&frames, &frames);
    assert_eq!((psnr, pooled), (100.0, 100.0));
    // Rounding of E[x²] − E[x]² in f64.
    assert!((ssim - 1.0).abs() < 1e-12, "{ssim}");
    let row = row(&frames, &frames);
    assert_eq!(
        (row.lpips, row.flicker_error, row.warping_error),
        (Some(0.0), Some(0.0), Some(0.0))
    );
}

#[test]
fn an_offset_of_a_tenth_is_20_db() {
    let (psnr, pooled, ssim) = measured(&flat(2, 16, 0.6), &flat(2, 16, 0.5));
    // 0.6 − 0.5 in f32 is off by 2e-8, that is 2e-6 dB.
    assert!((psnr - 20.0).abs() < 1e-5 && (pooled - 20.0).abs() < 1e-5);
    // Without structure only the luminance term is left.
    let expected = (2.0 * 0.6 * 0.5 + 1e-4) / (0.36 + 0.25 + 1e-4);
    assert!((ssim - expected).abs() < 1e-6, "{ssim}");
}

#[test]
fn one_bad_frame_costs_pooled_psnr_more_than_the_mean_of_frames() {
    let mut frames = flat(2, 16, 0.5);
    frames.data[..16 * 16 * 3].fill(0.6);
    let (psnr, pooled, _) = measured(&frames, &flat(2, 16, 0.5));
    assert!((psnr - 60.0).abs() < 1e-5, "mean of 20 and 100: {psnr}");
    // Half the squared error of the bad frame: 20 dB + 10·log10(2).
    assert!((pooled - 23.010_3).abs() < 1e-4, "{pooled}");
}

/// A texture without period that moves `shift` pixels to the right a frame, `offset` brighter in every second frame.
fn moving(count: usize, side: usize, shift: usize, offset: f32) -> Frames {
    let mut data = Vec::new();
    for (t, y, x) in (0..count).flat_map(|t| (0..side * side).map(move |i| (t, i / side, i % side))) {
        let place = (x + 100 - t * shift) as u32 * 7919 + y as u32 * 104_729;
        let value = (place.wrapping_mul(2_654_435_761) >> 24) as f32 / 512.0;
        data.extend([value + offset * (t % 2) as f32; 3]);
    }
    Frames::new(count, side, side, data).unwrap()
}

#[test]
fn flicker_costs_and_a_constant_error_does_not() {
    let reference = moving(4, 32, 2, 0.0);
    let mut brighter = reference.clone();
    brighter.data.iter_mut().for_each(|x| *x += 0.1);
    let errors = |frames: &Frames| {
        let row = row(frames, &reference);
        (row.flicker_error.unwrap(), row.warping_error.unwrap())
    };
    // Rounding of f32 pixels.
    let (flicker, warping) = errors(&brighter);
    assert!(flicker < 1e-6 && warping < 1e-6, "{flicker} {warping}");
    // Every change from frame to frame is off by a tenth.
    let (flicker, warping) = errors(&moving(4, 32, 2, 0.1));
    assert!(
        (flicker - 0.1).abs() < 1e-6 && (warping - 0.1).abs() < 1e-6,
        "{flicker} {warping}"
    );
}

/// An error that sticks to what moves is no error along the motion, but one at a fixed place.
#[test]
fn warping_error_follows_the_motion_of_the_reference() {
    let (count, side) = (4, 32);
    let reference = moving(count, side, 2, 0.0);
    let stuck_to_it = |x: &f32| if *x > 0.25 { *x + 0.1 } else { *x };
    let data = reference.data.iter().map(stuck_to_it).collect();
    let row = row(&Frames::new(count, side, side, data).unwrap(), &reference);
    let (flicker, warping) = (row.flicker_error.unwrap(), row.warping_error.unwrap());
    // The two columns that come into view at the left edge have no origin: a sixteenth of the pixels.
    assert!(warping < flicker / 3.0 && flicker > 0.05, "{flicker} {warping}");
}

#[test]
fn a_single_frame_has_no_temporal_error() {
    let row = row(&flat(1, 16, 0.6), &flat(1, 16, 0.5));
    assert_eq!((row.flicker_error, row.warping_error), (None, None));
}

/// LPIPS from 64 pixels, MS-SSIM from 161: below, the measure would not be the one its name promises.
#[test]
fn metrics_that_need_large_frames_say_nothing_of_small_ones() {
    let at = |side: usize| {
        let row = row(&flat(1, side, 0.6), &flat(1, side, 0.5));
        (row.lpips.is_some(), row.ms_ssim.is_some())
    };
    assert_eq!(
        [63, 64, 160, 161].map(at),
        [(false, false), (true, false), (true, false), (true, true)]
    );
}

/// Without structure only the luminance of the coarsest scale is left, to the power of its weight. Odd sides, too.
#[test]
fn an_offset_costs_ms_ssim_the_luminance_of_the_coarsest_scale() {
    let ms_ssim = row(&flat(1, 163, 0.6), &flat(1, 163, 0.5)).ms_ssim.unwrap();
    let luminance: f64 = (2.0 * 0.6 * 0.5 + 1e-4) / (0.36 + 0.25 + 1e-4);
    // 0.6 − 0.5 in f32 is off by 2e-8.
    assert!((ms_ssim - luminance.powf(0.1333)).abs() < 1e-6, "{ms_ssim}");
}

#[test]
fn frames_smaller_than_the_window_have_no_ssim() {
    let row = row(&flat(1, 10, 0.5), &flat(1, 10, 0.5));
    assert_eq!((row.ssim, row.psnr_db), (None, Some(100.0)));
}

#[test]
fn frames_of_another_size_are_not_cropped_but_refused() {
    let meter = Meter::new(&Device::flex());
    let error = meter.measure(&mut RunRow::default(), &flat(1, 16, 0.5), &flat(2, 16, 0.5));
    let error = error.unwrap_err();
    assert!(error.to_string().contains("[1, 16, 16]"), "{error}");
}

#[test]
fn a_diverged_video_has_no_quality() {
    let mut data = vec![0.5; 2 * 4 * 4 * 3];
    data[60] = f32::NAN;
    assert_eq!(Frames::new(2, 4, 4, data).unwrap_err().to_string(), "frame 1 holds NaN");
}

#[test]
fn the_latent_error_is_relative_to_the_uncached_latent() {
    assert_eq!(relative_l2(&[3.0, 4.0], &[3.0, 4.0]).unwrap(), 0.0);
    assert_eq!(relative_l2(&[6.0, 8.0], &[3.0, 4.0]).unwrap(), 1.0);
    assert!(relative_l2(&[1.0], &[1.0, 2.0]).is_err());
    assert!(relative_l2(&[1.0], &[0.0]).is_err());
}

#[test]
fn every_metric_has_its_column() {
    for metric in METRICS {
        let mut row = RunRow::default();
        *(metric.field)(&mut row) = Some(7.5);
        assert_eq!(serde_json::to_value(row).unwrap()[metric.column], 7.5);
    }
}
