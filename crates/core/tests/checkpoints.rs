//! From a download to a model: names, shapes, shards, both key layouts, and what is said of a download that is wrong.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use mixcache_core::fake::{self, components, tiny};
use mixcache_core::inventory::{Asked, KeyLayout, by_tensor};
use mixcache_core::models::{Chain, Config, Model, Prompt};
use mixcache_core::noise::noise;
use mixcache_core::tensors::Latent;
use mixcache_core::vae::{Vae, VaeConfig};
use mixcache_core::weights::{Weights, WeightsError};
use mixcache_policies::chain::Dit;
use mixcache_policies::plan::TimeSignal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const LAYOUTS: [KeyLayout; 2] = [KeyLayout::Original, KeyLayout::Diffusers];
const PUBLISHED: [(&str, usize); 4] = [
    ("wan2.1-t2v-1.3b", 1_418_996_800),
    ("wan2.1-t2v-14b", 14_288_491_584),
    ("hunyuan-video", 12_821_012_544),
    ("cogvideox-5b", 5_570_283_072),
];
/// A model, what its autoencoder is recorded as, and the number of its parameters in diffusers.
const AUTOENCODERS: [(&str, &str, usize); 3] = [
    ("wan2.1-t2v-1.3b", "wan2.1-vae", 126_892_531),
    ("hunyuan-video", "hunyuan-video-vae", 246_478_803),
    ("cogvideox-5b", "cogvideox-5b-vae", 215_583_907),
];

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// Names and shapes in the file, of all that is asked for.
fn shapes(asked: &[Asked]) -> BTreeMap<String, Vec<usize>> {
    let tensors = by_tensor(asked).into_iter();
    tensors
        .map(|(key, parts)| (key.to_string(), parts[0].file_shape()))
        .collect()
}

/// Names and shapes in the recorded lists' form, with how many there are of each.
fn counted(asked: &[Asked]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (key, shape) in shapes(asked) {
        *counts.entry(format!("{} {shape:?}", of_any_block(&key))).or_default() += 1;
    }
    counts.iter().map(|(tensor, n)| format!("{n} × {tensor}")).collect()
}

/// The list that was recorded of a model.
fn recorded(name: &str) -> Vec<String> {
    let list = fs::read_to_string(golden(&format!("keys/{name}.txt"))).unwrap();
    let mut lines: Vec<String> = list.lines().map(str::to_string).collect();
    lines.sort_by_key(|line| line.split_once("× ").unwrap().1.to_string());
    lines
}

/// `blocks.7.…` as `blocks.N.…`, as the recorded lists have it.
fn of_any_block(key: &str) -> String {
    let mut parts: Vec<&str> = key.split('.').collect();
    for i in 1..parts.len() {
        let is_list = parts[i - 1].ends_with("blocks") || parts[i - 1] == "resnets";
        if is_list && parts[i].parse::<usize>().is_ok() {
            parts[i] = "N";
        }
    }
    parts.join(".")
}

#[test]
fn published_checkpoints_have_the_tensors_that_diffusers_gives_these_models() {
    for (name, _) in PUBLISHED {
        let asked = Config::preset(name).unwrap().inventory(KeyLayout::Diffusers);
        assert_eq!(counted(&asked), recorded(name), "{name}");
    }
    for (model, name, parameters) in AUTOENCODERS {
        let asked = VaeConfig::published(&Config::preset(model).unwrap()).inventory(KeyLayout::Diffusers);
        assert_eq!(counted(&asked), recorded(name), "{name}");
        assert_eq!(asked.iter().map(Asked::len).sum::<usize>(), parameters, "{name}");
    }
}

#[test]
fn the_tensors_of_either_layout_hold_the_published_number_of_parameters_and_no_gap() {
    for (name, parameters) in PUBLISHED {
        for layout in LAYOUTS {
            let asked = Config::preset(name).unwrap().inventory(layout);
            let held: usize = shapes(&asked)
                .values()
                .map(|shape| shape.iter().product::<usize>())
                .sum();
            let asked_for: usize = asked.iter().map(Asked::len).sum();
            assert_eq!((held, asked_for), (parameters, parameters), "{name}, {layout:?}");
        }
    }
}

#[test]
fn recorded_checkpoints_of_the_authors_and_of_diffusers_hold_what_is_asked_for_and_nothing_else() {
    for (case, layouts) in [
        ("wan/wan_a", &LAYOUTS[..]),
        ("hunyuan/hy_a", &LAYOUTS[..]),
        ("cogvideox/cog_a", &LAYOUTS[1..]),
    ] {
        let config = Config::parse(&fs::read_to_string(golden(case).join("config.json")).unwrap()).unwrap();
        for layout in layouts {
            let file = match layout {
                KeyLayout::Original => "original.safetensors",
                KeyLayout::Diffusers => "diffusers.safetensors",
            };
            let weights = Weights::open(&golden(case).join(file)).unwrap();
            let held: BTreeMap<String, Vec<usize>> = weights
                .keys()
                .map(|key| (key.to_string(), weights.shape(key).unwrap().to_vec()))
                .collect();
            assert_eq!(shapes(&config.inventory(*layout)), held, "{case}, {layout:?}");
        }
    }
}

/// A tiny checkpoint of a published model.
fn faked(name: &str, layout: KeyLayout) -> TempDir {
    let (root, full) = (TempDir::new().unwrap(), Config::preset(name).unwrap());
    for component in components(&tiny(&full), &full, layout) {
        fake::write(&component, root.path(), 5).unwrap();
    }
    root
}

/// Where diffusers keeps the transformer, or the authors.
fn transformer(root: &Path) -> PathBuf {
    let own = root.join("transformer");
    if own.is_dir() { own } else { root.to_path_buf() }
}

/// What the model in a checkpoint predicts for one latent.
fn prediction(root: &Path) -> Vec<f32> {
    let config = Config::beside(&transformer(root)).unwrap().expect("a config.json");
    let weights = Weights::open(&transformer(root)).unwrap();
    assert_eq!(weights.note(fake::NOTE), Some("seed 5"));
    predicted(weights, config, FloatDType::F32)
}

/// The same of weights that are open.
fn predicted(weights: Weights, config: Config, dtype: FloatDType) -> Vec<f32> {
    let device = Device::flex();
    let text_tokens = 3;
    let (width, pooled) = config.text_widths();
    let random = |seed, shape: [usize; 3]| Tensor::<3>::from_data(TensorData::new(noise(seed, &shape), shape), &device);
    let prompt = Prompt {
        states: random(1, [1, text_tokens, width]),
        pooled: random(2, [1, 1, pooled.unwrap_or(1)]).squeeze_dim(1),
    };
    let model = config.load(weights, &device, dtype).unwrap();
    let cond = model.condition(prompt, 6.0).unwrap();
    let chain = model.on([2, 4, 4], 1, text_tokens).unwrap();
    let shape = chain.latent_shape();
    let latent = Latent::from_host(noise(3, &shape), shape, &device);
    let (hidden, ctx) = chain.embed(&latent, 500.0, &cond);
    let hidden = (0..chain.units().len()).fold(hidden, |hidden, i| chain.unit(i, hidden, &ctx));
    chain.head(hidden, &ctx).to_host()
}

#[test]
fn a_tiny_checkpoint_of_each_model_loads_like_a_real_one_and_is_the_same_model_in_either_layout() {
    for (name, _) in PUBLISHED {
        let [original, diffusers] = LAYOUTS.map(|layout| prediction(faked(name, layout).path()));
        assert!(original.iter().all(|x| x.is_finite()), "{name}");
        assert!(original.iter().any(|x| x.abs() > 0.01), "{name}");
        assert_eq!(original, diffusers, "{name}");
    }
}

#[test]
fn the_autoencoder_of_a_tiny_checkpoint_decodes_its_latents() {
    for (name, _, _) in AUTOENCODERS {
        let (root, model) = (faked(name, KeyLayout::Diffusers), Config::preset(name).unwrap());
        let vae = Vae::open(&model, &root.path().join("vae"), &Device::flex()).unwrap();
        let shape = [1, model.latent_channels(), 3, 2, 3];
        let frames = vae.decode(&Latent::from_host(noise(3, &shape), shape, &Device::flex()));
        assert_eq!(frames.dims(), [9, 16, 24, 3], "{name}");
        let values: Vec<f32> = frames.into_data().try_to_vec().unwrap();
        assert!(values.iter().all(|x| x.is_finite()) && values[0] != values[1], "{name}");
    }
}

/// Names of the weight files of a checkpoint's transformer.
fn files(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(transformer(root)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".safetensors")).collect();
    names.sort();
    names
}

#[test]
fn a_tiny_checkpoint_is_cut_where_the_published_one_is() {
    let whole = faked("wan2.1-t2v-1.3b", KeyLayout::Original);
    assert_eq!(files(whole.path()), ["diffusion_pytorch_model.safetensors"]);
    let cut = faked("wan2.1-t2v-14b", KeyLayout::Original);
    let names = files(cut.path());
    // 57 GB in files of at most ten.
    assert!((6..=8).contains(&names.len()), "{names:?}");
    assert_eq!(
        names[0],
        format!("diffusion_pytorch_model-00001-of-{:05}.safetensors", names.len())
    );
}

#[test]
fn a_download_that_lacks_a_file_says_how_many_and_which() {
    let root = faked("hunyuan-video", KeyLayout::Diffusers);
    let names = files(root.path());
    fs::remove_file(transformer(root.path()).join(&names[1])).unwrap();
    let error = Weights::open(&transformer(root.path()))
        .err()
        .expect("a file is missing");
    assert!(matches!(error, WeightsError::Partial { missing: 1, .. }), "{error}");
    assert!(error.to_string().contains(&names[1]), "{error}");
}

#[test]
fn a_checkpoint_of_another_model_or_size_says_what_it_looks_like() {
    let refusal = |config: &Config, root: &Path| {
        let weights = Weights::open(&transformer(root)).unwrap();
        let loaded = config.clone().load(weights, &Device::flex(), FloatDType::F32);
        loaded.err().expect("the weights do not fit").to_string()
    };
    let tiny = |name| tiny(&Config::preset(name).unwrap());
    let wan = tiny("wan2.1-t2v-1.3b");
    for (name, layout, found) in [
        (
            "hunyuan-video",
            KeyLayout::Original,
            "HunyuanVideo in its authors' keys, 2 + 3 blocks of width 64",
        ),
        (
            "hunyuan-video",
            KeyLayout::Diffusers,
            "HunyuanVideo in diffusers' keys, 2 + 3 blocks of width 64",
        ),
        (
            "cogvideox-5b",
            KeyLayout::Original,
            "CogVideoX in its authors' keys, 4 blocks of width 64",
        ),
        (
            "cogvideox-5b",
            KeyLayout::Diffusers,
            "CogVideoX in diffusers' keys, 4 blocks of width 64",
        ),
    ] {
        let error = refusal(&wan, faked(name, layout).path());
        let line = format!("they look like {found}; expected was Wan, 4 blocks of width 64");
        assert!(error.contains(&line), "{error}");
    }
    let Config::Wan(sizes) = wan else {
        unreachable!("preset of Wan")
    };
    let deeper = Config::Wan(mixcache_core::models::wan::WanConfig { layers: 6, ..sizes });
    let error = refusal(&deeper, faked("wan2.1-t2v-1.3b", KeyLayout::Original).path());
    assert!(
        error.contains("look like Wan in its authors' keys, 4 blocks of width 64; expected was Wan, 6 blocks"),
        "{error}"
    );
    let error = refusal(
        &tiny("hunyuan-video"),
        faked("wan2.1-t2v-14b", KeyLayout::Diffusers).path(),
    );
    assert!(error.contains("look like Wan in diffusers' keys"), "{error}");
}

#[test]
fn the_config_of_a_model_that_is_not_supported_is_refused_by_its_name() {
    let root = TempDir::new().unwrap();
    fs::write(
        root.path().join("config.json"),
        r#"{"_class_name": "LTXVideoTransformer3DModel", "num_layers": 28}"#,
    )
    .unwrap();
    let error = Config::beside(root.path()).unwrap_err().to_string();
    assert!(
        error.contains("config.json: this is a LTXVideoTransformer3DModel"),
        "{error}"
    );
}

#[test]
fn a_pass_of_two_experts_is_the_pass_of_one_of_them() {
    let (root, device, dtype) = (
        faked("wan2.2-t2v-a14b", KeyLayout::Diffusers),
        Device::flex(),
        FloatDType::F32,
    );
    let folders = ["transformer", "transformer_2"].map(|folder| root.path().join(folder));
    let weights = |folder: &PathBuf| Weights::open(folder).unwrap();
    let expert = Config::beside(&folders[0]).unwrap().unwrap();
    let [high, low] = [0, 1].map(|i| expert.clone().load(weights(&folders[i]), &device, dtype).unwrap());
    let pair = folders.each_ref().map(weights);
    let both = expert.of_experts().unwrap().load_experts(pair, &device, dtype).unwrap();

    let random = |shape: [usize; 3]| Tensor::<3>::from_data(TensorData::new(noise(1, &shape), shape), &device);
    let (states, pooled) = (random([1, 6, 48]), Tensor::zeros([1, 1], &device));
    let prompt = Prompt { states, pooled };
    let shape = [1, 16, 1, 4, 4];
    let latent = Latent::from_host(noise(2, &shape), shape, &device);
    let pass = |model: &Model, timestep: f32| {
        let chain = model.on([1, 4, 4], 1, 6).unwrap();
        let cond = model.condition(prompt.clone(), 1.0).unwrap();
        let (hidden, ctx) = chain.embed(&latent, timestep, &cond);
        let hidden = (0..chain.units().len()).fold(hidden, |hidden, i| chain.unit(i, hidden, &ctx));
        chain.head(hidden, &ctx).to_host()
    };
    for (timestep, its, other) in [
        (999.0, &high, &low),
        (875.0, &high, &low),
        (874.0, &low, &high),
        (1.0, &low, &high),
    ] {
        assert_eq!(pass(&both, timestep), pass(its, timestep), "{timestep}");
        assert_ne!(pass(&both, timestep), pass(other, timestep), "{timestep}");
    }

    let timesteps = [999.0, 880.0, 875.0, 874.0, 300.0];
    assert_eq!(both.on([1, 4, 4], 1, 6).unwrap().switches(&timesteps), [3]);
    let signals = |model: &Model, timesteps: &[f32]| {
        let chain = model.on([1, 4, 4], 1, 6).unwrap();
        chain.time_signals(TimeSignal::Projection, timesteps)
    };
    let each = [signals(&high, &timesteps[..3]), signals(&low, &timesteps[3..])].concat();
    assert_eq!(signals(&both, &timesteps), each);
}

#[test]
fn blocks_that_stay_on_the_host_compute_the_same_bit_for_bit() {
    for (name, _) in PUBLISHED {
        let root = faked(name, KeyLayout::Diffusers);
        let folder = transformer(root.path());
        for dtype in [FloatDType::F32, FloatDType::BF16] {
            let [resident, offloaded] = [false, true].map(|offload| {
                let weights = Weights::open(&folder).unwrap();
                let weights = if offload { weights.offloaded() } else { weights };
                predicted(weights, Config::beside(&folder).unwrap().unwrap(), dtype)
            });
            assert_eq!(resident, offloaded, "{name}, {dtype:?}");
        }
    }
}
