//! "The answer is", "Answer:" and "####": sentences that say what the final answer is.

use super::hedge;

/// Announcements that are looked at, from the end: a text that repeats itself must not cost more.
const MAX_ANNOUNCED: usize = 8;

/// Bytes of an announced answer.
const MAX_ANNOUNCED_BYTES: usize = 400;

const PHRASES: [&str; 6] = ["answer is", "answers are", "answer:", "answer**:", "answer =", "####"];

/// Words by which a text takes back what it announced before.
const CORRECTIONS: [&str; 24] = [
    "wait",
    "no",
    "actually",
    "correction",
    "corrected",
    "correct",
    "sorry",
    "oops",
    "hmm",
    "recheck",
    "rechecking",
    "mistake",
    "wrong",
    "incorrect",
    "instead",
    "rather",
    "however",
    "but",
    "again",
    "error",
    "reconsider",
    "reconsidering",
    "check",
    "revised",
];

/// One announcement.
pub struct Announcement<'a> {
    /// Where its phrase begins.
    pub at: usize,
    /// What it says up to the end of its sentence.
    pub says: &'a str,
    /// Where that ends.
    pub end: usize,
}

/// The last few announcements, in the order of the text.
pub fn announcements(text: &str) -> Vec<Announcement<'_>> {
    let lower = text.to_ascii_lowercase();
    let phrase = |(at, _): (usize, &str)| {
        PHRASES.iter().find(|phrase| lower[at..].starts_with(**phrase)).map(|phrase| (at, at + phrase.len()))
    };
    let mut found: Vec<Announcement<'_>> = lower
        .rmatch_indices(['a', '#'])
        .filter_map(phrase)
        // A longer row of marks is one.
        .filter(|(at, _)| !text[..*at].ends_with('#'))
        .take(MAX_ANNOUNCED)
        .map(|(at, from)| {
            let says = sentence(&text[from..]);
            Announcement { at, says, end: says.as_ptr() as usize - text.as_ptr() as usize + says.len() }
        })
        .filter(|announcement| !announcement.says.is_empty())
        .collect();
    found.reverse();
    // "Final answer: the final answer is 72" announces once.
    for at in (1..found.len()).rev() {
        let (outer, inner) = (&found[at - 1], &found[at]);
        let start = outer.end - outer.says.len();
        let lead = text.get(start..inner.at).unwrap_or_default();
        let mut words = lead.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        if inner.at < outer.end && words.all(hedge::may_stand_between) {
            found.remove(at - 1);
        }
    }
    found
}

/// What the last few announcements say, without the reasons that are given for it.
pub fn announced(text: &str) -> Vec<&str> {
    announcements(text).into_iter().map(|announcement| without_leads(without_reasons(announcement.says))).collect()
}

/// What is said without words before it that say nothing: "exactly 72", "therefore equal to 72".
fn without_leads(says: &str) -> &str {
    const LEADS: [&str; 10] = [
        "therefore ",
        "thus ",
        "hence ",
        "then ",
        "simply ",
        "just ",
        "exactly ",
        "indeed ",
        "equal to ",
        "precisely ",
    ];
    let mut said = says;
    while let Some(lead) =
        LEADS.iter().find(|lead| said.get(..lead.len()).is_some_and(|head| head.eq_ignore_ascii_case(lead)))
    {
        said = said[lead.len()..].trim_start();
    }
    if said.is_empty() { says } else { said }
}

/// A sentence up to where a clause begins that says why, or what else is true: "72, which is even", "72 since 8·9 = 72", "72 (six dozen)".
pub fn without_reasons(says: &str) -> &str {
    const CLAUSES: [&str; 14] = [
        " since ",
        " because ",
        ", which ",
        ", where ",
        ", so ",
        ", as ",
        ", since ",
        ", because ",
        ", not ",
        " due to ",
        ", i.e.",
        ", that is",
        " (",
        " as required",
    ];
    let lower = says.to_ascii_lowercase();
    let clause = CLAUSES.iter().filter_map(|clause| lower.find(clause)).min();
    clause.map(|at| says[..at].trim_end()).filter(|said| !said.is_empty()).unwrap_or(says)
}

/// What announcements before the one that holds the answer at `start` say, where nothing takes them back.
pub fn rivals(text: &str, start: usize) -> Vec<&str> {
    let all = announcements(text);
    let Some(own) = all.iter().rposition(|a| a.at <= start && start <= a.end) else { return Vec::new() };
    let taken_back = |other: &Announcement<'_>| {
        let between = text.get(other.end..all[own].at).unwrap_or_default();
        let mut words = between.split(|c: char| !c.is_alphabetic());
        words.any(|word| CORRECTIONS.iter().any(|correction| word.eq_ignore_ascii_case(correction)))
    };
    all[..own].iter().filter(|other| !taken_back(other)).map(|other| other.says).collect()
}

/// The first sentence or line of a text, without the marks before it.
pub fn sentence(text: &str) -> &str {
    let text = text.trim_start_matches([' ', ':', '*', '\n', '\r', '\t']);
    let mut end = text.len().min(MAX_ANNOUNCED_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    let stop = text.find(['\n', '\r']).unwrap_or(text.len());
    let stop = text[..stop].find(". ").unwrap_or(stop);
    text[..stop].trim().trim_end_matches(['.', '*', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(text: &str) -> Vec<&str> {
        rivals(text, text.rfind("72").expect("the answer"))
    }

    #[test]
    fn what_was_announced_before_is_a_rival_unless_it_is_taken_back() {
        for (text, expected) in [
            ("The answer is 71\nThe answer is 72", &["71"][..]),
            ("#### 71\n#### 72", &["71"]),
            ("Answer: 70. Answer: 71. Final answer: 72", &["70", "71"]),
            ("The answer is 71. Wait, the answer is 72.", &[]),
            ("The answer is 71. Let me check that again. The answer is 72.", &[]),
            ("The answer is 72.", &[]),
            // What is not announced has no rivals.
            ("The answer is 71. There are 72 of them.", &[]),
        ] {
            assert_eq!(beside(text), expected, "{text}");
        }
    }
}
