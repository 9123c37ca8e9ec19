//! Plugins that behave and plugins that do not.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use data::{Item, Status, Verdict};
use serde_json::{Value, json};

use super::serve::Server;
use super::*;
use crate::http::{Client, wait};

/// A plugin that does what each completion says.
const ODD: &str = r#"
import json, os, sys, time
for line in sys.stdin:
    ask = json.loads(line)
    if ask["op"] == "hello":
        print(json.dumps({"v": 1, "name": "odd", **ask["settings"]}), flush=True)
        continue
    results = []
    for item in ask["items"]:
        what = item["completion"]
        if what == "hang":
            time.sleep(60)
        elif what == "die":
            print("about to die", file=sys.stderr, flush=True)
            os._exit(3)
        elif what == "flood":
            while True:
                sys.stdout.write("x" * 65536)
        elif what == "nonsense":
            print("loading the model...", flush=True)
        elif what == "twice":
            print(json.dumps({"id": ask["id"], "results": [{"reward": 1.0}]}), flush=True)
        elif what == "ahead":
            for ahead in range(1, 4):
                print(json.dumps({"id": ask["id"] + ahead, "results": [{"reward": 1.0}]}), flush=True)
        elif what == "none":
            results.append({"reward": None, "error": {"kind": "upstream", "message": "no model"}})
            continue
        results.append({"reward": float(what == item["ground_truth"]), "metrics": {"n": len(ask["items"])}})
    print(json.dumps({"id": ask["id"], "results": results}), flush=True)
"#;

fn item(id: &str, completion: &str) -> Item {
    Item {
        id: id.into(),
        prompt: Some("what?".into()),
        completion: completion.into(),
        ground_truth: json!("42"),
        data_source: Some("test".into()),
        extra_info: Value::Null,
        token_count: None,
        truncated: false,
    }
}

fn items(completions: &[&str]) -> Vec<Item> {
    completions.iter().enumerate().map(|(i, text)| item(&format!("p{}#{i}", i / 4), text)).collect()
}

fn python(source: &str) -> PluginSettings {
    PluginSettings {
        command: ["python3", "-c", source].map(str::to_owned).into(),
        timeout_s: 20.0,
        ..PluginSettings::default()
    }
}

fn start(settings: PluginSettings) -> PluginVerifier {
    PluginVerifier::new(settings).expect("the plugin starts")
}

fn statuses(verdicts: &[Verdict]) -> Vec<Status> {
    verdicts.iter().map(|verdict| verdict.status).collect()
}

#[test]
fn a_plugin_scores_in_batches_and_in_order() {
    let plugin = start(PluginSettings { batch: 3, workers: 2, ..python(ODD) });
    assert_eq!((plugin.hello().name.as_str(), plugin.hello().batch), ("odd", true));
    let verdicts = plugin.verify(&items(&["42", "41", "42", "1", "42"]));
    use Status::{Fail, Pass};
    assert_eq!(statuses(&verdicts), [Pass, Fail, Pass, Fail, Pass]);
    assert_eq!(verdicts.iter().map(|v| v.metrics["n"]).collect::<Vec<_>>(), [3.0, 3.0, 3.0, 2.0, 2.0]);
    assert_eq!(verdicts.iter().map(|v| v.id.as_str()).collect::<Vec<_>>(), ["p0#0", "p0#1", "p0#2", "p0#3", "p1#4"]);
    assert!(plugin.verify(&[]).is_empty());
}

#[test]
fn inv_9_what_breaks_a_plugin_is_an_error_and_its_neighbours_are_judged() {
    for (what, kind, words) in [
        ("hang", "timeout", "no answer within 1.5 s"),
        ("die", "crash", "it ended with exit code 3; its last words: about to die"),
        ("flood", "flood", "longer than 1048576 bytes"),
        ("nonsense", "nonsense", "its answer cannot be read"),
    ] {
        // A busy machine must not make the others late.
        let timeout_s = if what == "hang" { 1.5 } else { 20.0 };
        let plugin = start(PluginSettings { answer_mb: 1, timeout_s, ..python(ODD) });
        let verdicts = plugin.verify(&items(&["42", "41", "42", what, "42", "42", "41", "42"]));
        use Status::{Error, Fail, Pass};
        assert_eq!(statuses(&verdicts), [Pass, Fail, Pass, Error, Pass, Pass, Fail, Pass], "{what}: {verdicts:?}");
        let broken = &verdicts[3];
        assert_eq!((broken.reward, broken.tags["error"].as_str()), (None, kind));
        assert!(broken.reason.contains(words), "{}", broken.reason);
        // It was started anew.
        assert_eq!(statuses(&plugin.verify(&items(&["42"]))), [Pass]);
    }
}

#[test]
fn inv_9_honest_items_are_scored_beside_several_that_break_the_plugin() {
    let plugin = start(PluginSettings { answer_mb: 1, timeout_s: 3.0, batch: 32, ..python(ODD) });
    let texts =
        ["42", "die", "flood", "42", "nonsense", "hang", "42", "die", "die", "die", "41", "flood", "nonsense", "42"];
    let verdicts = plugin.verify(&items(&texts));
    for (text, verdict) in texts.iter().zip(&verdicts) {
        let wanted = match *text {
            "42" => Status::Pass,
            "41" => Status::Fail,
            _ => Status::Error,
        };
        assert_eq!(verdict.status, wanted, "{text}: {verdict:?}");
    }
}

#[test]
fn inv_9_an_answer_counts_for_its_own_request_alone() {
    let plugin = start(PluginSettings { batch: 1, ..python(ODD) });
    use Status::{Error, Fail, Pass};
    // What was answered twice is passed over; what was not asked yet is nonsense, and no reward of an item that was not seen.
    let verdicts = plugin.verify(&items(&["twice", "41", "42", "twice", "41"]));
    assert_eq!(statuses(&verdicts), [Pass, Fail, Pass, Pass, Fail], "{verdicts:?}");
    let verdicts = plugin.verify(&items(&["ahead", "41", "41", "42"]));
    assert_eq!(statuses(&verdicts), [Error, Fail, Fail, Pass], "{verdicts:?}");
}

#[test]
fn inv_9_a_null_reward_is_an_error_with_the_plugins_words() {
    let verdicts = start(python(ODD)).verify(&items(&["none", "42"]));
    assert_eq!(statuses(&verdicts), [Status::Error, Status::Pass]);
    assert_eq!((verdicts[0].tags["error"].as_str(), verdicts[0].reason.as_str()), ("upstream", "no model"));
}

#[test]
fn inv_9_a_plugin_that_always_dies_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("starts");
    let source = format!("open({:?}, 'a').write('.')\n{ODD}", log.display().to_string());
    let plugin = start(python(&source.replace("for item in ask", "os._exit(1)\n    for item in ask")));
    let verdicts = plugin.verify(&items(&["42"; 32]));
    assert_eq!(statuses(&verdicts), [Status::Error; 32]);
    let starts = std::fs::read(&log).expect("it was started").len();
    assert!(starts <= 13, "started {starts} times for 32 items");
}

#[test]
fn a_plugin_that_wants_groups_gets_them_whole() {
    let grouped = json!({"group": true, "max_inflight": 2}).as_object().cloned().expect("an object");
    let plugin = start(PluginSettings { batch: 5, settings: grouped, ..python(ODD) });
    let verdicts = plugin.verify(&items(&["42"; 8]));
    assert!(verdicts.iter().all(|verdict| verdict.metrics["n"] == 4.0), "{verdicts:?}");
    let alone = json!({"batch": false}).as_object().cloned().expect("an object");
    let verdicts = start(PluginSettings { settings: alone, ..python(ODD) }).verify(&items(&["42"; 3]));
    assert!(verdicts.iter().all(|verdict| verdict.metrics["n"] == 1.0));
}

#[test]
fn a_plugin_that_does_not_greet_is_refused_with_the_reason() {
    let refused = |source: &str, start_timeout_s: f64| {
        let settings = PluginSettings { start_timeout_s, ..python(source) };
        PluginVerifier::new(settings).err().expect("refused").to_string()
    };
    assert!(refused("import nothing_of_that_name", 20.0).contains("No module named 'nothing_of_that_name'"));
    assert!(refused("import time; time.sleep(9)", 0.5).contains("no answer within 0.5 s"));
    assert!(refused("input(); print('{\"v\": 9}')", 20.0).contains("version 9"));
    let missing = PluginSettings { command: vec!["/no/such/plugin".into()], ..PluginSettings::default() };
    let missing = PluginVerifier::new(missing).err().expect("refused").to_string();
    assert!(missing.contains("cannot start `/no/such/plugin`"), "{missing}");
}

#[test]
fn nothing_is_left_of_a_plugin_that_hangs() {
    let source = ODD.replace("time.sleep(60)", "os.fork(); os.fork(); time.sleep(60)");
    let source = source.replace("import json", "MARK = 'left-behind-test'\nimport json");
    let plugin = start(PluginSettings { timeout_s: 0.6, ..python(&source) });
    plugin.verify(&items(&["hang"]));
    drop(plugin);
    wait_for_processes("MARK = 'left-behind-test'", 0);
}

/// Waits until as many processes run whose command holds the text: signals were sent, but the kernel may still be at it.
fn wait_for_processes(mark: &str, count: usize) {
    let runs = |entry: &std::fs::DirEntry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // A killed grandchild may wait to be reaped by the init of this machine.
        String::from_utf8_lossy(&command).contains(mark) && !stat.contains(") Z ")
    };
    let running = || std::fs::read_dir("/proc").expect("Linux").flatten().filter(runs).count();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while running() != count {
        assert!(std::time::Instant::now() < until, "{} processes, not {count}", running());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn nothing_is_left_of_a_plugin_whose_child_left_its_session() {
    // A daemon by the book: two forks, a session of its own, no pipe of ours.
    let daemon = r#"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)
        time.sleep(60)
    os._exit(0)
"#;
    let source = ODD.replacen(
        "for line in sys.stdin",
        &format!("MARK = 'left-session-test'\n{daemon}\nfor line in sys.stdin"),
        1,
    );
    assert!(source.contains(daemon), "the plugin starts its daemon before it reads");
    let plugin = start(python(&source));
    assert_eq!(statuses(&plugin.verify(&items(&["42"]))), [Status::Pass]);
    // The plugin and its daemon, once the process between them is gone.
    wait_for_processes("MARK = 'left-session-test'", 2);
    drop(plugin);
    wait_for_processes("MARK = 'left-session-test'", 0);
}

#[test]
fn a_plugin_gets_no_more_of_the_environment_and_no_more_memory_than_it_was_given() {
    let source = r#"
import json, os, sys
for line in sys.stdin:
    ask = json.loads(line)
    if ask["op"] == "hello":
        print(json.dumps({"v": 1, "name": "seen"}), flush=True)
        continue
    try:
        room = len(bytearray(1 << 30))
    except MemoryError:
        room = 0
    open_files = sorted(os.listdir("/proc/self/fd"), key=int)
    names = sorted(n for n in os.environ if n.startswith(("CARGO", "PATH")))
    tags = {"names": " ".join(names), "files": " ".join(open_files)}
    print(json.dumps({"id": ask["id"], "results": [{"reward": float(room), "tags": tags}]}), flush=True)
"#;
    // A library without manners leaves a descriptor open over exec.
    let file = std::fs::File::open("/dev/null").expect("Linux");
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("it is open");
    let seen = |settings: PluginSettings| start(settings).verify(&items(&["x"])).remove(0);
    let small = seen(PluginSettings { memory_mb: 512, ..python(source) });
    assert_eq!((small.reward, small.tags["names"].as_str()), (Some(0.0), "PATH"), "{small:?}");
    // The last one is the folder that is listed.
    assert_eq!(small.tags["files"], "0 1 2 3");
    let large = seen(PluginSettings { environment: vec!["CARGO_MANIFEST_*".into()], ..python(source) });
    assert_eq!(large.reward, Some(f64::from(1 << 30)), "{large:?}");
    assert!(large.tags["names"].contains("CARGO_MANIFEST_DIR"), "{large:?}");
}

#[test]
fn settings_that_say_nothing_or_too_much_are_refused() {
    let refused = |settings: PluginSettings| settings.carrier().expect_err("refused").to_string();
    assert!(refused(PluginSettings::default()).contains("exactly one"));
    assert!(refused(PluginSettings { url: "http://a".into(), ..python("x") }).contains("exactly one"));
    let own = |set: &dyn Fn(&mut PluginSettings)| {
        let mut settings = PluginSettings::default();
        set(&mut settings);
        refused(settings)
    };
    assert!(own(&|s| s.url = "localhost:80".into()).contains("http://"));
    assert!(own(&|s| s.python = "reward.py".into()).contains("FILE.py:NAME"));
    assert!(own(&|s| s.timeout_s = f64::NAN).contains("timeout_s"));
}

/// Passes what is "42", cannot tell of "?", and fails to run on "!".
struct Stub;

impl Verifier for Stub {
    fn name(&self) -> &'static str {
        "stub"
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        let verdict = |item: &Item| match item.completion.as_str() {
            "!" => Verdict::error(&item.id, "it broke"),
            "?" => Verdict::undecided(&item.id, "hard"),
            text if Some(text) == item.ground_truth.as_str() => Verdict::pass(&item.id, "equal").metric("len", 2.0),
            _ => Verdict::fail(&item.id, "other").metric("len", 1.0),
        };
        items.iter().map(verdict).collect()
    }
}

fn served() -> (Server, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = Server::start(Arc::new(Stub), listener).expect("it can be served");
    let url = format!("http://{}", server.address());
    (server, url)
}

#[test]
fn a_service_is_a_plugin() {
    let (_server, url) = served();
    let plugin =
        start(PluginSettings { url: format!("{url}/score"), workers: 4, batch: 2, ..PluginSettings::default() });
    assert_eq!(plugin.hello().name, "stub");
    let verdicts = plugin.verify(&items(&["42", "41", "?", "!", "42"]));
    use Status::{Error, Fail, Pass, Undecided};
    assert_eq!(statuses(&verdicts), [Pass, Fail, Undecided, Error, Pass]);
    assert_eq!((verdicts[3].reward, verdicts[3].reason.as_str()), (None, "it broke"));
    assert_eq!(verdicts[0].metrics["len"], 2.0);
}

#[test]
fn openrlhf_is_spoken_in_and_out() {
    let (_server, url) = served();
    let settings = PluginSettings {
        url: format!("{url}/get_reward"),
        contract: Contract::Openrlhf,
        timeout_s: 20.0,
        batch: 2,
        ..PluginSettings::default()
    };
    let plugin = start(settings);
    let verdicts = plugin.verify(&items(&["42", "41"]));
    assert_eq!(statuses(&verdicts), [Status::Pass, Status::Fail]);
    assert_eq!((verdicts[0].metrics["pass"], verdicts[1].metrics["len"]), (1.0, 1.0));
    // The contract has no word for a missing reward of one item: the whole request is refused, and asked in parts.
    assert_eq!(statuses(&plugin.verify(&items(&["42", "!"]))), [Status::Pass, Status::Error]);
}

#[test]
fn items_and_lists_of_items_are_judged_over_http() {
    let (_server, url) = served();
    let ask = |route: &str, body: Value| {
        let (client, url) = (Client::new(None).expect("a client"), format!("{url}{route}"));
        wait(async move { client.post(&url, &body, Duration::from_secs(5), 1 << 20).await })
    };
    let one = ask("/verify", json!({"id": "a", "completion": "42", "ground_truth": "42"})).expect("an answer");
    let verdict: Verdict = serde_json::from_slice(&one).expect("a verdict");
    assert_eq!((verdict.id.as_str(), verdict.status), ("a", Status::Pass));
    let many = ask("/verify", json!([{"id": "a", "completion": "!"}, {"id": "b", "completion": "1"}]));
    let verdicts: Vec<Verdict> = serde_json::from_slice(&many.expect("an answer")).expect("verdicts");
    assert_eq!(statuses(&verdicts), [Status::Error, Status::Fail]);
    let bad = ask("/verify", json!({"id": 3})).expect_err("refused").to_string();
    assert!(bad.contains("400") && bad.contains("cannot be read"), "{bad}");
    let version = ask("/score", json!({"op": "hello", "v": 2})).expect_err("refused").to_string();
    assert!(version.contains("version 2"), "{version}");
}

#[test]
fn inv_9_a_service_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/r", listener.local_addr().expect("bound"));
    drop(listener);
    let settings = PluginSettings { url, contract: Contract::Openrlhf, timeout_s: 0.5, ..PluginSettings::default() };
    let verdicts = start(settings.clone()).verify(&items(&["42"; 3]));
    assert!(verdicts.iter().all(|v| v.reward.is_none() && v.tags["error"] == "upstream"), "{verdicts:?}");
    let greeted = PluginSettings { contract: Contract::Temper, start_timeout_s: 0.5, ..settings };
    assert!(PluginVerifier::new(greeted).is_err());
}
