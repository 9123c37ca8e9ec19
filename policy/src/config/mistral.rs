//! `params.json`, the config of Mistral's own layout, in the words of `config.json`: latent attention is a `mistral4` (Mistral Large 3,
//! Mistral Small 4), grouped-query attention a `mistral`.

use serde_json::{Map, Value, json};

use super::ModelConfig;
use super::families;
use super::fields::{ConfigError, Fields};

/// The config of a checkpoint's folder, in Mistral's own layout.
pub const PARAMS: &str = "params.json";

/// Fields under their own names and under those of `config.json`.
const FIELDS: [(&str, &str); 16] = [
    ("dim", "hidden_size"),
    ("n_layers", "num_hidden_layers"),
    ("n_heads", "num_attention_heads"),
    ("n_kv_heads", "num_key_value_heads"),
    ("hidden_dim", "intermediate_size"),
    ("norm_eps", "rms_norm_eps"),
    ("tied_embeddings", "tie_word_embeddings"),
    ("head_dim", "head_dim"),
    ("vocab_size", "vocab_size"),
    ("rope_theta", "rope_theta"),
    ("max_position_embeddings", "max_position_embeddings"),
    ("q_lora_rank", "q_lora_rank"),
    ("kv_lora_rank", "kv_lora_rank"),
    ("qk_nope_head_dim", "qk_nope_head_dim"),
    ("qk_rope_head_dim", "qk_rope_head_dim"),
    ("v_head_dim", "v_head_dim"),
];

/// Those of the block `moe`.
const MOE: [(&str, &str); 8] = [
    ("num_experts", "n_routed_experts"),
    ("num_experts_per_tok", "num_experts_per_tok"),
    ("expert_hidden_dim", "moe_intermediate_size"),
    ("first_k_dense_replace", "first_k_dense_replace"),
    ("num_shared_experts", "n_shared_experts"),
    ("routed_scale", "routed_scaling_factor"),
    ("num_expert_groups", "n_group"),
    ("num_expert_groups_per_tok", "topk_group"),
];

/// Those of the block `yarn`, inside `rope_parameters`.
const YARN: [(&str, &str); 4] = [
    ("factor", "factor"),
    ("original_max_position_embeddings", "original_max_position_embeddings"),
    ("beta", "beta_fast"),
    ("alpha", "beta_slow"),
];

/// Fields that do not touch the language model's forward: known, so that nobody is told of them.
const WITHOUT_EFFECT: [&str; 4] = ["dtype", "max_seq_len", "multimodal", "vision_encoder"];

/// Where a file says nothing, as vLLM has it.
const DEFAULT_CONTEXT: i64 = 128_000;

/// Reads a `params.json`, and the names of the fields that nobody asked for.
///
/// # Errors
/// [`ConfigError`], naming the field as the file does.
pub(super) fn read(object: &Map<String, Value>, path: &str) -> Result<(ModelConfig, Vec<String>), ConfigError> {
    let fields = Fields::new(object, path);
    fields.only("model_type", &json!("transformer"))?;
    fields.only("activation", &json!("silu"))?;
    check_quantisation(&fields)?;
    let mut theirs = Map::new();
    rename(&fields, &FIELDS, &mut theirs);
    theirs.entry("max_position_embeddings").or_insert(json!(DEFAULT_CONTEXT));
    if fields.get("rope_theta").is_none() {
        // Programs that read this layout have taken 10⁴ or 10⁶ for it.
        return Err(fields.wrong("rope_theta", "is missing"));
    }
    let latent = fields.get("kv_lora_rank").is_some() || fields.get("qk_nope_head_dim").is_some();
    theirs.insert("model_type".into(), json!(if latent { "mistral4" } else { "mistral" }));
    let mut unknown = rope(&fields, latent, &mut theirs)?;
    unknown.extend(experts(&fields, latent, &mut theirs)?);
    window(&fields, latent, &mut theirs)?;
    for name in WITHOUT_EFFECT {
        fields.get(name);
    }
    unknown.extend(fields.unread());
    let (config, without_use) = families::read(&theirs, path).map_err(in_own_words)?;
    unknown.extend(without_use);
    Ok((config, unknown))
}

fn rename(from: &Fields<'_>, names: &[(&str, &str)], into: &mut Map<String, Value>) {
    for (own, theirs) in names {
        if let Some(value) = from.get(own) {
            into.insert((*theirs).to_owned(), value.clone());
        }
    }
}

/// An error of `config.json`'s reader with the field's name in `params.json`.
fn in_own_words(error: ConfigError) -> ConfigError {
    let ConfigError::Field { path, field, reason } = error else { return error };
    let own =
        |names: &'static [(&str, &str)], theirs: &str| names.iter().find(|name| name.1 == theirs).map(|name| name.0);
    let field = match field.strip_prefix("rope_parameters.") {
        Some("llama_4_scaling_beta") => "llama_4_scaling.beta".to_owned(),
        Some(inner) => own(&YARN, inner).map_or_else(|| inner.to_owned(), |own| format!("yarn.{own}")),
        None => match (own(&MOE, &field), own(&FIELDS, &field)) {
            (Some(own), _) => format!("moe.{own}"),
            (None, Some(own)) => own.to_owned(),
            (None, None) => field,
        },
    };
    ConfigError::Field { path, field, reason }
}

/// YaRN, and the scaling of queries by their position, which has YaRN's context here.
///
/// `apply_scale` says whether attention grows with the factor, by `m = 0.1 ln(factor) + 1` squared: of the softmax under latent attention,
/// of cosines and sines under grouped-query attention, where both come to the same.
fn rope(fields: &Fields<'_>, latent: bool, theirs: &mut Map<String, Value>) -> Result<Vec<String>, ConfigError> {
    let (yarn, queries) = (fields.inner("yarn")?, fields.inner("llama_4_scaling")?);
    let beta = queries.as_ref().and_then(|block| block.get("beta"));
    if beta.is_some_and(|beta| beta.as_f64() != Some(0.0)) && !(latent && yarn.is_some()) {
        return Err(fields.unsupported("llama_4_scaling is built for latent attention with yarn"));
    }
    let Some(yarn) = yarn else { return Ok(Vec::new()) };
    let mut block = Map::new();
    rename(&yarn, &YARN, &mut block);
    block.insert("rope_type".into(), json!("yarn"));
    if yarn.get("apply_scale").is_some() && !yarn.flag("apply_scale")? {
        block.insert("attention_factor".into(), json!(1.0));
    } else if latent {
        block.insert("mscale".into(), json!(1.0));
        block.insert("mscale_all_dim".into(), json!(1.0));
    }
    let mut unknown = yarn.unread();
    if let Some(queries) = queries {
        let context = "original_max_position_embeddings";
        if queries.get(context).is_some() && queries.positive_number(context)? != yarn.positive_number(context)? {
            return Err(queries.wrong(context, "must be that of yarn: other contexts of its own are not built"));
        }
        block.extend(beta.map(|beta| ("llama_4_scaling_beta".to_owned(), beta.clone())));
        unknown.extend(queries.unread());
    }
    theirs.insert("rope_parameters".into(), Value::Object(block));
    Ok(unknown)
}

fn experts(fields: &Fields<'_>, latent: bool, theirs: &mut Map<String, Value>) -> Result<Vec<String>, ConfigError> {
    let Some(moe) = fields.inner("moe")? else { return Ok(Vec::new()) };
    if !latent {
        return Err(fields.unsupported("a mixture of experts beside grouped-query attention (Mixtral) is not built"));
    }
    moe.only("route_every_n", &json!(1))?;
    moe.only("renorm_strategy", &json!("WEIGHTS"))?;
    moe.only("use_load_balancing_bias", &json!(false))?;
    for name in ["expert_parallel", "expert_model_parallel"] {
        moe.get(name);
    }
    rename(&moe, &MOE, theirs);
    Ok(moe.unread())
}

/// One window for all layers: a number, or a list that repeats one.
fn window(fields: &Fields<'_>, latent: bool, theirs: &mut Map<String, Value>) -> Result<(), ConfigError> {
    let own = fields.get("sliding_window");
    let width = match own.and_then(Value::as_array) {
        None => own,
        Some(list) if list.windows(2).all(|pair| pair[0] == pair[1]) => list.first().filter(|width| !width.is_null()),
        Some(_) => return Err(fields.unsupported("a sliding_window that differs among layers is not built")),
    };
    if latent && width.is_some() {
        return Err(fields.unsupported("a sliding_window beside latent attention is not built"));
    }
    if !latent {
        // Where `config.json` does not say it is 4,096, and here it is none.
        theirs.insert("sliding_window".into(), width.cloned().unwrap_or(Value::Null));
    }
    Ok(())
}

/// FP8 is read, with a scale a matrix (`quantization`) or a block of 128 × 128 (compressed-tensors' `float-quantized`): Mistral Small 4
/// and Mistral Large 3 are released so. How activations are rounded has no effect, since none are.
fn check_quantisation(fields: &Fields<'_>) -> Result<(), ConfigError> {
    if let Some(block) = fields.inner("quantization")? {
        if block.get("quant_method").is_some() {
            return check_compressed(&block);
        }
        if block.get("qformat_weight") != Some(&json!("fp8_e4m3")) {
            let found = block.get("qformat_weight").unwrap_or(&Value::Null);
            let built = "\"fp8_e4m3\" is, and compressed-tensors' FP8";
            return Err(fields.unsupported(format!("quantization.qformat_weight = {found} is not built; {built}")));
        }
    }
    fields.inner("quantization_config")?.map_or(Ok(()), |block| check_compressed(&block))
}

fn check_compressed(block: &Fields<'_>) -> Result<(), ConfigError> {
    block.only("quant_method", &json!("compressed-tensors"))?;
    block.only("format", &json!("float-quantized"))?;
    let Some(groups) = block.inner("config_groups")? else { return Ok(()) };
    for name in groups.names() {
        let Some(weights) = groups.inner(name)?.map(|group| group.inner("weights")).transpose()?.flatten() else {
            continue;
        };
        weights.only("type", &json!("float"))?;
        weights.only("num_bits", &json!(8))?;
        if weights.get("strategy") != Some(&json!("tensor")) {
            weights.only("strategy", &json!("block"))?;
            weights.only("block_structure", &json!([128, 128]))?;
        }
    }
    Ok(())
}
