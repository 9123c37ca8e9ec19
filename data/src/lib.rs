//! What flows through Temper: prompts, trajectories, verdicts and scored groups, and the files that carry them.
//!
//! This crate knows nothing of tensors (INV-10). A [`Prompt`] goes to the sampler, which answers with a [`Trajectory`]; a
//! verifier reads an [`Item`] and answers with a [`Verdict`]; the four meet in a [`ScoredGroup`], which is what the learner
//! consumes and what the run log keeps.

pub mod atomic;
pub mod chat;
pub mod conversation;
pub mod counter_rng;
pub mod exact_json;
pub mod group;
pub mod load;
pub mod order;
pub mod pack;
pub mod prompt;
pub mod run_log;
pub mod scored_batch;
pub mod tasks;
pub mod tokenizer;
pub mod trajectory;
pub mod verdict;

pub use chat::{ChatError, ChatTemplate};
pub use conversation::Learned;
pub use counter_rng::CounterRng;
pub use group::{Mask, ScoredGroup, ScoredSample};
pub use load::{BadRow, BadRows, Columns, LoadError, LoadOptions, Loaded, PromptFile, load_prompts};
pub use order::WindowOrder;
pub use pack::pack_units;
pub use prompt::{Message, Prompt};
pub use run_log::{RunLog, RunLogError};
pub use scored_batch::{scored_batch, scored_groups};
pub use tasks::{Split, Task, TaskError};
pub use tokenizer::{Tokenizer, TokenizerError};
pub use trajectory::{Author, Finish, KeptSets, Routing, Selections, Trajectory};
pub use verdict::{Item, Status, Verdict};
