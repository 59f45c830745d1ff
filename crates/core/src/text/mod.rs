//! Prompts as numbers: the text encoder of the large models, its results on disk, and the words of the embedded
//! models.

pub mod umt5;
mod words;

pub use words::{PromptError, Vocabulary};
