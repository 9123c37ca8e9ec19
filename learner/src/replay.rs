//! Replaying what the sampler did: the learner's log-probability of every sampled token, and how far it is from the recorded one.
//!
//! Where both ran the same weights the difference is exactly 0 (INV-1, INV-2, INV-5), and [`Exactness`] is the proof of each run.

use data::{Author, Trajectory};
use policy::{Forward, Keys, Model, Task};
use tch::{Device, Tensor};

use crate::unit::{Unit, cut};

/// The largest difference seen, over how many tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Exactness {
    /// Largest |learner's − sampler's| log-probability.
    pub max_abs_logprob_diff: f64,
    /// Tokens compared.
    pub tokens_compared: u64,
}

impl Exactness {
    /// Compares two lists of log-probabilities of the same tokens. A NaN on either side counts as infinitely far.
    pub fn compare(learner: &[f32], sampler: &[f32]) -> Self {
        assert_eq!(learner.len(), sampler.len(), "one log-probability a token on both sides");
        let difference = |(a, b): (&f32, &f32)| {
            let d = f64::from(*a) - f64::from(*b);
            if d.is_nan() { f64::INFINITY } else { d.abs() }
        };
        let max_abs_logprob_diff = learner.iter().zip(sampler).map(difference).fold(0.0, f64::max);
        Self { max_abs_logprob_diff, tokens_compared: learner.len() as u64 }
    }

    /// Compares the tokens that the weights of `version` sampled: `learner` holds the log-probabilities that they give all of the
    /// trajectories' trained tokens.
    pub fn of_version(version: u64, trajectories: &[&Trajectory], learner: &[f32]) -> Self {
        let sampled = recorded(trajectories);
        let versions = of_own_tokens(trajectories, |t| &t.versions);
        let ours = versions.into_iter().zip(learner.iter().zip(&sampled)).filter(|(v, _)| *v == version);
        let (learner, sampled): (Vec<f32>, Vec<f32>) = ours.map(|(_, (l, s))| (*l, *s)).unzip();
        Self::compare(&learner, &sampled)
    }

    /// Adds another comparison.
    pub fn add(&mut self, other: Self) {
        self.max_abs_logprob_diff = self.max_abs_logprob_diff.max(other.max_abs_logprob_diff);
        self.tokens_compared += other.tokens_compared;
    }
}

/// The sampler's log-probabilities of the trained tokens of `trajectories`, in the order of a unit's trained rows.
pub fn recorded(trajectories: &[&Trajectory]) -> Vec<f32> {
    of_own_tokens(trajectories, |t| &t.logprobs)
}

/// What `column` holds for the policy's own tokens, one entry a completion token.
fn of_own_tokens<T: Copy>(trajectories: &[&Trajectory], column: impl Fn(&Trajectory) -> &[T]) -> Vec<T> {
    let own = |t: &Trajectory, i: &usize| t.authors[t.prompt_len + i] == Author::Policy;
    trajectories.iter().flat_map(|t| (0..t.completion_len()).filter(|i| own(t, i)).map(|i| column(t)[i])).collect()
}

/// Log-probabilities `[trained rows]` of a unit, with history where the model's parameters ask for it.
pub fn unit_log_probs(model: &Model, unit: &Unit, task: &Task) -> Tensor {
    picked_log_probs(model, unit, &model.forward(&unit.rows, Keys::Fresh, task)).0
}

/// Log-probabilities and entropies of the trained rows of a forward: [`Model::log_probs`].
pub(crate) fn picked_log_probs(model: &Model, unit: &Unit, forward: &Forward) -> (Tensor, Tensor) {
    model.log_probs(&forward.hidden.index_select(0, &unit.picked_on(model.device())), &unit.targets)
}

/// Recomputes the tokens of `trajectories` that `model`, the weights of `version`, sampled, and compares them. What lies one after the other
/// and has one prompt has its prompt computed once.
pub fn check(
    model: &Model,
    version: u64,
    trajectories: &[&Trajectory],
    inverse_temperature: f32,
    unit_tokens: usize,
) -> Exactness {
    let mut exactness = Exactness::default();
    let ours = |t: &Trajectory, i: usize| t.versions[i] == version && t.authors[t.prompt_len + i] == Author::Policy;
    let lengths: Vec<usize> = trajectories.iter().map(|t| t.tokens.len()).collect();
    for range in cut(&lengths, unit_tokens) {
        let part = &trajectories[range];
        let unit = Unit::sharing_prompts(part, inverse_temperature, ours);
        if unit.picked.is_empty() {
            continue;
        }
        let learner = tch::no_grad(|| unit_log_probs(model, &unit, &Task::plain(model)));
        let sampled = part.iter().flat_map(|t| (0..t.completion_len()).filter(|&i| ours(t, i)).map(|i| t.logprobs[i]));
        exactness.add(Exactness::compare(&to_host(&learner), &sampled.collect::<Vec<f32>>()));
    }
    exactness
}

/// The learner's log-probabilities under `model` of the policy's own tokens, one list a trajectory.
pub fn log_probs(
    model: &Model,
    trajectories: &[&Trajectory],
    inverse_temperature: f32,
    unit_tokens: usize,
) -> Vec<Vec<f32>> {
    let lengths: Vec<usize> = trajectories.iter().map(|t| t.tokens.len()).collect();
    let mut all = Vec::with_capacity(trajectories.len());
    for range in cut(&lengths, unit_tokens) {
        let unit = Unit::of_trajectories(&trajectories[range], inverse_temperature);
        let found = to_host(&tch::no_grad(|| unit_log_probs(model, &unit, &Task::plain(model))));
        all.extend(unit.layout.ranges().map(|range| found[range].to_vec()));
    }
    all
}

/// A vector on the host.
pub(crate) fn to_host(values: &Tensor) -> Vec<f32> {
    Vec::<f32>::try_from(values.detach().to_device(Device::Cpu)).expect("a vector of f32")
}

/// An integer tensor's elements on the host, row by row.
pub(crate) fn ints(values: &Tensor) -> Vec<i32> {
    Vec::<i32>::try_from(values.detach().to_device(Device::Cpu).flatten(0, -1)).expect("a tensor of i32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_one_bit_and_a_nan_are_seen() {
        let a = 0.1f32;
        let next = f32::from_bits(a.to_bits() + 1);
        assert_eq!(Exactness::compare(&[a], &[a]), Exactness { max_abs_logprob_diff: 0.0, tokens_compared: 1 });
        assert!(Exactness::compare(&[a], &[next]).max_abs_logprob_diff > 0.0);
        assert_eq!(Exactness::compare(&[f32::NAN], &[a]).max_abs_logprob_diff, f64::INFINITY);
    }
}
