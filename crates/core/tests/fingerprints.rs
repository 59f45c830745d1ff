//! The published files, known by a fingerprint: what we ask of a checkpoint is what stands in it, name by name and shape by
//! shape. The fingerprints are those by which DiffSynth-Studio recognises a file that was downloaded
//! (`diffsynth/configs/model_config.py` of modelscope/DiffSynth-Studio, Apache 2.0).

use md5::{Digest, Md5};
use mixcache_core::inventory::KeyLayout::{self, Diffusers, Original};
use mixcache_core::inventory::{Asked, by_tensor};
use mixcache_core::models::Config;
use mixcache_core::text::t5::{T5, T5Config};
use mixcache_core::vae::VaeConfig;

/// `hash_state_dict_keys` of DiffSynth-Studio: every tensor as `name` and as `name:2_3_4`, sorted, parted by commas; in MD5.
/// Every name has `prefix` in front; a file that keeps them under a key of its own has that in front of them all.
fn fingerprint_of(asked: &[Asked], prefix: &str, beneath: &str) -> String {
    let entries = by_tensor(asked).into_iter().flat_map(|(name, parts)| {
        let shape: Vec<String> = parts[0].file_shape().iter().map(usize::to_string).collect();
        [format!("{prefix}{name}"), format!("{prefix}{name}:{}", shape.join("_"))]
    });
    let mut entries: Vec<String> = entries.collect();
    entries.sort();
    let digest = Md5::digest(beneath.to_string() + &entries.join(","));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fingerprint(asked: &[Asked]) -> String {
    fingerprint_of(asked, "", "")
}

fn transformer(model: &str, layout: KeyLayout) -> Vec<Asked> {
    Config::preset(model).unwrap().inventory(layout)
}

fn autoencoder(model: &str, layout: KeyLayout) -> Vec<Asked> {
    VaeConfig::published(&Config::preset(model).unwrap()).inventory(layout)
}

#[test]
fn what_is_asked_of_wan_s_checkpoints_is_in_the_published_files() {
    let small = transformer("wan2.1-t2v-1.3b", Original); // Wan-AI/Wan2.1-T2V-1.3B
    assert_eq!(fingerprint(&small), "9269f8db9040a9d860eaca435be61814");
    let large = transformer("wan2.1-t2v-14b", Original); // Wan-AI/Wan2.1-T2V-14B
    assert_eq!(fingerprint(&large), "aafcfd9672c3a2456dc46e1cb6e52c70");
    let krea = fingerprint_of(&large, "model.", ""); // krea-realtime-video-14b.safetensors
    assert_eq!(krea, "5ec04e02b42d2580483ad69f4e76346a");
    let hub = transformer("wan2.1-t2v-14b", Diffusers); // Wan-AI/Wan2.1-T2V-14B-Diffusers
    assert_eq!(fingerprint(&hub), "cb104773c6c2cb6df4f9529ad5c60d0b");

    let own = autoencoder("wan2.1-t2v-14b", Original); // Wan2.1_VAE.pth
    assert_eq!(fingerprint(&own), "ccc42284ea13e1ad04693284c7a09be6");
    // Qwen/Qwen-Image, vae/: Wan's with numbers of its own.
    let qwen = autoencoder("wan2.1-t2v-14b", Diffusers);
    assert_eq!(fingerprint(&qwen), "ed4ea5824d55ec3107b09815e318123a");
    let umt5 = T5::inventory(&T5Config::umt5_xxl()); // models_t5_umt5-xxl-enc-bf16.pth
    assert_eq!(fingerprint(&umt5), "9c8818c2cbea55eca56c7b447df170da");
}

#[test]
fn what_is_asked_of_hunyuan_video_s_checkpoints_is_in_the_published_files() {
    let own = transformer("hunyuan-video", Original); // mp_rank_00_model_states.pt, and what lies beneath `module` in it
    let whole = fingerprint_of(&own, "", "module|");
    assert_eq!(whole, "b9588f02e78f5ccafc9d7c0294e46308");
    assert_eq!(fingerprint(&own), "84ef4bd4757f60e906b54aa6a7815dc6");
    let decoder = autoencoder("hunyuan-video", Original); // hunyuan-video-t2v-720p/vae/pytorch_model.pt
    assert_eq!(fingerprint(&decoder), "aeb82dce778a03dcb4d726cb03f3c43f");
}

#[test]
fn what_is_asked_of_cogvideox_s_autoencoder_is_in_the_published_file() {
    let decoder = autoencoder("cogvideox-5b", Diffusers); // CogVideoX-5b, vae/
    assert_eq!(fingerprint(&decoder), "280189ee084bca10f70907bf6ce1649d");
}
