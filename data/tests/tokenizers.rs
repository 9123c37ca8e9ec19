//! Tokenizers against transformers' own ids and texts. `scripts/dev/make_template_fixtures.py` trained them and wrote what is
//! expected: byte-level BPE with three splits, SentencePiece's BPE with byte fallback in both converted forms, Unigram, words;
//! each with added tokens that strip, are normalised, or are whole words.

use std::path::{Path, PathBuf};

use data::{ChatTemplate, Message, Prompt, Tokenizer};
use serde_json::{Value, json};

const NAMES: [&str; 7] =
    ["bytes_nfc", "bytes_digits3", "bytes_cjk", "sentencepiece_prepend", "sentencepiece_metaspace", "unigram", "words"];

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

fn conversation(messages: Vec<Message>) -> Prompt {
    Prompt {
        id: "x".into(),
        domain: "d".into(),
        data_source: "d".into(),
        messages,
        ground_truth: Value::Null,
        answer: None,
        extra_info: Value::Null,
    }
}

/// The texts of the tokens that are learned, one string a sequence.
fn learned(tokenizer: &Tokenizer, prompt: &Prompt) -> Vec<String> {
    let sequences = tokenizer.encode_to_learn(prompt).expect("encodes");
    let of = |s: &data::Learned| {
        let ids: Vec<u32> = s.tokens.iter().zip(&s.trained).filter(|(_, t)| **t).map(|(id, _)| *id).collect();
        tokenizer.decode(&ids, false).expect("decodes")
    };
    sequences.iter().map(of).collect()
}

#[test]
fn assistant_masks_are_those_of_transformers() {
    for name in NAMES {
        let tokenizer = Tokenizer::load(&folder(name)).expect("loads");
        let expected = expected(name);
        let messages = serde_json::from_value(expected["conversation"].clone()).expect("messages");
        let sequences = tokenizer.encode_to_learn(&conversation(messages)).expect("encodes");
        let [sequence] = sequences.as_slice() else { panic!("one sequence") };
        assert_eq!(sequence.tokens, ids(&expected["ids"]), "{name}");
        let mask: Vec<bool> = ids(&expected["mask"]).into_iter().map(|bit| bit == 1).collect();
        assert_eq!(sequence.trained, mask, "{name}");
    }
}

fn with_template(source: &str) -> Tokenizer {
    let mut tokenizer = Tokenizer::load(&folder("bytes_nfc")).expect("loads");
    let tokens = [("eos_token".to_owned(), "</s>".to_owned())].into();
    tokenizer.set_chat_template(Some(ChatTemplate::new(source, tokens, 0).expect("compiles")));
    tokenizer
}

#[test]
fn without_marks_a_turn_is_what_its_prompt_lacks() {
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let tokenizer = with_template(source);
    let turns = || vec![Message::user("a"), Message::assistant("b"), Message::user("c"), Message::assistant("d")];
    assert_eq!(learned(&tokenizer, &conversation(turns())), ["b</s>d</s>"]);
    let mut first_is_given = turns();
    first_is_given[1] = Message::assistant("b").with("weight", 0);
    assert_eq!(learned(&tokenizer, &conversation(first_is_given)), ["d</s>"]);
    // No end token in the template: one is put at the end.
    let bare = with_template(&source.replace("eos_token", "''"));
    assert_eq!(learned(&bare, &conversation(turns())), ["bd</s>"]);
}

#[test]
fn a_turn_that_is_rendered_otherwise_later_is_learned_apart() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates/thinking_chatml.jinja");
    let tokenizer = with_template(&std::fs::read_to_string(path).expect("the template is there"));
    let answer = |text: &str, thought: &str| Message::assistant(text).with("reasoning_content", thought);
    let prompt = conversation(vec![Message::user("a"), answer("b", "one"), Message::user("c"), answer("d", "two")]);
    let end = "<|im_end|>\n";
    assert_eq!(
        learned(&tokenizer, &prompt),
        [format!("<think>\none\n</think>\n\nb{end}</s>"), format!("<think>\ntwo\n</think>\n\nd{end}</s>")]
    );
    let sequences = tokenizer.encode_to_learn(&prompt).expect("encodes");
    let last = tokenizer.decode(&sequences[1].tokens, false).expect("decodes");
    assert!(last.contains("assistant\nb<|im_end|>") && !last.contains("one"), "earlier thoughts are gone: {last}");
}

/// SentencePiece puts a space before a text, so an answer by itself is not what it is behind its prompt.
#[test]
fn an_answer_is_read_with_its_prompt_as_one_text() {
    let mut apart = 0;
    // This one puts an end token behind every text, so that a prompt and its answer never are one.
    for name in NAMES.into_iter().filter(|name| *name != "unigram") {
        let tokenizer = Tokenizer::load(&folder(name)).expect("loads");
        let mut prompt = conversation(vec![Message::text("Q: 1?\nA:\n")]);
        prompt.answer = Some("yes".to_owned());
        let asked = tokenizer.encode_asked(&prompt).expect("encodes");
        let sequence = &tokenizer.encode_to_learn(&prompt).expect("encodes")[0];
        // The sampler goes on from the prompt's own tokens, whatever follows.
        assert!(sequence.tokens.starts_with(&asked) && sequence.trained.iter().filter(|t| !**t).count() == asked.len());
        let whole = tokenizer.encode("Q: 1?\nA:\nyes", true).expect("encodes");
        assert_eq!(sequence.tokens[..whole.len()], whole, "{name}");
        assert!(sequence.tokens.len() <= whole.len() + 1, "{name}: beside the end token");
        // Nor does a space come before an answer that has to be read apart.
        let mut prompt = conversation(vec![Message::text("Q: 1?\nA: ")]);
        prompt.answer = Some("the".to_owned());
        let asked = tokenizer.encode_asked(&prompt).expect("encodes");
        apart += usize::from(!tokenizer.encode("Q: 1?\nA: the", true).expect("encodes").starts_with(&asked));
        let sequence = &tokenizer.encode_to_learn(&prompt).expect("encodes")[0];
        assert!(sequence.tokens.starts_with(&asked), "{name}");
        let first = tokenizer.id_to_token(sequence.tokens[asked.len()]).expect("a token");
        assert!(!first.starts_with('▁'), "{name}: {first}");
    }
    assert!(apart >= 2, "{apart} tokenizers read them apart");
}

#[test]
fn plain_text_and_answers_end_with_the_end_token() {
    let tokenizer = with_template("{{ messages[0].content }}?");
    let mut prompt = conversation(vec![Message::text("2+2=")]);
    prompt.answer = Some("4".to_owned());
    let sequence = &tokenizer.encode_to_learn(&prompt).expect("encodes")[0];
    assert_eq!(tokenizer.decode(&sequence.tokens, false).expect("decodes"), "2+2=4</s>", "no template");
    assert_eq!(learned(&tokenizer, &prompt), ["4</s>"]);
    prompt.messages.clear();
    assert_eq!(learned(&tokenizer, &prompt), ["4</s>"]);
    prompt.answer = None;
    assert!(learned(&tokenizer, &prompt).is_empty(), "nothing to imitate");
    prompt.extra_info = json!({"tools": "[{\"a\": 1}]", "chat_template_kwargs": {"enable_thinking": false}});
    assert_eq!(Value::from(prompt.template_variables()), json!({"enable_thinking": false, "tools": [{"a": 1}]}));
}

/// A token may hold a part of a character. What is decoded so far, less a replacement character at its end, is always a
/// beginning of the whole text, so that a stream of it never has to take anything back.
#[test]
fn decoding_token_by_token_never_takes_back_a_character() {
    for name in &NAMES[..5] {
        let tokenizer = Tokenizer::load(&folder(name)).expect("loads");
        for text in ["naïve 日本語です🙂👩‍👩‍👧 Привет", "𝔘𝔫 𐍈 ꙮ", "a  b"] {
            let ids = tokenizer.encode(text, false).expect("encodes");
            let whole = tokenizer.decode(&ids, false).expect("decodes");
            for n in 0..=ids.len() {
                let part = tokenizer.decode(&ids[..n], false).expect("decodes");
                assert!(whole.starts_with(part.trim_end_matches('\u{fffd}')), "{name}: {part:?} of {whole:?}");
            }
        }
    }
}
