//! A unit of work: a few whole sequences, packed, with the rows that are trained.
//!
//! Row `t` of a sequence is fed token `t` and predicts token `t + 1`, so a sequence of `n` tokens has `n − 1` rows. Units are cut by
//! length alone, so what a unit holds does not depend on workers or threads (INV-7).

use data::{Author, Trajectory, pack_units};
use policy::kernels::log_prob::Targets;
use policy::{Attend, KeyIndex, Rows};
use std::sync::Arc;
use tch::{Device, Tensor};

use crate::language::row_weights;
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
    /// The first position of each sequence that has a row of its own; those before are the sequence's before it.
    first: Vec<usize>,
    /// For each row how many sequences have it.
    sharers: Vec<u32>,
}

impl Unit {
    /// A unit of plain sequences, at temperature 1 over the whole vocabulary.
    pub fn of_sequences(sequences: &[Sequence]) -> Self {
        let mut builder = Builder::default();
        for sequence in sequences {
            builder.push(&sequence.tokens, 0, |t| sequence.trained[t]);
        }
        builder.finish(Targets { inverse_temperature: 1.0, ..Targets::default() })
    }

    /// A unit of trajectories: the policy's own tokens are trained, over the kept sets that the sampler recorded (INV-5). Neighbours of one
    /// prompt share its rows but the last, which each has to itself: of rows that are picked, none is picked twice, so that no gradient is a
    /// sum in an order that a GPU chooses.
    pub fn of_trajectories(trajectories: &[&Trajectory], inverse_temperature: f32) -> Self {
        let mut builder = Builder::default();
        let mut targets = Targets { inverse_temperature, ..Targets::default() };
        let cut = trajectories.iter().any(|t| !t.kept.is_full());
        for (i, trajectory) in trajectories.iter().enumerate() {
            let shared = i.checked_sub(1).map_or(0, |before| shared_rows(trajectories[before], trajectory));
            builder.push(&trajectory.tokens, shared, |t| trajectory.authors[t] == Author::Policy);
            for i in (0..trajectory.completion_len())
                .filter(|i| trajectory.authors[trajectory.prompt_len + i] == Author::Policy)
            {
                if cut {
                    targets.push_kept(trajectory.kept.row(i));
                }
            }
        }
        builder.finish(targets)
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
        let (first, sharers) = (vec![0; index.slots.len()], vec![1; fed.len()]);
        let rows = Rows { tokens: fed, index: Arc::new(index) };
        Self { rows, picked, targets: Arc::new(targets), layout, first, sharers }
    }

    /// The selections that the sampler recorded for the unit's trajectories, for replay; `None` if one has none.
    pub fn replay(&self, trajectories: &[&Trajectory], device: Device) -> Option<Attend> {
        let recorded = trajectories.iter().map(|t| t.selections.as_ref().map(|s| (s.top_k, s.layers.as_slice())));
        self.stack(recorded.collect::<Option<Vec<_>>>()?, device, |&i| i).map(Attend::Replay)
    }

    /// The experts that the sampler recorded for the unit's trajectories, for replay (Keep Routing); `None` if one has none.
    pub fn replay_experts(&self, trajectories: &[&Trajectory], device: Device) -> Option<Vec<Tensor>> {
        let recorded = trajectories.iter().map(|t| t.routing.as_ref().map(|r| (r.top_k, r.layers.as_slice())));
        self.stack(recorded.collect::<Option<Vec<_>>>()?, device, |&e| i32::from(e))
    }

    /// For each layer `[rows, top_k]` of what each trajectory recorded, one after the other.
    fn stack<T>(
        &self,
        recorded: Vec<(usize, &[Vec<T>])>,
        device: Device,
        number: impl Fn(&T) -> i32,
    ) -> Option<Vec<Tensor>> {
        let &(top_k, first) = recorded.first()?;
        let layer = |l: usize| {
            let own = recorded.iter().zip(&self.first).map(|((_, layers), &first)| &layers[l][first * top_k..]);
            let flat: Vec<i32> = own.flat_map(|layer| layer.iter().map(&number)).collect();
            Tensor::from_slice(&flat).view([-1, top_k as i64]).to_device(device)
        };
        Some((0..first.len()).map(layer).collect())
    }

    /// Rows of all its sequences, a shared one counted for each.
    pub fn rows_of_sequences(&self) -> usize {
        self.sharers.iter().map(|&n| n as usize).sum()
    }

    /// The weight of each row in the mean over `all_rows` rows of sequences: that of [`row_weights`], for each sequence that has it.
    pub(crate) fn row_weights(&self, all_rows: usize, device: Device) -> Tensor {
        let sharers: Vec<f32> = self.sharers.iter().map(|&n| n as f32).collect();
        row_weights(self.len(), all_rows, device) * Tensor::from_slice(&sharers).to_device(device)
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

/// How many of its first rows a trajectory may share with the one before it: where tokens, and what was recorded of the rows, are the same.
/// Samples of one prompt may differ in what was recorded, where the weights changed while one of them was still being sampled.
fn shared_rows(before: &Trajectory, this: &Trajectory) -> usize {
    let rows = this.prompt_len.saturating_sub(1);
    let same = before.tokens[..before.prompt_len] == this.tokens[..this.prompt_len]
        && selected(before, rows) == selected(this, rows)
        && routed(before, rows) == routed(this, rows);
    if same { rows } else { 0 }
}

/// What was selected for a trajectory's first rows, by layer.
fn selected(t: &Trajectory, rows: usize) -> Option<Vec<&[i32]>> {
    t.selections.as_ref().map(|s| begin(&s.layers, rows * s.top_k))
}

/// The experts that its first rows went through, by layer.
fn routed(t: &Trajectory, rows: usize) -> Option<Vec<&[u16]>> {
    t.routing.as_ref().map(|r| begin(&r.layers, rows * r.top_k))
}

/// The first numbers of each layer.
fn begin<T>(layers: &[Vec<T>], length: usize) -> Vec<&[T]> {
    layers.iter().map(|layer| &layer[..length.min(layer.len())]).collect()
}

/// Cuts sequences of these lengths (in tokens) into units of about `unit_tokens` rows.
pub fn cut(lengths: &[usize], unit_tokens: usize) -> Vec<std::ops::Range<usize>> {
    let rows: Vec<usize> = lengths.iter().map(|l| l.saturating_sub(1)).collect();
    pack_units(&rows, unit_tokens, MOST_SEQUENCES)
}

#[derive(Default)]
struct Builder {
    index: KeyIndex,
    fed: Vec<i64>,
    picked: Vec<i64>,
    targets: Vec<u32>,
    counts: Vec<usize>,
    first: Vec<usize>,
    sharers: Vec<u32>,
}

impl Builder {
    /// Adds a sequence whose first `shared` rows are those of the sequence before it.
    fn push(&mut self, tokens: &[u32], shared: usize, trained: impl Fn(usize) -> bool) {
        let number = self.index.slots.len() as u32;
        let mut slots = self.index.slots.last().map_or_else(Vec::new, |slots| slots[..shared].to_vec());
        slots.iter().for_each(|&slot| self.sharers[slot as usize] += 1);
        let fed = &tokens[..tokens.len().saturating_sub(1)];
        for (position, &token) in fed.iter().enumerate().skip(shared) {
            slots.push(self.fed.len() as u32);
            self.index.sequence.push(number);
            self.index.position.push(position as u32);
            self.fed.push(i64::from(token));
            self.sharers.push(1);
        }
        let before = self.picked.len();
        for t in (1..tokens.len()).filter(|&t| trained(t)) {
            self.picked.push(i64::from(slots[t - 1]));
            self.targets.push(tokens[t]);
        }
        self.counts.push(self.picked.len() - before);
        self.first.push(shared);
        self.index.slots.push(slots);
    }

    fn finish(self, mut targets: Targets) -> Unit {
        targets.tokens = self.targets;
        let trained = vec![true; self.picked.len()];
        Unit {
            rows: Rows { tokens: self.fed, index: Arc::new(self.index) },
            picked: self.picked,
            targets: Arc::new(targets),
            layout: losses::Rows::new(self.counts, trained),
            first: self.first,
            sharers: self.sharers,
        }
    }
}

#[cfg(test)]
mod tests;
