//! A unit of work: a few whole sequences, packed, with the rows that are trained.
//!
//! Row `t` of a sequence is fed token `t` and predicts token `t + 1`, so a sequence of `n` tokens has `n − 1` rows. Units are cut by
//! length alone, so what a unit holds does not depend on workers or threads (INV-7).

use data::{Author, Trajectory, pack_units};
use policy::kernels::log_prob::Targets;
use policy::{Attend, KeyIndex, Rows};
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

    /// A unit for asking, not for learning: the completion tokens that `wanted` names (by trajectory and number in the completion), over the
    /// recorded kept sets. Neighbours of one prompt share its rows, and nothing is fed that no wanted token sees.
    pub fn sharing_prompts(
        trajectories: &[&Trajectory],
        inverse_temperature: f32,
        wanted: impl Fn(&Trajectory, usize) -> bool,
    ) -> Self {
        let mut targets = Targets { inverse_temperature, ..Targets::default() };
        let (mut index, mut fed, mut picked, mut counts) = (KeyIndex::default(), Vec::new(), Vec::new(), Vec::new());
        let cut = trajectories.iter().any(|t| !t.kept.is_full());
        let mut prompt: Option<(&[u32], Vec<u32>)> = None;
        for t in trajectories {
            let asked: Vec<usize> = (0..t.completion_len()).filter(|&i| wanted(t, i)).collect();
            let Some(&last) = asked.last() else { continue };
            let own = &t.tokens[..t.prompt_len];
            let mut slots = match prompt.take() {
                Some((tokens, slots)) if tokens == own => slots,
                _ => Vec::new(),
            };
            let known = slots.len();
            for (position, &token) in t.tokens[..t.prompt_len + last].iter().enumerate().skip(known) {
                slots.push(fed.len() as u32);
                index.sequence.push(index.slots.len() as u32);
                index.position.push(position as u32);
                fed.push(i64::from(token));
            }
            prompt = Some((own, slots[..t.prompt_len].to_vec()));
            for &i in &asked {
                picked.push(i64::from(slots[t.prompt_len + i - 1]));
                targets.tokens.push(t.tokens[t.prompt_len + i]);
                if cut {
                    targets.push_kept(t.kept.row(i));
                }
            }
            counts.push(asked.len());
            index.slots.push(slots);
        }
        let layout = losses::Rows::new(counts, vec![true; picked.len()]);
        let rows = Rows { tokens: fed, index: Arc::new(index) };
        Self { rows, picked, targets: Arc::new(targets), layout }
    }

    /// The selections that the sampler recorded for these trajectories, for replay; `None` if one has none.
    pub fn replay(trajectories: &[&Trajectory], device: Device) -> Option<Attend> {
        let recorded = trajectories.iter().map(|t| t.selections.as_ref().map(|s| (s.top_k, s.layers.as_slice())));
        stack(recorded.collect::<Option<Vec<_>>>()?, device, |&i| i).map(Attend::Replay)
    }

    /// The experts that the sampler recorded for these trajectories, for replay (Keep Routing); `None` if one has none.
    pub fn replay_experts(trajectories: &[&Trajectory], device: Device) -> Option<Vec<Tensor>> {
        let recorded = trajectories.iter().map(|t| t.routing.as_ref().map(|r| (r.top_k, r.layers.as_slice())));
        stack(recorded.collect::<Option<Vec<_>>>()?, device, |&e| i32::from(e))
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

/// For each layer `[rows, top_k]` of what each trajectory recorded, one after the other.
fn stack<T>(recorded: Vec<(usize, &[Vec<T>])>, device: Device, number: impl Fn(&T) -> i32) -> Option<Vec<Tensor>> {
    let &(top_k, first) = recorded.first()?;
    let layer = |l: usize| {
        let flat: Vec<i32> = recorded.iter().flat_map(|(_, layers)| layers[l].iter().map(&number)).collect();
        Tensor::from_slice(&flat).view([-1, top_k as i64]).to_device(device)
    };
    Some((0..first.len()).map(layer).collect())
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
    use data::{Finish, KeptSets};

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

    #[test]
    fn samples_of_one_prompt_share_its_rows() {
        let trajectory = |prompt: &[u32], completion: &[u32]| Trajectory {
            prompt_id: "p".into(),
            sample: 0,
            tokens: [prompt, completion].concat(),
            authors: [vec![Author::Prompt; prompt.len()], vec![Author::Policy; completion.len()]].concat(),
            prompt_len: prompt.len(),
            logprobs: vec![0.0; completion.len()],
            versions: (0..completion.len() as u64).collect(),
            kept: KeptSets::default(),
            selections: None,
            routing: None,
            finish: Finish::Stop,
        };
        let all = [
            trajectory(&[1, 2], &[3, 4, 5]),
            trajectory(&[1, 2], &[6]),
            trajectory(&[1, 2], &[7, 8]),
            trajectory(&[9], &[3]),
        ];
        let all: Vec<&Trajectory> = all.iter().collect();
        let unit = Unit::sharing_prompts(&all, 1.0, |t, i| t.versions[i] < 2);
        assert_eq!(unit.rows.tokens, [1, 2, 3, 7, 9], "5 was not asked for, and the last tokens are not fed");
        assert_eq!(unit.rows.index.slots, [vec![0, 1, 2], vec![0, 1], vec![0, 1, 3], vec![4]]);
        assert_eq!(
            (unit.rows.index.sequence.as_slice(), unit.rows.index.position.as_slice()),
            ([0, 0, 0, 2, 3].as_slice(), [0, 1, 2, 2, 0].as_slice())
        );
        assert_eq!(unit.picked, [1, 2, 1, 1, 3, 4]);
        assert_eq!(unit.targets.tokens, [3, 4, 6, 7, 8, 3]);
    }
}
