//! `run_code`, the batch, and the HTTP service around them.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use verifiers::code::{CodeSettings, RunBatch, RunStatus, Sandbox, ServeSettings, StepStatus};

use crate::support::{HONEST, add_tests, installed, namespaces, request, run, sandbox};

#[test]
fn python_runs_as_on_the_command_line() {
    let mut asked = request("python", "import sys\nprint(input())\nprint('to stderr', file=sys.stderr)");
    asked.stdin = Some("hello\n".into());
    let result = sandbox().run_code(&asked).expect("sound");
    assert_eq!((result.status, result.message.as_str(), result.compile_result), (RunStatus::Success, "", None));
    let step = result.run_result.expect("it ran");
    assert_eq!((step.stdout.as_str(), step.stderr.as_str(), step.return_code), ("hello\n", "to stderr\n", Some(0)));
    assert!(step.execution_time.is_some_and(|s| s > 0.0 && s < 5.0));
    let result = run("python", "def f():\n    return 1 / 0\nf()");
    let step = result.run_result.expect("it ran");
    assert_eq!((result.status, step.return_code), (RunStatus::Failed, Some(1)));
    let wanted = "Traceback (most recent call last):\n  File \"solution.py\", line 3, in <module>\n    f()\n";
    assert!(
        step.stderr.starts_with(wanted) && step.stderr.trim().ends_with("ZeroDivisionError: division by zero"),
        "{}",
        step.stderr
    );
    for (code, exit) in
        [("import sys\nsys.exit(7)", 7), ("import os\nos._exit(3)", 3), ("raise SystemExit('bye')", 1), ("x = (", 1)]
    {
        let step = run("python", code).run_result.expect("it ran");
        assert_eq!((step.status, step.return_code), (StepStatus::Finished, Some(exit)), "{code}: {step:?}");
    }
    let mut slow = request("python", "print('before', flush=True)\nwhile True: pass");
    slow.run_timeout = 0.3;
    let result = sandbox().run_code(&slow).expect("sound");
    let step = result.run_result.expect("it ran");
    assert_eq!(
        (result.status, step.status, step.return_code),
        (RunStatus::Failed, StepStatus::TimeLimitExceeded, None)
    );
    assert_eq!((step.stdout.as_str(), step.limit.as_deref()), ("before\n", Some("TLE")));
}

#[test]
fn an_unknown_language_is_the_sandboxs_error_and_a_bad_request_the_callers() {
    let result = run("klingon", "");
    assert_eq!((result.status, result.run_result), (RunStatus::SandboxError, None));
    let mut bad = request("python", "");
    bad.files = BTreeMap::from([("../x".to_owned(), None)]);
    assert!(sandbox().run_code(&bad).is_err());
}

#[test]
fn files_go_in_and_come_back() {
    if !installed("/bin/bash") {
        return;
    }
    for (language, code) in [
        ("bash", "mkdir -p out/deep; tr a-z A-Z < data/in.txt > out/deep/up.txt; cat data/in.txt"),
        (
            "python",
            "import os\nos.makedirs('out/deep')\ntext = open('data/in.txt').read()\nopen('out/deep/up.txt', 'w').write(text.upper())\nprint(text, end='')",
        ),
    ] {
        let mut asked = request(language, code);
        asked.files =
            BTreeMap::from([("data/in.txt".to_owned(), Some(STANDARD.encode("abc"))), ("none".to_owned(), None)]);
        asked.fetch_files = vec!["out/deep/up.txt".into(), "absent".into()];
        let result = sandbox().run_code(&asked).expect("sound");
        assert_eq!(result.run_result.as_ref().map(|s| s.stdout.as_str()), Some("abc"), "{result:?}");
        assert_eq!(result.files, BTreeMap::from([("out/deep/up.txt".to_owned(), STANDARD.encode("ABC"))]));
    }
}

#[test]
fn c16_links_and_what_is_no_file_are_not_fetched() {
    if !installed("/bin/bash") {
        return;
    }
    let code = "ln -s /etc/hostname link; ln -s /box/tmp here; mkdir dir; echo x > dir/file; ln -s dir alias; ln -s link chain; mkfifo pipe; ln -s /dev/zero zero; echo real > real; (sleep 0.2; rm real; ln -s /usr/bin/env real) & exit 0";
    let mut asked = request("bash", code);
    asked.fetch_files = ["link", "here/real", "alias/file", "dir", "chain", "pipe", "zero", "real", "dir/file"]
        .map(String::from)
        .to_vec();
    let result = sandbox().run_code(&asked).expect("sound");
    let names: Vec<&str> = result.files.keys().map(String::as_str).collect();
    assert_eq!(names, ["dir/file", "real"], "{result:?}");
    assert_eq!(result.files["real"], STANDARD.encode("real\n"), "what is left behind is dead before files are read");
}

#[test]
fn a_batch_compiles_once_and_runs_each_input() {
    let batch = |language: &str, code: &str, stdins: &[&str], stop: bool| {
        let asked = RunBatch {
            program: request(language, code),
            stdins: stdins.iter().map(|s| (*s).to_owned()).collect(),
            stop_at_failure: stop,
        };
        sandbox().run_batch(&asked).expect("sound")
    };
    let outputs = |result: &verifiers::code::RunBatchResult| -> Vec<String> {
        result.run_results.iter().map(|step| step.stdout.clone()).collect()
    };
    let double = "print(2 * int(input()))";
    let result = batch("python", double, &["1", "2", "3"], true);
    assert_eq!(
        (result.status, outputs(&result)),
        (RunStatus::Success, ["2\n", "4\n", "6\n"].map(String::from).to_vec())
    );
    let result = batch("python", double, &["1", "x", "3"], false);
    assert_eq!((result.status, outputs(&result)), (RunStatus::Failed, ["2\n", "", "6\n"].map(String::from).to_vec()));
    assert_eq!(batch("python", double, &["1", "x", "3"], true).run_results.len(), 2);
    if installed("/usr/bin/gcc") {
        let c = "#include <stdio.h>\nint main() { int n; scanf(\"%d\", &n); printf(\"%d\", n * n); }";
        let result = batch("c", c, &["3", "5"], true);
        assert_eq!((result.status, outputs(&result)), (RunStatus::Success, ["9", "25"].map(String::from).to_vec()));
        let result = batch("c", "int main( {", &["3"], true);
        assert!(result.status == RunStatus::Failed && result.run_results.is_empty() && result.compile_result.is_some());
    }
}

/// A service in this process.
struct Service {
    address: SocketAddr,
    runtime: tokio::runtime::Runtime,
}

impl Service {
    fn start(sandbox: Sandbox, settings: &ServeSettings) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let routes = verifiers::code::router(sandbox, settings);
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Self { address, runtime }
    }

    fn send(&self, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        // A service may answer before it has read everything.
        let _ = stream.write_all(body.as_bytes());
        stream
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        receive(self.send(path, &body.to_string()))
    }
}

fn receive(mut stream: TcpStream) -> (u16, Value) {
    let mut answer = Vec::new();
    // The connection may be reset after an answer to a body that was not read.
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn the_service_speaks_sandboxfusions_words() {
    let service = Service::start(sandbox().clone(), &ServeSettings::default());
    let (status, answer) = service
        .post("/run_code", &json!({"code": "print(input())", "language": "python", "stdin": "hi", "run_timeout": 5}));
    assert_eq!((status, &answer["status"]), (200, &json!("Success")), "{answer}");
    assert_eq!(answer["run_result"]["stdout"], "hi\n");
    assert_eq!(answer["run_result"]["status"], "Finished");
    assert_eq!(
        (&answer["executor_pod_name"], &answer["compile_result"], &answer["files"]),
        (&Value::Null, &Value::Null, &json!({}))
    );
    let (_, answer) = service.post("/run_code", &json!({"code": "1 / 0", "language": "python"}));
    assert_eq!((&answer["status"], &answer["run_result"]["return_code"]), (&json!("Failed"), &json!(1)));
    let (_, answer) =
        service.post("/run_code", &json!({"code": "while 1: pass", "language": "python", "run_timeout": 0.2}));
    assert_eq!((&answer["status"], &answer["run_result"]["status"]), (&json!("Failed"), &json!("TimeLimitExceeded")));
    let (_, answer) = service.post("/run_code", &json!({"code": "", "language": "klingon"}));
    assert_eq!(answer["status"], "SandboxError");
    let (status, _) =
        service.post("/run_code", &json!({"code": "", "language": "python", "fetch_files": ["../../etc/passwd"]}));
    assert_eq!(status, 422);
    let (status, _) = service.post("/run_code", &json!({"language": "python"}));
    assert_eq!(status, 422);
    let (status, answer) =
        service.post("/run_batch", &json!({"code": "print(input())", "language": "python", "stdins": ["a", "b"]}));
    assert_eq!((status, &answer["run_results"][1]["stdout"]), (200, &json!("b\n")), "{answer}");
    let item = json!({"id": "i", "completion": format!("```python\n{HONEST}```"), "ground_truth": add_tests()});
    let (status, answer) = service.post("/judge", &item);
    assert_eq!(
        (status, &answer["status"], &answer["tags"]["verdict"]),
        (200, &json!("pass"), &json!("AC")),
        "{answer}"
    );
}

#[test]
fn every_answer_of_the_service_is_json_and_its_times_are_true() {
    let service = Service::start(sandbox().clone(), &ServeSettings::default());
    let (status, answer) = service.post("/run_jupyter", &json!({"cells": ["1"]}));
    assert_eq!((status, &answer["status"], &answer["cells"]), (200, &json!("SandboxError"), &json!([])), "{answer}");
    let (status, answer) = receive(service.send("/run_code", "{"));
    assert!(status == 422 && answer["detail"].is_string(), "{status} {answer}");
    let (status, answer) = service.post("/nowhere", &json!({}));
    assert!(status == 404 && answer["detail"].is_string(), "{status} {answer}");
    let file = STANDARD.encode("x");
    for files in [json!({"a": file, "a/b": file}), json!({"main.py": file}), json!({"main.py/x": file})] {
        let asked = json!({"code": "print(1)", "language": "python", "files": files});
        let (status, answer) = service.post("/run_code", &asked);
        assert!(status == 422 && answer["detail"].is_string(), "{status} {answer}");
    }
    let asked = json!({"code": "print(1)", "language": "python", "files": {"a": file, "ab": file, "c/d": file}, "run_timeout": null, "compile_timeout": "3"});
    let (status, answer) = service.post("/run_code", &asked);
    if namespaces() {
        assert_eq!((status, &answer["status"]), (200, &json!("Success")), "{answer}");
    }
    for code in ["pass", "import time\ntime.sleep(0.05)"] {
        let (_, answer) = service.post("/run_code", &json!({"code": code, "language": "python"}));
        let took = answer["run_result"]["execution_time"].as_f64().expect("seconds");
        assert!(took > if code == "pass" { 1e-4 } else { 0.05 }, "{answer}");
    }
    if installed("/usr/bin/gcc") {
        for _ in 0..2 {
            let (_, answer) = service.post("/run_code", &json!({"code": "int main() { return 0; }", "language": "c"}));
            let compiled = &answer["compile_result"];
            assert!(
                compiled["cpu_time"].as_f64() > Some(1e-3) && compiled["peak_memory_mb"].as_f64() > Some(0.0),
                "{answer}"
            );
            assert!(compiled["execution_time"].as_f64() > Some(1e-3), "{answer}");
        }
    }
}

#[test]
fn d01_a_full_queue_says_so_and_every_request_is_answered() {
    let service = Service::start(sandbox().clone(), &ServeSettings { queue: 4, ..ServeSettings::default() });
    let body = json!({"code": "import time\ntime.sleep(0.1)\nprint(1)", "language": "python"});
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..60).map(|_| scope.spawn(|| service.post("/run_code", &body))).collect();
        clients.into_iter().map(|client| client.join().expect("it ends")).collect()
    });
    let count = |code: u16| answers.iter().filter(|(status, _)| *status == code).count();
    assert_eq!(count(200) + count(429), 60, "{answers:?}");
    assert!(count(200) >= 4 && count(429) > 0, "{} answered", count(200));
    assert!(answers.iter().all(|(status, answer)| *status != 200 || answer["run_result"]["stdout"] == "1\n"));
    // There is room again.
    assert_eq!(service.post("/run_code", &body).0, 200);
}

#[test]
fn d02_a_caller_that_goes_away_takes_its_run_along() {
    let settings = CodeSettings { workers: 1, ..CodeSettings::default() };
    let service = Service::start(Sandbox::new(settings).expect("starts"), &ServeSettings::default());
    let sleep = json!({"code": "import time\ntime.sleep(60)", "language": "python", "run_timeout": 60});
    let gone: Vec<TcpStream> = (0..3).map(|_| service.send("/run_code", &sleep.to_string())).collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(gone);
    let start = Instant::now();
    let (status, answer) = service.post("/run_code", &json!({"code": "print(1)", "language": "python"}));
    assert_eq!((status, &answer["run_result"]["stdout"]), (200, &json!("1\n")));
    assert!(start.elapsed() < Duration::from_secs(5), "the only cell was freed: {:?}", start.elapsed());
}

#[test]
fn d09_large_inputs_pass_and_larger_ones_are_refused() {
    let service = Service::start(sandbox().clone(), &ServeSettings { body_mb: 8, ..ServeSettings::default() });
    let code = "import sys\nprint(len(sys.stdin.read()))";
    let (status, answer) =
        service.post("/run_code", &json!({"code": code, "language": "python", "stdin": "x".repeat(6 << 20)}));
    assert_eq!((status, answer["run_result"]["stdout"].as_str()), (200, Some(format!("{}\n", 6 << 20).as_str())));
    let (status, _) =
        service.post("/run_code", &json!({"code": code, "language": "python", "stdin": "x".repeat(9 << 20)}));
    assert_eq!(status, 413);
    let (status, _) =
        service.post("/run_batch", &json!({"code": code, "language": "python", "stdins": vec![""; 10_001]}));
    assert_eq!(status, 422);
}

#[test]
fn the_service_ends_when_it_is_told_to() {
    let settings = ServeSettings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..ServeSettings::default() };
    let service = Service::start(sandbox().clone(), &settings);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = service.runtime.spawn({
        let sandbox = sandbox().clone();
        async move { verifiers::code::serve(sandbox, &settings, async move { drop(stopped.await) }).await }
    });
    stop.send(()).expect("it waits");
    let ended = service.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), serving).await });
    assert!(matches!(ended, Ok(Ok(Ok(())))), "{ended:?}");
    let taken = ServeSettings { listen: service.address, ..ServeSettings::default() };
    let refused = service.runtime.block_on(verifiers::code::serve(sandbox().clone(), &taken, async {}));
    assert!(refused.is_err_and(|e| e.to_string().contains("cannot listen")));
}
