//! Files of `torch.save`: read like safetensors, without running what is in them.

#[path = "common/torch.rs"]
mod torch;

use burn::tensor::{Device, FloatDType};
use mixcache_core::models::Config;
use mixcache_core::text::TextEncoders;
use mixcache_core::weights::{Loader, Weights};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

fn open(file: &str) -> Weights {
    Weights::open(&golden("pickle").join(file)).unwrap()
}

#[track_caller]
fn refusal(path: &Path) -> String {
    Weights::open(path).err().expect("it is not read").to_string()
}

#[test]
fn every_tensor_has_the_bytes_that_pytorch_writes_of_it_as_safetensors() {
    let expected = open("plain.safetensors");
    assert_eq!(expected.keys().count(), 15);
    // A state dict with its modules' versions, another protocol, and beneath the key of DeepSpeed.
    for file in ["plain.pth", "protocol4.pth", "module.pt"] {
        let found = open(file);
        assert!(found.keys().eq(expected.keys()), "{file}");
        for key in expected.keys() {
            assert_eq!(found.shape(key), expected.shape(key), "{file}, {key}");
            assert_eq!(found.bytes(key), expected.bytes(key), "{file}, {key}");
            assert_eq!(found.floats(key), expected.floats(key), "{file}, {key}");
        }
        assert!(found.holds_fp8(), "{file}");
    }
}

#[test]
fn parts_of_a_tensor_are_those_of_safetensors_in_whichever_order_it_is_stored() {
    let device = Device::flex();
    for key in ["transposed", "window"] {
        let shape = open("plain.pth").shape(key).unwrap().to_vec();
        for row in 0..shape[0] {
            let read = |file: &str| -> Vec<f32> {
                let mut loader = Loader::files(open(file), std::convert::identity, &device, FloatDType::F32);
                let row = loader.row(key, row, [shape[0], shape[1]]);
                row.into_data().try_to_vec().unwrap()
            };
            let whole = open("plain.safetensors").floats(key).unwrap();
            assert_eq!(read("plain.pth"), read("plain.safetensors"), "{key}, row {row}");
            assert_eq!(
                read("plain.pth"),
                whole[row * shape[1]..][..shape[1]],
                "{key}, row {row}"
            );
        }
    }
}

#[test]
fn what_a_pickle_asks_for_is_named_and_not_run() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("forbidden.pth");
    fs::copy(golden("pickle/forbidden.pth"), &path).unwrap();
    let here = std::env::current_dir().unwrap();
    let error = refusal(&path);
    for part in [
        "forbidden.pth",
        "`posix.system`",
        "Nothing in it was run",
        "safetensors",
    ] {
        assert!(error.contains(part), "{error}");
    }
    // It would have written this file.
    for folder in [folder.path(), &here] {
        assert!(!folder.join("it_was_run").exists());
    }
}

#[test]
fn what_cannot_be_read_is_said_with_what_was_found() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(golden("pickle/plain.pth")).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name)
    };
    for (path, expected) in [
        (golden("pickle/legacy.pth"), "PyTorch before 1.6"),
        (golden("pickle/expanded.pth"), "`x` of shape [4] with strides [0]"),
        (
            golden("pickle/no_tensors.pth"),
            "only `epoch`, `args`: expected a state dict, alone or under `module`",
        ),
        (write("empty.pth", &[]), "not the zip archive"),
        (write("cut.pth", &bytes[..bytes.len() - 1]), "not complete"),
        (write("half.pth", &bytes[..bytes.len() / 2]), "not complete"),
    ] {
        let error = refusal(&path);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
}

/// Whatever stands in a file, it is read or refused: nothing overflows, and no length that a file claims is believed.
#[test]
fn a_pickle_with_any_byte_changed_is_read_or_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("changed.pth");
    let bytes = fs::read(golden("pickle/state_dict.ckpt")).unwrap();
    let mut refused = 0;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x80 | at as u8;
        fs::write(&path, changed).unwrap();
        match Weights::open(&path) {
            Ok(weights) => drop(weights.keys().filter_map(|key| weights.bytes(key)).collect::<Vec<_>>()),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 100, "{refused} of {}", bytes.len());
}

#[test]
fn a_state_dict_beside_other_tensors_is_found_and_a_folder_with_one_file_is_that_file() {
    let folder = TempDir::new().unwrap();
    let from = golden("pickle/state_dict.ckpt");
    fs::copy(&from, folder.path().join("pytorch_model.pt")).unwrap();
    for path in [from.as_path(), folder.path()] {
        let weights = Weights::open(path).unwrap();
        assert!(weights.keys().eq(["x"]));
        assert_eq!(weights.floats("x").unwrap(), [1.0, 1.0]);
    }
    fs::copy(&from, folder.path().join("other.pt")).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("2 files of `torch.save`"), "{error}");
    // Safetensors go before.
    fs::copy(
        golden("pickle/plain.safetensors"),
        folder.path().join("plain.safetensors"),
    )
    .unwrap();
    assert_eq!(Weights::open(folder.path()).unwrap().keys().count(), 15);
}

#[test]
fn shards_of_torch_save_are_found_by_their_index_as_transformers_writes_it() {
    let folder = TempDir::new().unwrap();
    let shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    fs::copy(golden("pickle/plain.pth"), folder.path().join(shards[0])).unwrap();
    let index = format!(
        r#"{{"weight_map": {{"window": "{}", "x": "{}"}}}}"#,
        shards[0], shards[1]
    );
    fs::write(folder.path().join("pytorch_model.bin.index.json"), index).unwrap();
    let error = refusal(folder.path());
    assert!(
        error.contains("1 of the 2 files") && error.contains(shards[1]),
        "{error}"
    );
    fs::copy(golden("pickle/state_dict.ckpt"), folder.path().join(shards[1])).unwrap();
    assert_eq!(Weights::open(folder.path()).unwrap().keys().count(), 15 + 1);
}

/// So that tests may use what they write themselves, it is what PyTorch would have written.
#[test]
fn the_files_that_tests_write_hold_the_same() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("original.pt");
    let original = golden("hunyuan/hy_a/original.safetensors");
    torch::save(&original, Some("module"), str::to_string, &path);
    let [ours, expected] = [&path, &original].map(|path| Weights::open(path).unwrap());
    assert!(ours.keys().eq(expected.keys()));
    for key in expected.keys() {
        assert_eq!(ours.shape(key), expected.shape(key), "{key}");
        assert_eq!(ours.bytes(key), expected.bytes(key), "{key}");
    }
}

#[test]
fn the_encoder_of_wan_s_authors_is_taken_from_where_they_publish_it() {
    let (wan, folder) = (Config::preset("wan2.1-t2v-14b").unwrap(), TempDir::new().unwrap());
    assert!(!TextEncoders::are_in(folder.path()));
    let tokenizer = folder.path().join("google/umt5-xxl");
    fs::create_dir_all(&tokenizer).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizer/tokenizer.json");
    fs::copy(file, tokenizer.join("tokenizer.json")).unwrap();
    let encoder = folder.path().join("models_t5_umt5-xxl-enc-bf16.pth");
    torch::save(
        &golden("umt5/umt5_a/original.safetensors"),
        None,
        str::to_string,
        &encoder,
    );
    assert!(TextEncoders::are_in(folder.path()));
    // It is a small one: found, read, and held against the sizes that the authors' has.
    let error = TextEncoders::open(&wan, folder.path(), &Device::flex())
        .err()
        .expect("it is small")
        .to_string();
    let line = "misshapen: token_embedding.weight: found [128, 32] F32, expected [256384, 4096]";
    assert!(
        error.contains("models_t5_umt5-xxl-enc-bf16.pth") && error.contains(line),
        "{error}"
    );
}
