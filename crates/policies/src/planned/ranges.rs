//! Ranges of blocks as an experiment writes them, since a knob is one word: `b=2..6,c=1..7`.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};
use std::collections::BTreeMap;

type Ranges = BTreeMap<char, [usize; 2]>;

pub(super) fn serialize<S: Serializer>(ranges: &Ranges, to: S) -> Result<S::Ok, S::Error> {
    let range = |(letter, [from, to]): (&char, &[usize; 2])| format!("{letter}={from}..{to}");
    to.serialize_str(&ranges.iter().map(range).collect::<Vec<_>>().join(","))
}

pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Ranges, D::Error> {
    let text = String::deserialize(from)?;
    let range = |text: &str| {
        let (letter, range) = text.split_once('=')?;
        let (from, to) = range.split_once("..")?;
        Some((letter.trim().parse().ok()?, [from.trim().parse().ok()?, to.trim().parse().ok()?]))
    };
    let ranges = text.split(',').filter(|text| !text.is_empty()).map(|text| {
        let expected = "expected a letter, the first block and one past the last, as in `b=2..6,c=1..7`";
        range(text).ok_or_else(|| D::Error::custom(format!("found `{text}`, {expected}")))
    });
    ranges.collect()
}
