//! Files of `torch.save`, PyTorch 1.6 and newer: a zip archive that holds a pickle, which says what there is, and beside
//! it the numbers, stored as they are (`torch/serialization.py`, `caffe2/serialize/inline_container.h`).
//!
//! A pickle is a program that may call any function of Python. Nothing of it is run here: it may build dictionaries,
//! lists and numbers, and describe tensors; whatever else it asks for is refused by name.

mod archive;
mod describe;
mod machine;

use super::stored::{Stored, bytes_of};
use archive::Archive;
use describe::View;
use machine::{Id, Node, Pickle};
use std::collections::BTreeMap;

/// Keys under which state dicts are kept beside what else a training saves, in the order in which they are looked for:
/// that of DeepSpeed, and so of HunyuanVideo's transformer, and those of its autoencoder and others.
const NESTS: [&str; 3] = ["module", "state_dict", "model"];

/// Dictionaries in dictionaries that are looked through.
const DEPTH_MAX: usize = 4;

/// The tensors of the state dict in a file, or why they cannot be read.
pub(super) fn tensors(file: &[u8]) -> Result<BTreeMap<String, Stored>, String> {
    let archive = Archive::of(file)?;
    let pickle = machine::run(&file[archive.pickle.clone()])?;
    let mut tensors = BTreeMap::new();
    for (key, value) in state_dict(&pickle)? {
        if let (Node::Text(name), Node::Tensor(view)) = (pickle.node(*key), pickle.node(*value)) {
            tensors.insert(name.clone(), stored(name, view, &archive)?);
        }
    }
    Ok(tensors)
}

/// The dictionary whose values are tensors: the file's own, or one in it.
fn state_dict(pickle: &Pickle) -> Result<&[(Id, Id)], String> {
    let mut found = pickle.root();
    for _ in 0..DEPTH_MAX {
        let Node::Dict(entries) = pickle.node(found) else {
            return Err("expected a dictionary of tensors (a state dict), found something else".into());
        };
        let inner = |name: &str| {
            let is_it = |(key, value): &&(Id, Id)| {
                matches!(pickle.node(*key), Node::Text(key) if key == name)
                    && matches!(pickle.node(*value), Node::Dict(_))
            };
            entries.iter().find(is_it)
        };
        match NESTS.iter().find_map(|name| inner(name)) {
            Some((_, inner)) => found = *inner,
            None if entries
                .iter()
                .any(|(_, value)| matches!(pickle.node(*value), Node::Tensor(_))) =>
            {
                return Ok(entries);
            }
            None => break,
        }
    }
    let Node::Dict(entries) = pickle.node(found) else {
        unreachable!("only dictionaries are gone into")
    };
    let keys = entries.iter().filter_map(|(key, _)| match pickle.node(*key) {
        Node::Text(key) => Some(format!("`{key}`")),
        _ => None,
    });
    let keys: Vec<String> = keys.take(8).collect();
    Err(format!(
        "it holds no tensors, only {}: expected a state dict, alone or under `{}`",
        if keys.is_empty() {
            "nothing".into()
        } else {
            keys.join(", ")
        },
        NESTS.join("`, `")
    ))
}

fn stored(name: &str, view: &View, archive: &Archive) -> Result<Stored, String> {
    let storage = &view.storage;
    let place = archive.data(&storage.key)?;
    let size = bytes_of(view.dtype);
    let len = storage.len.saturating_mul(storage.dtype.map_or(1, bytes_of)) / size;
    if len > place.len() / size {
        return Err(format!(
            "`{name}` lies in a storage of {len} numbers, of which {} are there: download it again",
            place.len() / size
        ));
    }
    let (shape, strides) = (view.shape.clone(), view.strides.clone());
    Stored::view(view.dtype, [place.start, len], view.offset, shape, strides).ok_or_else(|| {
        format!(
            "`{name}` of shape {:?} with strides {:?} from number {} on is no plain view of its storage of {len} numbers",
            view.shape, view.strides, view.offset
        )
    })
}
