//! Layers whose activations are not kept: their backward computes them again (Chen et al., arXiv 1604.06174).
//!
//! Of a group of layers the hidden states that go in are kept, with what was chosen on the way: the selected keys and the experts. The
//! backward runs the same layers on them once more, with the choices given, and takes the gradients of that. Nothing in a layer is
//! random and no row depends on another's bits, so the second pass is the first to the bit; and within a group sums run in the order in
//! which they would have run, so gradients are to the bit those of layers that keep everything.

use std::ops::Range;
use std::sync::Arc;

use native::custom_op;
use tch::Tensor;

use super::Keys;
use super::layer::Layer;
use super::pass::{Asked, Choose, Context, Passed, Turned};
use crate::config::ModelConfig;
use crate::params::{Params, is_indexer};
use crate::products::Products;
use crate::rows::KeyIndex;

/// All that a group's second pass is made of.
struct Kept {
    config: ModelConfig,
    products: Products,
    rope: Turned,
    index: Arc<KeyIndex>,
    indexer_weight: Option<Tensor>,
    lora_scale: Option<f64>,
    layers: Range<usize>,
    params: Params,
    hidden: Tensor,
    choices: Vec<Given>,
    /// Whether the group's hidden states, and its losses, have a gradient to give.
    learns: Learns,
}

/// What a layer chose in the first pass.
struct Given {
    keys: Option<Tensor>,
    experts: Option<Tensor>,
}

/// What of a group's results depends on something that learns. The indexer's inputs are detached and so is its loss' target, so hidden states
/// depend on all but the indexer, and losses on the indexer alone.
#[derive(Clone, Copy)]
struct Learns {
    hidden: bool,
    losses: bool,
}

/// As [`Context::pass`] over fresh keys. `params` are those of these layers.
pub(super) fn pass(
    context: &Context<'_>,
    layers: &[Layer],
    params: Params,
    hidden: &Tensor,
    asked: &[Asked<'_>],
) -> (Tensor, Vec<Passed>) {
    let (out, mut passed) = tch::no_grad(|| context.pass(layers, hidden, asked, &mut Keys::Fresh));
    let any = |indexer: bool| params.iter().any(|(name, p)| is_indexer(name) == indexer && p.requires_grad());
    let learns =
        Learns { hidden: hidden.requires_grad() || any(false), losses: context.indexer_weight.is_some() && any(true) };
    let kept = Kept {
        config: context.config.clone(),
        products: context.products.clone(),
        rope: context.rope.shallow_clone(),
        index: Arc::clone(context.index),
        indexer_weight: context.indexer_weight.map(Tensor::shallow_clone),
        lora_scale: context.lora_scale,
        layers: layers[0].number..layers[0].number + layers.len(),
        params: params.iter().map(|(name, p)| (name.clone(), p.shallow_clone())).collect(),
        hidden: hidden.detach().set_requires_grad(hidden.requires_grad()),
        choices: passed.iter().map(Given::of).collect(),
        learns,
    };
    let inputs: Vec<&Tensor> = [hidden].into_iter().chain(params.values()).collect();
    let losses = passed.iter().flat_map(|passed| &passed.loss).map(|(loss, _)| loss.shallow_clone());
    let attached = learns.pick(out.shallow_clone(), losses.collect());
    let mut attached = custom_op(&inputs, attached, move |grads| kept.backward(grads)).into_iter();
    let out = if learns.hidden { attached.next().expect("hidden states come first") } else { out };
    let losses = passed.iter_mut().filter_map(|passed| passed.loss.as_mut());
    losses.zip(attached).for_each(|((loss, _), attached)| *loss = attached);
    (out, passed)
}

impl Given {
    fn of(passed: &Passed) -> Self {
        Self {
            keys: passed.selection.as_ref().map(Tensor::shallow_clone),
            experts: passed.choice.as_ref().map(|choice| choice.experts.shallow_clone()),
        }
    }

    fn asked(&self) -> Asked<'_> {
        Asked { keys: self.keys.as_ref().map_or(Choose::All, Choose::Given), experts: self.experts.as_ref() }
    }
}

impl Learns {
    /// Those of a group's results that have a gradient to give.
    fn pick(self, hidden: Tensor, losses: Vec<Tensor>) -> Vec<Tensor> {
        let hidden = self.hidden.then_some(hidden).into_iter();
        hidden.chain(losses.into_iter().filter(|_| self.losses)).collect()
    }
}

impl Kept {
    /// Gradients of the hidden states and of each parameter, given those of what [`Learns::pick`] picked.
    fn backward(self, grads: &[Option<Tensor>]) -> Vec<Option<Tensor>> {
        let leaf = |p: &Tensor| p.detach().set_requires_grad(p.requires_grad());
        let params: Params = self.params.iter().map(|(name, p)| (name.clone(), leaf(p))).collect();
        let layers: Vec<Layer> =
            self.layers.map(|l| Layer::new(&self.config, &params, self.lora_scale, l as i64)).collect();
        let asked: Vec<Asked<'_>> = self.choices.iter().map(Given::asked).collect();
        let context = Context {
            config: &self.config,
            products: &self.products,
            rope: &self.rope,
            index: &self.index,
            indexer_weight: self.indexer_weight.as_ref(),
            lora_scale: self.lora_scale,
        };
        let inputs: Vec<&Tensor> = [&self.hidden].into_iter().chain(params.values()).collect();
        let learning: Vec<&Tensor> = inputs.iter().copied().filter(|input| input.requires_grad()).collect();
        let found = tch::with_grad(|| {
            let (out, passed) = context.pass(&layers, &self.hidden, &asked, &mut Keys::Fresh);
            let losses = passed.into_iter().filter_map(|passed| passed.loss.map(|(loss, _)| loss));
            let results = self.learns.pick(out, losses.collect());
            // The product with a result's gradient and its sum hand on exactly that gradient.
            let terms = results.iter().zip(grads).filter_map(|(result, grad)| {
                let grad = grad.as_ref()?;
                Some((result * grad).sum(result.kind()))
            });
            let sum = terms.reduce(|sum, term| sum + term)?;
            Some(Tensor::run_backward(&[sum], &learning, false, false))
        });
        let mut found = found.unwrap_or_default().into_iter();
        let of_input = |input: &Tensor| {
            let gradient = input.requires_grad().then(|| found.next()).flatten();
            gradient.filter(Tensor::defined)
        };
        inputs.into_iter().map(of_input).collect()
    }
}
