//! `temper sandbox serve` as a user meets it: started, asked over HTTP, and ended with Ctrl-C.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

struct Service {
    child: Child,
    words: BufReader<ChildStderr>,
    printed: String,
    address: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It is gone already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_temper"))
            .args(["sandbox", "serve", "--address", "127.0.0.1:0", "--set", "workers=2"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("temper starts");
        let mut words = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut printed = String::new();
        let address = loop {
            let begin = printed.len();
            assert!(words.read_line(&mut printed).expect("text") > 0, "it ended: {printed}");
            if let Some(rest) = printed[begin..].strip_prefix("listening on http://") {
                break rest.split(';').next().expect("an address").to_owned();
            }
        };
        Self { child, words, printed, address }
    }

    fn post(&self, route: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let body = body.to_string();
        write!(
            stream,
            "POST {route} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).expect("JSON")
    }

    fn run(&self, code: &str) -> Value {
        self.post("/run_code", &json!({"code": code, "language": "python", "run_timeout": 3.0}))
    }

    /// Ctrl-C, and what it still says.
    fn interrupt(mut self) -> (Option<i32>, String) {
        // SAFETY: no memory is handed over, and the child is ours and not yet waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGINT) };
        let mut rest = String::new();
        self.words.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("it ends").code(), rest)
    }
}

#[test]
fn programs_run_over_http_and_hostile_ones_change_nothing() {
    let service = Service::start(&["--set", "memory_mb=128", "--queue", "8"]);
    for words in ["sandbox    ", "seccomp", "128 MiB of memory, 8 processes", "2 programs at once, 8 requests in hand"]
    {
        assert!(service.printed.contains(words), "{words}: {}", service.printed);
    }
    let honest = || {
        let answer = service
            .post("/run_code", &json!({"code": "print(6 * int(input()))", "language": "python", "stdin": "7\n"}));
        assert_eq!(
            (&answer["status"], &answer["run_result"]["stdout"]),
            (&json!("Success"), &json!("42\n")),
            "{answer}"
        );
    };
    honest();
    let hostile = [
        ("while True: pass", "Failed", "TimeLimitExceeded"),
        // It may kill what is in its own process namespace, and which of its copies is the first to do so is chance: the last line ends
        // it the same way in each case.
        (
            "import os\nwhile True:\n    try: os.fork()\n    except OSError: break\nos.kill(-1, 9)\nos.kill(os.getppid(), 9)\nos.kill(0, 9)",
            "Failed",
            "Finished",
        ),
        ("x = []\nwhile True: x.append(bytearray(1 << 20))", "Failed", "Finished"),
        ("open('/etc/passwd').read()", "Failed", "Finished"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 22))", "Failed", "Finished"),
    ];
    for (code, whole, step) in hostile {
        let answer = service.run(code);
        assert_eq!(
            (&answer["status"], &answer["run_result"]["status"]),
            (&json!(whole), &json!(step)),
            "{code}: {answer}"
        );
        honest();
    }
    let item = |program: &str| {
        json!({"id": "a", "completion": format!("```python\n{program}\n```"),
               "ground_truth": {"inputs": [[1, 2], [3, 4]], "outputs": [3, 7], "fn_name": "add"}})
    };
    assert_eq!(service.post("/judge", &item("def add(a, b): return a + b"))["reward"], json!(1.0));
    assert_eq!(service.post("/judge", &item("import os\ndef add(a, b): os._exit(0)"))["reward"], json!(0.0));
    let batch = json!({"code": "print(int(input()) + 1)", "language": "python", "stdins": ["1", "2"]});
    assert_eq!(service.post("/run_batch", &batch)["run_results"][1]["stdout"], json!("3\n"));
    let (code, rest) = service.interrupt();
    assert_eq!((code, rest.contains("ending")), (Some(0), true), "{rest}");
}

#[test]
fn ctrl_c_answers_what_is_in_hand_first() {
    let service = Service::start(&[]);
    let address = service.address.clone();
    let asked = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let body = json!({"code": "import time\ntime.sleep(1)\nprint('done')", "language": "python"}).to_string();
        write!(
            stream,
            "POST /run_code HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the connection is closed after the answer");
        answer
    });
    std::thread::sleep(Duration::from_millis(400));
    let begun = Instant::now();
    let (code, _) = service.interrupt();
    assert_eq!(code, Some(0));
    assert!(asked.join().expect("it was asked").contains("done\\n"));
    assert!(begun.elapsed() < Duration::from_secs(10), "a connection that idles does not hold it up");
}

#[test]
fn what_cannot_be_served_is_said_with_its_exit_code() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_temper")).args(["sandbox", "serve"]).args(arguments).output();
        let output = output.expect("temper starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = run(&["--set", "memory=1"]);
    assert!(code == Some(2) && words.contains("unknown key `memory`"), "{words}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (code, words) = run(&["--address", &taken.local_addr().expect("bound").to_string()]);
    assert!(code == Some(2) && words.contains("in use"), "{words}");
}
