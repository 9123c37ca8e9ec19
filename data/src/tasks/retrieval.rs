//! Retrieval from a long context: `k17=42;k83=10;…;?k17` → `<think>k17=42</think>\boxed{42}`.
//!
//! A pair costs 7 tokens, so 18 to 72 pairs make a context 4 to 16 times as long as a top-k of 32 tokens: a sparse
//! model answers only if its indexer selects the right pair.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Problem, check_range};
use crate::CounterRng;

/// The settings of the retrieval task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retrieval {
    /// Fewest and most pairs of a context.
    pub pairs: [usize; 2],
    /// Smallest and largest key. Keys of one length are easier to learn than a mixture.
    pub keys: [usize; 2],
    /// Smallest and largest value.
    pub values: [usize; 2],
    /// Whether the reference answer restates the pair before it answers. A small model learns that much sooner:
    /// having written the key, it only has to go on as the context did.
    pub worked: bool,
    /// Share of a context's pairs, 0 up to but not 1, that are said again instead of being new. So much of the text can be
    /// predicted by whoever looks back, far or near, and its perplexity shows who cannot.
    pub repeats: f64,
}

impl Default for Retrieval {
    fn default() -> Self {
        Self { pairs: [18, 72], keys: [10, 99], values: [10, 99], worked: true, repeats: 0.0 }
    }
}

impl Retrieval {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        check_range("keys", self.keys, 0, 999_999)?;
        check_range("values", self.values, 0, 999_999)?;
        if !(0.0..1.0).contains(&self.repeats) {
            return Err(("repeats", format!("must be 0 or above and below 1, not {}", self.repeats)));
        }
        check_range("pairs", self.pairs, 1, self.keys[1] - self.keys[0] + 1)
    }

    pub(super) fn draw(&self, rng: &mut CounterRng) -> Problem {
        let count = rng.range(self.pairs[0] as i64, self.pairs[1] as i64) as usize;
        let mut keys: Vec<usize> = (self.keys[0]..=self.keys[1]).collect();
        rng.shuffle(&mut keys);
        keys.truncate(count);
        let values: Vec<i64> = keys.iter().map(|_| rng.range(self.values[0] as i64, self.values[1] as i64)).collect();
        let said = self.order(count, rng);
        let asked = rng.range(0, count as i64 - 1) as usize;
        let (key, value) = (keys[said[asked]], values[said[asked]]);
        let pairs: String = said.iter().map(|&i| format!("k{}={};", keys[i], values[i])).collect();
        let question = format!("{pairs}?k{key}");
        let work = if self.worked { format!("<think>k{key}={value}</think>") } else { String::new() };
        Problem {
            canonical: question.clone(),
            question,
            ground_truth: json!(value.to_string()),
            answer: format!("{work}\\boxed{{{value}}}"),
            facts: json!({"pairs": count, "asked": asked}),
        }
    }

    /// Which pair is said at each place: the next new one, or, with the probability `repeats`, one that was said before.
    fn order(&self, count: usize, rng: &mut CounterRng) -> Vec<usize> {
        let mut new = 0;
        let next = |_| {
            let again = self.repeats > 0.0 && new > 0 && rng.uniform() < self.repeats;
            let pair = if again { rng.range(0, new as i64 - 1) as usize } else { new };
            new += usize::from(!again);
            pair
        };
        (0..count).map(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::tasks::{Split, Task};

    #[test]
    fn the_answer_is_in_the_context_once() {
        for worked in [false, true] {
            let task = Task::Retrieval(Retrieval { worked, ..Retrieval::default() });
            for prompt in task.items("t", 3, Split::Eval, 0..100).expect("items") {
                let (pairs, asked) = prompt.messages[0].content.rsplit_once('?').expect("a question");
                let pairs: Vec<(&str, &str)> =
                    pairs.split_terminator(';').map(|p| p.split_once('=').expect("a pair")).collect();
                let map: HashMap<&str, &str> = pairs.iter().copied().collect();
                assert_eq!(map.len(), pairs.len(), "keys are unique");
                assert!((18..=72).contains(&pairs.len()));
                let value = map[asked];
                assert_eq!(prompt.ground_truth, json!(value));
                let expect = if worked {
                    format!("<think>{asked}={value}</think>\\boxed{{{value}}}")
                } else {
                    format!("\\boxed{{{value}}}")
                };
                assert_eq!(prompt.answer, Some(expect));
            }
        }
    }

    #[test]
    fn the_asked_pair_may_stand_anywhere() {
        let task = Task::Retrieval(Retrieval { pairs: [20, 20], ..Retrieval::default() });
        let items = task.items("t", 4, Split::Train, 0..400).expect("items");
        for place in 0..20 {
            assert!(items.iter().any(|p| p.extra_info["asked"] == json!(place)), "never at {place}");
        }
    }

    #[test]
    fn a_repeated_pair_keeps_its_value_and_so_many_repeat() {
        let task = Task::Retrieval(Retrieval { pairs: [60, 60], repeats: 0.5, ..Retrieval::default() });
        let (mut said, mut new) = (0, 0);
        for prompt in task.items("t", 5, Split::Train, 0..200).expect("items") {
            let (pairs, asked) = prompt.messages[0].content.rsplit_once('?').expect("a question");
            let mut map = HashMap::new();
            for (key, value) in pairs.split_terminator(';').map(|p| p.split_once('=').expect("a pair")) {
                assert_eq!(*map.entry(key).or_insert(value), value, "a key keeps its value");
                said += 1;
            }
            new += map.len();
            assert_eq!(prompt.ground_truth, json!(map[asked]));
        }
        let share = 1.0 - new as f64 / f64::from(said);
        assert!((share - 0.5).abs() < 0.02, "{share}");
        let error = Retrieval { repeats: 1.0, ..Retrieval::default() }.validate().expect_err("nothing new");
        assert_eq!(error.0, "repeats");
    }

    #[test]
    fn more_pairs_than_keys_are_refused() {
        let error = Retrieval { pairs: [10, 91], ..Retrieval::default() }.validate().expect_err("90 keys");
        assert_eq!(error.0, "pairs");
    }
}
