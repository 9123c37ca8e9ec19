//! `temper verify`: JSON lines in, verdicts out, in the same order and as they come.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use data::{Item, Status, Verdict};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use toml::Table;
use verifiers::Verifier;
use verifiers::plugin::serve::Server;

use crate::cli::VerifyArgs;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::words::explain;
use crate::recipe::{VerifierName, overrides};
use crate::say;
use crate::verifiers_by_name::build_verifier;

/// Items that are judged together, where as many are waiting: enough to keep every sandbox busy.
const BATCH: usize = 256;

/// How many verdicts of each kind were given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Right.
    pub pass: usize,
    /// Wrong.
    pub fail: usize,
    /// The verifier cannot tell.
    pub undecided: usize,
    /// The verifier could not run.
    pub error: usize,
}

impl Tally {
    /// One more.
    pub fn add(&mut self, status: Status) {
        let count = match status {
            Status::Pass => &mut self.pass,
            Status::Fail => &mut self.fail,
            Status::Undecided => &mut self.undecided,
            Status::Error => &mut self.error,
        };
        *count += 1;
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.pass + self.fail + self.undecided + self.error
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pass, fail, undecided, error } = self;
        write!(f, "{} items: {pass} pass, {fail} fail, {undecided} undecided, {error} error", self.total())
    }
}

/// Runs the command on stdin and stdout.
///
/// # Errors
/// Usage for wrong settings; data where no item can be judged, or stdin cannot be read; verifier where the verifier itself cannot judge.
pub fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let verifier = build_verifier(args.verifier, &settings(&args.set)?)?;
    if let Some(address) = args.serve {
        return serve(verifier, address);
    }
    let tally = stream(verifier.as_ref(), io::BufReader::new(io::stdin()), io::stdout().lock())?;
    say!("{tally}");
    if tally.total() == 0 {
        return Err(Failure::new(Code::Data, "stdin holds no item").hint(A_LINE));
    }
    if tally.error > 0 && tally.error == tally.total() {
        if let VerifierName::Plugin | VerifierName::Judge = args.verifier {
            let message = "every verdict is an error; `reason` of each says what happened";
            return Err(
                Failure::new(Code::Verifier, message).hint("docs/plugins.md and docs/verifiers.md say what is asked")
            );
        }
        return Err(nothing_judged(works(args.verifier, verifier.as_ref())));
    }
    Ok(())
}

/// Serves until the process is told to stop.
fn serve(verifier: Box<dyn Verifier>, address: SocketAddr) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::new(Code::Usage, format!("--serve {address}: {error}"));
    let server = Server::start(verifier.into(), TcpListener::bind(address).map_err(cannot)?).map_err(cannot)?;
    say!("listening on http://{}; routes: /score /verify /get_reward /health", server.address());
    let told = told()?;
    loop {
        match server.ended(Duration::from_millis(100)) {
            None if told.load(Ordering::Relaxed) => {
                return Err(Failure::new(Code::Interrupted, "the service was told to end"));
            }
            None => {}
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => return Err(cannot(error)),
        }
    }
}

/// Becomes true at Ctrl-C or SIGTERM.
fn told() -> Result<Arc<AtomicBool>, Failure> {
    let told = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().or_fail(Code::Internal)?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).or_fail(Code::Internal)?;
    let mut terminate = signal(SignalKind::terminate()).or_fail(Code::Internal)?;
    drop(guard);
    let tell = Arc::clone(&told);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
        });
        tell.store(true, Ordering::Relaxed);
    });
    Ok(told)
}

/// Every verdict is an error: the fault of the input where the verifier itself works.
fn nothing_judged(works: bool) -> Failure {
    if works {
        return Failure::new(Code::Data, "no item could be judged; `reason` of each verdict says what its item lacks")
            .hint("`math` needs the answer in `ground_truth`, `code` its tests, `length` a `token_count`");
    }
    Failure::new(Code::Verifier, "every verdict is an error, and the verifier fails on a program that is right")
        .hint("`temper doctor` says what the sandbox lacks")
}

/// Whether a verifier judges what it surely can. Only `code` depends on anything outside itself: its sandbox runs a program.
fn works(name: VerifierName, verifier: &dyn Verifier) -> bool {
    if name != VerifierName::Code {
        return true;
    }
    let item = json!({
        "id": "probe",
        "completion": "```python\nprint(1)\n```",
        "ground_truth": { "inputs": [""], "outputs": ["1"] },
    });
    let item: Item = serde_json::from_value(item).expect("an item in the form that users write");
    verifier.verify(&[item]).iter().all(|verdict| verdict.status == Status::Pass)
}

/// `--set KEY=VALUE` arguments as a table.
///
/// # Errors
/// Usage for one that is no setting, or has sections.
pub fn settings(sets: &[String]) -> Result<Table, Failure> {
    let mut table = Table::new();
    for typed in sets {
        let set = overrides::parse(typed).map_err(|problem| Failure::new(Code::Usage, problem.to_string()))?;
        let [key] = &set.path[..] else {
            return Err(Failure::new(Code::Usage, format!("--set {typed}: a verifier's settings have no sections")));
        };
        table.insert(key.clone(), set.value);
    }
    Ok(table)
}

/// Judges the lines of `input` and writes a verdict for each to `output`.
///
/// Lines that wait are judged together. No line waits for another to come, but where the verifier judges items together: then what shares
/// a call follows from the order of the lines and not from when they come. A line that is no item has the verdict `error`, with its id
/// where one can be read, and the next is judged. A reader that closes `output` ends it without an error.
///
/// # Errors
/// Data where `input` cannot be read on; the verdicts of the lines before are written.
pub fn stream(
    verifier: &dyn Verifier,
    input: impl BufRead + Send + 'static,
    mut output: impl Write,
) -> Result<Tally, Failure> {
    let lines = read_ahead(input);
    let (mut tally, mut unreadable, mut ended) = (Tally::default(), None, false);
    let mut waiting: Vec<Result<Item, NoItem>> = Vec::new();
    while !ended {
        let mut take = |line: Line| match line {
            Ok((number, text)) => waiting.push(parse(number, &text)),
            Err(failure) => unreadable = Some(failure),
        };
        match lines.recv() {
            Ok(first) => std::iter::once(first).chain(lines.try_iter().take(BATCH - 1)).for_each(&mut take),
            Err(_) => ended = true,
        }
        let items: Vec<Option<&Item>> = waiting.iter().map(|line| line.as_ref().ok()).collect();
        let whole = verifier.together().whole(&items, ended);
        let rest = waiting.split_off(whole);
        match write_verdicts(verifier, std::mem::replace(&mut waiting, rest), &mut output, &mut tally) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(tally),
            Err(error) => return Err(Failure::from_error(Code::Disk, &error)),
        }
    }
    unreadable.map_or(Ok(tally), Err)
}

/// What is said of a line that is no item.
const A_LINE: &str = "a line is a JSON object with `id`, `completion` and, where the verifier compares, `ground_truth`";

/// A line that is no item: its id where there is one, and what is wrong with it.
#[derive(Debug)]
struct NoItem {
    id: Option<String>,
    reason: String,
}

type Line = Result<(usize, Vec<u8>), Failure>;

/// Reads lines, blank ones left out, in a thread of its own: one that waits for input must not hold up the verdicts
/// before it.
fn read_ahead(input: impl BufRead + Send + 'static) -> Receiver<Line> {
    let (sender, receiver) = sync_channel(2 * BATCH);
    std::thread::spawn(move || {
        for (i, line) in input.split(b'\n').enumerate() {
            let line = match line {
                Ok(text) if text.trim_ascii().is_empty() => continue,
                Ok(text) => Ok((i + 1, text)),
                Err(error) => Err(Failure::new(Code::Data, format!("stdin line {}: cannot be read: {error}", i + 1))),
            };
            let last = line.is_err();
            // The other end is gone when the command ends early.
            if sender.send(line).is_err() || last {
                return;
            }
        }
    });
    receiver
}

fn parse(number: usize, text: &[u8]) -> Result<Item, NoItem> {
    serde_json::from_slice(text).map_err(|error| {
        let message = error.to_string();
        // The position is within the one line, and is said in front instead.
        let explained = explain(message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what));
        let place = format!("stdin line {number}, column {}", error.column());
        NoItem { id: id_of(text), reason: format!("{place}: {}; {A_LINE}", explained.message) }
    })
}

/// The id of a line that need not be JSON as a whole: the first text or number after an `"id":`.
fn id_of(line: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"\"id\"";
    let at = line.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let value = line[at..].trim_ascii_start().strip_prefix(b":")?;
    match serde_json::Deserializer::from_slice(value).into_iter::<Value>().next()?.ok()? {
        Value::String(id) => Some(id),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// Judges the items among `lines`, and writes a verdict for every line, in order.
fn write_verdicts(
    verifier: &dyn Verifier,
    lines: Vec<Result<Item, NoItem>>,
    output: &mut impl Write,
    tally: &mut Tally,
) -> io::Result<()> {
    let mut items = Vec::new();
    if lines.is_empty() {
        return Ok(());
    }
    let lines: Vec<Option<NoItem>> = lines.into_iter().map(|line| line.map(|item| items.push(item)).err()).collect();
    let verdicts = verifier.verify(&items);
    assert_eq!(verdicts.len(), items.len(), "a verifier gives one verdict an item");
    let mut verdicts = verdicts.into_iter();
    for line in lines {
        let (verdict, nameless) = match line {
            None => (verdicts.next().expect("one verdict an item"), false),
            Some(NoItem { id, reason }) => {
                let nameless = id.is_none();
                (Verdict::error(&id.unwrap_or_default(), reason), nameless)
            }
        };
        if nameless {
            let mut object = serde_json::to_value(&verdict)?;
            object["id"] = Value::Null;
            serde_json::to_writer(&mut *output, &object)?;
        } else {
            serde_json::to_writer(&mut *output, &verdict)?;
        }
        output.write_all(b"\n")?;
        tally.add(verdict.status);
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use verifiers::Together;
    use verifiers::plugin::protocol::group_of;

    use super::*;

    fn judge(input: &str) -> (Result<Tally, Failure>, Vec<String>) {
        let verifier = build_verifier(VerifierName::Math, &Table::new()).expect("the math verifier has defaults");
        let mut output = Vec::new();
        let result = stream(verifier.as_ref(), io::Cursor::new(input.to_owned()), &mut output);
        let lines = String::from_utf8(output).expect("JSON is UTF-8");
        let brief = |line: &str| {
            let verdict: data::Verdict = serde_json::from_str(line).expect("a verdict a line");
            format!("{} {:?}", verdict.id, verdict.status)
        };
        (result, lines.lines().map(brief).collect())
    }

    fn line(id: usize, answer: usize) -> String {
        let completion = format!("\\\\boxed{{{answer}}}");
        format!("{{\"id\": \"{id}\", \"completion\": \"{completion}\", \"ground_truth\": \"4\"}}\n")
    }

    #[test]
    fn verdicts_keep_the_order_over_many_batches() {
        let input: String = (0..3 * BATCH).map(|i| line(i, if i % 3 == 0 { 4 } else { 5 })).collect();
        let (tally, verdicts) = judge(&input);
        let expected: Vec<String> =
            (0..3 * BATCH).map(|i| format!("{i} {}", if i % 3 == 0 { "Pass" } else { "Fail" })).collect();
        assert_eq!(verdicts, expected);
        assert_eq!(tally.expect("all lines are sound"), Tally { pass: BATCH, fail: 2 * BATCH, ..Tally::default() });
    }

    #[test]
    fn inv_9_a_line_that_is_no_item_is_an_error_and_the_next_is_judged() {
        let cases = [
            ("{\"id\": \"x\"}\n", json!("x"), "stdin line 4, column 11: `completion` is missing"),
            ("{\"id\": \n", Value::Null, "stdin line 4, column 7: EOF while parsing a value"),
            (
                "{\"id\": 3, \"completion\": \"\"}\n",
                json!("3"),
                "stdin line 4, column 8: expected text in quotes, found the number `3`",
            ),
            ("{\"id\": \"s\", \"completion\": \"\\ud800\"}\n", json!("s"), "stdin line 4, column "),
            ("{\"id\": \"n\", \"completion\": \"\", \"ground_truth\": {\"a\": NaN}}\n", json!("n"), "stdin line 4, "),
            ("{\"completion\": null, \"id\": \"late\"}\n", json!("late"), "stdin line 4, "),
            ("garbage\n", Value::Null, "stdin line 4, column 1: "),
        ];
        for (bad, id, reason) in cases {
            let verifier = build_verifier(VerifierName::Math, &Table::new()).expect("the math verifier has defaults");
            let input = format!("{}\n{}{bad}{}", line(1, 4), line(3, 5), line(5, 4));
            let mut output = Vec::new();
            let tally = stream(verifier.as_ref(), io::Cursor::new(input), &mut output).expect(bad);
            assert_eq!(tally, Tally { pass: 2, fail: 1, error: 1, ..Tally::default() }, "{bad}");
            let text = String::from_utf8(output).expect("JSON is UTF-8");
            let verdicts: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
            let ids: Vec<&Value> = verdicts.iter().map(|verdict| &verdict["id"]).collect();
            assert_eq!(ids, [&json!("1"), &json!("3"), &id, &json!("5")], "{bad}");
            let error = &verdicts[2];
            assert_eq!((error["status"].as_str(), &error["reward"]), (Some("error"), &Value::Null), "{bad}");
            assert!(error["reason"].as_str().is_some_and(|r| r.starts_with(reason)), "{error}");
        }
    }

    /// Cuts its calls as a plugin does, and says how many items shared a part with each.
    struct Sharing(Together);

    impl Verifier for Sharing {
        fn name(&self) -> &'static str {
            "sharing"
        }
        fn together(&self) -> Together {
            self.0
        }
        fn verify(&self, items: &[Item]) -> Vec<Verdict> {
            let parts: Vec<&[Item]> = match self.0 {
                Together::Groups => items.chunk_by(|a, b| group_of(&a.id) == group_of(&b.id)).collect(),
                Together::Batches(size) => items.chunks(size).collect(),
                Together::Alone => items.chunks(1).collect(),
            };
            let said = |part: &&[Item]| format!("{} from {}", part.len(), part[0].id);
            parts.iter().flat_map(|part| part.iter().map(|item| Verdict::fail(&item.id, said(part)))).collect()
        }
    }

    /// Gives a few bytes at a time, and time for the reader to take them away.
    struct Dripping(io::Cursor<Vec<u8>>, usize);

    impl io::Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(2));
            let most = self.1.min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn what_shares_a_call_follows_from_the_order_of_the_lines_however_they_come() {
        let ids = ["p#0", "p#1", "", "q#0", "r#0", "r#1", "r#2"];
        let line = |id: &&str| match *id {
            "" => "garbage\n".to_owned(),
            id => format!("{{\"id\": \"{id}\", \"completion\": \"\"}}\n"),
        };
        let input: String = ids.iter().map(line).collect();
        for (together, expected) in [
            (Together::Groups, ["2 from p#0", "2 from p#0", "1 from q#0", "3 from r#0", "3 from r#0", "3 from r#0"]),
            (
                Together::Batches(4),
                ["4 from p#0", "4 from p#0", "4 from p#0", "4 from p#0", "2 from r#1", "2 from r#1"],
            ),
        ] {
            for bytes in [40, 1 << 16] {
                let mut output = Vec::new();
                let input = io::BufReader::new(Dripping(io::Cursor::new(input.clone().into_bytes()), bytes));
                let tally = stream(&Sharing(together), input, &mut output).expect("it can be read");
                assert_eq!((tally.fail, tally.error), (6, 1));
                let text = String::from_utf8(output).expect("JSON is UTF-8");
                let verdicts = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
                let reasons: Vec<String> = verdicts
                    .filter(|verdict| verdict["status"] == "fail")
                    .map(|verdict| verdict["reason"].as_str().unwrap_or_default().to_owned())
                    .collect();
                assert_eq!(reasons, expected, "{together:?}, {bytes} bytes at a time");
            }
        }
    }

    #[test]
    fn inv_9_an_error_is_no_reward() {
        let (tally, verdicts) = judge("{\"id\": \"a\", \"completion\": \"4\"}\n");
        assert_eq!((tally.expect("the line is sound").error, verdicts), (1, vec!["a Error".into()]));
    }

    #[test]
    fn whose_fault_it_is_that_every_verdict_is_an_error() {
        struct Broken;
        impl Verifier for Broken {
            fn name(&self) -> &'static str {
                "code"
            }
            fn verify(&self, items: &[Item]) -> Vec<data::Verdict> {
                items.iter().map(|item| data::Verdict::error(&item.id, "no sandbox")).collect()
            }
        }
        let sound = build_verifier(VerifierName::Code, &Table::new()).expect("there is a sandbox");
        assert!(works(VerifierName::Code, sound.as_ref()));
        assert!(!works(VerifierName::Code, &Broken));
        assert!(works(VerifierName::Math, &Broken), "mathematics needs no sandbox");
        assert_eq!((nothing_judged(true).code, nothing_judged(false).code), (Code::Data, Code::Verifier));
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let verifier = build_verifier(VerifierName::Math, &Table::new()).expect("the math verifier has defaults");
        stream(verifier.as_ref(), io::Cursor::new(line(1, 4)), Closed).expect("a closed pipe ends the command");
    }

    #[test]
    fn settings_are_toml_or_text() {
        let table = settings(&["mode=strict".into(), "one_final=false".into()]).expect("sound");
        assert_eq!((table["mode"].as_str(), table["one_final"].as_bool()), (Some("strict"), Some(false)));
        let table = settings(&[r#"json_schema={"type": "object", "required": ["a"]}"#.into()]).expect("JSON");
        assert_eq!(table["json_schema"]["type"].as_str(), Some("object"));
        assert_eq!(settings(&["a.b=1".into()]).expect_err("no sections").code, Code::Usage);
    }
}
