//! Chat templates: from the turns of a conversation to the text that a model was trained to continue.
//!
//! A template is Jinja with the extensions that Hugging Face's `apply_chat_template` gives it: `trim_blocks` and
//! `lstrip_blocks`, loop controls, Python's methods on strings, lists and maps, `tojson` as `json.dumps` writes,
//! `raise_exception` and `strftime_now`. What differs: the clock of `strftime_now` is a field of the template, in
//! UTC, so that a resumed run renders what the run rendered before; and `{% generation %}` blocks render their
//! content and mark nothing.

mod strftime;

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Message;

/// Why a conversation has no text. Lines count from 1 within the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The template is not valid Jinja.
    #[error("chat template, line {line}: {message}. It is not a valid template")]
    Syntax {
        /// Where.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// The template itself refuses the conversation by `raise_exception`.
    #[error("chat template, line {line}: the template refuses this conversation: {message}")]
    Raised {
        /// Where.
        line: usize,
        /// The template's own words.
        message: String,
    },
    /// The template fails on this conversation.
    #[error("chat template, line {line}: {message}")]
    Render {
        /// Where.
        line: usize,
        /// What fails.
        message: String,
    },
    /// There is no template, and the conversation is more than plain text.
    #[error(
        "the tokenizer has no chat template, so a prompt must be one turn of the user, but this one has the turns [{roles}]. \
         Add a chat_template.jinja to the checkpoint, or use prompts of one turn"
    )]
    NoTemplate {
        /// The roles of the conversation.
        roles: String,
    },
}

/// The mark of an error that the template raised itself.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

/// A compiled chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: BTreeMap<String, String>,
}

const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// `special_tokens` are in scope by their names in tokenizer_config.json (`bos_token`, `eos_token`, …). `now` is
    /// what `strftime_now` formats, in seconds since 1970, UTC.
    ///
    /// # Errors
    /// [`ChatError::Syntax`].
    pub fn new(source: &str, special_tokens: BTreeMap<String, String>, now: i64) -> Result<Self, ChatError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("only the whitespace differs from the default syntax"));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
        });
        let mut this = Self { environment, special_tokens };
        this.set_clock(now);
        this.environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|e| ChatError::Syntax { line: e.line().unwrap_or(1), message: message_of(&e) })?;
        Ok(this)
    }

    /// Sets what `strftime_now` formats, in seconds since 1970, UTC. A run sets its own start, so that it renders the
    /// same after a resume.
    pub fn set_clock(&mut self, now: i64) {
        self.environment.add_function("strftime_now", move |format: String| {
            strftime::strftime(now, &format)
                .map_err(|d| Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know `{d}`")))
        });
    }

    /// Renders a conversation.
    ///
    /// With `add_generation_prompt` the text ends where the assistant's turn begins. `extra` is in scope beside
    /// `messages`, under its own names (`enable_thinking`, `tools`, …), and overrides the special tokens.
    ///
    /// # Errors
    /// [`ChatError::Raised`] where the template calls `raise_exception`, [`ChatError::Render`] where it fails
    /// otherwise.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &Map<String, Value>,
    ) -> Result<String, ChatError> {
        #[derive(Serialize)]
        struct Context<'a> {
            #[serde(flatten)]
            names: BTreeMap<&'a str, Value>,
            messages: &'a [Message],
            add_generation_prompt: bool,
        }
        let special = self.special_tokens.iter().map(|(name, token)| (name.as_str(), Value::from(token.as_str())));
        let mut names: BTreeMap<&str, Value> = special.collect();
        names.extend(extra.iter().map(|(name, value)| (name.as_str(), value.clone())));
        names.retain(|name, _| !matches!(*name, "messages" | "add_generation_prompt"));
        let template = self.environment.get_template(NAME).map_err(|e| failure(&e))?;
        template
            .render(minijinja::Value::from(Serde(Context { names, messages, add_generation_prompt })))
            .map_err(|e| failure(&e))
    }
}

/// The text of a prompt: rendered by the template, up to where the assistant begins. Without a template, one turn of
/// the user is plain text to be continued.
///
/// # Errors
/// [`ChatError::NoTemplate`], and those of [`ChatTemplate::render`].
pub fn prompt_text(template: Option<&ChatTemplate>, messages: &[Message]) -> Result<String, ChatError> {
    match (template, messages) {
        (Some(template), _) => template.render(messages, true, &Map::new()),
        (None, [only]) if only.role == "user" => Ok(only.content.clone()),
        (None, _) => {
            let roles: Vec<&str> = messages.iter().map(|m| m.role.as_str()).collect();
            Err(ChatError::NoTemplate { roles: roles.join(", ") })
        }
    }
}

fn message_of(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

fn failure(error: &Error) -> ChatError {
    let (line, message) = (error.line().unwrap_or(1), message_of(error));
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(source) = cause {
        if source.is::<Raised>() {
            return ChatError::Raised { line, message };
        }
        cause = source.source();
    }
    ChatError::Render { line, message }
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it: `, ` and `: ` between items, nothing escaped
/// for HTML. `indent` breaks lines as Python does.
fn tojson(value: &minijinja::Value, arguments: Kwargs) -> Result<minijinja::Value, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    // What json.dumps does anyway is accepted, so that templates which spell it out work.
    let ascii: Option<bool> = arguments.get("ensure_ascii")?;
    arguments.assert_all_used()?;
    if ascii == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson(ensure_ascii=true) is not supported"));
    }
    let invalid = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, format!("tojson: {e}"));
    let mut out = Vec::new();
    match indent {
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)).map_err(invalid)?,
        Some(width) => {
            let spaces = " ".repeat(width);
            let pretty = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, pretty)).map_err(invalid)?;
        }
    }
    Ok(minijinja::Value::from_safe_string(String::from_utf8(out).expect("serde_json writes UTF-8")))
}

/// `{"a": 1, "b": [1, 2]}`
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// Turns `{% generation %} … {% endgeneration %}`, which Jinja does not know, into a block that is always rendered.
/// Lines stay.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let Some(length) = rest[at..].find("%}") else { break };
        let tag = &rest[at..at + length + 2];
        let word = tag[2..length].trim_matches(['-', '+', ' ', '\t', '\n']);
        out.push_str(&rest[..at]);
        match word {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = &rest[at + length + 2..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A ChatML template in the manner of the Qwen family: a default system turn, thoughts of earlier turns dropped,
    /// tools as JSON.
    const CHATML: &str = include_str!("chat/testdata/chatml.jinja");

    fn template(source: &str) -> ChatTemplate {
        let tokens =
            BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned()), ("eos_token".to_owned(), "</s>".to_owned())]);
        ChatTemplate::new(source, tokens, 1_735_689_599).expect("valid template")
    }

    fn turn(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    fn render(source: &str, messages: &[Message], extra: Value) -> Result<String, ChatError> {
        template(source).render(messages, true, extra.as_object().expect("an object"))
    }

    /// The expected texts are what Jinja2 3.1.6 renders with `trim_blocks`, `lstrip_blocks` and loop controls.
    #[test]
    fn chatml_golden() {
        let hi = [turn("user", "Hi & <bye> 'é'")];
        assert_eq!(
            render(CHATML, &hi, json!({})).as_deref(),
            Ok(
                "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nHi & <bye> 'é'<|im_end|>\n<|im_start|>assistant\n"
            )
        );
        let long = [
            turn("system", "Be brief."),
            turn("user", " 1+1? "),
            turn("assistant", "<think>\neasy\n</think>\n\n2"),
            turn("user", "2+2?"),
        ];
        assert_eq!(
            render(CHATML, &long, json!({"enable_thinking": false})).as_deref(),
            Ok(concat!(
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n 1+1? <|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n",
                "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
            ))
        );
        assert!(template(CHATML).render(&hi, false, &Map::new()).expect("renders").ends_with("<|im_end|>\n"));
        let tools = json!({"tools": [{"name": "add", "strict": true, "args": {"a": [1, 2.5], "b": null, "c": "<é>"}}]});
        let expect = r#"{"name": "add", "strict": true, "args": {"a": [1, 2.5], "b": null, "c": "<é>"}}"#;
        assert!(render(CHATML, &hi, tools).expect("renders").contains(&format!("<tools>\n{expect}\n</tools>")));
    }

    #[test]
    fn a_raised_exception_carries_its_line_and_words() {
        let error = render(CHATML, &[turn("robot", "x")], json!({})).expect_err("refused");
        assert_eq!(error, ChatError::Raised { line: 24, message: "no role robot".into() });
    }

    #[test]
    fn extensions_of_the_hub_work() {
        let out =
            |source: &str| render(source, &[turn("user", "a-b-c")], json!({"x": [1, {"k": 2}]})).expect("renders");
        assert_eq!(out("{{ bos_token }}{{ strftime_now('%d %b %Y') }}{{ eos_token }}"), "<s>31 Dec 2024</s>");
        assert_eq!(out("{{ messages[0].content.split('-')[-1].strip() }}"), "c");
        assert_eq!(out("{% for c in 'abc' %}{% if c == 'b' %}{% break %}{% endif %}{{ c }}{% endfor %}"), "a");
        assert_eq!(out("{{ x | tojson(indent=2) }}"), "[\n  1,\n  {\n    \"k\": 2\n  }\n]");
        assert_eq!(out("a{% generation %}b{%- endgeneration %}c"), "abc");
        assert_eq!(out("{% if y is defined %}1{% else %}0{% endif %}{{ none }}{{ true }}"), "0NoneTrue");
        assert_eq!(out("  {% if true %}\nx\n  {% endif %}\ny\n"), "x\ny");
    }

    #[test]
    fn errors_name_the_line() {
        let syntax = ChatTemplate::new("a\n{% if %}", BTreeMap::new(), 0).expect_err("invalid");
        assert!(matches!(syntax, ChatError::Syntax { line: 2, .. }), "{syntax}");
        let failed = render("a\n\n{{ messages[0].nothing.more }}", &[turn("user", "x")], json!({})).expect_err("fails");
        assert!(matches!(failed, ChatError::Render { line: 3, .. }), "{failed}");
        let clock = render("{{ strftime_now('%Q') }}", &[], json!({})).expect_err("unknown directive");
        assert!(clock.to_string().contains("%Q"), "{clock}");
    }

    #[test]
    fn without_a_template_one_user_turn_is_plain_text() {
        assert_eq!(prompt_text(None, &[turn("user", "once upon")]).as_deref(), Ok("once upon"));
        for messages in [vec![], vec![turn("system", "x")], vec![turn("user", "x"), turn("assistant", "y")]] {
            assert!(matches!(prompt_text(None, &messages), Err(ChatError::NoTemplate { .. })));
        }
    }

    #[test]
    fn a_fixed_clock_renders_the_same_text_after_a_resume() {
        let mut one = template("{{ strftime_now('%F') }}");
        one.set_clock(0);
        assert_eq!(one.render(&[], true, &Map::new()).as_deref(), Ok("1970-01-01"));
    }
}
