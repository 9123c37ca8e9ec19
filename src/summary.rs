//! `summary.json`: what a run reached, at what cost, and how exact it was. Written when a stage ends, read by the report.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use data::atomic::{WriteError, write_atomic};
use serde::{Deserialize, Deserializer, Serialize};

/// The file's name inside a run's folder.
pub const FILE_NAME: &str = "summary.json";

/// What a run reached. One a run, rewritten whole after every stage, so a killed run still has one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// The run's name, which also names its folder.
    pub run: String,
    /// Seconds of wall clock, all stages and what lies between them.
    pub elapsed_s: f64,
    /// The stages that ended, in the recipe's order.
    pub stages: Vec<StageSummary>,
    /// How far the sampler's and the learner's log-probabilities were apart (INV-1).
    pub exactness: Exactness,
    /// Every verdict of the run, by what it said.
    pub verdicts: VerdictCounts,
    /// Rows of the files of prompts that were no prompts and were left out, by file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped_rows: BTreeMap<String, u64>,
    /// FLOPs of post-training over FLOPs of all stages, in `[0, 1]`. NaN (JSON `null`) where no FLOPs were counted.
    #[serde(deserialize_with = "nan_if_null")]
    pub post_training_share: f64,
}

/// One stage that ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StageSummary {
    /// Its name in the recipe, unique within the run.
    pub name: String,
    /// What it does: `sft`, `indexer-warmup`, `sparse`, `rl`, `distill`, `eval`, ….
    pub kind: String,
    /// The stage whose checkpoint it started from, or `model`. Empty in summaries that do not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Seconds of wall clock.
    pub elapsed_s: f64,
    /// Tokens that went through the model, sampled and trained alike.
    pub tokens: u64,
    /// Floating-point operations; a float, because large runs exceed 2⁶⁴.
    pub flops: f64,
    /// Held-out scores of the checkpoint that the stage left, by domain. Empty where it was not evaluated.
    pub eval: BTreeMap<String, Score>,
    /// Held-out text as that checkpoint predicts it, by domain. Empty where the recipe names no contexts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, TextScore>,
    /// What it held in memory. Not there where it did not train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Bytes that a stage held at most, by part: docs/memory.md. Parts need not be at their most at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The parameters of the model that learns, adapters and what they stand beside included.
    pub weights: u64,
    /// Those of a reference, teachers, and of a sampler on a device of its own.
    pub other_models: u64,
    /// Weights laid out for products, or rounded for them, beside the weights themselves.
    pub laid_out: u64,
    /// AdamW's moments.
    pub optimizer: u64,
    /// Gradients: sums over units, and the units' own.
    pub gradients: u64,
    /// What tensors held while units were worked on, beyond all of the above.
    pub activations: u64,
    /// Of that, a chunk of the head's logits and its gradient.
    pub head: u64,
    /// The sampler's cache of keys.
    pub cache: u64,
    /// Most of all tensors on the model's device at once.
    pub device: u64,
    /// Most of the process in the machine's memory since it began.
    pub process: u64,
}

/// How held-out text is predicted, and what the indexer finds of the attention in it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TextScore {
    /// For each context of the recipe.
    pub contexts: Vec<ContextScore>,
    /// For each layer, on rows that see more than k keys. Empty without an indexer, or where there are no such rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerScore>,
}

/// How tokens are predicted that have about so many before them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ContextScore {
    /// The context `c`: tokens with more than `c / 2` and at most `c` before them count.
    pub context: usize,
    /// `exp` of their mean negative log-likelihood. NaN (JSON `null`) where there is none.
    #[serde(deserialize_with = "nan_if_null")]
    pub perplexity: f64,
    /// How many they are.
    pub tokens: u64,
}

/// How well a layer's selection covers its attention over all keys.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayerScore {
    /// Share of the k keys with the most attention that are among the k selected.
    pub recall: f64,
    /// Share of the attention that falls on the k selected.
    pub mass: f64,
}

/// A held-out score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Share of prompts answered rightly by one sample, in `[0, 1]`. NaN (JSON `null`) where no sample could be judged.
    #[serde(deserialize_with = "nan_if_null")]
    pub pass_at_1: f64,
    /// Prompts of which a sample could be judged.
    pub n: u64,
}

impl Score {
    /// The Wilson interval at 95 %: where the true rate lies, given `n` independent prompts. `None` without prompts.
    ///
    /// `(p + z²/2n ± z·sqrt(p(1−p)/n + z²/4n²)) / (1 + z²/n)`, `z = 1.96` (Wilson, JASA 1927).
    pub fn interval(&self) -> Option<(f64, f64)> {
        const Z: f64 = 1.96;
        if self.n == 0 || !self.pass_at_1.is_finite() {
            return None;
        }
        let (p, n) = (self.pass_at_1.clamp(0.0, 1.0), self.n as f64);
        let centre = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        Some((((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0)))
    }
}

/// The sampler against the learner, over every sampled token that the learner recomputed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Exactness {
    /// Largest `|log p_sampler − log p_learner|` in nats. NaN (JSON `null`) if any difference was not a number.
    #[serde(deserialize_with = "nan_if_null")]
    pub max_abs_logprob_diff: f64,
    /// Tokens compared. With none, the difference above says nothing.
    pub tokens_compared: u64,
    /// The recipe gave exactness up (`run.exact = false`): whatever the difference above, nothing was done to keep it at 0.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waived: bool,
}

impl Exactness {
    /// Adds another comparison. What is not a number stays so: of two such the greater is unknown.
    pub fn add(&mut self, difference: f64, tokens: u64) {
        let most = self.max_abs_logprob_diff;
        let unknown = most.is_nan() || difference.is_nan() || difference.is_infinite();
        self.max_abs_logprob_diff = if unknown { f64::NAN } else { most.max(difference) };
        self.tokens_compared += tokens;
    }
}

/// Verdicts by what they said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerdictCounts {
    /// The completion was right.
    pub pass: u64,
    /// The completion was wrong.
    pub fail: u64,
    /// The verifier could not tell.
    pub undecided: u64,
    /// The verifier could not run; the sample was masked (INV-9).
    pub error: u64,
}

impl VerdictCounts {
    /// All verdicts.
    pub fn total(&self) -> u64 {
        self.pass + self.fail + self.undecided + self.error
    }
}

/// Why `summary.json` could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no summary.
    #[error("{} is not a run summary: {source}; delete it and `temper resume` the run to have it written anew", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where it went wrong.
        source: serde_json::Error,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Summary {
    /// Reads the summary of the run in `dir`.
    ///
    /// # Errors
    /// [`SummaryError::Read`] if there is none, [`SummaryError::Parse`] if it is malformed.
    pub fn read(dir: &Path) -> Result<Self, SummaryError> {
        let path = dir.join(FILE_NAME);
        let text =
            std::fs::read_to_string(&path).map_err(|source| SummaryError::Read { path: path.clone(), source })?;
        serde_json::from_str(&text).map_err(|source| SummaryError::Parse { path, source })
    }

    /// Writes it into the run's folder: a reader sees the old file or the new one, never half of one.
    ///
    /// # Errors
    /// [`SummaryError::Write`], with the old file still in place.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, SummaryError> {
        let path = dir.join(FILE_NAME);
        let mut text =
            serde_json::to_string_pretty(self).expect("a summary has string keys only, so it is always JSON");
        text.push('\n');
        write_atomic(&path, |file| file.write_all(text.as_bytes()))?;
        Ok(path)
    }

    /// The last stage that has a score, which is what the run amounts to.
    pub fn last_evaluated(&self) -> Option<&StageSummary> {
        self.stages.iter().rev().find(|stage| !stage.eval.is_empty())
    }

    /// Every domain that any stage was evaluated on, in alphabetical order.
    pub fn domains(&self) -> Vec<&str> {
        let names: std::collections::BTreeSet<&str> =
            self.stages.iter().flat_map(|stage| stage.eval.keys().map(String::as_str)).collect();
        names.into_iter().collect()
    }

    /// The score of stage `index` in `domain` minus that of its nearest ancestor which has one: what training since then did.
    pub fn delta(&self, index: usize, domain: &str) -> Option<f64> {
        let now = self.stages[index].eval.get(domain)?.pass_at_1;
        let before = self.ancestors(index).find_map(|ancestor| ancestor.eval.get(domain))?.pass_at_1;
        Some(now - before).filter(|delta| delta.is_finite())
    }

    /// The stages whose training stage `index` stands on, the nearest first.
    pub fn ancestors(&self, index: usize) -> impl Iterator<Item = &StageSummary> {
        std::iter::successors(self.parent(index), |&at| self.parent(at)).map(|at| &self.stages[at])
    }

    /// The stage that left the checkpoint from which stage `index` started. Where the summary does not say, the one before it.
    fn parent(&self, index: usize) -> Option<usize> {
        match self.stages[index].from.as_str() {
            "" => index.checked_sub(1),
            name => self.stages[..index].iter().position(|stage| stage.name == name),
        }
    }
}

/// JSON has no NaN: the writer turns it into `null`, and this turns it back.
fn nan_if_null<'de, D: Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(value)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESIGN: &str = r#"{"run":"quickstart","elapsed_s":412.5,"stages":[{"name":"rl","kind":"rl","elapsed_s":60.25,"tokens":123456,
        "flops":1.5e15,"eval":{"math":{"pass_at_1":0.75,"n":200}}}],"exactness":{"max_abs_logprob_diff":0.0,"tokens_compared":98765},
        "verdicts":{"pass":10,"fail":5,"undecided":1,"error":2},"post_training_share":0.25}"#;

    #[test]
    fn the_documented_json_round_trips_key_by_key() {
        let summary: Summary = serde_json::from_str(DESIGN).expect("the design's example parses");
        assert_eq!(summary.stages[0].eval["math"], Score { pass_at_1: 0.75, n: 200 });
        assert_eq!(summary.verdicts.total(), 18);
        let written = serde_json::to_value(&summary).expect("it serialises");
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(DESIGN).expect("it is JSON"));
    }

    #[test]
    fn a_file_round_trips_and_nan_survives_as_null() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut summary: Summary = serde_json::from_str(DESIGN).expect("it parses");
        summary.write(dir.path()).expect("it is written");
        assert_eq!(Summary::read(dir.path()).expect("it is read"), summary);

        summary.post_training_share = f64::NAN;
        summary.exactness.max_abs_logprob_diff = f64::NAN;
        summary.write(dir.path()).expect("it is written again");
        let back = Summary::read(dir.path()).expect("null is read");
        assert!(back.post_training_share.is_nan() && back.exactness.max_abs_logprob_diff.is_nan());
        assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 1, "no temporary file is left");
    }

    #[test]
    fn inv_1_a_difference_that_is_no_number_stays_one() {
        let mut exactness = Exactness::default();
        exactness.add(0.0, 1);
        assert_eq!(exactness.max_abs_logprob_diff, 0.0);
        exactness.add(f64::INFINITY, 1);
        let text = serde_json::to_string(&exactness).expect("plain JSON");
        let mut read: Exactness = serde_json::from_str(&text).expect("as it was written");
        read.add(0.0, 1);
        assert!(read.max_abs_logprob_diff.is_nan() && read.tokens_compared == 3, "{read:?}");
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert!(Summary::read(dir.path()).expect_err("there is none").to_string().contains("summary.json"));
        std::fs::write(dir.path().join(FILE_NAME), r#"{"run": 3}"#).expect("written");
        let error = Summary::read(dir.path()).expect_err("3 is no name").to_string();
        assert!(error.contains("summary.json") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn deltas_skip_stages_without_the_domain() {
        let stage = |scores: &[(&str, f64)]| StageSummary {
            eval: scores.iter().map(|&(d, p)| (d.to_owned(), Score { pass_at_1: p, n: 8 })).collect(),
            ..Default::default()
        };
        let summary = Summary {
            stages: vec![
                stage(&[("math", 0.5)]),
                stage(&[("code", 0.25)]),
                stage(&[("math", 0.75), ("code", f64::NAN)]),
            ],
            ..Default::default()
        };
        assert_eq!(summary.delta(0, "math"), None);
        assert_eq!(summary.delta(2, "math"), Some(0.25));
        assert_eq!(summary.delta(2, "code"), None, "a score that is not a number has no delta");
        assert_eq!(summary.domains(), ["code", "math"]);
    }

    #[test]
    fn deltas_follow_the_checkpoints_and_not_the_list() {
        let stage = |name: &str, from: &str, score: f64| StageSummary {
            name: name.into(),
            from: from.into(),
            eval: [("math".to_owned(), Score { pass_at_1: score, n: 8 })]
                .into_iter()
                .filter(|_| score >= 0.0)
                .collect(),
            ..Default::default()
        };
        let stages = vec![
            stage("base", "model", 0.25),
            stage("sparse", "base", -1.0),
            stage("math-rl", "sparse", 0.75),
            stage("code-rl", "sparse", 0.5),
            stage("eval", "math-rl", 0.75),
        ];
        let summary = Summary { stages, ..Default::default() };
        let deltas: Vec<_> = (0..5).map(|i| summary.delta(i, "math")).collect();
        assert_eq!(deltas, [None, None, Some(0.5), Some(0.25), Some(0.0)]);
        let names: Vec<_> = summary.ancestors(3).map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["sparse", "base"]);
    }

    /// Expected: the formula in Python, with the exact quantile 1.959964.
    #[test]
    fn the_wilson_interval_of_15_in_20() {
        let (low, high) = Score { pass_at_1: 0.75, n: 20 }.interval().expect("20 prompts");
        assert!((low - 0.531_299).abs() < 1e-4 && (high - 0.888_138).abs() < 1e-4, "{low} {high}");
        assert_eq!(Score { pass_at_1: 0.75, n: 0 }.interval(), None);
    }
}
