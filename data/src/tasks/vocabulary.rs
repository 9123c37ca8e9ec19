//! The tokenizer of the generated tasks: 256 bytes, control tokens, and the pieces that the tasks' answers repeat.
//!
//! Byte-level BPE without merges: id `b` below 256 is the byte `b`, so every text has tokens and a digit is always
//! one token. The pieces are added tokens, matched from the left, the longest first. They are chosen so that a
//! function costs a handful of tokens while what a small model has to reason about (digits, operators, letters of
//! strings) stays apart.

use serde_json::{Value, json};

use crate::tokenizer::ranks::byte_char;

/// Tokens that are no text: skipped when a completion is shown.
const CONTROL: [&str; 7] = ["<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"];

/// Pieces of text. None holds a digit.
const PIECES: [&str; 41] = [
    "<think>",
    "</think>",
    "\\boxed{",
    // The frame of a function.
    "```python\n",
    "\n```python\n",
    "\n```",
    "def f(x):\n return ",
    "def f(xs):\n return ",
    "def f(s):\n return ",
    "\n return ",
    "def f(",
    // The frame of an example.
    "f(",
    ")=",
    "f([",
    "])=",
    "])=[",
    "f('",
    "')=",
    "')='",
    // Functions.
    "x*x",
    "//",
    "max(",
    "min(",
    "abs(",
    "sum(",
    "len(",
    "sorted(",
    "xs)",
    "xs[",
    "xs[:",
    "xs[::-",
    "s[",
    "s[:",
    "s[::-",
    "s+s",
    "s+'",
    "'+s",
    "s.upper()",
    "[x+",
    "[x*",
    " for x in xs]",
];

/// Each turn is its role's token and its text; the assistant's ends with the end token.
const TEMPLATE: &str = "\
{% for message in messages %}
{% if message.role not in ['system', 'user', 'assistant', 'tool'] %}
{{ raise_exception('unknown role: ' + message.role) }}
{% endif %}
{{ '<|' + message.role + '|>' + message.content }}
{%- if message.role == 'assistant' %}{{ eos_token }}{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// The tokenizer's files: names and contents. The same bytes on every call and every machine.
pub fn files() -> Vec<(&'static str, String)> {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON values serialise") + "\n";
    vec![("tokenizer.json", pretty(&tokenizer())), ("tokenizer_config.json", pretty(&config()))]
}

fn tokenizer() -> Value {
    let vocab: serde_json::Map<String, Value> =
        (0..=255u8).map(|b| (byte_char(b).to_string(), json!(u32::from(b)))).collect();
    let added: Vec<Value> = CONTROL
        .iter()
        .map(|t| (t, true))
        .chain(PIECES.iter().map(|t| (t, false)))
        .zip(256u32..)
        .map(|((content, special), id)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special
            })
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": []
        }
    })
}

fn config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|eos|>",
        "pad_token": "<|pad|>",
        "add_bos_token": false,
        "add_eos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": 4096,
        "chat_template": TEMPLATE
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::tasks::arithmetic::Arithmetic;
    use crate::tasks::functions::Functions;
    use crate::tasks::retrieval::Retrieval;
    use crate::tasks::{Split, Task};
    use crate::{Message, Tokenizer};

    fn kept() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/base")
    }

    fn tiny() -> &'static Tokenizer {
        static TINY: LazyLock<Tokenizer> =
            LazyLock::new(|| Tokenizer::load(&kept()).expect("the kept tokenizer loads"));
        &TINY
    }

    #[test]
    fn the_kept_files_are_what_the_program_makes() {
        for (name, text) in files() {
            let there = std::fs::read_to_string(kept().join(name)).expect("there");
            assert!(
                there == text,
                "{name} differs: run `cargo run --release -p data --example make_tokenizer configs/base`"
            );
        }
    }

    #[test]
    fn the_vocabulary_is_small_and_complete() {
        let t = tiny();
        assert_eq!(t.vocab_size(), 256 + CONTROL.len() + PIECES.len());
        assert!(t.vocab_size() <= 512);
        assert_eq!((t.pad_id(), t.bos_id(), t.eos_ids()), (Some(256), Some(257), &[258][..]));
        for (i, piece) in CONTROL.iter().chain(&PIECES).enumerate() {
            assert_eq!(t.encode(piece, false).expect("encodes"), [256 + i as u32], "{piece}");
        }
        assert!(PIECES.iter().all(|p| !p.contains(|c: char| c.is_ascii_digit())), "digits stay single tokens");
    }

    #[test]
    fn every_digit_is_one_token() {
        let t = tiny();
        let ids = t.encode("f(1234567890)=-11 k07=00;", false).expect("encodes");
        let digits: Vec<char> =
            ids.iter().filter(|id| **id < 256).map(|id| char::from(*id as u8)).filter(char::is_ascii_digit).collect();
        assert_eq!(digits.into_iter().collect::<String>(), "1234567890110700");
    }

    #[test]
    fn a_byte_is_its_own_id() {
        let t = tiny();
        assert_eq!(t.encode("Aé\u{0}", false).expect("encodes"), [0x41, 0xc3, 0xa9, 0]);
        assert_eq!(t.decode(&[0x41, 0xc3, 0xa9, 0xff], false).expect("decodes"), "Aé\u{fffd}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            let t = tiny();
            prop_assert_eq!(t.decode(&t.encode(&text, false).expect("encodes"), false).expect("decodes"), text);
        }

        #[test]
        fn text_with_pieces_comes_back(parts in prop::collection::vec((0..PIECES.len(), "[ -~\n]{0,4}"), 0..12)) {
            let t = tiny();
            let text: String = parts.iter().map(|(piece, between)| format!("{}{between}", PIECES[*piece])).collect();
            prop_assert_eq!(t.decode(&t.encode(&text, false).expect("encodes"), true).expect("decodes"), text);
        }
    }

    #[test]
    fn template_golden() {
        let t = tiny();
        let messages = [Message::user("1+2*3"), Message::assistant("\\boxed{7}"), Message::user("k1=2;?k1")];
        let text = t.prompt_text(&messages).expect("renders");
        assert_eq!(text, "<|user|>1+2*3<|assistant|>\\boxed{7}<|eos|><|user|>k1=2;?k1<|assistant|>");
        let error = t.prompt_text(&[Message::new("robot", "")]).expect_err("refused");
        assert!(error.to_string().contains("line 3") && error.to_string().contains("unknown role: robot"), "{error}");
    }

    #[test]
    fn the_tasks_are_short() {
        let t = tiny();
        for (task, longest) in [
            (Task::Arithmetic(Arithmetic::default()), 80),
            (Task::Functions(Functions::default()), 110),
            (Task::Retrieval(Retrieval::default()), 530),
        ] {
            for prompt in task.items("t", 1, Split::Train, 0..300).expect("items") {
                let answer = prompt.answer.as_deref().expect("worked");
                let length = t.encode_prompt(&prompt.messages).expect("encodes").len()
                    + t.encode(answer, false).expect("encodes").len()
                    + 1;
                assert!(length <= longest, "{length} tokens: {prompt:?}");
            }
        }
    }
}
