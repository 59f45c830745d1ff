//! The model that comes with the program: wan-mini, 5.1 M parameters, 64×64 pixels, 16 frames. Small
//! enough for a laptop, trained, and of Wan's architecture: what a cache does to it can be seen.

use crate::codec::PatchCodec;
use crate::models::wan::{Wan, WanConfig};
use crate::text::Vocabulary;
use crate::weights::{Weights, WeightsError};
use burn::tensor::{Device, FloatDType};

/// Latent frames, rows, columns of its videos.
pub const GRID: [usize; 3] = [8, 16, 16];
/// Frames a second of its videos.
pub const FPS: u32 = 8;
/// Sampler steps it was tuned for, with the flow grid and Euler.
pub const STEPS: usize = 50;
/// Its shift.
pub const SHIFT: f64 = 3.0;
/// Its guidance scale.
pub const GUIDANCE: f32 = 2.0;

/// wan-mini, complete.
pub struct Mini {
    /// The transformer.
    pub wan: Wan,
    /// Its prompts: `a|an <object> <motion> on <colour>`.
    pub text: Vocabulary,
    /// Its latents as pixels.
    pub codec: PatchCodec,
}

impl Mini {
    /// Unpacks the embedded weights onto a device.
    ///
    /// # Errors
    /// [`WeightsError`] only when the program was built with a damaged copy.
    pub fn load(device: &Device, dtype: FloatDType) -> Result<Mini, WeightsError> {
        let config = WanConfig::preset("wan-mini").expect("a preset");
        let tokens_max = config.text_len;
        let weights = |name, bytes| Weights::embedded(name, bytes);
        let model = weights("wan-mini", include_bytes!("../models/wan-mini/wan-mini.safetensors"))?;
        let codec = weights("wan-mini codec", include_bytes!("../models/wan-mini/codec.safetensors"))?;
        let text = weights(
            "wan-mini words",
            include_bytes!("../models/wan-mini/text-table.safetensors"),
        )?;
        let vocabulary: WordList = serde_json::from_str(include_str!("../models/wan-mini/vocab.json"))
            .expect("the embedded vocabulary parses");
        let table = text
            .floats("text_table.weight")
            .expect("the embedded table has its key");
        Ok(Mini {
            wan: Wan::load(config, model, device, dtype)?,
            text: Vocabulary::new(vocabulary.words, table, tokens_max),
            codec: PatchCodec::load(codec, device)?,
        })
    }
}

#[derive(serde::Deserialize)]
struct WordList {
    words: Vec<String>,
}
