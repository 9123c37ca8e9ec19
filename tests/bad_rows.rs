//! Rows that are prompts and yet of no use to a stage: too long for the context, refused by the chat template, without an answer to learn.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

mod common;

use common::{assert_ok, assert_same, copy_folder, plain, run, summary};

/// Rows 8, 17 and 26 are of no use; the others are in both files.
const BAD: [usize; 3] = [8, 17, 26];

fn rows(with_bad: bool) -> String {
    let row = |number: usize| {
        let bad = BAD.iter().position(|bad| *bad == number);
        let prompt = match bad {
            Some(0) => "2+2 ".repeat(300),
            Some(1) => "please refuse".to_owned(),
            _ => format!("{number}+1="),
        };
        let mut row =
            json!({"id": format!("sum {number}"), "prompt": prompt, "ground_truth": (number + 1).to_string()});
        if bad != Some(2) {
            row["answer"] = json!(format!("It is {}.", number + 1));
        }
        row.to_string() + "\n"
    };
    (1..=40).filter(|number| with_bad || !BAD.contains(number)).map(row).collect()
}

/// A recipe in a folder of its own, whose file holds these rows. `sft` reads answers, `rl` only prompts.
fn recipe(folder: &Path, rows: &str, bad_rows: &str) -> PathBuf {
    let model = folder.join("model");
    copy_folder(Path::new("tests/fixtures/hf_tiny_v32"), &model);
    let template = "{% if 'refuse' in messages[0].content %}{{ raise_exception('not this') }}{% endif %}\
                    {% for m in messages %}{{ m.content }}{% endfor %}";
    fs::write(model.join("chat_template.jinja"), template).expect("it writes");
    fs::write(folder.join("rows.jsonl"), rows).expect("it writes");
    let text = format!(
        r#"
        [run]
        name = "r"
        out = "{out}"
        [model]
        checkpoint = "{out}/model"
        [sampling]
        max_new_tokens = 8
        [eval]
        after = false
        [domains.sums]
        train = [{{ path = "{out}/rows.jsonl", bad_rows = "{bad_rows}" }}]
        verifiers = [{{ name = "math" }}, {{ name = "length", settings = {{ max_tokens = 8, cache_tokens = 6 }} }}]
        [[stages]]
        name = "sft"
        kind = "sft"
        steps = 5
        batch = {{ tokens = 256, unit_tokens = 256 }}
        optimizer = {{ lr = 1e-3 }}
        [[stages]]
        name = "rl"
        kind = "rl"
        steps = 2
        rl = {{ prompts = 4, group = 2, max_refill = 0 }}
        optimizer = {{ lr = 1e-4 }}
        [[stages]]
        name = "export"
        kind = "export"
        "#,
        out = plain(folder),
    );
    let path = folder.join("r.toml");
    fs::write(&path, text).expect("it writes");
    path
}

#[test]
fn inv_4_bad_rows_are_skipped_before_the_run_and_it_ends_as_if_they_were_not_there() {
    let out = tempfile::tempdir().expect("a folder");
    let [with, without] = ["with", "without"].map(|name| out.path().join(name));
    assert_ok(&run(&["run", plain(&recipe(&with, &rows(true), "skip"))]));
    assert_ok(&run(&["run", plain(&recipe(&without, &rows(false), "fatal"))]));
    let weights = |folder: &Path| fs::read(folder.join("r/export/model.safetensors")).expect("it was exported");
    assert!(weights(&with) == weights(&without), "the same prompts in the same order");

    let text = fs::read_to_string(with.join("r/data.json")).expect("it is there");
    let found: Value = serde_json::from_str(&text).expect("it is JSON");
    let file = found.as_object().expect("files").values().next().expect("one");
    assert_eq!((&file["prompts"], &file["skipped"]), (&json!(37), &json!(3)), "{text}");
    assert_eq!(file["refused"], json!({"sums.train[0]": BAD}));
    let reasons: Vec<&str> =
        file["skipped_rows"].as_array().expect("reasons").iter().filter_map(Value::as_str).collect();
    assert!(reasons[0].starts_with("row 8: ") && reasons[0].contains("no room in a context of 256"), "{reasons:?}");
    let places: Vec<String> = BAD.iter().map(|row| format!("row {row}: ")).collect();
    assert!(
        reasons.len() == 3 && reasons.iter().zip(&places).all(|(reason, row)| reason.starts_with(row)),
        "{reasons:?}"
    );
    let skipped = &summary(&with.join("r"))["skipped_rows"];
    assert_eq!(skipped.as_object().expect("files").values().next(), Some(&json!(3)));

    // As after a kill at the beginning: what is skipped is what was skipped.
    let resumed = out.path().join("resumed");
    assert_ok(&run(&["run", plain(&recipe(&resumed, &rows(true), "skip"))]));
    for gone in ["stages", "export", "log"] {
        fs::remove_dir_all(resumed.join("r").join(gone)).expect("it was there");
    }
    assert_ok(&run(&["resume", plain(&resumed.join("r"))]));
    assert_same(&with.join("r"), &resumed.join("r"));
}

#[test]
fn a_bad_row_that_is_not_skipped_stops_a_run_before_it_begins() {
    let rows = rows(true);
    let lines: Vec<&str> = rows.lines().collect();
    let reasons = ["no room in a context of 256", "refuses this conversation: not this", "no answer to learn from"];
    for (bad, reason) in BAD.into_iter().zip(reasons) {
        let out = tempfile::tempdir().expect("a folder");
        let text = format!("{}\n{}\n", lines[0], lines[bad - 1]);
        let output = run(&["run", plain(&recipe(out.path(), &text, "fatal"))]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("rows.jsonl, row 2: ") && said.contains(reason), "{reason:?} is not in: {said}");
        assert!(said.contains("bad_rows = \"skip\""), "{said}");
        assert!(!out.path().join("r").exists(), "a run that did not begin leaves no folder");
    }
}

/// A run may use less of the model's context, and not more.
#[test]
fn the_context_of_a_run_bounds_its_prompts_and_is_within_the_models() {
    let out = tempfile::tempdir().expect("a folder");
    let row = json!({"prompt": "2+2 ".repeat(20), "ground_truth": "4", "answer": "4"}).to_string() + "\n";
    let recipe = recipe(out.path(), &row, "fatal");
    for (context, code, says) in [("40", 3, "no room in a context of 40"), ("257", 2, "the model has 256 positions")] {
        let output = run(&["run", plain(&recipe), "--set", &format!("run.context={context}")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(says), "{context}: {said}");
    }
}
