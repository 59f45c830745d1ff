//! Checkpoints of eight bits: every code, weights with and without scales, and what is refused.

#[path = "common/torch.rs"]
mod torch;

use burn::tensor::{Device, FloatDType, Tensor};
use mixcache_core::models::hunyuan::{Hunyuan, HunyuanConfig};
use mixcache_core::models::{Chain, Prompt};
use mixcache_core::noise::noise;
use mixcache_core::tensors::Latent;
use mixcache_core::weights::{Loader, Weights};
use mixcache_policies::chain::Dit;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// The codes of a tensor as the loader reads them.
fn read(weights: &Weights, key: &str) -> Vec<f32> {
    let device = Device::flex();
    let mut loader = Loader::files(weights.clone(), std::convert::identity, &device, FloatDType::F32);
    loader.take(key, [256]).into_data().try_to_vec().unwrap()
}

#[test]
fn every_code_is_the_number_that_pytorch_reads_in_it() {
    let weights = Weights::open(&golden("fp8/codes.safetensors")).unwrap();
    for (format, numbers) in [("e4m3", 254), ("e5m2", 248)] {
        let expected = weights.floats(&format!("{format}.float")).unwrap();
        let ours = read(&weights, format);
        assert_eq!(expected.iter().filter(|x| x.is_finite()).count(), numbers);
        for (code, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
            let is_same = ours.to_bits() == expected.to_bits() || ours.is_nan() && expected.is_nan();
            assert!(is_same, "{format}, code {code:#04x}: {ours}, expected {expected}");
        }
    }
    assert!(weights.holds_fp8());
    assert_eq!(weights.floats("e4m3"), None, "a scale may belong to it");
}

/// Type, shape and bytes of the tensors of a file.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn number(x: f32) -> (Dtype, Vec<usize>, Vec<u8>) {
    (Dtype::F32, vec![], floats(&[x]))
}

/// A HunyuanVideo whose blocks' matrices are of eight bits, and the same in f32, each with a scale of its own.
fn hunyuan(format: Dtype, scale: fn(usize) -> f32) -> (Tensors, Tensors) {
    let recorded = Weights::open(&golden("hunyuan/hy_a/original.safetensors")).unwrap();
    let name = if format == Dtype::F8_E4M3 { "e4m3" } else { "e5m2" };
    let codes = Weights::open(&golden("fp8/codes.safetensors")).unwrap();
    let numbers = codes.floats(&format!("{name}.float")).unwrap();
    let small: Vec<u8> = (0..=255).filter(|code| numbers[*code as usize].abs() <= 1.0).collect();
    let (mut coded, mut plain) = (Tensors::new(), Tensors::new());
    for (i, key) in recorded.keys().enumerate() {
        let shape = recorded.shape(key).unwrap().to_vec();
        let whole = (Dtype::F32, shape.clone(), recorded.bytes(key).unwrap().to_vec());
        if shape.len() != 2 || !key.contains("_blocks.") {
            coded.insert(key.into(), whole.clone());
            plain.insert(key.into(), whole);
            continue;
        }
        let count = shape.iter().product::<usize>();
        let bytes: Vec<u8> = (0..count).map(|j| small[(j * 37 + i * 11) % small.len()]).collect();
        let weights: Vec<f32> = bytes.iter().map(|code| numbers[*code as usize] * scale(i)).collect();
        plain.insert(key.into(), (Dtype::F32, shape.clone(), floats(&weights)));
        coded.insert(key.into(), (format, shape, bytes));
        if scale(i) != 1.0 {
            coded.insert(key.replace(".weight", ".scale_weight"), number(scale(i)));
        }
    }
    (coded, plain)
}

fn marked(mut tensors: Tensors) -> Tensors {
    tensors.insert("scaled_fp8".into(), (Dtype::F8_E4M3, vec![2], vec![0, 0]));
    tensors
}

/// ComfyUI's newer names, and what it keeps for products in eight bits.
fn renamed(tensors: Tensors) -> Tensors {
    let mut renamed = Tensors::new();
    for (key, tensor) in tensors {
        let Some(layer) = key.strip_suffix(".scale_weight") else {
            renamed.insert(key, tensor);
            continue;
        };
        renamed.insert(format!("{layer}.weight_scale"), tensor);
        renamed.insert(format!("{layer}.input_scale"), number(3.0));
        let format = br#"{"format": "float8_e4m3fn"}"#.to_vec();
        renamed.insert(format!("{layer}.comfy_quant"), (Dtype::U8, vec![format.len()], format));
    }
    renamed
}

fn write(tensors: &Tensors, path: &Path) {
    let views = tensors
        .iter()
        .map(|(key, (dtype, shape, bytes))| (key, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// What a model of these weights predicts, or why they are refused.
fn predicted(tensors: &Tensors) -> Result<Vec<f32>, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    write(tensors, &path);
    predicted_of(&path)
}

/// The same of weights in a file or folder.
fn predicted_of(path: &Path) -> Result<Vec<f32>, String> {
    let device = Device::flex();
    let config = HunyuanConfig::parse(&fs::read_to_string(golden("hunyuan/hy_a/config.json")).unwrap()).unwrap();
    let weights = Weights::open(path).map_err(|error| error.to_string())?;
    let hunyuan = Hunyuan::load(config, weights, &device, FloatDType::F32).map_err(|error| error.to_string())?;
    let prompt = Prompt {
        states: Tensor::full([1, 3, hunyuan.config().text_dim], 0.5, &device),
        pooled: Tensor::full([1, hunyuan.config().pooled_dim], 0.5, &device),
    };
    let cond = hunyuan.condition(prompt, 6.0).unwrap();
    let chain = hunyuan.on([2, 4, 4], 3).unwrap();
    let shape = chain.latent_shape();
    let latent = Latent::from_host(noise(3, &shape), shape, &device);
    let (hidden, ctx) = chain.embed(&latent, 500.0, &cond);
    let hidden = (0..chain.units().len()).fold(hidden, |hidden, i| chain.unit(i, hidden, &ctx));
    Ok(chain.head(hidden, &ctx).to_host())
}

/// A scale that differs from layer to layer.
fn scaled(i: usize) -> f32 {
    0.02 + 0.001 * i as f32
}

#[test]
fn weights_of_eight_bits_compute_what_their_numbers_do_bit_for_bit() {
    for format in [Dtype::F8_E4M3, Dtype::F8_E5M2] {
        let (cast, expected) = hunyuan(format, |_| 1.0);
        let expected = predicted(&expected).unwrap();
        assert!(expected.iter().all(|x| x.is_finite()));
        assert_eq!(predicted(&cast).unwrap(), expected, "{format:?}, as cast");

        let (coded, expected) = hunyuan(format, scaled);
        let expected = predicted(&expected).unwrap();
        assert_eq!(
            predicted(&marked(coded.clone())).unwrap(),
            expected,
            "{format:?}, scale_weight"
        );
        assert_eq!(
            predicted(&renamed(coded)).unwrap(),
            expected,
            "{format:?}, weight_scale"
        );
    }
}

#[test]
fn a_scale_that_would_not_be_used_is_refused_with_its_name() {
    const LAYER: &str = "double_blocks.0.img_mlp.fc1";
    let change = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = marked(hunyuan(Dtype::F8_E4M3, scaled).0);
        change(&mut tensors);
        predicted(&tensors).unwrap_err()
    };
    let key = |part: &str| format!("{LAYER}.{part}");
    let error = change(&|tensors| {
        tensors.remove(&key("scale_weight"));
    });
    let line = format!("missing: {LAYER}.scale_weight, since `scaled_fp8` says");
    assert!(error.contains(&line), "{error}");

    let error = change(&|tensors| {
        tensors.insert(key("scale_weight"), (Dtype::F32, vec![64, 1], floats(&[1.0; 64])));
    });
    let line = format!("misshapen: {LAYER}.scale_weight: found [64, 1] F32, expected one number");
    assert!(error.contains(&line), "{error}");

    let error = change(&|tensors| {
        tensors.insert(key("scale_weight"), number(0.0));
    });
    assert!(
        error.contains("found [] F32 = 0, expected one number above 0"),
        "{error}"
    );

    let error = change(&|tensors| {
        tensors.insert(key("weight_scale"), number(2.0));
    });
    assert!(
        error.contains("weight_scale: found two scales of one weight"),
        "{error}"
    );

    // Of a second scale, of a bias, and of a weight that is not of eight bits nothing is known.
    for part in ["weight_scale_2", "scale_bias"] {
        let error = change(&|tensors| {
            tensors.insert(key(part), number(2.0));
        });
        assert!(error.contains(&format!("unknown: {LAYER}.{part}")), "{error}");
    }
    let error = change(&|tensors| {
        tensors.insert("img_in.proj.scale_weight".into(), number(2.0));
    });
    assert!(error.contains("unknown: img_in.proj.scale_weight"), "{error}");
}

#[test]
fn the_authors_weights_of_eight_bits_and_their_scales_are_read_from_their_two_files() {
    let (coded, expected) = hunyuan(Dtype::F8_E4M3, scaled);
    let expected = predicted(&expected).unwrap();
    let (scales, weights): (Tensors, Tensors) = coded.into_iter().partition(|(key, _)| key.ends_with(".scale_weight"));
    let folder = TempDir::new().unwrap();
    let [weights_file, scales_file, safetensors] = [
        "mp_rank_00_model_states_fp8.pt",
        "mp_rank_00_model_states_fp8_map.pt",
        "model.safetensors",
    ]
    .map(|name| folder.path().join(name));
    let save = |tensors: &Tensors, beneath, to: &Path| {
        write(tensors, &safetensors);
        torch::save(&safetensors, beneath, |key| key.replace(".scale_weight", ""), to);
        fs::remove_file(&safetensors).unwrap();
    };
    save(&weights, Some("module"), &weights_file);
    let error = predicted_of(&weights_file).unwrap_err();
    assert!(error.contains("mp_rank_00_model_states_fp8_map.pt"), "{error}");

    save(&scales, None, &scales_file);
    assert_eq!(predicted_of(&weights_file).unwrap(), expected);
    assert_eq!(predicted_of(folder.path()).unwrap(), expected);

    let mut fewer = scales.clone();
    fewer.remove("single_blocks.1.linear2.scale_weight").unwrap();
    save(&fewer, None, &scales_file);
    let error = predicted_of(&weights_file).unwrap_err();
    assert!(error.contains("no scale for `single_blocks.1.linear2`"), "{error}");

    // Beside the weights as they were trained those are taken.
    save(
        &hunyuan(Dtype::F8_E4M3, |_| 1.0).1,
        Some("module"),
        &folder.path().join("mp_rank_00_model_states.pt"),
    );
    let plain = predicted(&hunyuan(Dtype::F8_E4M3, |_| 1.0).1).unwrap();
    assert_eq!(predicted_of(folder.path()).unwrap(), plain);
}
