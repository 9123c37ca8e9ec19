//! What a resumed run goes on from: a reference policy that moves, and a log that is its own.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

mod common;

use common::{
    WAITING, assert_ok, assert_same, plain, recipe, recipe_with, run_recipe, stop_at, strike, temper, wait_for_log,
};

fn resume(folder: &Path) -> Output {
    temper(&["resume", plain(folder)]).output().expect("the binary runs")
}

#[test]
fn inv_6_a_reference_that_moves_is_in_every_checkpoint() {
    // At step 5 the reference is that of step 3, whose own checkpoint is gone by then.
    let often =
        [("checkpoint_every = 2", "checkpoint_every = 1"), ("mini_steps = 2", "mini_steps = 2\nreference_every = 3")];
    for changes in [often.to_vec(), [&often[..], &WAITING].concat()] {
        let out = tempfile::tempdir().expect("a folder");
        let whole = run_recipe(&recipe_with(out.path(), "whole", &changes));
        let killed = recipe_with(out.path(), "killed", &changes);
        let folder = killed.with_extension("");
        let mut child = temper(&["run", plain(&killed)]).stderr(Stdio::null()).spawn().expect("it starts");
        stop_at(&mut child, &folder, 6, Duration::ZERO, "KILL");
        assert_ok(&resume(&folder));
        assert_same(&whole, &folder);
    }
}

#[test]
fn inv_1_groups_that_other_weights_sampled_are_not_learned_from() {
    for changes in [&WAITING[..], &[]] {
        let out = tempfile::tempdir().expect("a folder");
        let folder = run_recipe(&recipe_with(out.path(), "changed", changes));
        // Killed in step 5, and another learning rate from its checkpoint of step 2 on: step 3 is still its own, step 4 is not.
        let stage = folder.join("stages/02-rl");
        fs::remove_file(stage.join("stage.json")).expect("it was there");
        for step in [4, 6] {
            fs::remove_dir_all(stage.join(format!("checkpoints/step-{step:06}"))).ok();
        }
        for step in [5, 6] {
            fs::remove_file(folder.join(format!("log/rl-{step:06}.parquet"))).expect("it was logged");
        }
        let settings = fs::read_to_string(folder.join("resolved.toml")).expect("they are there");
        assert!(settings.contains("lr = 0.0003"), "{settings}");
        fs::write(folder.join("resolved.toml"), settings.replace("lr = 0.0003", "lr = 0.0001")).expect("it writes");
        let output = resume(&folder);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(9), "{text}");
        assert!(text.contains("log/rl-000004.parquet was not sampled by these weights"), "{text}");
        // What the hint says.
        fs::remove_file(folder.join("log/rl-000004.parquet")).expect("it is named");
        assert_ok(&resume(&folder));
    }
}

#[test]
fn inv_6_a_second_signal_ends_a_run_at_once_and_spoils_nothing() {
    let out = tempfile::tempdir().expect("a folder");
    let whole = run_recipe(&recipe(out.path(), "whole", ""));
    let struck = recipe(out.path(), "struck", "");
    let folder = struck.with_extension("");
    let resume = ["resume", plain(&folder)];
    for files in 1..=4 {
        let arguments: &[&str] = if folder.join("resolved.toml").exists() { &resume } else { &["run", plain(&struck)] };
        let mut child = temper(arguments).stderr(Stdio::null()).spawn().expect("it starts");
        wait_for_log(&mut child, &folder, files);
        for _ in 0..2 {
            strike(&child, "TERM");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(child.wait().expect("it ends").code(), Some(75), "log files: {files}");
    }
    assert_ok(&temper(&resume).output().expect("the binary runs"));
    assert_same(&whole, &folder);
}

#[test]
fn prompts_that_were_changed_are_not_gone_on_with() {
    let out = tempfile::tempdir().expect("a folder");
    let file = out.path().join("sums.jsonl");
    let rows = |last: usize| {
        let row = |i: usize| serde_json::json!({ "prompt": format!("{i} + 1 ="), "answer": (i + 1).to_string() });
        (0..last).map(|i| row(i).to_string() + "\n").collect::<String>()
    };
    fs::write(&file, rows(40)).expect("it writes");
    let own = format!("train = [{{ path = \"{}\" }}]", plain(&file));
    let path = recipe_with(
        out.path(),
        "sums",
        &[("train = [{ generator = \"arithmetic\", n = 500, seed = 1, settings = { steps = [2, 2] } }]", &own)],
    );
    let folder = path.with_extension("");
    let mut child = temper(&["run", plain(&path)]).stderr(Stdio::null()).spawn().expect("it starts");
    stop_at(&mut child, &folder, 1, Duration::ZERO, "KILL");
    fs::write(&file, rows(39)).expect("it writes");
    let output = resume(&folder);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("sums.jsonl is not what it was"), "{text}");
    fs::write(&file, rows(40)).expect("it writes");
    assert_ok(&resume(&folder));
}
