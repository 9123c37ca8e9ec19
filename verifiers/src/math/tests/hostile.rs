//! Input that hangs other graders, and worse.

use std::time::Duration;

use data::Status::{Fail, Pass, Undecided};
use data::Verdict;

use super::{check, verdict_with};
use crate::math::{MathSettings, Mode};

/// Completions that have hung or frozen other graders, and worse ones.
fn hostile() -> Vec<String> {
    let boxed = |text: String| format!("\\boxed{{{text}}}");
    let many = |piece: &str, bytes: usize| piece.repeat(bytes / piece.len());
    let mut all: Vec<String> = [
        r"\dfrac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}",
        "9^{9^{9^{9^{9^9}}}}",
        "99999!!!!!",
        "(((2^{30000}+1)/(3^{20000}+1))^{2}+1)^{64}",
        "(a+b+c+d+f+g+h+k)^{64}",
        "(a+b+c+d)^{64}-(a-b-c-d)^{64}",
        "1e999999999999999999",
        "1e19000+1e-19000",
        r"\sqrt[99999999999]{2}",
        "2^{999999999/2}",
        r"\binom{5000}{2500}/\binom{4999}{1234}",
        "4999!/4998!+4997!/4996!",
        "0^0",
        r"\sqrt{115792089237316195423570985008687907853269984665640564039457584007913129639747}",
    ]
    .into_iter()
    .map(|text| boxed(text.to_owned()))
    .collect();
    for piece in [
        "(",
        "{",
        "[",
        "\\{",
        "\\frac",
        "\\sqrt",
        "-",
        "1+",
        "x^",
        "1,",
        "|",
        "\\boxed{",
        "9",
        ".9",
        "x",
        "1 ",
        "\\pm",
        "3\\pm",
        "<think>",
        "</think>",
        "answer is ",
        "2\\text{ or }",
        "1/(1+",
        "\\sin",
        "1:",
        "!",
        "%",
        "a=",
        "x<",
        "²",
        "½",
        "\\boxed{1}",
        "$",
        "x+y*",
        "f(",
        "C_{} ",
        "C_{C_{",
        "{}_",
        "10 \\choose ",
        "\\log_2 ",
        "A\\cup ",
        "2^{n+1} ",
        "A. ",
        "(A) ",
        "1\\text{ cm}, ",
        "1 cm ",
        "1 m ",
        "n\\text{ even} and ",
        "€1",
        "1 (ab) ",
        "\\text{Abc: }",
        "x>1, ",
        "a=1, ",
        "1^\\circ 1' ",
        "\\angle ",
        "\\boxed{1} or ",
        "1. No: ",
        "not ",
        "1 is wrong. ",
        "--",
        "\\text{",
        "<answer>1</answer>",
        "<answer>\\boxed{1}",
        "\\boxed{1}</answer>",
        "The answer is 1. ",
        "~~",
        "\\hspace{",
        "\\phantom{1}",
        "\"",
        "1\"",
        "P(A|",
        "[1,1]",
        "one ",
        "the ",
        "#### ",
        "{:}",
        "1_2",
    ] {
        for bytes in [3_000, 19_990, 24_000, 100_000] {
            all.push(many(piece, bytes));
            all.push(boxed(many(piece, bytes)));
        }
    }
    // What stands around an answer is read too.
    for piece in ["or ", "no: ", "1. ", "not ", "- ", "The answer is 1. ", "<answer>", "#### 1 ", "\\text{"] {
        all.push(format!("{}\\boxed{{72}}{}", many(piece, 90_000), many(piece, 90_000)));
        all.push(format!("<answer>{}</answer>{}", "\\boxed{72}".repeat(9_000), many(piece, 90_000)));
    }
    all.push(boxed(format!("1\\text{{ cm}}{}", "^{9}".repeat(4_000))));
    all.push(boxed(format!("1\\text{{ cm}}{}", "^{-9}".repeat(3_000))));
    all.push(boxed(format!("1{}", "\\text{ cm}'".repeat(1_500))));
    let sum: Vec<String> = (0..2_500).map(|i| format!("1/{}", 2 * i + 1)).collect();
    all.push(boxed(sum.join("+")));
    all.push(boxed(format!("{}1{}", "\\sin(".repeat(180), ")".repeat(180))));
    all.push(boxed(format!("{}x{}", "\\sqrt{1+".repeat(180), "}".repeat(180))));
    all.push(boxed(format!("{}5{}", "(".repeat(190), "!)".repeat(190))));
    all.push(boxed((1..300).map(|i| format!("\\sin {i}")).collect::<Vec<_>>().join("+")));
    all.push(boxed("\\sum_{k=1}^{400} ".repeat(3) + "k"));
    let distinct: Vec<String> = (0..3_000).map(|i| i.to_string()).collect();
    all.push(boxed(distinct.join(", ")));
    all.push(boxed(format!("1/{}", "7".repeat(19_000))));
    all.push(boxed(format!("0.{}", "7".repeat(19_000))));
    all.push(boxed(format!("{}/{}", "7".repeat(9_000), "3".repeat(9_000))));
    all
}

/// Processor time of this thread: other work on the machine does not count.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `time` is a valid place for its answer.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "the thread's clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What an answer may take.
const LIMIT: Duration = Duration::from_millis(50);

/// A verdict, and the processor time that it took. Neighbours slow the processor itself down, so of one that took too long the least of five
/// counts.
fn timed(settings: &MathSettings, gold: &str, completion: &str) -> (Verdict, Duration) {
    let once = || {
        let start = thread_time();
        let verdict = verdict_with(settings.clone(), gold, completion);
        (verdict, thread_time() - start)
    };
    let (verdict, mut taken) = once();
    for _ in 1..5 {
        if taken < LIMIT {
            break;
        }
        taken = taken.min(once().1);
    }
    (verdict, taken)
}

#[test]
fn hostile_input_is_answered_within_50_ms() {
    let list: Vec<String> = (1..3_001).rev().map(|i| i.to_string()).collect();
    let mut slowest = (Duration::ZERO, String::new());
    for gold in ["5", "x+1", "1, 2", list.join("; ").as_str()] {
        for mode in [Mode::Strict, Mode::Lenient, Mode::MathVerify] {
            for completion in hostile() {
                let settings = MathSettings { mode, ..MathSettings::default() };
                let (verdict, taken) = timed(&settings, gold, &completion);
                let head: String = completion.chars().take(60).collect();
                assert_ne!(verdict.status, Pass, "{head}");
                if taken > slowest.0 {
                    slowest = (taken, format!("{} bytes of {head}, {mode:?}: {}", completion.len(), verdict.reason));
                    println!("{slowest:?}");
                }
            }
        }
    }
    assert!(slowest.0 < LIMIT, "{slowest:?}");
}

/// However long a completion is, what is read of it is its end, and the verdict says how much was not.
#[test]
fn long_completions_are_answered_within_50_ms() {
    const PIECES: [&str; 24] = [
        "x",
        " ",
        "<",
        "<think>",
        "</think>",
        "think>",
        "<answer>",
        "</answer>",
        "\\boxed{1}",
        "\\boxed{",
        "{",
        "$1$ or ",
        "1 or the answer is ",
        "answer: ",
        "final answer is ",
        "#",
        "1, ",
        "[",
        "\\(1\\) ",
        "哈",
        "9",
        "$",
        "(",
        "1 = ",
    ];
    let mut slowest = (Duration::ZERO, String::new());
    for (bytes, pieces) in [(200_001, &PIECES[..]), (1 << 20, &PIECES[..]), (10 << 20, &PIECES[..14])] {
        for piece in pieces {
            let filler = piece.repeat(bytes / piece.len());
            for mode in [Mode::Strict, Mode::Lenient, Mode::MathVerify] {
                let settings = MathSettings { mode, ..MathSettings::default() };
                let (verdict, taken) = timed(&settings, "72", &filler);
                assert_ne!(verdict.status, Pass, "{piece}");
                if filler.len() > 200_000 {
                    let unread = verdict.metrics["unread_bytes"];
                    assert!(
                        (0.0..16.0).contains(&(filler.len() as f64 - 200_000.0 - unread).abs()),
                        "{piece}: {unread}"
                    );
                    assert!(verdict.reason.contains("bytes of the completion were not read"), "{}", verdict.reason);
                }
                if taken > slowest.0 {
                    slowest = (taken, format!("{bytes} bytes of {piece:?}, {mode:?}: {}", verdict.reason));
                    println!("{slowest:?}");
                }
            }
        }
    }
    assert!(slowest.0 < LIMIT, "{slowest:?}");
}

#[test]
fn the_end_of_a_long_completion_is_read_as_the_end_of_a_short_one() {
    let judged = |completion: &str| verdict_with(MathSettings::default(), "72", completion).status;
    let long = "so it goes on and on. ".repeat(20_000);
    assert_eq!(judged(&format!("{long}\\boxed{{72}}")), Pass);
    assert_eq!(judged(&format!("\\boxed{{72}}{long}")), Fail);
    assert_eq!(judged(&format!("<think>{long}</think>\\boxed{{72}}")), Pass);
    // Reasoning that began long ago and has not ended holds no answer.
    assert_eq!(judged(&format!("<think>{long}\\boxed{{72}}")), Fail);
    assert_eq!(judged(&format!("<think>short</think>{long}\\boxed{{72}}")), Pass);
    // A tag lies wherever the cut falls.
    for at in 0..20 {
        let end = format!("\\boxed{{72}}{}", "y".repeat(200_000 - at));
        assert_eq!(judged(&format!("<think>{end}")), Fail, "{at}");
        assert_eq!(
            judged(&format!("<think>{}</think>{}\\boxed{{72}}", &long[..300_000], "y".repeat(200_000 - at))),
            Pass,
            "{at}"
        );
    }
}

#[test]
fn towers_stay_symbolic_and_equal_themselves() {
    check(&[
        (r"\frac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}", r"\dfrac{5^{(5^{(5^{(5^5)})}-4)} - 5}{16}", Pass),
        ("7^{7^{7^7}}+1", "1+7^{7^{7^7}}", Pass),
        ("7^{7^{7^7}}", "7^{7^{7^8}}", Undecided),
        ("7^{7^{7^7}}", "7", Undecided),
    ]);
}

#[test]
fn budgets_are_steps_so_verdicts_repeat() {
    let tight = MathSettings { max_steps: 200, ..MathSettings::default() };
    let first = verdict_with(tight.clone(), "x+1", r"\boxed{(x+1)^{40}}");
    assert_eq!(first.status, Undecided);
    assert!((0..5).all(|_| verdict_with(tight.clone(), "x+1", r"\boxed{(x+1)^{40}}") == first));
}

/// Long lists against themselves in another order: what is the same is found by order, and what is not is not tried pair
/// by pair.
#[test]
fn long_lists_are_answered_within_50_ms() {
    let list = |numbers: &mut dyn Iterator<Item = i32>, end: &str| {
        let items: Vec<String> = numbers.map(|i| format!("{i}{end}")).collect();
        format!("\\{{{}\\}}", items.join(","))
    };
    for (end, status) in [("", Pass), ("x", Undecided), ("\\pi", Undecided)] {
        let gold = list(&mut (0..1_500), end);
        let answer = format!("\\boxed{{{}}}", list(&mut (0..1_500).rev(), end));
        let (verdict, taken) = timed(&MathSettings::default(), &gold, &answer);
        assert_eq!(verdict.status, status, "{end}: {}", verdict.reason);
        assert!(taken < LIMIT, "{end}: {taken:?}");
        println!("{end}: {taken:?}");
    }
}
