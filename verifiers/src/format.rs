//! The format verifier: does a completion have the parts that the settings ask for, each exactly once and in order?
//!
//! Of every part there must be one, not at least one: a model that repeats its tags has found how to please a looser
//! rule.

use std::sync::Arc;

use data::{Item, Verdict};
use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Verifier;
use crate::math::extract;

/// Why format settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Every completion would pass.
    #[error("format: nothing is asked for; set tags, boxed, code_block, json or json_schema")]
    NothingAsked,
    /// A tag that could not be found in a text.
    #[error("format: {0:?} is no name of a tag; use letters, digits, '-' and '_', without the angle brackets")]
    BadTag(String),
    /// There is no first tag.
    #[error("format: opened_by_prompt needs a tag; name it in tags")]
    NoTagOpened,
    /// Nothing could be checked against it.
    #[error("format: json_schema is no JSON schema: {0}")]
    BadSchema(String),
}

/// What a completion must have. All that is set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FormatSettings {
    /// Names of tags: `["think"]` asks for one `<think>`, then one `</think>`. Several follow one another and do not
    /// nest.
    pub tags: Vec<String>,
    /// The prompt ends with the first opening tag, so the completion must not have it.
    pub opened_by_prompt: bool,
    /// Exactly one closed `\boxed{…}`, not empty, outside the reasoning.
    pub boxed: bool,
    /// Exactly one closed fenced block of this language outside the reasoning.
    pub code_block: Option<String>,
    /// The text outside the reasoning is one JSON value, bare or as its only fenced block of `json`.
    pub json: bool,
    /// As `json`, and the value is valid under this JSON schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<Value>,
}

impl Default for FormatSettings {
    /// One final box.
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            opened_by_prompt: false,
            boxed: true,
            code_block: None,
            json: false,
            json_schema: None,
        }
    }
}

/// Checks the parts of a completion; pass or fail, never anything between.
#[derive(Debug, Clone)]
pub struct FormatVerifier {
    settings: FormatSettings,
    schema: Option<Arc<Validator>>,
}

impl FormatVerifier {
    /// A verifier with these settings.
    ///
    /// # Errors
    /// [`FormatError`] when the settings ask for nothing or for something that cannot be.
    pub fn new(settings: FormatSettings) -> Result<Self, FormatError> {
        let json = settings.json || settings.json_schema.is_some();
        if settings.tags.is_empty() && !settings.boxed && settings.code_block.is_none() && !json {
            return Err(FormatError::NothingAsked);
        }
        if settings.opened_by_prompt && settings.tags.is_empty() {
            return Err(FormatError::NoTagOpened);
        }
        let named = |tag: &str| !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        match settings.tags.iter().find(|tag| !named(tag)) {
            Some(tag) => Err(FormatError::BadTag(tag.clone())),
            None => {
                let schema = settings.json_schema.as_ref().map(compile).transpose()?;
                Ok(Self { settings, schema })
            }
        }
    }

    /// What is wrong with a completion, in words.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self, completion: &str) -> Result<(), String> {
        let body = self.after_tags(completion)?;
        if self.settings.boxed {
            one_box(body)?;
        }
        if let Some(language) = &self.settings.code_block {
            one_code_block(body, language)?;
        }
        if self.settings.json || self.schema.is_some() {
            one_json(body, self.schema.as_deref())?;
        }
        Ok(())
    }

    /// Checks the tags; answers with the text that may hold the final parts.
    fn after_tags<'a>(&self, completion: &'a str) -> Result<&'a str, String> {
        let mut at = 0;
        let mut body = completion;
        for (i, tag) in self.settings.tags.iter().enumerate() {
            let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
            if i == 0 && self.settings.opened_by_prompt {
                if completion.contains(&open) {
                    return Err(format!("{open} is the prompt's and occurs again"));
                }
            } else {
                at = once(completion, &open, at)?;
            }
            at = once(completion, &close, at)?;
            // Only reasoning is left out of the search: an <answer> is where the box belongs.
            if tag == "think" {
                body = &completion[at..];
            }
        }
        Ok(body)
    }

    fn verify_one(&self, item: &Item) -> Verdict {
        match self.check(&item.completion) {
            Ok(()) => Verdict::pass(&item.id, "every asked part is there once"),
            Err(reason) => Verdict::fail(&item.id, reason),
        }
    }
}

impl Verifier for FormatVerifier {
    fn name(&self) -> &'static str {
        "format"
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        items.iter().map(|item| self.verify_one(item)).collect()
    }
}

/// The end of the only occurrence of `mark`, which must not start before `from`.
fn once(text: &str, mark: &str, from: usize) -> Result<usize, String> {
    let mut found = text.match_indices(mark);
    match (found.next(), found.next()) {
        (None, _) => Err(format!("{mark} is missing")),
        (Some(_), Some(_)) => Err(format!("{mark} occurs more than once")),
        (Some((at, _)), None) if at < from => Err(format!("{mark} stands out of order")),
        (Some((at, _)), None) => Ok(at + mark.len()),
    }
}

fn one_box(text: &str) -> Result<(), String> {
    let mut contents = Vec::new();
    for segment in extract::outside_reasoning(text) {
        let boxes = extract::boxes(segment);
        if boxes.unclosed_last {
            return Err("a box is not closed".into());
        }
        contents.extend(boxes.contents);
    }
    match contents.as_slice() {
        [] => Err("no final box".into()),
        [content] if content.trim().is_empty() => Err("the final box is empty".into()),
        [_] => Ok(()),
        _ => Err(format!("{} final boxes instead of one", contents.len())),
    }
}

/// The contents of the closed fenced blocks of a language outside the reasoning.
///
/// Fences are lines that start with three or more backticks; the closing one is at least as long and names nothing.
fn code_blocks(text: &str, language: &str) -> Result<Vec<String>, String> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, bool)> = None;
    let mut content = String::new();
    for line in extract::outside_reasoning(text).into_iter().flat_map(str::lines) {
        let trimmed = line.trim();
        let ticks = trimmed.bytes().take_while(|b| *b == b'`').count();
        let info = trimmed[ticks..].trim();
        match open {
            None if ticks >= 3 => open = Some((ticks, info.eq_ignore_ascii_case(language))),
            Some((width, asked)) if ticks >= width && info.is_empty() => {
                let content = std::mem::take(&mut content);
                if asked {
                    blocks.push(content);
                }
                open = None;
            }
            Some(_) => {
                content.push_str(line);
                content.push('\n');
            }
            None => {}
        }
    }
    if open.is_some() { Err("a code block is not closed".into()) } else { Ok(blocks) }
}

fn one_code_block(text: &str, language: &str) -> Result<(), String> {
    match code_blocks(text, language)?.len() {
        1 => Ok(()),
        0 => Err(format!("no code block of {language}")),
        count => Err(format!("{count} code blocks of {language} instead of one")),
    }
}

/// A schema that can be checked against. Its patterns run in linear time, and it may refer to nothing outside itself.
fn compile(schema: &Value) -> Result<Arc<Validator>, FormatError> {
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    options.build(schema).map(Arc::new).map_err(|error| FormatError::BadSchema(error.to_string()))
}

/// The text without a byte order mark in front, which a parser of JSON may ignore (RFC 8259, section 8.1), as it may blanks.
fn without_mark(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('\u{feff}').map_or(text, str::trim_start)
}

fn one_json(text: &str, schema: Option<&Validator>) -> Result<(), String> {
    let mut blocks = code_blocks(without_mark(text), "json")?;
    let bare = extract::outside_reasoning(text).join("\n");
    let json = match (blocks.pop(), blocks.len()) {
        (None, _) => bare,
        (Some(block), 0) => block,
        (Some(_), more) => return Err(format!("{} code blocks of json instead of one", more + 1)),
    };
    let value: Value =
        serde_json::from_str(without_mark(&json)).map_err(|error| format!("the answer is no JSON: {error}"))?;
    match schema.map(|schema| schema.validate(&value)) {
        Some(Err(error)) => {
            let place = match error.instance_path().as_str() {
                "" => "the answer".to_owned(),
                path => format!("the answer at {path}"),
            };
            let what: String = error.to_string().chars().take(200).collect();
            Err(format!("{place} does not follow the schema: {what}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: FormatSettings, completion: &str, expect: Result<(), &str>) {
        let verifier = FormatVerifier::new(settings).expect("the settings ask for something");
        assert_eq!(verifier.check(completion), expect.map_err(str::to_owned), "{completion}");
    }

    fn think() -> FormatSettings {
        FormatSettings { tags: vec!["think".into()], boxed: false, ..FormatSettings::default() }
    }

    #[test]
    fn tags_stand_once_and_in_order() {
        check(think(), "<think>a</think> b", Ok(()));
        check(think(), "a</think> b", Err("<think> is missing"));
        check(think(), "<think>a", Err("</think> is missing"));
        check(think(), "</think><think>", Err("</think> stands out of order"));
        check(think(), "<think>a<think>b</think>", Err("<think> occurs more than once"));
        let prompted = FormatSettings { opened_by_prompt: true, ..think() };
        check(prompted.clone(), "a</think> b", Ok(()));
        check(prompted, "<think>a</think> b", Err("<think> is the prompt's and occurs again"));
        let two = FormatSettings { tags: vec!["think".into(), "answer".into()], ..think() };
        check(two.clone(), "<think>a</think><answer>b</answer>", Ok(()));
        check(two, "<answer>b</answer><think>a</think>", Err("<answer> stands out of order"));
    }

    #[test]
    fn one_final_box_outside_the_reasoning() {
        let boxed = FormatSettings::default();
        check(boxed.clone(), r"so \boxed{3}", Ok(()));
        check(boxed.clone(), r"<think>\boxed{1}</think> \boxed{3}", Ok(()));
        check(boxed.clone(), r"<think>\boxed{1}</think> 3", Err("no final box"));
        check(boxed.clone(), r"\boxed{3} \boxed{3}", Err("2 final boxes instead of one"));
        check(boxed.clone(), r"\boxed{3", Err("a box is not closed"));
        check(boxed, r"\boxed{ }", Err("the final box is empty"));
        check(FormatSettings { boxed: true, ..think() }, r"<think>a</think> \boxed{3}", Ok(()));
    }

    #[test]
    fn one_code_block_of_the_language() {
        let python = FormatSettings { boxed: false, code_block: Some("python".into()), ..FormatSettings::default() };
        check(python.clone(), "a\n```python\nx = 1\n```\nb", Ok(()));
        check(python.clone(), "```text\na\n```\n```Python\nx\n```", Ok(()));
        check(python.clone(), "```\nx\n```", Err("no code block of python"));
        check(python.clone(), "```python\nx\n```\n```python\ny\n```", Err("2 code blocks of python instead of one"));
        check(python, "```python\nx", Err("a code block is not closed"));
    }

    #[test]
    fn one_json_value_that_follows_the_schema() {
        let json = FormatSettings { boxed: false, json: true, ..FormatSettings::default() };
        check(json.clone(), "<think>{</think>\n{\"a\": [1, 2]}\n", Ok(()));
        check(json.clone(), "Here it is:\n```json\n{\"a\": 1}\n```\nDone.", Ok(()));
        check(json.clone(), "```json\n1\n```\n```json\n2\n```", Err("2 code blocks of json instead of one"));
        check(json, "{\"a\": 1} {}", Err("the answer is no JSON: trailing characters at line 1 column 10"));
        let schema = serde_json::json!({
            "type": "object", "required": ["answer"], "additionalProperties": false,
            "properties": {"answer": {"type": "integer"}, "name": {"type": "string", "pattern": "^(a+)+$"}},
        });
        let strict = FormatSettings { boxed: false, json_schema: Some(schema), ..FormatSettings::default() };
        check(strict.clone(), "{\"answer\": 3}", Ok(()));
        let wrong = "the answer at /answer does not follow the schema: \"3\" is not of type \"integer\"";
        check(strict.clone(), "{\"answer\": \"3\"}", Err(wrong));
        let missing = "the answer does not follow the schema: \"answer\" is a required property";
        check(strict.clone(), "{}", Err(missing));
        let endless = format!("{{\"answer\": 3, \"name\": \"{}!\"}}", "a".repeat(50_000));
        let began = std::time::Instant::now();
        assert!(FormatVerifier::new(strict).expect("sound").check(&endless).is_err());
        assert!(began.elapsed().as_millis() < 500, "{:?}", began.elapsed());
    }

    #[test]
    fn a_byte_order_mark_in_front_of_json_is_ignored() {
        let json = FormatSettings { boxed: false, json: true, ..FormatSettings::default() };
        for right in [
            "\u{feff}{\"a\": 1}",
            "\n\u{feff} {\"a\": 1}\n",
            "\u{feff}```json\n{\"a\": 1}\n```",
            "```json\n\u{feff}{\"a\": 1}\n```",
            "<think>{</think>\u{feff}{\"a\": 1}",
            "\u{feff}<think>{</think>{\"a\": 1}",
        ] {
            check(json.clone(), right, Ok(()));
        }
        // One, in front, and nowhere else.
        for wrong in ["\u{feff}\u{feff}{}", "{\u{feff}}", "{}\u{feff}", "\u{feff}", "\u{feff}{"] {
            assert!(FormatVerifier::new(json.clone()).expect("sound").check(wrong).is_err(), "{wrong:?}");
        }
        let text = FormatSettings {
            boxed: false,
            json_schema: Some(serde_json::json!({"const": "\u{feff}a"})),
            ..FormatSettings::default()
        };
        check(text, "\"\u{feff}a\"", Ok(()));
    }

    #[test]
    fn impossible_settings_are_refused() {
        let schema = FormatSettings { json_schema: Some(serde_json::json!({"type": 3})), ..FormatSettings::default() };
        assert!(matches!(FormatVerifier::new(schema), Err(FormatError::BadSchema(_))));
        let remote = serde_json::json!({"$ref": "https://example.com/schema.json"});
        let remote = FormatSettings { json_schema: Some(remote), ..FormatSettings::default() };
        assert!(matches!(FormatVerifier::new(remote), Err(FormatError::BadSchema(_))));
        let nothing = FormatSettings { boxed: false, ..FormatSettings::default() };
        assert_eq!(FormatVerifier::new(nothing).err(), Some(FormatError::NothingAsked));
        let odd = FormatSettings { tags: vec!["<think>".into()], ..FormatSettings::default() };
        assert_eq!(FormatVerifier::new(odd).err(), Some(FormatError::BadTag("<think>".into())));
    }
}
