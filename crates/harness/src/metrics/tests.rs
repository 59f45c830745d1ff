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

fn measured(frames: &Frames, reference: &Frames) -> (f64, f64, f64) {
    let mut row = RunRow::default();
    measure(&mut row, frames, reference).unwrap();
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

#[test]
fn identical_frames_have_100_db_and_ssim_1() {
    let frames = golden("ref");
    let (psnr, pooled, ssim) = measured(&frames, &frames);
    assert_eq!((psnr, pooled), (100.0, 100.0));
    // Rounding of E[x²] − E[x]² in f64.
    assert!((ssim - 1.0).abs() < 1e-12, "{ssim}");
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

#[test]
fn frames_smaller_than_the_window_have_no_ssim() {
    let mut row = RunRow::default();
    measure(&mut row, &flat(1, 10, 0.5), &flat(1, 10, 0.5)).unwrap();
    assert_eq!((row.ssim, row.psnr_db), (None, Some(100.0)));
}

#[test]
fn frames_of_another_size_are_not_cropped_but_refused() {
    let error = measure(&mut RunRow::default(), &flat(1, 16, 0.5), &flat(2, 16, 0.5)).unwrap_err();
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
