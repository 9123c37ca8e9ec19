//! The formats of other projects, found by their columns, and files that are read piece by piece.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use data::load::Format;
use data::order::WINDOW_BYTES;
use data::{BadRows, Columns, LoadError, LoadOptions, Message, Prompt, PromptFile, WindowOrder, load_prompts};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use serde_json::{Value, json};

fn options() -> LoadOptions {
    LoadOptions { domain: Some("d".to_owned()), ..LoadOptions::default() }
}

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    path
}

/// The format that is found, and the first prompt.
#[track_caller]
fn first(name: &str, text: &str, options: &LoadOptions) -> (Format, Prompt) {
    let folder = tempfile::tempdir().expect("folder");
    let file = PromptFile::open(&write(folder.path(), name, text), options).expect("opens");
    (file.format(), file.get(0).expect("a prompt"))
}

#[test]
fn trl_messages_are_a_whole_conversation() {
    let row = json!({
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}], "reasoning_content": "r"},
            {"role": "tool", "content": "1", "name": null},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
        ],
        "tools": [{"type": "function"}],
    });
    let (format, prompt) = first("x.jsonl", &row.to_string(), &options());
    assert_eq!((format, prompt.is_conversation(), prompt.answer.as_ref()), (Format::Trl, true, None));
    assert_eq!(prompt.messages[1].rest["reasoning_content"], "r");
    assert_eq!((prompt.messages[2].rest.len(), prompt.messages[3].content.as_str()), (0, "bc"));
    assert_eq!(prompt.template_variables()["tools"], json!([{"type": "function"}]));
    // What is written is what was read, nulls of absent keys aside.
    let again: Vec<Message> =
        serde_json::from_value(serde_json::to_value(&prompt.messages).expect("JSON")).expect("messages");
    assert_eq!(again, prompt.messages);
}

#[test]
fn trl_prompts_and_completions_are_text_or_turns() {
    let (format, plain) = first("x.jsonl", r#"{"prompt": "The sky is", "completion": " blue."}"#, &options());
    assert_eq!(
        (format, plain.messages, plain.answer.as_deref()),
        (Format::Trl, vec![Message::text("The sky is")], Some(" blue."))
    );
    let turns = r#"{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
        "completion": [{"role": "assistant", "content": "d"}]}"#
        .replace('\n', " ");
    let (_, prompt) = first("x.jsonl", &turns, &options());
    let learned: Vec<bool> = prompt.messages.iter().map(Message::is_trained).collect();
    assert_eq!((learned, prompt.is_conversation()), (vec![false, false, false, true], true));
    let named = LoadOptions { format: Format::Trl, ..options() };
    let (_, asked) = first("x.jsonl", r#"{"prompt": "2+2=", "ground_truth": "4"}"#, &named);
    assert_eq!((asked.messages, asked.ground_truth), (vec![Message::text("2+2=")], json!("4")));
}

#[test]
fn prime_rl_prompts_are_turns_of_the_user() {
    let named = LoadOptions { format: Format::PrimeRl, ..options() };
    let (_, prompt) = first("x.jsonl", r#"{"prompt": "a", "completion": "b"}"#, &named);
    assert_eq!((prompt.messages, prompt.answer.as_deref()), (vec![Message::user("a")], Some("b")));
}

#[test]
fn openrlhf_rows_have_input_and_label() {
    let row = r#"{"input": "2+2?", "label": "4", "output": "It is 4."}"#;
    let (format, prompt) = first("x.jsonl", row, &options());
    assert_eq!(
        (format, &prompt.messages[0], &prompt.ground_truth),
        (Format::OpenRlhf, &Message::user("2+2?"), &json!("4"))
    );
    assert_eq!(prompt.answer.as_deref(), Some("It is 4."));
    let template = LoadOptions { template: Some("User: {}\nAssistant: ".to_owned()), ..options() };
    let (_, prompt) = first("x.jsonl", row, &template);
    assert_eq!(prompt.messages, [Message::text("User: 2+2?\nAssistant: ")]);
}

#[test]
fn plain_text_is_cut_at_blank_lines_and_asks_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), "book.txt", "\u{feff}\n  \nOne\ntwo\n\n\r\nThree\n");
    let loaded = load_prompts(&path, &options()).expect("loads").prompts;
    let texts: Vec<_> = loaded.iter().map(|p| (p.id.as_str(), p.answer.as_deref().expect("text"))).collect();
    assert_eq!(texts, [("book:3", "One\ntwo"), ("book:7", "Three")]);
    let (format, prompt) = first("x.jsonl", r#"{"text": "Once upon", "meta": 1}"#, &options());
    assert_eq!((format, prompt.messages.len(), prompt.answer.as_deref()), (Format::Text, 0, Some("Once upon")));
    assert_eq!(prompt.extra_info, json!({"meta": 1}));
}

#[test]
fn columns_of_any_name_are_mapped() {
    let columns = Columns { messages: Some("chat.turns".into()), ..Columns::default() };
    let options = LoadOptions { format: Format::Trl, columns, ..options() };
    let row = r#"{"chat": {"turns": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}}"#;
    assert!(first("x.jsonl", row, &options).1.is_conversation());
}

fn mapped(columns: &[(&str, &str)]) -> LoadOptions {
    let columns: Value = columns.iter().map(|(field, column)| ((*field).to_owned(), json!(column))).collect();
    LoadOptions { columns: serde_json::from_value(columns).expect("fields"), ..options() }
}

#[test]
fn the_format_is_found_by_the_fields_and_not_by_what_their_columns_are_called() {
    let turns = r#"{"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
    let (format, prompt) = first("x.jsonl", turns, &mapped(&[("messages", "conversations")]));
    assert_eq!((format, prompt.is_conversation(), prompt.extra_info), (Format::Trl, true, Value::Null));
    let pair = r#"{"question": "2+2=", "solution": "4", "messages": "none of the prompt"}"#;
    let (format, prompt) = first("x.jsonl", pair, &mapped(&[("prompt", "question"), ("completion", "solution")]));
    assert_eq!((format, prompt.answer.as_deref()), (Format::Trl, Some("4")));
    assert_eq!(prompt.messages, [Message::text("2+2=")]);
    let asked = r#"{"text": "2+2?", "label": "4"}"#;
    let (format, prompt) = first("x.jsonl", asked, &mapped(&[("prompt", "text"), ("ground_truth", "label")]));
    assert_eq!(
        (format, prompt.messages, prompt.ground_truth),
        (Format::Jsonl, vec![Message::user("2+2?")], json!("4"))
    );
}

#[test]
fn one_column_may_serve_two_fields() {
    let row = r#"{"prompt": "2+2?", "answer": "4", "meta": {"n": 1, "gold": "5"}}"#;
    let (_, prompt) = first("x.jsonl", row, &mapped(&[("ground_truth", "answer"), ("answer", "answer")]));
    assert_eq!((&prompt.ground_truth, prompt.answer.as_deref()), (&json!("4"), Some("4")));
    assert_eq!(prompt.extra_info, json!({"meta": {"n": 1, "gold": "5"}}));
    let (_, prompt) = first("x.jsonl", row, &mapped(&[("ground_truth", "meta.gold"), ("id", "meta.gold")]));
    assert_eq!((&prompt.ground_truth, prompt.id.as_str()), (&json!("5"), "5"));
    assert_eq!(prompt.extra_info, json!({"meta": {"n": 1}}));
    let row = r#"{"prompt": "2+2?", "ground_truth": "4"}"#;
    let (_, prompt) = first("x.jsonl", row, &mapped(&[("answer", "ground_truth")]));
    assert_eq!((&prompt.ground_truth, prompt.answer.as_deref()), (&json!("4"), Some("4")));
}

#[test]
fn a_column_for_a_field_that_the_format_has_no_use_for_is_refused() {
    let whole = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "q": "c"}"#;
    let asked = r#"{"prompt": "a", "q": "b", "domain": "c"}"#;
    let cases = [
        (whole, Format::Auto, [("messages", "messages"), ("prompt", "q")], "`columns.prompt`"),
        (asked, Format::Jsonl, [("prompt", "prompt"), ("completion", "q")], "`columns.completion`"),
        (asked, Format::Verl, [("prompt", "prompt"), ("messages", "q")], "format `verl`"),
        (asked, Format::PrimeRl, [("completion", "q"), ("answer", "q")], "`answer` says"),
        (asked, Format::Auto, [("prompt", "q"), ("domain", "domain")], "`columns.domain`"),
        (r#"{"text": "a"}"#, Format::Text, [("answer", "text"), ("prompt", "text")], "plain text asks nothing"),
    ];
    let folder = tempfile::tempdir().expect("folder");
    for (row, format, columns, message) in cases {
        let path = write(folder.path(), "x.jsonl", row);
        let options = LoadOptions { format, bad_rows: BadRows::Skip, ..mapped(&columns) };
        let error = PromptFile::open(&path, &options).expect_err(message);
        assert!(matches!(error, LoadError::Column { .. }) && error.to_string().contains(message), "{error}");
    }
}

#[test]
fn openrlhf_answers_are_text_or_turns_or_the_last_turn_of_the_input() {
    let turn = |role: &str| json!({"role": role, "content": role});
    let rows = [
        json!({"input": "a", "output": [turn("assistant")]}),
        json!({"input": [turn("user"), turn("assistant"), turn("user")], "output": [turn("assistant")], "label": "4"}),
        json!({"input": [turn("system"), turn("user"), turn("assistant")]}),
    ];
    for (row, turns) in rows.iter().zip([2, 4, 3]) {
        let (format, prompt) = first("x.jsonl", &row.to_string(), &options());
        assert_eq!((format, prompt.messages.len(), prompt.answer.as_ref()), (Format::OpenRlhf, turns, None), "{row}");
        assert!(prompt.is_conversation(), "{row}");
        assert_eq!(prompt.messages.iter().filter(|turn| turn.is_trained()).count(), 1, "{row}");
    }
    let folder = tempfile::tempdir().expect("folder");
    for both in [
        json!({"input": [turn("user"), turn("assistant")], "output": "what of the two?"}),
        json!({"input": "a", "output": [turn("narrator")]}),
        json!({"input": "a", "output": {"role": "assistant"}}),
    ] {
        let path = write(folder.path(), "x.jsonl", both.to_string());
        assert!(matches!(PromptFile::open(&path, &options()), Err(LoadError::Row { .. })), "{both}");
    }
}

#[test]
fn rows_that_are_of_no_use_are_left_out_and_stay_out() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, rows) in [("a.parquet", 100), ("a.jsonl", 1500)] {
        let path = large(folder.path(), name, rows);
        let skip = LoadOptions { bad_rows: BadRows::Skip, ..options() };
        let mut file = PromptFile::open(&path, &skip).expect("opens");
        let (before, skipped) = (file.len(), file.skipped_rows());
        file.get(0).expect("a block is in the cache");
        let is_bad = |prompt: &Prompt| prompt.extra_info["n"].as_u64().expect("a number").is_multiple_of(5);
        let problem = |prompt: &Prompt| is_bad(prompt).then(|| "a fifth".to_owned());
        file.leave_out(problem).expect("most are left");
        let left_out = file.refused().len() as u64;
        assert_eq!((file.len(), file.skipped_rows()), (before - left_out, skipped + left_out), "{name}");
        assert!(left_out > rows as u64 / 6, "{name}: {left_out}");
        assert_eq!(file.skipped()[0].to_string(), "row 1: a fifth");
        let again = PromptFile::open(&path, &LoadOptions { refused: file.refused().clone(), ..skip }).expect("opens");
        assert_eq!((again.len(), again.skipped_rows()), (file.len(), file.skipped_rows()), "{name}");
        assert!(again.blocks().eq(file.blocks()), "the order of a stage is a function of these");
        for i in (0..file.len()).rev() {
            let prompt = file.get(i).expect("there");
            assert!(!is_bad(&prompt) && again.get(i).expect("there") == prompt, "{name} {i}");
        }
        let mut none = PromptFile::open(&path, &LoadOptions { bad_rows: BadRows::Skip, ..options() }).expect("opens");
        assert!(matches!(none.leave_out(|_| Some(String::new())), Err(LoadError::NoGoodRow { .. })), "{name}");
    }
    let path = write(folder.path(), "b.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"long\"}\n");
    let mut file = PromptFile::open(&path, &options()).expect("opens");
    let long = |prompt: &Prompt| (prompt.messages[0].content.len() > 1).then(|| "too long".to_owned());
    let error = file.leave_out(long).expect_err("fatal").to_string();
    assert!(error.contains("b.jsonl, row 2: too long"), "{error}");
}

/// A file of three row groups or of several blocks of lines.
fn large(folder: &Path, name: &str, rows: usize) -> PathBuf {
    let path = folder.join(name);
    if name.ends_with("parquet") {
        let prompts: Vec<String> = (0..rows).map(|i| format!("question {i}")).collect();
        let columns: [(&str, ArrayRef); 2] = [
            ("prompt", Arc::new(StringArray::from(prompts))),
            ("n", Arc::new(Int64Array::from_iter_values(0..rows as i64))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("batch");
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows.div_ceil(3))).build();
        let file = fs::File::create(&path).expect("file");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
    } else {
        let padding = "x".repeat(3000);
        // Every seventh row is bad, and the rows before a blank line are of one id.
        let line = |i: usize| match i % 7 {
            3 => "{\"prompt\": 3}\n".to_owned(),
            _ => format!("{{\"prompt\": \"question {i}\", \"n\": {i}, \"pad\": \"{padding}\"}}\n"),
        };
        fs::write(&path, (0..rows).map(line).collect::<String>()).expect("written");
    }
    path
}

#[test]
fn a_file_is_read_block_by_block_and_any_row_is_found() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, rows) in [("a.parquet", 100), ("a.jsonl", 1500)] {
        let path = large(folder.path(), name, rows);
        let file = PromptFile::open(&path, &LoadOptions { bad_rows: BadRows::Skip, ..options() }).expect("opens");
        assert!(file.blocks().count() >= 3, "{name}: {} blocks", file.blocks().count());
        assert_eq!(file.len() + file.skipped_rows(), rows as u64, "{name}");
        let mut whole = Vec::new();
        file.for_each(|prompt| {
            whole.push(prompt.clone());
            Ok::<(), LoadError>(())
        })
        .expect("reads");
        for i in (0..file.len()).rev() {
            let prompt = file.get(i).expect("there");
            assert_eq!(prompt, whole[i as usize]);
            assert_eq!(prompt.messages[0].content, format!("question {}", prompt.extra_info["n"]));
        }
        let mut order = WindowOrder::new(file.blocks(), WINDOW_BYTES, 1, "o");
        assert!(file.get(order.at(0)).is_ok() && order.total() == file.len());
    }
}

#[test]
fn a_file_that_changes_under_a_run_is_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), "x.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n");
    let file = PromptFile::open(&path, &options()).expect("opens");
    write(folder.path(), "x.jsonl", "{\"prompt\": \"a\"}\n");
    assert!(matches!(file.get(1), Err(LoadError::Changed { .. })));
}

#[test]
fn bad_rows_beyond_a_thousand_are_counted_only() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), "x.jsonl", format!("{{\"prompt\": \"a\"}}\n{}", "[]\n".repeat(1500)));
    let file = PromptFile::open(&path, &LoadOptions { bad_rows: BadRows::Skip, ..options() }).expect("opens");
    assert_eq!((file.skipped().len(), file.skipped_rows(), file.skipped()[0].row), (1000, 1500, 2));
}

#[test]
fn inv_4_an_id_that_another_row_has_by_its_number_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), "x.jsonl", "{\"prompt\": \"a\", \"id\": \"x:2\"}\n{\"prompt\": \"b\"}\n");
    let error = PromptFile::open(&path, &options()).expect_err("twice").to_string();
    assert!(error.contains("`x:2` is what row 2 is called"), "{error}");
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        Just(b"{\"prompt\": \"a\"}\n".to_vec()),
        Just(b"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n".to_vec()),
        Just(b"{\"text\": \"t\"}\n\n".to_vec()),
        Just(b"{\"input\": [1], \"label\":".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_rows_or_an_error_and_never_a_panic(
        pieces in prop::collection::vec(piece(), 0..9), kind in 0usize..4, skip: bool,
    ) {
        let folder = tempfile::tempdir().expect("folder");
        let path = write(folder.path(), ["x.jsonl", "x.txt", "x.parquet", "x.ndjson"][kind], pieces.concat());
        let bad_rows = if skip { BadRows::Skip } else { BadRows::Fatal };
        if let Ok(file) = PromptFile::open(&path, &LoadOptions { bad_rows, ..options() }) {
            for i in 0..file.len() {
                prop_assert!(file.get(i).is_ok());
            }
        }
    }

    #[test]
    fn a_damaged_parquet_file_is_rows_or_an_error(at in 0usize..6000, byte: u8, cut in 0usize..6000) {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/verl_math.parquet");
        let mut bytes = fs::read(fixture).expect("the fixture is there");
        let (at, cut) = (at % bytes.len(), cut % bytes.len());
        bytes[at] ^= byte;
        if cut % 3 == 0 {
            bytes.truncate(cut);
        }
        let folder = tempfile::tempdir().expect("folder");
        let path = write(folder.path(), "x.parquet", bytes);
        if let Ok(loaded) = load_prompts(&path, &LoadOptions { bad_rows: BadRows::Skip, ..options() }) {
            prop_assert!(loaded.prompts.iter().all(|prompt| prompt.ground_truth != Value::Bool(true)));
        }
    }
}
