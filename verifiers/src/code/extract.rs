//! Finds the program in the model's text.

use std::borrow::Cow;

/// One fenced block.
struct Block<'a> {
    language: String,
    body: &'a str,
    /// Blanks in front of its fence, which every line of it may have.
    indent: usize,
}

/// The program: the last block whose fence names the language, else the last block that names none, else the whole text if `bare`.
/// Reasoning between `<think>` and `</think>` is no part of the answer.
///
/// A fence is three or more backticks or tildes, closed by at least as many of the same; one that is not closed runs to the end of the
/// text, for a model that stops at its last line of code. The blanks in front of the fence are taken off every line, as in a list.
pub(super) fn program(text: &str, names: impl Fn(&str) -> bool, bare: bool) -> Option<Cow<'_, str>> {
    let segments: Vec<_> = answer(text).into_iter().map(|segment| (segment, blocks(segment))).collect();
    let all = || segments.iter().flat_map(|(_, blocks)| blocks).rev();
    let last = |wanted: &dyn Fn(&str) -> bool| all().find(|b| wanted(&b.language)).map(Block::program);
    let whole = || match segments.as_slice() {
        [(segment, _)] => Cow::Borrowed(*segment),
        several => several.iter().map(|(segment, _)| *segment).collect(),
    };
    last(&names).or_else(|| last(&str::is_empty)).or_else(|| (bare && all().next().is_none()).then(whole))
}

/// The parts of a text that are not reasoning. A closing tag without its opening one ends reasoning that the prompt opened.
///
/// A tag behind a quote is a string of a program that handles such texts.
fn answer(text: &str) -> Vec<&str> {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    let (mut segments, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, _) in text.match_indices('<') {
        let quoted = text[..at].ends_with(['"', '\'', '`']);
        if text[at..].starts_with(OPEN) && !inside && !quoted {
            segments.push(&text[start..at]);
            inside = true;
        } else if text[at..].starts_with(CLOSE) && (inside || !quoted) {
            if !inside {
                segments.clear();
            }
            inside = false;
            start = at + CLOSE.len();
        }
    }
    if !inside {
        segments.push(&text[start..]);
    }
    segments
}

impl<'a> Block<'a> {
    fn program(&self) -> Cow<'a, str> {
        if self.indent == 0 {
            return self.body.into();
        }
        let blanks = |line: &str| line.bytes().take(self.indent).take_while(|b| *b == b' ').count();
        self.body.split_inclusive('\n').map(|line| &line[blanks(line)..]).collect()
    }
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut open: Option<(char, usize, String, usize, usize)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        match (&open, fence(line)) {
            (None, Some((mark, count, info))) if mark == '~' || !info.contains('`') => {
                let language = info.split([' ', '\t', ',', '{', ':']).next().unwrap_or("").to_lowercase();
                open = Some((mark, count, language, end, line.len() - line.trim_start_matches(' ').len()));
            }
            // Four blanks further in it is a line of the program's own.
            (Some((mark, count, _, _, indent)), Some((found_mark, found_count, info)))
                if found_mark == *mark
                    && found_count >= *count
                    && info.is_empty()
                    && line.len() - line.trim_start_matches(' ').len() <= indent + 3 =>
            {
                if let Some((_, _, language, body, indent)) = open.take() {
                    found.push(Block { language, body: &text[body..start], indent });
                }
            }
            _ => {}
        }
    }
    if let Some((_, _, language, body, indent)) = open {
        found.push(Block { language, body: &text[body..], indent });
    }
    found
}

/// Mark, length and info string of a fence line.
fn fence(line: &str) -> Option<(char, usize, &str)> {
    let line = line.trim_end();
    let stripped = line.trim_start_matches(' ');
    let mark = stripped.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let count = stripped.chars().take_while(|c| *c == mark).count();
    (count >= 3).then(|| (mark, count, stripped[count..].trim()))
}

#[cfg(test)]
mod tests {
    fn program(text: &str, bare: bool) -> Option<String> {
        super::program(text, |word| ["python", "py"].contains(&word), bare).map(Into::into)
    }

    #[test]
    fn the_indent_of_a_fence_is_taken_off_its_lines() {
        let text = "1. The program:\n\n     ```python\n     if 1:\n         print(2)\n\n     ```\n";
        assert_eq!(program(text, false).as_deref(), Some("if 1:\n    print(2)\n\n"));
        let nested = "```python\ns = '''\n   ````\n'''\n";
        assert!(program(nested, false).is_some());
    }

    #[test]
    fn the_last_block_of_the_language_is_the_program() {
        let text = "first\n```python\na = 1\n```\nthen\n```Python title\nb = 2\n```\nrun it:\n```bash\npython x\n```\n";
        assert_eq!(program(text, false).as_deref(), Some("b = 2\n"));
    }

    #[test]
    fn an_unnamed_block_counts_only_when_none_is_named() {
        assert_eq!(program("```\nx\n```\n", false).as_deref(), Some("x\n"));
        assert_eq!(program("```py\ny\n```\n```\nx\n```\n", false).as_deref(), Some("y\n"));
        assert_eq!(program("```rust\nfn main() {}\n```\n", true).as_deref(), None);
    }

    #[test]
    fn an_open_fence_runs_to_the_end_and_longer_fences_nest() {
        assert_eq!(program("```python\nprint(1)", false).as_deref(), Some("print(1)"));
        assert_eq!(program("````python\ns = '''\n```\n'''\n````\n", false).as_deref(), Some("s = '''\n```\n'''\n"));
    }

    #[test]
    fn reasoning_is_no_part_of_the_answer() {
        let block = |body: &str| format!("```python\n{body}\n```\n");
        for (text, wanted) in [
            (format!("<think>\n{}</think>\nno code", block("a")), None),
            (format!("{}</think>\nno code", block("a")), None),
            (format!("<think>\n{}", block("a")), None),
            (format!("<think>\n{}</think>\n{}", block("a"), block("b")), Some("b\n")),
            (format!("<think>\n```python\nnever closed</think>\n{}", block("b")), Some("b\n")),
            (format!("{}<think>was that right?</think>Yes.", block("a")), Some("a\n")),
            (block("print('</think>')"), Some("print('</think>')\n")),
        ] {
            assert_eq!(program(&text, false).as_deref(), wanted, "{text}");
        }
        assert_eq!(program("<think>a</think>print(1)", true).as_deref(), Some("print(1)"));
    }

    #[test]
    fn bare_text_is_a_program_only_if_asked() {
        assert_eq!(program("print(1)", false).as_deref(), None);
        assert_eq!(program("print(1)", true).as_deref(), Some("print(1)"));
    }
}
