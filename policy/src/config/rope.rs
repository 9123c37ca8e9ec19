//! The rotary position embedding's settings. Both spellings are read: `rope_parameters` of newer files, and `rope_theta` with
//! `rope_scaling` of most released ones.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fields::{ConfigError, Fields};

/// The rotary position embedding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are changed for a longer context.
    pub scaling: Scaling,
}

/// How the frequencies `θ^(−2i/d)` are changed for a longer context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All are divided by a factor (Chen et al., 2023).
    Linear(f64),
    /// The base grows once a sequence is longer than `max_position_embeddings`. No sequence here is, so the frequencies are plain; the
    /// settings are kept for the file.
    Dynamic {
        /// Context extension.
        factor: f64,
        /// Context before it, where the file says it.
        original_max_position: Option<f64>,
    },
    /// Low frequencies are divided, high ones kept (Llama 3.1).
    Llama3(Llama3),
    /// YaRN (Peng et al., 2023).
    Yarn(Yarn),
    /// LongRoPE (Ding et al., 2024).
    LongRope(LongRope),
}

/// Llama 3.1's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Llama3 {
    /// Context extension.
    pub factor: f64,
    /// Rotations in the original context below which a frequency is divided by the factor.
    pub low_freq_factor: f64,
    /// Rotations beyond which it is kept.
    pub high_freq_factor: f64,
    /// Context before the extension.
    pub original_max_position: f64,
}

/// LongRoPE's settings (Ding et al., 2024, arXiv 2402.13753): each frequency is divided by a factor of its own, found by search, and there
/// are two sets of them.
///
/// Which set holds is a matter of the longest sequence. transformers asks each batch, so a row's numbers change with its neighbours and, while
/// decoding, with the position at which the others' keys were cached. Here it is the context that the model is used with, for all sequences
/// alike (as vLLM does by its `max_model_len`): sampler and learner could not agree otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LongRope {
    /// Of contexts up to the original one, a factor a pair.
    pub short: Vec<f64>,
    /// Of longer ones.
    pub long: Vec<f64>,
    /// Context before the extension.
    pub original_max_position: f64,
    /// Context extension, where the file says it.
    pub factor: Option<f64>,
    /// Scales cosines and sines instead of what follows from the extension.
    pub attention_factor: Option<f64>,
}

impl LongRope {
    /// The factors that hold where no sequence is longer than this.
    pub fn factors(&self, context: i64) -> &[f64] {
        if context as f64 > self.original_max_position { &self.long } else { &self.short }
    }

    /// What cosines and sines are multiplied by in a model that is made for `max_position` positions: `√(1 + ln s / ln original)` for an
    /// extension by `s > 1`.
    pub fn magnitude(&self, max_position: i64) -> f64 {
        let extension = self.factor.unwrap_or(max_position as f64 / self.original_max_position);
        let of_extension = || (1.0 + extension.ln() / self.original_max_position.ln()).sqrt();
        self.attention_factor.unwrap_or_else(|| if extension <= 1.0 { 1.0 } else { of_extension() })
    }
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
    /// The same, and MLA's softmax by `m(mscale_all_dim)²`.
    pub mscale_all_dim: f64,
    /// Scales cosines and sines instead of what follows from the two above.
    pub attention_factor: Option<f64>,
    /// The bounds between kept and interpolated pairs are whole numbers.
    pub truncate: bool,
    /// `β` of `llama_4_scaling_beta`: queries at position `p` are multiplied by `1 + β ln(1 + ⌊p / original⌋)`; 0: they are not.
    pub query_beta: f64,
}

impl Yarn {
    /// `m(s) = 0.1 s ln(factor) + 1`, or 1 where the context is not extended.
    pub fn magnitude(&self, scale: f64) -> f64 {
        if self.factor <= 1.0 { 1.0 } else { 0.1 * scale * self.factor.ln() + 1.0 }
    }
}

/// Reads the rope's settings, and the names of those inside its block that have no effect.
pub(super) fn read(fields: &Fields<'_>, max_position: i64) -> Result<(Rope, Vec<String>), ConfigError> {
    let (older, newer) = (fields.inner("rope_scaling")?, fields.inner("rope_parameters")?);
    let own_theta = fields.positive_number("rope_theta")?;
    whole_heads(fields, fields)?;
    let Some(block) = older.or(newer) else {
        return Ok((Rope { theta: own_theta.unwrap_or(DEFAULT_THETA), scaling: Scaling::None }, Vec::new()));
    };
    whole_heads(&block, fields)?;
    // Mistral repeats the context here.
    block.get("max_position_embeddings");
    let theta = block.positive_number("rope_theta")?.or(own_theta).unwrap_or(DEFAULT_THETA);
    let (kind, older_kind) = (block.text("rope_type")?, block.text("type")?);
    let scaling = match kind.or(older_kind).unwrap_or("default") {
        "default" => Scaling::None,
        "linear" => Scaling::Linear(factor_of(&block)?),
        "dynamic" => Scaling::Dynamic {
            factor: factor_of(&block)?,
            original_max_position: block.positive_number("original_max_position_embeddings")?,
        },
        "llama3" => Scaling::Llama3(llama3(&block, original(&block, fields, max_position)?)?),
        "yarn" => Scaling::Yarn(yarn(&block, theta, max_position, original(&block, fields, max_position)?)?),
        // `su` was its name at first.
        "longrope" | "su" => Scaling::LongRope(longrope(&block, fields, max_position)?),
        other => {
            let built = "default, linear, dynamic, llama3, yarn and longrope are";
            return Err(fields.unsupported(format!("rope type {other:?} is not built; {built}")));
        }
    };
    Ok((Rope { theta, scaling }, block.unread()))
}

/// The base where a file says nothing, in every family read here.
const DEFAULT_THETA: f64 = 10_000.0;

/// The rotated share of a head, in `block`: all of it, or what latent attention has widths for.
fn whole_heads(block: &Fields<'_>, model: &Fields<'_>) -> Result<(), ConfigError> {
    let widths = (model.integer("qk_rope_head_dim")?, model.integer("qk_nope_head_dim")?);
    let latent = if let (Some(rope), Some(nope)) = widths { rope as f64 / (rope + nope) as f64 } else { 1.0 };
    let whole = |f: f64| f == 1.0 || f == latent;
    block.number("partial_rotary_factor", whole, "1, since rotating a part of a head is not built").map(drop)
}

fn factor_of(block: &Fields<'_>) -> Result<f64, ConfigError> {
    block.number("factor", |f| f >= 1.0, "at least 1")?.ok_or_else(|| block.wrong("factor", "is missing"))
}

/// The context before it was extended: it stands in the block, or beside it and wins.
fn original(block: &Fields<'_>, model: &Fields<'_>, max_position: i64) -> Result<f64, ConfigError> {
    let within = block.positive_number("original_max_position_embeddings")?;
    let beside = model.positive_number("original_max_position_embeddings")?;
    Ok(beside.or(within).unwrap_or(max_position as f64))
}

fn llama3(block: &Fields<'_>, original_max_position: f64) -> Result<Llama3, ConfigError> {
    let needed = |name: &str| block.positive_number(name)?.ok_or_else(|| block.wrong(name, "is missing"));
    let settings = Llama3 {
        factor: factor_of(block)?,
        low_freq_factor: needed("low_freq_factor")?,
        high_freq_factor: needed("high_freq_factor")?,
        original_max_position,
    };
    if settings.high_freq_factor <= settings.low_freq_factor {
        return Err(block.wrong("high_freq_factor", "must be larger than low_freq_factor"));
    }
    Ok(settings)
}

fn longrope(block: &Fields<'_>, model: &Fields<'_>, max_position: i64) -> Result<LongRope, ConfigError> {
    let original_max_position = original(block, model, max_position)?;
    if original_max_position <= 1.0 {
        return Err(block.wrong("original_max_position_embeddings", "must be more than 1 under LongRoPE"));
    }
    let factors = |name: &str| block.positive_numbers(name)?.ok_or_else(|| block.wrong(name, "is missing"));
    Ok(LongRope {
        short: factors("short_factor")?,
        long: factors("long_factor")?,
        original_max_position,
        factor: block.number("factor", |f| f >= 1.0, "at least 1")?,
        attention_factor: block.positive_number("attention_factor")?,
    })
}

/// LongRoPE has a factor for each rotated pair.
pub(super) fn check_width(fields: &Fields<'_>, rope: &Rope, width: i64) -> Result<(), ConfigError> {
    let Scaling::LongRope(LongRope { short, long, .. }) = &rope.scaling else { return Ok(()) };
    let pairs = width as usize / 2;
    match [("short_factor", short), ("long_factor", long)].into_iter().find(|(_, factors)| factors.len() != pairs) {
        Some((name, factors)) => {
            Err(fields.wrong(name, format!("must hold {pairs} numbers, one a rotated pair, not {}", factors.len())))
        }
        None => Ok(()),
    }
}

fn yarn(block: &Fields<'_>, theta: f64, max_position: i64, original_max_position: f64) -> Result<Yarn, ConfigError> {
    if theta <= 1.0 {
        return Err(block.wrong("rope_theta", format!("must be above 1 under YaRN, not {theta}")));
    }
    // A factor of its own, or how much longer the context has become.
    let factor = block.number("factor", |f| f >= 1.0, "at least 1")?;
    let not_negative = |name: &str| block.number(name, |n| n >= 0.0, "not negative");
    Ok(Yarn {
        factor: factor.unwrap_or(max_position as f64 / original_max_position),
        original_max_position,
        beta_fast: block.positive_number("beta_fast")?.unwrap_or(32.0),
        beta_slow: block.positive_number("beta_slow")?.unwrap_or(1.0),
        mscale: not_negative("mscale")?.unwrap_or(0.0),
        mscale_all_dim: not_negative("mscale_all_dim")?.unwrap_or(0.0),
        attention_factor: block.positive_number("attention_factor")?,
        truncate: block.get("truncate").is_none() || block.flag("truncate")?,
        query_beta: not_negative("llama_4_scaling_beta")?.unwrap_or(0.0),
    })
}

/// The block as transformers 5 writes it.
pub(super) fn to_json(rope: &Rope) -> Value {
    let mut block = Map::new();
    let mut put = |name: &str, value: Value| drop(block.insert(name.to_owned(), value));
    put("rope_theta", json!(rope.theta));
    let kind = match &rope.scaling {
        Scaling::None => "default",
        Scaling::Linear(factor) => {
            put("factor", json!(factor));
            "linear"
        }
        Scaling::Dynamic { factor, original_max_position } => {
            put("factor", json!(factor));
            if let Some(original) = original_max_position {
                put("original_max_position_embeddings", json!(*original as i64));
            }
            "dynamic"
        }
        Scaling::Llama3(l) => {
            put("factor", json!(l.factor));
            put("low_freq_factor", json!(l.low_freq_factor));
            put("high_freq_factor", json!(l.high_freq_factor));
            put("original_max_position_embeddings", json!(l.original_max_position as i64));
            "llama3"
        }
        Scaling::LongRope(l) => {
            put("short_factor", json!(l.short));
            put("long_factor", json!(l.long));
            put("original_max_position_embeddings", json!(l.original_max_position as i64));
            for (name, value) in [("factor", l.factor), ("attention_factor", l.attention_factor)] {
                if let Some(value) = value {
                    put(name, json!(value));
                }
            }
            "longrope"
        }
        Scaling::Yarn(y) => {
            put("factor", json!(y.factor));
            put("beta_fast", json!(y.beta_fast));
            put("beta_slow", json!(y.beta_slow));
            // Zero is what a config without them means, and not every reader takes it for that.
            for (name, scale) in [("mscale", y.mscale), ("mscale_all_dim", y.mscale_all_dim)] {
                if scale != 0.0 {
                    put(name, json!(scale));
                }
            }
            put("original_max_position_embeddings", json!(y.original_max_position as i64));
            if let Some(factor) = y.attention_factor {
                put("attention_factor", json!(factor));
            }
            if y.query_beta != 0.0 {
                put("llama_4_scaling_beta", json!(y.query_beta));
            }
            if !y.truncate {
                put("truncate", json!(false));
            }
            "yarn"
        }
    };
    put("rope_type", json!(kind));
    Value::Object(block)
}
