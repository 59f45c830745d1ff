//! Where the parts of a checkpoint lie, in the authors' or in diffusers' folders.

use mixcache_core::text::TextEncoders;
use mixcache_core::weights::PICKLES;
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
    /// The folder that holds the text encoders and their tokenizers, where there are any.
    pub text: Option<PathBuf>,
}

/// Folders of transformers in a checkpoint, and beside each that of an expert for low noise: diffusers', those of
/// Wan2.2's authors, and that of HunyuanVideo's.
const TRANSFORMERS: [(&str, Option<&str>); 3] = [
    ("transformer", Some("transformer_2")),
    ("high_noise_model", Some("low_noise_model")),
    ("transformers", None),
];

/// The folder in a download of HunyuanVideo's authors that holds all but the text encoders.
const HUNYUAN: &str = "hunyuan-video-t2v-720p";

impl Checkpoint {
    /// Looks around `path`: a transformer's file or folder, or the folder that holds all parts. The autoencoder is the
    /// folder `vae/` beside the transformer's (diffusers, HunyuanVideo's authors), or a file with `vae` in its name beside
    /// the transformer's (Wan's authors); safetensors go before pickles. Text encoders lie in that folder too, those of
    /// HunyuanVideo's authors one above.
    pub fn find(path: &Path) -> Checkpoint {
        // A relative path may have no parent to look in.
        let path = &std::path::absolute(path).unwrap_or(path.to_path_buf());
        let inside = path.join(HUNYUAN);
        let path = if inside.is_dir() { &inside } else { path };
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
        let around = |part: &Path| part.parent().unwrap_or(part).to_path_buf();
        let (transformer, folder) = match (path, inside) {
            (whole, Some(inside)) => (inside, whole.to_path_buf()),
            (part, None) if part.is_dir() && is_part(part) => (part.to_path_buf(), around(part)),
            (folder, None) if folder.is_dir() => {
                (only_other(folder).unwrap_or(folder.to_path_buf()), folder.to_path_buf())
            }
            (file, None) if is_part(&around(file)) => (file.to_path_buf(), around(&around(file))),
            (file, None) => (file.to_path_buf(), around(file)),
        };
        let beside = TRANSFORMERS.iter().find(|(name, _)| transformer == folder.join(name));
        let low_noise = beside.and_then(|(_, low_noise)| Some(folder.join((*low_noise)?)));
        let above = folder.parent().filter(|_| folder.ends_with(HUNYUAN));
        let mut texts = [Some(folder.as_path()), above].into_iter().flatten();
        Checkpoint {
            text: texts.find(|folder| TextEncoders::are_in(folder)).map(Path::to_path_buf),
            vae: vae(&folder, &transformer),
            low_noise: low_noise.filter(|low_noise| low_noise.is_dir()),
            transformer,
        }
    }
}

/// The autoencoder in a folder, or why there is none.
fn vae(folder: &Path, transformer: &Path) -> Result<PathBuf, String> {
    let own = folder.join("vae");
    for ends in [&["safetensors"][..], &PICKLES] {
        let files = |folder| ends.iter().flat_map(move |end| entries(folder, &format!(".{end}")));
        if files(&own).next().is_some() {
            return Ok(own);
        }
        let named: Vec<_> = files(folder)
            .filter(|file| is_vae(file) && file != transformer)
            .collect();
        match named.as_slice() {
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
    }
    Err(format!(
        "no `vae/` with weights, and no `*vae*.safetensors` or `*vae*.pth` in {}",
        folder.display()
    ))
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
            "text_encoder/model.safetensors",
        ]);
        let expected = Checkpoint {
            transformer: hub.path().join("transformer"),
            low_noise: None,
            vae: Ok(hub.path().join("vae")),
            text: Some(hub.path().to_path_buf()),
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
            text: None,
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
        let both = TRANSFORMERS.iter().filter_map(|(high, low)| Some((high, (*low)?)));
        for (high, low) in both {
            let both = folder(&[
                &format!("{high}/{file}"),
                &format!("{low}/{file}"),
                "Wan2.1_VAE.safetensors",
            ]);
            let expected = Checkpoint {
                transformer: both.path().join(high),
                low_noise: Some(both.path().join(low)),
                vae: Ok(both.path().join("Wan2.1_VAE.safetensors")),
                text: None,
            };
            assert_eq!(Checkpoint::find(both.path()), expected);
            assert_eq!(Checkpoint::find(&both.path().join(high)), expected);
        }
    }

    #[test]
    fn wan_as_its_authors_publish_it_is_found_and_safetensors_go_before_pickles() {
        let mut files = vec![
            "diffusion_pytorch_model.safetensors",
            "models_t5_umt5-xxl-enc-bf16.pth",
            "Wan2.1_VAE.pth",
        ];
        for vae in ["Wan2.1_VAE.pth", "Wan2.1_VAE.safetensors"] {
            files.push(vae);
            let authors = folder(&files);
            let found = Checkpoint::find(authors.path());
            assert_eq!(found.vae, Ok(authors.path().join(vae)));
            assert_eq!(found.text.as_deref(), Some(authors.path()));
        }
    }

    #[test]
    fn hunyuan_video_as_its_authors_publish_it_is_found_from_everywhere() {
        let ckpts = folder(&[
            "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt",
            "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states_fp8.pt",
            "hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states_fp8_map.pt",
            "hunyuan-video-t2v-720p/vae/config.json",
            "hunyuan-video-t2v-720p/vae/pytorch_model.pt",
            "text_encoder/config.json",
            "text_encoder_2/config.json",
        ]);
        let model = ckpts.path().join(HUNYUAN);
        let expected = Checkpoint {
            transformer: model.join("transformers"),
            low_noise: None,
            vae: Ok(model.join("vae")),
            text: Some(ckpts.path().to_path_buf()),
        };
        for path in [ckpts.path(), &model, &model.join("transformers")] {
            assert_eq!(Checkpoint::find(path), expected, "{}", path.display());
        }
        // One of the two sets of weights is chosen by its file.
        let fp8 = model.join("transformers/mp_rank_00_model_states_fp8.pt");
        let expected = Checkpoint {
            transformer: fp8.clone(),
            ..expected
        };
        assert_eq!(Checkpoint::find(&fp8), expected);
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
