//! Choosing a token from a row of logits.

use policy::kernels::log_prob::{Scored, Targets, log_prob_row};

/// How tokens are chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it. 0 takes the largest logit (the lowest id among equals), and log-probabilities are then those of
    /// temperature 1.
    pub temperature: f64,
    /// Keep the fewest likeliest tokens whose probabilities reach this; 1 keeps all.
    pub top_p: f64,
    /// Keep this many likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Most tokens sampled after the prompt.
    pub max_new_tokens: usize,
    /// Tokens that end a completion; they belong to it.
    pub stop_tokens: Vec<u32>,
}

/// A chosen token with what must be recorded of the choice (INV-5).
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its log-probability over the kept set.
    pub log_prob: f32,
    /// The kept set, ascending; `None` where nothing was cut.
    pub kept: Option<Vec<u32>>,
}

impl Sampling {
    /// What logits are multiplied by before the softmax; the learner replays with the same number.
    pub fn inverse_temperature(&self) -> f32 {
        if self.temperature == 0.0 { 1.0 } else { (1.0 / self.temperature) as f32 }
    }

    /// True where some tokens are cut before sampling.
    pub fn cuts(&self) -> bool {
        self.temperature != 0.0 && (self.top_p < 1.0 || self.top_k > 0)
    }

    /// Chooses a token of `logits` with the random number `uniform` in `[0, 1)`.
    pub fn choose(&self, logits: &[f32], uniform: f64) -> Choice {
        let kept = self.cuts().then(|| self.kept(logits));
        let token = if self.temperature == 0.0 {
            largest(logits)
        } else {
            match &kept {
                None => draw(0..logits.len() as u32, logits, self.inverse_temperature(), uniform),
                Some(kept) => draw(kept.iter().copied(), logits, self.inverse_temperature(), uniform),
            }
        };
        let mut targets =
            Targets { tokens: vec![token], inverse_temperature: self.inverse_temperature(), ..Targets::default() };
        if let Some(kept) = &kept {
            targets.push_kept(Some(kept));
        }
        let Scored { log_prob, .. } = log_prob_row(logits, &targets, 0);
        Choice { token, log_prob, kept }
    }

    /// The tokens that top-k and then top-p leave, ascending. Equal logits go by the lower id, so the set is one set.
    fn kept(&self, logits: &[f32]) -> Vec<u32> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        if self.top_p < 1.0 {
            let weights = weights(order.iter().copied(), logits, self.inverse_temperature());
            let total: f64 = weights.iter().sum();
            let mut mass = 0.0;
            let enough = weights.iter().position(|w| {
                mass += w;
                mass >= self.top_p * total
            });
            order.truncate(enough.map_or(order.len(), |last| last + 1));
        }
        order.sort_unstable();
        order
    }
}

fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// `e^(z − max z)` of the tokens, in f64.
fn weights(tokens: impl Iterator<Item = u32> + Clone, logits: &[f32], inverse_temperature: f32) -> Vec<f64> {
    let z = |t: u32| f64::from(logits[t as usize] * inverse_temperature);
    let most = tokens.clone().map(z).fold(f64::NEG_INFINITY, f64::max);
    tokens.map(|t| (z(t) - most).exp()).collect()
}

/// The token at which the running sum of weights passes `uniform` of the total.
fn draw(tokens: impl Iterator<Item = u32> + Clone, logits: &[f32], inverse_temperature: f32, uniform: f64) -> u32 {
    let weights = weights(tokens.clone(), logits, inverse_temperature);
    let mut left = uniform * weights.iter().sum::<f64>();
    let mut last = 0;
    for (token, weight) in tokens.zip(weights) {
        if weight > 0.0 {
            last = token;
        }
        left -= weight;
        if left < 0.0 {
            return token;
        }
    }
    // Rounding can leave a sliver of the total unclaimed; it belongs to the last token that has weight.
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f64, top_p: f64, top_k: usize) -> Sampling {
        Sampling { temperature, top_p, top_k, max_new_tokens: 1, stop_tokens: vec![] }
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [0.0f32, 1.0, 2.0, -1.0];
        let s = sampling(0.5, 1.0, 0);
        let rng = data::CounterRng::new(1, "draws");
        let mut counts = [0u32; 4];
        for i in 0..40_000 {
            counts[s.choose(&logits, rng.uniform_at(i)).token as usize] += 1;
        }
        let total: f64 = logits.iter().map(|l| f64::from(*l * 2.0).exp()).sum();
        for (count, logit) in counts.iter().zip(logits) {
            let expected = f64::from(logit * 2.0).exp() / total;
            assert!((f64::from(*count) / 40_000.0 - expected).abs() < 0.01);
        }
    }

    #[test]
    fn inv_5_kept_sets_are_total_and_log_probs_sum_to_one_over_them() {
        let logits = [1.0f32, 3.0, 3.0, 0.0, 2.0];
        assert_eq!(sampling(1.0, 1.0, 1).choose(&logits, 0.9).kept, Some(vec![1]));
        assert_eq!(sampling(1.0, 1.0, 3).choose(&logits, 0.0).kept, Some(vec![1, 2, 4]));
        // The two largest hold 0.78 of the mass; 0.8 needs the next one.
        assert_eq!(sampling(1.0, 0.78, 0).choose(&logits, 0.0).kept, Some(vec![1, 2]));
        assert_eq!(sampling(1.0, 0.80, 0).choose(&logits, 0.0).kept, Some(vec![1, 2, 4]));
        let s = sampling(0.8, 0.9, 0);
        let mass: f64 = [0.0, 0.45, 0.95].iter().map(|&u| f64::from(s.choose(&logits, u).log_prob).exp()).sum();
        assert!((mass - 1.0).abs() < 1e-5, "three different tokens were drawn, and they are all there is: {mass}");
    }

    #[test]
    fn temperature_zero_is_greedy_with_the_lower_id_first() {
        let choice = sampling(0.0, 1.0, 0).choose(&[1.0, 3.0, 3.0], 0.99);
        assert_eq!((choice.token, choice.kept), (1, None));
    }
}
