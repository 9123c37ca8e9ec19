//! `[stages.routing]`: what becomes of the experts of a mixture in a stage.

use serde::{Deserialize, Serialize};

use super::Kind;

/// DeepSeek-V3's rate (arXiv:2412.19437, §4.2).
const PRETRAINING_RATE: f64 = 0.001;

/// `[stages.routing]`. A model without experts takes no notice of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingSettings {
    /// In stages that sample: the learner sends each token to the experts that the sampler sent it to, and weighs them by its own gate
    /// (Keep Routing; DeepSeek-V3.2, arXiv:2512.02556, §3.1).
    pub replay: bool,
    /// `γ`: after each step the selection bias of every expert moves by so much toward the mean load (DeepSeek-V3, §2.1.2). `None` until
    /// resolved: 0.001 in `pretrain`, 0 elsewhere, since the bias of a trained model is part of what it has learned. Where a stage trains
    /// adapters it stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<f64>,
}

impl Default for RoutingSettings {
    fn default() -> Self {
        Self { replay: true, balance: None }
    }
}

impl RoutingSettings {
    /// Fills in what follows from the kind of stage, and from whether it trains adapters alone.
    pub(super) fn complete(&mut self, kind: Kind, adapts: bool) {
        let moves = kind == Kind::Pretrain && !adapts;
        self.balance.get_or_insert(if moves { PRETRAINING_RATE } else { 0.0 });
    }

    /// `γ`.
    pub fn balance(&self) -> f64 {
        self.balance.unwrap_or(0.0)
    }
}
