//! One pass of rows through layers.
//!
//! Layers come in groups that share one indexer, mostly one layer each: nothing but hidden states goes from one group to the next.

use std::ops::Range;
use std::sync::Arc;

use tch::{Device, Tensor};

use super::feed_forward::Choice;
use super::layer::{Layer, Projected};
use super::{Attend, Keys, Task};
use crate::config::ModelConfig;
use crate::kernels::attention::{Selection, attention};
use crate::kernels::indexer::{IndexerQuery, select};
use crate::kernels::indexer_loss::{Coverage, Target, indexer_loss};
use crate::kernels::norm::rms_norm;
use crate::kernels::rotary::Angles;
use crate::products::Products;
use crate::rope::RopeTable;
use crate::rows::KeyIndex;

/// What the rows' positions do to queries and keys.
#[derive(Debug)]
pub(super) struct Turned {
    angles: Angles,
    /// `[rows]`, where queries grow with the position.
    query_scale: Option<Tensor>,
}

impl Turned {
    pub(super) fn new(rope: &RopeTable, index: &KeyIndex, device: Device) -> Self {
        let positions: Vec<i64> = index.position.iter().map(|&p| i64::from(p)).collect();
        let positions = Tensor::from_slice(&positions).to_device(device);
        Self { angles: rope.angles(&positions), query_scale: rope.query_scale(&positions) }
    }

    pub(super) fn shallow_clone(&self) -> Self {
        let Angles { cos, sin } = &self.angles;
        let angles = Angles { cos: cos.shallow_clone(), sin: sin.shallow_clone() };
        Self { angles, query_scale: self.query_scale.as_ref().map(Tensor::shallow_clone) }
    }
}

/// What all layers of a forward share.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) products: &'a Products,
    pub(super) rope: &'a Turned,
    pub(super) index: &'a Arc<KeyIndex>,
    /// As [`Task::indexer_weight`].
    pub(super) indexer_weight: Option<&'a Tensor>,
    /// As [`super::Weights::lora_scale`].
    pub(super) lora_scale: Option<f64>,
}

/// Which keys the rows of a layer attend to.
#[derive(Clone, Copy)]
pub(super) enum Choose<'a> {
    /// All visible ones.
    All,
    /// The indexer's k best; `exactly` lists them also where no row sees more than k.
    Best { exactly: bool },
    /// These.
    Given(&'a Tensor),
}

/// What is asked of one layer.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) keys: Choose<'a>,
    /// The experts to go through; `None` lets the gate choose.
    pub(super) experts: Option<&'a Tensor>,
}

impl<'a> Asked<'a> {
    /// What `task` asks of each of `layers`.
    pub(super) fn of(task: &'a Task, layers: &[Layer]) -> Vec<Self> {
        let mut experts = task.experts.as_ref().map(|experts| experts.iter());
        let keys = |layer: &Layer| match &task.attend {
            Attend::Dense => Choose::All,
            Attend::Sparse => Choose::Best { exactly: task.record },
            Attend::Replay(selections) => Choose::Given(&selections[layer.number]),
        };
        let of_layer = |layer: &Layer| {
            let given = experts.as_mut().filter(|_| layer.feed_forward.has_experts());
            let experts = given.map(|given| given.next().expect("experts for every layer that has some"));
            Self { keys: keys(layer), experts }
        };
        layers.iter().map(of_layer).collect()
    }
}

/// What one layer leaves beside its hidden states.
pub(super) struct Passed {
    pub(super) selection: Selection,
    pub(super) loss: Option<(Tensor, Coverage)>,
    pub(super) choice: Option<Choice>,
}

/// What the layer with an indexer leaves for itself and for those after it that share it.
struct Indexed {
    query: IndexerQuery,
    keys: Tensor,
    /// Once it was asked for.
    selection: Option<Selection>,
}

/// The groups of layers, in order.
pub(super) fn groups(layers: &[Layer]) -> Vec<Range<usize>> {
    let begins = |l: usize| l == 0 || layers[l].indexer.is_some() || layers[0].indexer.is_none();
    let starts: Vec<usize> = (0..layers.len()).filter(|&l| begins(l)).collect();
    let ends = starts.iter().skip(1).copied().chain([layers.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

impl Context<'_> {
    /// `hidden [rows, hidden]` through a group of layers.
    pub(super) fn pass(
        &self,
        layers: &[Layer],
        hidden: &Tensor,
        asked: &[Asked<'_>],
        keys: &mut Keys<'_>,
    ) -> (Tensor, Vec<Passed>) {
        let (mut hidden, mut indexed) = (hidden.shallow_clone(), None);
        let mut passed = Vec::with_capacity(layers.len());
        for (layer, asked) in layers.iter().zip(asked) {
            let (attended, selection, loss) = self.attend(layer, &hidden, asked.keys, keys, &mut indexed);
            hidden = &hidden + attended;
            let normal = rms_norm(&hidden, &layer.post_norm, self.config.rms_norm_eps);
            let (out, choice) = layer.feed_forward.apply(self.products, &normal, asked.experts);
            hidden = &hidden + out;
            passed.push(Passed { selection, loss, choice });
        }
        (hidden, passed)
    }

    /// Attention over the keys that are asked for, the keys, and the indexer's loss where it has a weight.
    fn attend(
        &self,
        layer: &Layer,
        hidden: &Tensor,
        choose: Choose<'_>,
        keys: &mut Keys<'_>,
        indexed: &mut Option<Indexed>,
    ) -> (Tensor, Selection, Option<(Tensor, Coverage)>) {
        let (config, products) = (self.config, self.products);
        let (scale, geometry, angles) = (config.softmax_scale(), config.geometry(layer.number), &self.rope.angles);
        let x = rms_norm(hidden, &layer.input_norm, config.rms_norm_eps);
        let Projected { q, keys: new_keys, index_input } = layer.attention.project(products, &x, angles);
        let q = match &self.rope.query_scale {
            Some(scale) => q * scale.view([-1, 1, 1]),
            None => q,
        };
        // A cache keeps the index keys of all rows, whoever asks for them later.
        let wanted =
            self.indexer_weight.is_some() || matches!(choose, Choose::Best { .. }) || matches!(keys, Keys::Cached(_));
        let indexer = layer.indexer.as_ref().filter(|_| wanted);
        let index_query = indexer.map(|i| i.query(products, &x, &index_input, angles));
        let new_index_keys = indexer.map(|i| i.keys(products, &x, angles));
        let (all_keys, all_index_keys) = store(keys, layer.number, new_keys, new_index_keys, self.index);
        if let (Some(query), Some(keys)) = (index_query, all_index_keys) {
            *indexed = Some(Indexed { query, keys, selection: None });
        }

        let selection = self.selection(choose, indexed.as_mut(), geometry.window);
        let attended = attention(&q, &all_keys, geometry, self.index, &selection, scale);
        let out = layer.attention.output(products, &attended.out);
        let loss = self.indexer_weight.map(|weight| {
            let target = Target { q: q.detach(), keys: all_keys.detach(), geometry, lse: attended.lse, scale };
            let (Some(Indexed { query, keys, .. }), Some(indexer)) = (indexed, &config.indexer) else {
                panic!("a model without an indexer has no indexer loss");
            };
            indexer_loss(query, keys, &target, self.index, &selection, weight, indexer.top_k as usize)
        });
        (out, selection, loss)
    }

    /// The layers of a group see the same keys, so one's selection is all of theirs.
    fn selection(&self, choose: Choose<'_>, indexed: Option<&mut Indexed>, window: Option<usize>) -> Selection {
        match choose {
            Choose::All => None,
            Choose::Given(selection) => Some(selection.shallow_clone()),
            Choose::Best { exactly } => {
                let indexed = indexed.expect("sparse attention needs an indexer");
                let chosen = match indexed.selection.take() {
                    Some(shared) => shared,
                    None => self.select(indexed, window, exactly),
                };
                indexed.selection = Some(chosen.as_ref().map(Tensor::shallow_clone));
                chosen
            }
        }
    }

    fn select(&self, indexed: &Indexed, window: Option<usize>, exactly: bool) -> Selection {
        let k = self.config.indexer.as_ref().expect("a layer has an indexer only if the config has one").top_k as usize;
        // Where every row sees at most k keys, all are selected, and the list of all is the same list.
        let most = self.index.most_visible().min(window.unwrap_or(usize::MAX));
        if most <= k && !exactly {
            return None;
        }
        Some(tch::no_grad(|| select(&indexed.query, &indexed.keys, self.index, window, k)))
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
    let pool = &mut cache.keys[layer];
    let slots = index.own_slots(pool.device());
    let _ = pool.index_copy_(0, &slots, &new.to_device(pool.device()));
    let all = pool.shallow_clone();
    let all_index = new_index.map(|new_index| {
        let pool = &mut cache.index_keys[layer];
        let _ = pool.index_copy_(0, &slots, &new_index.to_device(pool.device()));
        pool.shallow_clone()
    });
    (all, all_index)
}
