//! Token ids of recorded texts: `cases.json`, lists of texts and ids under the name of a tokenizer.

use super::{Finding, Verdict, json_files, read_json};
use anyhow::{Context, Result};
use mixcache_core::text::Tokenizer;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Token that ends a prompt of T5 and of UMT5.
const END_TOKEN: u32 = 1;

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

/// Compares the `cases.json` in `folder` with the tokenizers `NAME_tokenizer.json` in `tokenizers`. What is measured
/// is the part of the texts whose ids differ.
///
/// # Errors
/// When the folder cannot be read, or a file in it is not such a list.
pub fn compare(folder: &Path, tokenizers: &Path) -> Result<Vec<Finding>> {
    let mut files = vec![];
    json_files(folder, &mut files)?;
    let mut findings = vec![];
    for path in files.iter().filter(|path| path.ends_with("cases.json")) {
        let cases: BTreeMap<String, Vec<Text>> =
            serde_json::from_value(read_json(path)?).with_context(|| format!("in {}", path.display()))?;
        for (name, texts) in cases {
            let verdict = match differing(&tokenizers.join(format!("{name}_tokenizer.json")), &texts) {
                Ok(differing) => Verdict::Measured {
                    error: differing as f64 / texts.len() as f64,
                    tolerance: 0.0,
                },
                Err(error) => Verdict::Failed(format!("{error:#}")),
            };
            findings.push(Finding {
                case: path
                    .strip_prefix(folder)
                    .unwrap_or(path)
                    .with_extension("")
                    .display()
                    .to_string(),
                quantity: format!("{name}: ids of {} texts, part that differs", texts.len()),
                verdict,
            });
        }
    }
    Ok(findings)
}

fn differing(tokenizer: &Path, texts: &[Text]) -> Result<usize> {
    let tokenizer = Tokenizer::open(tokenizer, Some(END_TOKEN), usize::MAX)?;
    let mut differing = 0;
    for Text { text, ids } in texts {
        differing += (tokenizer.tokens(text)?.ids != *ids) as usize;
    }
    Ok(differing)
}
