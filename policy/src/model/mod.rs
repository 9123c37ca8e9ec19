//! The model: parameters with their shape, and the one forward over rows (INV-1).
//!
//! Prefill, decode, teacher, reference and learner all call [`Model::forward`]; they differ in where the keys live and in what is asked
//! of the indexer and the gates, never in the arithmetic of a row. A family is a kind of attention (`mla.rs` or `gqa.rs`) and a kind of
//! feed-forward (`feed_forward.rs`); the rest is common to all.

mod adapter;
mod feed_forward;
mod gqa;
pub mod head;
mod indexer;
mod layer;
mod linear;
mod mla;
mod pass;
mod recompute;

pub use feed_forward::Load;
pub use head::{Columns, Head};

use std::ops::Range;

use native::wants_grad;
use tch::{Device, Tensor};

use self::feed_forward::Choice;
use self::layer::{Layer, Projected, Weights};
use self::pass::{Asked, Context, Passed, Turned, groups};
use crate::cache::PagedCache;
use crate::compute::Compute;
use crate::config::{Attention, ModelConfig};
use crate::doctor::ProductShape;
use crate::kernels::indexer_loss::Coverage;
use crate::kernels::norm::rms_norm;
use crate::kernels::product::widened;
use crate::lora::Adapters;
use crate::params::{Params, Shapes, is_adapter, tensor_bytes};
use crate::products::{NoSafeRows, Products};
use crate::rope::RopeTable;
use crate::rows::Rows;

/// Where the keys of a forward live.
pub enum Keys<'a> {
    /// The rows of this call are all the keys there are: learning, teachers, references.
    Fresh,
    /// Keys of earlier calls lie in a cache, and this call's are added to it: sampling.
    Cached(&'a mut PagedCache),
}

/// Which keys a row attends to.
pub enum Attend {
    /// All visible ones.
    Dense,
    /// The indexer's k best.
    Sparse,
    /// The ones that the sampler recorded, layer by layer: `[rows, k]` i32 each.
    Replay(Vec<Tensor>),
}

/// What a forward is asked to do besides the hidden states.
pub struct Task {
    /// Which keys a row attends to.
    pub attend: Attend,
    /// Compute the indexer's loss with this weight for each row, `[rows]` f32.
    pub indexer_weight: Option<Tensor>,
    /// Return the selections.
    pub record: bool,
    /// The experts that the sampler recorded, for each layer that has experts: `[rows, k]` i32 each. `None` lets the gates choose. The
    /// weights are by the gates either way.
    pub experts: Option<Vec<Tensor>>,
    /// Return the experts that rows went through.
    pub record_experts: bool,
}

impl Task {
    /// Attention as the model was made for: sparse where it has an indexer.
    pub fn plain(model: &Model) -> Self {
        let attend = if model.config.indexer.is_some() { Attend::Sparse } else { Attend::Dense };
        Self { attend, ..Self::dense() }
    }

    /// Attention to all visible keys.
    pub fn dense() -> Self {
        Self { attend: Attend::Dense, indexer_weight: None, record: false, experts: None, record_experts: false }
    }
}

/// What a forward computed.
#[derive(Debug)]
pub struct Forward {
    /// `[rows, hidden]` after the final norm.
    pub hidden: Tensor,
    /// For each layer `[rows, k]` i32, where they were asked for.
    pub selections: Vec<Tensor>,
    /// For each layer that has experts `[rows, k]` i32, ascending, where they were asked for.
    pub experts: Vec<Tensor>,
    /// What the experts of each such layer were given.
    pub load: Vec<Load>,
    /// The indexer's loss, summed over layers, where it was asked for.
    pub indexer_loss: Option<Tensor>,
    /// How well the indexer's choice covers the attention, for each layer.
    pub coverage: Vec<Coverage>,
}

/// Parameters with their shape, on a device.
#[derive(Debug)]
pub struct Model {
    /// The shape.
    pub config: ModelConfig,
    /// The parameters. Update them in place: the layers share their storage.
    pub params: Params,
    /// What multiplies rows and weights.
    pub products: Products,
    /// What its low-rank adapters stand beside, where it has some.
    pub adapters: Option<Adapters>,
    layers: Vec<Layer>,
    rope: RopeTable,
    compute: Compute,
}

/// What the model has room for, or what was asked for where that is less.
fn context_of(config: &ModelConfig, compute: Compute) -> i64 {
    compute.context.map_or(config.max_position_embeddings, |asked| asked.min(config.max_position_embeddings))
}

impl Model {
    /// A model over `params`, which must be complete and of the config's shapes ([`crate::checkpoint`] checks them).
    ///
    /// # Errors
    /// [`NoSafeRows`] where a product is not row-invariant on its device at any number of rows.
    pub fn new(config: ModelConfig, params: Params, compute: impl Into<Compute>) -> Result<Self, NoSafeRows> {
        let compute: Compute = compute.into();
        let device = compute.device;
        let params: Params = params.into_iter().map(|(name, p)| (name, p.to_device(device))).collect();
        let products = Products::new(compute, &product_shapes(&config))?;
        let rope = RopeTable::new(&config, context_of(&config, compute), device);
        let mut model = Self { config, params, products, adapters: None, layers: Vec::new(), rope, compute };
        model.build_layers();
        Ok(model)
    }

    /// Makes the layers from handles to the parameters.
    pub(crate) fn build_layers(&mut self) {
        let layers = 0..self.config.num_hidden_layers;
        self.layers = layers.map(|l| Layer::new(&self.config, &self.params, self.lora_scale(), l)).collect();
    }

    fn lora_scale(&self) -> Option<f64> {
        self.adapters.as_ref().map(|adapters| adapters.config.scale())
    }

    /// A copy of the weights as they are now, adapters merged, which does not learn.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn frozen_copy(&self) -> Result<Self, NoSafeRows> {
        self.frozen_copy_on(self.device())
    }

    /// As [`Model::frozen_copy`], on another device.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn frozen_copy_on(&self, device: Device) -> Result<Self, NoSafeRows> {
        let own = self.params.iter().filter(|(name, _)| !is_adapter(name));
        let params = tch::no_grad(|| own.map(|(name, p)| (name.clone(), p.detach().copy())).collect());
        Self::new(self.config.clone(), params, Compute { device, ..self.compute })
    }

    /// The same weights once more: other handles to the same storage, whose gradients are their own. A thread can take it.
    pub fn replica(&self) -> Self {
        let handle = |p: &Tensor| p.detach().set_requires_grad(p.requires_grad());
        let params: Params = self.params.iter().map(|(name, p)| (name.clone(), handle(p))).collect();
        let (config, rope) = (self.config.clone(), self.rope.shallow_clone());
        let (products, adapters) = (self.products.clone(), self.adapters.as_ref().map(Adapters::shallow_clone));
        let mut model = Self { config, params, products, adapters, layers: Vec::new(), rope, compute: self.compute };
        model.build_layers();
        model
    }

    /// Bytes of the parameters, and of what adapters stand beside.
    pub fn bytes(&self) -> u64 {
        let own: u64 = self.params.values().map(tensor_bytes).sum();
        own + self.adapters.as_ref().map_or(0, Adapters::bytes)
    }

    /// Positions that a sequence has at most.
    pub fn context(&self) -> usize {
        context_of(&self.config, self.compute) as usize
    }

    /// How the model computes.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Where the model lives.
    pub fn device(&self) -> Device {
        self.compute.device
    }

    /// Hidden states of `rows`.
    ///
    /// # Panics
    /// If a token or position lies outside the model's, or a sparse task is given to a model without an indexer: callers' bugs.
    pub fn forward(&self, rows: &Rows, mut keys: Keys<'_>, task: &Task) -> Forward {
        let rope = Turned::new(&self.rope, &rows.index, self.device());
        let tokens = Tensor::from_slice(&rows.tokens).to_device(self.device());
        let embedding = &self.params["model.embed_tokens.weight"];
        let mut hidden = widened(&Tensor::embedding(embedding, &tokens, -1, false, false));
        let context = Context {
            config: &self.config,
            products: &self.products,
            rope: &rope,
            index: &rows.index,
            indexer_weight: task.indexer_weight.as_ref(),
            lora_scale: self.lora_scale(),
        };
        let asked = Asked::of(task, &self.layers);
        let recompute = self.compute.recompute
            && matches!(keys, Keys::Fresh)
            && wants_grad(&self.params.values().collect::<Vec<_>>());
        let mut result = Forward::empty();
        for group in groups(&self.layers) {
            let (layers, asked) = (&self.layers[group.clone()], &asked[group.clone()]);
            let (out, passed) = match recompute {
                true => recompute::pass(&context, layers, self.params_of(group.clone()), &hidden, asked),
                false => context.pass(layers, &hidden, asked, &mut keys),
            };
            hidden = out;
            group.zip(passed).for_each(|(layer, passed)| result.take(layer, passed, task));
        }
        result.hidden = rms_norm(&hidden, &self.params["model.norm.weight"], self.config.rms_norm_eps);
        result
    }

    /// Handles to the parameters of these layers.
    fn params_of(&self, layers: Range<usize>) -> Params {
        let of_layer = |layer: usize| {
            let prefix = format!("model.layers.{layer}.");
            self.params.range(prefix.clone()..).take_while(move |(name, _)| name.starts_with(&prefix))
        };
        layers.flat_map(of_layer).map(|(name, p)| (name.clone(), p.shallow_clone())).collect()
    }

    /// Logits `[rows, vocabulary]` of hidden states, all at once: for the few rows of a sampler. Learners take [`Model::head`]'s rows.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        self.head().logits(hidden)
    }
}

impl Forward {
    fn empty() -> Self {
        let (selections, experts, load, coverage) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { hidden: Tensor::new(), selections, experts, load, indexer_loss: None, coverage }
    }

    /// Adds what layer `layer` left.
    fn take(&mut self, layer: usize, passed: Passed, task: &Task) {
        self.selections.extend(passed.selection.filter(|_| task.record));
        if let Some((loss, coverage)) = passed.loss {
            self.coverage.push(coverage);
            self.indexer_loss = Some(match self.indexer_loss.take() {
                Some(sum) => sum + loss,
                None => loss,
            });
        }
        if let Some(Choice { experts, rows, changed }) = passed.choice {
            self.load.push(Load { layer, rows, changed });
            self.experts.extend(task.record_experts.then_some(experts));
        }
    }
}

/// The shape of each parameter that a config asks for, layer by layer, given to `add`.
pub(crate) fn layer_shapes(config: &ModelConfig, layer: i64, shapes: &mut Shapes<'_>) {
    Layer::shapes(config, layer, shapes);
}

/// Weights whose product is f32 whatever the model's precision: what they round decides something.
pub(crate) fn is_precise(name: &str) -> bool {
    ["lm_head.weight", "mlp.gate.weight", "indexer.weights_proj.weight"].iter().any(|end| name.ends_with(end))
}

/// Every distinct product of the forward.
pub fn product_shapes(config: &ModelConfig) -> Vec<ProductShape> {
    let c = config;
    let mut shapes: Vec<ProductShape> = crate::params::shapes(config)
        .into_iter()
        .filter(|(name, shape)| shape.len() == 2 && !name.contains("embed_tokens") && !name.contains("kv_b_proj"))
        .map(|(name, shape)| ProductShape { batch: 1, k: shape[1], n: shape[0], precise: is_precise(&name) })
        .collect();
    if c.tie_word_embeddings {
        shapes.push(ProductShape { batch: 1, k: c.hidden_size, n: c.vocab_size, precise: true });
    }
    if let Attention::Mla(mla) = &c.attention {
        shapes.extend(mla::Mla::product_shapes(mla, c.num_attention_heads));
    }
    shapes.sort();
    shapes.dedup();
    shapes
}
