//! Prompts as numbers: the text encoder of the large models, its results on disk, and the words of the embedded
//! models.

mod attention;
mod checkpoint;
mod clean;
pub mod clip;
mod embedding;
mod encoders;
pub mod llama;
mod states;
pub mod t5;
mod tokenizer;
mod words;

pub use checkpoint::CheckpointError;
pub use clean::clean;
pub use embedding::TokensError;
pub use encoders::{Encoded, TextEncoders};
pub use states::{StatesError, TextStates};
pub use tokenizer::{Tokenizer, TokenizerError, Tokens};
pub use words::{PromptError, Vocabulary};
