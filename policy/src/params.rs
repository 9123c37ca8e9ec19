//! A model's parameters by their Hugging Face names.

use std::collections::BTreeMap;

use data::CounterRng;
use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::model::layer_shapes;

/// Parameters by name, in name order: the order of every sum over them.
pub type Params = BTreeMap<String, Tensor>;

/// True for the indexer's own parameters, which learn from the indexer's loss alone.
pub fn is_indexer(name: &str) -> bool {
    name.contains(".indexer.")
}

/// True for a gate's selection bias, which no loss reaches: it follows the experts' load.
pub fn is_selection_bias(name: &str) -> bool {
    name.ends_with("e_score_correction_bias")
}

/// True for a low-rank adapter's `A` or `B` ([`crate::lora`]), which no config asks for.
pub fn is_adapter(name: &str) -> bool {
    name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight")
}

/// The name of a layer's selection bias.
pub fn selection_bias(layer: usize) -> String {
    format!("model.layers.{layer}.mlp.gate.e_score_correction_bias")
}

/// Collects names and shapes.
pub(crate) struct Shapes<'a> {
    prefix: String,
    found: &'a mut BTreeMap<String, Vec<i64>>,
}

impl Shapes<'_> {
    pub(crate) fn add(&mut self, name: &str, shape: &[i64]) {
        self.found.insert(format!("{}{name}", self.prefix), shape.to_vec());
    }
}

/// The shape of each parameter that a config asks for.
pub fn shapes(config: &ModelConfig) -> BTreeMap<String, Vec<i64>> {
    let c = config;
    let mut found = BTreeMap::new();
    let mut shapes = Shapes { prefix: String::new(), found: &mut found };
    shapes.add("model.embed_tokens.weight", &[c.vocab_size, c.hidden_size]);
    shapes.add("model.norm.weight", &[c.hidden_size]);
    if !c.tie_word_embeddings {
        shapes.add("lm_head.weight", &[c.vocab_size, c.hidden_size]);
    }
    for layer in 0..c.num_hidden_layers {
        let mut shapes = Shapes { prefix: format!("model.layers.{layer}."), found: &mut found };
        layer_shapes(config, layer, &mut shapes);
    }
    found
}

/// One fresh parameter: norms at 1, biases at 0, matrices normal with deviation `std`.
///
/// Each number is keyed by (seed, name, position) (INV-4), so that adding an indexer to a model does not move any other weight.
pub fn initial(name: &str, shape: &[i64], std: f64, seed: u64) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    if name.ends_with("bias") {
        return Tensor::zeros(shape, options);
    }
    if shape.len() == 1 {
        return Tensor::ones(shape, options);
    }
    let mut rng = CounterRng::new(seed, name);
    let values: Vec<f32> = (0..shape.iter().product::<i64>()).map(|_| (rng.normal() * std) as f32).collect();
    Tensor::from_slice(&values).view(shape)
}
