//! The model: parameters with their shape, and the one forward over rows (INV-1).
//!
//! Prefill, decode, teacher, reference and learner all call [`Model::forward`]; they differ in where the keys live and in what is asked
//! of the indexer, never in the arithmetic of a row.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use crate::cache::PagedCache;
use crate::config::{LATENT_NORM_EPS, ModelConfig};
use crate::doctor::ProductShape;
use crate::kernels::attention::{Selection, attention};
use crate::kernels::indexer::{IndexerQuery, select};
use crate::kernels::indexer_loss::{Coverage, Target, indexer_loss};
use crate::kernels::norm::{layer_norm, rms_norm};
use crate::kernels::rotary::{Angles, Layout, rotate};
use crate::kernels::swiglu::swiglu;
use crate::params::Params;
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
}

impl Task {
    /// Attention as the model was made for: sparse where it has an indexer.
    pub fn plain(model: &Model) -> Self {
        let attend = if model.config.indexer.is_some() { Attend::Sparse } else { Attend::Dense };
        Self { attend, indexer_weight: None, record: false }
    }

    /// Attention to all visible keys.
    pub fn dense() -> Self {
        Self { attend: Attend::Dense, indexer_weight: None, record: false }
    }
}

/// What a forward computed.
#[derive(Debug)]
pub struct Forward {
    /// `[rows, hidden]` after the final norm.
    pub hidden: Tensor,
    /// For each layer `[rows, k]` i32, where they were asked for.
    pub selections: Vec<Tensor>,
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
    /// Products with the safe number of rows.
    pub products: Products,
    layers: Vec<Layer>,
    rope: RopeTable,
    device: Device,
}

#[derive(Debug)]
struct Layer {
    input_norm: Tensor,
    query: Query,
    kv_a: Tensor,
    kv_a_norm: Tensor,
    kv_b: Tensor,
    o: Tensor,
    indexer: Option<Indexer>,
    post_norm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

#[derive(Debug)]
enum Query {
    Direct(Tensor),
    Latent { a: Tensor, norm: Tensor, b: Tensor },
}

#[derive(Debug)]
struct Indexer {
    wq_b: Tensor,
    wk: Tensor,
    k_norm: Tensor,
    k_bias: Tensor,
    weights: Tensor,
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
    /// [`NoSafeRows`] where a product is not row-invariant on `device` at any number of rows.
    pub fn new(config: ModelConfig, params: Params, device: Device) -> Result<Self, NoSafeRows> {
        let params: Params = params.into_iter().map(|(name, p)| (name, p.to_device(device))).collect();
        let products = Products::measure(device, Kind::Float, &product_shapes(&config))?;
        let layers = (0..config.num_hidden_layers).map(|l| Layer::new(&config, &params, l)).collect();
        let rope = RopeTable::new(&config, device);
        Ok(Self { config, params, products, layers, rope, device })
    }

    /// A copy of the weights as they are now, which does not learn.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn frozen_copy(&self) -> Result<Self, NoSafeRows> {
        let params = tch::no_grad(|| self.params.iter().map(|(name, p)| (name.clone(), p.detach().copy())).collect());
        Self::new(self.config.clone(), params, self.device)
    }

    /// The same weights once more: other handles to the same storage, whose gradients are their own. A thread can take it.
    pub fn replica(&self) -> Self {
        let handle = |p: &Tensor| p.detach().set_requires_grad(p.requires_grad());
        let params: Params = self.params.iter().map(|(name, p)| (name.clone(), handle(p))).collect();
        let layers = (0..self.config.num_hidden_layers).map(|l| Layer::new(&self.config, &params, l)).collect();
        let (config, rope) = (self.config.clone(), self.rope.shallow_clone());
        Self { config, params, products: self.products, layers, rope, device: self.device }
    }

    /// Where the model lives.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Hidden states of `rows`.
    ///
    /// # Panics
    /// If a token or position lies outside the model's, or a sparse task is given to a model without an indexer: callers' bugs.
    pub fn forward(&self, rows: &Rows, mut keys: Keys<'_>, task: &Task) -> Forward {
        let index = &rows.index;
        let positions: Vec<i64> = index.position.iter().map(|&p| i64::from(p)).collect();
        let angles = self.rope.angles(&Tensor::from_slice(&positions).to_device(self.device));
        let tokens = Tensor::from_slice(&rows.tokens).to_device(self.device);
        let mut hidden = Tensor::embedding(&self.params["model.embed_tokens.weight"], &tokens, -1, false, false);
        let mut result =
            Forward { hidden: Tensor::new(), selections: Vec::new(), indexer_loss: None, coverage: Vec::new() };
        for (l, layer) in self.layers.iter().enumerate() {
            let normal = rms_norm(&hidden, &layer.input_norm, self.config.rms_norm_eps);
            let attended = self.attend(l, layer, &normal, &angles, index, &mut keys, task);
            hidden = &hidden + attended.out;
            let normal = rms_norm(&hidden, &layer.post_norm, self.config.rms_norm_eps);
            hidden = &hidden + self.feed_forward(layer, &normal);
            result.take(attended.selection.filter(|_| task.record), attended.loss);
        }
        result.hidden = rms_norm(&hidden, &self.params["model.norm.weight"], self.config.rms_norm_eps);
        result
    }

    /// Logits `[rows, vocabulary]` of hidden states.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        let head = if self.config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
        self.products.linear(hidden, &self.params[head])
    }

    fn feed_forward(&self, layer: &Layer, x: &Tensor) -> Tensor {
        let inner = swiglu(&self.products.linear(x, &layer.gate), &self.products.linear(x, &layer.up));
        self.products.linear(&inner, &layer.down)
    }

    /// MLA in its absorbed form, over the keys that the task selects.
    fn attend(
        &self,
        number: usize,
        layer: &Layer,
        x: &Tensor,
        angles: &Angles,
        index: &Arc<KeyIndex>,
        keys: &mut Keys<'_>,
        task: &Task,
    ) -> LayerOut {
        let c = &self.config;
        let (rows, heads) = (x.size()[0], c.num_attention_heads);
        let (query_latent, q) = self.queries(layer, x);
        let q = q.view([rows, heads, c.qk_head_dim()]);
        let kv_b = layer.kv_b.view([heads, c.qk_nope_head_dim + c.v_head_dim, c.kv_lora_rank]);
        let absorbed =
            self.products.per_head(&q.narrow(2, 0, c.qk_nope_head_dim), &kv_b.narrow(1, 0, c.qk_nope_head_dim));
        let turned = rotate(&q.narrow(2, c.qk_nope_head_dim, c.qk_rope_head_dim), angles, Layout::Interleaved);
        let q = Tensor::cat(&[absorbed, turned], 2);
        let new_keys = self.new_keys(layer, x, angles);
        let index_query = layer.indexer.as_ref().map(|i| self.index_query(i, x, query_latent.as_ref(), angles));
        let new_index_keys = layer.indexer.as_ref().map(|i| self.index_keys(i, x, angles));
        let (all_keys, all_index_keys) = store(keys, number, new_keys, new_index_keys, index);

        let selection = self.selection(number, index_query.as_ref(), all_index_keys.as_ref(), index, task);
        let attended = attention(&q, &all_keys, c.kv_lora_rank, index, &selection, c.softmax_scale());
        let values = kv_b.narrow(1, c.qk_nope_head_dim, c.v_head_dim).transpose(1, 2);
        let mixed = self.products.per_head(&attended.out, &values).reshape([rows, heads * c.v_head_dim]);
        let out = self.products.linear(&mixed, &layer.o);

        let loss = task.indexer_weight.as_ref().map(|weight| {
            let target = Target { q: q.detach(), keys: all_keys.detach(), lse: attended.lse, scale: c.softmax_scale() };
            let (Some(query), Some(index_keys), Some(indexer)) = (&index_query, &all_index_keys, &c.indexer) else {
                panic!("a model without an indexer has no indexer loss");
            };
            indexer_loss(query, index_keys, &target, index, &selection, weight, indexer.top_k as usize)
        });
        LayerOut { out, selection, loss }
    }

    fn queries(&self, layer: &Layer, x: &Tensor) -> (Option<Tensor>, Tensor) {
        match &layer.query {
            Query::Direct(w) => (None, self.products.linear(x, w)),
            Query::Latent { a, norm, b } => {
                let latent = rms_norm(&self.products.linear(x, a), norm, LATENT_NORM_EPS);
                let q = self.products.linear(&latent, b);
                (Some(latent), q)
            }
        }
    }

    /// `[rows, key width]`: the normalised latent, then the rotated part.
    fn new_keys(&self, layer: &Layer, x: &Tensor, angles: &Angles) -> Tensor {
        let c = &self.config;
        let joint = self.products.linear(x, &layer.kv_a);
        let latent = rms_norm(&joint.narrow(1, 0, c.kv_lora_rank), &layer.kv_a_norm, LATENT_NORM_EPS);
        let turned =
            rotate(&joint.narrow(1, c.kv_lora_rank, c.qk_rope_head_dim).unsqueeze(1), angles, Layout::Interleaved);
        Tensor::cat(&[latent, turned.squeeze_dim(1)], 1)
    }

    /// The indexer's query side. Its inputs are detached, so its loss reaches the indexer alone.
    fn index_query(
        &self,
        indexer: &Indexer,
        x: &Tensor,
        query_latent: Option<&Tensor>,
        angles: &Angles,
    ) -> IndexerQuery {
        let shape = self.config.indexer.as_ref().expect("a layer has an indexer only if the config has one");
        let latent = query_latent.expect("the config was checked to have a query latent").detach();
        let q = self.products.linear(&latent, &indexer.wq_b).view([-1, shape.heads, shape.width]);
        let constant = ((shape.heads * shape.width) as f64).powf(-0.5);
        let w = self.products.linear(&x.detach(), &indexer.weights) * constant;
        IndexerQuery { q: rotate(&q, angles, Layout::Halves), w }
    }

    fn index_keys(&self, indexer: &Indexer, x: &Tensor, angles: &Angles) -> Tensor {
        let k = layer_norm(
            &self.products.linear(&x.detach(), &indexer.wk),
            &indexer.k_norm,
            &indexer.k_bias,
            LATENT_NORM_EPS,
        );
        rotate(&k.unsqueeze(1), angles, Layout::Halves).squeeze_dim(1)
    }

    fn selection(
        &self,
        layer: usize,
        query: Option<&IndexerQuery>,
        index_keys: Option<&Tensor>,
        index: &KeyIndex,
        task: &Task,
    ) -> Selection {
        match &task.attend {
            Attend::Dense => None,
            Attend::Replay(selections) => Some(selections[layer].shallow_clone()),
            Attend::Sparse => {
                let indexer = self.config.indexer.as_ref().expect("sparse attention needs an indexer");
                let k = indexer.top_k as usize;
                // Where every row sees at most k keys, all are selected, and the list of all is the same list.
                if index.most_visible() <= k && !task.record {
                    return None;
                }
                let (query, keys) = (query.expect("it has an indexer"), index_keys.expect("it has an indexer"));
                Some(tch::no_grad(|| select(query, keys, index, k)))
            }
        }
    }
}

impl Forward {
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

impl Layer {
    fn new(config: &ModelConfig, params: &Params, layer: i64) -> Self {
        let get = |name: &str| params[&format!("model.layers.{layer}.{name}")].shallow_clone();
        let query = match config.q_lora_rank {
            None => Query::Direct(get("self_attn.q_proj.weight")),
            Some(_) => Query::Latent {
                a: get("self_attn.q_a_proj.weight"),
                norm: get("self_attn.q_a_layernorm.weight"),
                b: get("self_attn.q_b_proj.weight"),
            },
        };
        let indexer = config.indexer.as_ref().map(|_| Indexer {
            wq_b: get("self_attn.indexer.wq_b.weight"),
            wk: get("self_attn.indexer.wk.weight"),
            k_norm: get("self_attn.indexer.k_norm.weight"),
            k_bias: get("self_attn.indexer.k_norm.bias"),
            weights: get("self_attn.indexer.weights_proj.weight"),
        });
        Self {
            input_norm: get("input_layernorm.weight"),
            query,
            kv_a: get("self_attn.kv_a_proj_with_mqa.weight"),
            kv_a_norm: get("self_attn.kv_a_layernorm.weight"),
            kv_b: get("self_attn.kv_b_proj.weight"),
            o: get("self_attn.o_proj.weight"),
            indexer,
            post_norm: get("post_attention_layernorm.weight"),
            gate: get("mlp.gate_proj.weight"),
            up: get("mlp.up_proj.weight"),
            down: get("mlp.down_proj.weight"),
        }
    }
}

/// Every distinct product of the forward.
pub fn product_shapes(config: &ModelConfig) -> Vec<ProductShape> {
    let c = config;
    let mut shapes: Vec<ProductShape> = crate::params::shapes(config)
        .into_iter()
        .filter(|(name, shape)| shape.len() == 2 && !name.contains("embed_tokens") && !name.contains("kv_b_proj"))
        .map(|(_, shape)| ProductShape { batch: 1, k: shape[1], n: shape[0] })
        .collect();
    if c.tie_word_embeddings {
        shapes.push(ProductShape { batch: 1, k: c.hidden_size, n: c.vocab_size });
    }
    shapes.push(ProductShape { batch: c.num_attention_heads, k: c.qk_nope_head_dim, n: c.kv_lora_rank });
    shapes.push(ProductShape { batch: c.num_attention_heads, k: c.kv_lora_rank, n: c.v_head_dim });
    shapes.sort();
    shapes.dedup();
    shapes
}
