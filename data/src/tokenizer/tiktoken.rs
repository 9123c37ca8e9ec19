//! `tiktoken.model`: a token in base64 and its rank on each line, as Kimi's checkpoints ship it. What else decides the ids
//! is said in their code (`tokenization_kimi.py`): the pattern, and that the ids after the ranks are special tokens, named by
//! `added_tokens_decoder` of tokenizer_config.json.
//!
//! Some releases of that code name two special tokens more than their models have embeddings for. Those two are left out.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::ranks::{MOST_TOKENS, Ranks, Special};

/// Ids that are kept for special tokens, after those of the ranks.
const RESERVED: u32 = 256;

/// What splits a text: runs of Chinese characters; words with at most one sign before them and an English contraction after
/// them, by their capitals; up to three digits; signs; line ends; spaces.
const PATTERN: [&str; 8] = [
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
];

/// The tokenizer of the file's bytes with these names (by id) of special tokens.
///
/// # Errors
/// What is wrong, and in which line.
pub(super) fn read(bytes: &[u8], names: &Names) -> Result<Tokenizer, String> {
    let mut lines = Vec::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        lines.push(parse(line, number).map_err(|message| format!("line {number}: {message}"))?);
        if lines.len() > MOST_TOKENS {
            return Err(format!("line {number}: more than the {MOST_TOKENS} tokens that a vocabulary may have"));
        }
    }
    lines.sort_by_key(|line| line.rank);
    if let Some((line, due)) = lines.iter().zip(0..).find(|(line, due)| line.rank != *due) {
        return Err(format!("line {}: rank {}, where {due} is the next", line.number, line.rank));
    }
    let first = lines.len() as u32;
    let special = (first..first + RESERVED).map(|id| names.special(id)).collect();
    let (tokens, numbers): (Vec<_>, Vec<_>) = lines.into_iter().map(|line| (line.token, line.number)).unzip();
    let ranks = Ranks { tokens, first: 0, special, pattern: PATTERN.join("|"), begin: None };
    ranks.build(|rank| format!("line {}", numbers[rank]))
}

/// A line of the file.
struct Line {
    token: Vec<u8>,
    rank: u32,
    number: usize,
}

fn parse(line: &[u8], number: usize) -> Result<Line, String> {
    let mut words = line.trim_ascii().split(u8::is_ascii_whitespace);
    let (Some(token), Some(rank), None) = (words.next(), words.next(), words.next()) else {
        return Err("not a token in base64, a space and a rank".to_owned());
    };
    let token = BASE64_STANDARD.decode(token).map_err(|e| format!("the token is no base64: {e}"))?;
    let rank = str::from_utf8(rank).ok().and_then(|rank| rank.parse().ok());
    Ok(Line { token, rank: rank.ok_or("the rank is no number")?, number })
}

/// Names of special tokens and whether they are control tokens, by id.
pub(super) struct Names(BTreeMap<u32, (String, bool)>);

impl Names {
    /// Those of `added_tokens_decoder` in tokenizer_config.json.
    ///
    /// # Errors
    /// What is wrong there.
    pub fn of(config: &Value) -> Result<Self, String> {
        let entries = match &config["added_tokens_decoder"] {
            Value::Null => return Ok(Self(BTreeMap::new())),
            entries => entries.as_object().ok_or("`added_tokens_decoder` is no object")?,
        };
        let named = |(id, entry): (&String, &Value)| {
            let wrong = || format!("`added_tokens_decoder` has {id:?}: {entry}, which is no id with a `content`");
            let name = entry["content"].as_str().ok_or_else(wrong)?;
            let is_control = entry["special"].as_bool().unwrap_or(false);
            Ok((id.parse().map_err(|_| wrong())?, (name.to_owned(), is_control)))
        };
        entries.iter().map(named).collect::<Result<_, String>>().map(Self)
    }

    fn special(&self, id: u32) -> Special {
        let (text, is_control) = match self.0.get(&id) {
            Some((name, is_control)) => (name.clone(), *is_control),
            None => (format!("<|reserved_token_{id}|>"), true),
        };
        Special { id, text, is_control }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes() -> Vec<String> {
        (0..=u8::MAX).map(|byte| format!("{} {byte}", BASE64_STANDARD.encode([byte]))).collect()
    }

    fn error(lines: &[String]) -> String {
        read(lines.join("\n").as_bytes(), &Names(BTreeMap::new())).expect_err("refused")
    }

    #[test]
    fn lines_may_stand_in_any_order() {
        let mut lines = bytes();
        lines.push("YWI= 256".to_owned());
        lines.reverse();
        lines.insert(3, String::new());
        let tokenizer = read((lines.join("\r\n") + "\n").as_bytes(), &Names(BTreeMap::new())).expect("reads");
        let encoding = tokenizer.encode("ab<|reserved_token_300|><|reserved_token_512|>", false).expect("encodes");
        assert_eq!(encoding.get_ids()[..2], [256, 300]);
        assert_eq!(tokenizer.get_vocab_size(true), 257 + 256);
        assert_eq!(tokenizer.token_to_id("<|reserved_token_513|>"), None, "ids end with the 256 reserved ones");
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, says) in [
            ("YWI=", "line 257: not a token"),
            ("YWI= 256 1", "line 257: not a token"),
            ("Y!I= 256", "line 257: the token is no base64"),
            ("YWI= x", "line 257: the rank is no number"),
            ("YWI= -1", "line 257: the rank is no number"),
            ("YWI= 99999999999", "line 257: the rank is no number"),
            ("YWI= 255", "line 257: rank 255, where 256 is the next"),
            ("YWI= 257", "line 257: rank 257, where 256 is the next"),
            ("AA== 256", "line 257: the same token as line 1"),
        ] {
            let mut lines = bytes();
            lines.push(line.to_owned());
            let error = error(&lines);
            assert!(error.starts_with(says), "{line}: {error}");
        }
        assert!(error(&[]).contains("0x00"));
    }

    #[test]
    fn names_come_from_the_configuration() {
        let config = json!({"added_tokens_decoder": {"256": {"content": "[BOS]", "special": true}, "511": {"content": "[PAD]"},
            "7": {"content": "not reserved"}, "512": {"content": "beyond"}}});
        let names = Names::of(&config).expect("reads");
        let tokenizer = read(bytes().join("\n").as_bytes(), &names).expect("reads");
        let id = |token: &str| tokenizer.token_to_id(token);
        assert_eq!((id("[BOS]"), id("[PAD]"), id("not reserved"), id("beyond")), (Some(256), Some(511), None, None));
        for wrong in [json!([1]), json!({"x": {"content": "a"}}), json!({"256": {}}), json!({"-1": {"content": "a"}})] {
            let config = json!({"added_tokens_decoder": wrong});
            assert!(Names::of(&config).err().is_some_and(|e| e.contains("added_tokens_decoder")), "{config}");
        }
    }
}
