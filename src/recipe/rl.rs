//! `[stages.rl]`: GRPO with the stabilisers of DeepSeek-V3.2.

use serde::{Deserialize, Serialize};

use super::Device;

/// `[stages.rl]`.
///
/// Sources: GRPO, arXiv:2402.03300; asymmetric clipping, dynamic sampling and overlong filtering, DAPO,
/// arXiv:2503.14476; unbiased KL and off-policy sequence masking, DeepSeek-V3.2, arXiv:2512.02556, equations 7 and 9.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rl {
    /// Prompts (groups) a batch.
    pub prompts: usize,
    /// Completions a prompt.
    pub group: usize,
    /// Most weights versions between the sampling of a token and the step that learns from it. 0: a step's groups are sampled by the
    /// weights that learn from them; above, sampling runs ahead and groups are in flight over several steps.
    pub max_staleness: u64,
    /// Whether counts alone or also the clock decide which samples make a step, where sampling runs ahead.
    pub schedule: RlSchedule,
    /// What becomes of the keys and values of samples in flight when the weights change.
    pub on_swap: OnSwap,
    /// Groups that are sampled at once, token by token in step with one another, where sampling runs ahead; 0: as many as `prompts`. The
    /// cache holds so many; and they decide the result, which `sampling.batch` does not.
    pub in_flight: usize,
    /// Steps of the sampler that stand beside one of the learner, with the weights before it.
    pub overlap: usize,
    /// Where the sampler runs; `auto`: where the learner does, in turns.
    pub sampler_device: Device,
    /// Optimizer steps over one batch of samples.
    pub mini_steps: usize,
    /// The ratio of probabilities is clipped below at `1 − clip_low`.
    pub clip_low: f64,
    /// The ratio of probabilities is clipped above at `1 + clip_high`.
    pub clip_high: f64,
    /// For a negative advantage the loss is bounded at this ratio, above 1; 0: not bounded.
    pub dual_clip: f64,
    /// What token losses are divided by.
    pub aggregation: Aggregation,
    /// Whether advantages are divided by the group's standard deviation.
    pub normalize_std: bool,
    /// A sequence with a negative advantage leaves the loss when its mean `ln(π_old / π_θ)` exceeds this; 0: never.
    pub off_policy_delta: f64,
    /// Which estimate of the KL toward the reference policy; its strength is `kl_beta` of the domain.
    pub kl: KlEstimator,
    /// Batches after which the reference policy is set to the current one; 0: it stays where the stage started.
    pub reference_every: u64,
    /// Whether groups whose rewards are all equal are replaced by new ones, since they carry no gradient.
    pub dynamic_sampling: bool,
    /// Rounds of replacement a batch may take; after them the batch is trained as it is.
    pub max_refill: usize,
    /// Whether completions that hit the length limit leave the loss.
    pub overlong_filter: bool,
    /// The run stops when a greater share of a batch's verdicts than this are errors.
    pub max_error_share: f64,
}

impl Default for Rl {
    fn default() -> Self {
        Self {
            prompts: 16,
            group: 8,
            max_staleness: 0,
            schedule: RlSchedule::default(),
            on_swap: OnSwap::default(),
            in_flight: 0,
            overlap: 0,
            sampler_device: Device::Auto,
            mini_steps: 1,
            clip_low: 0.2,
            clip_high: 0.28,
            dual_clip: 0.0,
            aggregation: Aggregation::SequenceMean,
            normalize_std: false,
            off_policy_delta: 0.0,
            kl: KlEstimator::Unbiased,
            reference_every: 0,
            dynamic_sampling: true,
            max_refill: 4,
            overlong_filter: false,
            max_error_share: 0.5,
        }
    }
}

/// What decides which samples make a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RlSchedule {
    /// Counts: two runs are equal to the byte.
    #[default]
    Logical,
    /// Whose verdicts are there first. What was decided is logged, so that a resumed run decides the same.
    Timed,
}

/// What becomes of cached keys and values when the weights change under a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSwap {
    /// They are computed anew, so that each token is sampled by one version alone and can be recomputed to the bit.
    #[default]
    Recompute,
    /// They stay. This saves the work; what was sampled then comes from two versions at once.
    Keep,
}

/// What token losses are divided by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// By the length of their sequence, then by the number of sequences (GRPO, DeepSeek-V3.2).
    #[default]
    SequenceMean,
    /// By the number of trained tokens in the batch (DAPO).
    TokenMean,
    /// By `max_new_tokens` times the number of sequences (Dr. GRPO, arXiv:2503.20783).
    Constant,
}

/// Estimates of KL(π_θ ‖ π_ref) from the sampled token, with `x = π_ref / π_θ` (Schulman, "Approximating KL
/// Divergence").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KlEstimator {
    /// `(π_θ / π_old) · (x − 1 − ln x)`: unbiased in its gradient too (DeepSeek-V3.2, equation 7).
    #[default]
    Unbiased,
    /// `−ln x`.
    K1,
    /// `½ (ln x)²`.
    K2,
    /// `x − 1 − ln x`.
    K3,
}
