//! Measures the sandbox: runs a second, latency, and how steady verdicts are.
//!
//! `cargo run --release -p verifiers --example sandbox_bench -- [run|judge|http|flake|hostile|all] [N]`; `http N ADDRESS` asks a service that
//! runs already, `temper sandbox serve` for one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Mutex,
    time::{Duration, Instant},
};

use data::{Item, Status};
use serde_json::{Value, json};
use verifiers::{
    Verifier,
    code::{CodeSettings, CodeVerifier, RunCode, RunStatus, Sandbox, ServeSettings},
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "all".into());
    let n: usize = arguments.next().map_or(Ok(2000), |n| n.parse())?;
    if let (true, Some(address)) = (what == "http", arguments.next()) {
        return http_at(address.parse()?, 4, n);
    }
    let settings = CodeSettings { time_limit_s: 0.5, wall_limit_s: 4.0, ..CodeSettings::default() };
    let before = interpreters()?;
    let sandbox = Sandbox::new(settings)?;
    println!("sandbox: {}; {} workers", sandbox.isolation(), sandbox.workers());
    let wanted = |name: &str| what == "all" || what == name;
    if wanted("run") {
        run(&sandbox, n)?;
    }
    if wanted("judge") {
        judge(&sandbox, n)?;
    }
    if wanted("http") {
        http(&sandbox, n)?;
    }
    if wanted("flake") {
        flake(&sandbox, n);
    }
    if what == "hostile" {
        hostile(sandbox, n, &before)?;
    }
    Ok(())
}

fn request(code: String) -> RunCode {
    RunCode {
        code,
        language: "python".into(),
        stdin: Some("3 4\n".into()),
        compile_timeout: 10.0,
        run_timeout: 10.0,
        memory_limit_mb: -1,
        files: BTreeMap::new(),
        fetch_files: Vec::new(),
    }
}

/// A trivial program; the number makes each one new.
fn trivial(i: usize) -> String {
    format!("a, b = map(int, input().split())\nprint(a + b)\n# {i}\n")
}

/// Prints rate and latencies of `n` runs that took `times` each, from `clients` threads.
fn report(what: &str, clients: usize, elapsed: Duration, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    println!(
        "{what}: {:.0}/s ({} in {:.2} s, {clients} clients); latency p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        times.len() as f64 / elapsed.as_secs_f64(),
        times.len(),
        elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// Has `clients` threads do `n` pieces of work, and reports.
fn measured(what: &str, clients: usize, n: usize, work: impl Fn(usize) + Sync) {
    let (work, all) = (&work, Mutex::new(Vec::new()));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let all = &all;
            scope.spawn(move || {
                let mut times = Vec::new();
                for i in (client..n).step_by(clients) {
                    let begun = Instant::now();
                    work(i);
                    times.push(begun.elapsed());
                }
                all.lock().expect("no client panicked").extend(times);
            });
        }
    });
    let elapsed = start.elapsed();
    report(what, clients, elapsed, &mut all.into_inner().expect("no client panicked"));
}

/// Isolated trivial Python runs inside the process.
fn run(sandbox: &Sandbox, n: usize) -> Result<(), Failure> {
    for i in 0..200 {
        sandbox.run_code(&request(trivial(i)))?;
    }
    measured("run_code, in process", sandbox.workers(), n, |i| {
        let result = sandbox.run_code(&request(trivial(i))).expect("a sound request");
        assert!(result.status == RunStatus::Success, "{result:?}");
    });
    Ok(())
}

fn item(i: usize, program: &str, ground_truth: Value) -> Item {
    serde_json::from_value(json!({
        "id": i.to_string(), "completion": format!("```python\n{program}\n```"), "ground_truth": ground_truth,
    }))
    .expect("an item")
}

fn add_tests() -> Value {
    json!({"inputs": [[1, 2], [0, 0], [-5, 3], [10, 20], [7, 8], [100, -1]], "outputs": [3, 0, -2, 30, 15, 99], "fn_name": "add"})
}

/// Items with six tests each: calls in one child, and stdin with a child for each test.
fn judge(sandbox: &Sandbox, n: usize) -> Result<(), Failure> {
    let verifier = CodeVerifier::on(sandbox.clone());
    let calls = |i: usize| item(i, &format!("def add(a, b):\n    return a + b\n# {i}"), add_tests());
    let lines: Vec<String> = (0..6).map(|k| format!("{k} 1\n")).collect();
    let sums: Vec<String> = (1..7).map(|k| format!("{k}\n")).collect();
    let stdio = |i: usize| item(i, &trivial(i), json!({"inputs": lines, "outputs": sums}));
    for (what, make) in [("calls", &calls as &(dyn Fn(usize) -> Item + Sync)), ("stdin", &stdio)] {
        measured(&format!("verify, six tests by {what}"), sandbox.workers(), n / 2, |i| {
            let verdict = verifier.verify(&[make(i)]).remove(0);
            assert!(verdict.status == Status::Pass, "{verdict:?}");
        });
    }
    Ok(())
}

/// The same runs over HTTP, each client with a connection of its own.
fn http(sandbox: &Sandbox, n: usize) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let routes = verifiers::code::router(sandbox.clone(), &ServeSettings::default());
    let service = runtime.spawn(async move { axum::serve(listener, routes).await });
    http_at(address, sandbox.workers() * 2, n)?;
    service.abort();
    Ok(())
}

/// `n` runs of whoever listens at the address.
fn http_at(address: SocketAddr, clients: usize, n: usize) -> Result<(), Failure> {
    let connections: Vec<Mutex<TcpStream>> = (0..clients)
        .map(|_| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            Ok(Mutex::new(stream))
        })
        .collect::<std::io::Result<_>>()?;
    measured("run_code, over HTTP", clients, n, |i| {
        let body = serde_json::to_string(&request(trivial(i))).expect("serialises");
        let mut stream = connections[i % clients].lock().expect("one thread each");
        let answer = exchange(&mut stream, &body).expect("the service answers");
        assert_eq!(answer["run_result"]["stdout"], "7\n", "{answer}");
    });
    Ok(())
}

/// One request on a connection that stays open.
fn exchange(stream: &mut TcpStream, body: &str) -> std::io::Result<Value> {
    let head = format!(
        "POST /run_code HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut got = Vec::new();
    let mut part = [0; 65536];
    loop {
        if let Some(at) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..at]).to_lowercase();
            let length =
                head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
            let length: usize = length.unwrap_or(0);
            if got.len() >= at + 4 + length {
                return Ok(serde_json::from_slice(&got[at + 4..at + 4 + length])?);
            }
        }
        match stream.read(&mut part)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => got.extend_from_slice(&part[..n]),
        }
    }
}

/// Programs of every verdict, each many times: how often a verdict differs from the first of its kind.
fn flake(sandbox: &Sandbox, n: usize) {
    let programs = [
        ("AC", "def add(a, b):\n    return a + b"),
        ("WA", "import random\ndef add(a, b):\n    return random.random()"),
        ("RE", "def add(a, b):\n    return 1 / 0"),
        ("RE", "import os\ndef add(a, b):\n    os._exit(0)"),
        ("CE", "def add(a, b):\n    return a +"),
        ("MLE", "def add(a, b):\n    return len(bytearray(10 ** 10))"),
        ("OLE", "def add(a, b):\n    return 'x' * (5 << 20)"),
        ("WA", "def add(a, b):\n    return {str(i) for i in range(9)}.pop()"),
    ];
    let verifier = CodeVerifier::on(sandbox.clone());
    // Calls, and asserts that run in a child of their own.
    let asserts = json!({"asserts": ["assert [add(1, 2), add(0, 0)] == [3, 0]", "assert add(add(1, 2), 3) == 6"]});
    let tests = |i: usize| if (i / programs.len()).is_multiple_of(2) { add_tests() } else { asserts.clone() };
    let items: Vec<Item> =
        (0..n).map(|i| item(i, &format!("{}\n# {i}", programs[i % programs.len()].1), tests(i))).collect();
    let verdicts = verifier.verify(&items);
    let differs = |i: &usize| {
        let (verdict, first) = (&verdicts[*i], &verdicts[i % (2 * programs.len())]);
        verdict.tags.get("verdict").map(String::as_str) != Some(programs[i % programs.len()].0)
            || (verdict.status, &verdict.reason) != (first.status, &first.reason)
    };
    let flakes = (0..n).filter(differs).count();
    println!("flake rate: {flakes} of {n} verdicts over {} kinds of program, by calls and by asserts", programs.len());
}

/// What the machine holds that could be left behind: interpreters of cells, mounts, descriptors, cgroups, and this process's MiB.
fn held(before: &BTreeSet<String>) -> Result<[usize; 5], Failure> {
    let lines = |path: &str| fs::read_to_string(path).map(|text| text.lines().count());
    let groups = count_groups("/sys/fs/cgroup".as_ref(), 0);
    let status = fs::read_to_string("/proc/self/status")?;
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    Ok([
        interpreters()?.difference(before).count(),
        lines("/proc/self/mountinfo")?,
        fs::read_dir("/proc/self/fd")?.count(),
        groups,
        rss.unwrap_or(0usize) >> 10,
    ])
}

/// Numbers of the processes that are interpreters of cells, or children of them: both have the runner in their command line.
fn interpreters() -> Result<BTreeSet<String>, Failure> {
    let names = fs::read_dir("/proc")?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let runs = |pid: &String| {
        fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.contains("The warm interpreter of a cell"))
    };
    Ok(names.filter(runs).collect())
}

fn count_groups(path: &std::path::Path, depth: usize) -> usize {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    folders
        .map(|e| {
            let own = format!("temper-cell-{}-", std::process::id());
            let ours = usize::from(e.file_name().to_string_lossy().starts_with(&own));
            ours + if depth < 6 { count_groups(&e.path(), depth + 1) } else { 0 }
        })
        .sum()
}

/// Programs that try to pass asserts, or to break those who hold them, with what they are tried on.
const HOSTILE_TO_ASSERTS: [(&str, &str); 12] = [
    ("def f(x): raise StopIteration", "assert all(a == b for a, b in zip(map(f, [1, 2]), [1, 2]))"),
    ("def f(x): raise SystemExit(0)", "assert [f(1)] == [1] or f(2) == 2"),
    ("import os\ndef f(x): os._exit(0)", "for i in range(3):\n    assert f(i) == i"),
    (
        "class E:\n    __eq__ = __lt__ = __contains__ = lambda s, o: True\n    __hash__ = lambda s: 0\ndef f(x): return [E()]",
        "assert sorted(f(1)) == [1] and 1 in f(1)",
    ),
    ("def f(x):\n    while True: yield x", "assert sum(f(1)) == 3"),
    ("def f(g, n): return g(g, n)", "assert f(lambda h, n: f(h, n), 3) == 3"),
    (
        "import os\ndef f(x):\n    while True:\n        try: os.fork()\n        except OSError: return x",
        "assert [f(1)] == [2]",
    ),
    ("def f(x): return [bytearray(1 << 30)]", "assert [f(1)] == [1]"),
    ("def f(x): return ['x' * (8 << 20)]", "assert [f(1)] == [1]"),
    (
        "import os, threading\ndef w():\n    while True: os.write(3, b'\\0\\0\\0\\1x')\ndef f(x):\n    threading.Thread(target=w, daemon=True).start()\n    return x",
        "assert [f(i) for i in range(99)] == 3",
    ),
    ("import os\ndef f(x): os.kill(os.getpid(), 19)", "assert [f(1)] == [1]"),
    (
        "def f(p):\n    p.norm = lambda: 7\n    return 7",
        "class P:\n    def norm(self): return 5\np = P()\nassert f(p) == p.norm()",
    ),
];

/// Hostile runs, then a look at what is left.
fn hostile(sandbox: Sandbox, n: usize, others: &BTreeSet<String>) -> Result<(), Failure> {
    let programs = [
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: break\nprint(1)",
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: pass\n    os._exit(0)\nprint(1)",
        "x = bytearray(10 ** 11)",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "while True: print('x' * 10000)",
        "import os\nos.kill(-1, 9)\nos.kill(os.getppid(), 9)\nos._exit(0)",
        "import ctypes\nctypes.string_at(0)",
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()",
        "import os\nfor i in range(10 ** 7):\n    os.mkdir(str(i))",
        "open('big', 'wb').write(bytes(1 << 30))",
        "import os\nwhile True: os.dup(0)",
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'x' * 100)\n    except OSError: pass\nos.closerange(0, 64)",
        "import threading\nwhile True: threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "eval('(' * 10 ** 6)",
        "import os\nos.chmod('/box/tmp', 0)\nos.umask(0o777)\nos.symlink('/etc/passwd', '/box/tmp/x')",
        "import os, time\nif os.fork() == 0: time.sleep(100)\nos.close(1)\nos.close(3)",
    ];
    let run = |i: usize| {
        let result = sandbox
            .run_code(&RunCode { run_timeout: 0.3, ..request(format!("{}\n# {i}", programs[i % programs.len()])) });
        let result = result.expect("a sound request");
        assert!(result.status != RunStatus::SandboxError, "{}: {result:?}", programs[i % programs.len()]);
    };
    let verifier = CodeVerifier::on(sandbox.clone());
    let judge = |i: usize| {
        let (program, asserts) = HOSTILE_TO_ASSERTS[i % HOSTILE_TO_ASSERTS.len()];
        let mut item = item(i, &format!("{program}\n# {i}"), json!({"asserts": [asserts]}));
        item.extra_info = json!({"code": {"time_limit_s": 0.3, "wall_limit_s": 0.6}});
        let verdict = verifier.verify(&[item]).remove(0);
        assert!(verdict.status == Status::Fail, "{program}: {verdict:?}");
    };
    // Two cells each, one for the tests: every fourth is enough.
    let work = |i: usize| if i % 4 == 3 { judge(i / 4) } else { run(i) };
    (0..4 * programs.len().max(HOSTILE_TO_ASSERTS.len())).for_each(work);
    let before = held(others)?;
    println!("before: [interpreters, mounts, descriptors, groups, MiB] = {before:?}");
    let workers = sandbox.workers();
    measured("hostile runs", workers, n, work);
    let after = held(others)?;
    println!("after:  [interpreters, mounts, descriptors, groups, MiB] = {after:?}");
    let honest = sandbox.run_code(&request(trivial(0)))?;
    assert!(honest.status == RunStatus::Success, "an honest program still runs: {honest:?}");
    drop(sandbox);
    std::thread::sleep(Duration::from_millis(200));
    println!("ended:  [interpreters, mounts, descriptors, groups, MiB] = {:?}", held(others)?);
    Ok(())
}
