//! What is asked of the engine and what comes back: groups of samples of one prompt.

use data::Trajectory;

/// Several samples of one prompt.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the caller knows the group by.
    pub id: usize,
    /// Keys the random numbers: the prompt's id with whatever tells two uses of it apart.
    pub key: String,
    /// The prompt's id, for the trajectory.
    pub prompt_id: String,
    /// The prompt.
    pub tokens: Vec<u32>,
    /// Samples wanted.
    pub samples: usize,
    /// Samples that have begun already, by sample number; empty where none has.
    pub begun: Vec<Begun>,
}

impl Request {
    /// Samples that are not finished.
    pub(crate) fn live(&self) -> usize {
        self.samples - self.begun.iter().filter(|b| matches!(b, Begun::Finished(_))).count()
    }
}

/// A sample that was begun before its group was submitted (again).
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// It goes on after these tokens. What they were sampled with stays in it.
    Running(Trajectory),
    /// It waits for the others of its group.
    Finished(Trajectory),
}

/// A group whose samples all ended.
#[derive(Debug)]
pub struct FinishedGroup {
    /// The [`Request::id`].
    pub id: usize,
    /// By sample number.
    pub trajectories: Vec<Trajectory>,
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The prompt leaves no room for an answer.
    #[error("prompt {prompt_id}: {tokens} tokens leave no room in a context of {context}")]
    PromptTooLong {
        /// The prompt.
        prompt_id: String,
        /// Its length.
        tokens: usize,
        /// The model's context.
        context: usize,
    },
    /// The prompt has no tokens.
    #[error("prompt {prompt_id} is empty")]
    EmptyPrompt {
        /// The prompt.
        prompt_id: String,
    },
    /// A token is not in the vocabulary.
    #[error(
        "prompt {prompt_id}: token {token} is not in the vocabulary of {vocabulary}; is this the model's tokenizer?"
    )]
    UnknownToken {
        /// The prompt.
        prompt_id: String,
        /// The token.
        token: u32,
        /// Its size.
        vocabulary: usize,
    },
    /// Even alone the group would not fit.
    #[error(
        "prompt {prompt_id}: the group needs {needed} cache pages and the cache has {pages}; raise sampling.batch or rl.in_flight, or lower max_new_tokens"
    )]
    CacheTooSmall {
        /// The prompt.
        prompt_id: String,
        /// Pages that it could need.
        needed: usize,
        /// Pages of the cache.
        pages: usize,
    },
}
