//! Prompts of a closed vocabulary: a table of word vectors in place of a text encoder.

use crate::models::Prompt;
use burn::tensor::{Device, Tensor, TensorData};

/// A closed vocabulary and its word vectors.
pub struct Vocabulary {
    words: Vec<String>,
    table: Vec<f32>, // [words, width]
    tokens_max: usize,
}

/// A prompt that the vocabulary cannot say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// A word outside the vocabulary.
    #[error("the model does not know the word `{word}`: it knows {known}")]
    UnknownWord {
        /// The word.
        word: String,
        /// All words it knows.
        known: String,
    },
    /// More words than the model has room for.
    #[error("the prompt has {found} words, the model takes at most {max}")]
    TooLong {
        /// Words of the prompt.
        found: usize,
        /// Words it takes.
        max: usize,
    },
}

impl Vocabulary {
    /// A vocabulary of `words`, whose vectors are the rows of `table`.
    ///
    /// # Panics
    /// When the table has not one row for each word.
    pub fn new(words: Vec<String>, table: Vec<f32>, tokens_max: usize) -> Vocabulary {
        assert!(
            !words.is_empty() && table.len().is_multiple_of(words.len()),
            "one row for each word"
        );
        Vocabulary {
            words,
            table,
            tokens_max,
        }
    }
    /// Width of a word vector.
    pub fn width(&self) -> usize {
        self.table.len() / self.words.len()
    }
    /// A prompt's word vectors and their mean, split at single spaces, in lower case. The empty prompt is
    /// one row of zeros: padding, which is what the model saw when a caption was dropped.
    ///
    /// # Errors
    /// [`PromptError`] naming the unknown word and the known ones.
    pub fn encode(&self, prompt: &str, device: &Device) -> Result<Prompt, PromptError> {
        let width = self.width();
        let rows = match prompt {
            "" => vec![0.0; width],
            prompt => self.rows(prompt)?,
        };
        let shape = [1, rows.len() / width, width];
        Ok(Prompt::averaged(Tensor::from_data(
            TensorData::new(rows, shape),
            device,
        )))
    }
    fn rows(&self, prompt: &str) -> Result<Vec<f32>, PromptError> {
        let found = prompt.split(' ').count();
        if found > self.tokens_max {
            let max = self.tokens_max;
            return Err(PromptError::TooLong { found, max });
        }
        let mut rows = vec![];
        for word in prompt.split(' ').map(str::to_lowercase) {
            let Some(i) = self.words.iter().position(|known| *known == word) else {
                let known = self.words.join(", ");
                return Err(PromptError::UnknownWord { word, known });
            };
            rows.extend_from_slice(&self.table[i * self.width()..(i + 1) * self.width()]);
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        Vocabulary::new(vec!["a".into(), "cat".into()], vec![1.0, 2.0, 3.0, 4.0], 3)
    }

    #[test]
    fn a_prompt_is_the_vectors_of_its_words_and_their_mean() {
        let prompt = vocabulary().encode("A cat", &Device::flex()).unwrap();
        assert_eq!(crate::tensors::host(prompt.states), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(crate::tensors::host(prompt.pooled), [2.0, 3.0]);
    }

    #[test]
    fn an_unknown_word_is_an_error_that_lists_the_known() {
        let error = vocabulary().encode("a dog", &Device::flex()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the model does not know the word `dog`: it knows a, cat"
        );
    }

    #[test]
    fn a_prompt_longer_than_the_text_of_the_model_is_refused() {
        let error = vocabulary().encode("a cat a cat", &Device::flex()).unwrap_err();
        assert_eq!(error, PromptError::TooLong { found: 4, max: 3 });
    }
}
