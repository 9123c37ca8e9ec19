//! What follows attention in a layer: one SwiGLU network, or a choice of them (a mixture of experts).

use tch::{Device, Tensor};

use super::Weights;
use super::linear::Linear;
use crate::config::{Experts as ExpertsConfig, Gate, ModelConfig, Scores};
use crate::kernels::experts::{Plan, combine, dispatch};
use crate::kernels::routing::{Routed, route};
use crate::kernels::swiglu::swiglu;
use crate::params::Shapes;
use crate::products::Products;

/// What a layer's experts were given in one forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The layer.
    pub layer: usize,
    /// Rows of each expert.
    pub rows: Vec<u64>,
    /// Rows whose experts were given and are not those that the gate would choose.
    pub changed: u64,
}

/// What a layer's gate chose.
pub(super) struct Choice {
    /// `[rows, k]` i32, ascending.
    pub(super) experts: Tensor,
    /// Rows of each expert.
    pub(super) rows: Vec<u64>,
    /// As [`Load::changed`].
    pub(super) changed: u64,
}

/// One layer's feed-forward.
#[derive(Debug)]
pub(super) enum FeedForward {
    Dense(SwiGlu),
    Experts(Experts),
}

/// `down(silu(gate x) · up x)`.
#[derive(Debug)]
pub(super) struct SwiGlu {
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// Experts, of which every row goes through the ones that the gate chooses for it, and the one that all rows go through.
#[derive(Debug)]
pub(super) struct Experts {
    rule: Gate,
    gate: Tensor,
    /// Added to the scores where experts are chosen, and not where they are weighted.
    bias: Option<Tensor>,
    experts: Vec<SwiGlu>,
    shared: Option<SwiGlu>,
}

impl FeedForward {
    pub(super) fn new(config: &ModelConfig, layer: i64, weights: &Weights<'_>) -> Self {
        match config.experts_of(layer) {
            Some(experts) => Self::Experts(Experts::new(experts, weights)),
            None => Self::Dense(SwiGlu::new(weights, "mlp", config.feed_forward_bias)),
        }
    }

    pub(super) fn shapes(config: &ModelConfig, layer: i64, shapes: &mut Shapes<'_>) {
        match config.experts_of(layer) {
            Some(experts) => Experts::shapes(experts, config.hidden_size, shapes),
            None => {
                let (inner, bias) = (config.intermediate_size, config.feed_forward_bias);
                SwiGlu::shapes(shapes, "mlp", inner, config.hidden_size, bias);
            }
        }
    }

    pub(super) fn has_experts(&self) -> bool {
        matches!(self, Self::Experts(_))
    }

    /// The result, and which experts the rows went through. `replay` gives the choice.
    pub(super) fn apply(&self, products: &Products, x: &Tensor, replay: Option<&Tensor>) -> (Tensor, Option<Choice>) {
        match self {
            Self::Dense(network) => (network.apply(products, x), None),
            Self::Experts(experts) => {
                let (out, chosen) = experts.apply(products, x, replay);
                (out, Some(chosen))
            }
        }
    }
}

impl SwiGlu {
    fn new(weights: &Weights<'_>, name: &str, bias: bool) -> Self {
        let part = |part: &str| Linear::new(weights, &format!("{name}.{part}_proj"), bias);
        Self { gate: part("gate"), up: part("up"), down: part("down") }
    }

    fn shapes(shapes: &mut Shapes<'_>, name: &str, inner: i64, hidden: i64, bias: bool) {
        Linear::shapes(shapes, &format!("{name}.gate_proj"), inner, hidden, bias);
        Linear::shapes(shapes, &format!("{name}.up_proj"), inner, hidden, bias);
        Linear::shapes(shapes, &format!("{name}.down_proj"), hidden, inner, bias);
    }

    fn apply(&self, products: &Products, x: &Tensor) -> Tensor {
        let inner = swiglu(&self.gate.apply(products, x), &self.up.apply(products, x));
        self.down.apply(products, &inner)
    }
}

impl Experts {
    fn new(c: &ExpertsConfig, weights: &Weights<'_>) -> Self {
        let biased = c.gate.scores == Scores::BiasedSigmoid;
        Self {
            rule: c.gate.clone(),
            gate: weights.get("mlp.gate.weight"),
            bias: biased.then(|| weights.get("mlp.gate.e_score_correction_bias")),
            experts: (0..c.count).map(|e| SwiGlu::new(weights, &format!("mlp.experts.{e}"), false)).collect(),
            shared: (c.shared_width > 0).then(|| SwiGlu::new(weights, "mlp.shared_experts", false)),
        }
    }

    fn shapes(c: &ExpertsConfig, hidden: i64, shapes: &mut Shapes<'_>) {
        shapes.add("mlp.gate.weight", &[c.count, hidden]);
        if c.gate.scores == Scores::BiasedSigmoid {
            shapes.add("mlp.gate.e_score_correction_bias", &[c.count]);
        }
        for e in 0..c.count {
            SwiGlu::shapes(shapes, &format!("mlp.experts.{e}"), c.width, hidden, false);
        }
        if c.shared_width > 0 {
            SwiGlu::shapes(shapes, "mlp.shared_experts", c.shared_width, hidden, false);
        }
    }

    /// Rows are laid out expert by expert, so that each expert sees its rows as one matrix. What a row gets from an expert does not
    /// depend on how many rows the expert has (INV-2: [`Products`]), and a row adds its experts up in their own order.
    fn apply(&self, products: &Products, x: &Tensor, replay: Option<&Tensor>) -> (Tensor, Choice) {
        let logits = products.precise(x, &self.gate);
        let Routed { chosen, weights, changed } = route(&logits, self.bias.as_ref(), &self.rule, replay);
        let plan = Plan::new(&chosen, self.rule.top_k as usize, self.experts.len());
        let given = dispatch(x, &plan).split_with_sizes(plan.sizes(), 0);
        let parts = plan.used().zip(&given).map(|(e, rows)| self.experts[e].apply(products, rows));
        let mixed = combine(&Tensor::cat(&parts.collect::<Vec<_>>(), 0), &weights, &plan);
        let out = match &self.shared {
            Some(shared) => mixed + shared.apply(products, x),
            None => mixed,
        };
        let experts = chosen_tensor(&chosen, self.rule.top_k);
        (out, Choice { experts, rows: plan.load(self.experts.len()), changed })
    }
}

fn chosen_tensor(chosen: &[i32], k: i64) -> Tensor {
    Tensor::from_slice(chosen).view([-1, k]).to_device(Device::Cpu)
}
