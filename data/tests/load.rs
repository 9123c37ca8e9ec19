//! Prompts from verl-schema Parquet and from JSONL, good and bad.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Float64Array, Int64Array, LargeStringArray, ListArray, StringArray,
    StructArray, TimestampSecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Int8Type};
use arrow::record_batch::RecordBatch;
use data::load::Format;
use data::{BadRow, BadRows, Columns, LoadError, LoadOptions, Message, PromptFile, load_prompts};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("folder")
}

fn jsonl(folder: &tempfile::TempDir, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join("train.jsonl");
    fs::write(&path, text).expect("written");
    path
}

fn math() -> LoadOptions {
    LoadOptions { domain: Some("math".to_owned()), ..LoadOptions::default() }
}

fn skip() -> LoadOptions {
    LoadOptions { bad_rows: BadRows::Skip, ..math() }
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).expect("batch");
    let mut writer = ArrowWriter::try_new(fs::File::create(path).expect("file"), batch.schema(), None).expect("writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn structs(fields: Vec<(&str, ArrayRef)>) -> StructArray {
    let fields = fields.into_iter().map(|(n, a)| (Arc::new(Field::new(n, a.data_type().clone(), true)), a));
    StructArray::from(fields.collect::<Vec<_>>())
}

/// `turns[i]` are the (role, content) pairs of row `i`.
fn conversations(turns: &[&[(&str, &str)]]) -> ArrayRef {
    let all: Vec<(&str, &str)> = turns.concat();
    let (roles, contents): (Vec<&str>, Vec<&str>) = all.into_iter().unzip();
    let items = structs(vec![("role", strings(&roles)), ("content", strings(&contents))]);
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(turns.iter().map(|t| t.len())), Arc::new(items), None))
}

#[test]
fn verl_parquet_becomes_prompts() {
    let folder = folder();
    let path = folder.path().join("gsm.parquet");
    write_parquet(
        &path,
        vec![
            ("data_source", strings(&["openai/gsm8k", "openai/gsm8k"])),
            ("prompt", conversations(&[&[("system", "Be brief."), ("user", "2+2?")], &[("user", "3+3?")]])),
            ("ability", Arc::new(DictionaryArray::<Int8Type>::from_iter(["math", "math"]))),
            (
                "reward_model",
                Arc::new(structs(vec![("style", strings(&["rule", "rule"])), ("ground_truth", strings(&["4", "6"]))])),
            ),
            (
                "extra_info",
                Arc::new(structs(vec![
                    ("split", strings(&["train", "test"])),
                    ("index", Arc::new(Int64Array::from(vec![0, 1]))),
                ])),
            ),
            ("score", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            ("made", Arc::new(TimestampSecondArray::from(vec![0, 60]))),
        ],
    );
    let loaded = load_prompts(&path, &LoadOptions::default()).expect("prompts");
    assert!(loaded.skipped.is_empty());
    let [first, second] = loaded.prompts.as_slice() else { panic!("two rows") };
    assert_eq!(
        (first.id.as_str(), first.domain.as_str(), first.data_source.as_str()),
        ("gsm:1", "math", "openai/gsm8k")
    );
    assert_eq!(first.messages, [Message::new("system", "Be brief."), Message::user("2+2?")]);
    assert_eq!((&first.ground_truth, &first.answer), (&json!("4"), &None));
    assert_eq!(
        first.extra_info,
        json!({"split": "train", "index": 0, "reward_model": {"style": "rule"}, "score": 0.5, "made": "1970-01-01T00:00:00"})
    );
    assert_eq!((second.id.as_str(), &second.extra_info["score"]), ("gsm:2", &Value::Null));
}

#[test]
fn verl_parquet_with_json_strings_becomes_the_same_prompts() {
    let folder = folder();
    let path = folder.path().join("j.parquet");
    let prompts = [r#"[{"role": "user", "content": "2+2?"}]"#, "[1, 2] has how many items?"];
    write_parquet(
        &path,
        vec![
            ("prompt", Arc::new(LargeStringArray::from(prompts.to_vec()))),
            (
                "reward_model",
                strings(&[r#"{"style": "rule", "ground_truth": {"tests": [1, 2]}}"#, r#"{"ground_truth": "2"}"#]),
            ),
        ],
    );
    let prompts = load_prompts(&path, &math()).expect("prompts").prompts;
    assert_eq!(prompts[0].messages, [Message::user("2+2?")]);
    assert_eq!(prompts[0].ground_truth, json!({"tests": [1, 2]}));
    assert_eq!(prompts[0].data_source, "math");
    assert_eq!(prompts[1].messages, [Message::user("[1, 2] has how many items?")]);
    assert_eq!((&prompts[1].ground_truth, &prompts[1].extra_info), (&json!("2"), &Value::Null));
}

/// Written by pandas and pyarrow, not by this crate.
#[test]
fn verl_parquet_made_by_pandas_becomes_prompts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/verl_math.parquet");
    let loaded = load_prompts(&path, &LoadOptions::default()).expect("prompts");
    assert_eq!((loaded.prompts.len(), loaded.skipped.len()), (8, 0));
    for (i, prompt) in loaded.prompts.iter().enumerate() {
        assert_eq!(prompt.id, format!("verl_math:{}", i + 1));
        assert_eq!((prompt.domain.as_str(), prompt.data_source.as_str()), ("math", "openai/gsm8k"));
        assert_eq!(prompt.messages.last().expect("a turn").role, "user");
        assert!(prompt.ground_truth.as_str().is_some_and(|s| !s.is_empty()), "{:?}", prompt.ground_truth);
        assert_eq!(prompt.extra_info["reward_model"], json!({"style": "rule"}));
        assert!(
            prompt.extra_info["split"].is_string() && prompt.extra_info["index"].is_number(),
            "{:?}",
            prompt.extra_info
        );
    }
}

#[test]
fn a_column_without_json_form_is_named_to_its_depth() {
    let folder = folder();
    let path = folder.path().join("b.parquet");
    let image = structs(vec![("bytes", Arc::new(BinaryArray::from(vec![b"\xff\xd8".as_slice()])))]);
    write_parquet(&path, vec![("prompt", strings(&["?"])), ("image", Arc::new(image))]);
    let error = load_prompts(&path, &math()).expect_err("bytes").to_string();
    assert!(error.contains("b.parquet, row 1, field `image.bytes`: bytes that are not UTF-8"), "{error}");
}

#[test]
fn jsonl_becomes_prompts() {
    let folder = folder();
    let text = concat!(
        "\u{feff}{\"prompt\": \"2+2?\", \"ground_truth\": 4, \"answer\": 4, \"id\": 17, \"domain\": \"math\", \"level\": 1.5}\r\n",
        "\n",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"hi\"}], \"domain\": \"chat\", \"extra_info\": {\"k\": [1]}, \"z\": null}",
    );
    let prompts = load_prompts(&jsonl(&folder, text), &LoadOptions::default()).expect("prompts").prompts;
    let [first, second] = prompts.as_slice() else { panic!("two rows") };
    assert_eq!((first.id.as_str(), first.domain.as_str(), first.data_source.as_str()), ("17", "math", "math"));
    assert_eq!(
        (&first.ground_truth, first.answer.as_deref(), &first.extra_info),
        (&json!(4), Some("4"), &json!({"level": 1.5}))
    );
    // The row is the line's number, so that an editor finds it.
    assert_eq!((second.id.as_str(), &second.ground_truth), ("train:3", &Value::Null));
    assert_eq!((&second.messages[0], &second.extra_info), (&Message::user("hi"), &json!({"k": [1], "z": null})));
}

#[test]
fn columns_are_found_by_the_names_given_and_must_be_there() {
    let folder = folder();
    let path =
        jsonl(&folder, "{\"question\": \"2+2?\", \"meta\": {\"gold\": \"4\", \"n\": 1}}\n{\"question\": \"3+3?\"}\n");
    let columns =
        Columns { prompt: Some("question".into()), ground_truth: Some("meta.gold".into()), ..Columns::default() };
    let loaded = load_prompts(&path, &LoadOptions { columns, ..skip() }).expect("prompts");
    assert_eq!(
        (&loaded.prompts[0].ground_truth, &loaded.prompts[0].extra_info),
        (&json!("4"), &json!({"meta": {"n": 1}}))
    );
    let [BadRow { row: 2, field, problem }] = loaded.skipped.as_slice() else { panic!("{:?}", loaded.skipped) };
    assert!(
        field == "meta.gold" && problem.contains("missing") && problem.contains("`question`"),
        "{field}: {problem}"
    );
}

/// Each line, and what the message must say of it.
const BAD_LINES: [(&[u8], &str, &str); 14] = [
    (b"{\"prompt\": \"a", "", "cut off"),
    (b"{\"prompt\": nope}", "", "not JSON at column"),
    (b"[1, 2]", "", "a list where one JSON object"),
    (b"{\"prompt\": \"\xff\"}", "", "not JSON"),
    (b"{\"question\": \"a\"}", "prompt", "the columns are `question`"),
    (b"{\"prompt\": \"  \"}", "prompt", "blank"),
    (b"{\"prompt\": 3}", "prompt", "a number where a string or a list"),
    (b"{\"prompt\": []}", "prompt", "empty"),
    (b"{\"prompt\": [\"a\"]}", "prompt[0]", "a string where a message"),
    (b"{\"prompt\": [{\"role\": \"user\"}]}", "prompt[0].content", "missing"),
    (b"{\"prompt\": [{\"role\": \"human\", \"content\": \"a\"}]}", "prompt[0].role", "unknown role `human`"),
    (b"{\"prompt\": [{\"role\": \"assistant\", \"content\": \"a\"}]}", "prompt", "last turn is the assistant's"),
    (b"{\"prompt\": \"a\", \"id\": {\"x\": 1}}", "id", "an object where a string"),
    (b"{\"prompt\": \"a\", \"extra_info\": {\"k\": 1}, \"k\": 2}", "k", "both a column and a key"),
];

#[test]
fn a_bad_row_is_fatal_or_skipped_and_always_named() {
    let folder = folder();
    for (line, field, problem) in BAD_LINES {
        let path = jsonl(&folder, [b"{\"prompt\": \"good\"}\n".as_slice(), line].concat());
        let error = load_prompts(&path, &math()).expect_err(problem);
        let LoadError::Row { bad, .. } = &error else { panic!("{error:?}") };
        assert!(bad.row == 2 && bad.field == field && bad.problem.contains(problem), "{bad:?}");
        assert!(error.to_string().contains("train.jsonl, row 2"), "{error}");
        let loaded = load_prompts(&path, &skip()).expect("the good row");
        assert_eq!((loaded.prompts.len(), loaded.skipped.as_slice()), (1, std::slice::from_ref(bad)));
    }
}

#[test]
fn inv_4_two_rows_of_one_id_are_refused() {
    let folder = folder();
    let path = jsonl(&folder, "{\"prompt\": \"a\", \"id\": \"x\"}\n{\"prompt\": \"b\", \"id\": \"x\"}\n");
    let error = load_prompts(&path, &math()).expect_err("twice").to_string();
    assert!(error.contains("row 2, field `id`: `x` is already the id of row 1"), "{error}");
}

#[test]
fn a_file_without_prompts_is_an_error() {
    let folder = folder();
    for text in ["", "\n  \n"] {
        assert!(matches!(load_prompts(&jsonl(&folder, text), &skip()), Err(LoadError::Empty { .. })));
    }
    let error = load_prompts(&jsonl(&folder, "{}\n[]\n"), &skip()).expect_err("no good row");
    assert!(matches!(&error, LoadError::NoGoodRow { rows: 2, first, .. } if first.row == 1), "{error:?}");
    let path = folder.path().join("e.parquet");
    write_parquet(&path, vec![("prompt", strings(&[]))]);
    assert!(matches!(load_prompts(&path, &math()), Err(LoadError::Empty { .. })));
    fs::write(&path, b"").expect("empty");
    assert!(matches!(load_prompts(&path, &math()), Err(LoadError::Empty { .. })));
    fs::write(&path, b"PAR1 but no Parquet").expect("damaged");
    let error = load_prompts(&path, &math()).expect_err("damaged");
    assert!(matches!(error, LoadError::Parquet { .. }) && error.to_string().contains("e.parquet"), "{error}");
    assert!(matches!(load_prompts(&folder.path().join("no.jsonl"), &math()), Err(LoadError::Io { .. })));
    assert!(matches!(load_prompts(&folder.path().join("no.csv"), &math()), Err(LoadError::Format { .. })));
}

/// What is left out says nothing of the others.
#[test]
fn the_first_row_that_is_a_prompt_tells_the_format() {
    let folder = folder();
    let turns = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
    for first in
        [r#"{"_comment": "exported by a tool"}"#, "[]", r#"{"prompt": ""}"#, r#"{"prompt": "a", "completion": 1}"#]
    {
        let path = jsonl(&folder, format!("{first}\n{turns}\n{turns}\n"));
        let file = PromptFile::open(&path, &skip()).expect("two good rows");
        assert_eq!((file.format(), file.len(), file.skipped_rows()), (Format::Trl, 2, 1), "{first}");
        assert_eq!(file.skipped()[0].row, 1);
        assert!(file.get(1).expect("it reads").is_conversation());
    }
    // Nor does it come back when it would be a prompt in the format of the others.
    for first in [r#"{"prompt": "a", "completion": 1}"#, r#"{"messages": [], "prompt": "1+1?", "answer": "2"}"#] {
        let path = jsonl(&folder, format!("{first}\n{}", "{\"prompt\": \"q\", \"answer\": \"b\"}\n".repeat(2)));
        let mut file = PromptFile::open(&path, &skip()).expect("two good rows");
        assert_eq!((file.format(), file.len(), file.skipped_rows()), (Format::Jsonl, 2, 1), "{first}");
        assert_eq!(file.get(0).expect("it reads").id, "train:2");
        file.leave_out(|_| None).expect("it reads");
        assert_eq!(file.len(), 2);
    }
    let error = load_prompts(&jsonl(&folder, "{\"input\": 1}\n"), &skip()).expect_err("no good row").to_string();
    assert!(error.contains("none of its 1 rows is a prompt (read as `openrlhf`); the first: row 1"), "{error}");
}

#[test]
fn two_columns_of_one_name_are_refused() {
    let folder = folder();
    let path = folder.path().join("two.parquet");
    write_parquet(&path, vec![("prompt", strings(&["a"])), ("prompt", strings(&["b"]))]);
    let error = load_prompts(&path, &math()).expect_err("which?").to_string();
    assert!(error.contains("two of its columns are called `prompt`"), "{error}");
}

#[test]
fn integers_of_more_than_64_bits_are_their_digits() {
    let folder = folder();
    let rows =
        r#"{"prompt": "2^64 + 1?", "ground_truth": 18446744073709551617, "answer": -18446744073709551617, "n": 3}"#;
    let prompt = &load_prompts(&jsonl(&folder, rows), &math()).expect("a row").prompts[0];
    assert_eq!(prompt.ground_truth, json!("18446744073709551617"));
    assert_eq!(prompt.answer.as_deref(), Some("-18446744073709551617"));
    assert_eq!(prompt.extra_info, json!({"n": 3}));
    // What is no JSON does not become it.
    for rows in [r#"{"prompt": "a", 18446744073709551617: 3}"#, r#"{"prompt": "a", "m": {18446744073709551617: 3}}"#] {
        let error = load_prompts(&jsonl(&folder, rows), &math()).expect_err("a key is a string").to_string();
        assert!(error.contains("not JSON"), "{error}");
    }
}

#[test]
fn a_row_without_domain_is_bad_unless_the_file_has_one() {
    let folder = folder();
    let path = jsonl(&folder, "{\"prompt\": \"a\", \"domain\": \"code\"}\n{\"prompt\": \"b\"}\n");
    let error = load_prompts(&path, &LoadOptions::default()).expect_err("no domain").to_string();
    assert!(error.contains("row 2, field `domain`: missing"), "{error}");
    let prompts = load_prompts(&path, &math()).expect("prompts").prompts;
    assert!(prompts.iter().all(|p| p.domain == "math"));
    assert_eq!(prompts[0].extra_info, json!({"domain": "code"}));
}

#[test]
fn a_limit_and_a_format_can_be_given() {
    let folder = folder();
    let path = folder.path().join("rows.txt");
    fs::write(&path, "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\nnot JSON\n").expect("written");
    let options = LoadOptions { format: Format::Jsonl, limit: Some(2), ..math() };
    assert_eq!(load_prompts(&path, &options).expect("prompts").prompts.len(), 2);
    assert!(matches!(load_prompts(&path, &LoadOptions { limit: None, ..options }), Err(LoadError::Row { .. })));
}
