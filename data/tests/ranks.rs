//! Tokenizers without a tokenizer.json against the ids and texts of the libraries that they were made for: Kimi's
//! tiktoken.model against tiktoken, Mistral's tekken.json against mistral_common. `scripts/dev/make_rank_fixtures.py` trained
//! them and wrote what is expected, of written texts and of seeded random ones.

use std::fs;
use std::path::{Path, PathBuf};

use data::{Message, Tokenizer};
use serde_json::Value;

const NAMES: [&str; 2] = ["tiktoken", "tekken"];

fn folder(name: &str) -> PathBuf {
    fixtures().join(name)
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers")
}

/// What the library makes of texts. Without special tokens left out, ids decode to the very text; `skipped` is there
/// where the text without them is another.
fn expected(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("expected.json")).expect("the fixture is there");
    serde_json::from_str(&text).expect("the fixture is JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("token ids")
}

/// What differs from the library's.
fn differences(folder: &Path, tokenizer: &Tokenizer) -> Vec<String> {
    let expected = expected(folder);
    let cases = expected["cases"].as_array().expect("cases");
    assert!(cases.len() > 100, "{}: {} cases", folder.display(), cases.len());
    let differs = |case: &&Value| {
        let (text, due) = (case["text"].as_str().expect("a text"), ids(&case["ids"]));
        let encoded = |special| tokenizer.encode(text, special).expect("encodes");
        let decoded = |skip| tokenizer.decode(&due, skip).expect("decodes");
        encoded(false) != due
            || encoded(true) != [ids(&expected["begin"]), due.clone()].concat()
            || decoded(false) != text
            || decoded(true) != case["skipped"].as_str().unwrap_or(text)
    };
    cases.iter().filter(differs).map(Value::to_string).collect()
}

/// `TEMPER_RANKS=DIR` asks it of what the script left in DIR (`--many DIR`): a released vocabulary, and a hundred thousand texts.
#[test]
fn ids_and_texts_are_those_of_the_library() {
    let root = std::env::var_os("TEMPER_RANKS").map_or_else(fixtures, PathBuf::from);
    for name in NAMES {
        let folder = root.join(name);
        let wrong = differences(&folder, &Tokenizer::load(&folder).expect("loads"));
        assert!(wrong.is_empty(), "{name}: {} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[test]
fn special_tokens_have_their_roles() {
    let load = |name| Tokenizer::load(&folder(name)).expect("loads");
    let roles = |t: &Tokenizer| {
        let token = |id| t.id_to_token(id).expect("it has a token");
        (t.bos_id().map(token), t.eos_ids().iter().map(|id| token(*id)).collect::<Vec<_>>(), t.pad_id().map(token))
    };
    let named =
        |begin: &str, end: &str, pad: &str| (Some(begin.to_owned()), vec![end.to_owned()], Some(pad.to_owned()));
    let (tiktoken, tekken) = (load("tiktoken"), load("tekken"));
    assert_eq!(roles(&tiktoken), named("[BOS]", "[EOS]", "[PAD]"));
    assert_eq!(roles(&tekken), named("<s>", "</s>", "<pad>"), "no other file says so");
    let model = fs::read_to_string(folder("tiktoken").join("tiktoken.model")).expect("it is there");
    assert_eq!(tiktoken.vocab_size(), model.lines().count() + 256);
    let prompt = tiktoken.encode_prompt(&[Message::user("x")]).expect("encodes");
    assert_eq!(prompt.first().copied(), tiktoken.token_to_id("<|im_user|>"), "a template's marks are special tokens");
}

#[test]
fn what_is_saved_has_the_files_as_they_were_and_those_that_others_read_with_the_same_ids_and_roles() {
    for name in NAMES {
        let to = tempfile::tempdir().expect("a folder");
        let tokenizer = Tokenizer::load(&folder(name)).expect("loads");
        tokenizer.save(to.path()).expect("saves");
        let names = |folder: &Path| {
            let entries = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("an entry").file_name());
            let mut names: Vec<_> = entries.filter(|name| name != "expected.json").collect();
            names.sort();
            names
        };
        let mut expected = names(&folder(name));
        for file in expected.iter().filter(|file| *file != "tokenizer_config.json") {
            let read = |folder: &Path| fs::read(folder.join(file)).expect("it is there");
            assert!(read(to.path()) == read(&folder(name)), "{name}: {file:?} is as it was");
        }
        expected.extend(["tokenizer.json".into(), "tokenizer_config.json".into()]);
        expected.sort();
        expected.dedup();
        assert_eq!(names(to.path()), expected);
        let config = fs::read_to_string(to.path().join("tokenizer_config.json")).expect("it is there");
        let config: serde_json::Value = serde_json::from_str(&config).expect("it is JSON");
        assert!(config["tokenizer_class"] == "PreTrainedTokenizerFast" && config.get("auto_map").is_none(), "{config}");
        if let Ok(own) = fs::read_to_string(folder(name).join("tokenizer_config.json")) {
            let mut own: serde_json::Value = serde_json::from_str(&own).expect("it is JSON");
            own["tokenizer_class"] = "PreTrainedTokenizerFast".into();
            own.as_object_mut().expect("an object").remove("auto_map");
            assert_eq!(config, own, "the rest is as it was");
        }
        // Now that one is read.
        for file in ["tiktoken.model", "tekken.json"].map(|file| to.path().join(file)).iter().filter(|f| f.exists()) {
            fs::remove_file(file).expect("it goes");
        }
        let again = Tokenizer::load(to.path()).expect("loads");
        assert_eq!(differences(&folder(name), &again), [""; 0], "{name}");
        assert_eq!(again.vocab_size(), tokenizer.vocab_size());
        let roles = |t: &Tokenizer| (t.bos_id(), t.eos_ids().to_vec(), t.pad_id());
        assert_eq!(roles(&again), roles(&tokenizer));
    }
}

#[test]
fn a_bad_file_is_named_with_its_line() {
    let error = |file: &str, text: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(file), text).expect("it writes");
        Tokenizer::load(folder.path()).expect_err("refused").to_string()
    };
    let message = error("tiktoken.model", "AA== 0\nAQ==\n");
    assert!(message.contains("tiktoken.model: line 2: "), "{message}");
    let message = error("tekken.json", "{\n\"vocab\": 1}");
    assert!(message.contains("tekken.json: ") && message.contains("line 2"), "{message}");
    let message = error("notes.txt", "");
    assert!(message.contains("tekken.json") && message.contains("tiktoken.model"), "{message}");
}
