//! Finds the program in the model's text.

/// One fenced block.
struct Block<'a> {
    language: String,
    body: &'a str,
}

/// The program: the last block whose fence names the language, else the last block that names none, else the whole text if `bare`.
///
/// A fence is three or more backticks or tildes, at most three spaces in, closed by at least as many of the same; one that is not closed
/// runs to the end of the text, for a model that stops at its last line of code.
pub(super) fn program(text: &str, names: impl Fn(&str) -> bool, bare: bool) -> Option<&str> {
    let blocks = blocks(text);
    let last = |wanted: &dyn Fn(&str) -> bool| blocks.iter().rev().find(|b| wanted(&b.language)).map(|b| b.body);
    last(&names).or_else(|| last(&str::is_empty)).or_else(|| (bare && blocks.is_empty()).then_some(text))
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut open: Option<(char, usize, String, usize)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (start, end) = (at, at + line.len());
        at = end;
        match (&open, fence(line)) {
            (None, Some((mark, count, info))) if mark == '~' || !info.contains('`') => {
                let language = info.split([' ', '\t', ',', '{', ':']).next().unwrap_or("").to_lowercase();
                open = Some((mark, count, language, end));
            }
            (Some((mark, count, ..)), Some((found_mark, found_count, info)))
                if found_mark == *mark && found_count >= *count && info.is_empty() =>
            {
                if let Some((_, _, language, body)) = open.take() {
                    found.push(Block { language, body: &text[body..start] });
                }
            }
            _ => {}
        }
    }
    if let Some((_, _, language, body)) = open {
        found.push(Block { language, body: &text[body..] });
    }
    found
}

/// Mark, length and info string of a fence line.
fn fence(line: &str) -> Option<(char, usize, &str)> {
    let line = line.trim_end();
    let stripped = line.trim_start_matches(' ');
    if line.len() - stripped.len() > 3 {
        return None;
    }
    let mark = stripped.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let count = stripped.chars().take_while(|c| *c == mark).count();
    (count >= 3).then(|| (mark, count, stripped[count..].trim()))
}

#[cfg(test)]
mod tests {
    fn program(text: &str, bare: bool) -> Option<&str> {
        super::program(text, |word| ["python", "py"].contains(&word), bare)
    }

    #[test]
    fn the_last_block_of_the_language_is_the_program() {
        let text = "first\n```python\na = 1\n```\nthen\n```Python title\nb = 2\n```\nrun it:\n```bash\npython x\n```\n";
        assert_eq!(program(text, false), Some("b = 2\n"));
    }

    #[test]
    fn an_unnamed_block_counts_only_when_none_is_named() {
        assert_eq!(program("```\nx\n```\n", false), Some("x\n"));
        assert_eq!(program("```py\ny\n```\n```\nx\n```\n", false), Some("y\n"));
        assert_eq!(program("```rust\nfn main() {}\n```\n", true), None);
    }

    #[test]
    fn an_open_fence_runs_to_the_end_and_longer_fences_nest() {
        assert_eq!(program("```python\nprint(1)", false), Some("print(1)"));
        assert_eq!(program("````python\ns = '''\n```\n'''\n````\n", false), Some("s = '''\n```\n'''\n"));
    }

    #[test]
    fn bare_text_is_a_program_only_if_asked() {
        assert_eq!(program("print(1)", false), None);
        assert_eq!(program("print(1)", true), Some("print(1)"));
    }
}
