//! Measures the math verifier: agreement with a file of pairs, checks a second, percentiles, and hostile input.
//!
//! `cargo run --release -p verifiers --example math_bench -- verifiers/tests/math/math_verify_pairs.jsonl`

use std::hint::black_box;
use std::time::Duration;

use data::{Item, Status};
use serde_json::{Value, json};
use verifiers::Verifier;
use verifiers::math::MathVerifier;

/// Processor time of this thread: other work on the machine does not count.
#[derive(Clone, Copy)]
struct Instant(Duration);

impl Instant {
    fn now() -> Self {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the clock exists on every Linux, and `time` is a valid place for its answer.
        let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(status, 0, "the thread's clock");
        Self(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    fn elapsed(self) -> Duration {
        Self::now().0 - self.0
    }
}

/// Passes over the pairs that are timed.
const PASSES: usize = 200;

struct Pair {
    id: String,
    expected: bool,
    item: Item,
}

fn main() {
    let path = std::env::args().nth(1).expect("the first argument is a file of pairs as JSON lines");
    let text = std::fs::read_to_string(&path).expect("the file of pairs can be read");
    let pairs: Vec<Pair> = text.lines().map(pair).collect();
    let verifier = MathVerifier::default();
    agreement(&verifier, &pairs);
    speed(&verifier, &pairs);
    slowest(&verifier, &pairs);
    hostile(&verifier);
}

fn item(gold: Value, completion: String, math: Value) -> Item {
    Item {
        id: "item".into(),
        prompt: None,
        completion,
        ground_truth: gold,
        data_source: None,
        extra_info: json!({ "math": math }),
        token_count: None,
        truncated: false,
    }
}

fn pair(line: &str) -> Pair {
    let row: Value = serde_json::from_str(line).expect("a pair a line");
    let mut settings = row["settings"].clone();
    // A file of pairs for another mode says so.
    if settings["mode"].is_null() {
        settings["mode"] = "math_verify".into();
    }
    let completion = row["prediction"].as_str().expect("a prediction").to_owned();
    Pair {
        id: row["id"].as_str().expect("an id").to_owned(),
        expected: row["expected"].as_bool().expect("an expected verdict"),
        item: item(row["gold"].clone(), completion, settings),
    }
}

fn agreement(verifier: &MathVerifier, pairs: &[Pair]) {
    let mut agreed = 0;
    for pair in pairs {
        let verdict = verifier.verify(std::slice::from_ref(&pair.item)).remove(0);
        if (verdict.status == Status::Pass) == pair.expected {
            agreed += 1;
        } else {
            println!("{} expected {}: {:?} ({})", pair.id, pair.expected, verdict.status, verdict.reason);
        }
    }
    println!("agreement: {agreed} of {}", pairs.len());
    let as_library = pairs.iter().filter(|pair| {
        let mut item = pair.item.clone();
        item.extra_info["math"]["one_final"] = false.into();
        (verifier.verify(&[item]).remove(0).status == Status::Pass) == pair.expected
    });
    println!("agreement with one_final = false: {} of {}", as_library.count(), pairs.len());
}

fn speed(verifier: &MathVerifier, pairs: &[Pair]) {
    let mut times = Vec::with_capacity(PASSES * pairs.len());
    let start = Instant::now();
    for _ in 0..PASSES {
        for pair in pairs {
            let one = Instant::now();
            black_box(verifier.verify(black_box(std::slice::from_ref(&pair.item))));
            times.push(one.elapsed());
        }
    }
    let total = start.elapsed();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "speed: {:.0} checks/s on one core (processor time); p50 {:?}, p90 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        times.len() as f64 / total.as_secs_f64(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn slowest(verifier: &MathVerifier, pairs: &[Pair]) {
    let mut taken: Vec<(Duration, &str)> = pairs
        .iter()
        .map(|pair| {
            let time = || {
                let start = Instant::now();
                black_box(verifier.verify(black_box(std::slice::from_ref(&pair.item))));
                start.elapsed()
            };
            ((0..20).map(|_| time()).min().expect("twenty runs"), pair.id.as_str())
        })
        .collect();
    taken.sort();
    for (time, id) in taken.iter().rev().take(14) {
        println!("slow: {time:?} {id}");
    }
}

fn hostile(verifier: &MathVerifier) {
    let boxed = |text: String| format!("\\boxed{{{text}}}");
    let cases = [
        ("tower of powers", boxed(r"\dfrac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}".into())),
        ("tower of nines", boxed("9^{9^{9^{9^{9^9}}}}".into())),
        ("factorials", boxed("4999!/4998!+4997!/4996!".into())),
        ("factorial of factorials", boxed("((99999!)!)!".into())),
        ("100 KB of (", boxed("(".repeat(100_000))),
        ("100 KB of ( without a box", "(".repeat(100_000)),
        ("24,000 characters of x^", boxed("x^".repeat(12_000))),
        ("24,000 characters of 1+", boxed("1+".repeat(12_000))),
        ("24,000 characters of prose", "the answer is maybe ".repeat(1_200)),
        ("24,000 dollars", "$".repeat(24_000)),
        ("24,000 characters of \\(", "\\(".repeat(12_000)),
        ("a power of a sum", boxed("(a+b+c+d+f+g+h+k)^{64}".into())),
        ("2,500 fractions", boxed((0..2_500).map(|i| format!("1/{}", 2 * i + 1)).collect::<Vec<_>>().join("+"))),
        ("nested sines", boxed(format!("{}x{}", "\\sin(".repeat(150), ")".repeat(150)))),
        ("300 sines", boxed((1..300).map(|i| format!("\\sin {i}")).collect::<Vec<_>>().join("+"))),
    ];
    let mut worst = Duration::ZERO;
    for mode in ["strict", "math_verify"] {
        for (name, completion) in &cases {
            let item = item(json!("\\cos(1)+x"), completion.clone(), json!({ "mode": mode }));
            let taken = (0..3)
                .map(|_| {
                    let start = Instant::now();
                    black_box(verifier.verify(black_box(std::slice::from_ref(&item))));
                    start.elapsed()
                })
                .min()
                .expect("three runs");
            println!("{mode:>11} {name:<30} {taken:?}");
            worst = worst.max(taken);
        }
    }
    println!("hostile: worst {worst:?}");
}
