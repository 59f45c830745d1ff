//! A checkpoint with an autoencoder beside its transformer: its latents become frames.

mod tiny;
use mixcache_harness::record;
use mixcache_harness::schema::RunRow;
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const EXPERIMENT: &str = r#"
title = "decoded"

[model]
name = "wan-mini"

[video]
frames = 5
height = 32
width = 48

[sampler]
kind = "unipc"
steps = 4
shift = 3.0
guidance = 2.0
full_first = 1
full_last = 1

[runs]
prompts = ["a star spins on red"]
seeds = [7]
cache_budget_gib = 0.1
videos = 1

[[policy]]
kind = "step"
interval = 2
"#;

const CONFIG: &str = r#"{"_class_name": "AutoencoderKLWan", "base_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1,
    "temperal_downsample": [false, true, true], "z_dim": 16, "latents_mean": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    "latents_std": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]}"#;

/// Names and shapes of an autoencoder of [`CONFIG`], in the authors' layout.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut all = vec![];
    let layer = |all: &mut Vec<_>, key: String, weight: &[usize]| {
        all.push((format!("{key}.bias"), vec![weight[0]]));
        all.push((format!("{key}.weight"), weight.to_vec()));
    };
    let residual = |all: &mut Vec<_>, key: String, from: usize, to: usize| {
        all.push((format!("{key}.residual.0.gamma"), vec![from, 1, 1, 1]));
        layer(all, format!("{key}.residual.2"), &[to, from, 3, 3, 3]);
        all.push((format!("{key}.residual.3.gamma"), vec![to, 1, 1, 1]));
        layer(all, format!("{key}.residual.6"), &[to, to, 3, 3, 3]);
        if from != to {
            layer(all, format!("{key}.shortcut"), &[to, from, 1, 1, 1]);
        }
    };
    layer(&mut all, "conv1".into(), &[32, 32, 1, 1, 1]);
    layer(&mut all, "conv2".into(), &[16, 16, 1, 1, 1]);
    for (coder, first, last) in [("encoder", 3, 32), ("decoder", 16, 3)] {
        let key = |part: &str| format!("{coder}.{part}");
        layer(&mut all, key("conv1"), &[4, first, 3, 3, 3]);
        residual(&mut all, key("middle.0"), 4, 4);
        all.push((key("middle.1.norm.gamma"), vec![4, 1, 1]));
        layer(&mut all, key("middle.1.to_qkv"), &[12, 4, 1, 1]);
        layer(&mut all, key("middle.1.proj"), &[4, 4, 1, 1]);
        residual(&mut all, key("middle.2"), 4, 4);
        all.push((key("head.0.gamma"), vec![4, 1, 1, 1]));
        layer(&mut all, key("head.2"), &[last, 4, 3, 3, 3]);
    }
    for block in [0, 2, 4, 6] {
        residual(&mut all, format!("encoder.downsamples.{block}"), 4, 4);
    }
    for block in [1, 3, 5] {
        layer(
            &mut all,
            format!("encoder.downsamples.{block}.resample.1"),
            &[4, 4, 3, 3],
        );
    }
    for block in [3, 5] {
        layer(
            &mut all,
            format!("encoder.downsamples.{block}.time_conv"),
            &[4, 4, 3, 1, 1],
        );
    }
    for (block, from) in [(0, 4), (1, 4), (3, 2), (4, 4), (6, 2), (7, 4), (9, 2), (10, 4)] {
        residual(&mut all, format!("decoder.upsamples.{block}"), from, 4);
    }
    for block in [2, 5, 8] {
        layer(&mut all, format!("decoder.upsamples.{block}.resample.1"), &[2, 4, 3, 3]);
    }
    for block in [2, 5] {
        layer(
            &mut all,
            format!("decoder.upsamples.{block}.time_conv"),
            &[8, 4, 3, 1, 1],
        );
    }
    all
}

/// An untrained autoencoder, the same every time.
fn write_vae(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), CONFIG).unwrap();
    let stored: Vec<(String, Vec<usize>, Vec<u8>)> = tensors()
        .into_iter()
        .map(|(name, shape)| {
            let number = |i: usize| (((i * 37 + name.len() * 11) % 29) as f32 - 14.0) / 40.0;
            let count = shape.iter().product::<usize>();
            let bytes = (0..count).flat_map(|i| number(i).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = stored
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let path = folder.join("diffusion_pytorch_model.safetensors");
    safetensors::serialize_to_file(views, None, &path).unwrap();
}

/// A checkpoint of wan-mini in diffusers' folders, without an autoencoder.
fn checkpoint() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("decoded.toml"), EXPERIMENT).unwrap();
    let transformer = folder.path().join("checkpoint/transformer");
    fs::create_dir_all(&transformer).unwrap();
    let trained = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/models/wan-mini/wan-mini.safetensors");
    fs::copy(trained, transformer.join("wan-mini.safetensors")).unwrap();
    folder
}

/// Whether `mixcache` succeeded, and what it printed.
fn mixcache(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mixcache"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

/// Whether a sweep of the checkpoint succeeded, and what it printed.
fn sweep(folder: &Path) -> (bool, String) {
    mixcache(folder, &["sweep", "decoded.toml", "--weights", "checkpoint"])
}

/// The row of the policy that is not `off`, and the folder of its recording.
fn recorded(folder: &Path) -> (RunRow, PathBuf) {
    let mut recordings = fs::read_dir(folder.join("results/decoded")).unwrap();
    let recording = recordings.next().unwrap().unwrap().path();
    let rows = record::load(&recording).unwrap().0;
    (rows.into_iter().find(|row| row.policy == "step").unwrap(), recording)
}

#[test]
fn latents_become_frames_where_the_checkpoint_has_an_autoencoder() {
    let folder = checkpoint();
    let (done, shown) = sweep(folder.path());
    assert!(done && shown.contains("latents are not decoded (no `vae/`"), "{shown}");
    let (step, recording) = recorded(folder.path());
    assert!(step.error.is_none() && step.latent_rel_l2.is_some() && step.psnr_db.is_none());
    fs::remove_dir_all(recording).unwrap();

    write_vae(&folder.path().join("checkpoint/vae"));
    let (done, shown) = sweep(folder.path());
    assert!(done && !shown.contains("not decoded"), "{shown}");
    let (step, recording) = recorded(folder.path());
    assert!(
        step.error.is_none() && step.psnr_db.is_some() && step.ssim.is_some(),
        "{step:?}"
    );
    assert!(step.weights.ends_with("vae"), "{}", step.weights);
    assert!(recording.join("videos/off-prompt0.png").is_file());
}

#[test]
fn a_prompt_becomes_an_mp4_that_holds_every_frame() {
    let folder = checkpoint();
    let generate = |more: &[&str]| {
        let arguments = [
            "generate",
            "decoded.toml",
            "--weights",
            "checkpoint",
            "--prompt",
            "a red fox",
        ];
        mixcache(folder.path(), &[&arguments[..], more].concat())
    };
    let (done, shown) = generate(&["-o", "clip.mp4"]);
    assert!(!done && shown.contains("no autoencoder"), "{shown}");
    write_vae(&folder.path().join("checkpoint/vae"));
    tiny::t5(&folder.path().join("checkpoint"), "umt5", 64);
    let (done, shown) = generate(&["-o", "clip.mp4", "--policy", "step interval=2"]);
    assert!(done && !shown.contains("SUBSTITUTED"), "{shown}");
    assert!(
        shown.contains("5 frames of 48×32 in clip.mp4") && shown.contains("75 % of the compute"),
        "{shown}"
    );
    let clip = fs::read(folder.path().join("clip.mp4")).unwrap();
    assert_eq!(&clip[4..8], b"ftyp");
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| !name.to_string_lossy().contains("text-states")),
        "{left:?}"
    );
    for (more, expected) in [
        (["-o", "clip.avi"], "ends in .mp4 or .png"),
        (["-oclip.mp4", "--policy=tea"], "step interval=2"),
    ] {
        let (done, shown) = generate(&more);
        assert!(!done && shown.contains(expected), "{shown}");
    }
}

#[test]
fn cogvideox_goes_from_a_prompt_to_an_mp4_by_the_files_of_its_checkpoint() {
    let folder = TempDir::new().unwrap();
    let changes = [
        ("wan-mini", "cogvideox-5b"),
        ("frames = 5", "frames = 9"),
        ("\"unipc\"", "\"dpmpp-sde\""),
        ("shift = 3.0", "shift = 1.0"),
    ];
    let experiment = changes
        .iter()
        .fold(EXPERIMENT.to_string(), |text, (from, to)| text.replace(from, to));
    fs::write(folder.path().join("decoded.toml"), &experiment).unwrap();
    let mixcache = |arguments: &[&str]| mixcache(folder.path(), arguments);
    let (done, shown) = mixcache(&["fake-weights", "cogvideox-5b", "-o", "checkpoint"]);
    assert!(
        done && shown.contains("vae/diffusion_pytorch_model.safetensors"),
        "{shown}"
    );
    tiny::t5(&folder.path().join("checkpoint"), "t5", 48);
    let generate = [
        "generate",
        "decoded.toml",
        "--weights",
        "checkpoint",
        "--prompt",
        "a red fox",
        "--policy",
        "step interval=2",
        "-o",
        "clip.mp4",
    ];
    let (done, shown) = mixcache(&generate);
    assert!(done && shown.contains("9 frames of 48×32 in clip.mp4"), "{shown}");
    assert!(
        !shown.contains("random text") && !shown.contains("not decoded"),
        "{shown}"
    );
    let clip = fs::read(folder.path().join("clip.mp4")).unwrap();
    assert_eq!(&clip[4..8], b"ftyp");
    // Its latent frames are decoded in pairs behind the first.
    fs::write(
        folder.path().join("decoded.toml"),
        experiment.replace("frames = 9", "frames = 13"),
    )
    .unwrap();
    let (done, shown) = mixcache(&generate);
    assert!(
        !done && shown.contains("found 13 frames") && shown.contains("expected 8n + 1 frames"),
        "{shown}"
    );
}

#[test]
fn every_model_makes_a_video_by_its_name_alone() {
    let folder = TempDir::new().unwrap();
    let small = ["--size", "48x32", "--frames", "9", "--steps", "3"];
    let generate = |model: &str, more: &[&str]| {
        let named = ["generate", "--model", model, "--prompt", "a penguin moves left on blue"];
        mixcache(folder.path(), &[&named[..], &["-o", "clip.mp4"], more].concat())
    };
    for model in ["wan-mini", "hunyuan-mini"] {
        let (done, shown) = generate(model, &["--steps", "3"]);
        assert!(
            done && shown.contains("16 frames of 64×64 in clip.mp4"),
            "{model}: {shown}"
        );
    }
    for (model, layout) in [
        ("wan2.1-t2v-1.3b", "original"),
        ("wan2.1-t2v-14b", "diffusers"),
        ("wan2.2-t2v-a14b", "original"),
        ("hunyuan-video", "diffusers"),
        ("cogvideox-5b", "diffusers"),
    ] {
        let (done, shown) = mixcache(folder.path(), &["fake-weights", model, "--layout", layout, "-o", model]);
        assert!(done, "{shown}");
        let weights = [&["--weights", model], &small[..]].concat();
        if layout == "original" {
            let (done, shown) = generate(model, &weights);
            assert!(!done && shown.contains("no autoencoder"), "{model}: {shown}");
            write_vae(&folder.path().join(model).join("vae"));
        }
        let (done, shown) = generate(model, &[&weights[..], &["--policy", "step interval=2"]].concat());
        assert!(done && shown.contains("random weights, seed 0"), "{model}: {shown}");
        let made = "9 frames of 48×32 in clip.mp4";
        let resident = fs::read(folder.path().join("clip.mp4")).unwrap();
        let offloaded = [&weights[..], &["--policy", "step interval=2", "--offload"]].concat();
        assert!(generate(model, &offloaded).0);
        let same = fs::read(folder.path().join("clip.mp4")).unwrap() == resident;
        assert!(same, "{model}: another video with its blocks on the host");
        // The second of three steps is reused; what embeds it weighs differently in each small model.
        let saved = !shown.contains("100 % of the compute");
        assert!(shown.contains(made) && saved, "{model}: {shown}");
    }
    for (arguments, expected) in [
        (
            &["--model", "wan3"][..],
            "expected one of wan2.1-t2v-1.3b, wan2.1-t2v-14b",
        ),
        (&["--model", "wan-mini", "mini"], "cannot be used with"),
        (&[], "<EXPERIMENT|--model <MODEL>>"),
        (&["--model", "wan-mini", "--size", "large"], "expected WIDTHxHEIGHT"),
        (
            &["--model", "wan-mini", "--offload"],
            "`model.offload`: the blocks of a checkpoint, given with `--weights`",
        ),
        (&["--model", "wan-mini", "--frames", "17"], "found 17 frames of 64×64"),
    ] {
        let rest = ["--prompt", "a penguin moves left on blue", "-o", "clip.mp4"];
        let (done, shown) = mixcache(folder.path(), &[&["generate"], arguments, &rest].concat());
        assert!(!done && shown.contains(expected), "{arguments:?}: {shown}");
    }
}

#[test]
fn an_autoencoder_of_other_latents_is_refused_with_both_sizes() {
    let folder = checkpoint();
    let vae = folder.path().join("checkpoint/vae");
    fs::create_dir_all(&vae).unwrap();
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/golden/wan_vae/wanvae_a");
    for (from, to) in [
        ("config.json", "config.json"),
        ("original.safetensors", "vae.safetensors"),
    ] {
        fs::copy(other.join(from), vae.join(to)).unwrap();
    }
    let (done, shown) = sweep(folder.path());
    assert!(!done && shown.contains("found latents of 4 channels"), "{shown}");
    assert!(shown.contains("the model's have 16 channels"), "{shown}");
}
