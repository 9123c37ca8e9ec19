//! Tokenizers against transformers' own ids and texts. `scripts/dev/make_template_fixtures.py` trained them and wrote what is
//! expected: byte-level BPE with three splits, SentencePiece's BPE with byte fallback in both converted forms, Unigram, words;
//! each with added tokens that strip, are normalised, or are whole words.

use std::path::{Path, PathBuf};

use data::Tokenizer;
use serde_json::Value;

const NAMES: [&str; 7] = [
    "bytes_nfc",
    "bytes_digits3",
    "bytes_cjk",
    "sentencepiece_prepend",
    "sentencepiece_metaspace",
    "unigram",
    "words",
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers").join(name)
}

fn expected(name: &str) -> Value {
    let text = std::fs::read_to_string(folder(name).join("expected.json")).expect("the fixture is there");
    serde_json::from_str(&text).expect("the fixture is JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("token ids")
}

#[test]
fn ids_and_texts_are_those_of_transformers() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for name in NAMES {
        let tokenizer = Tokenizer::load(&folder(name)).expect("loads");
        for case in expected(name)["cases"].as_array().expect("cases") {
            let text = case["text"].as_str().expect("a text");
            let encoded = tokenizer.encode(text, false).expect("encodes");
            let special = tokenizer.encode(text, true).expect("encodes");
            let decoded = tokenizer.decode(&ids(&case["ids"]), false).expect("decodes");
            let skipped = tokenizer.decode(&ids(&case["ids"]), true).expect("decodes");
            let is_right = encoded == ids(&case["ids"])
                && special == ids(&case["special"])
                && case["decoded"] == decoded
                && case["skipped"] == skipped;
            if !is_right {
                wrong.push(format!("{name}: {case}\n  gave {encoded:?} {special:?} {decoded:?} {skipped:?}"));
            }
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked > 100, "{checked} checked");
}
