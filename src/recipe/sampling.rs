//! `[sampling]`: how completions are drawn, in training and evaluation alike.

use serde::{Deserialize, Serialize};

/// `[sampling]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Divides the logits; evaluation has its own.
    pub temperature: f64,
    /// Keeps the smallest set of tokens whose probability reaches this; 1: all.
    pub top_p: f64,
    /// Keeps this many of the most likely tokens; 0: all.
    pub top_k: usize,
    /// Tokens that a completion may have.
    pub max_new_tokens: usize,
    /// Strings that end a completion, besides the tokenizer's own end tokens.
    pub stop: Vec<String>,
    /// Sequences decoded at once. Does not change a bit of the result (INV-2).
    pub batch: usize,
    /// Tokens that a page of the cache holds.
    pub page: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: 0, max_new_tokens: 64, stop: Vec::new(), batch: 128, page: 16 }
    }
}
