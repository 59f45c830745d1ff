//! Ranges of blocks as an experiment writes them, since a knob is one word: `b=2..6,c=1..7`.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};
use std::collections::BTreeMap;

/// First block of each range, and one past its last, by the letter of a plan that reuses it.
pub type Ranges = BTreeMap<char, [usize; 2]>;

/// `b=2..6,c=1..7` as ranges; nothing as none.
///
/// # Errors
/// What was found, and what is expected.
pub fn parse(text: &str) -> Result<Ranges, String> {
    let range = |text: &str| {
        let (letter, range) = text.split_once('=')?;
        let (from, to) = range.split_once("..")?;
        Some((letter.trim().parse().ok()?, [from.trim().parse().ok()?, to.trim().parse().ok()?]))
    };
    let mut ranges = Ranges::new();
    for text in text.split(',').filter(|text| !text.is_empty()) {
        let expected = "expected a letter, the first block and one past the last, as in `b=2..6,c=1..7`";
        let (letter, range) = range(text).ok_or_else(|| format!("found `{text}`, {expected}"))?;
        if ranges.insert(letter, range).is_some() {
            return Err(format!("`{letter}` has two ranges, expected a letter for each"));
        }
    }
    Ok(ranges)
}

pub(super) fn serialize<S: Serializer>(ranges: &Ranges, to: S) -> Result<S::Ok, S::Error> {
    let range = |(letter, [from, to]): (&char, &[usize; 2])| format!("{letter}={from}..{to}");
    to.serialize_str(&ranges.iter().map(range).collect::<Vec<_>>().join(","))
}

pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Ranges, D::Error> {
    parse(&String::deserialize(from)?).map_err(D::Error::custom)
}
