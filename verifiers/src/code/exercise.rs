//! What strangers send, read without running anything: for the fuzzer, and for a test with mutated seeds.

use super::{
    api::{RunBatch, RunCode, plain_path},
    asserts::{assert_shape, plain_call},
    compare::Rules,
    extract, json,
    pyliteral::literal,
    settings::CodeSettings,
    setup::split_setup,
    tests_spec::Spec,
    value::Value,
};

/// Reads bytes as everything that comes from outside: a request of the service, a ground truth, a literal, an assert, a completion, and a
/// value from a child.
///
/// # Panics
/// Where something that must hold of what was read does not: paths that were let through are plain, values are the same after encoding and
/// decoding, and a plain value equals itself.
pub fn exercise(bytes: &[u8]) {
    let settings = CodeSettings::default();
    if let Some(value) = Value::decode(bytes) {
        let again = Value::decode(&value.encode()).expect("what was encoded is decoded");
        assert_eq!(again.encode(), value.encode(), "values survive");
        let rules = Rules::new(&CodeSettings { nan_equals_nan: true, ..CodeSettings::default() }, false);
        assert!(rules.equal(&value, &again) || stays(&value), "a plain value equals itself");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(request) = serde_json::from_str::<RunCode>(text)
        && request.order(&settings).is_ok()
    {
        assert!(request.files.keys().chain(&request.fetch_files).all(|path| plain_path(path).is_ok()));
        assert!(request.run_timeout > 0.0 && request.compile_timeout > 0.0);
    }
    if let Ok(request) = serde_json::from_str::<RunBatch>(text)
        && request.fault().is_ok()
        && request.program.order(&settings).is_ok()
    {
        assert!(!request.stdins.is_empty());
    }
    if let Ok(spec) = Spec::parse(&serde_json::Value::String(text.to_owned()), &settings) {
        assert!(!spec.tests.is_empty(), "a spec without tests would pass every program");
    }
    for value in [literal(text), json::parse(text).ok()].into_iter().flatten() {
        assert!(Value::decode(&value.encode()).is_some(), "what is read can cross");
    }
    let _ = (assert_shape(text), plain_call(text), split_setup(text));
    let _ = extract::program(text, |word| word == "python", true);
}

/// True where a part is what stays on one side: it equals nothing, not even itself.
fn stays(value: &Value) -> bool {
    match value {
        Value::Handle(_) | Value::Lent(..) | Value::Name(_) => true,
        Value::List(v) | Value::Tuple(v) | Value::Set(v) | Value::FrozenSet(v) | Value::Deque(v) => v.iter().any(stays),
        Value::Dict(d) => d.iter().any(|(key, value)| stays(key) || stays(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use data::CounterRng;

    use super::exercise;

    const SEEDS: [&str; 9] = [
        r#"{"code": "print(1)", "language": "python", "stdin": "x", "files": {"a/b": "eA=="}, "fetch_files": ["c"], "run_timeout": 1e-3}"#,
        r#"{"code": "x", "language": "c", "stdins": ["1", "2"], "stop_at_failure": true, "memory_limit_MB": -1}"#,
        r#"{"inputs": [[1, [2.5, "a"]], ["1\n2"]], "outputs": [[3], "4"], "fn_name": "f"}"#,
        r#"{"asserts": ["assert f(1) == {1: (2, {3}), 'a': b'\\x00'}"], "setup": ["import math"]}"#,
        r#"{"inputs": ["1"], "outputs": ["2"], "checker": {"source": "x", "files": {"t.h": ""}}}"#,
        "[1, -0x1f, 1e5, 'a\\u00e9' \"b\", None, True, float('nan'), set(), frozenset([1]), (1,), r'\\', {'k': [{}]}]",
        "assert not f(x == 1, '==') is None, 'message'",
        "@d\nclass A:\n    x = '''\n'''\nimport a\nX = (1,\n2)\ndef f(): # )\n    pass",
        "text\n```python\nprint('''\n```\n''')\n~~~~py\nx\n~~~~\n",
    ];

    #[test]
    fn mutated_seeds_are_read_or_refused() {
        let mut rng = CounterRng::new(7, "exercise");
        let mut draw = |below: usize| (rng.next_u64() % below as u64) as usize;
        for seed in SEEDS {
            exercise(seed.as_bytes());
            for _ in 0..3000 {
                let mut bytes = seed.as_bytes().to_vec();
                for _ in 0..=draw(4) {
                    let at = draw(bytes.len().max(1)).min(bytes.len());
                    match draw(4) {
                        0 if at < bytes.len() => bytes[at] = draw(256) as u8,
                        1 if at < bytes.len() => drop(bytes.remove(at)),
                        2 => bytes.insert(at, b"[](){}'\"\\,:#\n0eE-\0"[draw(18)]),
                        _ => {
                            let end = (at + draw(20)).min(bytes.len());
                            let part = bytes[at..end].to_vec();
                            bytes.splice(at..at, part);
                        }
                    }
                }
                exercise(&bytes);
            }
        }
        exercise(b"l\0\0\0\x02i\0\0\0\x02-1d\0\0\0\x01s\0\0\0\x01aN");
        // An object that stays, and a container that both sides number, with itself in it.
        exercise(b"t\0\0\0\x02h\0\0\0\x05@\0\0\0\x07l\0\0\0\x01&\0\0\0\x07");
    }
}
