//! A model's shape, as Hugging Face writes it in `config.json`.
//!
//! Two families share one reader: `deepseek_v32` (with the lightning indexer) and `deepseek_v3` (without). Both spellings of the rope
//! settings are read: `rope_parameters` of newer files, and `rope_theta` with `rope_scaling` of the released ones.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The model needs something that is not built.
    #[error("{0}")]
    Unsupported(String),
}

/// The lightning indexer's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexerConfig {
    /// `index_n_heads`.
    pub heads: i64,
    /// `index_head_dim`; the first `qk_rope_head_dim` of it are rotated.
    pub width: i64,
    /// `index_topk`: keys that a row keeps.
    pub top_k: i64,
}

/// YaRN's settings (Peng et al., 2023).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Yarn {
    /// Context extension.
    pub factor: f64,
    /// Context before it.
    pub original_max_position: f64,
    /// Rotations beyond which a frequency is kept.
    pub beta_fast: f64,
    /// Rotations below which it is interpolated.
    pub beta_slow: f64,
    /// Scales cosines and sines by `m(mscale) / m(mscale_all_dim)`.
    pub mscale: f64,
    /// Scales the softmax by `m(mscale_all_dim)²`.
    pub mscale_all_dim: f64,
}

/// A model's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Entries of the vocabulary.
    pub vocab_size: i64,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width inside the feed-forward.
    pub intermediate_size: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Query heads.
    pub num_attention_heads: i64,
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
    /// ε of the layer norms. The latents' norms use 1e-6 always, as the released models do.
    pub rms_norm_eps: f64,
    /// Base of the rotation's frequencies.
    pub rope_theta: f64,
    /// Context extension, if any.
    pub yarn: Option<Yarn>,
    /// Longest sequence.
    pub max_position_embeddings: i64,
    /// The output head is the embedding.
    pub tie_word_embeddings: bool,
    /// The indexer; `None` for the dense model.
    pub indexer: Option<IndexerConfig>,
}

/// ε of the latents' RMSNorm and of the index key's LayerNorm: fixed in the released models, whatever `rms_norm_eps` says.
pub const LATENT_NORM_EPS: f64 = 1e-6;

impl ModelConfig {
    /// Reads `config.json`, or a folder's.
    ///
    /// # Errors
    /// [`ConfigError`], naming the field.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = if path.is_dir() { path.join("config.json") } else { path.to_path_buf() };
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).map_err(|source| ConfigError::Read { path: name.clone(), source })?;
        let malformed = |reason: String| ConfigError::Malformed { path: name.clone(), reason };
        let value: Value = serde_json::from_str(&text).map_err(|e| malformed(format!("not JSON: {e}")))?;
        let object = value.as_object().ok_or_else(|| malformed("not a JSON object".into()))?;
        Fields { object, malformed: &malformed }.config()
    }

    /// Width of one query head.
    pub fn qk_head_dim(&self) -> i64 {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// Width of a key as attention sees it: the latent, then the rotated part.
    pub fn key_width(&self) -> i64 {
        self.kv_lora_rank + self.qk_rope_head_dim
    }

    /// The softmax scale: `qk_head_dim^−½`, times `m²` under YaRN.
    pub fn softmax_scale(&self) -> f64 {
        let base = (self.qk_head_dim() as f64).powf(-0.5);
        self.yarn
            .as_ref()
            .filter(|y| y.mscale_all_dim != 0.0)
            .map_or(base, |y| base * y.magnitude(y.mscale_all_dim).powi(2))
    }

    /// `config.json` as Hugging Face's classes read it.
    pub fn to_json(&self) -> Value {
        let mut rope = json!({"rope_theta": self.rope_theta, "rope_type": "default"});
        if let Some(y) = &self.yarn {
            rope = json!({"rope_theta": self.rope_theta, "rope_type": "yarn", "factor": y.factor, "beta_fast": y.beta_fast,
                "beta_slow": y.beta_slow, "mscale": y.mscale, "mscale_all_dim": y.mscale_all_dim,
                "original_max_position_embeddings": y.original_max_position as i64});
        }
        let sparse = self.indexer.is_some();
        let (model_type, class) =
            if sparse { ("deepseek_v32", "DeepseekV32ForCausalLM") } else { ("deepseek_v3", "DeepseekV3ForCausalLM") };
        let mut value = json!({
            "architectures": [class], "model_type": model_type, "dtype": "float32",
            "vocab_size": self.vocab_size, "hidden_size": self.hidden_size, "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers, "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_attention_heads, "q_lora_rank": self.q_lora_rank,
            "kv_lora_rank": self.kv_lora_rank, "qk_nope_head_dim": self.qk_nope_head_dim,
            "qk_rope_head_dim": self.qk_rope_head_dim, "v_head_dim": self.v_head_dim, "hidden_act": "silu",
            "rms_norm_eps": self.rms_norm_eps, "rope_parameters": rope, "attention_bias": false,
            "max_position_embeddings": self.max_position_embeddings, "tie_word_embeddings": self.tie_word_embeddings,
            "first_k_dense_replace": self.num_hidden_layers, "use_cache": true,
        });
        if let Some(i) = &self.indexer {
            value["index_n_heads"] = i.heads.into();
            value["index_head_dim"] = i.width.into();
            value["index_topk"] = i.top_k.into();
            value["mlp_layer_types"] = vec!["dense"; self.num_hidden_layers as usize].into();
        }
        value
    }

    /// Parameters in all.
    pub fn parameters(&self) -> i64 {
        crate::params::shapes(self).values().map(|s| s.iter().product::<i64>()).sum()
    }
}

impl Yarn {
    /// `m(s) = 0.1 s ln(factor) + 1`, or 1 where the context is not extended.
    pub fn magnitude(&self, scale: f64) -> f64 {
        if self.factor <= 1.0 { 1.0 } else { 0.1 * scale * self.factor.ln() + 1.0 }
    }
}

struct Fields<'a> {
    object: &'a Map<String, Value>,
    malformed: &'a dyn Fn(String) -> ConfigError,
}

impl Fields<'_> {
    fn config(&self) -> Result<ModelConfig, ConfigError> {
        let model_type = self.object.get("model_type").and_then(Value::as_str).unwrap_or("deepseek_v32");
        if !matches!(model_type, "deepseek_v3" | "deepseek_v32") {
            return Err(ConfigError::Unsupported(format!(
                "model_type {model_type:?} is not supported; deepseek_v3 and deepseek_v32 are"
            )));
        }
        if self.object.get("rope_interleave").and_then(Value::as_bool) == Some(false) {
            return Err(ConfigError::Unsupported("rope_interleave = false is not supported".into()));
        }
        if self.object.get("attention_bias").and_then(Value::as_bool) == Some(true) {
            return Err(ConfigError::Unsupported("attention_bias = true is not supported".into()));
        }
        let layers = self.positive("num_hidden_layers")?;
        self.refuse_experts(layers)?;
        let (rope_theta, yarn) = self.rope()?;
        let config = ModelConfig {
            vocab_size: self.positive("vocab_size")?,
            hidden_size: self.positive("hidden_size")?,
            intermediate_size: self.positive("intermediate_size")?,
            num_hidden_layers: layers,
            num_attention_heads: self.positive("num_attention_heads")?,
            q_lora_rank: self.optional("q_lora_rank")?,
            kv_lora_rank: self.positive("kv_lora_rank")?,
            qk_nope_head_dim: self.positive("qk_nope_head_dim")?,
            qk_rope_head_dim: self.positive("qk_rope_head_dim")?,
            v_head_dim: self.positive("v_head_dim")?,
            rms_norm_eps: self.number("rms_norm_eps", self.object)?.unwrap_or(1e-6),
            rope_theta,
            yarn,
            max_position_embeddings: self.positive("max_position_embeddings")?,
            tie_word_embeddings: self.object.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false),
            indexer: self.indexer()?,
        };
        self.check(&config)?;
        Ok(config)
    }

    fn check(&self, config: &ModelConfig) -> Result<(), ConfigError> {
        if config.qk_rope_head_dim % 2 != 0 {
            return Err((self.malformed)("qk_rope_head_dim must be even".into()));
        }
        let Some(indexer) = &config.indexer else { return Ok(()) };
        if config.q_lora_rank.is_none() {
            return Err((self.malformed)("an indexer reads the query latent, so q_lora_rank must be set".into()));
        }
        if indexer.width < config.qk_rope_head_dim {
            return Err((self.malformed)("index_head_dim must be at least qk_rope_head_dim".into()));
        }
        Ok(())
    }

    /// `mlp_layer_types` wins over `first_k_dense_replace`, as in transformers; a dense model may still carry the expert fields.
    fn refuse_experts(&self, layers: i64) -> Result<(), ConfigError> {
        let experts = match self.object.get("mlp_layer_types").and_then(Value::as_array) {
            Some(types) => types.iter().any(|t| t != "dense"),
            None => {
                let routed = self.object.get("n_routed_experts").and_then(Value::as_i64).unwrap_or(0) > 0;
                routed && self.optional("first_k_dense_replace")?.unwrap_or(0) < layers
            }
        };
        if experts {
            return Err(ConfigError::Unsupported(
                "mixture-of-experts layers are not supported yet; dense feed-forward is".into(),
            ));
        }
        Ok(())
    }

    fn indexer(&self) -> Result<Option<IndexerConfig>, ConfigError> {
        if self.object.get("index_topk").is_none_or(Value::is_null) {
            return Ok(None);
        }
        Ok(Some(IndexerConfig {
            heads: self.positive("index_n_heads")?,
            width: self.positive("index_head_dim")?,
            top_k: self.positive("index_topk")?,
        }))
    }

    fn rope(&self) -> Result<(f64, Option<Yarn>), ConfigError> {
        let empty = Map::new();
        let block = |name: &str| self.object.get(name).and_then(Value::as_object);
        let rope = block("rope_scaling").or_else(|| block("rope_parameters")).unwrap_or(&empty);
        let theta = self.number("rope_theta", rope)?.or(self.number("rope_theta", self.object)?).unwrap_or(10_000.0);
        let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str).unwrap_or("default");
        match kind {
            "default" => Ok((theta, None)),
            "yarn" => Ok((theta, Some(self.yarn(rope)?))),
            other => {
                Err(ConfigError::Unsupported(format!("rope type {other:?} is not supported; default and yarn are")))
            }
        }
    }

    fn yarn(&self, rope: &Map<String, Value>) -> Result<Yarn, ConfigError> {
        let or = |name: &str, default: f64| self.number(name, rope).map(|n| n.unwrap_or(default));
        let original = or("original_max_position_embeddings", self.positive("max_position_embeddings")? as f64)?;
        Ok(Yarn {
            factor: or("factor", self.positive("max_position_embeddings")? as f64 / original)?,
            original_max_position: original,
            beta_fast: or("beta_fast", 32.0)?,
            beta_slow: or("beta_slow", 1.0)?,
            mscale: or("mscale", 0.0)?,
            mscale_all_dim: or("mscale_all_dim", 0.0)?,
        })
    }

    fn number(&self, name: &str, object: &Map<String, Value>) -> Result<Option<f64>, ConfigError> {
        match object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => {
                v.as_f64().map(Some).ok_or_else(|| (self.malformed)(format!("{name} must be a number, not {v}")))
            }
        }
    }

    fn optional(&self, name: &str) -> Result<Option<i64>, ConfigError> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => {
                v.as_i64().map(Some).ok_or_else(|| (self.malformed)(format!("{name} must be an integer, not {v}")))
            }
        }
    }

    fn positive(&self, name: &str) -> Result<i64, ConfigError> {
        match self.optional(name)? {
            Some(n) if n > 0 => Ok(n),
            Some(n) => Err((self.malformed)(format!("{name} must be positive, not {n}"))),
            None => Err((self.malformed)(format!("{name} is missing"))),
        }
    }
}
