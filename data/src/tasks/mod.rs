//! Seeded generators of tasks: arithmetic with worked reasoning, small functions from examples, retrieval from a long
//! context.
//!
//! Item `i` of (name, seed, split) is a pure function of the three and `i`: nothing is drawn in sequence, so a
//! resumed run or another worker sees the same prompts (INV-4). Whether a problem belongs to the training or to the
//! evaluation split is decided by a hash of the problem itself, not of its number or the seed: the splits of *any*
//! two seeds are disjoint.

pub mod arithmetic;
pub mod functions;
pub mod program;
pub mod retrieval;
pub mod vocabulary;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CounterRng, Message, Prompt};
use arithmetic::Arithmetic;
use functions::Functions;
use retrieval::Retrieval;

/// The share of all problems that belongs to the evaluation split.
pub const EVAL_SHARE: f64 = 1.0 / 16.0;

/// Draws for one item before the settings are called too narrow. A draw lands in the evaluation split once in 16
/// times, so settings that leave it any sizeable set of problems need some hundred draws at the very most.
const MAX_DRAWS: u32 = 20_000;

/// The key of the hash that splits problems. Part of the meaning of "held out": changing it invalidates kept
/// checkpoints.
const SPLIT_KEY: u64 = 0x7465_6d70_6572;

/// What the problems are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To learn from.
    Train,
    /// Held out.
    Eval,
}

impl Split {
    /// The split to which the problem with this canonical text belongs.
    ///
    /// A Philox word keyed by the text decides: the plain FNV hash leaves the last characters out of its high bits.
    pub fn of(domain: &str, canonical: &str) -> Self {
        let held_out = CounterRng::new(SPLIT_KEY, &format!("{domain}\n{canonical}")).uniform_at(0) < EVAL_SHARE;
        if held_out { Self::Eval } else { Self::Train }
    }

    /// `train` or `eval`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Eval => "eval",
        }
    }
}

/// One problem as a generator draws it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// What must not be shared between the splits: the question, or what lies behind it.
    pub canonical: String,
    /// The user's turn.
    pub question: String,
    /// What the verifier compares with.
    pub ground_truth: Value,
    /// A worked reference completion, without the end token.
    pub answer: String,
    /// Facts about the problem that are worth a column: number of steps, family of the function, number of pairs.
    pub facts: Value,
}

/// Why a task yields no item.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TaskError {
    /// A setting makes no sense.
    #[error("task `{task}`: `{key}` {message}")]
    Setting {
        /// The kind of task.
        task: &'static str,
        /// The setting.
        key: &'static str,
        /// What is wrong with it, and what would be right.
        message: String,
    },
    /// The settings leave a split (nearly) empty.
    #[error(
        "task `{task}`: no problem for the {split} split within {draws} draws. The settings leave too few problems: widen \
         their ranges"
    )]
    Exhausted {
        /// The kind of task.
        task: &'static str,
        /// Which split.
        split: &'static str,
        /// How many problems were drawn.
        draws: u32,
    },
}

/// A generator with its settings. In a recipe: `task = "arithmetic"` and beside it the settings of [`Arithmetic`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "lowercase")]
pub enum Task {
    /// Domain `math`.
    Arithmetic(Arithmetic),
    /// Domain `code`.
    Functions(Functions),
    /// Domain `retrieval`.
    Retrieval(Retrieval),
}

impl Task {
    /// The task's name in a recipe; it is also the prompts' `data_source`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Arithmetic(_) => "arithmetic",
            Self::Functions(_) => "functions",
            Self::Retrieval(_) => "retrieval",
        }
    }

    /// The domain of its prompts.
    pub fn domain(&self) -> &'static str {
        match self {
            Self::Arithmetic(_) => "math",
            Self::Functions(_) => "code",
            Self::Retrieval(_) => "retrieval",
        }
    }

    /// Checks the settings. Call it once where a recipe is read; [`Task::item`] trusts them.
    ///
    /// # Errors
    /// [`TaskError::Setting`] names the first setting that makes no sense.
    pub fn validate(&self) -> Result<(), TaskError> {
        let check = match self {
            Self::Arithmetic(t) => t.validate(),
            Self::Functions(t) => t.validate(),
            Self::Retrieval(t) => t.validate(),
        };
        check.map_err(|(key, message)| TaskError::Setting { task: self.kind(), key, message })
    }

    /// Item `index` of the stream that `name`, `seed` and `split` pick.
    ///
    /// # Errors
    /// [`TaskError::Exhausted`] if the settings leave the split without problems.
    pub fn item(&self, name: &str, seed: u64, split: Split, index: u64) -> Result<Prompt, TaskError> {
        let id = format!("{name}/{}/{seed}/{index}", split.name());
        let mut rng = CounterRng::new(seed, &format!("task/{name}/{}/{index}", split.name()));
        for _ in 0..MAX_DRAWS {
            if let Some(problem) = self.draw(&mut rng)
                && Split::of(self.domain(), &problem.canonical) == split
            {
                return Ok(self.prompt(id, problem));
            }
        }
        Err(TaskError::Exhausted { task: self.kind(), split: split.name(), draws: MAX_DRAWS })
    }

    /// The items of a range of indices.
    ///
    /// # Errors
    /// As [`Task::item`].
    pub fn items(
        &self,
        name: &str,
        seed: u64,
        split: Split,
        indices: std::ops::Range<u64>,
    ) -> Result<Vec<Prompt>, TaskError> {
        indices.map(|i| self.item(name, seed, split, i)).collect()
    }

    /// One draw; `None` where the drawn numbers make no proper problem.
    fn draw(&self, rng: &mut CounterRng) -> Option<Problem> {
        match self {
            Self::Arithmetic(t) => t.draw(rng),
            Self::Functions(t) => t.draw(rng),
            Self::Retrieval(t) => Some(t.draw(rng)),
        }
    }

    fn prompt(&self, id: String, problem: Problem) -> Prompt {
        Prompt {
            id,
            domain: self.domain().into(),
            data_source: self.kind().into(),
            messages: vec![Message::user(problem.question)],
            ground_truth: problem.ground_truth,
            answer: Some(problem.answer),
            extra_info: problem.facts,
        }
    }
}

/// Checks that `[low, high]` is a range within `least ..= most`.
fn check_range(
    key: &'static str,
    [low, high]: [usize; 2],
    least: usize,
    most: usize,
) -> Result<(), (&'static str, String)> {
    if low <= high && least <= low && high <= most {
        return Ok(());
    }
    Err((key, format!("is [{low}, {high}], but must be a range [low, high] within [{least}, {most}]")))
}

fn check_share(key: &'static str, share: f64) -> Result<(), (&'static str, String)> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err((key, format!("is {share}, but must be a share within 0 and 1")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::arithmetic::Op;
    use super::*;

    fn all() -> [Task; 3] {
        [
            Task::Arithmetic(Arithmetic::default()),
            Task::Functions(Functions::default()),
            Task::Retrieval(Retrieval::default()),
        ]
    }

    #[test]
    fn inv_4_an_item_is_a_pure_function_of_its_name_seed_split_and_index() {
        for task in all() {
            task.validate().expect("defaults are valid");
            let forward = task.items("t", 5, Split::Train, 0..40).expect("items");
            let backward: Vec<Prompt> =
                (0..40).rev().map(|i| task.item("t", 5, Split::Train, i).expect("item")).collect();
            assert_eq!(forward, backward.into_iter().rev().collect::<Vec<_>>());
            let question = |name: &str, seed, split| task.item(name, seed, split, 3).expect("item").messages;
            let this = question("t", 5, Split::Train);
            for other in [question("u", 5, Split::Train), question("t", 6, Split::Train), question("t", 5, Split::Eval)]
            {
                assert_ne!(other, this);
            }
        }
    }

    #[test]
    fn splits_are_disjoint_over_all_seeds() {
        for task in all() {
            let texts = |split, seed| -> HashSet<String> {
                let items = task.items("t", seed, split, 0..600).expect("items");
                items.into_iter().map(|p| p.messages[0].content.clone()).collect()
            };
            let train: HashSet<String> = (1..4).flat_map(|seed| texts(Split::Train, seed)).collect();
            let eval: HashSet<String> = (7..10).flat_map(|seed| texts(Split::Eval, seed)).collect();
            assert!(train.len() > 500 && eval.len() > 300, "{}: {} {}", task.kind(), train.len(), eval.len());
            assert!(train.is_disjoint(&eval), "{}", task.kind());
        }
    }

    #[test]
    fn the_eval_share_is_what_it_says() {
        let held_out = (0..16_000).filter(|i| Split::of("math", &format!("{i}+1")) == Split::Eval).count();
        assert!((900..1100).contains(&held_out), "{held_out}");
    }

    #[test]
    fn ids_are_unique_and_name_the_stream() {
        let task = &all()[0];
        assert_eq!(task.item("math", 9, Split::Eval, 4).expect("item").id, "math/eval/9/4");
    }

    #[test]
    fn settings_that_leave_no_problem_are_an_error() {
        let only = Arithmetic { steps: [1, 1], operand_max: 1, ops: vec![Op::Sub], ..Arithmetic::default() };
        let task = Task::Arithmetic(only);
        // `1-1` is all there is, and it belongs to one split.
        let errors = [Split::Train, Split::Eval].map(|s| task.item("t", 0, s, 0).err());
        let exhausted = errors.iter().flatten().filter(|e| matches!(e, TaskError::Exhausted { .. })).count();
        assert_eq!(exhausted, 1, "{errors:?}");
    }

    #[test]
    fn a_recipe_names_the_task_and_unknown_settings_are_refused() {
        let task: Task =
            serde_json::from_str(r#"{"task": "arithmetic", "steps": [2, 3], "ops": ["+", "-"]}"#).expect("valid");
        assert!(matches!(&task, Task::Arithmetic(a) if a.steps == [2, 3] && a.ops.len() == 2));
        let error =
            serde_json::from_str::<Task>(r#"{"task": "arithmetic", "stepz": [2, 3]}"#).expect_err("unknown key");
        assert!(error.to_string().contains("stepz"), "{error}");
    }
}
