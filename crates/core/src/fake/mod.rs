//! Checkpoints that are none: seeded random numbers under the names, in the shapes, files and folders of published
//! ones. They load by the same path, so whether a download would load can be tried without one. Their files say
//! what they are ([`NOTE`]).

mod config_file;
mod draw;

use crate::inventory::{Asked, KeyLayout, by_tensor};
use crate::models::Config;
use crate::models::cogvideox::CogVideoXConfig;
use crate::models::hunyuan::HunyuanConfig;
use crate::models::wan::WanConfig;
use crate::vae::VaeConfig;
use draw::Drawn;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, serialize_to_file};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Key in the metadata of a file, beside which stands what its random numbers come from.
pub const NOTE: &str = "mixcache.random";

/// Most bytes of a file of a published checkpoint: diffusers' default, which the authors' files keep too.
const SHARD_BYTES_MAX: u64 = 10_000_000_000;

/// A checkpoint that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FakeError {
    /// A file or folder that cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A weight file that cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What the writer says.
        source: SafeTensorError,
    },
}

/// A part of a checkpoint that has files of its own.
pub struct Component {
    /// Its folder in the checkpoint; empty = the checkpoint's own.
    pub folder: &'static str,
    /// Name of its weight file, without ending.
    pub stem: &'static str,
    /// Its tensors.
    pub asked: Vec<Asked>,
    /// Dtype of its numbers.
    pub dtype: Dtype,
    /// Most bytes of a weight file.
    pub shard_bytes_max: u64,
    /// Its `config.json`.
    pub config: Value,
    /// Added to the seed, where the checkpoint has another component of the same names.
    pub seed: u64,
}

impl Component {
    fn bytes(&self) -> u64 {
        self.asked.iter().map(Asked::len).sum::<usize>() as u64 * self.dtype.bitsize() as u64 / 8
    }
}

/// The same architecture, small: a few blocks of width 64, and of the text all but its length.
pub fn tiny(config: &Config) -> Config {
    match config.clone() {
        Config::Wan(config) => Config::Wan(WanConfig {
            name: "wan".into(),
            dim: 64,
            heads: 2,
            ffn_dim: 128,
            layers: 4,
            text_dim: 48,
            ..config
        }),
        Config::Hunyuan(config) => Config::Hunyuan(HunyuanConfig {
            name: "hunyuan".into(),
            dim: 64,
            heads: 2,
            mlp_dim: 256,
            double_layers: 2,
            single_layers: 3,
            text_dim: 48,
            pooled_dim: 24,
            rope: [8, 12, 12],
            ..config
        }),
        Config::CogVideoX(config) => Config::CogVideoX(CogVideoXConfig {
            name: "cogvideox".into(),
            dim: 64,
            heads: 2,
            mlp_dim: 256,
            layers: 4,
            text_dim: 48,
            time_dim: 32,
            ..config
        }),
    }
}

/// What the checkpoint of a model of these sizes consists of: its transformer, or both experts, that for high noise first,
/// and, in diffusers' layout, its video autoencoder, which the authors publish as a pickle: none is written. A small one has as many files
/// as the published one whose sizes are `full`.
pub fn components(config: &Config, full: &Config, layout: KeyLayout) -> Vec<Component> {
    let folders: &[&str] = match (config.experts(), layout) {
        (2, KeyLayout::Diffusers) => &["transformer", "transformer_2"],
        (2, KeyLayout::Original) => &["high_noise_model", "low_noise_model"],
        (_, KeyLayout::Diffusers) => &["transformer"],
        (_, KeyLayout::Original) => &[""],
    };
    let seeded = |(seed, &folder)| Component {
        seed,
        ..transformer(config, full, layout, folder)
    };
    let decoder = (layout == KeyLayout::Diffusers).then(|| {
        let published = VaeConfig::published(full);
        match config == full {
            true => autoencoder(published),
            false => autoencoder(published.tiny()),
        }
    });
    (0..).zip(folders).map(seeded).chain(decoder).collect()
}

fn autoencoder(config: VaeConfig) -> Component {
    Component {
        folder: "vae",
        stem: "diffusion_pytorch_model",
        asked: config.inventory(KeyLayout::Diffusers),
        dtype: match config {
            VaeConfig::Wan(_) | VaeConfig::Hunyuan(_) => Dtype::F32,
            VaeConfig::CogVideoX(_) => Dtype::BF16,
        },
        shard_bytes_max: SHARD_BYTES_MAX,
        config: config_file::vae_json(&config),
        seed: 0,
    }
}

fn transformer(config: &Config, full: &Config, layout: KeyLayout, folder: &'static str) -> Component {
    let stem = match (config, layout) {
        (_, KeyLayout::Diffusers) => "diffusion_pytorch_model",
        (Config::Wan(_), KeyLayout::Original) => "diffusion_pytorch_model",
        // Published as pickles, which are not written: these are what they become when they are converted.
        (_, KeyLayout::Original) => "mp_rank_00_model_states",
    };
    let one_file = stem == "mp_rank_00_model_states";
    let share = config.parameters() as f64 / full.parameters() as f64;
    Component {
        folder,
        stem,
        asked: config.inventory(layout),
        dtype: match config {
            Config::Wan(_) => Dtype::F32,
            Config::Hunyuan(_) | Config::CogVideoX(_) => Dtype::BF16,
        },
        shard_bytes_max: if one_file {
            u64::MAX
        } else {
            (SHARD_BYTES_MAX as f64 * share) as u64
        },
        config: config_file::json(config, layout),
        seed: 0,
    }
}

/// Writes a component into its folder of the checkpoint `root`, and returns its files. The same seed gives the same
/// model in either layout.
///
/// # Errors
/// [`FakeError`] naming the file or folder that cannot be written.
pub fn write(component: &Component, root: &Path, seed: u64) -> Result<Vec<PathBuf>, FakeError> {
    let seed = seed + component.seed;
    let io = |path: &Path| {
        let path = path.to_path_buf();
        |source| FakeError::Io { path, source }
    };
    let folder = root.join(component.folder);
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    let text = |name: String, json: &Value| {
        let path = folder.join(name);
        fs::write(&path, format!("{json:#}\n")).map_err(io(&path))
    };
    text("config.json".into(), &component.config)?;

    let shards = shards(component, seed);
    let count = shards.len();
    let (mut written, mut places) = (vec![], serde_json::Map::new());
    for (i, shard) in shards.into_iter().enumerate() {
        let name = match count {
            1 => format!("{}.safetensors", component.stem),
            _ => format!("{}-{:05}-of-{count:05}.safetensors", component.stem, i + 1),
        };
        places.extend(shard.iter().map(|(key, _)| (key.to_string(), json!(name))));
        let path = folder.join(name);
        let note = HashMap::from([(NOTE.to_string(), format!("seed {seed}"))]);
        serialize_to_file(shard, Some(note), &path).map_err(|source| FakeError::Tensors {
            path: path.clone(),
            source,
        })?;
        written.push(path);
    }
    if count > 1 {
        let index = json!({ "metadata": { "total_size": component.bytes() }, "weight_map": places });
        text(format!("{}.safetensors.index.json", component.stem), &index)?;
    }
    Ok(written)
}

/// The tensors of a component, file by file, filled in the order of their names.
fn shards(component: &Component, seed: u64) -> Vec<Vec<(&str, Drawn<'_>)>> {
    let mut shards: Vec<Vec<(&str, Drawn)>> = vec![vec![]];
    let mut bytes = 0;
    for (key, parts) in by_tensor(&component.asked) {
        let drawn = Drawn::new(parts, component.dtype, seed);
        let size = drawn.bytes() as u64;
        if bytes > 0 && bytes + size > component.shard_bytes_max {
            shards.push(vec![]);
            bytes = 0;
        }
        bytes += size;
        shards.last_mut().expect("one at least").push((key, drawn));
    }
    shards
}
