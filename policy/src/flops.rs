//! Floating-point operations of a forward, counted from shapes: a multiply and an add are two.
//!
//! Products with weights count `2 · rows · parameters`; attention `2 · heads · (key + value)` for each attended key; the indexer
//! `2 · index heads · index width` for each visible key of rows that score. Norms, rotations and softmaxes are left out, as usual, and what
//! sliding windows save is not taken off. A
//! training step counts three forwards (Kaplan et al., 2020, §2.1), a recomputed log-probability one.

use crate::config::ModelConfig;
use crate::params::shapes;

/// Rows of one forward and the keys that they see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Rows.
    pub rows: u64,
    /// Keys visible, summed over rows.
    pub visible: u64,
    /// Keys attended, summed over rows.
    pub attended: u64,
}

impl Work {
    /// A whole sequence of `length` rows, at most `top_k` keys a row attended (all where `None`).
    pub fn sequence(length: usize, top_k: Option<i64>) -> Self {
        let n = length as u64;
        let visible = n * (n + 1) / 2;
        let k = top_k.map_or(n, |k| (k as u64).min(n));
        Self { rows: n, visible, attended: k * (k + 1) / 2 + (n - k) * k }
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.visible += other.visible;
        self.attended += other.attended;
    }

    /// What is left without another's: the rows that a shared prompt saves.
    pub fn without(self, other: Self) -> Self {
        Self {
            rows: self.rows - other.rows,
            visible: self.visible - other.visible,
            attended: self.attended - other.attended,
        }
    }
}

/// FLOPs of one forward over `work`.
pub fn forward(config: &ModelConfig, work: Work) -> f64 {
    // A row goes through `k` of the experts, which are all of one size.
    let share = config.experts.as_ref().map_or(1.0, |e| e.gate.top_k as f64 / e.count as f64);
    let matrices: f64 = shapes(config)
        .iter()
        .filter(|(name, shape)| shape.len() == 2 && (config.tie_word_embeddings || !name.contains("embed_tokens")))
        .map(|(name, shape)| {
            shape.iter().product::<i64>() as f64 * if name.contains(".mlp.experts.") { share } else { 1.0 }
        })
        .sum();
    let layers = config.num_hidden_layers as f64;
    let geometry = config.geometry(0);
    let key = (config.num_attention_heads as usize * (geometry.key + geometry.value)) as f64;
    let index = config.indexer.as_ref().map_or(0.0, |i| (i.heads * i.width) as f64 / i.every as f64);
    2.0 * (work.rows as f64 * matrices + layers * (key * work.attended as f64 + index * work.visible as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attended_keys_stop_growing_at_top_k() {
        assert_eq!(Work::sequence(5, None), Work { rows: 5, visible: 15, attended: 15 });
        assert_eq!(Work::sequence(5, Some(2)).attended, 1 + 2 + 2 + 2 + 2);
        assert_eq!(Work::sequence(2, Some(9)).attended, 3);
    }
}
