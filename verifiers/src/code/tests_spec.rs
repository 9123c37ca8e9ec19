//! Reads a ground truth into tests.
//!
//! Forms, as a JSON object or a string that holds one: `{"inputs": […], "outputs": […], "fn_name": "f"}` (an input is the list of
//! arguments, or LiveCodeBench's string with one JSON value a line), the same without `fn_name` (stdin and stdout, with a testlib
//! `checker` where several outputs are right), and `{"asserts": ["assert f(1) == 2", …]}` with what they share in `setup`.

use serde_json::Value as Json;

use super::{
    asserts::{Assert, assert_shape, plain_call},
    command::Given,
    compare::Rules,
    json,
    settings::{CodeSettings, Unwrap},
    setup::{mentions, split_setup},
    value::Value,
};

const KEYS: [&str; 7] = ["inputs", "outputs", "fn_name", "entry_point", "asserts", "setup", "checker"];

/// The tests of an item.
#[derive(Debug)]
pub(super) struct Spec {
    /// The function that calls go to.
    pub fn_name: Option<String>,
    /// Code that asserts share, such as imports.
    pub setup: String,
    /// What of it the program's process is given: nothing that may be, or say, what is expected.
    pub setup_of_program: String,
    pub tests: Vec<Test>,
    pub checker: Option<Checker>,
}

/// A program that says whether an output is right, by testlib's rules.
#[derive(Debug)]
pub(super) struct Checker {
    pub language: String,
    pub source: String,
    pub files: Vec<Given>,
}

/// One test. Only `input` ever enters the program's child.
#[derive(Debug)]
pub(super) struct Test {
    pub input: Input,
    pub expect: Expect,
}

/// What a test gives to the program.
#[derive(Debug)]
pub(super) enum Input {
    /// The list of a call's arguments, as the runner encodes values.
    Arguments(Vec<u8>),
    /// A call of plain values, in the program's process.
    Expression(String),
    /// An assert that is run as it is (`raw_asserts`).
    Statement(String),
    /// A test that is code: statements, or an expression where a value is wanted. It runs in a child of its own, and the program sees its calls.
    Code(String),
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
    /// What the test's own code says.
    Examined,
    /// The text on standard output.
    Stdout(String),
}

impl Expect {
    /// Bytes of what is expected.
    fn size(&self) -> usize {
        match self {
            Self::Json(value, _) | Self::Python(value) => value.encode().len(),
            Self::Stdout(text) => text.len(),
            Self::Truth(_) | Self::Completed | Self::Examined => 0,
        }
    }

    /// True when the value that a call returned is the wanted one.
    pub fn met_by(&self, got: &Value, settings: &CodeSettings) -> bool {
        match self {
            Self::Json(value, other) => {
                let rules = Rules::new(settings, true);
                rules.equal(value, got) || other.as_ref().is_some_and(|other| rules.equal(other, got))
            }
            Self::Python(value) => Rules::new(settings, false).equal(value, got),
            Self::Truth(wanted) => got.is_true() == *wanted,
            Self::Completed | Self::Examined | Self::Stdout(_) => false,
        }
    }
}

impl Spec {
    /// Bytes of the largest output that a test expects: an honest program must be able to print it.
    pub fn largest_output(&self) -> usize {
        self.tests.iter().map(|test| test.expect.size()).max().unwrap_or(0)
    }

    /// Reads a ground truth, or says what is wrong with it.
    pub fn parse(ground_truth: &Json, settings: &CodeSettings) -> Result<Self, String> {
        let truth = match ground_truth {
            Json::String(text) => {
                json::parse(text).map_err(|e| format!("ground_truth is a string but not the JSON of tests: {e}"))?
            }
            Json::Null => return Err("ground_truth is missing".into()),
            other => {
                digits_are_whole(other)?;
                json::parse(&other.to_string()).map_err(|e| format!("ground_truth: {e}"))?
            }
        };
        let truth = listed(truth)?;
        let truth = Fields::of(&truth)?;
        let fn_name = truth.text("fn_name")?.or(truth.text("entry_point")?).filter(|name| !name.is_empty());
        let setup = truth.lines("setup")?.unwrap_or_default().join("\n");
        let (setup_of_program, shared) = split_setup(&setup);
        let apart = |a: &String| of_assert(a, &setup, shared, settings);
        let tests = match (truth.list("inputs")?, truth.list("outputs")?, truth.lines("asserts")?) {
            (Some(inputs), Some(outputs), None) => pairs(inputs, outputs, fn_name.is_some(), settings)?,
            (None, None, Some(asserts)) => asserts.iter().map(apart).collect::<Result<_, _>>()?,
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
        let setup_of_program = if settings.raw_asserts { setup.clone() } else { setup_of_program };
        let checker = truth.get("checker").map(Checker::parse).transpose()?;
        if checker.is_some() && fn_name.is_some() {
            return Err("ground_truth: a checker judges standard output, and fn_name asks for calls".into());
        }
        Ok(Self { fn_name, setup, setup_of_program, tests, checker })
    }
}

/// LiveCodeBench's own list, `[{"input": …, "output": …, "testtype"?, "fn_name"?, "metadata"?: {"func_name"}}]`, as inputs and outputs.
fn listed(truth: Value) -> Result<Value, String> {
    let Value::List(tests) = &truth else { return Ok(truth) };
    let key = |name: &str| Value::Str(name.into());
    let column = |name: &str| -> Option<Vec<Value>> {
        let of = |test: &Value| Fields::any(test).ok()?.get(name).cloned();
        tests.iter().map(of).collect()
    };
    let (Some(inputs), Some(outputs)) = (column("input"), column("output")) else { return Ok(truth) };
    let called = tests.iter().map(|test| called(&Fields::any(test)?)).collect::<Result<Vec<_>, _>>()?;
    let name = called.first().cloned().flatten();
    if called.iter().any(|other| *other != name) {
        return Err("ground_truth: its tests are of different types, or call different functions".into());
    }
    let mut pairs = vec![(key("inputs"), Value::List(inputs)), (key("outputs"), Value::List(outputs))];
    pairs.extend(name.map(|name| (key("fn_name"), key(&name))));
    Ok(Value::Dict(pairs))
}

/// The function that a test of the list calls; `None` where it is one on stdin and stdout.
fn called(test: &Fields<'_>) -> Result<Option<String>, String> {
    let metadata = match test.get("metadata") {
        Some(Value::Str(_)) => json::parse(&test.text("metadata")?.unwrap_or_default()).unwrap_or(Value::None),
        Some(other) => other.clone(),
        None => Value::None,
    };
    let inner = Fields::any(&metadata).ok();
    let inner = inner.map(|fields| fields.text("func_name")).transpose()?.flatten();
    let name = test.text("fn_name")?.or(test.text("func_name")?).or(inner).filter(|name| !name.is_empty());
    match test.text("testtype")?.as_deref() {
        None => Ok(name),
        Some("stdin" | "stdin_stdout" | "stdio") => Ok(None),
        Some("functional") if name.is_some() => Ok(name),
        Some("functional") => {
            Err("ground_truth: a test of type functional names no function (fn_name, or metadata.func_name)".into())
        }
        Some(other) => Err(format!("ground_truth: unknown testtype `{other}`; there are stdin and functional")),
    }
}

impl Checker {
    /// Source text in C++, or `{"source", "language"?, "files"?: {name: text}}`.
    fn parse(value: &Value) -> Result<Self, String> {
        let wrong = |e: String| format!("ground_truth.checker: {e}");
        if let Value::Str(_) = value {
            return Ok(Self { language: "cpp".into(), source: text(value)?, files: Vec::new() });
        }
        let fields = Fields::any(value).map_err(wrong)?;
        let source = fields.text("source").map_err(wrong)?.ok_or_else(|| wrong("it needs `source`".into()))?;
        let language = fields.text("language").map_err(wrong)?.unwrap_or_else(|| "cpp".into());
        let mut files = Vec::new();
        if let Some(Value::Dict(pairs)) = fields.get("files") {
            for (name, content) in pairs {
                let (name, content) = (text(name)?, text(content)?);
                super::api::plain_path(&name).map_err(wrong)?;
                files.push(Given { name, bytes: content.into_bytes().into(), executable: false });
            }
        }
        Ok(Self { language, source, files })
    }
}

/// The fields of an object.
struct Fields<'a>(&'a [(Value, Value)]);

impl<'a> Fields<'a> {
    fn any(value: &'a Value) -> Result<Self, String> {
        match value {
            Value::Dict(pairs) => Ok(Self(pairs)),
            _ => Err("it is no object".into()),
        }
    }

    /// A ground truth's: a key that is not known could be a test that would be left out.
    fn of(value: &'a Value) -> Result<Self, String> {
        let fields = Self::any(value).map_err(|e| format!("ground_truth: {e}"))?;
        let names = fields.0.iter().map(|(key, _)| text(key)).collect::<Result<Vec<_>, _>>()?;
        if !names.iter().any(|name| KEYS.contains(&name.as_str())) {
            return Err(format!("ground_truth has none of {}", KEYS.join(", ")));
        }
        Ok(fields)
    }

    /// The last of this name; null is absence.
    fn get(&self, name: &str) -> Option<&'a Value> {
        let found = self.0.iter().rev().find(|(key, _)| matches!(key, Value::Str(s) if s == name.as_bytes()));
        found.map(|(_, value)| value).filter(|value| **value != Value::None)
    }

    fn list(&self, name: &str) -> Result<Option<&'a [Value]>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::List(items)) => Ok(Some(items)),
            Some(_) => Err(format!("ground_truth.{name} is no list")),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        self.get(name).map(|value| plain(value).ok_or_else(|| format!("`{name}` is no text"))).transpose()
    }

    /// Texts, of which one alone may stand without its list.
    fn lines(&self, name: &str) -> Result<Option<Vec<String>>, String> {
        let wrong = || format!("ground_truth.{name} holds what is no text");
        match self.get(name) {
            None => Ok(None),
            Some(Value::List(items)) => {
                items.iter().map(|i| plain(i).ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
            }
            Some(one) => Ok(Some(vec![plain(one).ok_or_else(wrong)?])),
        }
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Str(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

/// An object that was read elsewhere has lost the digits of integers beyond 64 bits, and nothing can be compared with them exactly.
fn digits_are_whole(json: &Json) -> Result<(), String> {
    match json {
        Json::Number(n) => match n.as_f64() {
            Some(f) if !n.is_i64() && !n.is_u64() && f.fract() == 0.0 && f.abs() >= u64::MAX as f64 => Err(format!(
                "ground_truth: {n} is beyond 64 bits and has lost its digits; give the ground truth as a string of JSON"
            )),
            _ => Ok(()),
        },
        Json::Array(items) => items.iter().try_for_each(digits_are_whole),
        Json::Object(fields) => fields.values().try_for_each(digits_are_whole),
        _ => Ok(()),
    }
}

fn pairs(inputs: &[Value], outputs: &[Value], calls: bool, settings: &CodeSettings) -> Result<Vec<Test>, String> {
    if inputs.len() != outputs.len() {
        return Err(format!("ground_truth has {} inputs and {} outputs", inputs.len(), outputs.len()));
    }
    if !calls {
        let test = |(i, (input, output)): (usize, (&Value, &Value))| stdio(input, output).map_err(|e| numbered(i, &e));
        return inputs.iter().zip(outputs).enumerate().map(test).collect();
    }
    let read = |(i, (input, output)): (usize, (&Value, &Value))| call(input, output).map_err(|e| numbered(i, &e));
    let read: Vec<(Value, Value)> = inputs.iter().zip(outputs).enumerate().map(read).collect::<Result<_, _>>()?;
    let one_each = || read.iter().all(|(_, output)| matches!(output, Value::List(items) if items.len() == 1));
    let unwrap = match settings.unwrap_outputs {
        Unwrap::Always => true,
        Unwrap::Never => false,
        Unwrap::Auto => one_each(),
    };
    let test = |(arguments, output): (Value, Value)| {
        let unwrapped = match &output {
            Value::List(items) if unwrap => items.first().cloned(),
            _ => None,
        };
        Test { input: Input::Arguments(arguments.encode()), expect: Expect::Json(output, unwrapped) }
    };
    Ok(read.into_iter().map(test).collect())
}

fn numbered(index: usize, why: &str) -> String {
    format!("ground_truth, test {}: {why}", index + 1)
}

/// Arguments and expected value of a call.
fn call(input: &Value, output: &Value) -> Result<(Value, Value), String> {
    match input {
        Value::List(arguments) => {
            let mut arguments = arguments.clone();
            if let Some(Value::Dict(pairs)) = arguments.first_mut() {
                int_keys(pairs);
            }
            Ok((Value::List(arguments), output.clone()))
        }
        Value::Str(_) => {
            let lines = text(input)?;
            let lines = lines.lines().filter(|line| !line.trim().is_empty());
            let arguments = lines.map(json::parse).collect::<Result<Vec<Value>, _>>();
            let arguments =
                arguments.map_err(|e| format!("the input is a string, but not one JSON value a line: {e}"))?;
            let expected = match output {
                Value::Str(_) => {
                    json::parse(&text(output)?).map_err(|e| format!("the output is a string, but not JSON: {e}"))?
                }
                other => other.clone(),
            };
            Ok((Value::List(arguments), expected))
        }
        // A function without arguments.
        Value::None => Ok((Value::List(Vec::new()), output.clone())),
        _ => Err("the input of a call must be the list of its arguments".into()),
    }
}

/// JSON made strings of a dict's int keys; APPS's graders and prime_code undo that for the first argument, where all are ints.
fn int_keys(pairs: &mut [(Value, Value)]) {
    let int = |key: &Value| match key {
        Value::Str(text) => std::str::from_utf8(text).ok()?.parse::<dashu::integer::IBig>().ok().map(Value::Int),
        _ => None,
    };
    if let Some(keys) = pairs.iter().map(|(key, _)| int(key)).collect::<Option<Vec<_>>>() {
        pairs.iter_mut().zip(keys).for_each(|((key, _), int)| *key = int);
    }
}

fn stdio(input: &Value, output: &Value) -> Result<Test, String> {
    Ok(Test { input: Input::Stdin(text(input)?), expect: Expect::Stdout(text(output)?) })
}

/// Text, or the lines of one.
fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Str(bytes) => String::from_utf8(bytes.clone()).map_err(|_| "a text holds a lone surrogate".to_owned()),
        Value::None => Ok(String::new()),
        Value::Int(n) => Ok(n.to_string()),
        Value::Float(f) => Ok(f.to_string()),
        Value::List(lines) => Ok(lines.iter().map(text).collect::<Result<Vec<_>, _>>()?.join("\n")),
        _ => Err("there is what is no text; without fn_name, inputs and outputs are stdin and stdout".into()),
    }
}

/// How an assert is run. What is expected, and what compares, is never in the program's process: a call of plain values whose result is
/// compared with a literal is the only assert that is run there, and its literal stays outside. All else is code, which runs in the
/// process of the tests; there the value of `EXPRESSION == LITERAL` is found, and compared outside by the same rules.
fn of_assert(statement: &str, setup: &str, shared: bool, settings: &CodeSettings) -> Result<Test, String> {
    let direct = |expression: &str| {
        settings.raw_asserts || shared && plain_call(expression).is_some_and(|name| !mentions(setup, name))
    };
    let (input, expect) = match assert_shape(statement) {
        Some(Assert::Equals(expression, value)) if direct(expression) => {
            (Input::Expression(expression.into()), Expect::Python(value))
        }
        Some(Assert::Truth(expression, wanted)) if direct(expression) => {
            (Input::Expression(expression.into()), Expect::Truth(wanted))
        }
        Some(Assert::Other | Assert::Truth(..)) | None if settings.raw_asserts => {
            (Input::Statement(statement.into()), Expect::Completed)
        }
        Some(Assert::Equals(expression, value)) => (Input::Code(expression.into()), Expect::Python(value)),
        Some(Assert::Other | Assert::Truth(..)) => (Input::Code(statement.into()), Expect::Examined),
        // Anything that can fail is a test; what can not would pass every program.
        None if statement.contains("assert") => (Input::Code(statement.into()), Expect::Examined),
        None => return Err(format!("`{statement}` asserts nothing")),
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

    fn arguments(spec: &Spec) -> Value {
        let Input::Arguments(encoded) = &spec.tests[0].input else { panic!("{spec:?}") };
        Value::decode(encoded).expect("encoded")
    }

    #[test]
    fn the_forms_are_read_from_objects_and_strings() {
        let (one, two) = (Value::Int(1.into()), Value::Int(2.into()));
        let spec = parse(json!({"inputs": [[1, "a"]], "outputs": [2], "fn_name": "f"})).expect("calls");
        assert_eq!(arguments(&spec), Value::List(vec![one.clone(), Value::Str("a".into())]));
        let spec = parse(json!(r#"{"inputs": ["1\n"], "outputs": ["2\n"], "fn_name": null}"#)).expect("stdio");
        assert!(matches!(&spec.tests[0].expect, Expect::Stdout(s) if s == "2\n"));
        let spec = parse(json!({"asserts": ["assert f(1) == 2"]})).expect("asserts");
        assert!(matches!(&spec.tests[0].input, Input::Expression(e) if e == "f(1)"));
        let spec = parse(json!({"inputs": ["[1, 2]\n3"], "outputs": ["4"], "fn_name": "f"})).expect("LiveCodeBench");
        assert_eq!(arguments(&spec), Value::List(vec![Value::List(vec![one, two]), Value::Int(3.into())]));
        assert!(matches!(&spec.tests[0].expect, Expect::Json(Value::Int(i), None) if *i == 4.into()));
        let spec = parse(json!({"asserts": "def check(candidate):\n    assert candidate(1) == 2", "entry_point": "f"}));
        assert!(matches!(spec.expect("HumanEval").tests[0].expect, Expect::Examined));
    }

    #[test]
    fn the_type_of_a_listed_test_says_how_it_runs() {
        let named =
            json!({"input": "\"abc\"\n3", "output": "9", "testtype": "functional", "metadata": {"func_name": "f"}});
        let spec = parse(json!([named])).expect("DeepCoder");
        assert_eq!(spec.fn_name.as_deref(), Some("f"));
        assert_eq!(arguments(&spec), Value::List(vec![Value::Str("abc".into()), Value::Int(3.into())]));
        let text =
            json!([{"input": "1", "output": "1", "testtype": "functional", "metadata": "{\"func_name\": \"f\"}"}]);
        assert_eq!(parse(text).expect("metadata as text").fn_name.as_deref(), Some("f"));
        let stdin = json!({"input": "1", "output": "1", "testtype": "stdin", "metadata": {"func_name": null}});
        assert!(matches!(parse(json!([stdin])).expect("stdin").tests[0].input, Input::Stdin(_)));
        for bad in [
            json!([{"input": "1", "output": "1", "testtype": "functional"}]),
            json!([{"input": "1", "output": "1", "testtype": "interactive"}]),
            json!([named, stdin]),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn outputs_are_unwrapped_where_all_are_lists_of_one() {
        let other = |outputs| {
            let spec = parse(json!({"inputs": [[1], [2]], "outputs": outputs, "fn_name": "f"})).expect("calls");
            matches!(&spec.tests[0].expect, Expect::Json(_, Some(_)))
        };
        assert!(other(json!([[1], [2]])) && !other(json!([[1], [2, 3]])) && !other(json!([1, 2])));
    }

    #[test]
    fn integers_beyond_64_bits_are_exact_in_strings_and_refused_in_objects() {
        let text = r#"{"inputs": [[100]], "outputs": [1267650600228229401496703205376], "fn_name": "f"}"#;
        let spec = parse(json!(text)).expect("a string keeps the digits");
        let wanted = Value::Int("1267650600228229401496703205376".parse().expect("digits"));
        assert!(matches!(&spec.tests[0].expect, Expect::Json(value, None) if *value == wanted));
        let object: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert!(parse(object).expect_err("digits are lost").contains("64 bits"));
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        for bad in [
            json!(null),
            json!("not json"),
            json!({}),
            json!([1]),
            json!({"inputs": [], "outputs": []}),
            json!({"inputs": ["1"], "outputs": []}),
            json!({"inputs": [1], "outputs": [1], "fn_name": "f"}),
            json!({"inputs": [[1]], "outputs": [1], "fn_name": 3}),
            json!({"inputs": ["1"], "outputs": ["1"], "checker": {"language": "cpp"}}),
            json!({"inputs": ["1"], "outputs": ["1"], "checker": {"source": "", "files": {"../x": ""}}}),
            json!({"asserts": ["import os"]}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
        let settings = CodeSettings { raw_asserts: true, ..CodeSettings::default() };
        let spec = Spec::parse(&json!({"asserts": ["assert abs(f(1) - 2) < 1e-6"]}), &settings).expect("raw");
        assert!(matches!(spec.tests[0].expect, Expect::Completed));
    }
}
