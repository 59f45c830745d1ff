//! Bad input: one clear error, and nothing left behind.

use crate::checkpoints::on_checkpoint;
use crate::*;

#[test]
fn bad_input_is_one_clear_error_and_leaves_nothing_behind() {
    for (from, to, expected) in [
        ("steps = 6", "stepz = 6", vec!["tiny.toml", "stepz"]),
        ("steps = 6", "steps = \"six\"", vec!["tiny.toml", "steps", "six"]),
        ("steps = 6", "steps = 0", vec!["sampler.steps", "at least one"]),
        ("steps = 6", "steps = ", vec!["tiny.toml", "line 15"]),
        ("kind = \"unipc\"", "kind = \"heun\"", vec!["heun", "euler", "unipc"]),
        (
            "kind = \"unipc\"",
            "kind = \"ddim\"",
            vec!["sampler.kind", "wan-mini predicts the velocity", "unipc"],
        ),
        (
            "interval = [2, 3]",
            "interval = 0",
            vec!["step", "interval = 0", "at least 1"],
        ),
        (
            "interval = [2, 3]",
            "interval = []",
            vec!["interval", "at least one value"],
        ),
        ("interval = [2, 3]", "intervall = 2", vec!["step", "intervall"]),
        (
            "threshold = 0.1",
            "threshold = 0.1\nfirst = 8",
            vec!["first-blocks", "of 8 blocks"],
        ),
        (
            "kind = \"first-blocks\"",
            "kind = \"fbcache\"",
            vec!["fbcache", "first-blocks"],
        ),
        (
            "cache_budget_gib = 0.1",
            "cache_budget_gib = 0.0001",
            vec!["budget", "cache_budget_gib"],
        ),
        ("a star spins on red", "a unicorn spins on red", vec!["unicorn", "star"]),
        ("wan-mini", "wan-maxi", vec!["wan-maxi", "wan2.1-t2v-14b"]),
        ("width = 64", "width = 96", vec!["video", "96"]),
        (
            "guidance = 2.0",
            "guidance = 2.0\nguidance_mode = \"embedded\"",
            vec!["guidance_mode", "wan-mini does not take"],
        ),
        (
            "guidance = 2.0",
            "guidance = 2.0\ntrue_cfg = 4.0",
            vec!["sampler.true_cfg", "wan-mini", "leave `true_cfg` out"],
        ),
    ] {
        let folder = tiny(&[(from, to)]);
        let message = refused(folder.path(), &["sweep", "tiny.toml"]);
        for part in expected {
            assert!(message.contains(part), "{to}: expected `{part}` in: {message}");
        }
    }
}

#[test]
fn a_device_or_checkpoint_that_is_not_there_is_one_clear_error() {
    let folder = tiny(&[]);
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--device", "tpu"]);
    assert!(message.contains("tpu") && message.contains("cpu"), "{message}");
    let message = refused(
        folder.path(),
        &["sweep", "tiny.toml", "--weights", "nowhere.safetensors"],
    );
    assert!(message.contains("nowhere.safetensors"), "{message}");
    std::fs::write(folder.path().join("torn.safetensors"), [255u8; 100]).unwrap();
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--weights", "torn.safetensors"]);
    assert!(message.contains("torn.safetensors"), "{message}");
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--results", "torn.safetensors"]);
    assert!(message.contains("torn.safetensors"), "{message}");
    for (file, why) in [
        ("nowhere.safetensors", "cannot read"),
        ("torn.safetensors", "not a complete safetensors"),
    ] {
        let message = refused(folder.path(), &["sweep", "tiny.toml", "--i3d", file]);
        assert!(
            message.contains(file) && message.contains("I3D") && message.contains(why),
            "{message}"
        );
    }
    let message = refused(folder.path(), &["sweep", "no-such-experiment"]);
    assert!(
        message.contains("no-such-experiment") && message.contains("mini"),
        "{message}"
    );
    let message = refused(folder.path(), &["report", "nowhere"]);
    assert!(message.contains("nowhere"), "{message}");
    let message = refused(folder.path(), &["parity", "nowhere"]);
    assert!(message.contains("nowhere"), "{message}");
}

#[test]
fn a_codec_that_is_not_there_is_one_clear_error_before_any_run() {
    let with = |through: &str| tiny(&[("[runs]", &format!("[metrics]\nthrough = \"{through}\"\n\n[runs]"))]);
    let folder = with("h264");
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_mixcache"));
    let sweep = sweep.args(["sweep", "tiny.toml"]).current_dir(folder.path());
    let output = sweep.env("PATH", "").output().unwrap();
    let message = text(&output.stderr);
    assert!(!output.status.success() && !folder.path().join("results").exists());
    assert!(
        message.contains("`through = \"h264:25\"`: cannot run the program `ffmpeg`") && message.contains("8-bit"),
        "{message}"
    );
    let message = refused(with("mpeg2").path(), &["sweep", "tiny.toml"]);
    assert!(
        message.contains("tiny.toml") && message.contains("mpeg2") && message.contains("8-bit, h264 (CRF 25)"),
        "{message}"
    );
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_back_end_that_was_not_built_says_how_to_build_it() {
    let folder = tiny(&[]);
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--device", "cuda:0"]);
    assert!(message.contains("--features cuda"), "{message}");
}

#[test]
fn a_checkpoint_that_is_not_the_experiments_is_refused_with_what_it_is() {
    let folder = on_checkpoint("wan2.1-t2v-1.3b", "\"unipc\"");
    let fake = |arguments: &[&str]| succeeds(folder.path(), &[&["fake-weights"], arguments].concat());
    fake(&["hunyuan-video", "--layout", "diffusers", "-o", "hunyuan"]);
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--weights", "hunyuan"]);
    assert!(
        message.contains("hunyuan holds hunyuan (HunyuanVideo, 2 + 3 blocks of width 64)")
            && message.contains("wan2.1-t2v-1.3b (Wan, 30 blocks of width 1536)"),
        "{message}"
    );
    // Without its config.json that of the autoencoder tells, and without both the keys.
    std::fs::remove_file(folder.path().join("hunyuan/transformer/config.json")).unwrap();
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--weights", "hunyuan"]);
    assert!(
        message.contains("vae/config.json: not the `config.json` of Wan's autoencoder"),
        "{message}"
    );
    std::fs::remove_dir_all(folder.path().join("hunyuan/vae")).unwrap();
    let message = refused(folder.path(), &["sweep", "tiny.toml", "--weights", "hunyuan"]);
    assert!(
        message.contains("they look like HunyuanVideo in diffusers' keys"),
        "{message}"
    );
    // What stands in the folder already is not written over.
    let message = refused(folder.path(), &["fake-weights", "wan2.1-t2v-1.3b", "-o", "hunyuan"]);
    assert!(
        message.contains("hunyuan") && message.contains("empty or new"),
        "{message}"
    );
    let message = refused(folder.path(), &["fake-weights", "wan-mini", "-o", "mini"]);
    assert!(message.contains("comes with the program"), "{message}");
}
