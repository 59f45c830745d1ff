//! From a prompt to text states: tokens, the encoder, and the file that keeps its states.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use mixcache_core::models::Config;
use mixcache_core::noise::noise;
use mixcache_core::text::t5::{T5, T5Config};
use mixcache_core::text::{Encoded, TextEncoders, TextStates, Tokenizer, TokensError};
use mixcache_core::weights::Weights;
use std::fs;
use std::path::{Path, PathBuf};

const END: u32 = 1;
const UNKNOWN: u32 = 3;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn json() -> String {
    fs::read_to_string(tests().join("tokenizer/tokenizer.json")).unwrap()
}

fn tokenizer(tokens_max: usize) -> Tokenizer {
    Tokenizer::open(&tests().join("tokenizer/tokenizer.json"), Some(END), tokens_max).unwrap()
}

/// Ids of pieces of the test's vocabulary, and the end token.
fn ids(pieces: &[&str]) -> Vec<u32> {
    let file: serde_json::Value = serde_json::from_str(&json()).unwrap();
    let vocabulary = file["model"]["vocab"].as_array().unwrap();
    let id = |piece: &&str| vocabulary.iter().position(|entry| entry[0] == **piece).unwrap() as u32;
    pieces.iter().map(id).chain([END]).collect()
}

#[test]
fn a_prompt_becomes_the_likeliest_pieces_and_ends_with_the_end_token() {
    let tokens = |prompt| tokenizer(512).tokens(prompt).unwrap().ids;
    let expected = ids(&["▁a", "▁cat", "▁walk", "s", "▁on", "▁the", "▁grass"]);
    // Longer than the 8 tokens that the file itself would truncate to, not padded to the 12 it would pad to.
    assert_eq!(tokens("a cat walks on the grass"), [&expected[..7], &[END]].concat());
    assert_eq!(tokens("a  cat   walks on the grass"), expected);
    // `▁cat` is likelier than `▁`, `c`, `a`, `t`; behind it `grass` is likelier than its letters.
    assert_eq!(tokens("catgrass"), ids(&["▁cat", "grass"]));
    assert_eq!(tokens(""), [END]);
    let fox = tokens("a 🦊");
    assert_eq!(fox, [&ids(&["▁a", "▁"])[..2], &[UNKNOWN, END]].concat());
}

#[test]
fn a_prompt_that_is_too_long_keeps_its_first_tokens_and_the_end_token() {
    let tokens = tokenizer(512).tokens(&"cat ".repeat(600)).unwrap();
    assert_eq!((tokens.ids.len(), tokens.left_out), (512, 602 - 512)); // the last space is a token of its own
    assert_eq!(tokens.ids[510..], ids(&["▁cat"]));
}

#[test]
fn a_tokenizer_of_another_encoder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let refusal = |text: &str| {
        fs::write(&path, text).unwrap();
        Tokenizer::open(&path, Some(END), 512)
            .err()
            .expect("it does not fit")
            .to_string()
    };
    let error = refusal(&json().replace(r#"{"id": "</s>", "ids": [1]"#, r#"{"id": "</s>", "ids": [2]"#));
    assert!(error.contains("tokenizer.json") && error.contains("Some(2)"), "{error}");
    let error = refusal("{}");
    assert!(
        error.contains("tokenizer.json") && error.contains("cannot use"),
        "{error}"
    );
}

fn recorded() -> (T5Config, Weights) {
    let case = tests().join("golden/umt5/umt5_a");
    let config = T5Config::parse(&fs::read_to_string(case.join("config.json")).unwrap()).unwrap();
    (config, Weights::open(&case.join("original.safetensors")).unwrap())
}

#[test]
fn prompts_that_are_encoded_together_have_the_states_they_have_alone() {
    let (config, weights) = recorded();
    let (t5, mut done) = (T5::open(config, weights, &Device::flex()).unwrap(), vec![]);
    let prompts = [vec![5, 9, 2, 1], vec![7, 1]];
    let together = t5.encode(&prompts, &mut |blocks| done.push(blocks)).unwrap();
    assert_eq!(done, [1, 2, 3]);
    for (ids, together) in prompts.iter().zip(together) {
        assert_eq!(together.dims(), [1, ids.len(), 32]);
        let alone = t5.encode(std::slice::from_ref(ids), &mut |_| {}).unwrap().remove(0);
        assert_eq!(together.into_data(), alone.into_data());
    }
}

#[test]
fn an_encoder_that_does_not_fit_is_refused_before_anything_is_read() {
    let device = Device::flex();
    let (config, weights) = recorded();
    let deeper = T5Config {
        layers: 4,
        ..config.clone()
    };
    let error = T5::open(deeper, weights.clone(), &device)
        .err()
        .expect("a block is missing")
        .to_string();
    assert!(error.contains("missing: blocks.3.attn.q.weight [32, 32]"), "{error}");
    let t5 = T5::open(config, weights, &device).unwrap();
    let encoded = t5.encode(&[vec![200_000, 1]], &mut |_| panic!("no block is read"));
    let unknown = TokensError::Unknown {
        id: 200_000,
        vocabulary: 128,
    };
    assert_eq!(encoded.err(), Some(unknown));
}

#[test]
fn what_a_checkpoint_lacks_of_its_text_encoder_is_said() {
    let (wan, folder) = (Config::preset("wan2.1-t2v-14b").unwrap(), tempfile::tempdir().unwrap());
    let refusal = || {
        TextEncoders::open(&wan, folder.path(), &Device::flex())
            .err()
            .expect("no encoder")
            .to_string()
    };
    assert!(refusal().contains("`text_encoder`"), "{}", refusal());
    let encoder = folder.path().join("text_encoder");
    fs::create_dir(&encoder).unwrap();
    let small = tests().join("golden/umt5/umt5_a/original.safetensors");
    fs::copy(small, encoder.join("model.safetensors")).unwrap();
    assert!(refusal().contains("google/umt5-xxl/tokenizer.json"), "{}", refusal());
}

fn states() -> Vec<(String, Encoded)> {
    let of = |prompt: &str, tokens: usize| {
        let values = |shape: &[usize]| TensorData::new(noise(tokens as u64, shape), shape.to_vec());
        let encoded = Encoded {
            states: Tensor::from_data(values(&[1, tokens, 6]), &Device::flex()),
            pooled: Some(Tensor::from_data(values(&[1, 5]), &Device::flex())),
            left_out: 0,
        };
        (prompt.to_string(), encoded)
    };
    vec![of("a cat", 4), of("", 1), of("\"猫\"\non grass", 3)]
}

/// Whether `read` is `written` but for rounding.
#[track_caller]
fn same<const D: usize>(read: Tensor<D>, written: Tensor<D>, relative_max: f32) {
    assert_eq!(read.dims(), written.dims());
    let [read, written] = [read, written].map(|tensor| tensor.into_data().try_to_vec::<f32>().unwrap());
    for (read, written) in read.into_iter().zip(written) {
        assert!(
            (read - written).abs() <= relative_max * written.abs(),
            "{read} {written}"
        );
    }
}

#[test]
fn states_come_back_from_their_file_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("states.safetensors");
    // bf16 keeps 8 binary digits.
    for (dtype, relative_max) in [(FloatDType::F32, 0.0), (FloatDType::BF16, 1.0 / 256.0)] {
        TextStates::write(&path, dtype, &states(), &[("model", "wan".into())]).unwrap();
        let file = TextStates::open(&path).unwrap();
        assert_eq!(file.prompts().len(), 3);
        for (prompt, written) in states() {
            let read = file.find(&prompt, &Device::flex()).unwrap();
            same(read.states, written.states, relative_max);
            same(read.pooled, written.pooled.unwrap(), relative_max);
        }
    }
}

#[test]
fn a_prompt_that_was_not_encoded_and_a_file_of_something_else_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("states.safetensors");
    TextStates::write(&path, FloatDType::F32, &states(), &[]).unwrap();
    let error = TextStates::open(&path)
        .unwrap()
        .find("a dog", &Device::flex())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"a dog\"") && error.contains("states.safetensors"),
        "{error}"
    );
    let weights = tests().join("golden/umt5/umt5_a/original.safetensors");
    let error = TextStates::open(&weights).err().expect("no states").to_string();
    assert!(
        error.contains("original.safetensors") && error.contains("mixcache embed"),
        "{error}"
    );
}
