//! Sampling ahead of learning, as users run it: exact while weights change under samples, equal to the byte twice and after kills, bounded
//! staleness, and a run that says why it cannot go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

mod common;

use common::{
    WAITING, assert_metrics_are_documented, assert_ok, assert_same, bytes, change, plain, recipe, run_recipe as run,
    stop_at, temper, timeless,
};

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("it is there")).expect("it is JSON")
}

#[test]
fn inv_1_inv_5_and_inv_6_samples_older_than_the_weights_are_exact_and_survive_kills() {
    let out = tempfile::tempdir().expect("a folder");
    let whole = run(&recipe(out.path(), "whole", ""));
    let summary = json(&whole.join("summary.json"));
    assert_eq!(summary["exactness"]["max_abs_logprob_diff"], 0.0);
    assert!(summary["exactness"]["tokens_compared"].as_u64() > Some(2000), "{summary}");

    // Weights did change under samples, and none is older than the bound.
    let log = data::RunLog::open(whole.join("log")).expect("a log");
    let (mut mixed, mut oldest) = (0, 0);
    for step in log.steps("rl").expect("it lists") {
        for sample in log.read("rl", step).expect("it reads").iter().flat_map(|g| &g.samples) {
            let versions = &sample.trajectory.versions;
            mixed += usize::from(versions.first() != versions.last());
            oldest = oldest.max(step - 1 - versions.iter().min().expect("it has tokens"));
        }
    }
    assert!(mixed >= 5, "{mixed} samples crossed a swap");
    assert!((1..=2).contains(&oldest), "the oldest token was {oldest} versions old");
    let (_, rows) = timeless(&whole);
    assert_metrics_are_documented(&whole);
    let found = |name: &str| rows.iter().filter_map(|r| r[name].as_f64()).fold(0.0, f64::max);
    assert!((1.0..=2.0).contains(&found("training/staleness_max")), "{rows:?}");
    assert!(found("training/staleness_tokens/1") > 0.0);

    let again = run(&recipe(out.path(), "again", ""));
    assert_same(&whole, &again);

    let killed = recipe(out.path(), "killed", "");
    let folder = killed.with_extension("");
    let moments = [(1, 0), (1, 15), (2, 40), (2, 70), (3, 5), (3, 30), (4, 0), (4, 60), (5, 20)];
    for ((files, later), signal) in moments.into_iter().zip(["KILL", "TERM", "KILL"].into_iter().cycle()) {
        let resume = ["resume", plain(&folder)];
        let arguments: &[&str] = if folder.join("resolved.toml").exists() { &resume } else { &["run", plain(&killed)] };
        let mut child = temper(arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
        stop_at(&mut child, &folder, files, Duration::from_millis(later), signal);
    }
    assert_ok(&temper(&["resume", plain(&folder)]).output().expect("the binary runs"));
    assert_same(&whole, &folder);
}

/// Resumes a run that has ended as after a kill when all was logged and only the first checkpoint written.
fn resume_behind_the_log(folder: &Path) {
    let stage = folder.join("stages/02-rl");
    fs::remove_file(stage.join("stage.json")).expect("it was there");
    for checkpoint in ["step-000004", "step-000006"] {
        fs::remove_dir_all(stage.join("checkpoints").join(checkpoint)).expect("it was there");
    }
    fs::remove_dir_all(folder.join("export")).expect("it was there");
    fs::remove_dir_all(folder.join("stages/03-export")).expect("it was there");
    assert_ok(&temper(&["resume", plain(folder)]).output().expect("the binary runs"));
}

#[test]
fn inv_6_a_timed_run_repeats_the_steps_that_it_logged() {
    let out = tempfile::tempdir().expect("a folder");
    let timed = recipe(out.path(), "timed", "schedule = \"timed\"");
    let folder = run(&timed);
    assert_eq!(json(&folder.join("summary.json"))["exactness"]["max_abs_logprob_diff"], 0.0);
    let before = bytes(&folder);
    assert!(before.iter().any(|(file, _)| file == "log/rl-000003.decisions.json"));
    resume_behind_the_log(&folder);
    assert_eq!(bytes(&folder), before);
}

#[test]
fn inv_7_a_sampler_beside_the_learner_gives_the_bytes_of_one_that_takes_turns() {
    let out = tempfile::tempdir().expect("a folder");
    let turns = run(&recipe(out.path(), "turns", "overlap = 5"));
    let beside = run(&recipe(out.path(), "beside", "overlap = 5\nsampler_device = \"cpu\""));
    assert_same(&turns, &beside);
    for folder in [turns, beside] {
        let exactness = &json(&folder.join("summary.json"))["exactness"];
        assert_eq!(exactness["max_abs_logprob_diff"], 0.0);
        assert!(exactness["tokens_compared"].as_u64() > Some(2000), "{exactness}");
    }
}

#[test]
fn inv_2_and_inv_7_batch_threads_and_shards_do_not_show_in_what_is_sampled_ahead() {
    let out = tempfile::tempdir().expect("a folder");
    let with = |name: &str, settings: &[&str]| {
        let path = recipe(out.path(), name, "overlap = 2");
        let mut arguments = vec!["run", plain(&path)];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        assert_ok(&temper(&arguments).output().expect("the binary runs"));
        path.with_extension("")
    };
    let whole = with("whole", &["run.threads=2", "sampling.batch=64"]);
    assert_same(&whole, &with("small", &["run.threads=4", "sampling.batch=3"]));
    // Nor does how much of it is compared.
    let less = with("less", &["run.threads=2", "run.compare_share=0.3"]);
    let weights = |folder: &Path| fs::read(folder.join("export/model.safetensors")).expect("it reads");
    assert!(weights(&whole) == weights(&less));
    let compared = |folder: &Path| json(&folder.join("summary.json"))["exactness"]["tokens_compared"].as_u64();
    assert!(
        compared(&less) < compared(&whole) && compared(&less) > Some(0),
        "{:?} of {:?}",
        compared(&less),
        compared(&whole)
    );
    let three = ["run.threads=3", "sampling.batch=16", "run.micro_batch=4", "run.shards=2"];
    assert_same(&whole, &with("three", &three));
}

#[test]
fn caches_that_are_kept_at_a_swap_are_refused_where_exactness_is_asked_for() {
    let out = tempfile::tempdir().expect("a folder");
    let refused = recipe(out.path(), "refused", "on_swap = \"keep\"");
    let output = temper(&["run", plain(&refused)]).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot agree bit for bit"));
    let kept = run(&recipe(out.path(), "kept", "exact = false|on_swap = \"keep\""));
    assert_eq!(json(&kept.join("summary.json"))["exactness"]["waived"], true);
    assert_eq!(json(&kept.join("manifest.json"))["exact"], false);
}

/// A plugin of `text`, with longer limits of its own than the run's.
fn with_plugin(folder: &Path, name: &str, text: &str, more: &str) -> PathBuf {
    let plugin = folder.join("reward.py");
    fs::write(&plugin, text).expect("it writes");
    let path = recipe(folder, name, more);
    let length = "{ name = \"length\", settings = { max_tokens = 40, cache_tokens = 30 } }";
    let own = format!(
        "{{ name = \"plugin\", settings = {{ python = \"{}:compute_score\", timeout_s = 600.0 }} }}",
        plugin.display()
    );
    change(&path, &[(length, &own)]);
    path
}

const SILENT: &str = "import time\ndef compute_score(solution_str, ground_truth):\n    time.sleep(10_000)\n";

#[test]
fn inv_9_a_verifier_that_never_answers_ends_the_run_with_its_name() {
    let out = tempfile::tempdir().expect("a folder");
    let silent = with_plugin(out.path(), "silent", SILENT, "verdict_deadline_s = 3.0|");
    let began = Instant::now();
    let output = temper(&["run", plain(&silent)]).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("plugin: no verdict within 3 s"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
}

#[test]
fn inv_9_a_stall_names_who_waits_for_what_and_leaves_a_dump() {
    let out = tempfile::tempdir().expect("a folder");
    let stalled = with_plugin(out.path(), "stalled", SILENT, "stall_s = 4.0|");
    let output = temper(&["run", plain(&stalled)]).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{text}");
    assert!(text.contains("the sampler has waited 4 s for verdicts on prompt"), "{text}");
    let dump = json(&stalled.with_extension("").join("stalled.json"));
    assert!(
        dump["waits"][0]["for"].as_str().is_some_and(|what| what.contains("from plugin, which count as errors after")),
        "{dump}"
    );
    assert!(dump["queues"]["groups without verdicts"].as_u64() > Some(0), "{dump}");
    assert!(dump["events"].as_array().is_some_and(|events| !events.is_empty()), "{dump}");
}

#[test]
fn inv_9_a_stall_ends_a_run_to_which_nobody_listens() {
    let out = tempfile::tempdir().expect("a folder");
    let stalled = with_plugin(out.path(), "deaf", SILENT, "stall_s = 4.0|");
    let (listener, stderr) = std::io::pipe().expect("a pipe");
    drop(listener);
    let status = temper(&["run", plain(&stalled)]).stderr(stderr).status().expect("the binary runs");
    assert_eq!(status.code(), Some(10));
    assert!(stalled.with_extension("").join("stalled.json").exists());
}

/// Answers nothing while its marker is there.
const BROKEN_WHILE: &str = "
import hashlib, os
def compute_score(solution_str, ground_truth):
    if os.path.exists('MARKER'):
        raise RuntimeError('service down')
    return float(hashlib.sha256(solution_str.encode()).digest()[0] % 2)
";

#[test]
fn inv_6_and_inv_9_a_run_whose_verifier_broke_goes_on_once_it_is_mended() {
    for (schedule, changes) in [("ahead", &[][..]), ("waiting", &WAITING)] {
        let out = tempfile::tempdir().expect("a folder");
        let marker = out.path().join("down");
        let plugin = BROKEN_WHILE.replace("MARKER", plain(&marker));
        let recipe = |name: &str| {
            let path = with_plugin(out.path(), name, &plugin, "");
            change(&path, changes);
            path
        };
        let whole = run(&recipe("whole"));
        let broken = recipe("broken");
        fs::write(&marker, "").expect("it writes");
        let output = temper(&["run", plain(&broken)]).output().expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{schedule}: {text}");
        assert!(text.contains("service down") && text.contains("temper resume"), "{schedule}: {text}");
        fs::remove_file(&marker).expect("it is there");
        let folder = broken.with_extension("");
        assert_ok(&temper(&["resume", plain(&folder)]).output().expect("the binary runs"));
        assert_same(&whole, &folder);
    }
}

/// Fails for a fifth of the completions, by raising and by dying.
const FLAKY: &str = "
import hashlib, os
def compute_score(solution_str, ground_truth):
    draw = hashlib.sha256(solution_str.encode()).digest()[0] % 10
    if draw == 0:
        raise RuntimeError('flaky')
    if draw == 1:
        os._exit(3)
    return float(draw % 2)
";

#[test]
fn inv_9_a_plugin_that_fails_for_a_fifth_gives_no_wrong_reward_and_the_same_bytes() {
    let out = tempfile::tempdir().expect("a folder");
    let first = run(&with_plugin(out.path(), "flaky", FLAKY, ""));
    let log = data::RunLog::open(first.join("log")).expect("a log");
    let (mut errors, mut all) = (0, 0);
    for step in log.steps("rl").expect("it lists") {
        for sample in log.read("rl", step).expect("it reads").iter().flat_map(|g| &g.samples) {
            let draw = sha2_first_byte(&sample.text) % 10;
            all += 1;
            // One that dies may take others of its group with it; they are errors then, and no rewards.
            if draw < 2 || sample.reward.is_none() {
                errors += 1;
                assert_eq!((sample.reward, sample.advantage, sample.mask), (None, 0.0, data::Mask::VerifierError));
            } else {
                assert_eq!((sample.reward, sample.mask), (Some(f64::from(draw % 2)), data::Mask::None), "{draw}");
            }
        }
    }
    assert!(errors * 20 > all && errors * 2 < all, "{errors} of {all}");
    let verdicts = &json(&first.join("summary.json"))["verdicts"];
    assert_eq!(verdicts["error"], errors, "{verdicts}");
    assert!(timeless(&first).1.iter().any(|row| row["training/masked_share"].as_f64() > Some(0.0)));
    assert_same(&first, &run(&with_plugin(out.path(), "flaky-again", FLAKY, "")));
}

/// Says something else each time it is asked, and fails for a fifth.
const RANDOM: &str = "
import random
def compute_score(solution_str, ground_truth):
    draw = random.SystemRandom().random()
    if draw < 0.2:
        raise RuntimeError('flaky')
    return round(draw, 3)
";

/// Runs with a verifier that never says the same twice until a step has judged groups that it left to a later one: the run, and its
/// files. In the `logical` schedule the first run has such a step; in the `timed` one the machine's mood decides.
fn run_that_leaves_groups(out: &Path, schedule: &str, most_runs: usize) -> (PathBuf, Vec<(PathBuf, Vec<u8>)>) {
    // All that is in flight ends beside a step of the learner, which gives the verifier time: the next step finds many verdicts at once.
    // Errors come as they like, and are no reason to stop here.
    let settings = format!("schedule = \"{schedule}\"\noverlap = 40\nmax_error_share = 1.0");
    for attempt in 0..most_runs {
        let folder = run(&with_plugin(out, &format!("{schedule}-{attempt}"), RANDOM, &settings));
        let files = bytes(&folder);
        if files.iter().any(|(file, _)| file.to_string_lossy().ends_with(".left.json")) {
            return (folder, files);
        }
    }
    panic!("{schedule}: every step of {most_runs} runs takes all that it judged");
}

#[test]
fn inv_6_what_a_verifier_said_of_groups_that_a_step_left_is_in_the_log() {
    for (schedule, most_runs) in [("logical", 1), ("timed", 8)] {
        let out = tempfile::tempdir().expect("a folder");
        let (folder, before) = run_that_leaves_groups(out.path(), schedule, most_runs);
        resume_behind_the_log(&folder);
        assert_eq!(bytes(&folder), before, "{schedule}");
    }
}

fn sha2_first_byte(text: &str) -> u8 {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes())[0]
}
