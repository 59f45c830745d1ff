//! The files of a checkpoint.

use super::WeightsError;
use super::scales::{is_of_eight_bits, is_scales};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How the names of files end that `torch.save` wrote.
pub const PICKLES: [&str; 4] = ["pt", "pth", "bin", "ckpt"];

/// Whether a file is named as those that `torch.save` writes.
pub(super) fn is_pickle(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str());
    end.is_some_and(|end| PICKLES.contains(&end)) && path.is_file()
}

/// The files of a folder that hold its tensors: safetensors before files of `torch.save`, and of these weights as they
/// were trained before such of eight bits.
pub(super) fn checkpoint_files(folder: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        |source| WeightsError::Io { path, source }
    };
    let mut names: Vec<PathBuf> = vec![];
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        names.push(entry.map_err(io(folder))?.path());
    }
    names.sort();
    let ending = |end: &str| -> Vec<PathBuf> {
        names
            .iter()
            .filter(|n| n.to_string_lossy().ends_with(end))
            .cloned()
            .collect()
    };
    let folder_error = |found: String| WeightsError::Folder {
        folder: folder.to_path_buf(),
        found,
    };
    // Where a folder has both kinds, safetensors go first.
    let mut index = ending(".safetensors.index.json");
    if index.is_empty() && ending(".safetensors").is_empty() {
        index = ending(".bin.index.json");
    }
    if let [index] = index.as_slice() {
        let format = |why: String| WeightsError::Format {
            origin: index.display().to_string(),
            why,
        };
        let text = fs::read_to_string(index).map_err(io(index))?;
        let parsed: Index = serde_json::from_str(&text).map_err(|e| format(e.to_string()))?;
        let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
        if let Some(strange) = shards.iter().find(|name| Path::new(name).components().count() != 1) {
            return Err(format(format!(
                "it names the shard `{strange}`: expected a file beside it"
            )));
        }
        if shards.is_empty() {
            return Err(format(
                "its `weight_map` is empty: expected the file of every tensor".into(),
            ));
        }
        let missing: Vec<&String> = shards.iter().filter(|name| !folder.join(name).is_file()).collect();
        if let Some(first) = missing.first() {
            return Err(WeightsError::Partial {
                folder: folder.to_path_buf(),
                missing: missing.len(),
                of: shards.len(),
                first: first.to_string(),
            });
        }
        return Ok(shards.iter().map(|name| folder.join(name)).collect());
    }
    let files = ending(".safetensors");
    match (files.len(), index.len()) {
        (1, 0) => return Ok(files),
        (0, 0) => {}
        (n, 0) => return Err(folder_error(format!("{n} `.safetensors` files without an index"))),
        (_, n) => return Err(folder_error(format!("{n} index files"))),
    }
    let (coded, plain): (Vec<_>, Vec<_>) = names
        .into_iter()
        .filter(|name| is_pickle(name) && !is_scales(name))
        .partition(|name| is_of_eight_bits(name));
    let pickles = if plain.is_empty() { coded } else { plain };
    match pickles.len() {
        1 => Ok(pickles),
        0 => Err(folder_error(
            "neither a `.safetensors` file nor one of `torch.save`".into(),
        )),
        n => Err(folder_error(format!("{n} files of `torch.save`"))),
    }
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}
