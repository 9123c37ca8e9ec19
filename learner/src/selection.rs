//! What an indexer selects now, beside what it selected when the sampler ran, and how far it is from the attention.

use data::{Selections, Trajectory};
use policy::{Keys, Model, Task};

use crate::language::row_weights;
use crate::replay::ints;
use crate::unit::{Sequence, Unit, cut};

/// Measured over the rows of trajectories that see more than k keys; where a row sees fewer, all are selected.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SelectionReport {
    /// Mean divergence of the indexer from the attention over the selected keys, a row and layer, in nats: the loss of a live indexer.
    pub kl: f64,
    /// For each layer the share of the k keys that sampler and model both selected, summed over rows.
    pub common: Vec<f64>,
    /// Rows that were counted, for each layer.
    pub rows: Vec<u64>,
}

impl SelectionReport {
    /// The overlap of each layer in which some row sees more than k keys, from 0 to 1.
    pub fn overlaps(&self) -> Vec<f64> {
        let counted = self.common.iter().zip(&self.rows).filter(|(_, rows)| **rows > 0);
        counted.map(|(common, &rows)| common / rows as f64).collect()
    }
}

/// Lets `model` select for every row of `trajectories`, which must have their selections recorded, and compares. Nothing learns from it.
///
/// # Panics
/// If the model has no indexer, or a trajectory no selections: callers' bugs.
pub fn compare_selections(model: &Model, trajectories: &[&Trajectory], unit_tokens: usize) -> SelectionReport {
    let lengths: Vec<usize> = trajectories.iter().map(|t| t.tokens.len()).collect();
    let all_rows: usize = lengths.iter().map(|l| l.saturating_sub(1)).sum();
    let layers = model.config.num_hidden_layers as usize;
    let mut report = SelectionReport { kl: 0.0, common: vec![0.0; layers], rows: vec![0; layers] };
    for range in cut(&lengths, unit_tokens) {
        let part = &trajectories[range];
        let unit = Unit::of_sequences(&part.iter().map(|t| Sequence::text(t.tokens.clone())).collect::<Vec<_>>());
        let indexer_weight = Some(row_weights(unit.len(), all_rows, model.device()));
        let task = Task { indexer_weight, record: true, ..Task::plain(model) };
        let forward = tch::no_grad(|| model.forward(&unit.rows, Keys::Fresh, &task));
        let loss = forward.indexer_loss.expect("it was asked for");
        report.kl += loss.double_value(&[]) / model.config.num_hidden_layers as f64;
        for (layer, selected) in forward.selections.iter().enumerate() {
            let window = model.config.geometry(layer).window;
            report.rows[layer] += count_layer(part, layer, window, &ints(selected), &mut report.common[layer]);
        }
    }
    report
}

/// Adds the overlaps of a layer's rows to `common`; `now` holds k positions a row, for the rows of all trajectories one after another. Within a
/// window that is no longer than k nothing is chosen, and nothing counted.
fn count_layer(
    trajectories: &[&Trajectory],
    layer: usize,
    window: Option<usize>,
    mut now: &[i32],
    common: &mut f64,
) -> u64 {
    let mut counted = 0;
    for trajectory in trajectories {
        let Selections { top_k, layers } = trajectory.selections.as_ref().expect("the sampler recorded them");
        let recorded = layers[layer].chunks_exact(*top_k);
        let (own, rest) = now.split_at(recorded.len() * top_k);
        now = rest;
        if window.is_some_and(|window| window <= *top_k) {
            continue;
        }
        for (then, now) in recorded.zip(own.chunks_exact(*top_k)).skip(*top_k) {
            *common += shared(then, now) as f64 / *top_k as f64;
            counted += 1;
        }
    }
    counted
}

/// How many numbers two ascending lists have in common.
fn shared(mut a: &[i32], mut b: &[i32]) -> usize {
    let mut n = 0;
    while let (Some((x, rest_a)), Some((y, rest_b))) = (a.split_first(), b.split_first()) {
        n += usize::from(x == y);
        if x <= y {
            a = rest_a;
        }
        if y <= x {
            b = rest_b;
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_keys_are_counted() {
        assert_eq!(shared(&[1, 3, 5, 9], &[2, 3, 4, 5, 9]), 3);
        assert_eq!(shared(&[1], &[]), 0);
    }
}
