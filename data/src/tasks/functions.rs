//! Small Python functions from examples: `f(0)=1 f(1)=3 f(5)=11 f(7)=15` → a line of reasoning and a fenced function.
//!
//! Every problem is well posed, by checks against all programs of its kind: the shown examples fit one program only,
//! and the hidden tests are passed by one program only. Hidden inputs differ from the shown ones, so a table of what
//! was shown fails.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::program::{Datum, Kind, LETTERS, Program, families};
use super::{Problem, check_range, check_share};
use crate::CounterRng;

/// A family with at least this many programs is split by program, so that evaluation asks for functions never seen in
/// training; a smaller one is split by the examples shown, or whole families would be missing from a split.
const SPLIT_BY_PROGRAM: usize = 64;

/// How often examples are drawn anew for one program. Some programs need luckier examples than others; without this
/// they would be rare among the problems.
const POSINGS: usize = 64;

/// Hidden integers are drawn from this range: negative ones too, where floor division and truncation part.
const HIDDEN_INTEGERS: (i64, i64) = (-9, 20);

/// Hidden lists and strings have 1 to this many elements.
const HIDDEN_LENGTH: i64 = 6;

/// The settings of the function task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Functions {
    /// What the functions take. All families of these kinds are equally likely.
    pub kinds: Vec<Kind>,
    /// Largest constant in a function.
    pub constant_max: i64,
    /// Largest integer shown as an argument. `f(0)` and `f(1)` are always shown, and two more.
    pub input_max: i64,
    /// Fewest and most elements of the three lists or strings shown.
    pub length: [usize; 2],
    /// Number of hidden tests.
    pub tests: usize,
    /// Share of the answers that end in another function than the one that the reasoning found, of the same kind: see
    /// [`Arithmetic::slips`](super::arithmetic::Arithmetic::slips).
    pub slips: f64,
}

impl Default for Functions {
    fn default() -> Self {
        Self {
            kinds: vec![Kind::Int, Kind::List, Kind::Text],
            constant_max: 9,
            input_max: 12,
            length: [2, 4],
            tests: 6,
            slips: 0.0,
        }
    }
}

impl Functions {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if self.kinds.is_empty() {
            return Err(("kinds", "is empty: name at least one of `int`, `list`, `text`".into()));
        }
        if !(2..=20).contains(&self.constant_max) {
            return Err(("constant_max", format!("is {}, but must be within 2 and 20", self.constant_max)));
        }
        if !(self.constant_max + 1..=99).contains(&self.input_max) {
            let message =
                format!("is {}, but must exceed `constant_max` (for max and min) and stay below 100", self.input_max);
            return Err(("input_max", message));
        }
        check_share("slips", self.slips)?;
        check_range("length", self.length, 2, 8)?;
        check_range("tests", [self.tests; 2], 3, 16)
    }

    pub(super) fn draw(&self, rng: &mut CounterRng) -> Option<Problem> {
        let all: Vec<Vec<Program>> = self.kinds.iter().flat_map(|k| families(*k, self.constant_max)).collect();
        let family = rng.choose(&all);
        let program = *rng.choose(family);
        let rivals: Vec<Program> =
            all.iter().flatten().filter(|p| p.kind() == program.kind() && **p != program).copied().collect();
        let (shown, work, hidden) = (0..POSINGS).find_map(|_| self.pose(program, &rivals, rng))?;
        let question = question(&shown);
        let canonical = if family.len() >= SPLIT_BY_PROGRAM { program.body() } else { question.clone() };
        Some(Problem {
            canonical,
            question,
            ground_truth: tests(&hidden),
            answer: answer(&work, self.draw_slip(&all, program, rng).unwrap_or(program)),
            facts: json!({"program": program.body()}),
        })
    }

    /// Draws whether the answer slips, and to which function: of any family of its kind, each as likely.
    fn draw_slip(&self, all: &[Vec<Program>], program: Program, rng: &mut CounterRng) -> Option<Program> {
        if self.slips <= 0.0 || rng.uniform() >= self.slips {
            return None;
        }
        let kin: Vec<&Vec<Program>> = all.iter().filter(|family| family[0].kind() == program.kind()).collect();
        (0..POSINGS)
            .map(|_| {
                let family = *rng.choose(&kin);
                *rng.choose(family)
            })
            .find(|other| *other != program)
    }

    /// Draws shown examples, the reasoning that they allow, and hidden tests; `None` if they do not make a well-posed
    /// problem.
    fn pose(&self, program: Program, rivals: &[Program], rng: &mut CounterRng) -> Option<(Examples, String, Examples)> {
        let shown = examples(program, self.draw_shown(program.kind(), rng))?;
        if rivals.iter().any(|rival| fits(rival, &shown)) {
            return None;
        }
        let work = program.worked(&shown)?;
        let hidden = examples(program, self.draw_hidden(program.kind(), &shown, rng))?;
        let constant = hidden.iter().all(|(_, y)| *y == hidden[0].1);
        (!constant && !rivals.iter().any(|rival| fits(rival, &hidden))).then_some((shown, work, hidden))
    }

    /// The arguments of the shown examples: integers ascending, so that `f(0)` and `f(1)` stand first.
    fn draw_shown(&self, kind: Kind, rng: &mut CounterRng) -> Vec<Datum> {
        if kind == Kind::Int {
            let (p, q) = (rng.range(2, self.input_max), rng.range(2, self.input_max));
            return [0, 1, p.min(q), p.max(q)].map(Datum::Int).to_vec();
        }
        let [low, high] = self.length.map(|n| n as i64);
        (0..3).map(|_| sequence(kind, rng.range(low, high), (0, 9), rng)).collect()
    }

    /// The arguments of the hidden tests, none of them shown.
    fn draw_hidden(&self, kind: Kind, shown: &[(Datum, Datum)], rng: &mut CounterRng) -> Vec<Datum> {
        let mut hidden = Vec::with_capacity(self.tests);
        while hidden.len() < self.tests {
            let argument = match kind {
                Kind::Int => Datum::Int(rng.range(HIDDEN_INTEGERS.0, HIDDEN_INTEGERS.1)),
                _ => sequence(kind, rng.range(1, HIDDEN_LENGTH), HIDDEN_INTEGERS, rng),
            };
            if !hidden.contains(&argument) && shown.iter().all(|(x, _)| *x != argument) {
                hidden.push(argument);
            }
        }
        hidden
    }
}

/// Arguments with their results.
type Examples = Vec<(Datum, Datum)>;

/// A random list or string.
fn sequence(kind: Kind, length: i64, (low, high): (i64, i64), rng: &mut CounterRng) -> Datum {
    match kind {
        Kind::Text => Datum::Text((0..length).map(|_| *rng.choose(&LETTERS)).collect()),
        Kind::List | Kind::Int => Datum::List((0..length).map(|_| rng.range(low, high)).collect()),
    }
}

/// Arguments with their results; `None` if an argument occurs twice.
fn examples(program: Program, arguments: Vec<Datum>) -> Option<Examples> {
    let twice = (1..arguments.len()).any(|i| arguments[..i].contains(&arguments[i]));
    (!twice).then(|| arguments.into_iter().map(|x| (x.clone(), program.apply(&x))).collect())
}

fn fits(program: &Program, examples: &[(Datum, Datum)]) -> bool {
    examples.iter().all(|(x, y)| program.apply(x) == *y)
}

fn question(shown: &[(Datum, Datum)]) -> String {
    shown.iter().map(|(x, y)| format!("f({x})={y}")).collect::<Vec<_>>().join(" ")
}

fn answer(work: &str, program: Program) -> String {
    let think = if work.is_empty() { String::new() } else { format!("<think>{work}</think>\n") };
    format!("{think}```python\n{}\n```", program.source())
}

/// The ground truth of a code prompt: `inputs[i]` is the list of arguments of test `i`, `outputs[i]` its result.
fn tests(hidden: &[(Datum, Datum)]) -> Value {
    let inputs: Vec<Value> = hidden.iter().map(|(x, _)| json!([Value::from(x)])).collect();
    let outputs: Vec<Value> = hidden.iter().map(|(_, y)| Value::from(y)).collect();
    json!({"inputs": inputs, "outputs": outputs, "fn_name": "f"})
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::Prompt;
    use crate::tasks::{Split, Task};

    fn items(split: Split, count: u64) -> Vec<Prompt> {
        let task = Task::Functions(Functions::default());
        task.validate().expect("defaults are valid");
        task.items("t", 11, split, 0..count).expect("items")
    }

    fn program_of(prompt: &Prompt) -> &str {
        prompt.extra_info["program"].as_str().expect("a body")
    }

    #[test]
    fn hidden_tests_are_new_and_come_from_the_named_program() {
        let by_body: HashMap<String, Program> = [Kind::Int, Kind::List, Kind::Text]
            .into_iter()
            .flat_map(|kind| families(kind, 9))
            .flatten()
            .map(|program| (program.body(), program))
            .collect();
        for prompt in items(Split::Train, 400) {
            let program = by_body[program_of(&prompt)];
            let (question, truth) = (&prompt.messages[0].content, &prompt.ground_truth);
            assert_eq!(truth["fn_name"], "f");
            let (inputs, outputs) =
                (truth["inputs"].as_array().expect("list"), truth["outputs"].as_array().expect("list"));
            assert_eq!((inputs.len(), outputs.len()), (6, 6));
            for (input, output) in inputs.iter().zip(outputs) {
                let argument = match &input[0] {
                    Value::Number(n) => Datum::Int(n.as_i64().expect("an integer")),
                    Value::String(s) => Datum::Text(s.clone()),
                    list => Datum::List(serde_json::from_value(list.clone()).expect("integers")),
                };
                assert_eq!(Value::from(&program.apply(&argument)), *output, "{}", program.body());
                assert!(!question.contains(&format!("f({argument})=")), "{question} shows {argument}");
            }
        }
    }

    #[test]
    fn answers_hold_the_program_in_a_fence() {
        for prompt in items(Split::Eval, 100) {
            let answer = prompt.answer.as_deref().expect("worked");
            let (before, fenced) = answer.split_once("```python\n").expect("a fence");
            assert!(before.is_empty() || (before.starts_with("<think>") && before.ends_with("</think>\n")), "{answer}");
            let body = fenced.strip_suffix("\n```").and_then(|f| f.split_once("return ")).expect("a function").1;
            assert_eq!(body, program_of(&prompt));
        }
    }

    #[test]
    fn the_examples_determine_the_program() {
        let mut seen: HashMap<String, String> = HashMap::new();
        for prompt in items(Split::Train, 1500) {
            let body = program_of(&prompt).to_owned();
            let other = seen.insert(prompt.messages[0].content.clone(), body.clone());
            assert!(other.is_none_or(|o| o == body));
        }
    }

    #[test]
    fn every_family_occurs_and_affine_functions_are_held_out_as_programs() {
        let bodies = |split| items(split, 1500).iter().map(|p| program_of(p).to_owned()).collect::<HashSet<_>>();
        let (train, eval) = (bodies(Split::Train), bodies(Split::Eval));
        for kind in [Kind::Int, Kind::List, Kind::Text] {
            for family in families(kind, 9) {
                assert!(family.iter().any(|p| train.contains(&p.body())), "{:?}", family[0]);
            }
        }
        for program in families(Kind::Int, 9).into_iter().filter(|f| f.len() >= SPLIT_BY_PROGRAM).flatten() {
            assert!(!(train.contains(&program.body()) && eval.contains(&program.body())), "{}", program.body());
        }
        assert!(eval.iter().any(|b| !train.contains(b)), "evaluation asks for unseen functions");
    }

    /// Runs every reference answer in CPython: against the examples of its prompt, its hidden tests, and its own
    /// check line.
    #[test]
    fn python_agrees_with_the_twin() {
        const CHECK: &str = r#"
import json, re, sys
for line in sys.stdin:
    p = json.loads(line)
    scope = {}
    exec(re.search(r"```python\n(.*)\n```", p["answer"], re.S).group(1), scope)
    f, truth = scope["f"], p["ground_truth"]
    for args, output in zip(truth["inputs"], truth["outputs"], strict=True):
        assert f(*args) == output and type(f(*args)) is type(output), (p, args)
    for call, output in re.findall(r"(f\(.*?\))=(\S+)", p["messages"][0]["content"]):
        assert eval(call, scope) == eval(output), (p, call)
    work = re.search(r"<think>(.*)</think>", p["answer"])
    for step in work.group(1).split(";") if work else []:
        terms = step.split("=")
        values = [eval(t) for t in terms if not t.isalpha()]
        assert len(set(values)) == 1, (p, step)
print("agrees")
"#;
        let mut python = std::process::Command::new("python3")
            .args(["-I", "-c", CHECK])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the tests need python3");
        let line = |prompt: &Prompt| serde_json::to_string(prompt).expect("serialises") + "\n";
        let lines: String = items(Split::Train, 1000).iter().map(line).collect();
        let mut input = python.stdin.take().expect("piped");
        std::io::Write::write_all(&mut input, lines.as_bytes()).expect("python reads");
        drop(input);
        let output = python.wait_with_output().expect("python ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "agrees\n");
    }

    #[test]
    fn slips_are_in_the_answer_and_never_in_the_tests() {
        let clean = Task::Functions(Functions::default());
        let task = Task::Functions(Functions { slips: 0.3, ..Functions::default() });
        let items = task.items("t", 5, Split::Train, 0..1000).expect("items");
        let wrong = items.iter().filter(|prompt| {
            let body = format!("return {}\n```", program_of(prompt));
            !prompt.answer.as_deref().expect("worked").ends_with(&body)
        });
        let share = wrong.count() as f64 / 1000.0;
        assert!((0.25..0.35).contains(&share), "{share}");
        let first = |task: &Task| task.items("t", 5, Split::Train, 0..1).expect("items").remove(0).ground_truth;
        assert_eq!(first(&clean), first(&task), "the problem does not depend on the slips");
    }

    #[test]
    fn senseless_settings_are_named() {
        let key = |f: Functions| f.validate().expect_err("senseless").0;
        assert_eq!(key(Functions { kinds: vec![], ..Functions::default() }), "kinds");
        assert_eq!(key(Functions { input_max: 9, ..Functions::default() }), "input_max");
        assert_eq!(key(Functions { length: [0, 3], ..Functions::default() }), "length");
        assert_eq!(key(Functions { slips: -0.1, ..Functions::default() }), "slips");
    }
}
