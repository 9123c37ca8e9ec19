//! Names of the Hugging Face hub in recipes and on the command line, against a hub on this machine that speaks its routes: what is asked
//! for once, what is kept, and what is said where there is no hub or it falls silent (INV-9).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

mod common;

use common::{assert_ok, plain, summary, temper};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves one checkpoint and one data set, and remembers what it was asked.
struct Hub {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn open(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &files, &heard);
            }
        });
        Self { endpoint, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panicked").clone()
    }
}

/// Reads a request, notes the path that is asked for, and answers.
fn answer(mut stream: TcpStream, files: &BTreeMap<String, Vec<u8>>, heard: &Mutex<Vec<String>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut range = None;
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some(bytes) = line.to_lowercase().strip_prefix("range: bytes=") {
            range = Some(bytes.to_owned());
        }
    }
    heard.lock().expect("no thread panicked").push(path.clone());
    let (head, body) = match listing(&path, files) {
        Some(list) => ("200 OK\r\ncontent-type: application/json".to_owned(), list),
        None => match path.split_once(&format!("/resolve/{COMMIT}")) {
            Some((repo, file)) if files.contains_key(&format!("{repo}{file}")[1..]) => {
                part(&files[&format!("{repo}{file}")[1..]], file, range.as_deref())
            }
            _ => ("404 Not Found".to_owned(), Vec::new()),
        },
    };
    let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).ok()
}

/// What a repository holds, where that is asked.
fn listing(path: &str, files: &BTreeMap<String, Vec<u8>>) -> Option<Vec<u8>> {
    let repo = path.strip_prefix("/api/")?.strip_suffix("/revision/main")?;
    let repo = repo.strip_prefix("models/").unwrap_or(repo);
    let names: Vec<_> = files.keys().filter_map(|name| name.strip_prefix(repo)?.strip_prefix('/')).collect();
    let siblings: Vec<_> = names.into_iter().map(|name| json!({ "rfilename": name })).collect();
    (!siblings.is_empty()).then(|| json!({ "sha": COMMIT, "siblings": siblings }).to_string().into_bytes())
}

/// The bytes that are asked for.
fn part(file: &[u8], name: &str, range: Option<&str>) -> (String, Vec<u8>) {
    let (first, last) = range.and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let first: usize = first.parse().expect("a place");
    let end = last.parse::<usize>().map_or(file.len(), |last| file.len().min(last + 1));
    let head = format!(
        "206 Partial Content\r\netag: \"{}\"\r\nx-repo-commit: {COMMIT}\r\ncontent-range: bytes {first}-{}/{}",
        name.trim_start_matches('/').replace('.', "-"),
        end - 1,
        file.len()
    );
    (head, file[first..end].to_vec())
}

fn ask(home: &Path, endpoint: &str, arguments: &[&str]) -> Output {
    let mut command = temper(arguments);
    command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint).env("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    command.env_remove("HF_TOKEN").env_remove("HF_HUB_OFFLINE").output().expect("the binary runs")
}

fn base() -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir("configs/base").expect("it is here").map(|entry| entry.expect("an entry").path());
    let file = |path: std::path::PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        (format!("temper/base/{name}"), fs::read(path).expect("it reads"))
    };
    entries.map(file).chain([("temper/base/onnx/model.safetensors".to_owned(), vec![0])]).collect()
}

const COMPLETE: [&str; 8] =
    ["generate", "--checkpoint", "hf://temper/base", "--prompt", "1 + 1 =", "--max-new-tokens", "4", "--temperature=0"];

#[test]
fn a_checkpoint_is_asked_for_once_and_is_what_it_is_on_the_hub() {
    let home = tempfile::tempdir().expect("a folder");
    let hub = Hub::open(base());
    let first = ask(home.path(), &hub.endpoint, &COMPLETE);
    assert_ok(&first);
    let asked = hub.asked();
    assert!(asked.iter().any(|path| path.ends_with("/model.safetensors")) && !asked.iter().any(|p| p.contains("onnx")));
    assert!(asked.last().is_some_and(|path| path.ends_with("/config.json")), "{asked:?}");
    let mut here = COMPLETE;
    here[2] = "configs/base";
    assert_eq!(first.stdout, ask(home.path(), &hub.endpoint, &here).stdout);
    // The second time nothing is asked, not even whether there is a hub.
    let nowhere = "http://127.0.0.1:9";
    let again = ask(home.path(), nowhere, &COMPLETE);
    assert_ok(&again);
    assert_eq!((hub.asked(), first.stdout), (asked, again.stdout));
}

#[test]
fn what_the_cache_lacks_of_a_checkpoint_is_asked_for() {
    let home = tempfile::tempdir().expect("a folder");
    let hub = Hub::open(base());
    assert_ok(&ask(home.path(), &hub.endpoint, &COMPLETE));
    let all = hub.asked().len();
    let snapshot = home.path().join(format!("hub/models--temper--base/snapshots/{COMMIT}"));
    // As where a program that looks at configs alone was there before.
    fs::remove_file(snapshot.join("model.safetensors")).expect("it was there");
    assert_ok(&ask(home.path(), &hub.endpoint, &COMPLETE));
    let asked = hub.asked().split_off(all);
    let files: Vec<_> = asked.iter().filter(|path| path.contains("/resolve/")).collect();
    assert!(!files.is_empty() && files.iter().all(|path| path.ends_with("/model.safetensors")), "{files:?}");
}

#[test]
fn a_run_from_the_hub_is_a_run_of_one_commit() {
    let home = tempfile::tempdir().expect("a folder");
    let row =
        |i: usize| json!({ "prompt": format!("{i} + 1 ="), "ground_truth": (i + 1).to_string() }).to_string() + "\n";
    let rows: String = (0..8).map(row).collect();
    let mut files = base();
    files.insert("datasets/temper/sums/data/test.jsonl".to_owned(), rows.into_bytes());
    let hub = Hub::open(files);
    let out = home.path().join("runs");
    let recipe = home.path().join("r.toml");
    let text = format!(
        r#"
        [run]
        name = "r"
        out = "{}"
        [model]
        checkpoint = "hf://temper/base@main"
        [sampling]
        max_new_tokens = 4
        [eval]
        n = 4
        [domains.sums]
        train = [{{ path = "hf://datasets/temper/sums/data/test.jsonl" }}]
        eval = [{{ path = "hf://datasets/temper/sums/data/test.jsonl" }}]
        verifiers = [{{ name = "math" }}]
        [[stages]]
        name = "eval"
        kind = "eval"
        "#,
        plain(&out)
    );
    fs::write(&recipe, text).expect("it writes");
    assert_ok(&ask(home.path(), &hub.endpoint, &["run", plain(&recipe)]));
    assert_eq!(summary(&out.join("r"))["stages"][0]["eval"]["sums"]["n"], 4);
    // The run's own copy of the recipe names the commit's files, whatever becomes of `main`.
    let own = fs::read_to_string(out.join("r/resolved.toml")).expect("it is there");
    assert!(!own.contains("hf://") && own.matches(&format!("snapshots/{COMMIT}")).count() == 3, "{own}");
}

#[test]
fn inv_9_a_hub_that_is_absent_or_silent_or_lacks_the_name_is_said() {
    let home = tempfile::tempdir().expect("a folder");
    let fails = |endpoint: &str, name: &str, code: i32, words: &str| {
        let mut arguments = COMPLETE;
        arguments[2] = name;
        let began = Instant::now();
        let output = ask(home.path(), endpoint, &arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(words) && text.contains("hint: "), "{text}");
        assert!(began.elapsed() < Duration::from_secs(20));
    };
    fails("http://127.0.0.1:9", "hf://temper/base", 4, "hf://temper/base: ");
    fails(&Hub::open(base()).endpoint, "hf://temper/other", 4, "404");
    fails("http://127.0.0.1:9", "hf://base", 2, "names nothing on the hub");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("it is bound"));
    fails(&endpoint, "hf://temper/base", 4, "the hub has sent nothing for 1 s");
}
