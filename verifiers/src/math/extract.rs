//! Which part of a completion is its final answer. Nothing here knows what an answer means.
//!
//! Reasoning between `<think>` and `</think>` is not searched. Every scan is linear in the text.

use serde::{Deserialize, Serialize};

pub mod library;
mod numbers;
mod spans;

/// How an answer may be announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Only `\boxed{…}`.
    #[default]
    Strict,
    /// `\boxed{…}`, else "answer is …" or "#### …", else the last number.
    Lenient,
    /// As Math-Verify does: boxes, announcements, any mathematics, by rank and then from the right.
    MathVerify,
}

/// In what an answer is looked for, in the mode that follows Math-Verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Mathematics between delimiters, and boxes.
    Latex,
    /// Numbers and arithmetic in plain text.
    Expr,
}

/// The final answers that one rule found, in the order of the text. More than one is for the caller to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finals<'a> {
    /// The rule, in words for the verdict.
    pub rule: &'static str,
    /// Never empty.
    pub texts: Vec<&'a str>,
}

/// Finds the final answers.
///
/// # Errors
/// The reason, in words for the verdict, when there is none.
pub fn extract(completion: &str, mode: Mode) -> Result<Finals<'_>, &'static str> {
    let visible = outside_reasoning(completion);
    if visible.is_empty() {
        let empty = completion.trim().is_empty();
        return Err(if empty { "the completion is empty" } else { "nothing stands outside the reasoning" });
    }
    let mut texts = Vec::new();
    let mut unclosed = false;
    for segment in &visible {
        let boxes = boxes(segment);
        texts.extend(boxes.contents);
        unclosed = boxes.unclosed_last;
    }
    if unclosed {
        return Err("the last box is not closed");
    }
    if !texts.is_empty() {
        return Ok(Finals { rule: "box", texts });
    }
    if mode != Mode::Lenient {
        return Err("no final box");
    }
    let last = visible.last().expect("checked above to hold a segment");
    if let Some(content) = in_answer_tags(last) {
        return Ok(Finals { rule: "answer tags", texts: vec![content] });
    }
    announced(last).or_else(|| last_number(last)).ok_or("no final answer")
}

/// The parts of a text that are not reasoning.
///
/// A closing tag without its opening one ends reasoning that the prompt opened: then all before it was reasoning.
pub fn outside_reasoning(text: &str) -> Vec<&str> {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    let (mut segments, mut start, mut inside, mut at) = (Vec::new(), 0, false, 0);
    while let Some(offset) = text[at..].find('<') {
        let tag = at + offset;
        at = tag + 1;
        if text[tag..].starts_with(OPEN) && !inside {
            segments.push(&text[start..tag]);
            inside = true;
        } else if text[tag..].starts_with(CLOSE) {
            if !inside {
                segments.clear();
            }
            inside = false;
            start = tag + CLOSE.len();
        }
    }
    if !inside {
        segments.push(&text[start..]);
    }
    segments.retain(|segment| !segment.trim().is_empty());
    segments
}

/// What stands in the last `<answer>…</answer>`, when there is one that says something.
pub fn in_answer_tags(text: &str) -> Option<&str> {
    const OPEN: &str = "<answer>";
    let close = text.rfind("</answer>")?;
    let open = text[..close].rfind(OPEN)? + OPEN.len();
    Some(text[open..close].trim()).filter(|content| !content.is_empty())
}

/// The outermost boxes of a text.
pub struct Boxes<'a> {
    /// What stands in each closed one.
    pub contents: Vec<&'a str>,
    /// Where each closed one begins, its command included, and ends, its brace included.
    pub places: Vec<(usize, usize)>,
    /// What stands behind the opening of the first box that is never closed.
    pub unclosed: Option<&'a str>,
    /// True when the last box to be opened is never closed.
    pub unclosed_last: bool,
}

/// Finds `\boxed{…}` and `\fbox{…}` with all braces matched in one pass.
pub fn boxes(text: &str) -> Boxes<'_> {
    let mut found = Boxes { contents: Vec::new(), places: Vec::new(), unclosed: None, unclosed_last: false };
    // Open braces that wait for their closing one; a box remembers where it and its content start.
    let mut open: Vec<Option<(usize, usize)>> = Vec::new();
    let mut open_boxes = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                if let Some(content) = box_at(text, at) {
                    open.push(Some((at, content)));
                    open_boxes += 1;
                    at = content;
                    continue;
                }
                // An escaped brace is a character; a backslash before a box was escaped once too often.
                at += usize::from(box_at(text, at + 1).is_none());
            }
            b'{' => open.push(None),
            b'}' => {
                if let Some(Some((start, content))) = open.pop() {
                    open_boxes -= 1;
                    // An inner box is a part of the outer one. If that never closes, the whole is cut and counts for
                    // nothing.
                    if open_boxes == 0 {
                        found.contents.push(&text[content..at]);
                        found.places.push((start, at + 1));
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    found.unclosed_last = open_boxes > 0;
    found.unclosed = open.iter().flatten().next().map(|(_, content)| &text[*content..]);
    found
}

/// Where the content starts, if a box is opened at `at`.
fn box_at(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let name = ["\\boxed", "\\fbox"].into_iter().find(|name| rest.starts_with(name))?;
    let blanks = rest[name.len()..].bytes().take_while(|b| *b == b' ').take(8).count();
    (rest.as_bytes().get(name.len() + blanks) == Some(&b'{')).then_some(at + name.len() + blanks + 1)
}

/// Announcements that are looked at; a text that repeats itself must not cost more.
const MAX_ANNOUNCED: usize = 8;

/// Bytes of an announced answer.
const MAX_ANNOUNCED_BYTES: usize = 400;

/// The sentences behind "answer is", "answer:" or "####".
fn announced(text: &str) -> Option<Finals<'_>> {
    const PHRASES: [&str; 5] = ["answer is", "answers are", "answer:", "answer =", "####"];
    let lower = text.to_ascii_lowercase();
    let mut ends: Vec<usize> = Vec::new();
    for (at, _) in lower.match_indices(['a', '#']) {
        if let Some(phrase) = PHRASES.iter().find(|phrase| lower[at..].starts_with(**phrase)) {
            ends.push(at + phrase.len());
        }
    }
    let texts: Vec<&str> = ends
        .iter()
        .rev()
        .take(MAX_ANNOUNCED)
        .rev()
        .map(|end| sentence(&text[*end..]))
        .filter(|s| !s.is_empty())
        .collect();
    (!texts.is_empty()).then_some(Finals { rule: "announced answer", texts })
}

/// The first sentence or line of a text, without the marks before it.
fn sentence(text: &str) -> &str {
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

/// The last number that stands alone, with the numbers that it is joined to by "or", "and" or a comma.
fn last_number(text: &str) -> Option<Finals<'_>> {
    let mut texts: Vec<&str> = Vec::new();
    let mut joined = false;
    for word in text.split_whitespace() {
        let core = word
            .rsplit('=')
            .next()
            .unwrap_or(word)
            .trim_matches(['$', '*', '(', ')', '[', ']', '.', ',', ';', ':', '?']);
        if is_number(core) {
            if !joined {
                texts.clear();
            }
            texts.push(core);
            joined = word.ends_with([',', ';']);
        } else if core.bytes().any(|b| b.is_ascii_digit()) {
            // Part of a formula: a number inside it is not the answer.
            texts.clear();
            joined = false;
        } else {
            joined = !texts.is_empty() && (matches!(core, "or" | "and" | "/" | "±") || (joined && core.is_empty()));
        }
    }
    (!texts.is_empty()).then_some(Finals { rule: "last number", texts })
}

/// An integer, a decimal or a fraction, with a sign and a percent sign or without.
fn is_number(word: &str) -> bool {
    let word = word.strip_prefix(['-', '+', '−']).unwrap_or(word);
    let word = word.strip_prefix('$').unwrap_or(word);
    let word = word.strip_suffix('%').unwrap_or(word);
    let mut parts = word.split('/');
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
            && part.matches('.').count() <= 1
    };
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    first.is_some_and(part) && second.is_none_or(part) && third.is_none()
}
