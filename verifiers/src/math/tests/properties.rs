//! Properties: junk never panics, and the forms of one value are one value.

use data::Status::{Fail, Pass};
use proptest::prelude::*;

use super::{verdict, verdict_with};
use crate::math::{MathSettings, Mode};

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
