//! A checkpoint that does not fit is refused with everything that is wrong with it.

use burn::tensor::{Device, FloatDType, Tensor};
use mixcache_core::models::hunyuan::{Hunyuan, HunyuanConfig};
use mixcache_core::models::wan::{Wan, WanConfig};
use mixcache_core::models::{Chain, Config, Prompt};
use mixcache_core::noise::noise;
use mixcache_core::tensors::Latent;
use mixcache_core::weights::{Weights, WeightsError};
use mixcache_policies::chain::Dit;
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};

fn case() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wan/wan_a")
}

fn config() -> WanConfig {
    WanConfig::parse(&fs::read_to_string(case().join("config.json")).unwrap()).unwrap()
}

fn refusal(config: WanConfig, path: &Path) -> String {
    let weights = Weights::open(path).unwrap();
    let loaded = Wan::load(config, weights, &Device::flex(), FloatDType::F32);
    loaded.err().expect("the weights do not fit").to_string()
}

#[test]
fn missing_and_unknown_tensors_are_named() {
    let weights = case().join("original.safetensors");
    let error = refusal(WanConfig { layers: 4, ..config() }, &weights);
    assert!(error.contains("missing: blocks.3.modulation [1, 6, 64]"), "{error}");
    assert!(error.contains("missing: 17 more"), "{error}"); // 27 tensors a block, ten named
    let error = refusal(WanConfig { layers: 2, ..config() }, &weights);
    assert!(error.contains("unknown: blocks.2.cross_attn.k.bias"), "{error}");
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let error = refusal(
        WanConfig {
            text_dim: 32,
            ..config()
        },
        &case().join("diffusers.safetensors"),
    );
    let line = "misshapen: condition_embedder.text_embedder.linear_1.weight: found [64, 48] F32, expected [64, 32]";
    assert!(error.contains(line), "{error}");
}

/// Why a HunyuanVideo of other sizes than the recorded one cannot use its weights.
fn hunyuan_refusal(file: &str, resize: fn(&mut HunyuanConfig)) -> String {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hunyuan/hy_a");
    let mut config = HunyuanConfig::parse(&fs::read_to_string(case.join("config.json")).unwrap()).unwrap();
    resize(&mut config);
    let weights = Weights::open(&case.join(file)).unwrap();
    let loaded = Hunyuan::load(config, weights, &Device::flex(), FloatDType::F32);
    loaded.err().expect("the weights do not fit").to_string()
}

#[test]
fn a_layer_that_is_taken_in_parts_is_named_once_under_the_name_it_has_in_the_file() {
    let error = hunyuan_refusal("original.safetensors", |config| config.double_layers = 3);
    assert!(
        error.contains("missing: double_blocks.2.img_mod.linear.weight [192, 32]"),
        "{error}"
    );
    assert!(error.contains("missing: 14 more"), "{error}"); // 24 tensors a double block, ten named
    let error = hunyuan_refusal("original.safetensors", |config| config.mlp_dim = 96);
    let line = "misshapen: double_blocks.0.img_mlp.fc1.weight: found [64, 32] F32, expected [96, 32]";
    assert!(error.contains(line), "{error}");
    // Three tensors in each of four streams; of a single block two weights and a bias, taken in six parts.
    assert!(error.contains("misshapen: 8 more"), "{error}");
    let error = hunyuan_refusal("diffusers.safetensors", |config| config.single_layers = 1);
    assert!(
        error.contains("unknown: single_transformer_blocks.1.attn.norm_k.weight"),
        "{error}"
    );
    let error = hunyuan_refusal("diffusers.safetensors", |config| config.pooled_dim = 10);
    let line = "misshapen: time_text_embed.text_embedder.linear_1.weight: found [32, 12] F32, expected [32, 10]";
    assert!(error.contains(line), "{error}");
}

/// What a model of the recorded case predicts from these weights.
fn predicted(config: &Config, weights: Weights) -> Vec<f32> {
    let device = Device::flex();
    let model = config.clone().load(weights, &device, FloatDType::F32).unwrap();
    let (width, pooled) = config.text_widths();
    let prompt = Prompt {
        states: Tensor::full([1, 3, width], 0.5, &device),
        pooled: Tensor::full([1, pooled.unwrap_or(width)], 0.5, &device),
    };
    let cond = model.condition(prompt, 6.0).unwrap();
    let chain = model.on([2, 4, 4], 1, 3).unwrap();
    let shape = chain.latent_shape();
    let latent = Latent::from_host(noise(3, &shape), shape, &device);
    let (hidden, ctx) = chain.embed(&latent, 500.0, &cond);
    let hidden = (0..chain.units().len()).fold(hidden, |hidden, i| chain.unit(i, hidden, &ctx));
    chain.head(hidden, &ctx).to_host()
}

#[test]
fn a_prefix_that_savers_put_in_front_of_every_key_changes_nothing() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prefixed.safetensors");
    for (case, file, prefix) in [
        ("wan/wan_a", "original.safetensors", "net."),
        ("wan/wan_a", "original.safetensors", "model."),
        ("wan/wan_a", "diffusers.safetensors", "model.model."),
        ("hunyuan/hy_a", "original.safetensors", "model.diffusion_model."),
    ] {
        let text = fs::read_to_string(golden.join(case).join("config.json")).unwrap();
        let config = match case {
            "wan/wan_a" => Config::Wan(WanConfig::parse(&text).unwrap()),
            _ => Config::Hunyuan(HunyuanConfig::parse(&text).unwrap()),
        };
        let plain = golden.join(case).join(file);
        let bytes = fs::read(&plain).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter();
        let prefixed = tensors.map(|(key, view)| (format!("{prefix}{key}"), view));
        safetensors::serialize_to_file(prefixed, None, &path).unwrap();
        let [plain, prefixed] = [&plain, &path].map(|path| predicted(&config, Weights::open(path).unwrap()));
        assert_eq!(plain, prefixed, "{case}/{file}");
    }
    // Refused, it is still told by what lies behind the prefix.
    let error = Config::Wan(config()).load(Weights::open(&path).unwrap(), &Device::flex(), FloatDType::F32);
    let error = error.err().expect("HunyuanVideo is no Wan").to_string();
    assert!(
        error.contains("they look like HunyuanVideo in its authors' keys"),
        "{error}"
    );
}

#[test]
fn a_file_cut_short_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.safetensors");
    let bytes = fs::read(case().join("original.safetensors")).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = Weights::open(&path).err().expect("a byte is missing");
    assert!(matches!(error, WeightsError::Format { .. }), "{error}");
    assert!(error.to_string().contains("cut.safetensors"), "{error}");
}

#[test]
fn a_folder_must_hold_one_checkpoint() {
    let error = Weights::open(&case()).err().expect("three files, no index");
    assert!(
        error.to_string().contains("3 `.safetensors` files without an index"),
        "{error}"
    );
}

#[test]
fn an_index_must_name_files_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    for (map, expected) in [
        ("", "its `weight_map` is empty"),
        (r#""x": "../x.safetensors""#, "it names the shard `../x.safetensors`"),
        (r#""x": "/x.safetensors""#, "it names the shard `/x.safetensors`"),
    ] {
        let index = format!(r#"{{"weight_map": {{{map}}}}}"#);
        fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        let error = Weights::open(folder.path()).err().expect("no shard").to_string();
        assert!(
            error.contains(expected) && error.contains("model.safetensors.index.json"),
            "{error}"
        );
    }
}

#[test]
fn shards_are_found_by_their_index() {
    let folder = tempfile::tempdir().unwrap();
    let shard = "model-00001-of-00001.safetensors";
    fs::copy(case().join("diffusers.safetensors"), folder.path().join(shard)).unwrap();
    fs::copy(case().join("io.safetensors"), folder.path().join("other.safetensors")).unwrap();
    let index = format!(r#"{{"weight_map": {{"proj_out.bias": "{shard}"}}}}"#);
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let weights = Weights::open(folder.path()).unwrap();
    assert!(Wan::load(config(), weights, &Device::flex(), FloatDType::F32).is_ok());
}
