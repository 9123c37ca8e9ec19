//! A trajectory: the token ids of one conversation and, beside each, what the learner must know to replay it (INV-5).

use serde::{Deserialize, Serialize};

/// Who wrote a token. Only the policy's own tokens are trained by a policy gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Author {
    /// The prompt, template tokens included.
    Prompt = 0,
    /// The policy sampled it.
    Policy = 1,
    /// A tool or an environment wrote it.
    Tool = 2,
}

/// Why sampling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Finish {
    /// A stop token or stop string was sampled.
    Stop = 0,
    /// The limit on new tokens, or the context, was reached.
    Length = 1,
}

/// The tokens that the sampler kept at each sampled position (top-p, top-k), as compressed rows.
///
/// Empty when nothing was cut (`top_p = 1`, `top_k = 0`): then every token of the vocabulary was kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeptSets {
    /// `offsets[i] .. offsets[i + 1]` is the range in `ids` of the `i`-th completion token. One longer than the completion; empty when nothing was cut.
    pub offsets: Vec<u32>,
    /// Token ids, ascending within a row.
    pub ids: Vec<u32>,
}

impl KeptSets {
    /// True when nothing was cut.
    pub fn is_full(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The kept ids of completion token `i`, or `None` when nothing was cut.
    pub fn row(&self, i: usize) -> Option<&[u32]> {
        if self.is_full() {
            return None;
        }
        Some(&self.ids[self.offsets[i] as usize..self.offsets[i + 1] as usize])
    }

    /// Appends one row. Call it for every completion token of a trajectory or for none.
    pub fn push(&mut self, ids: &[u32]) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.ids.extend_from_slice(ids);
        self.offsets.push(self.ids.len() as u32);
    }
}

/// The key positions that the indexer selected, recorded by the sampler for replay (`live+replay`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selections {
    /// Indices a query row holds (the model's top-k); rows with fewer valid keys are padded with −1.
    pub top_k: usize,
    /// `[layers][rows × top_k]`, positions within the sequence, ascending, −1 last. Rows are the tokens that were fed: all but the last.
    pub layers: Vec<Vec<i32>>,
}

/// The experts that each token went through, recorded by the sampler for replay (Keep Routing of DeepSeek-V3.2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Routing {
    /// Experts of a token in a layer.
    pub top_k: usize,
    /// `[layers with experts][rows × top_k]`, expert numbers, ascending in a row. Rows are the tokens that were fed: all but the last.
    pub layers: Vec<Vec<u16>>,
}

/// One sampled conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// The [`crate::Prompt::id`] it answers.
    pub prompt_id: String,
    /// Which of the group's samples it is, from 0.
    pub sample: u32,
    /// Prompt and completion, token by token, exactly as fed and sampled: never re-tokenised.
    pub tokens: Vec<u32>,
    /// Who wrote each of `tokens`.
    pub authors: Vec<Author>,
    /// How many of `tokens` are the first prompt.
    pub prompt_len: usize,
    /// For each completion token (`tokens[prompt_len..]`) the natural-log probability under the policy that sampled it, over the kept
    /// set and at the sampling temperature; 0 for a token that the policy did not write.
    pub logprobs: Vec<f32>,
    /// For each completion token the version of the weights that sampled it.
    pub versions: Vec<u64>,
    /// The kept set of each completion token.
    pub kept: KeptSets,
    /// The indexer's selections, where the recipe asks for them.
    pub selections: Option<Selections>,
    /// The experts of each token, where the model has any and the recipe asks for them. Where the weights changed under a sample, its rows
    /// were computed anew, and these are the choices of the last weights that computed them.
    #[serde(default)]
    pub routing: Option<Routing>,
    /// Why it ended.
    pub finish: Finish,
}

impl Trajectory {
    /// Number of completion tokens, tool tokens included.
    pub fn completion_len(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// The completion's token ids.
    pub fn completion(&self) -> &[u32] {
        &self.tokens[self.prompt_len..]
    }
}
