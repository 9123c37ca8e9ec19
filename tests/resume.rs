//! What a resumed run goes on from: a reference policy that moves, and a log that is its own.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

mod common;

use common::{assert_ok, assert_same, plain, recipe, run_recipe, stop_at, temper};

/// A recipe with some of its text replaced.
fn with(folder: &Path, name: &str, changes: &[(&str, &str)]) -> std::path::PathBuf {
    let path = recipe(folder, name, "");
    let text = fs::read_to_string(&path).expect("it was written");
    let text = changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    fs::write(&path, text).expect("it writes");
    path
}

const WAITING: [(&str, &str); 2] = [("max_staleness = 2", "max_staleness = 0"), ("in_flight = 4", "")];

fn resume(folder: &Path) -> Output {
    temper(&["resume", plain(folder)]).output().expect("the binary runs")
}

#[test]
fn inv_6_a_reference_that_moves_is_in_every_checkpoint() {
    // At step 5 the reference is that of step 3, whose own checkpoint is gone by then.
    let often =
        [("checkpoint_every = 2", "checkpoint_every = 1"), ("mini_steps = 2", "mini_steps = 2\nreference_every = 3")];
    for (name, changes) in [("ahead", often.to_vec()), ("waiting", [&often[..], &WAITING].concat())] {
        let out = tempfile::tempdir().expect("a folder");
        let whole = run_recipe(&with(out.path(), "whole", &changes));
        let killed = with(out.path(), "killed", &changes);
        let folder = killed.with_extension("");
        let mut child = temper(&["run", plain(&killed)]).stderr(Stdio::null()).spawn().expect("it starts");
        stop_at(&mut child, &folder, 6, Duration::ZERO, "KILL");
        assert_ok(&resume(&folder));
        assert_same(&whole, &folder);
        assert!(fs::read(folder.join("summary.json")).is_ok(), "{name}");
    }
}

#[test]
fn inv_1_groups_that_other_weights_sampled_are_not_learned_from() {
    for changes in [&WAITING[..], &[]] {
        let out = tempfile::tempdir().expect("a folder");
        let folder = run_recipe(&with(out.path(), "changed", changes));
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
