//! Chat templates against transformers' own rendering, and DeepSeek-V3.2's encoding against the model's own code.
//! `scripts/dev/make_template_fixtures.py` and `make_dsv32_fixtures.py` wrote what is expected.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use data::chat::deepseek_v32::{ParseError, parse};
use data::{ChatError, ChatTemplate, Message};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates")
}

fn read(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(name)).expect("the fixture is there");
    serde_json::from_str(&text).expect("the fixture is JSON")
}

fn messages(case: &Value) -> Vec<Message> {
    serde_json::from_value(case["messages"].clone()).expect("messages")
}

/// What a template sees beside the turns.
fn variables(case: &Value) -> Map<String, Value> {
    let mut variables = case["variables"].as_object().cloned().unwrap_or_default();
    for name in ["tools", "documents"] {
        if !case[name].is_null() {
            variables.insert(name.to_owned(), case[name].clone());
        }
    }
    variables
}

fn template(name: &str, clock: i64) -> ChatTemplate {
    let source = fs::read_to_string(folder().join(format!("{name}.jinja"))).expect("the template is there");
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, token)| (name.to_owned(), token.to_owned()));
    ChatTemplate::new(&source, BTreeMap::from(tokens), clock).expect("the template compiles")
}

/// Byte spans as transformers counts them: in characters.
fn in_characters(text: &str, spans: &[std::ops::Range<usize>]) -> Value {
    spans.iter().map(|s| json!([text[..s.start].chars().count(), text[..s.end].chars().count()])).collect()
}

#[test]
fn templates_render_as_transformers_renders_them() {
    let expected = read("expected.json");
    let clock = expected["clock"].as_i64().expect("a time");
    let mut wrong = Vec::new();
    let (mut checked, mut refused) = (0, 0);
    for case in expected["cases"].as_array().expect("cases") {
        let conversation = &expected["conversations"][case["case"].as_str().expect("a name")];
        let template = template(case["template"].as_str().expect("a name"), clock);
        let (messages, variables) = (messages(conversation), variables(conversation));
        let mut spans = Value::Null;
        let text = if case["continued"] == true {
            template.render_continued(&messages, &variables)
        } else if case["marked"] == true {
            template.render_marked(&messages, &variables).map(|marked| {
                spans = in_characters(&marked.text, &marked.spans);
                marked.text
            })
        } else {
            template.render(&messages, case["generation_prompt"] == true, &variables)
        };
        let is_right = match (&text, case["error"].as_str()) {
            (Err(ChatError::Raised { message, .. }), Some(error)) => error.ends_with(message.as_str()),
            (Err(_), Some(_)) => true,
            (Ok(text), None) => {
                *text == case["text"] && (spans == Value::Null || spans == *case.get("spans").unwrap_or(&json!([])))
            }
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{case}\n  gave {text:?} {spans}"));
        }
        checked += 1;
        refused += usize::from(text.is_err());
    }
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked > 200 && refused > 10, "{checked} checked, {refused} of them refused");
}

#[test]
fn deepseek_v32_encodes_as_the_model_s_own_code() {
    let template = ChatTemplate::deepseek_v32();
    let mut refused = 0;
    for case in read("deepseek_v32.json").as_array().expect("cases") {
        let variables = Map::from_iter([
            ("enable_thinking".to_owned(), case["thinking"].clone()),
            ("drop_thinking".to_owned(), case["drop"].clone()),
        ]);
        let text = template.render(&messages(case), true, &variables);
        match case["text"].as_str() {
            Some(expected) => assert_eq!(text.as_deref(), Ok(expected), "{case}"),
            None => {
                assert!(matches!(text, Err(ChatError::Encoding { .. })), "{text:?} for {case}");
                refused += 1;
            }
        }
    }
    assert!(refused > 5, "{refused} refused");
}

#[test]
fn deepseek_v32_tools_of_the_row_stand_in_the_system_turn() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let variables = Map::from_iter([("tools".to_owned(), tools.clone())]);
    let template = ChatTemplate::deepseek_v32();
    let outside = template.render(&[Message::user("x")], true, &variables);
    let inside = [Message::new("system", "").with("tools", tools), Message::user("x")];
    assert_eq!(outside, template.render(&inside, true, &Map::new()));
    assert!(outside.expect("renders").contains("<functions>\n{\"name\": \"f\"}\n</functions>"));
}

#[test]
fn deepseek_v32_reads_what_it_writes() {
    let turn = Message::assistant("Let me see.").with("reasoning_content", "hm\n\nyes").with(
        "tool_calls",
        json!([
            {"type": "function", "function": {"name": "weather", "arguments": "{\"place\": \"Z\\\"ü\\nrich\", \"days\": [1, 2.5]}"}},
            {"type": "function", "function": {"name": "none", "arguments": "{}"}},
        ]),
    );
    let variables = Map::from_iter([("thinking".to_owned(), Value::from(true))]);
    let template = ChatTemplate::deepseek_v32();
    let asked = template.render(&[Message::user("?")], true, &variables).expect("renders");
    let whole = template.render(&[Message::user("?"), turn.clone()], false, &variables).expect("renders");
    let completion = whole.strip_prefix(&asked).expect("the answer follows the question");
    assert_eq!(parse(completion, true), Ok(turn.clone()));
    assert_eq!(parse(completion.strip_suffix("<｜end▁of▁sentence｜>").expect("an end"), true), Ok(turn));
    assert_eq!(parse("just text", false), Ok(Message::assistant("just text")));
}

#[test]
fn deepseek_v32_names_what_is_wrong_with_a_completion() {
    let calls = |inside: &str| parse(&format!("\n\n<｜DSML｜function_calls>\n{inside}"), false);
    assert_eq!(parse("no end", true), Err(ParseError::OpenThoughts));
    assert_eq!(parse("a</think>b<think>", true), Err(ParseError::Mark("<think>")));
    assert!(matches!(calls(""), Err(ParseError::Calls { .. })));
    assert!(matches!(calls("</｜DSML｜function_calls>more"), Err(ParseError::Calls { .. })));
    let parameter = |value: &str| {
        let one = format!("<｜DSML｜parameter name=\"k\" string=\"false\">{value}</｜DSML｜parameter>\n");
        calls(&format!("<｜DSML｜invoke name=\"f\">\n{one}</｜DSML｜invoke>\n</｜DSML｜function_calls>"))
    };
    assert!(parameter("[1]").is_ok());
    assert_eq!(parameter("[1"), Err(ParseError::Value("k".into())));
    let again = "1</｜DSML｜parameter>\n<｜DSML｜parameter name=\"k\" string=\"true\">2";
    assert_eq!(parameter(again), Err(ParseError::Twice("k".into())));
}

proptest! {
    #[test]
    fn deepseek_v32_parses_any_text_without_panic(
        parts in prop::collection::vec(prop_oneof![
            Just("\n\n<｜DSML｜function_calls>\n".to_owned()), Just("<｜DSML｜invoke name=\"f\">\n".to_owned()),
            Just("<｜DSML｜parameter name=\"k\" string=\"false\">".to_owned()), Just("</｜DSML｜parameter>\n".to_owned()),
            Just("</｜DSML｜invoke>\n".to_owned()), Just("</｜DSML｜function_calls>".to_owned()), Just("</think>".to_owned()), ".{0,6}",
        ], 0..9),
        thinks: bool,
    ) {
        let _ = parse(&parts.concat(), thinks);
    }
}
