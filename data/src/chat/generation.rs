//! `{% generation %} … {% endgeneration %}`: what the assistant wrote, marked in the rendered text.
//!
//! Jinja does not know the tag. It becomes a filter block, which keeps the whitespace rules of a block and hands its content
//! to [`mark`]; that puts two characters around it which the conversation does not have, and they are taken out again.

use std::ops::Range;

use minijinja::State;

/// The filter's name, and that of the variable that holds the marks.
pub(super) const FILTER: &str = "__generation";

/// The template with filter blocks in place of generation blocks, and whether it has any. Lines stay.
pub(super) fn as_filter_blocks(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let (mut rest, mut found) = (source, false);
    while let Some(at) = rest.find("{%") {
        let Some(length) = rest[at..].find("%}") else { break };
        let tag = &rest[at..at + length + 2];
        let word = tag[2..length].trim_matches(['-', '+', ' ', '\t', '\n', '\r']);
        out.push_str(&rest[..at]);
        match word {
            "generation" => {
                found = true;
                out.push_str(&tag.replace("generation", &format!("filter {FILTER}")));
            }
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endfilter")),
            _ => out.push_str(tag),
        }
        rest = &rest[at + length + 2..];
    }
    (out + rest, found)
}

/// The filter: its input between the marks, where there are marks.
pub(super) fn mark(state: &State<'_, '_>, content: String) -> String {
    let marks = state.lookup(FILTER);
    let marks = marks.as_ref().and_then(|marks| marks.as_str()).and_then(Marks::read);
    match marks {
        Some(Marks { open, close }) => format!("{open}{content}{close}"),
        None => content,
    }
}

/// Two characters that stand for the two ends of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    open: char,
    close: char,
}

impl Marks {
    /// Two of Unicode's noncharacters, which no text should hold, that `text` really does not hold: there are 32 in a row,
    /// and the first two free ones are taken. A text that holds them all has spans that mean nothing, and no more.
    pub fn absent_from(text: &str) -> Self {
        let mut free = ('\u{fdd0}'..='\u{fdee}').filter(|c| !text.contains(*c));
        let open = free.next().unwrap_or('\u{fdd0}');
        Self { open, close: free.next().unwrap_or('\u{fdd1}') }
    }

    pub fn as_text(self) -> String {
        String::from_iter([self.open, self.close])
    }

    fn read(text: &str) -> Option<Self> {
        let mut chars = text.chars();
        Some(Self { open: chars.next()?, close: chars.next()? })
    }

    /// The text without the marks, and what stood between them. Blocks within a block are part of it.
    pub fn take_out(self, marked: &str) -> (String, Vec<Range<usize>>) {
        let mut text = String::with_capacity(marked.len());
        let (mut spans, mut depth, mut start) = (Vec::new(), 0usize, 0);
        for c in marked.chars() {
            if c == self.open {
                if depth == 0 {
                    start = text.len();
                }
                depth += 1;
            } else if c == self.close {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    spans.push(start..text.len());
                }
            } else {
                text.push(c);
            }
        }
        (text, spans)
    }
}
