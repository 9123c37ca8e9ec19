//! How token losses become one number: the weight of each row.
//!
//! Every weight is made from the counts of the **whole batch**, so that units (and workers) just add their losses:
//!
//! | rule | weight of a trained token of sequence `i` | source |
//! | --- | --- | --- |
//! | sequence mean | `1 / (S · |o_i|)` | DeepSeek-V3.2, arXiv 2512.02556 §3.1 (groups of one size) |
//! | token mean | `1 / Σ_i |o_i|` | DAPO, arXiv 2503.14476 |
//! | constant | `1 / (S · L)` | Dr. GRPO, arXiv 2503.20783 |
//!
//! `S` counts the sequences with at least one trained token and `|o_i|` the trained tokens of sequence `i`: a masked
//! sample is in neither the sum nor the denominator (INV-9).

use tch::{Device, Tensor};

use super::Rows;

/// The rule that weighs tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregation {
    /// The mean over sequences of each sequence's token mean.
    SequenceMean,
    /// The mean over all trained tokens of the batch.
    TokenMean,
    /// The sum over tokens, divided by the number of sequences times this length, whatever the sequences' own lengths
    /// are.
    Constant {
        /// The length that stands for every sequence's, in tokens; positive.
        length: f64,
    },
}

/// What the denominators are made of: counts over all units of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GlobalCounts {
    /// Sequences with at least one trained token.
    pub sequences: usize,
    /// Trained tokens.
    pub tokens: usize,
}

impl GlobalCounts {
    /// Adds the counts of one unit.
    pub fn add(&mut self, rows: &Rows) {
        for count in rows.trained_counts() {
            self.sequences += usize::from(count > 0);
            self.tokens += count;
        }
    }

    /// The counts of all units of a batch.
    pub fn of<'a>(units: impl IntoIterator<Item = &'a Rows>) -> Self {
        let mut counts = Self::default();
        units.into_iter().for_each(|rows| counts.add(rows));
        counts
    }
}

/// Why no weights can be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AggregateError {
    /// Nothing in the whole batch is trained.
    #[error(
        "no token of the batch is trained: every sample is masked or empty; skip the batch instead of stepping on it"
    )]
    NoTrainedTokens,
    /// A constant length that cannot divide.
    #[error("the constant aggregation needs a positive length, not {0}")]
    Length(f64),
}

/// The weight of each row of a unit, by the table above; 0 for a row that is not trained.
///
/// `[T]` f32 on `device`. `counts` are of the whole batch, of which this unit is a part.
///
/// # Errors
/// [`AggregateError`] if nothing in the batch is trained, or the constant length is not positive.
pub fn token_weights(
    rule: Aggregation,
    counts: GlobalCounts,
    rows: &Rows,
    device: Device,
) -> Result<Tensor, AggregateError> {
    if counts.tokens == 0 || counts.sequences == 0 {
        return Err(AggregateError::NoTrainedTokens);
    }
    let mut weight_T = vec![0f32; rows.len()];
    for (range, own_tokens) in rows.ranges().zip(rows.trained_counts()) {
        let denominator = match rule {
            Aggregation::SequenceMean => counts.sequences as f64 * own_tokens as f64,
            Aggregation::TokenMean => counts.tokens as f64,
            Aggregation::Constant { length } if length > 0.0 => counts.sequences as f64 * length,
            Aggregation::Constant { length } => return Err(AggregateError::Length(length)),
        };
        for t in range.filter(|&t| rows.trained()[t]) {
            weight_T[t] = (1.0 / denominator) as f32;
        }
    }
    Ok(Tensor::from_slice(&weight_T).to_device(device))
}

#[cfg(test)]
mod tests {
    use super::super::check::{close, values};
    use super::*;

    /// Three sequences in two units: 1, 3 and 2 trained tokens, and a masked sequence that counts nowhere.
    fn units() -> [Rows; 2] {
        [
            Rows::new(vec![3, 4], vec![false, false, true, false, true, true, true]),
            Rows::new(vec![2, 3], vec![false, false, true, false, true]),
        ]
    }

    /// Sums the units' weighted token losses, with `ℓ_t = 1, 2, 3, …` over trained tokens in order.
    fn total(rule: Aggregation) -> f64 {
        let units = units();
        let counts = GlobalCounts::of(&units);
        let mut next = 0.0;
        let mut sum = 0.0;
        for rows in &units {
            let weight_T = values(&token_weights(rule, counts, rows, Device::Cpu).expect("valid"));
            for (t, &trained) in rows.trained().iter().enumerate() {
                next += f64::from(u8::from(trained));
                sum += weight_T[t] * next;
                assert_eq!(weight_T[t] == 0.0, !trained, "row {t}");
            }
        }
        sum
    }

    #[test]
    fn inv_7_units_sum_to_the_batch() {
        assert_eq!(GlobalCounts::of(&units()), GlobalCounts { sequences: 3, tokens: 6 });
        // Sequences hold 1 | 2 3 4 | 5 6: means 1, 3 and 5.5.
        close(total(Aggregation::SequenceMean), (1.0 + 3.0 + 5.5) / 3.0, 1e-7, "sequence mean");
        close(total(Aggregation::TokenMean), 21.0 / 6.0, 1e-7, "token mean");
        close(total(Aggregation::Constant { length: 8.0 }), 21.0 / (3.0 * 8.0), 1e-7, "constant");
    }

    #[test]
    fn refuses_an_empty_batch_and_a_bad_length() {
        let rows = Rows::new(vec![2], vec![false, false]);
        let empty = token_weights(Aggregation::TokenMean, GlobalCounts::of([&rows]), &rows, Device::Cpu);
        assert_eq!(empty.expect_err("nothing is trained"), AggregateError::NoTrainedTokens);
        let [unit, _] = units();
        let zero = token_weights(Aggregation::Constant { length: 0.0 }, GlobalCounts::of([&unit]), &unit, Device::Cpu);
        assert_eq!(zero.expect_err("length 0"), AggregateError::Length(0.0));
    }
}
