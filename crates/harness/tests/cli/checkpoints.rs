//! Published models: on checkpoints of random numbers, and what stands in for them.

use crate::*;
use mixcache_harness::record;
use std::fs;

#[test]
fn a_model_that_cannot_be_had_gives_its_stand_in_and_says_so_everywhere() {
    for (name, model, stand_in, blocks) in [
        ("wan14b", "wan2.1-t2v-14b", "wan-mini", 8),
        ("hunyuan", "hunyuan-video", "hunyuan-mini", 7),
        ("cogvideox5b", "cogvideox-5b", "wan-mini", 8),
    ] {
        gives_its_stand_in(name, model, stand_in, blocks);
    }
}

fn gives_its_stand_in(name: &str, model: &str, stand_in: &str, blocks: usize) {
    let folder = TempDir::new().unwrap();
    let experiment = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../experiments/{name}.toml"));
    let text = std::fs::read_to_string(&experiment).unwrap();
    // The same experiment, short: three steps, a policy that fits the stand-in, and one that does not.
    let policies = text.find("[[policy]]").unwrap();
    let short = text[..policies].replace("steps = 50", "steps = 3")
        + &format!("[[policy]]\nkind = \"tea\"\ncoefficients = \"{model}\"\nthreshold = 0.2\n")
        + "[[policy]]\nkind = \"first-blocks\"\nfirst = 8\nthreshold = 0.1\n";
    std::fs::write(folder.path().join("short.toml"), short).unwrap();
    let coefficients = folder.path().join("coefficients");
    std::fs::create_dir(&coefficients).unwrap();
    std::fs::copy(
        experiment.with_file_name("coefficients/teacache.toml"),
        coefficients.join("teacache.toml"),
    )
    .unwrap();
    let shown = succeeds(folder.path(), &["sweep", "short.toml"]);
    assert!(
        shown.starts_with(&format!("SUBSTITUTED: {stand_in} stands in for {model}")),
        "{shown}"
    );
    let recording = std::fs::read_dir(folder.path().join("results/short"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let (runs, _) = record::load(&recording).unwrap();
    assert!(runs.iter().all(|run| run.substituted.contains("stands in")), "{runs:?}");
    let failed: Vec<_> = runs.iter().filter_map(|run| run.error.as_deref()).collect();
    assert!(
        failed.len() == 1 && failed[0].contains(&format!("of {blocks} blocks")),
        "{failed:?}"
    );
    for file in ["report/report.md", "report/curves.svg"] {
        let shown = std::fs::read_to_string(recording.join(file)).unwrap();
        assert!(shown.contains("stands in for") || shown.contains("STAND-IN"), "{file}");
    }
}

/// Three steps of a model on a checkpoint.
pub fn on_checkpoint(model: &str, sampler: &str) -> TempDir {
    let policies = TINY.find("[[policy]]").unwrap();
    let text = [
        ("wan-mini", model),
        ("frames = 16", "frames = 9"),
        ("\"unipc\"", sampler),
        ("steps = 6", "steps = 3"),
    ]
    .iter()
    .fold(TINY[..policies].to_string(), |text, (from, to)| text.replace(from, to));
    let folder = TempDir::new().unwrap();
    let policy = "[[policy]]\nkind = \"first-blocks\"\nthreshold = 1.0\n";
    std::fs::write(folder.path().join("tiny.toml"), text + policy).unwrap();
    folder
}

#[test]
fn a_fake_checkpoint_of_every_model_runs_by_the_way_of_a_real_one_and_every_row_says_what_it_is() {
    for (model, sampler, layout) in [
        ("wan2.1-t2v-1.3b", "\"unipc\"", "original"),
        ("wan2.1-t2v-14b", "\"dpmpp\"", "diffusers"),
        ("wan2.2-t2v-a14b", "\"unipc\"", "original"),
        ("wan2.2-t2v-a14b", "\"euler\"", "diffusers"),
        ("hunyuan-video", "\"euler\"", "original"),
        ("hunyuan-video", "\"euler\"", "diffusers"),
        ("cogvideox-5b", "\"ddim\"", "original"),
        ("cogvideox-5b", "\"ddim\"", "diffusers"),
    ] {
        let folder = on_checkpoint(model, sampler);
        succeeds(
            folder.path(),
            &["fake-weights", model, "--layout", layout, "-o", "weights"],
        );
        let shown = succeeds(folder.path(), &["sweep", "tiny.toml", "--weights", "weights"]);
        assert!(shown.starts_with("SUBSTITUTED: random weights, seed 0; "), "{shown}");
        let listed = succeeds(folder.path(), &["list", "tiny.toml", "--weights", "weights"]);
        assert!(listed.contains("memory: at least"), "{listed}");
        let has_decoder = layout == "diffusers"; // as the authors publish it, it is not faked
        assert_eq!(listed.contains("; then decoding "), has_decoder, "{listed}");
        let (runs, _) = record::load(&recording(folder.path())).unwrap();
        assert_eq!(runs.len(), 2, "{model}, {layout}");
        for run in runs {
            assert_eq!(run.error, None, "{model}, {layout}");
            assert!(
                run.substituted.contains("blocks of width 64 instead of"),
                "{}",
                run.substituted
            );
        }
    }
}

/// The folders of the authors, their tensors in files of `torch.save`, give the very clip that safetensors give.
#[test]
fn checkpoints_as_their_authors_publish_them_go_from_a_prompt_to_an_mp4() {
    let plain = |folder: &Path| folder.join("diffusion_pytorch_model.safetensors");
    for (model, sampler) in [("wan2.1-t2v-1.3b", "\"unipc\""), ("hunyuan-video", "\"euler\"")] {
        let folder = on_checkpoint(model, sampler);
        let path = |name: &str| folder.path().join(name);
        let fake = |layout, name| {
            succeeds(folder.path(), &["fake-weights", model, "--layout", layout, "-o", name]);
        };
        fake("original", "authors");
        fake("diffusers", "hub");
        let decoder = path("hub/vae");
        if model == "wan2.1-t2v-1.3b" {
            tiny::t5(&path("authors"), "umt5", 48);
            tiny::t5(&path("hub"), "umt5", 48);
            let encoder = path("authors/text_encoder");
            let safetensors = encoder.join("model.safetensors");
            let pickle = encoder.join("models_t5_umt5-xxl-enc-bf16.pth");
            torch::save(&safetensors, None, str::to_string, &pickle);
            fs::remove_file(safetensors).unwrap();
            fs::create_dir(path("authors/vae")).unwrap();
            let pickle = path("authors/vae/Wan2.1_VAE.pth");
            torch::save(&plain(&decoder), None, str::to_string, &pickle);
            fs::copy(decoder.join("config.json"), path("authors/vae/config.json")).unwrap();
        } else {
            let [transformer, vae] =
                ["transformers", "vae"].map(|part| path("authors/hunyuan-video-t2v-720p").join(part));
            fs::create_dir_all(&transformer).unwrap();
            fs::create_dir(&vae).unwrap();
            let safetensors = path("authors/mp_rank_00_model_states.safetensors");
            let pickle = transformer.join("mp_rank_00_model_states.pt");
            torch::save(&safetensors, Some("module"), str::to_string, &pickle);
            fs::remove_file(safetensors).unwrap();
            fs::rename(path("authors/config.json"), transformer.join("config.json")).unwrap();
            let prefixed = |key: &str| format!("vae.{key}");
            torch::save(
                &plain(&decoder),
                Some("state_dict"),
                prefixed,
                &vae.join("pytorch_model.pt"),
            );
            fs::copy(decoder.join("config.json"), vae.join("config.json")).unwrap();
        }
        let clips = ["authors", "hub"].map(|weights| {
            let clip = format!("{weights}.mp4");
            let prompt = ["--prompt", "a cat walks on the grass", "-o", &clip];
            succeeds(
                folder.path(),
                &[&["generate", "tiny.toml", "--weights", weights][..], &prompt].concat(),
            );
            fs::read(path(&clip)).unwrap()
        });
        assert_eq!(&clips[0][4..8], b"ftyp", "{model}");
        assert!(clips[0] == clips[1], "{model}: another clip than that of safetensors");
        // From within the checkpoint the other parts are found beside the transformer as well.
        let prompt = ["--prompt", "a cat walks on the grass", "-o", "inside.mp4"];
        let inside = ["generate", "../tiny.toml", "--weights", "transformer"];
        succeeds(&path("hub"), &[&inside[..], &prompt].concat());
        assert!(fs::read(path("hub/inside.mp4")).unwrap() == clips[1], "{model}");
    }
}

#[test]
fn two_experts_share_a_run_and_nothing_is_reused_where_the_second_takes_over() {
    let model = "wan2.2-t2v-a14b";
    let folder = on_checkpoint(model, "\"unipc\"");
    let path = folder.path().join("tiny.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text
        .replace("steps = 3", "steps = 12")
        .replace("guidance = 2.0", "guidance = 4.0\nguidance_low_noise = 3.0");
    let text = &text[..text.find("[[policy]]").unwrap()];
    let policies = "[[policy]]\nkind = \"step\"\ninterval = 3\n[[policy]]\nkind = \"cfg\"\ninterval = 9\n";
    std::fs::write(&path, text.to_string() + policies).unwrap();
    succeeds(folder.path(), &["fake-weights", model, "-o", "weights"]);
    // Whether a run of milliseconds is as fast as it should be is left to longer ones.
    let verified = crate::text(&mixcache(folder.path(), &["verify", "tiny.toml", "--weights", "weights"]).stdout);
    for holds in [
        "off equals the plain forward",
        "step interval=3: its trace replays",
        "cfg interval=9: its trace replays",
    ] {
        assert!(verified.contains(&format!("ok    {holds}")), "{verified}");
    }
    succeeds(folder.path(), &["sweep", "tiny.toml", "--weights", "weights"]);
    let (runs, events) = record::load(&recording(folder.path())).unwrap();
    let run = runs.iter().find(|run| run.policy == "step").unwrap();
    let own = events
        .iter()
        .filter(|event| event.run_key == run.run_key && event.branch == 0);
    let computed: Vec<u32> = own
        .filter(|event| event.value.is_none())
        .map(|event| event.step)
        .collect();
    // Timesteps 999, 970, 937, 899 are the first expert's, 856 and less the second's: step 4 would be reused.
    assert_eq!(computed, [0, 3, 4, 6, 9, 11]);
    std::fs::remove_dir_all(folder.path().join("results")).unwrap();

    for (weights, of, expected) in [
        (
            "weights/transformer_2",
            model,
            "runs wan2.2-t2v-a14b (Wan, two experts of 40 blocks",
        ),
        (
            "weights",
            "wan2.1-t2v-14b",
            "weights holds wan (Wan, two experts of 4 blocks of width 64)",
        ),
    ] {
        std::fs::write(&path, text.replace(model, of) + policies).unwrap();
        let message = refused(folder.path(), &["sweep", "tiny.toml", "--weights", weights]);
        assert!(message.contains(expected), "{message}");
    }
    std::fs::write(&path, text.replace(model, "wan-mini") + policies).unwrap();
    let message = refused(folder.path(), &["sweep", "tiny.toml"]);
    assert!(
        message.contains("guidance_low_noise`: wan-mini has one expert"),
        "{message}"
    );
}
