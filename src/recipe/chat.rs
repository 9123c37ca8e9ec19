//! `[chat]`: how conversations become text.

use serde::{Deserialize, Serialize};
use toml::Table;

/// `[chat]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatSettings {
    /// What is used for it.
    pub encoding: ChatEncoding,
    /// What is in scope in the template, for every prompt. A row's own `chat_template_kwargs` override it.
    pub variables: Table,
}

/// What makes a text of a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatEncoding {
    /// The tokenizer's template; where it has none, the encoding of the model's family, if that has one.
    #[default]
    Auto,
    /// DeepSeek-V3.2's encoding.
    #[serde(rename = "deepseek_v32")]
    DeepSeekV32,
    /// Nothing: a prompt is one turn, and plain text.
    None,
}
