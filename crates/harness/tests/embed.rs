//! Text states from a checkpoint to a sweep, at a size that fits into a test.

mod tiny;
use mixcache_core::weights::Weights;
use mixcache_harness::record;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;
use tiny::{encoder, t5, tokenizer};

/// A small model with the weights of a file: it needs text states of width 64.
const EXPERIMENT: &str = r#"
title = "text"
analysis = "Three steps with encoded prompts."

[model]
name = "wan-mini"

[video]
frames = 5
height = 64
width = 64

[sampler]
kind = "euler"
steps = 3
shift = 3.0
guidance = 2.0
full_first = 1
full_last = 1

[runs]
prompts = ["a cat walks on the grass"]
negative_prompt = "dark &amp;  cold"
seeds = [7]
cache_budget_gib = 0.1

[[policy]]
kind = "off"
"#;

/// A Llama decoder of three blocks, of which one is run, and a CLIP without blocks, both of width 64.
fn hunyuan(folder: &Path) {
    tokenizer(&folder.join("tokenizer"), Some("<s>"), None);
    tokenizer(&folder.join("tokenizer_2"), Some("<s>"), Some("</s>"));
    let config = r#"{"model_type": "llama", "vocab_size": 256, "hidden_size": 64, "intermediate_size": 32,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0}"#;
    let parts: [(&str, &[usize]); 9] = [
        ("self_attn.q_proj", &[64, 64]),
        ("self_attn.k_proj", &[32, 64]),
        ("self_attn.v_proj", &[32, 64]),
        ("self_attn.o_proj", &[64, 64]),
        ("mlp.gate_proj", &[32, 64]),
        ("mlp.up_proj", &[32, 64]),
        ("mlp.down_proj", &[64, 32]),
        ("input_layernorm", &[64]),
        ("post_attention_layernorm", &[64]),
    ];
    let of_block = |i: usize| parts.map(|(part, shape)| (format!("model.layers.{i}.{part}"), shape));
    let blocks: Vec<_> = (0..3).flat_map(of_block).collect();
    let mut shapes: Vec<(&str, &[usize])> = blocks.iter().map(|(key, shape)| (key.as_str(), *shape)).collect();
    shapes.push(("model.embed_tokens", &[256, 64]));
    shapes.push(("model.norm", &[64]));
    shapes.push(("lm_head", &[256, 64]));
    encoder(&folder.join("text_encoder"), config, &shapes);
    let clip = r#"{"vocab_size": 256, "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 0,
        "num_attention_heads": 4, "max_position_embeddings": 77}"#;
    let folder = folder.join("text_encoder_2");
    let shapes: [(&str, &[usize]); 4] = [
        ("text_model.embeddings.token_embedding", &[256, 64]),
        ("text_model.embeddings.position_embedding", &[77, 64]),
        ("text_model.final_layer_norm", &[64]),
        ("text_model.final_layer_norm.bias", &[64]),
    ];
    encoder(&folder, clip, &shapes);
}

fn mixcache(folder: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mixcache"));
    let program = program.args(arguments).current_dir(folder);
    program.output().expect("the program starts")
}

#[track_caller]
fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = mixcache(folder, arguments);
    let [shown, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{arguments:?}: {shown}{error}");
    shown.into_owned()
}

#[track_caller]
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = mixcache(folder, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with the experiment `text.toml` on `model`, text encoders for it in `checkpoint`, and the path of its
/// transformer.
fn prepared(model: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    match model {
        "wan-mini" => t5(&checkpoint, "umt5", 64),
        _ => hunyuan(&checkpoint),
    }
    std::fs::write(folder.path().join("text.toml"), EXPERIMENT.replace("wan-mini", model)).unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/models");
    let transformer = models.join(model).join(model).with_extension("safetensors");
    (folder, transformer.display().to_string())
}

/// Encodes the prompts with the checkpoint's encoders, and returns what is shown.
#[track_caller]
fn encoded(folder: &Path) -> String {
    let arguments = [
        "embed",
        "text.toml",
        "--weights",
        "checkpoint",
        "-o",
        "states.safetensors",
    ];
    succeeds(folder, &arguments)
}

#[test]
fn a_sweep_on_encoded_prompts_has_no_random_text() {
    for (model, tokens) in [("wan-mini", "   8"), ("hunyuan-mini", "  16")] {
        let (folder, transformer) = prepared(model);
        let folder = folder.path();
        let shown = encoded(folder);
        assert!(
            shown.contains(&format!("{tokens} tokens  a cat walks on the grass")),
            "{shown}"
        );
        assert!(shown.contains("3 prompts in states.safetensors"), "{shown}");
        let sweep = ["sweep", "text.toml", "--weights", &transformer];
        assert!(succeeds(folder, &sweep).contains("random text"));
        let embeddings = ["--embeddings", "states.safetensors", "--results", "encoded"];
        let shown = succeeds(folder, &[&sweep[..], &embeddings].concat());
        assert!(!shown.contains("random text"), "{shown}");
        let mut recordings = std::fs::read_dir(folder.join("encoded/text")).unwrap();
        let (runs, _) = record::load(&recordings.next().unwrap().unwrap().path()).unwrap();
        assert!(
            runs[0].weights.ends_with("text states of states.safetensors"),
            "{}",
            runs[0].weights
        );
        assert!(
            runs[0].error.is_none() && !runs[0].substituted.contains("text"),
            "{:?}",
            runs[0]
        );
    }
}

#[test]
fn the_second_pass_beside_embedded_guidance_is_given_the_states_of_the_negative_prompt() {
    let (folder, transformer) = prepared("hunyuan-mini");
    let folder = folder.path();
    let embed = |more: &[&str]| succeeds(folder, &[&["embed", "--weights", "checkpoint"], more].concat());
    embed(&["text.toml", "-o", "all.safetensors"]);
    let prompts = ["--model", "hunyuan-mini", "--prompt", "a cat walks on the grass"];
    embed(&[&prompts[..], &["-o", "positive.safetensors"]].concat());
    let sweep = ["sweep", "text.toml", "--weights", &transformer, "--embeddings"];
    let with = |file: &'static str| [&sweep[..], &[file]].concat();
    succeeds(folder, &with("positive.safetensors")); // no pass needs it
    std::fs::remove_dir_all(folder.join("results")).unwrap();
    let guided = EXPERIMENT
        .replace("wan-mini", "hunyuan-mini")
        .replace("full_first", "true_cfg = 2.0\nfull_first");
    std::fs::write(folder.join("text.toml"), guided).unwrap();
    let message = refused(folder, &with("positive.safetensors"));
    assert!(
        message.contains("the prompt \"dark &amp;  cold\" is not among the 2"),
        "{message}"
    );
    succeeds(folder, &with("all.safetensors"));
}

#[test]
fn prompts_are_cleaned_and_cut_as_the_model_was_trained() {
    let (folder, _) = prepared("wan-mini");
    let long = "cat ".repeat(20);
    let embed = [
        "embed",
        "text.toml",
        "--weights",
        "checkpoint",
        "--prompt",
        &long,
        "-o",
        "states.safetensors",
    ];
    let shown = succeeds(folder.path(), &embed);
    // The negative prompt is `dark & cold`: two words, `▁` and `&`, the end token. wan-mini takes 16 tokens.
    for line in [
        "   5 tokens  dark &amp;  cold",
        "  16 tokens  cat",
        "5 more were left out",
        "   1 tokens  \n",
    ] {
        assert!(shown.contains(line), "expected `{line}` in {shown}");
    }
}

/// Where HunyuanVideo's authors advise to put them, and where diffusers does.
#[test]
fn tokenizers_of_hunyuan_video_may_lie_with_their_encoders() {
    let (folder, _) = prepared("hunyuan-mini");
    let checkpoint = folder.path().join("checkpoint");
    let embed = || {
        encoded(folder.path());
        let states = Weights::open(&folder.path().join("states.safetensors")).unwrap();
        ["states.0", "pooled.0"].map(|key| states.floats(key).unwrap())
    };
    let expected = embed();
    for (from, to) in [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")] {
        let [from, to] = [from, to].map(|folder| checkpoint.join(folder).join("tokenizer.json"));
        std::fs::rename(from, to).unwrap();
    }
    assert_eq!(embed(), expected);
}

#[test]
fn what_does_not_fit_is_one_clear_error() {
    let (folder, transformer) = prepared("wan-mini");
    let folder = folder.path();
    fn embed<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["embed", "--weights", "checkpoint", "-o", "dog.safetensors"], more].concat()
    }
    succeeds(
        folder,
        &embed(&["--model", "wan-mini", "--prompt", "a dog", "--dtype", "bf16"]),
    );
    let sweep = ["sweep", "text.toml", "--embeddings", "dog.safetensors"];
    for (arguments, expected) in [
        (
            [&sweep[..], &["--weights", &transformer]].concat(),
            ["a cat walks on the grass", "dog.safetensors"],
        ),
        (sweep.to_vec(), ["model.embeddings", "wan-mini"]),
        (
            embed(&["--model", "wan2.1-t2v-14b", "--prompt", "a dog"]),
            ["64", "4096"],
        ),
        (
            embed(&["--model", "hunyuan-video", "--prompt", "a dog"]),
            ["text_encoder/config.json", "Llama"],
        ),
        (embed(&["--model", "wan-mini"]), ["--prompt", "--prompts"]),
        (embed(&["--prompt", "a dog"]), ["--model", "Usage"]),
        (
            embed(&["--model", "wan-mini", "--prompts", "nowhere.txt"]),
            ["nowhere.txt", "cannot read"],
        ),
    ] {
        let message = refused(folder, &arguments);
        for part in expected {
            assert!(message.contains(part), "{arguments:?}: expected `{part}` in: {message}");
        }
    }
}
