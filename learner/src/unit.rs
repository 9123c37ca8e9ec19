//! A unit of work: a few whole sequences, packed, with the rows that are trained.
//!
//! Row `t` of a sequence is fed token `t` and predicts token `t + 1`, so a sequence of `n` tokens has `n − 1` rows. Units are cut by
//! length alone, so what a unit holds does not depend on workers or threads (INV-7).

use data::{Author, Trajectory, pack_units};
use policy::kernels::log_prob::Targets;
use policy::{Attend, Rows};
use std::sync::Arc;
use tch::{Device, Tensor};

use crate::losses;

/// Sequences a unit may hold at most; more would only make its bookkeeping longer.
const MOST_SEQUENCES: usize = 256;

/// One sequence to learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// For each token whether its prediction is trained. The first token is predicted by nothing.
    pub trained: Vec<bool>,
}

impl Sequence {
    /// A prompt that is given and an answer that is learned.
    pub fn answered(prompt: &[u32], answer: &[u32]) -> Self {
        let tokens: Vec<u32> = prompt.iter().chain(answer).copied().collect();
        let mut trained = vec![false; prompt.len()];
        trained.resize(tokens.len(), true);
        Self { tokens, trained }
    }

    /// Text that is learned from its second token on.
    pub fn text(tokens: Vec<u32>) -> Self {
        let trained = vec![true; tokens.len()];
        Self { tokens, trained }
    }
}

/// Packed sequences and their trained rows.
#[derive(Debug, Clone)]
pub struct Unit {
    /// What the forward is given.
    pub rows: Rows,
    /// The trained rows among them.
    pub picked: Vec<i64>,
    /// The token that each trained row predicts, with its kept set.
    pub targets: Arc<Targets>,
    /// The trained rows by sequence, for the losses' weights: every row here is trained.
    pub layout: losses::Rows,
}

impl Unit {
    /// A unit of plain sequences, at temperature 1 over the whole vocabulary.
    pub fn of_sequences(sequences: &[Sequence]) -> Self {
        let mut builder = Builder::default();
        for sequence in sequences {
            builder.push(&sequence.tokens, |t| sequence.trained[t]);
        }
        builder.finish(
            Targets { inverse_temperature: 1.0, ..Targets::default() },
            sequences.iter().map(|s| s.tokens.as_slice()),
        )
    }

    /// A unit of trajectories: the policy's own tokens are trained, over the kept sets that the sampler recorded (INV-5).
    pub fn of_trajectories(trajectories: &[&Trajectory], inverse_temperature: f32) -> Self {
        let mut builder = Builder::default();
        let mut targets = Targets { inverse_temperature, ..Targets::default() };
        let cut = trajectories.iter().any(|t| !t.kept.is_full());
        for trajectory in trajectories {
            builder.push(&trajectory.tokens, |t| trajectory.authors[t] == Author::Policy);
            for i in (0..trajectory.completion_len())
                .filter(|i| trajectory.authors[trajectory.prompt_len + i] == Author::Policy)
            {
                if cut {
                    targets.push_kept(trajectory.kept.row(i));
                }
            }
        }
        builder.finish(targets, trajectories.iter().map(|t| t.tokens.as_slice()))
    }

    /// The selections that the sampler recorded for these trajectories, for replay; `None` if one has none.
    pub fn replay(trajectories: &[&Trajectory], device: Device) -> Option<Attend> {
        let recorded: Vec<_> = trajectories.iter().map(|t| t.selections.as_ref()).collect::<Option<_>>()?;
        let first = recorded.first()?;
        let layer = |l: usize| {
            let flat: Vec<i32> = recorded.iter().flat_map(|s| s.layers[l].iter().copied()).collect();
            Tensor::from_slice(&flat).view([-1, first.top_k as i64]).to_device(device)
        };
        Some(Attend::Replay((0..first.layers.len()).map(layer).collect()))
    }

    /// Rows fed.
    pub fn len(&self) -> usize {
        self.rows.tokens.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.tokens.is_empty()
    }

    /// The trained rows as an index tensor.
    pub fn picked_on(&self, device: Device) -> Tensor {
        Tensor::from_slice(&self.picked).to_device(device)
    }
}

/// Cuts sequences of these lengths (in tokens) into units of about `unit_tokens` rows.
pub fn cut(lengths: &[usize], unit_tokens: usize) -> Vec<std::ops::Range<usize>> {
    let rows: Vec<usize> = lengths.iter().map(|l| l.saturating_sub(1)).collect();
    pack_units(&rows, unit_tokens, MOST_SEQUENCES)
}

#[derive(Default)]
struct Builder {
    picked: Vec<i64>,
    tokens: Vec<u32>,
    counts: Vec<usize>,
    rows: usize,
}

impl Builder {
    fn push(&mut self, tokens: &[u32], trained: impl Fn(usize) -> bool) {
        let before = self.picked.len();
        for t in (1..tokens.len()).filter(|&t| trained(t)) {
            self.picked.push((self.rows + t - 1) as i64);
            self.tokens.push(tokens[t]);
        }
        self.counts.push(self.picked.len() - before);
        self.rows += tokens.len().saturating_sub(1);
    }

    fn finish<'a>(self, mut targets: Targets, sequences: impl Iterator<Item = &'a [u32]>) -> Unit {
        let fed: Vec<&[u32]> = sequences.map(|s| &s[..s.len().saturating_sub(1)]).collect();
        let trained = vec![true; self.picked.len()];
        targets.tokens = self.tokens;
        Unit {
            rows: Rows::packed(&fed),
            picked: self.picked,
            targets: Arc::new(targets),
            layout: losses::Rows::new(self.counts, trained),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_predicts_the_token_after_it() {
        let unit = Unit::of_sequences(&[Sequence::answered(&[5, 6], &[7, 8]), Sequence::text(vec![1, 2, 3])]);
        assert_eq!(unit.rows.tokens, [5, 6, 7, 1, 2]);
        assert_eq!(
            (unit.picked.as_slice(), unit.targets.tokens.as_slice()),
            ([1, 2, 3, 4].as_slice(), [7, 8, 2, 3].as_slice())
        );
        assert_eq!(unit.layout.trained_counts(), [2, 2]);
    }
}
