//! Plugins as a user meets them: the example of docs/plugins.md on the command line, and in a run that it breaks.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const DOCS: &str = include_str!("../docs/plugins.md");

/// The first block of `language` in docs/plugins.md that answers a hello.
fn example(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let mut blocks = DOCS.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.find(|block| block.contains("hello")).expect("the page has an example")
}

fn temper(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_temper"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("temper starts");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

#[test]
fn the_example_of_the_docs_works_and_is_as_short_as_it_says() {
    for language in ["python", "rust"] {
        assert!(example(language).lines().count() <= 20, "{language}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("shout.py"), example("python")).expect("it can be written");
    let items = ["HELLO", "Hello", "1 + 1"].map(|text| format!("{{\"id\": \"{text}\", \"completion\": \"{text}\"}}\n"));
    let command = "command=[\"python3\", \"shout.py\"]";
    let output = temper(folder.path(), &["verify", "--verifier", "plugin", "--set", command], &items.concat());
    let verdicts: Vec<data::Verdict> =
        output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let brief: Vec<_> = verdicts.iter().map(|v| (v.id.as_str(), v.reward, v.reason.as_str())).collect();
    let words = "the plugin's reward";
    assert_eq!(brief, [("HELLO", Some(1.0), words), ("Hello", Some(0.0), words), ("1 + 1", None, "no letters")]);
    let summary = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && summary.contains("1 pass, 1 fail, 0 undecided, 1 error"), "{summary}");
}

#[test]
fn inv_9_a_run_whose_plugin_gives_no_rewards_stops_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = example("python").replace("item in ask[\"items\"]", "item in ask[\"item\"]");
    std::fs::write(folder.path().join("broken.py"), broken).expect("it can be written");
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let recipe = format!(
        r#"
        [run]
        name = "broken"
        exact = false
        [model]
        config = "{configs}/smoke-model.json"
        tokenizer = "{configs}/base"
        [sampling]
        max_new_tokens = 4
        [eval]
        after = false
        [domains.math]
        train = [{{ generator = "arithmetic", n = 50 }}]
        verifiers = [{{ name = "plugin", settings = {{ command = ["python3", "broken.py"] }} }}]
        [[stages]]
        name = "rl"
        kind = "rl"
        steps = 1
        rl = {{ prompts = 2, group = 2, max_refill = 0 }}
        optimizer.lr = 1e-4
        "#,
        configs = configs.display()
    );
    std::fs::write(folder.path().join("broken.toml"), recipe).expect("it can be written");
    let output = temper(folder.path(), &["run", "broken.toml", "--device", "cpu"], "");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("4 of 4 samples have no reward, because their verifiers failed; plugin:"), "{text}");
    assert!(text.contains("KeyError: 'item'"), "{text}");
}
