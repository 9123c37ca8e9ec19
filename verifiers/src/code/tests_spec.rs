//! Reads a ground truth into tests.
//!
//! Forms, as a JSON object or a string that holds one: `{"inputs": […], "outputs": […], "fn_name": "f"}` (an input is the list of
//! arguments, or LiveCodeBench's string with one JSON value a line), the same without `fn_name` (stdin and stdout), and
//! `{"asserts": ["assert f(1) == 2", …]}`.

use serde::Deserialize;
use serde_json::Value as Json;

use super::{
    asserts::{Assert, assert_shape},
    compare::Rules,
    settings::CodeSettings,
    value::Value,
};

/// The tests of an item.
#[derive(Debug)]
pub(super) struct Spec {
    /// The function that calls go to.
    pub fn_name: Option<String>,
    pub tests: Vec<Test>,
}

/// One test. Only `input` ever enters the child.
#[derive(Debug)]
pub(super) struct Test {
    pub input: Input,
    pub expect: Expect,
}

/// What a test gives to the program.
#[derive(Debug)]
pub(super) enum Input {
    /// The arguments of the call, as JSON.
    Arguments(String),
    /// An expression over the program's names.
    Expression(String),
    /// An assert that is run as it is (`raw_asserts`).
    Statement(String),
    /// Standard input; a fresh process for each.
    Stdin(String),
}

/// What a test wants back.
#[derive(Debug)]
pub(super) enum Expect {
    /// A value that came as JSON, and one more that is also right (`unwrap_outputs`).
    Json(Value, Option<Value>),
    /// A value that came as a Python literal.
    Python(Value),
    /// A value of this truth.
    Truth(bool),
    /// No exception.
    Completed,
    /// The text on standard output.
    Stdout(String),
}

#[derive(Deserialize)]
struct GroundTruth {
    inputs: Option<Vec<Json>>,
    outputs: Option<Vec<Json>>,
    fn_name: Option<String>,
    asserts: Option<Vec<String>>,
}

impl Expect {
    /// True when the value that a call returned is the wanted one.
    pub fn met_by(&self, got: &Value, settings: &CodeSettings) -> bool {
        match self {
            Self::Json(value, other) => {
                let rules = Rules::new(settings, true);
                rules.equal(value, got) || other.as_ref().is_some_and(|other| rules.equal(other, got))
            }
            Self::Python(value) => Rules::new(settings, false).equal(value, got),
            Self::Truth(wanted) => got.is_true() == *wanted,
            Self::Completed | Self::Stdout(_) => false,
        }
    }
}

impl Spec {
    /// Reads a ground truth, or says what is wrong with it.
    pub fn parse(ground_truth: &Json, settings: &CodeSettings) -> Result<Self, String> {
        let parsed: GroundTruth = match ground_truth {
            Json::String(text) => serde_json::from_str(text)
                .map_err(|e| format!("ground_truth is a string but not the JSON of tests: {e}"))?,
            Json::Null => return Err("ground_truth is missing".into()),
            other => GroundTruth::deserialize(other).map_err(|e| format!("ground_truth: {e}"))?,
        };
        let fn_name = parsed.fn_name.filter(|name| !name.is_empty());
        let tests = match (parsed.inputs, parsed.outputs, parsed.asserts) {
            (Some(inputs), Some(outputs), None) => pairs(&inputs, &outputs, fn_name.is_some(), settings)?,
            (None, None, Some(asserts)) => asserts.iter().map(|a| of_assert(a, settings)).collect::<Result<_, _>>()?,
            _ => return Err("ground_truth needs either inputs and outputs, or asserts".into()),
        };
        if tests.is_empty() {
            return Err("ground_truth has no tests, so nothing can be judged".into());
        }
        if tests.len() > settings.max_tests {
            return Err(format!(
                "ground_truth has {} tests, above code.max_tests = {}",
                tests.len(),
                settings.max_tests
            ));
        }
        Ok(Self { fn_name, tests })
    }
}

fn pairs(inputs: &[Json], outputs: &[Json], calls: bool, settings: &CodeSettings) -> Result<Vec<Test>, String> {
    if inputs.len() != outputs.len() {
        return Err(format!("ground_truth has {} inputs and {} outputs", inputs.len(), outputs.len()));
    }
    let test = |(i, (input, output)): (usize, (&Json, &Json))| {
        let made = if calls { call(input, output, settings) } else { stdio(input, output) };
        made.map_err(|e| format!("ground_truth, test {}: {e}", i + 1))
    };
    inputs.iter().zip(outputs).enumerate().map(test).collect()
}

fn call(input: &Json, output: &Json, settings: &CodeSettings) -> Result<Test, String> {
    if let Json::String(lines) = input {
        let arguments = lines
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(serde_json::from_str)
            .collect::<Result<Vec<Json>, _>>();
        let arguments = arguments.map_err(|e| format!("the input is a string, but not one JSON value a line: {e}"))?;
        let expected = match output {
            Json::String(text) => {
                serde_json::from_str(text).map_err(|e| format!("the output is a string, but not JSON: {e}"))?
            }
            other => other.clone(),
        };
        return Ok(Test {
            input: Input::Arguments(Json::Array(arguments).to_string()),
            expect: Expect::Json(Value::of_json(&expected)?, None),
        });
    }
    if !input.is_array() {
        return Err("the input of a call must be the list of its arguments".into());
    }
    let unwrapped = match output {
        Json::Array(items) if settings.unwrap_outputs && !items.is_empty() => Some(Value::of_json(&items[0])?),
        _ => None,
    };
    Ok(Test { input: Input::Arguments(input.to_string()), expect: Expect::Json(Value::of_json(output)?, unwrapped) })
}

fn stdio(input: &Json, output: &Json) -> Result<Test, String> {
    Ok(Test { input: Input::Stdin(text(input)?), expect: Expect::Stdout(text(output)?) })
}

/// Text, or the lines of one.
fn text(json: &Json) -> Result<String, String> {
    match json {
        Json::String(text) => Ok(text.clone()),
        Json::Number(n) => Ok(n.to_string()),
        Json::Array(lines) => Ok(lines.iter().map(text).collect::<Result<Vec<_>, _>>()?.join("\n")),
        other => Err(format!("{other} is no text; without fn_name, inputs and outputs are stdin and stdout")),
    }
}

fn of_assert(statement: &str, settings: &CodeSettings) -> Result<Test, String> {
    let (input, expect) = match assert_shape(statement) {
        Some(Assert::Equals(expression, value)) => (Input::Expression(expression.into()), Expect::Python(value)),
        Some(Assert::Truth(expression, wanted)) => (Input::Expression(expression.into()), Expect::Truth(wanted)),
        _ if settings.raw_asserts => (Input::Statement(statement.into()), Expect::Completed),
        Some(Assert::Other) => {
            return Err(format!(
                "`{statement}` cannot be judged outside the program: write EXPRESSION == LITERAL, or set code.raw_asserts (a program can forge those)"
            ));
        }
        None => return Err(format!("`{statement}` is not one assert statement")),
    };
    Ok(Test { input, expect })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CodeSettings, Expect, Input, Spec, Value};

    fn parse(ground_truth: serde_json::Value) -> Result<Spec, String> {
        Spec::parse(&ground_truth, &CodeSettings::default())
    }

    #[test]
    fn the_three_forms_are_read_from_objects_and_strings() {
        let spec = parse(json!({"inputs": [[1, "a"]], "outputs": [2], "fn_name": "f"})).expect("calls");
        assert!(matches!(&spec.tests[0].input, Input::Arguments(a) if a == r#"[1,"a"]"#));
        let spec = parse(json!(r#"{"inputs": ["1\n"], "outputs": ["2\n"], "fn_name": null}"#)).expect("stdio");
        assert!(matches!(&spec.tests[0].expect, Expect::Stdout(s) if s == "2\n"));
        let spec = parse(json!({"asserts": ["assert f(1) == 2"]})).expect("asserts");
        assert!(matches!(&spec.tests[0].input, Input::Expression(e) if e == "f(1)"));
        let spec = parse(json!({"inputs": ["[1, 2]\n3"], "outputs": ["4"], "fn_name": "f"})).expect("LiveCodeBench");
        assert!(matches!(&spec.tests[0].input, Input::Arguments(a) if a == "[[1,2],3]"));
        assert!(matches!(&spec.tests[0].expect, Expect::Json(Value::Int(i), None) if *i == 4.into()));
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        for bad in [
            json!(null),
            json!("not json"),
            json!({}),
            json!({"inputs": [], "outputs": []}),
            json!({"inputs": ["1"], "outputs": []}),
            json!({"inputs": [1], "outputs": [1], "fn_name": "f"}),
            json!({"asserts": ["assert abs(f(1) - 2) < 1e-6"]}),
            json!({"asserts": ["import os"]}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
        let settings = CodeSettings { raw_asserts: true, ..CodeSettings::default() };
        let spec = Spec::parse(&json!({"asserts": ["assert abs(f(1) - 2) < 1e-6"]}), &settings).expect("raw");
        assert!(matches!(spec.tests[0].expect, Expect::Completed));
    }
}
