//! Chat templates: from the turns of a conversation to the text that a model was trained to continue.
//!
//! A template is Jinja with the extensions that Hugging Face's `apply_chat_template` gives it: `trim_blocks` and
//! `lstrip_blocks`, loop controls, Python's methods on strings, lists and maps, `tojson` as `json.dumps` writes,
//! `raise_exception`, `strftime_now`, and `{% generation %}` blocks, which say what the assistant wrote. `tools` and
//! `documents` are null where there are none, what is null in a turn is not there, and thoughts are found under each name
//! that they go by (`reasoning_content`, `reasoning`, `thinking`). Where there are tools, a second template may be for them
//! ([`ChatTemplate::with_tool_use`]). What differs: the clock of `strftime_now` is a field of the template, in UTC, so that
//! a resumed run renders what the run rendered before.
//!
//! A model without a template may have an encoding of its own ([`ChatTemplate::deepseek_v32`]), used in the same way.

pub mod deepseek_v32;
mod generation;
mod jinja;
mod json;
mod methods;
mod strftime;

use std::collections::BTreeMap;
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value};

use crate::Message;
use crate::prompt::TEXT;

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
    /// The conversation has nothing that could be answered.
    #[error("there is no turn to answer: {0}")]
    NothingAsked(&'static str),
    /// The conversation does not fit the format, by the rules of an encoding that is no template.
    #[error("{format}, turn {turn}: {message}")]
    Encoding {
        /// The encoding's name.
        format: &'static str,
        /// The turn, from 1.
        turn: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A turn of the assistant cannot be told from what is before it.
    #[error(
        "turn {turn}: what the chat template makes of the turns before it is no beginning of what it makes of them with it, so \
         what the assistant says there cannot be told; mark it with {{% generation %}} in the template"
    )]
    NotAPrefix {
        /// The turn, from 1.
        turn: usize,
    },
    /// The template does not show the end of the last turn, so that it cannot be continued.
    #[error("the chat template drops or changes the text of the last turn, so it cannot be continued")]
    NotContinued,
}

/// The mark of an error that the template raised itself.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

/// A compiled chat template, or an encoding that stands in for one.
#[derive(Debug, Clone)]
pub struct ChatTemplate(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Jinja(Box<Jinja>),
    DeepSeekV32,
}

#[derive(Debug, Clone)]
struct Jinja {
    environment: Environment<'static>,
    special_tokens: BTreeMap<String, String>,
    /// Whether the template of this name says what the assistant wrote.
    marks_generation: BTreeMap<&'static str, bool>,
}

/// A rendered conversation with what the assistant wrote in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The text.
    pub text: String,
    /// The assistant's parts, in bytes of `text`, ascending.
    pub spans: Vec<Range<usize>>,
}

const NAME: &str = "chat_template";

/// The template for conversations with tools, under transformers' name for it.
pub(crate) const TOOL_USE: &str = "tool_use";

/// What a turn to be continued ends with while the template runs. Transformers' mark is built alike: a template that trims
/// the turn takes the space off and so shows that it did.
const CONTINUED: &str = "\u{fdef}CONTINUED\u{fdef} ";

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
        environment.set_unknown_method_callback(methods::method);
        environment.add_filter("tojson", json::tojson);
        jinja::add_to(&mut environment);
        environment.add_filter(generation::FILTER, generation::mark);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
        });
        let mut jinja = Jinja { environment, special_tokens, marks_generation: BTreeMap::new() };
        jinja.add(NAME, source)?;
        let mut this = Self(Kind::Jinja(Box::new(jinja)));
        this.set_clock(now);
        Ok(this)
    }

    /// Adds the template that conversations with tools are rendered by.
    ///
    /// # Errors
    /// [`ChatError::Syntax`].
    pub fn with_tool_use(mut self, source: &str) -> Result<Self, ChatError> {
        if let Kind::Jinja(jinja) = &mut self.0 {
            jinja.add(TOOL_USE, source)?;
        }
        Ok(self)
    }

    /// The encoding of DeepSeek-V3.2, which ships without a template. It reads `enable_thinking` (or `thinking`) and
    /// `drop_thinking` from the variables.
    pub fn deepseek_v32() -> Self {
        Self(Kind::DeepSeekV32)
    }

    /// Sets what `strftime_now` formats, in seconds since 1970, UTC. A run sets its own start, so that it renders the
    /// same after a resume.
    pub fn set_clock(&mut self, now: i64) {
        let Kind::Jinja(jinja) = &mut self.0 else { return };
        jinja.environment.add_function("strftime_now", move |format: String| {
            strftime::strftime(now, &format)
                .map_err(|d| Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know `{d}`")))
        });
    }

    /// Whether the template for these variables says by `{% generation %}` blocks what the assistant wrote.
    pub fn marks_generation(&self, extra: &Map<String, Value>) -> bool {
        matches!(&self.0, Kind::Jinja(jinja) if jinja.marks_generation[jinja.name(extra)])
    }

    /// Renders a conversation.
    ///
    /// With `add_generation_prompt` the text ends where the assistant's turn begins. `extra` is in scope beside
    /// `messages`, under its own names (`enable_thinking`, `tools`, …), and overrides the special tokens.
    ///
    /// # Errors
    /// [`ChatError::Raised`] where the template calls `raise_exception`, [`ChatError::Render`] where it fails
    /// otherwise, [`ChatError::Encoding`] where there is no template.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &Map<String, Value>,
    ) -> Result<String, ChatError> {
        match &self.0 {
            Kind::Jinja(jinja) => jinja.render(turns(messages), add_generation_prompt, extra, None),
            Kind::DeepSeekV32 => deepseek_v32::encode(messages, &deepseek_v32::Thinking::from_variables(extra), extra),
        }
    }

    /// Renders a conversation whose last turn goes on: the text ends where that turn's text ends.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; [`ChatError::NotContinued`].
    pub fn render_continued(&self, messages: &[Message], extra: &Map<String, Value>) -> Result<String, ChatError> {
        let mut messages = messages.to_vec();
        let last = messages.last_mut().ok_or(ChatError::NothingAsked("there is no turn"))?;
        last.content += CONTINUED;
        match last.rest.get_mut("content") {
            Some(Value::Array(parts)) => {
                let text = parts.last_mut().and_then(|part| part.get_mut("text")).ok_or(ChatError::NotContinued)?;
                *text = Value::from(format!("{}{CONTINUED}", text.as_str().unwrap_or_default()));
            }
            Some(_) => return Err(ChatError::NotContinued),
            None => {}
        }
        let mut text = self.render(&messages, false, extra)?;
        let at = text.rfind(CONTINUED.trim_end()).ok_or(ChatError::NotContinued)?;
        let is_whole = text[at..].starts_with(CONTINUED);
        text.truncate(at);
        if !is_whole {
            text.truncate(text.trim_end().len());
        }
        Ok(text)
    }

    /// Renders a conversation with what stands in `{% generation %}` blocks.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_marked(&self, messages: &[Message], extra: &Map<String, Value>) -> Result<Marked, ChatError> {
        let Kind::Jinja(jinja) = &self.0 else {
            return Ok(Marked { text: self.render(messages, false, extra)?, spans: Vec::new() });
        };
        let turns = turns(messages);
        let marks = generation::Marks::absent_from(&format!("{turns}{}", Value::Object(extra.clone())));
        let text = jinja.render(turns, false, extra, Some(&marks))?;
        let (text, spans) = marks.take_out(&text);
        Ok(Marked { text, spans })
    }
}

impl Jinja {
    fn add(&mut self, name: &'static str, source: &str) -> Result<(), ChatError> {
        let (source, marks_generation) = generation::as_filter_blocks(source);
        let added = self.environment.add_template_owned(name, source);
        added.map_err(|e| ChatError::Syntax { line: e.line().unwrap_or(1), message: message_of(&e) })?;
        self.marks_generation.insert(name, marks_generation);
        Ok(())
    }

    /// The template for these variables. An empty list of tools is one, as in transformers.
    fn name(&self, extra: &Map<String, Value>) -> &'static str {
        let has_tools = extra.get("tools").is_some_and(|tools| !tools.is_null());
        if has_tools && self.marks_generation.contains_key(TOOL_USE) { TOOL_USE } else { NAME }
    }

    fn render(
        &self,
        messages: Value,
        add_generation_prompt: bool,
        extra: &Map<String, Value>,
        marks: Option<&generation::Marks>,
    ) -> Result<String, ChatError> {
        let special = self.special_tokens.iter().map(|(name, token)| (name.clone(), Value::from(token.as_str())));
        let absent = ["tools", "documents"].map(|name| (name.to_owned(), Value::Null));
        let mut names: Map<String, Value> = special.chain(absent).collect();
        names.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
        names.insert("messages".to_owned(), messages);
        names.insert("add_generation_prompt".to_owned(), Value::from(add_generation_prompt));
        if let Some(marks) = marks {
            names.insert(generation::FILTER.to_owned(), Value::from(marks.as_text()));
        }
        let template = self.environment.get_template(self.name(extra)).map_err(|e| failure(&e))?;
        template.render(minijinja::Value::from(Serde(names))).map_err(|e| failure(&e))
    }
}

/// The turns as a template sees them: without the keys that are null (those within a key's value stay), as
/// `apply_chat_template` hands them on, and with thoughts under every name that templates look for.
fn turns(messages: &[Message]) -> Value {
    let seen = |message: &Message| {
        let mut turn = serde_json::to_value(message).expect("a message is always JSON");
        let keys = turn.as_object_mut().expect("a message is always an object");
        keys.retain(|_, value| !value.is_null());
        if let Some(thoughts) = thoughts(message) {
            keys.entry("thinking").or_insert_with(|| Value::from(thoughts));
            keys.insert("reasoning_content".to_owned(), Value::from(thoughts));
        }
        turn
    };
    messages.iter().map(seen).collect()
}

/// The thoughts of a turn, whatever the source calls them.
fn thoughts(message: &Message) -> Option<&str> {
    ["reasoning_content", "thinking", "reasoning"].iter().find_map(|name| message.rest.get(*name)?.as_str())
}

/// The text of a prompt: rendered by the template, up to where the assistant begins. A turn of [`TEXT`] is plain text to
/// be continued, and so is one turn of the user where there is no template.
///
/// # Errors
/// [`ChatError::NoTemplate`], [`ChatError::NothingAsked`], and those of [`ChatTemplate::render`].
pub fn prompt_text(
    template: Option<&ChatTemplate>,
    messages: &[Message],
    variables: &Map<String, Value>,
) -> Result<String, ChatError> {
    match (template, messages) {
        (_, []) => Err(ChatError::NothingAsked("the row is plain text, which only stages that read text can use")),
        (_, [only]) if only.role == TEXT => Ok(only.content.clone()),
        (_, [.., last]) if last.role == "assistant" => {
            Err(ChatError::NothingAsked("the last turn is the assistant's, as in data to imitate"))
        }
        (Some(template), _) => template.render(messages, true, variables),
        (None, [only]) if only.role == "user" => Ok(only.content.clone()),
        (None, _) => {
            let roles: Vec<&str> = messages.iter().map(|m| m.role.as_str()).collect();
            Err(ChatError::NoTemplate { roles: roles.join(", ") })
        }
    }
}

fn message_of(error: &Error) -> String {
    let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.kind() {
        _ if message.starts_with("tried to use % operator on unsupported types string") => {
            format!("{message}; for Python's `'…' % (…)` write `'…' | format(…)`")
        }
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction | ErrorKind::UnknownMethod => {
            format!("{message}; of Jinja2 and Python, this renderer has what docs/data.md says")
        }
        _ => message,
    }
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
        Message::new(role, content)
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
    fn what_the_renderer_lacks_is_said() {
        let error = |source: &str| render(source, &[turn("user", "x")], json!({})).expect_err("lacks it").to_string();
        let percent = error("\n{{ '%s-%d' % ('a', 3) }}");
        assert!(percent.contains("line 2") && percent.contains("`'…' | format(…)`"), "{percent}");
        for source in ["{{ 'x' | xmlattr }}", "{{ 'x' is pink }}", "{{ lipsum() }}", "{{ 'x'.casefold() }}"] {
            assert!(error(source).contains("docs/data.md"), "{}", error(source));
        }
        let index = error("{{ ['a'].index('b') }}");
        assert!(index.contains("b is not in the list"), "{index}");
    }

    #[test]
    fn what_is_null_in_a_turn_is_not_there() {
        let called = Message::from_object(
            json!({"role": "assistant", "content": null, "name": null, "tool_calls": [{"a": null}]})
                .as_object()
                .expect("an object")
                .clone(),
        );
        let source = "{{ messages[0].content is defined }}{{ messages[0].content }}|{{ messages[0].tool_calls }}";
        let text = render(source, &[called.expect("a message")], json!({}));
        assert_eq!(text.as_deref(), Ok("False|[{'a': None}]"));
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
        assert_eq!(prompt_text(None, &[turn("user", "once upon")], &Map::new()).as_deref(), Ok("once upon"));
        for messages in [vec![turn("system", "x")], vec![turn("user", "x"), turn("user", "y")]] {
            assert!(matches!(prompt_text(None, &messages, &Map::new()), Err(ChatError::NoTemplate { .. })));
        }
        for messages in [vec![], vec![turn("user", "x"), turn("assistant", "y")]] {
            assert!(matches!(prompt_text(None, &messages, &Map::new()), Err(ChatError::NothingAsked(_))));
        }
    }

    #[test]
    fn a_fixed_clock_renders_the_same_text_after_a_resume() {
        let mut one = template("{{ strftime_now('%F') }}");
        one.set_clock(0);
        assert_eq!(one.render(&[], true, &Map::new()).as_deref(), Ok("1970-01-01"));
    }
}
