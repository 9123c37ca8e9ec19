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
///
/// A fence is three or more backticks or tildes, closed by at least as many of the same; one that is not closed runs to the end of the
/// text, for a model that stops at its last line of code. The blanks in front of the fence are taken off every line, as in a list.
pub(super) fn program(text: &str, names: impl Fn(&str) -> bool, bare: bool) -> Option<Cow<'_, str>> {
    let blocks = blocks(text);
    let last = |wanted: &dyn Fn(&str) -> bool| blocks.iter().rev().find(|b| wanted(&b.language)).map(Block::program);
    last(&names).or_else(|| last(&str::is_empty)).or_else(|| (bare && blocks.is_empty()).then_some(text.into()))
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
    fn bare_text_is_a_program_only_if_asked() {
        assert_eq!(program("print(1)", false).as_deref(), None);
        assert_eq!(program("print(1)", true).as_deref(), Some("print(1)"));
    }
}
