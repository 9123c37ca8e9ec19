//! A model's shape, as Hugging Face writes it in `config.json`: a family, a kind of attention and a kind of feed-forward.
//!
//! `families` says what each `model_type` means, `fields` reads single fields and remembers which were read, `rope` reads the
//! rope's scalings, `mistral` reads the config of Mistral's own layout and `write` writes what Hugging Face's classes read back.

mod families;
mod fields;
mod mistral;
mod rope;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use families::Family;
pub use fields::ConfigError;
pub use mistral::PARAMS;
pub use rope::{Llama3, LongRope, Rope, Scaling, Yarn};

use crate::kernels::attention::Geometry;

/// The lightning indexer's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexerConfig {
    /// `index_n_heads`.
    pub heads: i64,
    /// `index_head_dim`; the first [`ModelConfig::rope_width`] of it are rotated.
    pub width: i64,
    /// `index_topk`: keys that a row keeps.
    pub top_k: i64,
    /// Layers that share one indexer: the first of every so many has it, and the others take its selection (IndexCache, arXiv 2603.12201).
    pub every: i64,
}

/// Multi-head latent attention (DeepSeek-V2): one latent a position serves all heads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mla {
    /// Width of the query latent; `None` projects queries straight from the residual stream.
    pub q_lora_rank: Option<i64>,
    /// Width of the key-value latent.
    pub kv_lora_rank: i64,
    /// Width of a query head without its rotated part.
    pub qk_nope_head_dim: i64,
    /// Width of the rotated part.
    pub qk_rope_head_dim: i64,
    /// Width of a value head.
    pub v_head_dim: i64,
    /// The projections from and to the residual stream have biases, that of queries only where it is to a latent.
    pub bias: bool,
}

/// Grouped-query attention (Ainslie et al., 2023): several query heads share a key and a value head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gqa {
    /// `num_key_value_heads`.
    pub key_heads: i64,
    /// `head_dim`, of queries, keys and values alike.
    pub head_width: i64,
    /// The projections to queries, keys and values have biases.
    pub qkv_bias: bool,
    /// The projection back has one.
    pub output_bias: bool,
    /// Queries and keys are normalised head by head.
    pub head_norms: bool,
    /// Most positions that a row of a layer sees, itself included; `None` for all. Empty where no layer is so bounded.
    pub windows: Vec<Option<i64>>,
}

/// How a row attends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Attention {
    /// Latent attention.
    Mla(Mla),
    /// Grouped-query attention.
    Gqa(Gqa),
}

/// How a gate scores the experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scores {
    /// `σ(logit)`, with a bias that takes part in the choice alone: DeepSeek-V3.
    BiasedSigmoid,
    /// `softmax(logits)`.
    Softmax,
}

/// How experts are chosen and weighted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// What an expert's score is.
    pub scores: Scores,
    /// Experts that a row is sent to.
    pub top_k: i64,
    /// Groups of neighbouring experts.
    pub groups: i64,
    /// Groups, best first by the sum of their two best scores, whose experts may be chosen.
    pub top_groups: i64,
    /// The chosen scores are divided by their sum.
    pub normalise: bool,
    /// The weights are multiplied by this.
    pub scale: f64,
}

/// A mixture of experts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experts {
    /// Experts of a layer.
    pub count: i64,
    /// Width inside an expert.
    pub width: i64,
    /// Width inside the expert that every row goes through; 0 for none.
    pub shared_width: i64,
    /// How they are chosen.
    pub gate: Gate,
    /// Which layers have them; the others have the plain feed-forward.
    pub layers: Vec<bool>,
}

/// A model's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// What its `config.json` calls it.
    pub family: Family,
    /// Entries of the vocabulary.
    pub vocab_size: i64,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width inside a plain feed-forward.
    pub intermediate_size: i64,
    /// The plain feed-forward's projections have biases.
    pub feed_forward_bias: bool,
    /// The mixture of experts, where some layer has one.
    pub experts: Option<Experts>,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Query heads.
    pub num_attention_heads: i64,
    /// The kind of attention.
    pub attention: Attention,
    /// ε of the layer norms. The latents' norms use 1e-6 always, as the released models do.
    pub rms_norm_eps: f64,
    /// The rotary position embedding.
    pub rope: Rope,
    /// Longest sequence.
    pub max_position_embeddings: i64,
    /// The output head is the embedding.
    pub tie_word_embeddings: bool,
    /// The indexer; `None` for the dense model.
    pub indexer: Option<IndexerConfig>,
    /// Fields that mean nothing to the forward and are written back as they were read: the ids of special tokens.
    pub passed_on: Map<String, Value>,
}

/// ε of the latents' RMSNorm and of the index key's LayerNorm: fixed in the released models, whatever `rms_norm_eps` says.
pub const LATENT_NORM_EPS: f64 = 1e-6;

/// The config of a checkpoint's folder, in the layout of transformers.
pub const CONFIG: &str = "config.json";

impl ModelConfig {
    /// Reads `config.json` or Mistral's `params.json`, or a folder's: the former where it has both.
    ///
    /// # Errors
    /// [`ConfigError`], naming the field.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self::read_with_unknown(path)?.0)
    }

    /// As [`ModelConfig::read`], with the names of the fields that it did not understand and that therefore have no effect.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub fn read_with_unknown(path: &Path) -> Result<(Self, Vec<String>), ConfigError> {
        let in_folder = if Self::is_mistrals_own(path) { mistral::PARAMS } else { CONFIG };
        let file = if path.is_dir() { path.join(in_folder) } else { path.to_path_buf() };
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).map_err(|source| ConfigError::Read { path: name.clone(), source })?;
        let malformed = |reason: String| ConfigError::Malformed { path: name.clone(), reason };
        let value: Value = serde_json::from_str(&text).map_err(|e| malformed(format!("not JSON: {e}")))?;
        let object = value.as_object().ok_or_else(|| malformed("not a JSON object".into()))?;
        if file.file_name().is_some_and(|file| file == mistral::PARAMS) {
            return mistral::read(object, &name);
        }
        families::read(object, &name)
    }

    /// Whether a folder's config is that of Mistral's own layout, `params.json`: where there is no `config.json`.
    pub fn is_mistrals_own(folder: &Path) -> bool {
        !folder.join(CONFIG).exists() && folder.join(mistral::PARAMS).exists()
    }

    /// A config from the JSON of a `config.json`; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub fn from_json(value: &Value, name: &str) -> Result<Self, ConfigError> {
        let malformed = || ConfigError::Malformed { path: name.to_owned(), reason: "not a JSON object".into() };
        Ok(families::read(value.as_object().ok_or_else(malformed)?, name)?.0)
    }

    /// Width of a query head.
    pub fn query_width(&self) -> i64 {
        match &self.attention {
            Attention::Mla(mla) => mla.qk_nope_head_dim + mla.qk_rope_head_dim,
            Attention::Gqa(gqa) => gqa.head_width,
        }
    }

    /// Width of the rotated part of a query head, and of an index key.
    pub fn rope_width(&self) -> i64 {
        match &self.attention {
            Attention::Mla(mla) => mla.qk_rope_head_dim,
            Attention::Gqa(gqa) => gqa.head_width,
        }
    }

    /// What the indexer's queries are made from: MLA's query latent, or the residual stream.
    pub fn index_input_width(&self) -> i64 {
        match &self.attention {
            Attention::Mla(mla) => mla.q_lora_rank.unwrap_or(self.hidden_size),
            Attention::Gqa(_) => self.hidden_size,
        }
    }

    /// Whether a layer has an indexer of its own.
    pub fn has_indexer(&self, layer: i64) -> bool {
        self.indexer.as_ref().is_some_and(|indexer| layer % indexer.every == 0)
    }

    /// The first layer that would take the selection of a layer with another sliding window, were an indexer shared among every so many.
    pub fn first_apart(&self, every: i64) -> Option<i64> {
        let window = |layer: i64| self.geometry(layer as usize).window;
        (0..self.num_hidden_layers).find(|&layer| window(layer) != window(layer - layer % every))
    }

    /// How keys and values lie in one position's row of a layer's keys.
    pub fn geometry(&self, layer: usize) -> Geometry {
        match &self.attention {
            Attention::Mla(m) => Geometry::latent(m.kv_lora_rank + m.qk_rope_head_dim, m.kv_lora_rank),
            Attention::Gqa(g) => {
                let window = g.windows.get(layer).copied().flatten();
                Geometry { window: window.map(|w| w as usize), ..Geometry::grouped(g.key_heads, g.head_width) }
            }
        }
    }

    /// The softmax scale: `width^−½` of a query head; MLA multiplies it by `m²` under YaRN.
    pub fn softmax_scale(&self) -> f64 {
        let base = (self.query_width() as f64).powf(-0.5);
        match (&self.attention, &self.rope.scaling) {
            (Attention::Mla(_), Scaling::Yarn(y)) if y.mscale_all_dim != 0.0 => {
                base * y.magnitude(y.mscale_all_dim).powi(2)
            }
            _ => base,
        }
    }

    /// The experts of a layer, where it has them.
    pub fn experts_of(&self, layer: i64) -> Option<&Experts> {
        self.experts.as_ref().filter(|e| e.layers[layer as usize])
    }

    /// Parameters in all.
    pub fn parameters(&self) -> i64 {
        let size = |shape: &Vec<i64>| shape.iter().fold(1i64, |size, &n| size.saturating_mul(n));
        crate::params::shapes(self).values().map(size).fold(0, i64::saturating_add)
    }
}
