//! Text that follows itself: the longest run of one period, in words, in long blocks, and in the letters of one long word.
//!
//! Short periods are tried one by one. Long ones are found by the distance from where the same stretch of words stood last: in a loop it is
//! the same at one place after another. What is found so is compared word by word, so no collision of hashes makes a loop.

use std::collections::HashMap;
use std::hash::Hash;

/// Words of the longest period that is tried.
const MAX_PERIOD: usize = 64;

/// Units, from the end of a text, in which loops are looked for.
const MAX_UNITS: usize = 100_000;

/// Letters of a word that may hold a loop of its own.
const LONG_WORD: usize = 24;

/// How often the same words follow one another, counted as below; 1 where none do.
///
/// A period of one or two units counts a third: "ha ha ha" is no loop yet. One of marks and digits alone counts a thirtieth: rows of dashes,
/// of zeros, the rule under a table's head. One of more than 64 words counts three times.
pub fn longest(words: &[&str]) -> usize {
    let words = &words[words.len().saturating_sub(MAX_UNITS)..];
    let of_words = weighed(&numbered(words), |at| words[at].chars().any(char::is_alphabetic));
    let long = |word: &&&str| word.len() >= LONG_WORD && word.chars().nth(LONG_WORD - 1).is_some();
    let of_letters = words.iter().filter(long).map(|word| {
        let letters: Vec<char> = word.chars().take(MAX_UNITS).collect();
        weighed(&numbered(&letters), |at| letters[at].is_alphabetic())
    });
    of_letters.fold(of_words, usize::max)
}

/// Equal units by equal numbers.
fn numbered<T: Hash + Eq>(units: &[T]) -> Vec<u32> {
    let mut numbers = HashMap::new();
    units
        .iter()
        .map(|unit| {
            let next = numbers.len() as u32;
            *numbers.entry(unit).or_insert(next)
        })
        .collect()
}

/// A stretch that follows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// Its first unit that is the same as one a period before.
    start: usize,
    /// Units that are.
    length: usize,
    period: usize,
}

impl Run {
    fn times(&self) -> usize {
        self.length / self.period + 1
    }
}

fn weighed(units: &[u32], is_letter: impl Fn(usize) -> bool) -> usize {
    let weigh = |run: Run| {
        let times = match run.period {
            ..3 => run.times() / 3,
            3..=MAX_PERIOD => run.times(),
            _ if run.times() > 1 => 3 * run.times(),
            _ => 1,
        };
        let says = times > 1 && (run.start..run.start + run.period.min(run.length)).any(&is_letter);
        if says { times } else { run.times() / 30 }
    };
    let short = (1..=MAX_PERIOD.min(units.len() / 2)).flat_map(|period| runs_of(units, period)).map(weigh).max();
    // A block that repeats a part of itself is found by stretches longer than that part.
    let stretches =
        std::iter::successors(Some(MAX_PERIOD), |stretch| Some(2 * stretch)).take_while(|s| 2 * s <= units.len());
    let long = stretches.filter_map(|stretch| long_run(units, stretch)).map(weigh).max();
    short.max(long).unwrap_or(1).max(1)
}

/// The runs of a period in which it follows itself at least once as a whole.
fn runs_of(units: &[u32], period: usize) -> Vec<Run> {
    let (mut runs, mut length) = (Vec::new(), 0);
    for at in period..=units.len() {
        if units.get(at).is_some_and(|unit| *unit == units[at - period]) {
            length += 1;
        } else {
            if length >= period {
                runs.push(Run { start: at - length, length, period });
            }
            length = 0;
        }
    }
    runs
}

/// The run of a period over [`MAX_PERIOD`] that repeats most often.
fn long_run(units: &[u32], stretch: usize) -> Option<Run> {
    const BASE: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut leaving: u64 = 1;
    for _ in 1..stretch {
        leaving = leaving.wrapping_mul(BASE);
    }
    let digit = |at: usize| u64::from(units[at]).wrapping_add(1).wrapping_mul(0xD1B5_4A32_D192_ED03).rotate_left(29);
    let (mut hash, mut last): (u64, HashMap<u64, usize>) = (0, HashMap::with_capacity(units.len()));
    let (mut best, mut distance, mut streak): (Option<Run>, usize, usize) = (None, 0, 0);
    for end in 0..units.len() {
        if end >= stretch {
            hash = hash.wrapping_sub(digit(end - stretch).wrapping_mul(leaving));
        }
        hash = hash.wrapping_mul(BASE).wrapping_add(digit(end));
        let Some(at) = (end + 1).checked_sub(stretch) else { continue };
        let seen = last.insert(hash, at).map_or(0, |before| at - before);
        streak = if seen > 0 && seen == distance { streak + 1 } else { 1 };
        distance = seen;
        if distance > MAX_PERIOD {
            let run = Run { start: at + 1 - streak, length: streak + stretch - 1, period: distance };
            let holds = |run: &Run| (run.start..run.start + run.length).all(|at| units[at] == units[at - run.period]);
            // It is looked at word by word only where it is a record, which is seldom.
            if best.is_none_or(|best| run.times() > best.times()) && run.times() > 1 && holds(&run) {
                best = Some(run);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loops(text: &str) -> usize {
        longest(&super::super::words(text))
    }

    #[test]
    fn loops_are_found_at_every_length() {
        let block = |words: usize| (0..words).map(|i| format!("word{i} ")).collect::<String>();
        // A block that repeats a part of itself.
        let nested = format!("{0}{0}{1}", block(100), (0..50).map(|i| format!("other{i} ")).collect::<String>());
        for (text, at_least) in [
            ("哈".repeat(40), 13),
            ("abc".repeat(20), 20),
            ("so it is ".repeat(9), 9),
            ("no".repeat(40), 13),
            ("ха".repeat(30), 10),
            ("ฮาฮา".repeat(20), 10),
            ("I think that the answer is 5.\n".repeat(8), 8),
            (block(100).repeat(3), 9),
            (block(1_000).repeat(4), 12),
            (nested.repeat(3), 9),
            (format!("{}{}", block(5_000), "and then we wait a while and see what comes of it all ".repeat(8)), 8),
        ] {
            let head: String = text.chars().take(40).collect();
            assert!(loops(&text) >= at_least, "{head}: {}", loops(&text));
        }
    }

    #[test]
    fn what_is_no_loop_is_none() {
        let step = |i: usize| format!("Step {i}: we add {i} and get {}.\n", i * (i + 1) / 2);
        for text in [
            (0..300).map(step).collect::<String>(),
            format!("|{}\n|{}\n", " a |".repeat(6), "---|".repeat(40)),
            "=".repeat(80),
            format!("dp = [{}]", "0, ".repeat(30)),
            format!("1/3 = 0.{}", "3".repeat(60)),
            "& 0 ".repeat(20),
            "ha ha ha ha ha ha".into(),
            "ba".repeat(5),
            "The sum is 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 = 10.".into(),
            "SGVsbG8gd29ybGQgdGhpcyBpcyBhIGxvbmcgYmFzZTY0IHN0cmluZw".into(),
            String::new(),
        ] {
            let head: String = text.chars().take(40).collect();
            assert!(loops(&text) < 8, "{head}: {}", loops(&text));
        }
    }

    #[test]
    fn a_text_of_any_length_is_searched_in_bounded_time() {
        let start = std::time::Instant::now();
        for text in ["a ".repeat(5 << 20), "a".repeat(10 << 20), "ab ba aab ".repeat(1 << 20)] {
            assert!(loops(&text) > 8);
        }
        // Some 0.3 s on an idle core, most of it to make the texts.
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}
