//! Prompts as Wan's code cleans them before they are split into tokens: what looks like a plain character becomes
//! one, HTML entities are unescaped, white space is normalised (`wan/modules/tokenizers.py`, `clean = "whitespace"`).

use unicode_normalization::UnicodeNormalization;

/// A prompt as the encoder was trained to see it. This matters: the authors' own negative prompt has full-width
/// commas, and reaches the encoder with plain ones.
///
/// What ftfy does there, but for the repair of text that was decoded wrongly (a prompt must be UTF-8); then HTML
/// entities, unescaped twice; then white space of any kind as single spaces, none at the ends.
pub fn clean(prompt: &str) -> String {
    let plain: String = prompt.chars().map(plain).collect();
    let composed: String = plain.nfc().collect();
    let once = html_escape::decode_html_entities(&composed);
    let twice = html_escape::decode_html_entities(&once);
    twice.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A character, or the plain ones it stands for (ftfy 6, `chardata.py`).
fn plain(c: char) -> String {
    match c {
        // Apostrophes and quotation marks.
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => "'".into(),
        '\u{201c}'..='\u{201f}' => "\"".into(),
        'ŉ' => "'n".into(),
        // Ligatures; full-width forms of ASCII, half-width forms of Katakana and Hangul.
        'Ĳ' | 'ĳ' | 'Ǆ'..='ǌ' | 'Ǳ'..='ǳ' | 'ﬀ'..='ﬄ' | 'ﬆ' | '\u{ff01}'..='\u{ffef}' => {
            [c].into_iter().nfkc().collect()
        }
        // Marks without a shape.
        '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' => String::new(),
        c if c.is_ascii_control() && !c.is_ascii_whitespace() => String::new(),
        c => c.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ftfy 6.3.1 and Python's `html.unescape` and `re` make of these.
    #[test]
    fn prompts_are_cleaned_as_the_reference_cleans_them() {
        for (prompt, cleaned) in [
            ("色调艳丽，过曝，静态，ＪＰＥＧ　压缩", "色调艳丽,过曝,静态,JPEG 压缩"),
            ("it’s a “cat”… ‚low‛ „x‟", "it's a \"cat\"… 'low' \"x\""),
            ("ﬁne ﬂuﬀy ﬃ ﬆ Ĳssel ǆ ŉ", "fine fluffy ffi st IJssel dž 'n"),
            ("ｶﾞｶﾅ ￥", "ガカナ ¥"),
            ("e\u{301}cole \u{feff}x\u{7}y", "école xy"),
            ("  a\tcat \n\n on\u{3000}grass\u{a0}", "a cat on grass"),
            ("salt &amp;amp; pepper &lt;3 &#233;", "salt & pepper <3 é"),
        ] {
            assert_eq!(clean(prompt), cleaned);
        }
    }
}
