//! What is another answer behind or before the final one, and what goes on with something else.

use super::*;

/// What stands beside an answer or in its place.
fn texts(offered: Vec<Offered>) -> Vec<String> {
    offered.into_iter().filter(|offered| offered.stance == Stance::Another).map(|offered| offered.text).collect()
}

fn offered(text: &str) -> Vec<String> {
    let end = text.find("72").expect("the answer") + 2;
    texts(behind(text, end, "72"))
}

#[test]
fn another_answer_is_seen_behind_the_first() {
    for text in [
        "$72$, or maybe $71$",
        "72 or 71",
        "72, or 71.",
        "72. Or 71.",
        "72 (or 71)",
        "72 ($71$ is also possible)",
        "72; 71 also works",
        "72 alternatively 71",
        "72; if not, 71",
        "72? or 71?",
        "72 but it might be 71",
        "$72$, but it could also be $71$.",
        "\\(72\\) or perhaps \\(71\\)",
        "\\boxed{72}, or maybe 71",
        "**72** or **71**",
        "72 apples, or possibly 71 apples",
        "72 — maybe 71",
        "72. Alternatively, the answer is 71.",
        "72, I'm not sure, maybe 71",
        "72. There is another possibility: 71.",
        "72 or 71 depending on the reading",
        "72, or else 71 instead",
    ] {
        assert_eq!(offered(text), ["71"], "{text}");
    }
    assert_eq!(offered("72 or 71, or maybe 70."), ["71", "70"]);
    assert_eq!(offered("72\n\n(Other possible answers: 71, 70)"), ["71", "70"]);
    let of =
        |text: &str, answer: &str| texts(behind(text, text.find(answer).expect("the answer") + answer.len(), answer));
    assert_eq!(of("\\boxed{B} or C", "B"), ["C"]);
    assert_eq!(of("The answer is (B), or maybe (C).", "(B)"), ["C"]);
    assert_eq!(of("\\text{Yes}, or maybe no", "\\text{Yes}"), ["no"]);
    assert!(of("B. I think that this is right", "B").is_empty() && of("B, or A different letter", "B").is_empty());
    assert!(of("72, or choice (C)", "72").is_empty() && of("Yes, no doubt", "Yes").is_empty());
    assert_eq!(offered("72 or (maybe) $\\frac{1}{2}$"), ["\\frac{1}{2}"]);
}

#[test]
fn what_goes_on_with_something_else_offers_nothing() {
    for text in [
        "72",
        "72.",
        "72 = 8 * 9",
        "72, not 71",
        "72 instead of 71",
        "72 hours, or 3 days",
        "72, or 3 days",
        "72 or more",
        "72 or about 71.9",
        "72, or approximately 71.9",
        "72, or equivalently 8 * 9",
        "72. Or, we could note that 3 * 24 = 72",
        "72. It could be verified that 8 divides it",
        "72. Alternatively, 9 divides 72",
        "72. Alternatively, $2x + 3 = 147$ gives the same",
        "72, or $\\approx 71.9$",
        "72 and 71",
        "72^\\circ or 1.2566",
        "72. The other root is 71",
        "72, 71",
        "72 mph or 105 ft/s",
        "72. Maybe a check is in order: 8 * 9",
    ] {
        assert!(offered(text).is_empty(), "{text}: {:?}", offered(text));
    }
}

#[test]
fn words_join_two_answers_where_they_offer_the_second() {
    for between in [" or ", ", or maybe ", " or possibly even ", ". Maybe ", "; it might be "] {
        assert!(joins(between), "{between:?}");
    }
    assert!(joins_counted(" apples or ", " apples.") && joins_counted(" apples, or ", ""));
    assert!(!joins_counted(" hours, or ", " days") && !joins_counted(" apples and ", " apples"));
    for between in [", ", " and ", " or about ", " = ", " or more than ", " or x = ", ""] {
        assert!(!joins(between), "{between:?}");
    }
}
