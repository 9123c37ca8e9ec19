//! What a stage must remember to go on after a kill, and what it leaves for the summary.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use data::{ScoredGroup, Status};
use learner::memory::StepMemory;
use policy::ModelConfig;
use policy::flops::{self, Work};
use serde::{Deserialize, Serialize};

use super::prompts::Cursor;
use super::sealed;
use crate::exit::{Code, Failure, OrFail};
use crate::summary::{Exactness, Memory, Score, TextScore, VerdictCounts};

/// The name of a state file in a checkpoint folder.
pub const STATE: &str = "state.json";

/// How far a stage has come, and what it used and saw on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageState {
    /// Steps done.
    pub step: u64,
    /// Steps in all; known from the start, or after the first step where the recipe gives a share of the compute.
    pub total: u64,
    /// Where it stands in its prompts.
    pub cursor: Cursor,
    /// Compute so far.
    pub ledger: Ledger,
    /// Sampler against learner.
    pub exactness: Exactness,
    /// Verdicts so far.
    pub verdicts: VerdictCounts,
    /// Held-out scores, once it was evaluated.
    pub eval: BTreeMap<String, Score>,
    /// Held-out text, once it was measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, TextScore>,
    /// What it held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Compute used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Rows that went through the model, sampled and trained alike.
    pub tokens: u64,
    /// Floating-point operations, by [`policy::flops`].
    pub flops: f64,
    /// Seconds of wall clock.
    pub elapsed_s: f64,
}

impl Ledger {
    /// Adds `forwards` forwards over `work`: 1 to sample or to score, 3 to train.
    pub fn add(&mut self, config: &ModelConfig, work: Work, forwards: f64) {
        self.tokens += work.rows;
        self.flops += forwards * flops::forward(config, work);
    }
}

impl StageState {
    /// Reads a state file.
    ///
    /// # Errors
    /// [`Code::Checkpoint`].
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).or_fail(Code::Checkpoint)?;
        serde_json::from_str(&text).or_fail(Code::Checkpoint).map_err(|f| f.context(path.display()))
    }

    /// Writes a state file.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).expect("a state is plain JSON") + "\n";
        data::atomic::write_atomic(path, |file| file.write_all(text.as_bytes())).or_fail(Code::Disk)
    }

    /// Reads the file of a stage that is done.
    ///
    /// # Errors
    /// [`Code::Checkpoint`] where it is not what was written.
    pub fn read_done(path: &Path) -> Result<Self, Failure> {
        sealed::read(path).map_err(|failure| {
            Failure { code: Code::Checkpoint, ..failure }
                .hint("delete it: `temper resume` then does the end of that stage again, from its last checkpoint")
        })
    }

    /// Writes the file of a stage that is done, with its SHA-256: what it says of the compute decides the length of later stages.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn write_done(&self, path: &Path) -> Result<(), Failure> {
        sealed::write(path, self)
    }

    /// Adds the learner's comparison.
    pub fn compared(&mut self, found: learner::replay::Exactness) {
        self.exactness.add(found.max_abs_logprob_diff, found.tokens_compared);
    }

    /// What a step of the learner held.
    pub fn held(&mut self, step: StepMemory) {
        let memory = self.memory.get_or_insert_default();
        memory.gradients = memory.gradients.max(step.gradients);
        memory.activations = memory.activations.max(step.activations);
        memory.head = memory.head.max(step.head);
        memory.device = memory.device.max(step.device);
    }

    /// Counts the verdicts of sampled groups.
    pub fn judged(&mut self, groups: &[ScoredGroup]) {
        for (_, verdict) in groups.iter().flat_map(|g| &g.samples).flat_map(|s| &s.verdicts) {
            match verdict.status {
                Status::Pass => self.verdicts.pass += 1,
                Status::Fail => self.verdicts.fail += 1,
                Status::Undecided => self.verdicts.undecided += 1,
                Status::Error => self.verdicts.error += 1,
            }
        }
    }
}

/// The rows of sampling these groups: each prompt once, each completion but its last token.
pub fn sampling_work(config: &ModelConfig, groups: &[ScoredGroup]) -> Work {
    let top_k = config.indexer.as_ref().map(|i| i.top_k);
    let mut work = Work::default();
    for group in groups {
        let prompt = group.samples.first().map_or(Work::default(), |s| Work::sequence(s.trajectory.prompt_len, top_k));
        work.add(prompt);
        for sample in &group.samples {
            work.add(Work::sequence(sample.trajectory.tokens.len() - 1, top_k).without(prompt));
        }
    }
    work
}

/// The rows of one learner's forward over whole sequences of these lengths, in tokens.
pub fn learning_work(config: &ModelConfig, dense: bool, lengths: impl Iterator<Item = usize>) -> Work {
    let top_k = config.indexer.as_ref().map(|i| i.top_k).filter(|_| !dense);
    let mut work = Work::default();
    lengths.for_each(|length| work.add(Work::sequence(length.saturating_sub(1), top_k)));
    work
}
