//! A checkpoint's tokenizer: text to token ids and back, and the ids that begin, end and pad a sequence.
//!
//! Encoding and decoding are Hugging Face's own (`tokenizers`). A checkpoint without a tokenizer.json may have Mistral's
//! tekken.json or the tiktoken.model of Kimi, which become the same kind of tokenizer. Nothing of a tokenizer is rewritten:
//! [`Tokenizer::save`] writes the bytes that were read, so a checkpoint keeps its tokenizer through any number of
//! stages, and adds a tokenizer.json where there was none.

pub(crate) mod ranks;
mod tekken;
mod tiktoken;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::atomic::{WriteError, write_atomic};
use crate::chat::{ChatError, ChatTemplate, TOOL_USE, prompt_text};
use crate::prompt::TEXT;
use crate::{Message, Prompt};

const TOKENIZER: &str = "tokenizer.json";
const TEKKEN: &str = "tekken.json";
const TIKTOKEN: &str = "tiktoken.model";
/// The files that a tokenizer is read from: the first of them that is there.
pub const FORMS: [&str; 3] = [TOKENIZER, TEKKEN, TIKTOKEN];
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const GENERATION: &str = "generation_config.json";
const TEMPLATE: &str = "chat_template.jinja";
/// Where transformers puts the template for conversations with tools beside [`TEMPLATE`].
const TOOL_TEMPLATE: &str = "additional_chat_templates/tool_use.jinja";
const MODEL: &str = "config.json";

/// The files of a tokenizer, as far as a checkpoint has them. The last ones are other libraries' forms of the same
/// tokenizer.
pub const FILES: [&str; 13] = [
    TOKENIZER,
    TEKKEN,
    TIKTOKEN,
    CONFIG,
    SPECIAL_TOKENS,
    GENERATION,
    TEMPLATE,
    TOOL_TEMPLATE,
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
];

/// Why a tokenizer cannot be loaded, used or saved.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}. A checkpoint needs a tokenizer.json (or a tekken.json or tiktoken.model) beside its config.json", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// The chat template does not compile.
    #[error("{}: {source}", path.display())]
    Template {
        /// The file that holds it.
        path: PathBuf,
        /// What is wrong.
        source: ChatError,
    },
    /// Text could not be turned into token ids, or back.
    #[error("the tokenizer cannot {what}: {message}")]
    Apply {
        /// `encode` or `decode`.
        what: &'static str,
        /// What the library says.
        message: String,
    },
    /// The conversation could not be rendered.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A tokenizer with its special tokens and its chat template.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    files: Vec<(&'static str, Vec<u8>)>,
    vocab_size: usize,
    bos: Option<u32>,
    pad: Option<u32>,
    eos: Vec<u32>,
    /// Tokens by their roles.
    special: BTreeMap<String, String>,
    template: Option<ChatTemplate>,
    /// In scope in the template, for every prompt.
    variables: Map<String, Value>,
}

impl Tokenizer {
    /// Loads the tokenizer of a checkpoint's folder.
    ///
    /// Only tokenizer.json must be there, or else tekken.json or tiktoken.model. The special tokens are named by
    /// tokenizer_config.json, else by special_tokens_map.json, else they are a tekken.json's `<s>`, `</s>` and `<pad>`; the
    /// end tokens of generation_config.json come in addition. The template is
    /// chat_template.jinja, else the configuration's `chat_template`; of several, the one called `default`, and the one
    /// called `tool_use` where there are tools. Truncation and padding that tokenizer.json asks
    /// for are off: lengths are the caller's business.
    ///
    /// # Errors
    /// [`TokenizerError::Read`], [`TokenizerError::Malformed`], [`TokenizerError::Template`].
    pub fn load(folder: &Path) -> Result<Self, TokenizerError> {
        let files = read_files(folder)?;
        let source = Sources { folder, files: &files };
        let (config, map) = (source.json(CONFIG)?, source.json(SPECIAL_TOKENS)?);
        let (form, inner) = source.tokenizer(&config)?;
        let special = source.roles(special_tokens(&config, &map), &inner);
        let id = |name: &str| match special.get(name) {
            None => Ok(None),
            Some(token) => inner.token_to_id(token).map(Some).ok_or_else(|| TokenizerError::Malformed {
                path: folder.join(CONFIG),
                message: format!("`{name}` is `{token}`, which {form} does not have"),
            }),
        };
        let (bos, pad) = (id("bos_token")?, id("pad_token")?);
        let mut eos: Vec<u32> = id("eos_token")?.into_iter().collect();
        for end in source.generation_eos()? {
            if !eos.contains(&end) {
                eos.push(end);
            }
        }
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |last| *last as usize + 1);
        let template = source.template(&config, special.clone())?.or_else(|| family_encoding(folder));
        Ok(Self { inner, files, vocab_size, bos, pad, eos, special, template, variables: Map::new() })
    }

    /// Token ids of a text. Special tokens that stand in the text become their ids; those that the tokenizer would
    /// put around it (often a begin token) are added only with `add_special`. A rendered chat template already holds
    /// them.
    ///
    /// # Errors
    /// [`TokenizerError::Apply`], where the tokenizer has no token for a character and no stand-in either.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, add_special);
        let encoding = encoding.map_err(|e| TokenizerError::Apply { what: "encode", message: e.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of token ids. Bytes that are no UTF-8 become U+FFFD, and ids without a token vanish.
    ///
    /// # Errors
    /// [`TokenizerError::Apply`].
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        let text = self.inner.decode(ids, skip_special);
        text.map_err(|e| TokenizerError::Apply { what: "decode", message: e.to_string() })
    }

    /// The prompt of a conversation as text: see [`prompt_text`].
    ///
    /// # Errors
    /// [`TokenizerError::Chat`].
    pub fn prompt_text(&self, messages: &[Message]) -> Result<String, TokenizerError> {
        Ok(prompt_text(self.template.as_ref(), messages, &self.variables)?)
    }

    /// The prompt of a conversation as token ids, ready for the completion. Plain text, which no template touches, has the
    /// tokenizer's own special tokens (a begin token, where it has one) put before it.
    ///
    /// # Errors
    /// [`TokenizerError::Chat`], [`TokenizerError::Apply`].
    pub fn encode_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, TokenizerError> {
        self.encode_turns(messages, &self.variables, "")
    }

    /// [`Tokenizer::encode_prompt`] of a prompt, with its own tools, documents and template variables.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_prompt`].
    pub fn encode_asked(&self, prompt: &Prompt) -> Result<Vec<u32>, TokenizerError> {
        self.encode_asked_with(prompt, "")
    }

    /// [`Tokenizer::encode_asked`] of a prompt behind which a text stands, as one text.
    pub(crate) fn encode_asked_with(&self, prompt: &Prompt, behind: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_turns(&prompt.messages, &self.variables_for(prompt), behind)
    }

    fn encode_turns(
        &self,
        messages: &[Message],
        variables: &Map<String, Value>,
        behind: &str,
    ) -> Result<Vec<u32>, TokenizerError> {
        let is_plain = self.template.is_none() || matches!(messages, [only] if only.role == TEXT);
        let text = prompt_text(self.template.as_ref(), messages, variables)? + behind;
        self.encode(&text, is_plain)
    }

    /// The template variables of all prompts, overridden by the prompt's own.
    pub(crate) fn variables_for(&self, prompt: &Prompt) -> Map<String, Value> {
        let mut variables = self.variables.clone();
        variables.extend(prompt.template_variables());
        variables
    }

    /// Token ids of a text with where each stands, in bytes of it. No special tokens are put around it.
    pub(crate) fn encode_placed(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, TokenizerError> {
        let encoding = self.inner.encode(text, false);
        let encoding = encoding.map_err(|e| TokenizerError::Apply { what: "encode", message: e.to_string() })?;
        let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok(encoding.get_ids().iter().copied().zip(places).collect())
    }

    /// Sets variables of the chat template that hold for every prompt (`enable_thinking`, …).
    pub fn set_variables(&mut self, variables: Map<String, Value>) {
        self.variables = variables;
    }

    /// Sets the chat template, in place of the one that came with the tokenizer; `None` for plain text.
    pub fn set_chat_template(&mut self, template: Option<ChatTemplate>) {
        self.template = template;
    }

    /// The token with this id, as tokenizer.json writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token, as tokenizer.json writes it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// One more than the largest id: the fewest rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The tokens that end a completion, the tokenizer's own first. Empty where no file names one.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// The token that begins a sequence.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// The token that fills up a batch.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad
    }

    /// The chat template, where there is one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Sets the clock of the template's `strftime_now`: see [`ChatTemplate::set_clock`].
    pub fn set_clock(&mut self, now: i64) {
        if let Some(template) = &mut self.template {
            template.set_clock(now);
        }
    }

    /// Writes the tokenizer's files into a folder, byte for byte as they were read. Where tokenizer.json is not among them
    /// it is written beside them, with the same ids, so that whoever reads only that form can. Then tokenizer_config.json
    /// names the class of transformers that reads it, in place of code of the checkpoint's own that stays behind; where
    /// there is none, it has the roles of the special tokens.
    ///
    /// # Errors
    /// [`TokenizerError::Write`].
    pub fn save(&self, folder: &Path) -> Result<(), TokenizerError> {
        let mut files: Vec<(&str, Cow<'_, [u8]>)> =
            self.files.iter().map(|(name, bytes)| (*name, bytes.into())).collect();
        if !self.files.iter().any(|(name, _)| *name == TOKENIZER) {
            let json = |value: serde_json::Result<Vec<u8>>| value.expect("a tokenizer is always JSON").into();
            files.retain(|(name, _)| *name != CONFIG);
            files.push((TOKENIZER, json(serde_json::to_vec(&self.inner))));
            files.push((CONFIG, json(serde_json::to_vec_pretty(&self.plain_config()))));
        }
        for (name, bytes) in files {
            if let Some(within) = Path::new(name).parent().filter(|within| !within.as_os_str().is_empty()) {
                let within = folder.join(within);
                fs::create_dir_all(&within).map_err(|source| WriteError::Io { path: within, source })?;
            }
            write_atomic(&folder.join(name), |file| file.write_all(&bytes))?;
        }
        Ok(())
    }

    /// tokenizer_config.json for a tokenizer.json that was not there before.
    fn plain_config(&self) -> Value {
        let own = self.files.iter().find(|(name, _)| *name == CONFIG);
        let own = own.and_then(|(_, bytes)| serde_json::from_slice::<Value>(bytes).ok());
        let mut config = own.unwrap_or_else(|| serde_json::json!(self.special));
        if let Some(fields) = config.as_object_mut() {
            fields.remove("auto_map");
            fields.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
        }
        config
    }
}

/// The encoding of the model in this folder, where its family has one of its own in place of a template.
fn family_encoding(folder: &Path) -> Option<ChatTemplate> {
    let config: Value = serde_json::from_slice(&fs::read(folder.join(MODEL)).ok()?).ok()?;
    (config["model_type"] == "deepseek_v32").then(ChatTemplate::deepseek_v32)
}

/// The files that are there, with one that can be read as a tokenizer among them.
fn read_files(folder: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, TokenizerError> {
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    for name in FILES {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => files.push((name, bytes)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => missing.push((path, source)),
            Err(source) => return Err(TokenizerError::Read { path, source }),
        }
    }
    let is_any = files.iter().any(|(name, _)| FORMS.contains(name));
    match missing.into_iter().next() {
        // tokenizer.json is the first that is missing then.
        Some((path, source)) if !is_any => Err(TokenizerError::Read { path, source }),
        _ => Ok(files),
    }
}

/// The files as they were read, with the folder for error messages.
struct Sources<'a> {
    folder: &'a Path,
    files: &'a [(&'static str, Vec<u8>)],
}

impl Sources<'_> {
    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(n, _)| *n == name).map(|(_, bytes)| bytes.as_slice())
    }

    fn malformed(&self, name: &str, message: impl ToString) -> TokenizerError {
        TokenizerError::Malformed { path: self.folder.join(name), message: message.to_string() }
    }

    /// A JSON object; `Null` where the file is not there.
    fn json(&self, name: &str) -> Result<Value, TokenizerError> {
        let Some(bytes) = self.bytes(name) else { return Ok(Value::Null) };
        let value: Value = serde_json::from_slice(bytes).map_err(|e| self.malformed(name, e))?;
        if value.is_object() { Ok(value) } else { Err(self.malformed(name, "is no JSON object")) }
    }

    /// The tokenizer, without truncation and padding, and the name of the file that it was read from.
    fn tokenizer(&self, config: &Value) -> Result<(&'static str, tokenizers::Tokenizer), TokenizerError> {
        let there = FORMS.iter().find_map(|form| Some((*form, self.bytes(form)?)));
        let (form, bytes) = there.expect("files are read only where one of the forms is there");
        let read = match form {
            TEKKEN => tekken::read(bytes),
            TIKTOKEN => {
                let names = tiktoken::Names::of(config).map_err(|message| self.malformed(CONFIG, message))?;
                tiktoken::read(bytes, &names)
            }
            _ => tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| e.to_string()),
        };
        let mut tokenizer = read.map_err(|message| self.malformed(form, message))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| self.malformed(form, e))?;
        Ok((form, tokenizer))
    }

    /// The tokens by their roles, those of a tekken.json where the other files do not say.
    fn roles(
        &self,
        mut special: BTreeMap<String, String>,
        tokenizer: &tokenizers::Tokenizer,
    ) -> BTreeMap<String, String> {
        if self.bytes(TEKKEN).is_some() {
            for (role, token) in tekken::ROLES.iter().filter(|(_, token)| tokenizer.token_to_id(token).is_some()) {
                special.entry((*role).to_owned()).or_insert_with(|| (*token).to_owned());
            }
        }
        special
    }

    /// `eos_token_id` of generation_config.json: one id, or a list.
    fn generation_eos(&self) -> Result<Vec<u32>, TokenizerError> {
        let id = |v: &Value| {
            let id = v.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| self.malformed(GENERATION, format!("`eos_token_id` holds {v}, which is no token id")))
        };
        match &self.json(GENERATION)?["eos_token_id"] {
            Value::Null => Ok(Vec::new()),
            Value::Array(ids) => ids.iter().map(id).collect(),
            one => Ok(vec![id(one)?]),
        }
    }

    fn template(
        &self,
        config: &Value,
        special: BTreeMap<String, String>,
    ) -> Result<Option<ChatTemplate>, TokenizerError> {
        let text = |name: &str| {
            let bytes = self.bytes(name).map(|bytes| str::from_utf8(bytes).map_err(|e| self.malformed(name, e)));
            bytes.transpose()
        };
        let (name, default, tool_use) = match (text(TEMPLATE)?, &config["chat_template"]) {
            (Some(default), _) => (TEMPLATE, default, text(TOOL_TEMPLATE)?),
            (None, Value::Null) => return Ok(None),
            (None, Value::String(default)) => (CONFIG, default.as_str(), None),
            (None, several) => {
                let named = |name: &str| {
                    let mut named = several.as_array().into_iter().flatten().filter(|t| t["name"] == name);
                    named.find_map(|t| t["template"].as_str())
                };
                let missing = "`chat_template` is neither a string nor a list of templates with one named `default`";
                (CONFIG, named("default").ok_or_else(|| self.malformed(CONFIG, missing))?, named(TOOL_USE))
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let in_file = |name: &str, source| TokenizerError::Template { path: self.folder.join(name), source };
        let template = ChatTemplate::new(default, special, now).map_err(|source| in_file(name, source))?;
        let Some(tool_use) = tool_use else { return Ok(Some(template)) };
        let name = if name == TEMPLATE { TOOL_TEMPLATE } else { name };
        template.with_tool_use(tool_use).map(Some).map_err(|source| in_file(name, source))
    }
}

/// The tokens that the files name: every key that ends in `_token`, written as a string or as an object with `content`.
fn special_tokens(config: &Value, map: &Value) -> BTreeMap<String, String> {
    let mut tokens = BTreeMap::new();
    for source in [map, config] {
        for (name, value) in source.as_object().into_iter().flatten().filter(|(name, _)| name.ends_with("_token")) {
            if let Some(token) = value.as_str().or_else(|| value["content"].as_str()) {
                tokens.insert(name.clone(), token.to_owned());
            }
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word-level tokenizer whose own special tokens and settings are unlike what the configuration says.
    const WORDS: &str = r#"{
      "version": "1.0",
      "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
      "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<p>"},
      "added_tokens": [
        {"id": 0, "content": "<p>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
        {"id": 1, "content": "<b>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
        {"id": 9, "content": "<e>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
      ],
      "normalizer": null,
      "pre_tokenizer": {"type": "WhitespaceSplit"},
      "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<b>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<b>": {"id": "<b>", "ids": [1], "tokens": ["<b>"]}}},
      "decoder": null,
      "model": {"type": "WordLevel", "vocab": {"<p>": 0, "<b>": 1, "<e>": 9, "one": 2, "two": 3, "three": 4}, "unk_token": "<p>"}
    }"#;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    #[test]
    fn files_are_read_together() {
        let folder = folder(&[
            (TOKENIZER, WORDS),
            (
                CONFIG,
                r#"{"bos_token": {"content": "<b>", "special": true}, "eos_token": "<e>", "chat_template": "{{ bos_token }} {{ messages[0].content }}"}"#,
            ),
            (SPECIAL_TOKENS, r#"{"pad_token": "<p>", "eos_token": "one"}"#),
            (GENERATION, r#"{"eos_token_id": [9, 4]}"#),
        ]);
        let t = Tokenizer::load(folder.path()).expect("loads");
        assert_eq!((t.bos_id(), t.pad_id(), t.eos_ids(), t.vocab_size()), (Some(1), Some(0), &[9, 4][..], 10));
        assert_eq!(t.encode("three two one", false).expect("encodes"), [4, 3, 2], "neither cut nor padded");
        assert_eq!(t.encode("two", true).expect("encodes"), [1, 3]);
        assert_eq!(
            t.encode_prompt(&[Message::user("two")]).expect("encodes"),
            [1, 3],
            "the template's own begin token"
        );
        assert_eq!(t.decode(&[1, 3, 9], false).expect("decodes"), "<b> two <e>");
        assert_eq!(t.decode(&[1, 3, 9], true).expect("decodes"), "two");
        assert_eq!(
            (t.token_to_id("three"), t.id_to_token(9).as_deref(), t.id_to_token(7)),
            (Some(4), Some("<e>"), None)
        );
    }

    #[test]
    fn the_template_file_goes_before_the_configuration() {
        let config = r#"{"chat_template": [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]}"#;
        let text = |files: &[(&str, &str)]| {
            Tokenizer::load(folder(files).path()).expect("loads").prompt_text(&[Message::user("x")]).expect("renders")
        };
        assert_eq!(text(&[(TOKENIZER, WORDS), (CONFIG, config)]), "D");
        assert_eq!(text(&[(TOKENIZER, WORDS), (CONFIG, config), (TEMPLATE, "J")]), "J");
        assert_eq!(text(&[(TOKENIZER, WORDS)]), "x");
    }

    #[test]
    fn a_row_with_tools_is_rendered_by_the_template_for_them() {
        let several = r#"{"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T{{ tools | length }}"}]}"#;
        let of_config = folder(&[(TOKENIZER, WORDS), (CONFIG, several)]);
        let of_files = folder(&[(TOKENIZER, WORDS), (TEMPLATE, "D")]);
        fs::create_dir(of_files.path().join("additional_chat_templates")).expect("made");
        fs::write(of_files.path().join(TOOL_TEMPLATE), "T{{ tools | length }}").expect("written");
        let text = |folder: &Path, tools: Value| {
            let mut tokenizer = Tokenizer::load(folder).expect("loads");
            tokenizer.set_variables(Map::from_iter([("tools".to_owned(), tools)]));
            tokenizer.prompt_text(&[Message::user("x")]).expect("renders")
        };
        for folder in [of_config.path(), of_files.path()] {
            assert_eq!(text(folder, Value::Null), "D");
            assert_eq!(text(folder, serde_json::json!([{"name": "f"}])), "T1");
            assert_eq!(text(folder, serde_json::json!([])), "T0", "as transformers picks");
        }
        let to = tempfile::tempdir().expect("temporary folder");
        Tokenizer::load(of_files.path()).expect("loads").save(to.path()).expect("saves");
        assert_eq!(text(to.path(), serde_json::json!([])), "T0", "it is kept with the checkpoint");
    }

    #[test]
    fn a_family_without_templates_has_its_own_encoding() {
        let text = |files: &[(&str, &str)]| {
            Tokenizer::load(folder(files).path()).expect("loads").prompt_text(&[Message::user("x")]).expect("renders")
        };
        let config = r#"{"model_type": "deepseek_v32"}"#;
        assert!(text(&[(TOKENIZER, WORDS), (MODEL, config)]).ends_with("<｜User｜>x<｜Assistant｜></think>"));
        assert_eq!(text(&[(TOKENIZER, WORDS), (MODEL, config), (TEMPLATE, "J")]), "J", "a template goes first");
        assert_eq!(text(&[(TOKENIZER, WORDS), (MODEL, r#"{"model_type": "llama"}"#)]), "x");
    }

    #[test]
    fn without_a_template_the_begin_token_comes_from_the_tokenizer() {
        let t = Tokenizer::load(folder(&[(TOKENIZER, WORDS)]).path()).expect("loads");
        assert_eq!(t.encode_prompt(&[Message::user("two one")]).expect("encodes"), [1, 3, 2]);
        let error = t.encode_prompt(&[Message::user("two"), Message::user("one")]).expect_err("no template");
        assert!(error.to_string().contains("user, user"), "{error}");
    }

    #[test]
    fn save_writes_the_bytes_that_were_read() {
        let config = "{ \"eos_token\":   \"<e>\",\r\n \"unknown_key\": 1.50}";
        let from = folder(&[(TOKENIZER, WORDS), (CONFIG, config), (TEMPLATE, "x\n\n"), ("merges.txt", "#v\n")]);
        let tokenizer = Tokenizer::load(from.path()).expect("loads");
        let original: Vec<_> = [TOKENIZER, CONFIG, TEMPLATE, "merges.txt"]
            .map(|name| (name, fs::read(from.path().join(name)).expect("there")))
            .into();
        drop(from);
        let to = tempfile::tempdir().expect("temporary folder");
        tokenizer.save(to.path()).expect("saves");
        for (name, bytes) in &original {
            assert_eq!(&fs::read(to.path().join(name)).expect("there"), bytes, "{name}");
        }
        assert_eq!(fs::read_dir(to.path()).expect("there").count(), original.len());
    }

    #[test]
    fn bad_files_are_named() {
        let error = |files: &[(&str, &str)]| Tokenizer::load(folder(files).path()).expect_err("bad").to_string();
        assert!(error(&[]).contains("tokenizer.json"));
        assert!(error(&[(TOKENIZER, "{\"version\"")]).contains("tokenizer.json"));
        assert!(error(&[(TOKENIZER, WORDS), (CONFIG, "[1]")]).contains("tokenizer_config.json"));
        assert!(error(&[(TOKENIZER, WORDS), (CONFIG, r#"{"eos_token": "<x>"}"#)]).contains("`eos_token` is `<x>`"));
        assert!(error(&[(TOKENIZER, WORDS), (GENERATION, r#"{"eos_token_id": -1}"#)]).contains("holds -1"));
        let template = error(&[(TOKENIZER, WORDS), (TEMPLATE, "\n{% if %}")]);
        assert!(template.contains("chat_template.jinja") && template.contains("line 2"), "{template}");
    }
}
