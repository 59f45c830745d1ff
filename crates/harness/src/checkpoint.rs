//! Where the parts of a checkpoint lie, in the authors' or in diffusers' folders.

use std::path::{Path, PathBuf};

/// The parts of a checkpoint as downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The transformer, or of two experts the one for high noise: a file or a folder.
    pub transformer: PathBuf,
    /// The expert for low noise, where there are two (Wan2.2).
    pub low_noise: Option<PathBuf>,
    /// The video autoencoder: a file or a folder.
    pub vae: Result<PathBuf, String>,
}

/// Folders of transformers in a checkpoint, and beside each that of an expert for low noise: diffusers', and those of
/// Wan2.2's authors.
const TRANSFORMERS: [(&str, &str); 2] = [
    ("transformer", "transformer_2"),
    ("high_noise_model", "low_noise_model"),
];

impl Checkpoint {
    /// Looks around `path`: a transformer's file or folder, or the folder that holds all parts. The autoencoder is the
    /// folder `vae/` beside `transformer/` (diffusers), or a `.safetensors` file with `vae` in its name beside the
    /// transformer's (the authors', converted).
    pub fn find(path: &Path) -> Checkpoint {
        let names = TRANSFORMERS.map(|(name, _)| name);
        let inside = names
            .map(|name| path.join(name))
            .into_iter()
            .find(|inside| inside.is_dir());
        let is_part = |part: &Path| {
            names
                .iter()
                .any(|name| part.file_name().is_some_and(|own| own == *name))
        };
        let (transformer, folder) = match (path, inside) {
            (whole, Some(inside)) => (inside, whole),
            (part, None) if part.is_dir() && is_part(part) => (part.to_path_buf(), part.parent().unwrap_or(part)),
            (folder, None) if folder.is_dir() => (only_other(folder).unwrap_or(folder.to_path_buf()), folder),
            (file, None) => (file.to_path_buf(), file.parent().unwrap_or(file)),
        };
        let beside = TRANSFORMERS.iter().find(|(name, _)| transformer == folder.join(name));
        let low_noise = beside.map(|(_, low_noise)| folder.join(low_noise));
        Checkpoint {
            vae: vae(folder, &transformer),
            low_noise: low_noise.filter(|low_noise| low_noise.is_dir()),
            transformer,
        }
    }
}

/// The autoencoder in a folder, or why there is none.
fn vae(folder: &Path, transformer: &Path) -> Result<PathBuf, String> {
    let own = folder.join("vae");
    if !entries(&own, ".safetensors").is_empty() {
        return Ok(own);
    }
    let named = |folder: &Path, end| {
        let files = entries(folder, end).into_iter();
        files
            .filter(|file| is_vae(file) && file != transformer)
            .collect::<Vec<_>>()
    };
    let found = named(folder, ".safetensors");
    match found.as_slice() {
        [file] => return Ok(file.clone()),
        [] => {}
        several => {
            return Err(format!(
                "{} files in {} have `vae` in their name",
                several.len(),
                folder.display()
            ));
        }
    }
    // The authors' are pickles: programs, which are not run.
    let pickles = [folder, &own]
        .into_iter()
        .flat_map(|folder| [".pth", ".pt", ".bin"].map(|end| (folder, end)));
    let mut pickles = pickles.flat_map(|(folder, end)| entries(folder, end));
    match pickles.find(|file| is_vae(file) || file.parent() == Some(&own)) {
        Some(pickle) => Err(format!(
            "{} is a pickle, which is not read: convert it to .safetensors",
            pickle.display()
        )),
        None => Err(format!("no `vae/` and no `*vae*.safetensors` in {}", folder.display())),
    }
}

/// The transformer's file in a folder where the autoencoder's is the only other one.
fn only_other(folder: &Path) -> Option<PathBuf> {
    let has_index = !entries(folder, ".safetensors.index.json").is_empty();
    let (vaes, others): (Vec<_>, Vec<_>) = entries(folder, ".safetensors")
        .into_iter()
        .partition(|file| is_vae(file));
    match others.as_slice() {
        [file] if !has_index && !vaes.is_empty() => Some(file.clone()),
        _ => None,
    }
}

fn is_vae(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.to_lowercase().contains("vae")
}

/// Files of a folder whose names end so, in order; none where there is no such folder.
fn entries(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.to_string_lossy().ends_with(end))
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn folder(files: &[&str]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn the_folders_of_diffusers_are_found_from_their_root_and_from_the_transformer() {
        let hub = folder(&[
            "transformer/diffusion_pytorch_model.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
        ]);
        let expected = Checkpoint {
            transformer: hub.path().join("transformer"),
            low_noise: None,
            vae: Ok(hub.path().join("vae")),
        };
        assert_eq!(Checkpoint::find(hub.path()), expected);
        assert_eq!(Checkpoint::find(&hub.path().join("transformer")), expected);
    }

    #[test]
    fn a_converted_file_beside_the_transformer_is_found_and_not_taken_for_it() {
        let file = "diffusion_pytorch_model.safetensors";
        let authors = folder(&[file, "Wan2.1_VAE.safetensors", "Wan2.1_VAE.pth"]);
        let expected = Checkpoint {
            transformer: authors.path().join(file),
            low_noise: None,
            vae: Ok(authors.path().join("Wan2.1_VAE.safetensors")),
        };
        assert_eq!(Checkpoint::find(authors.path()), expected);
        assert_eq!(Checkpoint::find(&authors.path().join(file)), expected);
        // Shards are found by their index.
        let shards = folder(&[
            "model-1.safetensors",
            "model.safetensors.index.json",
            "Wan2.1_VAE.safetensors",
        ]);
        let found = Checkpoint::find(shards.path());
        assert_eq!((found.transformer.as_path(), found.vae.is_ok()), (shards.path(), true));
    }

    #[test]
    fn both_experts_of_wan2_2_are_found_in_either_layout() {
        let file = "diffusion_pytorch_model.safetensors";
        for (high, low) in TRANSFORMERS {
            let both = folder(&[
                &format!("{high}/{file}"),
                &format!("{low}/{file}"),
                "Wan2.1_VAE.safetensors",
            ]);
            let expected = Checkpoint {
                transformer: both.path().join(high),
                low_noise: Some(both.path().join(low)),
                vae: Ok(both.path().join("Wan2.1_VAE.safetensors")),
            };
            assert_eq!(Checkpoint::find(both.path()), expected);
            assert_eq!(Checkpoint::find(&both.path().join(high)), expected);
        }
    }

    #[test]
    fn a_pickle_is_named_and_not_read() {
        let authors = folder(&["diffusion_pytorch_model.safetensors", "Wan2.1_VAE.pth"]);
        let found = Checkpoint::find(authors.path());
        assert_eq!(found.transformer, authors.path());
        let why = found.vae.unwrap_err();
        assert!(why.contains("Wan2.1_VAE.pth") && why.contains("convert"), "{why}");
    }

    #[test]
    fn a_checkpoint_without_an_autoencoder_says_what_was_looked_for() {
        let alone = folder(&["model.safetensors"]);
        let file = alone.path().join("model.safetensors");
        let found = Checkpoint::find(&file);
        assert_eq!(found.transformer, file);
        assert!(found.vae.unwrap_err().contains("`*vae*.safetensors`"));
    }
}
