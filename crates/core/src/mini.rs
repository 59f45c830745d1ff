//! The models that come with the program, 64×64 pixels and 16 frames: small enough for a laptop, trained,
//! and of the architecture of a large one, so that what a cache does to it can be seen.

use crate::codec::PatchCodec;
use crate::models::{Config, Model};
use crate::text::Vocabulary;
use crate::weights::{Weights, WeightsError};
use burn::tensor::{Device, FloatDType};

/// Latent frames, rows, columns of their videos.
pub const GRID: [usize; 3] = [8, 16, 16];
/// Frames a second of their videos.
pub const FPS: u16 = 8;

/// A model compiled into the program.
pub struct Embedded {
    /// Its preset.
    pub name: &'static str,
    /// Shift of the noise schedule it was tuned for.
    pub shift: f64,
    /// Guidance scale it was tuned for.
    pub guidance: f32,
    weights: &'static [u8],
    codec: &'static [u8],
    words: &'static [u8],
    vocabulary: &'static str,
}

/// The folder `models/NAME` with the files of its name.
macro_rules! embedded {
    ($name:literal, shift: $shift:literal, guidance: $guidance:literal) => {
        Embedded {
            name: $name,
            shift: $shift,
            guidance: $guidance,
            weights: include_bytes!(concat!("../models/", $name, "/", $name, ".safetensors")),
            codec: include_bytes!(concat!("../models/", $name, "/codec.safetensors")),
            words: include_bytes!(concat!("../models/", $name, "/text-table.safetensors")),
            vocabulary: include_str!(concat!("../models/", $name, "/vocab.json")),
        }
    };
}

static ALL: &[Embedded] = &[
    embedded!("wan-mini", shift: 3.0, guidance: 2.0),
    embedded!("hunyuan-mini", shift: 3.0, guidance: 3.0),
];

/// The embedded model of this name.
pub fn find(name: &str) -> Option<&'static Embedded> {
    ALL.iter().find(|embedded| embedded.name == name)
}

/// An embedded model, complete.
pub struct Mini {
    /// The transformer.
    pub model: Model,
    /// Its prompts: `a|an <object> <motion> on <colour>`.
    pub text: Vocabulary,
    /// Its latents as pixels.
    pub codec: PatchCodec,
}

impl Embedded {
    /// Unpacks the weights onto a device.
    ///
    /// # Errors
    /// [`WeightsError`] only when the program was built with a damaged copy.
    pub fn load(&'static self, device: &Device, dtype: FloatDType) -> Result<Mini, WeightsError> {
        let weights = |part: &str, bytes| Weights::embedded(&format!("{}{part}", self.name), bytes);
        let (model, codec) = (weights("", self.weights)?, weights(" codec", self.codec)?);
        let text = weights(" words", self.words)?;
        let vocabulary: WordList = serde_json::from_str(self.vocabulary).expect("the embedded vocabulary parses");
        let table = text
            .floats("text_table.weight")
            .expect("the embedded table has its key");
        let config = Config::preset(self.name).expect("an embedded model has a preset");
        let tokens_max = config.text_len();
        Ok(Mini {
            model: config.load(model, device, dtype)?,
            text: Vocabulary::new(vocabulary.words, table, tokens_max),
            codec: PatchCodec::load(codec, device)?,
        })
    }
}

#[derive(serde::Deserialize)]
struct WordList {
    words: Vec<String>,
}
