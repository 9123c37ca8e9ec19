//! How well a model predicts held-out text at each length of context, and how well its indexer finds the attention there.

use policy::kernels::indexer_loss::Coverage;
use policy::{Attend, Forward, Keys, Model, Task};

use crate::language::{add_coverage, row_weights};
use crate::replay::to_host;
use crate::unit::{Sequence, Unit, cut};

/// Tokens that were predicted from about so many tokens before them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ContextLoss {
    /// The context `c`: tokens with more than `c / 2` and at most `c` before them count.
    pub context: usize,
    /// Their negative log-likelihood, summed, in nats.
    pub nll: f64,
    /// How many they are.
    pub tokens: u64,
}

impl ContextLoss {
    /// `exp` of the mean negative log-likelihood; NaN where no token counts.
    pub fn perplexity(&self) -> f64 {
        (self.nll / self.tokens as f64).exp()
    }

    fn takes(&self, before: usize) -> bool {
        2 * before > self.context && before <= self.context
    }
}

/// What [`measure`] found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextReport {
    /// For each context that was asked for.
    pub contexts: Vec<ContextLoss>,
    /// For each layer how well the k best scores of its indexer (or of the one that it shares) cover its attention over all keys, on rows
    /// that see more than k of them. Empty without an indexer.
    pub coverage: Vec<Coverage>,
}

/// Predicts every token of `texts` from those before it, with the attention that the model was made for, and in a second forward
/// over all keys looks at what the indexer would select. Nothing learns from it.
pub fn measure(model: &Model, texts: &[Vec<u32>], contexts: &[usize], unit_tokens: usize) -> TextReport {
    let contexts = contexts.iter().map(|&context| ContextLoss { context, ..ContextLoss::default() }).collect();
    let mut report = TextReport { contexts, coverage: Vec::new() };
    let sequences: Vec<Sequence> = texts.iter().map(|tokens| Sequence::text(tokens.clone())).collect();
    let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
    for range in cut(&lengths, unit_tokens) {
        let unit = Unit::of_sequences(&sequences[range]);
        tch::no_grad(|| {
            let forward = model.forward(&unit.rows, Keys::Fresh, &Task::plain(model));
            add_losses(model, &unit, &forward, &mut report.contexts);
            if model.config.indexer.is_some() {
                let indexer_weight = Some(row_weights(unit.len(), unit.len(), model.device()));
                let task = Task { attend: Attend::Dense, indexer_weight, ..Task::dense() };
                add_coverage(&mut report.coverage, &model.forward(&unit.rows, Keys::Fresh, &task).coverage);
            }
        });
    }
    report
}

/// Adds each row's loss to the contexts that take it. Every row of a unit of texts predicts a token, in the order of the rows.
fn add_losses(model: &Model, unit: &Unit, forward: &Forward, contexts: &mut [ContextLoss]) {
    let log_probs = to_host(&model.log_probs(&forward.hidden, &unit.targets).0);
    for (log_prob, &position) in log_probs.iter().zip(&unit.rows.index.position) {
        for context in contexts.iter_mut().filter(|context| context.takes(position as usize + 1)) {
            context.nll -= f64::from(*log_prob);
            context.tokens += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use policy::testing::{model_of, tiny_grouped};

    use super::*;

    fn texts() -> Vec<Vec<u32>> {
        (0..6u32).map(|s| (0..20 + 9 * s).map(|i| (i * i * 5 + s) % 64).collect()).collect()
    }

    #[test]
    fn a_token_counts_at_the_contexts_that_it_was_predicted_from() {
        let model = model_of(tiny_grouped(None));
        let report = measure(&model, &texts(), &[16, 64, 1000], 64);
        // Texts of 20, 29, 38, 47, 56 and 65 tokens: 8 rows of each in (8, 16], and what lies in (32, 64] of those of 38 on.
        assert_eq!(report.contexts.iter().map(|c| c.tokens).collect::<Vec<_>>(), [48, 5 + 14 + 23 + 32, 0]);
        assert!(report.contexts[2].perplexity().is_nan() && report.coverage.is_empty());
        let whole = measure(&model, &texts(), &[16, 64, 1000], 1 << 20);
        for (cut, whole) in report.contexts.iter().zip(&whole.contexts) {
            assert!((cut.nll - whole.nll).abs() <= 1e-9 * whole.nll, "units do not show but in the order of f64 sums");
        }
        // A random model guesses among 64 tokens at best.
        assert!(report.contexts[0].perplexity() > 32.0);
    }

    #[test]
    fn inv_3_a_k_that_reaches_the_context_is_dense_and_a_small_one_is_not() {
        let dense = measure(&model_of(tiny_grouped(None)), &texts(), &[64], 256);
        let reaches = measure(&model_of(tiny_grouped(Some(80))), &texts(), &[64], 256);
        let small = measure(&model_of(tiny_grouped(Some(4))), &texts(), &[64], 256);
        assert_eq!(dense.contexts, reaches.contexts);
        assert_ne!(dense.contexts, small.contexts);
        assert!(reaches.coverage.iter().all(|layer| layer.rows == 0), "no row sees more than k keys");
        assert_eq!(small.coverage.len(), 2);
        for layer in small.coverage {
            let (recall, mass) = (layer.recall / layer.rows as f64, layer.mass / layer.rows as f64);
            assert!(layer.rows > 0 && recall > 0.0 && recall < 1.0 && mass > 0.0 && mass < 1.0, "{recall} {mass}");
        }
    }
}
