//! Low-rank adapters (Hu et al., arXiv 2106.09685): a weight is `W = W₀ + (α/r) B A` with `B [n, r]` and `A [r, k]`, of which `A` and `B`
//! learn and `W₀` stays.
//!
//! `W` is computed once for each version of the weights, in one way, into the storage that every forward reads: the sampler and the
//! learner multiply by the same numbers, so that they agree to the bit (INV-1), and neither pays for the adapters. The learner's
//! gradient goes past `W` to `A` and `B` (`model/adapter.rs`).
//!
//! A fresh `B` is zero and a fresh `A` uniform in `±1/√k`, as in PEFT (Kaiming's uniform with `a = √5`), so a fresh adapter changes nothing.

use std::collections::BTreeMap;

use data::CounterRng;
use tch::{Kind, Tensor};

use crate::config::{Family, ModelConfig};
use crate::model::Model;
use crate::params::{Params, is_adapter, shapes, tensor_bytes};
use crate::products::NoSafeRows;

/// The targets of a feed-forward network.
const NETWORKS: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

/// What an adapter can stand beside, by the names that PEFT knows them by. In a model with experts it is attention's matrices alone: PEFT
/// takes the other names there to mean the routed experts, which lie in one tensor where transformers loads them, and nothing else. In
/// families that mostly have experts it does so in a dense model too, so these names must be asked for there
/// ([`Family::peft_adapts_networks`]): merged they count, and PEFT drops them.
pub const TARGETS: [&str; 11] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "q_a_proj",
    "q_b_proj",
    "kv_a_proj_with_mqa",
    "kv_b_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

/// Which weights have an adapter, and of which size.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// `r`, at least 1.
    pub rank: i64,
    /// `α`.
    pub alpha: f64,
    /// Names of [`TARGETS`]; empty: all that the model has.
    pub targets: Vec<String>,
}

/// Adapters that do not fit a model.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// A target that the model has not.
    #[error("`{target}` is no weight of this model that takes an adapter; it has {known}")]
    NoTarget {
        /// The target.
        target: String,
        /// Those that it has.
        known: String,
    },
    /// A rank that is no rank.
    #[error("the rank of an adapter must be at least 1, not {0}")]
    Rank(i64),
    /// A tensor of the adapters is missing.
    #[error("`{0}` is missing among the adapters")]
    Missing(String),
    /// A tensor belongs to no adapter of the model.
    #[error("`{0}` belongs to no adapter of this model")]
    Unexpected(String),
    /// A tensor has another shape than its adapter.
    #[error("`{name}` is {found:?}, and the adapter of this model is {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<i64>,
        /// The adapter's.
        expected: Vec<i64>,
    },
}

/// What a model with adapters keeps of the weights that they stand beside.
#[derive(Debug)]
pub struct Adapters {
    /// Which and of which size.
    pub config: LoraConfig,
    /// `W₀`, by the name of its weight.
    base: Params,
}

impl LoraConfig {
    /// `α/r`.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// The targets among these weights of a family's model; where none is named, all that there are and that PEFT takes in this family.
    ///
    /// # Errors
    /// [`LoraError::NoTarget`].
    pub fn targets_in<'a>(
        &self,
        family: Family,
        weights: impl Iterator<Item = &'a String>,
    ) -> Result<Vec<String>, LoraError> {
        let mut there: Vec<&str> = takers(weights).map(|(_, target)| target).collect();
        there.sort_by_key(|name| TARGETS.iter().position(|target| target == name));
        there.dedup();
        if let Some(target) = self.targets.iter().find(|target| !there.contains(&target.as_str())) {
            return Err(LoraError::NoTarget { target: target.clone(), known: there.join(", ") });
        }
        let by_default = |name: &str| family.peft_adapts_networks() || !NETWORKS.contains(&name);
        let named = |name: &&str| match self.targets.as_slice() {
            [] => by_default(name),
            targets => targets.iter().any(|target| target == name),
        };
        Ok(there.into_iter().filter(named).map(str::to_owned).collect())
    }
}

/// How large adapters are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Numbers of the weights that they stand beside, which are kept once more.
    pub beside: u64,
    /// Their own numbers.
    pub own: u64,
}

impl LoraConfig {
    /// The size of the adapters of a model.
    ///
    /// # Errors
    /// As [`LoraConfig::targets_in`].
    pub fn size(&self, config: &ModelConfig) -> Result<Size, LoraError> {
        let (mut size, shapes) = (Size::default(), shapes(config));
        for shape in self.weights_in(config.family, shapes.keys())?.into_iter().map(|name| &shapes[name]) {
            size.beside += shape.iter().product::<i64>() as u64;
            size.own += (self.rank * shape.iter().sum::<i64>()) as u64;
        }
        Ok(size)
    }

    /// Those of these weights that get an adapter.
    fn weights_in<'a>(
        &self,
        family: Family,
        weights: impl Iterator<Item = &'a String> + Clone,
    ) -> Result<Vec<&'a String>, LoraError> {
        let targets = self.targets_in(family, weights.clone())?;
        let adapted = takers(weights).filter(|(_, own)| targets.iter().any(|target| target == own));
        Ok(adapted.map(|(name, _)| name).collect())
    }
}

/// Those of a model's weights that can take an adapter, and the target that each of them is.
fn takers<'a>(weights: impl Iterator<Item = &'a String>) -> impl Iterator<Item = (&'a String, &'a str)> {
    let (attention, others): (Vec<&String>, Vec<&String>) = weights.partition(|name| name.contains(".self_attn."));
    let mixture = others.iter().any(|name| name.contains(".mlp.experts."));
    let networks = others.into_iter().filter(move |_| !mixture);
    attention.into_iter().chain(networks).filter_map(|name| {
        let own = name.strip_suffix(".weight")?.rsplit('.').next()?;
        TARGETS.contains(&own).then_some((name, own))
    })
}

/// Names of `A` and `B` of a weight.
pub(crate) fn names(weight: &str) -> [String; 2] {
    let module = weight.strip_suffix(".weight").unwrap_or(weight);
    ["lora_A", "lora_B"].map(|part| format!("{module}.{part}.weight"))
}

/// `A [r, k]`: uniform in `±1/√k`, each number keyed by (seed, name, place) (INV-4).
fn initial(name: &str, shape: [i64; 2], seed: u64) -> Tensor {
    let (mut rng, bound) = (CounterRng::new(seed, name), (shape[1] as f64).powf(-0.5));
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect();
    Tensor::from_slice(&values).view(shape)
}

impl Model {
    /// The model with fresh adapters beside the weights that `config` names. From now on those weights are `W`, and follow the adapters by
    /// [`Model::merge`].
    ///
    /// # Errors
    /// [`LoraError`] for a target that the model has not, and for a rank below 1.
    pub fn with_adapters(mut self, config: LoraConfig, seed: u64) -> Result<Self, LoraError> {
        if config.rank < 1 {
            return Err(LoraError::Rank(config.rank));
        }
        let targets = config.targets_in(self.config.family, self.params.keys())?;
        let mut base = Params::new();
        let mut fresh = Params::new();
        for name in config.weights_in(self.config.family, self.params.keys())? {
            let weight = &self.params[name];
            let (n, k) = weight.size2().expect("a target is a matrix");
            let [a, b] = names(name);
            let value = initial(&a, [config.rank, k], seed).to_device(self.device());
            fresh.insert(a, value);
            fresh.insert(b, Tensor::zeros([n, config.rank], (Kind::Float, self.device())));
            base.insert(name.clone(), tch::no_grad(|| weight.detach().copy()));
        }
        self.params.extend(fresh);
        self.adapters = Some(Adapters { config: LoraConfig { targets, ..config }, base });
        self.merge();
        self.build_layers();
        Ok(self)
    }

    /// Gives the adapters these values, and the weights what follows from them.
    ///
    /// # Errors
    /// [`LoraError`] unless `values` are the adapters of exactly this model; nothing has changed then.
    pub fn set_adapters(&self, values: &Params) -> Result<(), LoraError> {
        let own: BTreeMap<&String, &Tensor> = self.params.iter().filter(|(name, _)| is_adapter(name)).collect();
        if let Some(name) = values.keys().find(|name| !own.contains_key(name)) {
            return Err(LoraError::Unexpected(name.clone()));
        }
        for (name, own) in &own {
            let value = values.get(*name).ok_or_else(|| LoraError::Missing((*name).clone()))?;
            let (found, expected) = (value.size(), own.size());
            if found != expected {
                return Err(LoraError::Shape { name: (*name).clone(), found, expected });
            }
        }
        tch::no_grad(|| own.into_iter().for_each(|(name, own)| own.shallow_clone().copy_(&values[name])));
        self.merge();
        Ok(())
    }

    /// The adapters' tensors, by name.
    pub fn adapter_params(&self) -> Params {
        let own = self.params.iter().filter(|(name, _)| is_adapter(name));
        own.map(|(name, p)| (name.clone(), p.detach())).collect()
    }

    /// `W ← W₀ + (α/r) B A` for every weight that has an adapter, in place: after each step of the optimiser.
    pub fn merge(&self) {
        let Some(Adapters { config, base }) = &self.adapters else { return };
        tch::no_grad(|| {
            for (name, base) in base {
                let [a, b] = names(name).map(|name| &self.params[&name]);
                let change = self.products.apart(b, &a.tr()) * config.scale();
                self.params[name].shallow_clone().copy_(&(base + change));
            }
        });
    }

    /// The model as it was without its adapters, which shares all storage with this one and does not learn.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn without_adapters(&self) -> Result<Self, NoSafeRows> {
        let base = self.adapters.as_ref().map(|adapters| &adapters.base);
        let own = self.params.iter().filter(|(name, _)| !is_adapter(name));
        let of = |(name, p): (&String, &Tensor)| {
            let weight = base.and_then(|base| base.get(name)).unwrap_or(p);
            (name.clone(), weight.detach())
        };
        Self::new(self.config.clone(), own.map(of).collect(), self.compute())
    }
}

impl Adapters {
    /// Bytes of the weights that the adapters stand beside.
    pub(crate) fn bytes(&self) -> u64 {
        self.base.values().map(tensor_bytes).sum()
    }

    /// Other handles to the same.
    pub(crate) fn shallow_clone(&self) -> Self {
        let base = self.base.iter().map(|(name, p)| (name.clone(), p.shallow_clone())).collect();
        Self { config: self.config.clone(), base }
    }
}
