//! The repetition verifier: text that goes round in circles, as the share of n-grams that occurred before.

mod loops;

use std::collections::HashSet;

use data::{Item, Verdict};
use serde::{Deserialize, Serialize};

use crate::Verifier;

/// Why repetition settings are refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RepetitionError {
    /// There are no n-grams of no words.
    #[error("repetition: n = 0; set it to the words of an n-gram, 3 or more")]
    NoWords,
    /// A penalty that would be a reward.
    #[error("repetition: max_penalty = {0} is no penalty; set it to 0 or below")]
    Penalty(f64),
    /// A share that no text can have.
    #[error("repetition: threshold = {0} is no share; set it from 0 to 1")]
    Threshold(f64),
}

/// Settings of [`RepetitionVerifier`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepetitionSettings {
    /// Words of an n-gram.
    pub n: usize,
    /// The reward of a text that is nothing but repetition; less of it costs in proportion.
    pub max_penalty: f64,
    /// The share of repeated n-grams above which a completion fails.
    pub threshold: f64,
    /// Words, or the letters of a long one, that follow themselves this many times or more fail whatever the share; 0: never. A period of
    /// one or two counts a third, one without letters a thirtieth, one of more than 64 words three times.
    pub max_loops: usize,
}

impl Default for RepetitionSettings {
    fn default() -> Self {
        Self { n: 3, max_penalty: -1.0, threshold: 0.5, max_loops: 8 }
    }
}

/// Punishes repetition: reward = `max_penalty` × (1 − distinct n-grams / n-grams), in [`max_penalty`, 0].
///
/// The formula is that of Yeo et al., "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373, appendix), over
/// words in lower case. A CJK character is a word, and so is a run of other letters and digits or a single mark: formulas
/// that are worked on line by line share few of their n-grams. A text shorter than n words has reward 0.
///
/// A share alone misses a long text that ends in a loop, so the longest run of one period is looked for too
/// (`max_loops`).
#[derive(Debug, Clone)]
pub struct RepetitionVerifier {
    settings: RepetitionSettings,
}

impl RepetitionVerifier {
    /// A verifier with these settings.
    ///
    /// # Errors
    /// [`RepetitionError`] for settings that would not punish repetition.
    pub fn new(settings: RepetitionSettings) -> Result<Self, RepetitionError> {
        let RepetitionSettings { n, max_penalty, threshold, .. } = settings;
        if n == 0 {
            return Err(RepetitionError::NoWords);
        }
        if !(max_penalty <= 0.0 && max_penalty.is_finite()) {
            return Err(RepetitionError::Penalty(max_penalty));
        }
        if !(0.0..=1.0).contains(&threshold) {
            return Err(RepetitionError::Threshold(threshold));
        }
        Ok(Self { settings })
    }

    fn verify_one(&self, item: &Item) -> Verdict {
        let text = item.completion.to_lowercase();
        let words = words(&text);
        let RepetitionSettings { n, max_penalty, threshold, max_loops } = self.settings;
        let share = repeated_share(&words, n);
        let loops = loops::longest(&words);
        let looping = max_loops > 0 && loops >= max_loops;
        let mut verdict = if looping {
            Verdict::fail(&item.id, format!("the same text follows itself over and over ({loops})"))
        } else if share > threshold {
            Verdict::fail(&item.id, format!("{share:.3} of the {n}-grams occurred before"))
        } else {
            Verdict::pass(&item.id, format!("{share:.3} of the {n}-grams occurred before"))
        };
        // A loop costs all, however much text there is before it; −0.0 would look odd in a log.
        verdict.reward = Some(max_penalty * if looping { 1.0 } else { share } + 0.0);
        verdict.metric("repeated_share", share).metric("loops", loops as f64)
    }
}

impl Verifier for RepetitionVerifier {
    fn name(&self) -> &'static str {
        "repetition"
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        items.iter().map(|item| self.verify_one(item)).collect()
    }
}

/// Runs of letters and digits; every other visible character alone.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        let joins = c.is_alphanumeric() && !is_cjk(c);
        if !joins {
            words.extend(start.take().map(|start: usize| &text[start..at]));
            if !c.is_whitespace() {
                words.push(&text[at..at + c.len_utf8()]);
            }
        } else if start.is_none() {
            start = Some(at);
        }
    }
    words.extend(start.map(|start| &text[start..]));
    words
}

fn is_cjk(c: char) -> bool {
    matches!(u32::from(c), 0x3041..=0x30FF | 0x3400..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x323AF)
}

/// 1 − distinct n-grams / n-grams; 0 where there are none.
fn repeated_share(words: &[&str], n: usize) -> f64 {
    let total = (words.len() + 1).saturating_sub(n);
    let distinct: HashSet<&[&str]> = words.windows(n).collect();
    if total == 0 { 0.0 } else { 1.0 - distinct.len() as f64 / total as f64 }
}

#[cfg(test)]
mod tests {
    use data::Status;
    use serde_json::Value;

    use super::*;

    fn judge(settings: RepetitionSettings, text: &str) -> Verdict {
        let item = Item {
            id: "a".into(),
            prompt: None,
            completion: text.into(),
            ground_truth: Value::Null,
            data_source: None,
            extra_info: Value::Null,
            token_count: None,
            truncated: false,
        };
        let verifier = RepetitionVerifier::new(settings).expect("sound settings");
        verifier.verify(&[item]).pop().expect("one verdict an item")
    }

    fn reward(text: &str) -> f64 {
        judge(RepetitionSettings { max_loops: 0, ..RepetitionSettings::default() }, text).reward.expect("a reward")
    }

    #[test]
    fn the_penalty_is_the_share_of_repeated_n_grams() {
        assert_eq!(reward("one two three four five"), 0.0);
        assert_eq!(reward("one two"), 0.0);
        assert_eq!(reward(""), 0.0);
        // 4 trigrams, 3 of them distinct: a b c, b c a, c a b, a b c.
        assert_eq!(reward("a b c a B C"), -0.25);
        // 8 trigrams of one kind.
        assert_eq!(reward("x x x x x x x x x x"), -0.875);
        assert_eq!(reward("我我我我我"), -(1.0 - 1.0 / 3.0));
        let half = RepetitionSettings { max_penalty: -0.5, max_loops: 0, ..RepetitionSettings::default() };
        assert_eq!(judge(half, "a b c a b c").reward, Some(-0.125));
    }

    #[test]
    fn a_long_text_that_ends_in_a_loop_fails() {
        let honest: String = (0..2_000).map(|i| format!("Step {i} gives {}. ", i * i)).collect();
        let verdict = judge(RepetitionSettings::default(), &honest);
        assert_eq!(verdict.status, Status::Pass, "{}", verdict.reason);
        let looped = honest + &"so the answer is not clear, ".repeat(9);
        let verdict = judge(RepetitionSettings::default(), &looped);
        assert_eq!((verdict.status, verdict.reward), (Status::Fail, Some(-1.0)));
        assert!(verdict.metrics["repeated_share"] < 0.5);
        assert!(judge(RepetitionSettings::default(), "a row of zeros 0 0 0 0 0 0 0 0 0 0 x").metrics["loops"] < 8.0);
    }

    #[test]
    fn settings_that_punish_nothing_are_refused() {
        let refused = |settings| RepetitionVerifier::new(settings).expect_err("refused");
        let default = RepetitionSettings::default();
        assert_eq!(refused(RepetitionSettings { n: 0, ..default }), RepetitionError::NoWords);
        assert_eq!(refused(RepetitionSettings { max_penalty: 1.0, ..default }), RepetitionError::Penalty(1.0));
        assert_eq!(refused(RepetitionSettings { threshold: 2.0, ..default }), RepetitionError::Threshold(2.0));
    }
}
