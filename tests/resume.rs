//! What a resumed run goes on from: a reference policy that moves, and a log that is its own.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

mod common;

use common::{
    WAITING, assert_ok, assert_same, bytes, change, logged, plain, recipe, recipe_with, run_recipe, stop_at, strike,
    temper, timeless, wait_for_log,
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
    for _ in 0..3 {
        // One more than there are: what is struck earlier has not begun to hear of signals.
        let files = logged(&folder) + 1;
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

#[test]
fn inv_6_a_stage_that_is_redone_leaves_the_metrics_of_a_later_one() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = run_recipe(&recipe(out.path(), "whole", ""));
    let (before, rows) = (bytes(&folder), timeless(&folder).1);
    // What the hint says where a checkpoint of the warm-up is damaged, while rl stands at its step 4.
    let stages = folder.join("stages");
    for done in ["01-warmup", "02-rl", "03-export"] {
        fs::remove_file(stages.join(done).join("stage.json")).expect("it was there");
    }
    fs::remove_dir_all(stages.join("02-rl/checkpoints/step-000006")).expect("it was there");
    fs::remove_dir_all(folder.join("export")).expect("it was there");
    let output = resume(&folder);
    assert_ok(&output);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("warning"), "{text}");
    assert_eq!(timeless(&folder).1, rows);
    assert_eq!(bytes(&folder), before);

    // One that is there no more is missed.
    fs::remove_file(stages.join("02-rl/stage.json")).expect("it was there");
    fs::remove_file(folder.join("metrics.jsonl")).expect("it was there");
    let text = String::from_utf8_lossy(&resume(&folder).stderr).into_owned();
    assert!(text.contains("no row of 6 of the 6 steps of stage rl"), "{text}");
}

#[test]
fn what_a_run_goes_on_with_is_held_against_what_it_began_with() {
    let out = tempfile::tempdir().expect("a folder");
    let tokenizer = out.path().join("tokenizer");
    fs::create_dir(&tokenizer).expect("it is made");
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/base");
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        if base.join(file).exists() {
            fs::copy(base.join(file), tokenizer.join(file)).expect("it is copied");
        }
    }
    let path = recipe(out.path(), "held", "");
    let configs = base.parent().expect("a folder").display();
    change(&path, &[(&format!("tokenizer = \"{configs}/base\""), &format!("tokenizer = \"{}\"", tokenizer.display()))]);
    let folder = run_recipe(&path);
    let said = |code: i32| {
        let output = resume(&folder);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    };

    let doctor = || temper(&["doctor", "--run", plain(&folder)]).output().expect("the binary runs");
    assert_ok(&doctor());
    let page = folder.join("log/rl-000003.parquet");
    let bytes = fs::read(&page).expect("it reads");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 3] ^= 4;
    fs::write(&page, flipped).expect("it writes");
    let output = doctor();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("damaged") && text.contains("rl-000003.parquet"), "{text}");
    fs::write(&page, bytes).expect("it writes");

    let recipe = fs::read_to_string(folder.join("resolved.toml")).expect("it reads");
    fs::write(folder.join("resolved.toml"), recipe.replace("top_p = 0.9", "top_p = 0.8")).expect("it writes");
    let text = said(0);
    assert!(text.contains("resolved.toml was changed since the run began: sampling.top_p was 0.9"), "{text}");
    assert_eq!(text.matches("warning").count(), 1, "{text}");

    // What is in flight was admitted under the bound of then.
    let done = folder.join("stages/02-rl/stage.json");
    let text = fs::read_to_string(&done).expect("it reads");
    fs::remove_file(&done).expect("it was there");
    fs::write(folder.join("resolved.toml"), recipe.replace("max_staleness = 2", "max_staleness = 1"))
        .expect("it writes");
    let refused = said(4);
    assert!(refused.contains("max_staleness 2") && refused.contains("max_staleness 1"), "{refused}");
    fs::write(&done, text).expect("it writes");
    fs::write(folder.join("resolved.toml"), recipe).expect("it writes");

    // A digit of what a stage has used decides how long a later one is.
    let done = folder.join("stages/00-pretrain/stage.json");
    let text = fs::read_to_string(&done).expect("it reads");
    let (before, after) = text.split_once("\"flops\":").expect("it is there");
    let digit = if after.starts_with('1') { "2" } else { "1" };
    fs::write(&done, format!("{before}\"flops\":{digit}{}", &after[1..])).expect("it writes");
    let refused = said(4);
    assert!(refused.contains("00-pretrain/stage.json") && refused.contains("hint: delete it"), "{refused}");
    fs::write(&done, text).expect("it writes");

    let config = tokenizer.join("tokenizer_config.json");
    let text = fs::read_to_string(&config).expect("it reads");
    fs::write(&config, text + " ").expect("it writes");
    let refused = said(4);
    assert!(refused.contains("tokenizer_config.json is not what it was when the run began"), "{refused}");
}
