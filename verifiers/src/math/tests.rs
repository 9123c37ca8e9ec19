//! Tables of gold, completion and verdict; properties; hostile input.

use std::time::Duration;

use data::{Item, Status, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{MathSettings, MathVerifier, Mode};
use crate::Verifier;
use Status::{Error, Fail, Pass, Undecided};

fn item(gold: Value, completion: &str) -> Item {
    Item {
        id: "q".into(),
        prompt: None,
        completion: completion.into(),
        ground_truth: gold,
        data_source: None,
        extra_info: Value::Null,
        token_count: None,
        truncated: false,
    }
}

fn verdict_with(settings: MathSettings, gold: &str, completion: &str) -> Verdict {
    let verdicts = MathVerifier::new(settings).verify(&[item(json!(gold), completion)]);
    verdicts.into_iter().next().expect("one verdict an item")
}

fn verdict(gold: &str, completion: &str) -> Verdict {
    verdict_with(MathSettings::default(), gold, completion)
}

/// Checks a table of gold, the content of the box, and the status.
fn check(table: &[(&str, &str, Status)]) {
    let mut wrong = Vec::new();
    for (gold, boxed, expect) in table {
        let verdict = verdict(gold, &format!("so \\boxed{{{boxed}}}"));
        if verdict.status != *expect {
            wrong.push(format!("{gold} | {boxed}: {:?} ({}), not {expect:?}", verdict.status, verdict.reason));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn check_completions(mode: Mode, table: &[(&str, &str, Status)]) {
    for (gold, completion, expect) in table {
        let settings = MathSettings { mode, ..MathSettings::default() };
        let verdict = verdict_with(settings, gold, completion);
        assert_eq!(verdict.status, *expect, "{gold} | {completion}: {}", verdict.reason);
    }
}

#[test]
fn numbers_are_compared_exactly() {
    check(&[
        ("42", "42", Pass),
        ("42", "42.", Pass),
        ("42", "42.0", Pass),
        ("42", "43", Fail),
        ("42", "-42", Fail),
        ("-7", "−7", Pass),
        ("0.5", r"\frac{1}{2}", Pass),
        ("1/2", r"\dfrac12", Pass),
        (r"\frac{1}{3}", "0.333", Fail),
        (r"\frac{1}{3}", r"0.\overline{3}", Pass),
        (r"\frac{1}{6}", r"0.1\overline{6}", Pass),
        ("2/4", "1/2", Pass),
        ("1.5", r"1\frac{1}{2}", Pass),
        ("1.5", "1 1/2", Pass),
        ("-1.5", r"-1\frac12", Pass),
        ("1½", "3/2", Pass),
        ("8/3", r"2\frac{4}{3}", Pass),
        ("1e3", "1000", Pass),
        ("3 \\times 10^8", "300000000", Pass),
        ("2.5e-3", "0.0025", Pass),
        ("１２", "12", Pass),
        ("123456789012345678901234567890", "123456789012345678901234567890", Pass),
        ("123456789012345678901234567890", "123456789012345678901234567891", Fail),
        ("10^30", "1000000000000000000000000000000", Pass),
        ("2^{-99}", "2^{-98}", Fail),
        ("1/2004!", "1/2006!", Fail),
        ("120", "5!", Pass),
        (r"\binom{5}{2}", "10", Pass),
        ("11", "1011_2", Pass),
        ("12:00", "1:00", Fail),
        ("3:4", "3:4", Pass),
        ("7", "|-7|", Pass),
        ("3", r"\lfloor 3.7 \rfloor", Pass),
    ]);
}

#[test]
fn separators_of_thousands_are_read_and_lists_are_not_swallowed() {
    check(&[
        ("1234", "1,234", Pass),
        ("1234567", "1,234,567", Pass),
        ("1234", "1{,}234", Pass),
        ("1234", r"1\,234", Pass),
        ("1234.5", "1 234.5", Pass),
        ("1,234", "1234", Pass),
        ("(1,234)", "(1, 234)", Pass),
        ("1234", "(1,234)", Fail),
        ("100, 200, 300", "100,200,300", Pass),
        ("234", "1,234", Fail),
        ("1", "1,234", Fail),
        ("123", "12,3", Fail),
    ]);
}

#[test]
fn percent_and_units() {
    check(&[
        ("50\\%", "50", Pass),
        ("50", "50\\%", Pass),
        ("0.5", "50\\%", Pass),
        ("50%", "0.5", Pass),
        ("50", "0.5", Fail),
        ("50%", "5000", Fail),
        ("12.5 percent", r"\frac{1}{8}", Pass),
        ("5", r"5\text{ cm}", Pass),
        ("5 cm", "5", Pass),
        ("5 cm", "5 centimeters", Pass),
        ("5 cm", r"5\text{ m}", Fail),
        (r"5\text{ m}", r"500\text{ cm}", Undecided),
        ("30", r"30^\circ", Pass),
        ("30", r"30^{\circ}", Pass),
        ("30", "30°", Pass),
        ("42", r"\$42", Pass),
        ("12", r"12\text{ square units}", Pass),
        ("9", r"9\mathrm{\ cm}^2", Pass),
        ("60", r"60\text{ miles per hour}", Pass),
        ("5000000", "5 million", Pass),
        ("5", "5 million", Fail),
        ("5", r"5\text{ squared}", Undecided),
        ("5", r"5\text{ or six}", Fail),
        ("5", r"5\text{ maybe}", Undecided),
        ("5", r"5\text{ is what I would say now}", Fail),
    ]);
    let settings = MathSettings { percent: super::Percent::Value, ..MathSettings::default() };
    assert_eq!(verdict_with(settings, "50", r"\boxed{50\%}").status, Fail);
}

#[test]
fn radicals_and_symbols_have_one_canonical_form() {
    check(&[
        (r"2\sqrt{2}", r"\sqrt{8}", Pass),
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", Pass),
        (r"\sqrt{2}-1", r"\frac{1}{1+\sqrt{2}}", Pass),
        (r"\sqrt{6}", r"\sqrt{2}\sqrt{3}", Pass),
        (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5}", Fail),
        ("3", r"\sqrt{9}", Pass),
        ("3", "√9", Pass),
        ("3", "sqrt(9)", Pass),
        ("2", r"\sqrt[3]{8}", Pass),
        ("-2", r"\sqrt[3]{-8}", Pass),
        ("2i", r"\sqrt{-4}", Pass),
        ("4", r"8^{2/3}", Pass),
        ("10", r"\sqrt{10}", Fail),
        (r"\sqrt{10}", r"\sqrt10", Pass),
        (r"\frac{\pi}{2}", r"0.5\pi", Pass),
        ("2π", r"2\pi", Pass),
        (r"\pi", "3.14159", Fail),
        ("3+4i", "4i+3", Pass),
        ("-1", "i^2", Pass),
        (r"1-\frac{1}{e}", r"1+\frac{1}{e}", Fail),
        (r"\sqrt{1/7}", r"\frac{1}{\sqrt7}", Pass),
        (r"1-\sqrt2", "1", Fail),
        (r"\sqrt{1000000016000000063}", r"\sqrt{1000000007}\sqrt{1000000009}", Undecided),
        (r"\infty", "∞", Pass),
        (r"-\infty", r"\infty", Fail),
    ]);
}

#[test]
fn expressions_are_polynomial_quotients() {
    check(&[
        ("x^2+2x+1", "(x+1)^2", Pass),
        ("x^2+2x", "x(x+2)", Pass),
        ("x+1", r"\frac{x^2-1}{x-1}", Pass),
        ("2x", "x \\cdot 2", Pass),
        ("2x", "2y", Fail),
        ("x_1+x_2", "x_{2}+x_{1}", Pass),
        (r"\frac{1}{2}x", "x/2", Pass),
        ("2^n", "2^{n}", Pass),
        (r"\sin(x)+1", r"1+\sin x", Pass),
        (r"\sin^2 x", r"(\sin x)^2", Pass),
        (r"\arcsin x", r"\sin^{-1}(x)", Pass),
        (r"\sin x", r"\cos x", Undecided),
        (r"\sqrt{x^2}", "x", Undecided),
        ("x", "-x^2", Fail),
        ("-4", "-2^2", Pass),
        ("2^{512}", "2^{2^{3^2}}", Pass),
        ("3x-y+13", "3x+4y+14", Fail),
    ]);
}

#[test]
fn tuples_lists_sets_and_intervals() {
    check(&[
        ("(1, 2)", "(1,2)", Pass),
        ("(1, 2)", r"\left( 1, \frac{4}{2} \right)", Pass),
        ("(1, 2)", "(2, 1)", Fail),
        ("1, 2", "2, 1", Pass),
        ("1, 2", r"2 \text{ and } 1", Pass),
        ("1, 2", "1", Fail),
        ("1728", r"1331 \text{ and } 1728", Fail),
        ("1, 2", "1, 2, 3", Fail),
        (r"\{1, 2\}", r"\{2, 1, 1\}", Pass),
        ("{1, 2}", "2, 1", Pass),
        (r"\{1,2\}", "(1,2)", Fail),
        ("[1, 2)", "[1,2)", Pass),
        ("[1, 2)", "[1,2]", Fail),
        ("(1,2)", "[1,2]", Fail),
        (r"(-\infty, 1) \cup (2, 3]", r"(2,3]\cup(-\infty,1)", Pass),
        (r"\emptyset", r"\{\}", Pass),
        ("((1,2),(3,4))", "((1,2),(3,4))", Pass),
        (r"\pm 3", "3, -3", Pass),
        (r"1 \pm \sqrt{2}", r"1-\sqrt2, 1+\sqrt2", Pass),
        ("3", r"\pm 3", Fail),
        ("5", r"\{5\}", Pass),
    ]);
}

#[test]
fn relations_and_assignments() {
    check(&[
        ("5", "x = 5", Pass),
        ("x = 5", "5", Pass),
        ("x=5", "y=5", Fail),
        ("x = 5", "6", Fail),
        ("5", "3 = 5", Fail),
        ("2", "x = 1 + 1 = 2", Pass),
        ("2", "x = 3 = 2", Fail),
        ("2x+3", "f(x) = 2x+3", Pass),
        ("y = 2x+3", "2x - y + 3 = 0", Pass),
        ("y = 2x+3", "y = 2x-3", Fail),
        ("xy = 1", "x = 1/y", Pass),
        ("x > 5", "5 < x", Pass),
        ("x > 5", r"2x > 10", Pass),
        ("x > 5", "x < 5", Fail),
        ("x > 5", r"x \geq 5", Fail),
        ("1 < x < 2", "2 > x > 1", Pass),
        ("x = 1, x = 2", r"x = 2 \text{ or } x = 1", Pass),
        ("1, 2", r"x=1 \text{ or } x=2", Pass),
        ("[1,2]", r"x \in [1,2]", Pass),
    ]);
}

#[test]
fn words_and_choices() {
    check(&[
        ("B", "B", Pass),
        ("B", r"\text{(B)}", Pass),
        ("B", "(b)", Pass),
        ("(B)", "B.", Pass),
        ("B", "(B) 12", Pass),
        ("B", "C", Fail),
        ("B", r"B \text{ or } C", Fail),
        ("B", "A, B", Fail),
        ("Yes", r"\text{yes}", Pass),
        ("Yes", "No", Fail),
        ("Monday", r"\text{monday}", Pass),
        ("Monday", "Tuesday", Fail),
        ("Evelyn", r"\textbf{Evelyn}", Pass),
        ("3", r"\text{three}", Fail),
        ("73", "**73**", Pass),
    ]);
}

#[test]
fn what_is_not_read_is_undecided_and_what_is_malformed_fails() {
    check(&[
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}", Pass),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}", Undecided),
        ("5", r"\int_0^5 dx", Undecided),
        ("5", "5 +", Fail),
        ("5", "((5", Fail),
        ("5", "5 5", Fail),
        ("55", "5 5", Fail),
        ("5 5", "55", Undecided),
        ("25", "5 5", Fail),
        ("5", "", Fail),
        ("0", "1/0", Fail),
        ("1", r"1,2,\ldots,n", Undecided),
    ]);
}

#[test]
fn the_last_box_outside_the_reasoning_counts() {
    check_completions(
        Mode::Strict,
        &[
            ("4", r"<think>\boxed{3}</think> so \boxed{4}", Pass),
            ("3", r"<think>\boxed{3}</think> so 4", Fail),
            ("3", r"<think>\boxed{3}", Fail),
            ("4", r"\boxed{3} maybe</think> \boxed{4}", Pass),
            ("4", r"\boxed{4}<think>\boxed{5}", Pass),
            (r"\frac{1}{2}", r"$$\boxed{\frac{1}{2}}$$", Pass),
            ("4", r"\boxed{4", Fail),
            ("4", r"\boxed{4} then \boxed{5", Fail),
            ("4", r"\boxed{\text{the set } \{4}", Fail),
            ("4", "the answer is 4", Fail),
            ("4", r"\boxed{4} as said, \boxed{4.0}", Pass),
            (r"\boxed{4}", r"\boxed{4}", Pass),
            ("4", r"\boxed{\boxed{4}}", Pass),
        ],
    );
}

#[test]
fn hedged_answers_do_not_pass() {
    check_completions(
        Mode::Strict,
        &[
            ("4", r"\boxed{3} or \boxed{4}", Fail),
            ("4", r"\boxed{4} or \boxed{3}", Fail),
            ("3", r"\boxed{3\text{ or 4 or 5 or 6}}", Fail),
            ("3", r"\boxed{3\text{ or } 4}", Fail),
            ("3", r"\boxed{3, 4}", Fail),
            ("3", r"\boxed{3 \text{ (or 4)}}", Fail),
            ("1", r"\boxed{1}\boxed{2}\boxed{3}\boxed{4}\boxed{5}\boxed{6}\boxed{7}\boxed{8}\boxed{9}\boxed{1}", Fail),
            ("1, 2", r"\boxed{1} and \boxed{2}", Pass),
            ("1, 2", r"\boxed{1}, \boxed{2}, \boxed{3}", Fail),
        ],
    );
    check_completions(
        Mode::Lenient,
        &[
            ("4", "The answer is 3. The answer is 4.", Fail),
            ("4", "The answer is $3$ or $4$.", Fail),
            ("4", "it is 3 or 4", Fail),
            ("4", "it is 3, 4", Fail),
        ],
    );
    let last = MathSettings { one_final: false, ..MathSettings::default() };
    assert_eq!(verdict_with(last, "4", r"\boxed{3}, no, \boxed{4}").status, Pass);
}

#[test]
fn the_lenient_mode_reads_announcements_and_last_numbers() {
    check_completions(
        Mode::Lenient,
        &[
            ("4", r"the answer is 5, no: \boxed{4}", Pass),
            ("4", "So the answer is 4.", Pass),
            ("4", "**Final answer:** $x = 4$", Pass),
            ("1/2", r"The final answer is $\frac{1}{2}$. I hope it is correct.", Pass),
            ("18", "9 * 2 = <<9*2=18>>18\n#### 18", Pass),
            ("1234", "I count 1,234 of them.", Pass),
            ("-4", "we get x=-4", Pass),
            ("0.5", "that makes 50%", Pass),
            ("99", "it is 2^{-99}", Fail),
            ("4", "no idea", Fail),
        ],
    );
}

#[test]
fn inv_9_a_missing_gold_answer_or_a_bad_setting_is_an_error_without_a_reward() {
    let verifier = MathVerifier::default();
    for gold in [Value::Null, json!(""), json!({"a": 1}), json!(["1", "2"])] {
        let verdict = verifier.verify(&[item(gold, r"\boxed{1}")]).remove(0);
        assert_eq!((verdict.status, verdict.reward), (Error, None));
    }
    let odd = Item { extra_info: json!({"math": {"mood": "good"}}), ..item(json!("1"), r"\boxed{1}") };
    let verdict = verifier.verify(&[odd]).remove(0);
    assert_eq!((verdict.status, verdict.reward), (Error, None));
    assert!(verdict.reason.contains("mood"), "{}", verdict.reason);
}

#[test]
fn an_item_overrides_the_settings() {
    let lenient = Item { extra_info: json!({"math": {"mode": "lenient"}}), ..item(json!(4), "answer: 4") };
    assert_eq!(MathVerifier::default().verify(&[lenient]).remove(0).status, Pass);
    let rounded = Item { extra_info: json!({"math": {"decimal_places": 2}}), ..item(json!("0.333"), r"\boxed{1/3}") };
    assert_eq!(MathVerifier::default().verify(&[rounded]).remove(0).status, Pass);
}

#[test]
fn verdicts_keep_order_and_say_what_was_extracted() {
    let items = [item(json!("1"), r"\boxed{1}"), item(json!("1"), r"\boxed{2}")];
    let verdicts = MathVerifier::default().verify(&items);
    assert_eq!(verdicts.iter().map(|v| v.status).collect::<Vec<_>>(), [Pass, Fail]);
    assert_eq!(verdicts[1].tags["extracted"], "2");
    assert_eq!(verdicts[1].reason, "box: different values");
}

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
    ] {
        for bytes in [3_000, 19_990, 24_000, 100_000] {
            all.push(many(piece, bytes));
            all.push(boxed(many(piece, bytes)));
        }
    }
    let sum: Vec<String> = (0..2_500).map(|i| format!("1/{}", 2 * i + 1)).collect();
    all.push(boxed(sum.join("+")));
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

#[test]
fn hostile_input_is_answered_within_50_ms() {
    let list: Vec<String> = (0..3_000).rev().map(|i| i.to_string()).collect();
    let mut slowest = (Duration::ZERO, String::new());
    for gold in ["5", "x+1", "1, 2", list.join("; ").as_str()] {
        for mode in [Mode::Strict, Mode::Lenient] {
            for completion in hostile() {
                let settings = MathSettings { mode, ..MathSettings::default() };
                let start = thread_time();
                let verdict = verdict_with(settings, gold, &completion);
                let taken = thread_time() - start;
                let head: String = completion.chars().take(60).collect();
                assert_ne!(verdict.status, Pass, "{head}");
                if taken > slowest.0 {
                    slowest = (taken, format!("{} bytes of {head}, {mode:?}: {}", completion.len(), verdict.reason));
                    println!("{slowest:?}");
                }
            }
        }
    }
    assert!(slowest.0 < Duration::from_millis(50), "{slowest:?}");
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

/// Pieces that junk is made of, so that it reaches deep into the parser.
fn junk() -> impl Strategy<Value = String> {
    let pieces = vec![
        "\\frac",
        "\\sqrt",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\\{",
        "\\}",
        "^",
        "_",
        "1",
        "23",
        ".5",
        ",",
        ";",
        ":",
        "x",
        "\\pi",
        "+",
        "-",
        "*",
        "/",
        "=",
        "<",
        "\\pm",
        "\\cup",
        "\\text{",
        " or ",
        "cm",
        "%",
        "!",
        "|",
        "\\circ",
        "\\overline",
        "0.",
        "1 1/2",
        "\\boxed{",
        "\\",
        "$",
        "é",
        "²",
        "½",
        "<think>",
        "</think>",
        "\\binom",
        "\\sin",
        "_2",
        "e5",
        "answer is ",
        "\n",
        "million",
        "\\in",
        "1,234",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn junk_never_panics(gold in junk(), junk in junk(), text in ".{0,60}") {
        for completion in [format!("\\boxed{{{junk}}}"), junk.clone(), format!("\\boxed{{{text}}}"), text] {
            for mode in [Mode::Strict, Mode::Lenient] {
                verdict_with(MathSettings { mode, ..MathSettings::default() }, &gold, &completion);
            }
        }
    }

    #[test]
    fn forms_of_one_rational_are_equal(n in -100_000i64..100_000, d in 1i64..5_000, k in 2i64..50) {
        let sign = if n < 0 { "-" } else { "" };
        let a = n.abs();
        let forms = [
            format!("{n}/{d}"),
            format!("{sign}\\frac{{{a}}}{{{d}}}"),
            format!("\\dfrac{{{}}}{{{}}}", n * k, d * k),
            format!("x = {sign}{a} / {d}"),
            format!("{n} \\cdot {d}^{{-1}}"),
            format!("\\left(\\frac{{{n}}}{{{d}}}\\right)"),
            format!("\\frac{{{n}\\sqrt{{{k}}}}}{{{d}\\sqrt{{{k}}}}}"),
            format!("{sign}{} + {sign}\\frac{{{}}}{{{d}}}", a / d, a % d),
        ];
        for form in &forms {
            let completion = format!("\\boxed{{{form}}}");
            prop_assert_eq!(verdict(&forms[0], &completion).status, Pass, "{} | {}", &forms[0], form);
            let other = format!("{}/{d}", n + 1);
            prop_assert_eq!(verdict(&other, &completion).status, Fail, "{} | {}", other, form);
        }
        if a % d != 0 && a > d {
            let mixed = format!("\\boxed{{{sign}{}\\frac{{{}}}{{{d}}}}}", a / d, a % d);
            prop_assert_eq!(verdict(&forms[0], &mixed).status, Pass, "{}", mixed);
        }
    }

    #[test]
    fn decimals_equal_their_fractions(whole in 0u32..10_000_000, decimals in 0u32..1_000) {
        let grouped = whole.to_string().as_bytes().rchunks(3).rev()
            .map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect::<Vec<_>>().join(",");
        let gold = format!("\\frac{{{}}}{{1000}}", u64::from(whole) * 1_000 + u64::from(decimals));
        let exact = format!("{whole}.{decimals:03}");
        for form in [format!("{grouped}.{decimals:03}"), format!("{exact}000"), exact] {
            prop_assert_eq!(verdict(&gold, &format!("\\boxed{{{form}}}")).status, Pass, "{} | {}", gold, form);
        }
    }
}
