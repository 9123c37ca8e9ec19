//! `[model]`: the weights that the first stage starts from.

use serde::{Deserialize, Serialize};

/// Standard deviation of fresh weights, as HF's `initializer_range`.
const INIT_STD: f64 = 0.02;

/// `[model]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Typed", into = "Typed")]
pub enum ModelSource {
    /// A folder in HF layout: `config.json`, `tokenizer.json` (or what stands in for it) and its companions, `*.safetensors`; or in Mistral's own, with
    /// `params.json`.
    Checkpoint {
        /// The folder.
        path: String,
    },
    /// Fresh weights.
    Fresh {
        /// A `config.json` in HF's form.
        config: String,
        /// A `tokenizer.json`, a `tekken.json` or a `tiktoken.model`, or the folder that holds it and its chat template.
        tokenizer: String,
        /// Standard deviation of the normal distribution that matrices are drawn from.
        init_std: f64,
    },
}

/// The table as it is typed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokenizer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    init_std: Option<f64>,
}

impl TryFrom<Typed> for ModelSource {
    type Error = &'static str;

    fn try_from(typed: Typed) -> Result<Self, Self::Error> {
        match typed {
            Typed { checkpoint: Some(path), config: None, tokenizer: None, init_std: None } => {
                Ok(Self::Checkpoint { path })
            }
            Typed { checkpoint: Some(_), .. } => Err(
                "`checkpoint` brings its own config and tokenizer: drop `config`, `tokenizer` and `init_std`, or drop `checkpoint`",
            ),
            Typed { config: Some(config), tokenizer: Some(tokenizer), init_std, .. } => {
                Ok(Self::Fresh { config, tokenizer, init_std: init_std.unwrap_or(INIT_STD) })
            }
            _ => Err("a model is either `checkpoint` (a folder), or `config` and `tokenizer` (fresh weights)"),
        }
    }
}

impl From<ModelSource> for Typed {
    fn from(model: ModelSource) -> Self {
        match model {
            ModelSource::Checkpoint { path } => {
                Self { checkpoint: Some(path), config: None, tokenizer: None, init_std: None }
            }
            ModelSource::Fresh { config, tokenizer, init_std } => {
                Self { checkpoint: None, config: Some(config), tokenizer: Some(tokenizer), init_std: Some(init_std) }
            }
        }
    }
}
