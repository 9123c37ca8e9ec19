//! Choosing a token from a row of logits.

use multiversion::multiversion;
use policy::kernels::log_prob::{Scored, Targets, log_prob_row};
use policy::kernels::math::{exp, max, sum};

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
                None => self.draw(logits.to_vec(), uniform) as u32,
                Some(kept) => {
                    let logits = kept.iter().map(|&token| logits[token as usize]).collect();
                    kept[self.draw(logits, uniform)]
                }
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
        let most = if self.top_k == 0 { logits.len() } else { self.top_k.min(logits.len()) };
        let mut order: Vec<u64> = logits.iter().zip(0..).map(|(logit, id)| rank(*logit, id)).collect();
        first(&mut order, most);
        order.truncate(most);
        let mut kept = if self.top_p < 1.0 { self.nucleus(logits, order) } else { order.into_iter().map(id).collect() };
        kept.sort_unstable();
        kept
    }

    /// The fewest of the likeliest tokens whose probabilities reach `top_p` of all of `order`. They are mostly few, so only as many are
    /// sorted as it takes.
    fn nucleus(&self, logits: &[f32], mut order: Vec<u64>) -> Vec<u32> {
        let top = logits[id(*order.iter().min().expect("a vocabulary has tokens")) as usize];
        let weight = |token: u32| self.weight(logits[token as usize], top);
        let wanted = self.top_p * order.iter().map(|&ranked| f64::from(weight(id(ranked)))).sum::<f64>();
        let (mut sorted, mut mass) = (0, 0.0);
        while sorted < order.len() {
            let part = SORTED_AT_ONCE.max(sorted).min(order.len() - sorted);
            first(&mut order[sorted..], part);
            order[sorted..sorted + part].sort_unstable();
            for at in sorted..sorted + part {
                mass += f64::from(weight(id(order[at])));
                if mass >= wanted {
                    order.truncate(at + 1);
                    return order.into_iter().map(id).collect();
                }
            }
            sorted += part;
        }
        order.into_iter().map(id).collect()
    }

    /// `e^(z − max z)` of a logit, where `top` is the largest.
    fn weight(&self, logit: f32, top: f32) -> f32 {
        exp((logit - top) * self.inverse_temperature())
    }

    /// Where among the kept tokens' logits the running sum of weights passes `uniform` of the total.
    fn draw(&self, mut weights: Vec<f32>, uniform: f64) -> usize {
        weigh(&mut weights, self.inverse_temperature());
        let sums: Vec<f64> = weights.chunks(SUMMED_AT_ONCE).map(|part| f64::from(sum(part))).collect();
        let mut left = uniform * sums.iter().sum::<f64>();
        let mut last = 0;
        for ((part, sum), start) in weights.chunks(SUMMED_AT_ONCE).zip(sums).zip((0..).step_by(SUMMED_AT_ONCE)) {
            if left >= sum {
                left -= sum;
                last = part.iter().rposition(|weight| *weight > 0.0).map_or(last, |at| start + at);
                continue;
            }
            for (at, weight) in part.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
                last = start + at;
                left -= f64::from(*weight);
                if left < 0.0 {
                    return last;
                }
            }
            // The part's own sum was rounded otherwise: what is left of it belongs to its last token.
            return last;
        }
        // Rounding can leave a sliver of the total unclaimed; it belongs to the last token that has weight.
        last
    }
}

/// Tokens of a nucleus that are sorted first; then as many again, and so on.
const SORTED_AT_ONCE: usize = 64;
/// Weights that are added before their sum is looked at.
const SUMMED_AT_ONCE: usize = 256;

/// A number that is the smaller the larger the logit, and then the lower the token.
fn rank(logit: f32, token: u32) -> u64 {
    let bits = logit.to_bits();
    // The order of [`f32::total_cmp`] as an unsigned number.
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(!ascending) << 32 | u64::from(token)
}

fn id(ranked: u64) -> u32 {
    ranked as u32
}

/// Brings the `n` smallest to the front, in any order.
fn first(order: &mut [u64], n: usize) {
    if n < order.len() {
        order.select_nth_unstable(n);
    }
}

/// `z ← e^((z − max z) / T)`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn weigh(logits: &mut [f32], inverse_temperature: f32) {
    let top = max(logits);
    for z in logits.iter_mut() {
        *z = exp((*z - top) * inverse_temperature);
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

    /// The nucleus by sorting everything, as the definition says.
    #[test]
    fn inv_5_the_nucleus_is_that_of_the_definition() {
        let logits: Vec<f32> = (0..700).map(|i| ((i * i * 7919 % 1013) as f32 * 0.37).sin() * 3.0).collect();
        for (top_p, top_k) in [(0.3, 0), (0.9, 0), (0.999, 0), (0.9, 150), (1.0, 20), (0.5, 3)] {
            let mut order: Vec<u32> = (0..700).collect();
            order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
            order.truncate(if top_k == 0 { 700 } else { top_k });
            let weight = |t: &u32| f64::from(logits[*t as usize]).exp();
            let total: f64 = order.iter().map(weight).sum();
            let mut mass = 0.0;
            let enough = order.iter().position(|t| {
                mass += weight(t);
                mass >= top_p * total
            });
            order.truncate(enough.map_or(order.len(), |last| last + 1));
            order.sort_unstable();
            assert_eq!(sampling(1.0, top_p, top_k).choose(&logits, 0.5).kept, Some(order), "{top_p} {top_k}");
        }
    }

    #[test]
    fn a_draw_walks_over_parts_as_over_tokens() {
        let logits: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.7).cos()).collect();
        let s = sampling(1.0, 1.0, 0);
        let weights: Vec<f64> = logits.iter().map(|&z| f64::from(z).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut below = 0.0;
        for (token, weight) in weights.iter().enumerate() {
            let middle = (below + weight / 2.0) / total;
            assert_eq!(s.choose(&logits, middle).token as usize, token);
            below += weight;
        }
    }

    #[test]
    fn temperature_zero_is_greedy_with_the_lower_id_first() {
        let choice = sampling(0.0, 1.0, 0).choose(&[1.0, 3.0, 3.0], 0.99);
        assert_eq!((choice.token, choice.kept), (1, None));
    }
}
