//! `tekken.json`, Mistral's form of a tokenizer: the pattern, the tokens in base64 by rank, and the special tokens, whose ids
//! come before those of the ranks. Of the tokens only so many are used that the vocabulary has its `default_vocab_size`.
//!
//! mistral_common never finds special tokens in a text: its own code puts their ids between texts. Here a chat template
//! writes them, so they are found, as in the tokenizer.json that the same models have elsewhere.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use tokenizers::Tokenizer;

use super::ranks::{MOST_SPECIAL, Ranks, Special};

/// The special tokens by their role, under transformers' names for the roles.
pub(super) const ROLES: [(&str, &str); 4] =
    [("bos_token", BEGIN), ("eos_token", "</s>"), ("pad_token", "<pad>"), ("unk_token", "<unk>")];
const BEGIN: &str = "<s>";

/// The special tokens of files that list none, which those of up to this version may.
const UNLISTED: [&str; 20] = [
    "<unk>",
    BEGIN,
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];
const LAST_UNLISTED_VERSION: u32 = 7;

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    config: Config<'a>,
    #[serde(borrow)]
    vocab: Vec<Token<'a>>,
    #[serde(borrow)]
    special_tokens: Option<Vec<Named<'a>>>,
}

#[derive(Deserialize)]
struct Config<'a> {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
    #[serde(borrow)]
    version: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Token<'a> {
    rank: usize,
    #[serde(borrow)]
    token_bytes: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Named<'a> {
    rank: usize,
    #[serde(borrow)]
    token_str: Cow<'a, str>,
}

/// The tokenizer of the file's bytes.
///
/// # Errors
/// What is wrong, and where.
pub(super) fn read(bytes: &[u8]) -> Result<Tokenizer, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let special = file.special()?;
    let tokens = file.tokens()?;
    let begin = special.iter().find(|special| special.text == BEGIN).cloned();
    let ranks = Ranks { tokens, first: special.len() as u32, special, pattern: file.config.pattern, begin };
    ranks.build(|rank| format!("`vocab`, entry {rank}"))
}

impl File<'_> {
    /// The special tokens, with the fillers for those that are not listed.
    fn special(&self) -> Result<Vec<Special>, String> {
        let number = self.config.default_num_special_tokens;
        if number > MOST_SPECIAL {
            return Err(format!("`default_num_special_tokens` is {number}, more than {MOST_SPECIAL}"));
        }
        let mut names = self.names()?;
        if names.len() > number {
            return Err(format!("{} special tokens, but `default_num_special_tokens` is {number}", names.len()));
        }
        names.extend((names.len()..number).map(|id| format!("<SPECIAL_{id}>")));
        let special = |(id, text)| Special { id, text, is_control: true };
        Ok((0..).zip(names).map(special).collect())
    }

    fn names(&self) -> Result<Vec<String>, String> {
        let Some(listed) = &self.special_tokens else {
            let version = self.config.version.strip_prefix('v').and_then(|version| version.parse().ok());
            return match version.is_some_and(|version: u32| version <= LAST_UNLISTED_VERSION) {
                true => Ok(UNLISTED.map(str::to_owned).into()),
                false => Err(format!(
                    "`special_tokens` is missing, as only versions up to v{LAST_UNLISTED_VERSION} may, and this is {}",
                    self.config.version
                )),
            };
        };
        let named = |(due, named): (usize, &Named)| match named.rank == due {
            true => Ok(named.token_str.clone().into_owned()),
            false => Err(format!("`special_tokens`, entry {due}: rank {}, where {due} is the next", named.rank)),
        };
        listed.iter().enumerate().map(named).collect()
    }

    /// The tokens that are used.
    fn tokens(&self) -> Result<Vec<Vec<u8>>, String> {
        let Config { default_vocab_size: size, default_num_special_tokens: special, .. } = self.config;
        let used = size.checked_sub(special).and_then(|used| self.vocab.get(..used)).ok_or_else(|| {
            format!(
                "`default_vocab_size` is {size}, which {} tokens and {special} special ones do not make",
                self.vocab.len()
            )
        })?;
        let token = |(due, token): (usize, &Token)| {
            if token.rank != due {
                return Err(format!("`vocab`, entry {due}: rank {}, where {due} is the next", token.rank));
            }
            let bytes = BASE64_STANDARD.decode(token.token_bytes.as_bytes());
            bytes.map_err(|e| format!("`vocab`, entry {due}: `token_bytes` is no base64: {e}"))
        };
        used.iter().enumerate().map(token).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// All bytes and `ab`, with three special tokens of which two are listed.
    fn file() -> Value {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]).chain([b"ab".to_vec(), b"not used".to_vec()]);
        let vocab: Vec<Value> = (0..)
            .zip(bytes)
            .map(|(rank, bytes): (u32, _)| json!({"rank": rank, "token_bytes": BASE64_STANDARD.encode(bytes), "token_str": null}))
            .collect();
        json!({
            "config": {"pattern": r"\S+|\s+", "num_vocab_tokens": 258, "default_vocab_size": 260,
                "default_num_special_tokens": 3, "version": "v13"},
            "vocab": vocab,
            "special_tokens": [{"rank": 0, "token_str": "<unk>", "is_control": true}, {"rank": 1, "token_str": "<s>", "is_control": true}],
            "image": {"image_patch_size": 14},
        })
    }

    fn changed(pointer: &str, value: Value) -> Vec<u8> {
        let mut file = file();
        *file.pointer_mut(pointer).expect("it is there") = value;
        serde_json::to_vec(&file).expect("JSON")
    }

    #[test]
    fn special_tokens_come_first_and_the_vocabulary_is_cut() {
        let tokenizer = read(&serde_json::to_vec(&file()).expect("JSON")).expect("reads");
        let ids = |text: &str, special| tokenizer.encode(text, special).expect("encodes").get_ids().to_vec();
        assert_eq!(ids("ab<SPECIAL_2>", false), [259, 2]);
        assert_eq!(ids("\u{1}", true), [1, 4], "a begin token");
        assert_eq!(tokenizer.get_vocab_size(true), 260);
    }

    #[test]
    fn older_files_list_no_special_tokens() {
        let mut old = file();
        old["special_tokens"] = Value::Null;
        old["config"]["version"] = json!("v3");
        old["config"]["default_num_special_tokens"] = json!(24);
        old["config"]["default_vocab_size"] = json!(256 + 24);
        let read = |file: &Value| read(&serde_json::to_vec(file).expect("JSON"));
        let tokenizer = read(&old).expect("reads");
        assert_eq!((tokenizer.token_to_id("[INST]"), tokenizer.token_to_id("<SPECIAL_23>")), (Some(3), Some(23)));
        old["config"]["version"] = json!("v11");
        assert!(read(&old).expect_err("refused").contains("`special_tokens` is missing"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pointer, value, says) in [
            ("/vocab/7/rank", json!(8), "`vocab`, entry 7: rank 8"),
            ("/vocab/7/token_bytes", json!("!"), "`vocab`, entry 7: `token_bytes` is no base64"),
            ("/vocab/256/token_bytes", json!("AA=="), "`vocab`, entry 256: the same token as `vocab`, entry 0"),
            ("/vocab/7/token_bytes", json!(7), "line 1"),
            ("/special_tokens/1/rank", json!(2), "`special_tokens`, entry 1: rank 2"),
            ("/special_tokens/1/token_str", json!("<unk>"), "`<unk>` is token 0 too"),
            ("/special_tokens/1/token_str", json!("ab"), "`ab` is token 259 too"),
            ("/config/default_vocab_size", json!(300), "`default_vocab_size` is 300"),
            ("/config/default_vocab_size", json!(2), "`default_vocab_size` is 2"),
            ("/config/default_num_special_tokens", json!(1), "2 special tokens"),
            ("/config/default_num_special_tokens", json!(1 << 30), "more than 65536"),
            ("/config/pattern", json!("["), "pattern"),
        ] {
            let error = read(&changed(pointer, value)).expect_err("refused");
            assert!(error.contains(says), "{pointer}: {error}");
        }
        assert!(read(b"{\n\"config\": 1}").expect_err("refused").contains("line 2"));
    }
}
