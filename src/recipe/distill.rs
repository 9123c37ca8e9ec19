//! `[stages.distill]`: from specialists to one model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `[stages.distill]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Distill {
    /// `distill`: the divergence between student and teacher, exact over the vocabulary.
    pub loss: DistillLoss,
    /// `distill` with `jsd`: weight of the teacher in the mixture, in (0, 1) (GKD, arXiv:2306.13649).
    pub jsd_beta: f64,
    /// `distill`: factor of the verifiers' policy gradient that is added; 0: the teacher alone.
    pub reward_coefficient: f64,
    /// `distill`: prompts a step.
    pub prompts: usize,
    /// `distill`: completions a prompt.
    pub group: usize,
    /// `distill-sft`: verified traces to gather a domain.
    pub traces: usize,
    /// `distill-sft`: completions to sample for a prompt before it is given up.
    pub max_attempts: usize,
    /// The stage whose checkpoint teaches each domain.
    pub teachers: BTreeMap<String, String>,
}

impl Default for Distill {
    fn default() -> Self {
        Self {
            loss: DistillLoss::Reverse,
            jsd_beta: 0.5,
            reward_coefficient: 0.0,
            prompts: 16,
            group: 4,
            traces: 500,
            max_attempts: 4,
            teachers: BTreeMap::new(),
        }
    }
}

/// A divergence between the student's and the teacher's distribution of the next token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DistillLoss {
    /// KL(student ‖ teacher).
    #[default]
    Reverse,
    /// KL(teacher ‖ student).
    Forward,
    /// The generalised Jensen–Shannon divergence with weight `jsd_beta`.
    Jsd,
}
