//! The names of parameters in Mistral's own files, beside those of transformers.
//!
//! An expert has tensors of its own there. FP8 has a scale beside each matrix, `qscale_weight` for all of it or `weight_scale` for blocks of
//! 128 × 128, by which it is multiplied as by DeepSeek's `weight_scale_inv`.

/// The weights file.
pub(super) const WEIGHTS: &str = "consolidated.safetensors";
/// The list of shards.
pub(super) const INDEX: &str = "consolidated.safetensors.index.json";

/// A name in Mistral's files, and in those of transformers.
type Names = [&'static str; 2];
const OWN: usize = 0;
const THEIRS: usize = 1;

/// Modules outside of the layers.
const MODEL: [Names; 3] = [["tok_embeddings", "model.embed_tokens"], ["norm", "model.norm"], ["output", "lm_head"]];

/// What is before a layer's number.
const LAYERS: Names = ["layers.", "model.layers."];

/// Modules of a layer.
const LAYER: [Names; 19] = [
    ["attention_norm", "input_layernorm"],
    ["attention.wq", "self_attn.q_proj"],
    ["attention.wk", "self_attn.k_proj"],
    ["attention.wv", "self_attn.v_proj"],
    ["attention.wo", "self_attn.o_proj"],
    ["attention.wq_a", "self_attn.q_a_proj"],
    ["attention.q_a_norm", "self_attn.q_a_layernorm"],
    ["attention.wq_b", "self_attn.q_b_proj"],
    ["attention.wkv_a_with_mqa", "self_attn.kv_a_proj_with_mqa"],
    ["attention.kv_a_norm", "self_attn.kv_a_layernorm"],
    ["attention.wkv_b", "self_attn.kv_b_proj"],
    ["ffn_norm", "post_attention_layernorm"],
    ["gate", "mlp.gate"],
    ["feed_forward.w1", "mlp.gate_proj"],
    ["feed_forward.w2", "mlp.down_proj"],
    ["feed_forward.w3", "mlp.up_proj"],
    ["shared_experts.w1", "mlp.shared_experts.gate_proj"],
    ["shared_experts.w2", "mlp.shared_experts.down_proj"],
    ["shared_experts.w3", "mlp.shared_experts.up_proj"],
];

/// What is before an expert's number, and its matrices.
const EXPERTS: Names = ["experts.", "mlp.experts."];
const EXPERT: [Names; 3] = [["w1", "gate_proj"], ["w2", "down_proj"], ["w3", "up_proj"]];

/// What a module has.
const TENSORS: [Names; 3] =
    [["weight", "weight"], ["qscale_weight", "weight_scale_inv"], ["weight_scale", "weight_scale_inv"]];

/// A parameter's name in the files of transformers; `None` for what the language model has no use for, such as eyes.
pub(super) fn theirs(own: &str) -> Option<String> {
    translate(own, OWN, THEIRS)
}

/// A parameter's name in Mistral's files, for errors. A scale is called `qscale_weight` then, whichever it is.
pub(super) fn own(theirs: &str) -> Option<String> {
    translate(theirs, THEIRS, OWN)
}

fn translate(name: &str, from: usize, to: usize) -> Option<String> {
    let find = |names: &[Names], name: &str| names.iter().find(|names| names[from] == name).map(|names| names[to]);
    let (module, tensor) = name.rsplit_once('.')?;
    let tensor = find(&TENSORS, tensor)?;
    if let Some(module) = find(&MODEL, module) {
        return Some(format!("{module}.{tensor}"));
    }
    let (layer, module) = module.strip_prefix(LAYERS[from])?.split_once('.')?;
    let module = match find(&LAYER, module) {
        Some(module) => module.to_owned(),
        None => {
            let (expert, matrix) = module.strip_prefix(EXPERTS[from])?.split_once('.')?;
            format!("{}{expert}.{}", EXPERTS[to], find(&EXPERT, matrix)?)
        }
    };
    Some(format!("{}{layer}.{module}.{tensor}", LAYERS[to]))
}
