//! The length verifier: the soft overlong punishment of DAPO (arXiv 2503.14476, equation 13).

use std::cmp::Ordering;

use data::{Item, Verdict};
use serde::{Deserialize, Serialize};

use crate::Verifier;

/// Why length settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// The margin is larger than the limit.
    #[error(
        "length: cache_tokens = {cache_tokens} is over max_tokens = {max_tokens}; the margin is a part of the limit"
    )]
    CacheOverMax {
        /// As set.
        max_tokens: usize,
        /// As set.
        cache_tokens: usize,
    },
    /// No completion could have a length.
    #[error("length: max_tokens is 0; set it to the longest completion that is not punished in full")]
    NoTokens,
}

/// The two lengths of the formula, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthSettings {
    /// L_max: from here on the punishment is −1.
    pub max_tokens: usize,
    /// L_cache: the margin below `max_tokens` in which the punishment grows.
    pub cache_tokens: usize,
}

/// Punishes completions that come near the limit.
///
/// R(n) = 0 for n ≤ L_max − L_cache; ((L_max − L_cache) − n) / L_cache for n ≤ L_max; −1 beyond. The length n is the
/// item's `token_count`: text is never tokenised again. The reward is in [−1, 0] and is meant to be added to another
/// one.
#[derive(Debug, Clone)]
pub struct LengthVerifier {
    settings: LengthSettings,
}

impl LengthVerifier {
    /// A verifier with these settings.
    ///
    /// # Errors
    /// [`LengthError`] when the margin does not fit under the limit.
    pub fn new(settings: LengthSettings) -> Result<Self, LengthError> {
        let LengthSettings { max_tokens, cache_tokens } = settings;
        if max_tokens == 0 {
            return Err(LengthError::NoTokens);
        }
        if cache_tokens > max_tokens {
            return Err(LengthError::CacheOverMax { max_tokens, cache_tokens });
        }
        Ok(Self { settings })
    }

    /// The punishment of a completion of `tokens`, in [−1, 0].
    pub fn punishment(&self, tokens: usize) -> f64 {
        let LengthSettings { max_tokens, cache_tokens } = self.settings;
        let free = max_tokens - cache_tokens;
        if tokens <= free {
            0.0
        } else if tokens <= max_tokens {
            -((tokens - free) as f64 / cache_tokens as f64)
        } else {
            -1.0
        }
    }

    fn verify_one(&self, item: &Item) -> Verdict {
        let Some(tokens) = item.token_count else {
            return Verdict::error(
                &item.id,
                "the item has no token_count; the length rule counts token ids, never text",
            );
        };
        let reward = self.punishment(tokens);
        let LengthSettings { max_tokens, cache_tokens } = self.settings;
        let mut verdict = match tokens.cmp(&(max_tokens - cache_tokens)) {
            Ordering::Less | Ordering::Equal => Verdict::pass(&item.id, "within the length"),
            Ordering::Greater if tokens <= max_tokens => Verdict::fail(&item.id, "in the margin below the limit"),
            Ordering::Greater => Verdict::fail(&item.id, "over the limit"),
        };
        verdict.reward = Some(reward);
        verdict.metric("tokens", tokens as f64)
    }
}

impl Verifier for LengthVerifier {
    fn name(&self) -> &'static str {
        "length"
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        items.iter().map(|item| self.verify_one(item)).collect()
    }
}

#[cfg(test)]
mod tests {
    use data::Status;
    use serde_json::Value;

    use super::*;

    fn verdict(tokens: Option<usize>) -> Verdict {
        let settings = LengthSettings { max_tokens: 100, cache_tokens: 20 };
        let item = Item {
            id: "a".into(),
            prompt: None,
            completion: "x".into(),
            ground_truth: Value::Null,
            data_source: None,
            extra_info: Value::Null,
            token_count: tokens,
            truncated: false,
        };
        let verifier = LengthVerifier::new(settings).expect("the margin fits");
        verifier.verify(&[item]).pop().expect("one verdict an item")
    }

    #[test]
    fn follows_dapo_equation_13() {
        for (tokens, reward) in [(0, 0.0), (80, 0.0), (81, -0.05), (90, -0.5), (100, -1.0), (101, -1.0), (9_999, -1.0)]
        {
            assert_eq!(verdict(Some(tokens)).reward, Some(reward), "{tokens} tokens");
        }
        assert_eq!(verdict(Some(80)).status, Status::Pass);
        assert_eq!(verdict(Some(81)).status, Status::Fail);
    }

    #[test]
    fn inv_9_a_missing_count_is_an_error_without_a_reward() {
        let verdict = verdict(None);
        assert_eq!((verdict.status, verdict.reward), (Status::Error, None));
    }

    #[test]
    fn no_margin_is_a_hard_limit_and_impossible_settings_are_refused() {
        let hard = LengthVerifier::new(LengthSettings { max_tokens: 10, cache_tokens: 0 }).expect("a hard limit");
        assert_eq!((hard.punishment(10), hard.punishment(11)), (0.0, -1.0));
        let refused = LengthVerifier::new(LengthSettings { max_tokens: 10, cache_tokens: 11 });
        assert_eq!(refused.err(), Some(LengthError::CacheOverMax { max_tokens: 10, cache_tokens: 11 }));
        assert!(LengthVerifier::new(LengthSettings { max_tokens: 0, cache_tokens: 0 }).is_err());
    }
}
