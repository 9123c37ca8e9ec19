//! The model: parameters with their shape, and the one forward over rows (INV-1).
//!
//! Prefill, decode, teacher, reference and learner all call [`Model::forward`]; they differ in where the keys live and in what is asked
//! of the indexer and the gates, never in the arithmetic of a row. A family is a kind of attention (`mla.rs` or `gqa.rs`) and a kind of
//! feed-forward (`feed_forward.rs`); the rest is common to all.

mod feed_forward;
mod gqa;
pub mod head;
mod indexer;
mod layer;
mod linear;
mod mla;

pub use feed_forward::Load;
pub use head::{Columns, Head};

use std::sync::Arc;

use tch::{Device, Tensor};

use self::feed_forward::Choice;
use self::layer::{Layer, Projected, Weights};
use crate::cache::PagedCache;
use crate::compute::Compute;
use crate::config::{Attention, ModelConfig};
use crate::doctor::ProductShape;
use crate::kernels::attention::{Selection, attention};
use crate::kernels::indexer::{IndexerQuery, select};
use crate::kernels::indexer_loss::{Coverage, Target, indexer_loss};
use crate::kernels::norm::rms_norm;
use crate::kernels::rotary::Angles;
use crate::params::{Params, Shapes};
use crate::products::{NoSafeRows, Products};
use crate::rope::RopeTable;
use crate::rows::{KeyIndex, Rows};

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
    layers: Vec<Layer>,
    rope: RopeTable,
    compute: Compute,
}

/// What the rows' positions do to queries and keys.
struct Turned {
    angles: Angles,
    /// `[rows]`, where queries grow with the position.
    query_scale: Option<Tensor>,
}

/// What the layer with an indexer leaves for itself and for those after it that share it.
struct Indexed {
    query: IndexerQuery,
    keys: Tensor,
    /// Once it was asked for.
    selection: Option<Selection>,
}

/// What one layer's attention leaves for the layer's bookkeeping.
struct LayerOut {
    out: Tensor,
    selection: Selection,
    loss: Option<(Tensor, Coverage)>,
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
        let layers = (0..config.num_hidden_layers).map(|l| Layer::new(&config, &params, l)).collect();
        let rope = RopeTable::new(&config, device);
        Ok(Self { config, params, products, layers, rope, compute })
    }

    /// A copy of the weights as they are now, which does not learn.
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
        let params = tch::no_grad(|| self.params.iter().map(|(name, p)| (name.clone(), p.detach().copy())).collect());
        Self::new(self.config.clone(), params, Compute { device, ..self.compute })
    }

    /// The same weights once more: other handles to the same storage, whose gradients are their own. A thread can take it.
    pub fn replica(&self) -> Self {
        let handle = |p: &Tensor| p.detach().set_requires_grad(p.requires_grad());
        let params: Params = self.params.iter().map(|(name, p)| (name.clone(), handle(p))).collect();
        let layers = (0..self.config.num_hidden_layers).map(|l| Layer::new(&self.config, &params, l)).collect();
        let (config, rope) = (self.config.clone(), self.rope.shallow_clone());
        Self { config, params, products: self.products.clone(), layers, rope, compute: self.compute }
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
        let index = &rows.index;
        let positions: Vec<i64> = index.position.iter().map(|&p| i64::from(p)).collect();
        let positions = Tensor::from_slice(&positions).to_device(self.device());
        let rope = Turned { angles: self.rope.angles(&positions), query_scale: self.rope.query_scale(&positions) };
        let tokens = Tensor::from_slice(&rows.tokens).to_device(self.device());
        let mut hidden = Tensor::embedding(&self.params["model.embed_tokens.weight"], &tokens, -1, false, false);
        let mut result = Forward::empty();
        let (mut with_experts, mut indexed) = (0, None);
        for (l, layer) in self.layers.iter().enumerate() {
            let normal = rms_norm(&hidden, &layer.input_norm, self.config.rms_norm_eps);
            let attended = self.attend(l, layer, &normal, &rope, index, &mut keys, &mut indexed, task);
            hidden = &hidden + attended.out;
            let normal = rms_norm(&hidden, &layer.post_norm, self.config.rms_norm_eps);
            let replay = task.experts.as_ref().filter(|_| layer.feed_forward.has_experts());
            let replay = replay.map(|replay| &replay[with_experts]);
            let (out, choice) = layer.feed_forward.apply(&self.products, &normal, replay);
            hidden = &hidden + out;
            result.take(attended.selection.filter(|_| task.record), attended.loss);
            with_experts += usize::from(choice.is_some());
            if let Some(Choice { experts, rows, changed }) = choice {
                result.load.push(Load { layer: l, rows, changed });
                result.experts.extend(task.record_experts.then_some(experts));
            }
        }
        result.hidden = rms_norm(&hidden, &self.params["model.norm.weight"], self.config.rms_norm_eps);
        result
    }

    /// Logits `[rows, vocabulary]` of hidden states, all at once: for the few rows of a sampler. Learners take [`Model::head`]'s rows.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        self.head().logits(hidden)
    }

    /// Attention over the keys that the task selects.
    fn attend(
        &self,
        number: usize,
        layer: &Layer,
        x: &Tensor,
        rope: &Turned,
        index: &Arc<KeyIndex>,
        keys: &mut Keys<'_>,
        indexed: &mut Option<Indexed>,
        task: &Task,
    ) -> LayerOut {
        let (products, scale, geometry) = (&self.products, self.config.softmax_scale(), self.config.geometry(number));
        let angles = &rope.angles;
        let Projected { q, keys: new_keys, index_input } = layer.attention.project(products, x, angles);
        let q = match &rope.query_scale {
            Some(scale) => q * scale.view([-1, 1, 1]),
            None => q,
        };
        let index_query = layer.indexer.as_ref().map(|i| i.query(products, x, &index_input, angles));
        let new_index_keys = layer.indexer.as_ref().map(|i| i.keys(products, x, angles));
        let (all_keys, all_index_keys) = store(keys, number, new_keys, new_index_keys, index);

        if let (Some(query), Some(keys)) = (index_query, all_index_keys) {
            *indexed = Some(Indexed { query, keys, selection: None });
        }
        let selection = self.selection(number, indexed.as_mut(), index, task);
        let attended = attention(&q, &all_keys, geometry, index, &selection, scale);
        let out = layer.attention.output(products, &attended.out);

        let loss = task.indexer_weight.as_ref().map(|weight| {
            let target = Target { q: q.detach(), keys: all_keys.detach(), geometry, lse: attended.lse, scale };
            let (Some(Indexed { query, keys, .. }), Some(indexer)) = (indexed, &self.config.indexer) else {
                panic!("a model without an indexer has no indexer loss");
            };
            indexer_loss(query, keys, &target, index, &selection, weight, indexer.top_k as usize)
        });
        LayerOut { out, selection, loss }
    }

    fn selection(&self, layer: usize, indexed: Option<&mut Indexed>, index: &KeyIndex, task: &Task) -> Selection {
        match &task.attend {
            Attend::Dense => None,
            Attend::Replay(selections) => Some(selections[layer].shallow_clone()),
            Attend::Sparse => {
                let indexed = indexed.expect("sparse attention needs an indexer");
                let chosen = match indexed.selection.take() {
                    Some(shared) => shared,
                    None => self.select(indexed, index, task),
                };
                indexed.selection = Some(chosen.as_ref().map(Tensor::shallow_clone));
                chosen
            }
        }
    }

    fn select(&self, indexed: &Indexed, index: &KeyIndex, task: &Task) -> Selection {
        let k = self.config.indexer.as_ref().expect("a layer has an indexer only if the config has one").top_k as usize;
        // Where every row sees at most k keys, all are selected, and the list of all is the same list.
        if index.most_visible() <= k && !task.record {
            return None;
        }
        Some(tch::no_grad(|| select(&indexed.query, &indexed.keys, index, k)))
    }
}

impl Forward {
    fn empty() -> Self {
        let (selections, experts, load, coverage) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { hidden: Tensor::new(), selections, experts, load, indexer_loss: None, coverage }
    }

    fn take(&mut self, selection: Selection, loss: Option<(Tensor, Coverage)>) {
        self.selections.extend(selection);
        if let Some((loss, coverage)) = loss {
            self.coverage.push(coverage);
            self.indexer_loss = Some(match self.indexer_loss.take() {
                Some(sum) => sum + loss,
                None => loss,
            });
        }
    }
}

/// Puts this call's keys where they belong and answers with the matrices that the index's slots point into.
fn store(
    keys: &mut Keys<'_>,
    layer: usize,
    new: Tensor,
    new_index: Option<Tensor>,
    index: &KeyIndex,
) -> (Tensor, Option<Tensor>) {
    let Keys::Cached(cache) = keys else { return (new, new_index) };
    let slots: Vec<i64> =
        (0..index.rows()).map(|row| i64::from(*index.visible(row).last().expect("a row sees itself"))).collect();
    let slots = Tensor::from_slice(&slots);
    let pool = &mut cache.keys[layer];
    let _ = pool.index_copy_(0, &slots, &new.to_device(Device::Cpu));
    let all = pool.shallow_clone();
    let all_index = new_index.map(|new_index| {
        let pool = &mut cache.index_keys[layer];
        let _ = pool.index_copy_(0, &slots, &new_index.to_device(Device::Cpu));
        pool.shallow_clone()
    });
    (all, all_index)
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
