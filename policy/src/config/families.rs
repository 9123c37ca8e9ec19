//! What each `model_type` means: which attention, which feed-forward, and which fields say so.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fields::{ConfigError, Fields};
use super::write::INDEXER_BLOCK;
use super::{Attention, Experts, Gate, Gqa, IndexerConfig, Mla, ModelConfig, Scores, rope};

/// A family of models, by its `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// DeepSeek-V3, and Kimi K2 under another name: latent attention, mixture of experts.
    DeepseekV3,
    /// DeepSeek-V3.2: the same with the lightning indexer.
    DeepseekV32,
    /// Llama.
    Llama,
    /// Mistral.
    Mistral,
    /// Mistral Small 4, and Mistral Large 3 in this layout: latent attention and experts like DeepSeek-V3's, by a softmax gate.
    Mistral4,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
    /// Qwen3 with a mixture of experts.
    Qwen3Moe,
}

const FAMILIES: [(Family, &str, &str); 9] = [
    (Family::DeepseekV3, "deepseek_v3", "DeepseekV3ForCausalLM"),
    (Family::DeepseekV32, "deepseek_v32", "DeepseekV32ForCausalLM"),
    // Read so, and written as the family that it is, which other programs know.
    (Family::DeepseekV3, "kimi_k2", "DeepseekV3ForCausalLM"),
    (Family::Llama, "llama", "LlamaForCausalLM"),
    (Family::Mistral, "mistral", "MistralForCausalLM"),
    (Family::Mistral4, "mistral4", "Mistral4ForCausalLM"),
    (Family::Qwen2, "qwen2", "Qwen2ForCausalLM"),
    (Family::Qwen3, "qwen3", "Qwen3ForCausalLM"),
    (Family::Qwen3Moe, "qwen3_moe", "Qwen3MoeForCausalLM"),
];

impl Family {
    /// `model_type` of `config.json`.
    pub fn model_type(self) -> &'static str {
        self.row().1
    }

    /// The class that `architectures` names.
    pub fn architecture(self) -> &'static str {
        self.row().2
    }

    /// Latent attention.
    pub fn is_latent(self) -> bool {
        self.is_deepseek() || self == Self::Mistral4
    }

    /// The experts of a layer lie in two tensors of the file: `gate_up_proj [experts, 2 width, hidden]` and `down_proj`.
    pub fn fuses_experts(self) -> bool {
        self == Self::Mistral4
    }

    /// Latent attention, and experts by a biased sigmoid.
    pub fn is_deepseek(self) -> bool {
        matches!(self, Self::DeepseekV3 | Self::DeepseekV32)
    }

    /// PEFT takes adapters beside the feed-forward network's matrices. Of these families it takes `gate_proj`, `up_proj` and `down_proj` to
    /// mean the routed experts, which lie in one tensor there, and drops adapters of dense layers and shared experts.
    pub fn peft_adapts_networks(self) -> bool {
        !self.is_deepseek() && self != Self::Qwen3Moe
    }

    fn row(self) -> (Self, &'static str, &'static str) {
        FAMILIES.into_iter().find(|row| row.0 == self).expect("every family is in the table")
    }
}

/// More is a damaged file, and not worth its memory.
const MOST_LAYERS: i64 = 1 << 16;
/// Positions of a model at most: there is a table of them.
const MOST_POSITIONS: i64 = 1 << 24;
/// Experts of all layers at most: each has parameters by name.
const MOST_EXPERTS: i64 = 1 << 18;

/// Fields that are written back as they were read.
const PASSED_ON: [&str; 3] = ["bos_token_id", "eos_token_id", "pad_token_id"];

/// Fields that do not touch the forward, or that repeat what another says: known, so that nobody is told of them.
const WITHOUT_EFFECT: [&str; 21] = [
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "aux_loss_alpha",
    "dtype",
    "ep_size",
    "initializer_range",
    "num_mtp_layers",
    "num_nextn_predict_layers",
    "output_router_logits",
    "pretraining_tp",
    "qk_head_dim",
    "router_aux_loss_coef",
    "seq_aux",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "max_window_layers",
    "moe_intermediate_size",
    "num_experts_per_tok",
];

/// Reads a config, and the names of the fields that nobody asked for.
pub(super) fn read(object: &Map<String, Value>, path: &str) -> Result<(ModelConfig, Vec<String>), ConfigError> {
    let fields = Fields::new(object, path);
    let named = fields.text("model_type")?;
    let model_type = named.ok_or_else(|| fields.wrong("model_type", "must be there: it names the family"))?;
    if model_type == "mistral3" {
        return with_eyes(&fields, path);
    }
    let Some((family, ..)) = FAMILIES.into_iter().find(|row| row.1 == model_type) else {
        let known: Vec<&str> = FAMILIES.iter().map(|row| row.1).collect();
        return Err(
            fields.unsupported(format!("model_type {model_type:?} is not built; these are: {}", known.join(", ")))
        );
    };
    fields.only("hidden_act", &json!("silu"))?;
    check_quantisation(&fields)?;
    let layers = fields.positive("num_hidden_layers")?;
    if layers > MOST_LAYERS {
        return Err(fields.wrong("num_hidden_layers", format!("must be at most {MOST_LAYERS}, not {layers}")));
    }
    let max_position_embeddings = fields.positive("max_position_embeddings")?;
    if max_position_embeddings > MOST_POSITIONS {
        let most = format!("must be at most {MOST_POSITIONS}, not {max_position_embeddings}");
        return Err(fields.wrong("max_position_embeddings", most));
    }
    let (rope, mut unknown) = rope::read(&fields, max_position_embeddings)?;
    let mut config = ModelConfig {
        family,
        vocab_size: fields.positive("vocab_size")?,
        hidden_size: fields.positive("hidden_size")?,
        intermediate_size: fields.positive("intermediate_size")?,
        feed_forward_bias: family == Family::Llama && fields.flag("mlp_bias")?,
        experts: None,
        num_hidden_layers: layers,
        num_attention_heads: fields.positive("num_attention_heads")?,
        attention: if family.is_latent() { mla(&fields)? } else { gqa(&fields, family, layers)? },
        rms_norm_eps: fields.positive_number("rms_norm_eps")?.unwrap_or(1e-6),
        rope,
        max_position_embeddings,
        tie_word_embeddings: fields.flag("tie_word_embeddings")?,
        indexer: match fields.inner(INDEXER_BLOCK)? {
            Some(block) => indexer(&block)?,
            None if family.is_deepseek() => indexer(&fields)?,
            None => None,
        },
        passed_on: PASSED_ON.iter().filter_map(|n| Some(((*n).to_owned(), fields.get(n)?.clone()))).collect(),
    };
    config.experts = match family {
        Family::Qwen3Moe => qwen_experts(&fields, layers)?,
        _ if family.is_latent() => deepseek_experts(&fields, family, layers)?,
        _ => None,
    };
    check_indexer(&fields, &config)?;
    rope::check_width(&fields, &config.rope, config.rope_width())?;
    for name in WITHOUT_EFFECT {
        fields.get(name);
    }
    unknown.extend(fields.unread());
    Ok((config, unknown))
}

/// Mistral's models with eyes: the language model's config stands inside, and its weights have a prefix. Whether its head is the embedding
/// is said outside, or else inside; where neither says so it is, unless the file has another head. transformers makes the inner model a
/// Mistral whatever its `layer_types`, so that its window bounds all layers.
fn with_eyes(fields: &Fields<'_>, path: &str) -> Result<(ModelConfig, Vec<String>), ConfigError> {
    check_quantisation(fields)?;
    let inner = fields.get("text_config").and_then(Value::as_object);
    let mut inner = inner.ok_or_else(|| fields.wrong("text_config", "must be an object"))?.clone();
    let ties = "tie_word_embeddings";
    if fields.get(ties).is_some() || inner.get(ties).is_none_or(Value::is_null) {
        let tied = fields.get(ties).is_none() || fields.flag(ties)?;
        inner.insert(ties.to_owned(), json!(tied));
    }
    if inner.get("model_type") == Some(&json!(Family::Mistral.model_type())) {
        inner.remove("layer_types");
    }
    for name in OF_EYES.iter().chain(&WITHOUT_EFFECT).chain(&PASSED_ON) {
        fields.get(name);
    }
    let (config, mut unknown) = read(&inner, path)?;
    unknown.extend(fields.unread());
    Ok((config, unknown))
}

/// Fields of the eyes and of what joins them to the language model.
const OF_EYES: [&str; 8] = [
    "vision_config",
    "image_token_id",
    "image_token_index",
    "projector_hidden_act",
    "vision_feature_layer",
    "multimodal_projector_bias",
    "spatial_merge_size",
    "is_composition",
];

/// Weights are read as they are, or in DeepSeek's blocks of FP8.
fn check_quantisation(fields: &Fields<'_>) -> Result<(), ConfigError> {
    let Some(block) = fields.inner("quantization_config")? else { return Ok(()) };
    block.only("quant_method", &json!("fp8"))?;
    block.only("fmt", &json!("e4m3"))?;
    block.only("weight_block_size", &json!([128, 128]))
}

fn mla(fields: &Fields<'_>) -> Result<Attention, ConfigError> {
    for (name, only) in [("rope_interleave", true), ("mlp_bias", false)] {
        fields.only(name, &json!(only))?;
    }
    // They follow from the rest, and released files carry them.
    for name in ["num_key_value_heads", "head_dim", "layer_types"] {
        fields.get(name);
    }
    let mla = Mla {
        q_lora_rank: fields.positive_if_any("q_lora_rank")?,
        kv_lora_rank: fields.positive("kv_lora_rank")?,
        qk_nope_head_dim: fields.positive("qk_nope_head_dim")?,
        qk_rope_head_dim: fields.positive("qk_rope_head_dim")?,
        v_head_dim: fields.positive("v_head_dim")?,
        bias: fields.flag("attention_bias")?,
    };
    even(fields, "qk_rope_head_dim", mla.qk_rope_head_dim)?;
    Ok(Attention::Mla(mla))
}

fn gqa(fields: &Fields<'_>, family: Family, layers: i64) -> Result<Attention, ConfigError> {
    let (heads, hidden) = (fields.positive("num_attention_heads")?, fields.positive("hidden_size")?);
    let key_heads = fields.positive_if_any("num_key_value_heads")?.unwrap_or(heads);
    if heads % key_heads != 0 {
        return Err(fields.wrong("num_key_value_heads", format!("must divide the {heads} query heads: {key_heads}")));
    }
    let head_width = match (fields.positive_if_any("head_dim")?, family) {
        (Some(width), _) => width,
        (None, Family::Qwen3) => 128,
        (None, _) if hidden % heads == 0 => hidden / heads,
        (None, _) => return Err(fields.wrong("head_dim", "is missing, and hidden_size is no multiple of the heads")),
    };
    even(fields, "head_dim", head_width)?;
    let own_bias = !matches!(family, Family::Mistral | Family::Qwen2) && fields.flag("attention_bias")?;
    Ok(Attention::Gqa(Gqa {
        key_heads,
        head_width,
        qkv_bias: own_bias || family == Family::Qwen2,
        output_bias: own_bias,
        head_norms: matches!(family, Family::Qwen3 | Family::Qwen3Moe),
        windows: windows(fields, family, layers)?,
    }))
}

/// The sliding window of each layer; empty where none bounds a row, which is so too where it is as long as the context.
fn windows(fields: &Fields<'_>, family: Family, layers: i64) -> Result<Vec<Option<i64>>, ConfigError> {
    // Mistral's window is 4,096 unless the file says otherwise, or null for none.
    let unsaid = (family == Family::Mistral && !fields.has("sliding_window")).then_some(4096);
    let width = fields.positive_if_any("sliding_window")?.or(unsaid);
    let kinds = fields.per_layer("layer_types", layers)?;
    let first = fields.integer("max_window_layers")?;
    let used = match family {
        Family::Llama => false,
        Family::Mistral => true,
        _ => fields.flag("use_sliding_window")?,
    };
    let context = fields.positive("max_position_embeddings")?;
    let Some(width) = width.filter(|&w| used && w < context) else { return Ok(Vec::new()) };
    let bounded = |layer: i64| match (&kinds, family) {
        (Some(kinds), Family::Qwen2 | Family::Qwen3 | Family::Mistral) => kinds[layer as usize] == "sliding_attention",
        (None, Family::Qwen2 | Family::Qwen3) => layer >= first.unwrap_or(28),
        _ => true,
    };
    let windows: Vec<_> = (0..layers).map(|layer| bounded(layer).then_some(width)).collect();
    Ok(if windows.iter().any(Option::is_some) { windows } else { Vec::new() })
}

fn even(fields: &Fields<'_>, name: &str, width: i64) -> Result<(), ConfigError> {
    if width % 2 == 0 { Ok(()) } else { Err(fields.wrong(name, format!("must be even to be rotated, not {width}"))) }
}

/// `mlp_layer_types` wins over `first_k_dense_replace`, as in transformers; a dense model may still carry the expert fields.
fn deepseek_experts(fields: &Fields<'_>, family: Family, layers: i64) -> Result<Option<Experts>, ConfigError> {
    let count = fields.positive_if_any("n_routed_experts")?;
    let dense = fields.integer("first_k_dense_replace")?.unwrap_or(0);
    let sparse: Vec<bool> = match fields.per_layer("mlp_layer_types", layers)? {
        Some(kinds) => kinds.iter().map(|&kind| kind != "dense").collect(),
        None => (0..layers).map(|layer| count.is_some() && layer >= dense).collect(),
    };
    for name in ["n_shared_experts", "n_group", "topk_group", "norm_topk_prob", "routed_scaling_factor"] {
        fields.get(name);
    }
    let softmax = family == Family::Mistral4;
    fields.only("scoring_func", &json!(if softmax { "softmax" } else { "sigmoid" }))?;
    if !softmax {
        fields.only("topk_method", &json!("noaux_tc"))?;
    }
    fields.only("moe_layer_freq", &json!(1))?;
    if !sparse.contains(&true) {
        return Ok(None);
    }
    let width = fields.positive("moe_intermediate_size")?;
    let experts = Experts {
        count: fields.positive("n_routed_experts")?,
        width,
        shared_width: width * fields.integer("n_shared_experts")?.unwrap_or(0).max(0),
        gate: Gate {
            scores: if softmax { Scores::Softmax } else { Scores::BiasedSigmoid },
            top_k: fields.positive("num_experts_per_tok")?,
            groups: fields.positive_if_any("n_group")?.unwrap_or(1),
            top_groups: fields.positive_if_any("topk_group")?.unwrap_or(1),
            normalise: fields.get("norm_topk_prob").is_none() || fields.flag("norm_topk_prob")?,
            scale: fields.positive_number("routed_scaling_factor")?.unwrap_or(1.0),
        },
        layers: sparse,
    };
    check_gate(fields, &experts)?;
    Ok(Some(experts))
}

fn qwen_experts(fields: &Fields<'_>, layers: i64) -> Result<Option<Experts>, ConfigError> {
    let count = fields.positive_if_any("num_experts")?.or(fields.positive_if_any("num_local_experts")?);
    let step = fields.positive_if_any("decoder_sparse_step")?.unwrap_or(1);
    let dense: Vec<i64> = match fields.get("mlp_only_layers") {
        None => Vec::new(),
        Some(v) => serde_json::from_value(v.clone())
            .map_err(|_| fields.wrong("mlp_only_layers", format!("must be layer numbers, not {v}")))?,
    };
    let normalise = fields.flag("norm_topk_prob")?;
    let sparse: Vec<bool> =
        (0..layers).map(|l| count.is_some() && !dense.contains(&l) && (l + 1) % step == 0).collect();
    let Some(count) = count.filter(|_| sparse.contains(&true)) else { return Ok(None) };
    let top_k = fields.positive("num_experts_per_tok")?;
    let experts = Experts {
        count,
        width: fields.positive("moe_intermediate_size")?,
        shared_width: 0,
        gate: Gate { scores: Scores::Softmax, top_k, groups: 1, top_groups: 1, normalise, scale: 1.0 },
        layers: sparse,
    };
    check_gate(fields, &experts)?;
    Ok(Some(experts))
}

fn check_gate(fields: &Fields<'_>, experts: &Experts) -> Result<(), ConfigError> {
    let Gate { top_k, groups, top_groups, .. } = experts.gate;
    let group = experts.count / groups;
    if experts.count > i64::from(u16::MAX) {
        return Err(fields.unsupported(format!("{} experts are more than routing is recorded for", experts.count)));
    }
    if experts.count * experts.layers.len() as i64 > MOST_EXPERTS {
        return Err(fields.unsupported(format!("{} experts in each of so many layers are too many", experts.count)));
    }
    if experts.count % groups != 0 || (groups > 1 && group < 2) {
        return Err(fields.wrong("n_group", format!("must cut {} experts into equal groups: {groups}", experts.count)));
    }
    if top_groups > groups {
        return Err(fields.wrong("topk_group", format!("must be at most n_group = {groups}, not {top_groups}")));
    }
    if top_k > group * top_groups {
        let choice = group * top_groups;
        return Err(fields.wrong("num_experts_per_tok", format!("must be at most {choice}, not {top_k}")));
    }
    Ok(())
}

fn indexer(fields: &Fields<'_>) -> Result<Option<IndexerConfig>, ConfigError> {
    let Some(top_k) = fields.positive_if_any("index_topk")? else { return Ok(None) };
    Ok(Some(IndexerConfig {
        heads: fields.positive("index_n_heads")?,
        width: fields.positive("index_head_dim")?,
        top_k,
        every: fields.positive_if_any("index_every")?.unwrap_or(1),
    }))
}

fn check_indexer(fields: &Fields<'_>, config: &ModelConfig) -> Result<(), ConfigError> {
    let Some(indexer) = &config.indexer else { return Ok(()) };
    let rotated = config.rope_width();
    if indexer.width < rotated {
        let least = format!("must be at least the {rotated} that are rotated, not {}", indexer.width);
        return Err(fields.wrong("index_head_dim", least));
    }
    if indexer.every > config.num_hidden_layers {
        let most =
            format!("must be at most the {} layers that there are, not {}", config.num_hidden_layers, indexer.every);
        return Err(fields.wrong("index_every", most));
    }
    config.first_apart(indexer.every).map_or(Ok(()), |layer| {
        let owner = layer - layer % indexer.every;
        let reason = format!("lets layer {layer} take the selection of layer {owner}, whose sliding window is another");
        Err(fields.wrong("index_every", reason))
    })
}
