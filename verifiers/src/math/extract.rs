//! Which part of a completion is its final answer. Nothing here knows what an answer means.
//!
//! Reasoning between `<think>` and `</think>` is not searched. Every scan is linear in the text.

use serde::{Deserialize, Serialize};

mod announcements;
pub mod hedge;
pub mod library;
mod numbers;
mod spans;

use self::hedge::{Offered, Stance};

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

/// Segments behind the last box that are looked at, from the end.
const MAX_LATER: usize = 8;

/// The final answers that one rule found, in the order of the text. More than one is for the caller to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finals<'a> {
    /// The rule, in words for the verdict.
    pub rule: &'static str,
    /// Never empty.
    pub texts: Vec<&'a str>,
    /// What is offered beside the last of them.
    pub offered: Vec<Offered>,
}

impl<'a> Finals<'a> {
    /// Answers that are parts of `text`.
    fn of(rule: &'static str, text: &str, texts: Vec<&'a str>, closing: usize) -> Self {
        let end = |last: &&str| last.as_ptr() as usize - text.as_ptr() as usize + last.len() + closing;
        let offered = texts.last().map_or_else(Vec::new, |last| hedge::behind(text, end(last), last));
        Self { rule, texts, offered }
    }

    /// Boxes, with what stands around the last one, which the first of these segments holds.
    fn of_boxes(segments: &[&str], texts: Vec<&'a str>) -> Self {
        let text = segments[0];
        let mut finals = Self::of("box", text, texts, "}".len());
        let last = finals.texts.last().expect("the caller has found a box");
        let content = last.as_ptr() as usize - text.as_ptr() as usize;
        let start = text[..content].rfind('\\').unwrap_or(content);
        finals.offered.extend(hedge::before(text, start, last));
        finals.offered.extend(tagged_rivals(text, last));
        for later in segments[1..].iter().rev().take(MAX_LATER) {
            finals.offered.extend(hedge::behind(later, 0, last));
            finals.offered.extend(tagged_rivals(later, last));
        }
        finals
    }
}

/// Finds the final answers.
///
/// # Errors
/// The reason, in words for the verdict, when there is none.
pub fn extract(completion: End<'_>, mode: Mode) -> Result<Finals<'_>, &'static str> {
    let visible = completion.outside_reasoning();
    let completion = completion.text;
    if visible.is_empty() {
        let empty = completion.trim().is_empty();
        return Err(if empty { "the completion is empty" } else { "nothing stands outside the reasoning" });
    }
    let mut texts = Vec::new();
    let mut unclosed = false;
    let mut holder = 0;
    for (at, segment) in visible.iter().enumerate() {
        let boxes = boxes(segment);
        if !boxes.contents.is_empty() {
            holder = at;
        }
        texts.extend(boxes.contents);
        unclosed = boxes.unclosed_last;
    }
    if unclosed {
        return Err("the last box is not closed");
    }
    if !texts.is_empty() {
        return Ok(Finals::of_boxes(&visible[holder..], texts));
    }
    if mode != Mode::Lenient {
        return Err("no final box");
    }
    let last = visible.last().expect("checked above to hold a segment");
    let tagged = in_answer_tags(last);
    if !tagged.is_empty() {
        let offered = tagged.last().map_or_else(Vec::new, |answer| behind_tags(last, answer));
        return Ok(Finals { rule: "answer tags", texts: tagged, offered });
    }
    announced(last).or_else(|| last_number(last)).ok_or("no final answer")
}

/// The end of a completion: as much as is read. A final answer stands at the end, and a text of any length is answered in the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End<'a> {
    /// What is read.
    pub text: &'a str,
    /// Bytes before it.
    pub unread: usize,
    /// It begins within reasoning.
    in_reasoning: bool,
}

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

impl<'a> End<'a> {
    /// The last `limit` bytes of a text, or all of it. Of the rest only the tags around reasoning are looked for.
    pub fn of(text: &'a str, limit: usize) -> Self {
        let mut cut = text.len().saturating_sub(limit);
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        // A tag is not cut in two.
        let tag = (cut.saturating_sub(CLOSE.len() - 1)..cut).find(|at| {
            text.get(*at..)
                .is_some_and(|rest| [OPEN, CLOSE].iter().any(|tag| rest.starts_with(tag) && at + tag.len() > cut))
        });
        let cut = tag.unwrap_or(cut);
        let last_tag = text[..cut].rmatch_indices("think>").find_map(|(at, _)| {
            let before = &text[..at];
            (before.ends_with('<') || before.ends_with("</")).then(|| before.ends_with('<'))
        });
        Self { text: &text[cut..], unread: cut, in_reasoning: last_tag == Some(true) }
    }

    /// The parts that are not reasoning.
    ///
    /// A closing tag without its opening one ends reasoning that the prompt opened: then all before it was reasoning.
    pub fn outside_reasoning(self) -> Vec<&'a str> {
        let text = self.text;
        let (mut segments, mut start, mut inside, mut at) = (Vec::new(), 0, self.in_reasoning, 0);
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
}

/// The parts of a text of any length that are not reasoning.
pub fn outside_reasoning(text: &str) -> Vec<&str> {
    End::of(text, text.len()).outside_reasoning()
}

/// Answer tags that are looked at, from the end.
const MAX_TAGS: usize = 8;

/// What stands in each `<answer>…</answer>` that says something, in the order of the text.
pub fn in_answer_tags(text: &str) -> Vec<&str> {
    const TAG: &str = "<answer>";
    let (mut found, mut rest) = (Vec::new(), text);
    while found.len() < MAX_TAGS
        && let Some(close) = rest.rfind("</answer>")
        && let Some(open) = rest[..close].rfind(TAG)
    {
        found.push(rest[open + TAG.len()..close].trim());
        rest = &rest[..open];
    }
    found.retain(|content| !content.is_empty());
    found.reverse();
    found
}

/// What answer tags without a box say beside a box.
fn tagged_rivals(text: &str, boxed: &str) -> Vec<Offered> {
    let tagged = in_answer_tags(text).into_iter();
    tagged
        .filter(|content| {
            let boxed_too = content.contains("\\boxed") || content.contains("\\fbox");
            !boxed_too && may_be_an_answer(content) && hedge::same_kind(content, boxed)
        })
        .map(|content| Offered::new(content, Stance::Announced))
        .collect()
}

/// False for prose that only speaks of an answer: "see above", "see step 3".
pub fn may_be_an_answer(content: &str) -> bool {
    let marked = content.contains(['\\', '$']) || content.to_ascii_lowercase().contains("answer");
    let letters = content.bytes().take_while(u8::is_ascii_alphabetic).count();
    marked || letters < 3 || !content.contains(char::is_whitespace)
}

/// What stands behind the last answer tags beside the answer in them.
pub fn behind_tags(text: &str, answer: &str) -> Vec<Offered> {
    const TAG: &str = "</answer>";
    text.rfind(TAG).map_or_else(Vec::new, |close| hedge::behind(text, close + TAG.len(), answer))
}

/// What the last box outside answer tags says beside them.
pub fn boxed_rivals(text: &str, tagged: &str) -> Option<Offered> {
    let tags = |end: usize| {
        let close = text[..end].rfind("</answer>")?;
        Some((text[..close].rfind("<answer>")?, close))
    };
    let found = boxes(text);
    let mut tag = tags(text.len());
    for (content, (start, _)) in found.contents.iter().zip(&found.places).rev() {
        while let Some((open, _)) = tag.filter(|(open, _)| start < open) {
            tag = tags(open);
        }
        if tag.is_none_or(|(_, close)| *start > close) {
            return hedge::same_kind(content, tagged).then(|| Offered::new(*content, Stance::Announced));
        }
    }
    None
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

/// The sentences behind "answer is", "answer:" or "####".
fn announced(text: &str) -> Option<Finals<'_>> {
    let texts = announcements::announced(text);
    (!texts.is_empty()).then(|| Finals::of("announced answer", text, texts, 0))
}

/// The last number that stands alone, with the numbers that it is joined to by "or", "and" or a comma.
fn last_number(text: &str) -> Option<Finals<'_>> {
    let mut texts: Vec<&str> = Vec::new();
    let mut joined = false;
    let mut denied = false;
    for word in text.split_whitespace() {
        let core = word
            .rsplit('=')
            .next()
            .unwrap_or(word)
            .trim_matches(['$', '*', '(', ')', '[', ']', '.', ',', ';', ':', '?']);
        // "not 5" and "x > 5" do not say 5.
        let denies = hedge::denies(core) || core.ends_with(['<', '>', '≤', '≥', '≠']);
        if is_number(core) && std::mem::replace(&mut denied, denies) {
            texts.clear();
            joined = false;
        } else if is_number(core) {
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
            let joins = matches!(core, "and" | "/" | "±") || hedge::may_stand_between(core);
            joined = !texts.is_empty() && (joins || (joined && core.is_empty()));
        }
        denied = denies;
    }
    (!texts.is_empty()).then(|| Finals::of("last number", text, texts, 0))
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
