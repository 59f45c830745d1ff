//! The video autoencoders: what holds beyond the recorded numbers.

use burn::tensor::{Device, Tensor};
use mixcache_core::models::Config;
use mixcache_core::models::reference::relative_l2;
use mixcache_core::noise::noise;
use mixcache_core::tensors::Latent;
use mixcache_core::vae::{
    CogVideoXVae, CogVideoXVaeConfig, HunyuanVae, HunyuanVaeConfig, Tiling, Vae, WanVae, WanVaeConfig,
};
use mixcache_core::weights::Weights;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case)
}

fn wan_from(weights: &Path) -> WanVae {
    let config = fs::read_to_string(golden("wan_vae/wanvae_a/config.json")).unwrap();
    let config = WanVaeConfig::parse(&config).unwrap();
    WanVae::load(config, Weights::open(weights).unwrap(), &Device::flex()).unwrap()
}

/// Latents of 4 channels; frames, rows and columns are 2, 4 and 4 of the video.
fn wan() -> WanVae {
    wan_from(&golden("wan_vae/wanvae_a/original.safetensors"))
}

/// Latents of 4 channels; frames, rows and columns are 4, 8 and 8 of the video.
fn hunyuan() -> HunyuanVae {
    let case = golden("hunyuan_vae/hyvae_a");
    let config = HunyuanVaeConfig::parse(&fs::read_to_string(case.join("config.json")).unwrap()).unwrap();
    let weights = Weights::open(&case.join("diffusers.safetensors")).unwrap();
    HunyuanVae::load(config, weights, &Device::flex()).unwrap()
}

/// Latents of 4 channels; frames, rows and columns are 4, 8 and 8 of the video.
fn cogvideox() -> CogVideoXVae {
    let case = golden("cogvideox_vae/cogvae_a");
    let config = CogVideoXVaeConfig::parse(&fs::read_to_string(case.join("config.json")).unwrap()).unwrap();
    let weights = Weights::open(&case.join("diffusers.safetensors")).unwrap();
    CogVideoXVae::load(config, weights, &Device::flex()).unwrap()
}

fn latent(frames: usize, rows: usize, columns: usize) -> Latent {
    let shape = [1, 4, frames, rows, columns];
    Latent::from_host(noise(7, &shape), shape, &Device::flex())
}

fn floats(video: Tensor<5>) -> Vec<f32> {
    video.into_data().try_to_vec().unwrap()
}

fn frames(latent: &Latent, from: usize, count: usize) -> Latent {
    Latent(latent.0.clone().narrow(2, from, count))
}

#[test]
fn a_frame_of_wan_does_not_depend_on_later_ones() {
    let (vae, whole) = (wan(), latent(5, 4, 6));
    let video = vae.decode(&whole);
    assert_eq!(video.dims(), [1, 3, 9, 16, 24]);
    for count in [1, 3] {
        let begun = floats(vae.decode(&frames(&whole, 0, count)));
        assert_eq!(
            begun,
            floats(video.clone().narrow(2, 0, 2 * count - 1)),
            "{count} latent frames"
        );
    }
    // Encoding is causal too, four frames at a time.
    let encoded = vae.encode(video.clone());
    let begun = vae.encode(video.narrow(2, 0, 5));
    assert_eq!(begun.to_host(), frames(&encoded, 0, 3).to_host());
}

#[test]
fn a_batch_of_cogvideox_does_not_depend_on_later_ones() {
    let (vae, whole) = (cogvideox(), latent(7, 2, 3));
    let video = vae.decode(&whole);
    assert_eq!(video.dims(), [1, 3, 25, 16, 24]);
    for count in [3, 5] {
        let begun = floats(vae.decode(&frames(&whole, 0, count)));
        let expected = floats(video.clone().narrow(2, 0, 4 * count - 3));
        assert_eq!(begun, expected, "{count} latent frames");
    }
    let encoded = vae.encode(video.clone());
    let begun = vae.encode(video.narrow(2, 0, 9));
    assert_eq!(begun.to_host(), frames(&encoded, 0, 3).to_host());
}

#[test]
fn one_tile_that_covers_everything_changes_nothing() {
    let z = latent(2, 4, 6);
    let (mut wan, mut hunyuan, mut cogvideox) = (wan(), hunyuan(), cogvideox());
    let decoded = |wan: &WanVae, hunyuan: &HunyuanVae, cogvideox: &CogVideoXVae| {
        [wan.decode(&z), hunyuan.decode(&z), cogvideox.decode(&z)].map(floats)
    };
    let whole = decoded(&wan, &hunyuan, &cogvideox);
    let tile = |side| Tiling {
        side: [side; 2],
        stride: [side - 8; 2],
    };
    (wan.tiling, hunyuan.tiling, cogvideox.tiling) = (Some(tile(24)), None, Some(tile(48)));
    assert_eq!(decoded(&wan, &hunyuan, &cogvideox), whole);
}

#[test]
fn tiles_of_wan_are_close_to_the_whole_frame() {
    let z = latent(2, 16, 16);
    let mut vae = wan();
    let whole = floats(vae.decode(&z));
    vae.tiling = Some(Tiling {
        side: [48; 2],
        stride: [32; 2],
    });
    let tiled = floats(vae.decode(&z));
    let distance = relative_l2(&tiled, &whole);
    // A tile attends to its own pixels alone, and sees zeros beyond its borders. Tiles out of place would be as far from the
    // whole frame as unrelated pictures are, √2.
    assert!(0.0 < distance && distance < 0.3, "{distance}");
}

#[test]
fn tiles_of_hunyuan_follow_each_other_in_time_without_losing_a_frame() {
    let vae = hunyuan();
    for count in 1..=9 {
        let video = vae.decode(&latent(count, 2, 3));
        assert_eq!(video.dims(), [1, 3, 4 * count - 3, 16, 24], "{count} latent frames");
    }
}

#[test]
fn both_key_layouts_of_wan_are_the_same_autoencoder() {
    let case = golden("wan_vae/wanvae_a");
    let names = fs::read_to_string(case.join("diffusers-names.json")).unwrap();
    let names: BTreeMap<String, String> = serde_json::from_str(&names).unwrap();
    let bytes = fs::read(case.join("original.safetensors")).unwrap();
    let authors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed = names
        .iter()
        .map(|(theirs, ours)| (theirs, authors.tensor(ours).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("diffusers.safetensors");
    safetensors::serialize_to_file::<_, TensorView, _>(renamed, None, &path).unwrap();
    let z = latent(2, 4, 6);
    assert_eq!(floats(wan_from(&path).decode(&z)), floats(wan().decode(&z)));
}

#[test]
fn a_folder_is_read_with_its_configuration_and_a_file_has_the_published_sizes() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("config.json", "config.json"),
        ("original.safetensors", "vae.safetensors"),
    ] {
        fs::copy(golden("wan_vae/wanvae_a").join(from), folder.path().join(to)).unwrap();
    }
    let model = Config::preset("wan2.1-t2v-1.3b").unwrap();
    let open = |path: &Path| Vae::open(&model, path, &Device::flex());
    let vae = open(folder.path()).unwrap();
    assert_eq!((vae.latent_channels(), vae.strides()), (4, [2, 4, 4]));
    let pixels = vae.decode(&latent(2, 3, 4));
    assert_eq!(pixels.dims(), [3, 12, 16, 3]);
    let values: Vec<f32> = pixels.into_data().try_to_vec().unwrap();
    assert!(values.iter().all(|x| (0.0..=1.0).contains(x)));
    let error = open(&folder.path().join("vae.safetensors")).err().unwrap().to_string();
    let line = "encoder.downsamples.0.residual.2.weight: found [8, 8, 3, 3, 3] F32, expected [96, 96, 3, 3, 3]";
    assert!(error.contains(line), "{error}");
}
