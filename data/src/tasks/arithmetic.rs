//! Multi-step arithmetic with worked reasoning: `17+26-8*3` → `<think>8*3=24;17+26=43;43-24=19</think>\boxed{19}`.
//!
//! Each operator is one step, products first, then sums from left to right, and each step is elementary: one-digit
//! factors, sums within `value_max`. The reasoning holds everything that the next step needs, so a model that masters
//! single steps and copying masters the task.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Problem, check_range, check_share};
use crate::CounterRng;

/// An operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Sum.
    #[serde(rename = "+")]
    Add,
    /// Difference.
    #[serde(rename = "-")]
    Sub,
    /// Product.
    #[serde(rename = "*")]
    Mul,
}

impl Op {
    fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Sub => '-',
            Self::Mul => '*',
        }
    }

    fn apply(self, a: i64, b: i64) -> i64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
        }
    }
}

/// The settings of the arithmetic task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Arithmetic {
    /// Fewest and most operators of an expression.
    pub steps: [usize; 2],
    /// Relative weight of each number of steps, from the fewest to the most; empty for equal weights.
    pub mix: Vec<f64>,
    /// Largest operand of a sum or difference.
    pub operand_max: i64,
    /// Largest factor of a product.
    pub factor_max: i64,
    /// Largest absolute value of any intermediate result.
    pub value_max: i64,
    /// Whether intermediate results may be negative.
    pub negative: bool,
    /// The operators to draw from.
    pub ops: Vec<Op>,
    /// Share of the worked answers in which one step gets a wrong result, from which the others go on. Text that
    /// people wrote holds such slips, and a model trained on it samples them: what a verifier's reward can mend and
    /// imitation cannot. The ground truth is right all the same. A slip that leaves the range of values has its problem drawn anew,
    /// so a few fewer answers slip than this says.
    pub slips: f64,
}

/// By how much a slip is off at most.
const SLIP_MAX: i64 = 9;

/// A wrong step.
#[derive(Debug, Clone, Copy)]
struct Slip {
    /// Which, from 0.
    step: usize,
    /// What its result is off by.
    by: i64,
}

impl Default for Arithmetic {
    fn default() -> Self {
        Self {
            steps: [2, 4],
            mix: Vec::new(),
            operand_max: 30,
            factor_max: 9,
            value_max: 99,
            negative: false,
            ops: vec![Op::Add, Op::Sub, Op::Mul],
            slips: 0.0,
        }
    }
}

impl Arithmetic {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        check_range("steps", self.steps, 1, 16)?;
        check_share("slips", self.slips)?;
        let kinds = self.steps[1] - self.steps[0] + 1;
        if !self.mix.is_empty() && self.mix.len() != kinds {
            return Err(("mix", format!("has {} weights, but `steps` spans {kinds} numbers of steps", self.mix.len())));
        }
        if self.mix.iter().any(|w| !w.is_finite() || *w < 0.0)
            || (!self.mix.is_empty() && self.mix.iter().sum::<f64>() <= 0.0)
        {
            return Err(("mix", "must hold finite weights, none negative and not all 0".into()));
        }
        if !self.ops.iter().any(|op| *op != Op::Mul) {
            return Err(("ops", "must hold `+` or `-` (products do not follow one another)".into()));
        }
        for (key, value, least) in
            [("operand_max", self.operand_max, 1), ("factor_max", self.factor_max, 2), ("value_max", self.value_max, 1)]
        {
            if !(least..=1_000_000).contains(&value) {
                return Err((key, format!("is {value}, but must be within {least} and 1000000")));
            }
        }
        Ok(())
    }

    pub(super) fn draw(&self, rng: &mut CounterRng) -> Option<Problem> {
        let ops = self.draw_ops(rng);
        let numbers: Vec<i64> = (0..=ops.len())
            .map(|i| {
                let factor = ops.get(i) == Some(&Op::Mul) || (i > 0 && ops[i - 1] == Op::Mul);
                if factor { rng.range(2, self.factor_max) } else { rng.range(1, self.operand_max) }
            })
            .collect();
        let (steps, result) = self.work(&numbers, &ops, None)?;
        let mut question = numbers[0].to_string();
        for (op, n) in ops.iter().zip(&numbers[1..]) {
            question.push(op.symbol());
            question.push_str(&n.to_string());
        }
        let (steps, answer) = match self.draw_slip(ops.len(), rng) {
            Some(slip) => self.work(&numbers, &ops, Some(slip))?,
            None => (steps, result),
        };
        Some(Problem {
            canonical: question.clone(),
            question,
            ground_truth: json!(result.to_string()),
            answer: format!("<think>{}</think>\\boxed{{{answer}}}", steps.join(";")),
            facts: json!({"steps": ops.len()}),
        })
    }

    /// Draws whether an answer of this many steps slips, at which step and by how much.
    fn draw_slip(&self, steps: usize, rng: &mut CounterRng) -> Option<Slip> {
        (self.slips > 0.0 && rng.uniform() < self.slips).then(|| Slip {
            step: rng.range(0, steps as i64 - 1) as usize,
            by: rng.range(1, SLIP_MAX) * if rng.uniform() < 0.5 { 1 } else { -1 },
        })
    }

    /// Draws the number of steps, then the operators: no product right after another, so that factors stay one-digit.
    fn draw_ops(&self, rng: &mut CounterRng) -> Vec<Op> {
        let sums: Vec<Op> = self.ops.iter().copied().filter(|op| *op != Op::Mul).collect();
        let mut ops: Vec<Op> = Vec::new();
        for _ in 0..self.draw_steps(rng) {
            let choices = if ops.last() == Some(&Op::Mul) { &sums } else { &self.ops };
            ops.push(*rng.choose(choices));
        }
        ops
    }

    fn draw_steps(&self, rng: &mut CounterRng) -> usize {
        if self.mix.is_empty() {
            return rng.range(self.steps[0] as i64, self.steps[1] as i64) as usize;
        }
        let mut left = rng.uniform() * self.mix.iter().sum::<f64>();
        for (i, weight) in self.mix.iter().enumerate() {
            if left < *weight {
                return self.steps[0] + i;
            }
            left -= weight;
        }
        self.steps[1]
    }

    /// The steps in the order in which they are worked, and the result; `None` if a value leaves the allowed range.
    fn work(&self, numbers: &[i64], ops: &[Op], slip: Option<Slip>) -> Option<(Vec<String>, i64)> {
        let mut steps = Vec::with_capacity(ops.len());
        let mut step = |op: Op, a: i64, b: i64| {
            let off = slip.filter(|slip| slip.step == steps.len()).map_or(0, |slip| slip.by);
            let value = op.apply(a, b) + off;
            steps.push(format!("{a}{}{b}={value}", op.symbol()));
            let least = if self.negative { -self.value_max } else { 0 };
            (least..=self.value_max).contains(&value).then_some(value)
        };
        let mut terms = vec![numbers[0]];
        let mut signs = Vec::new();
        for (&op, &n) in ops.iter().zip(&numbers[1..]) {
            match (op, terms.last_mut()) {
                (Op::Mul, Some(term)) => *term = step(op, *term, n)?,
                _ => {
                    signs.push(op);
                    terms.push(n);
                }
            }
        }
        let mut result = terms[0];
        for (&op, &term) in signs.iter().zip(&terms[1..]) {
            result = step(op, result, term)?;
        }
        Some((steps, result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{Split, Task};

    /// Another way to evaluate: split at the last sum operator, then at the last product.
    fn evaluate(text: &str) -> i64 {
        if let Some(at) = text.rfind(['+', '-']).filter(|at| *at > 0) {
            let (left, right) = (evaluate(&text[..at]), evaluate(&text[at + 1..]));
            return if text.as_bytes()[at] == b'+' { left + right } else { left - right };
        }
        match text.rsplit_once('*') {
            Some((left, right)) => evaluate(left) * evaluate(right),
            None => text.parse().expect("a number"),
        }
    }

    fn check(settings: &Arithmetic) {
        for prompt in Task::Arithmetic(settings.clone()).items("t", 1, Split::Train, 0..500).expect("items") {
            let question = &prompt.messages[0].content;
            let answer = prompt.answer.as_deref().expect("worked");
            let (work, boxed) =
                answer.strip_prefix("<think>").and_then(|a| a.split_once("</think>")).expect("a think block");
            let result = boxed.strip_prefix("\\boxed{").and_then(|b| b.strip_suffix('}')).expect("a box");
            assert_eq!(evaluate(question).to_string(), result, "{question}");
            assert_eq!(prompt.ground_truth, json!(result));
            let steps: Vec<&str> = work.split(';').collect();
            assert_eq!(steps.len(), question.matches(['+', '-', '*']).count(), "{question}: {work}");
            assert_eq!(prompt.extra_info["steps"], json!(steps.len()));
            for step in &steps {
                let (left, right) = step.split_once('=').expect("an equation");
                let right: i64 = right.parse().expect("a number");
                assert!(right.abs() <= settings.value_max && (settings.negative || right >= 0), "{question}: {step}");
                if !left.starts_with('-') {
                    assert_eq!(evaluate(left), right, "{question}: {step}");
                }
            }
            assert!(steps.last().is_some_and(|s| s.ends_with(&format!("={result}"))), "{question}: {work}");
        }
    }

    #[test]
    fn worked_answers_are_right() {
        check(&Arithmetic::default());
        check(&Arithmetic { steps: [1, 5], negative: true, operand_max: 99, value_max: 999, ..Arithmetic::default() });
    }

    #[test]
    fn products_come_first_then_sums_from_the_left() {
        let all = Arithmetic::default();
        let (steps, result) = all.work(&[17, 26, 8, 3], &[Op::Add, Op::Sub, Op::Mul], None).expect("in range");
        assert_eq!(steps, ["8*3=24", "17+26=43", "43-24=19"]);
        assert_eq!(result, 19);
        assert_eq!(all.work(&[3, 26, 30], &[Op::Sub, Op::Add], None), None, "3-26 is negative");
    }

    #[test]
    fn the_mix_weighs_the_number_of_steps() {
        let task = Task::Arithmetic(Arithmetic { mix: vec![0.0, 3.0, 1.0], ..Arithmetic::default() });
        task.validate().expect("valid");
        let items = task.items("t", 2, Split::Train, 0..400).expect("items");
        let with = |n: usize| items.iter().filter(|p| p.extra_info["steps"] == json!(n)).count();
        assert_eq!(with(2), 0);
        assert!(with(3) > with(4) && with(4) > 20, "{} {}", with(3), with(4));
    }

    #[test]
    fn slips_are_in_the_answer_and_never_in_the_ground_truth() {
        let task = Task::Arithmetic(Arithmetic { slips: 0.3, ..Arithmetic::default() });
        let items = task.items("t", 5, Split::Train, 0..1000).expect("items");
        let wrong = items.iter().filter(|prompt| {
            let truth = prompt.ground_truth.as_str().expect("text");
            assert_eq!(evaluate(&prompt.messages[0].content).to_string(), truth);
            let boxed = format!("\\boxed{{{truth}}}");
            !prompt.answer.as_deref().expect("worked").ends_with(&boxed)
        });
        let share = wrong.count() as f64 / 1000.0;
        assert!((0.2..0.32).contains(&share), "{share}");
    }

    #[test]
    fn senseless_settings_are_named() {
        let key = |a: Arithmetic| a.validate().expect_err("senseless").0;
        assert_eq!(key(Arithmetic { steps: [3, 2], ..Arithmetic::default() }), "steps");
        assert_eq!(key(Arithmetic { mix: vec![1.0], ..Arithmetic::default() }), "mix");
        assert_eq!(key(Arithmetic { ops: vec![Op::Mul], ..Arithmetic::default() }), "ops");
        assert_eq!(key(Arithmetic { operand_max: 0, ..Arithmetic::default() }), "operand_max");
        assert_eq!(key(Arithmetic { slips: 1.5, ..Arithmetic::default() }), "slips");
    }
}
