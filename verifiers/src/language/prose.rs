//! The words of a text that are neither math nor code: what a rule about language may judge.
//!
//! Code, formulas, LaTeX commands, tags and addresses are the same in every language. Every scan is linear in the text.

/// Bytes in which an inline formula must end; a `$` that finds no partner within them is a currency.
const FORMULA_BYTES: usize = 2_000;

/// Bytes in which a displayed formula or a LaTeX environment must end.
const DISPLAY_BYTES: usize = 20_000;

/// Marks without a partner after which no more partners are looked for, so that a text of nothing else costs no more.
const LONELY_MARKS: usize = 200;

/// The text with everything that is no prose replaced by a line break or a blank.
pub fn prose(text: &str) -> String {
    without_names_of_places(&marked_off(text))
}

/// The text without what marks set off: fences, formulas, commands, tags, addresses with a scheme.
fn marked_off(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut fence: Option<(u8, usize)> = None;
    let mut block_start = 0;
    let mut at = 0;
    let mut lonely = 0;
    for line in text.split_inclusive('\n') {
        let found = fence_of(line);
        match (fence, found) {
            (None, Some(opening)) => {
                inline(&text[block_start..at], &mut lonely, &mut kept);
                fence = Some((opening.0, opening.1));
                kept.push('\n');
            }
            (Some((mark, width)), Some((m, w, bare))) if m == mark && w >= width && bare => {
                fence = None;
                block_start = at + line.len();
            }
            _ => {}
        }
        at += line.len();
    }
    if fence.is_none() {
        inline(&text[block_start..], &mut lonely, &mut kept);
    }
    kept
}

/// Mark, width, and whether nothing follows, of a line that opens or closes a fenced block.
fn fence_of(line: &str) -> Option<(u8, usize, bool)> {
    let line = line.trim();
    let mark = *line.as_bytes().first().filter(|b| matches!(b, b'`' | b'~'))?;
    let width = line.bytes().take_while(|b| *b == mark).count();
    let rest = line[width..].trim();
    // "```x```" on one line is inline code.
    (width >= 3 && !rest.contains('`')).then_some((mark, width, rest.is_empty()))
}

/// Copies a text without fences, leaving out formulas, inline code, commands, tags and addresses.
fn inline(text: &str, lonely: &mut usize, kept: &mut String) {
    let mut at = 0;
    while let Some(offset) = text[at..].find(['$', '\\', '`', '<', ':']) {
        let mark = at + offset;
        kept.push_str(&text[at..mark]);
        let (skipped, put) = match text.as_bytes()[mark] {
            _ if *lonely > LONELY_MARKS => (0, ' '),
            b'$' => (dollars(&text[mark..]), ' '),
            b'`' => (code(&text[mark..]), ' '),
            b'<' => (tag(&text[mark..]), '\n'),
            b':' => (address(&text[mark..], kept), ' '),
            _ => (command(&text[mark..]), ' '),
        };
        match skipped {
            0 => {
                // Colons and angles are looked up in no time.
                *lonely += usize::from(matches!(text.as_bytes()[mark], b'$' | b'`' | b'\\'));
                kept.push_str(&text[mark..=mark]);
                at = mark + 1;
            }
            n => {
                kept.push(put);
                at = mark + n;
            }
        }
    }
    kept.push_str(&text[at..]);
}

/// The first `limit` bytes or a little less.
fn window(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Bytes of `$…$` or `$$…$$` at the start of `text`; 0 where the sign is a currency.
///
/// As in Pandoc, no blank follows an opening `$` and none comes before a closing one, so "$5 and $6" is no formula.
fn dollars(text: &str) -> usize {
    if let Some(inside) = text.strip_prefix("$$") {
        return window(inside, DISPLAY_BYTES).find("$$").map_or(0, |end| end + 4);
    }
    let inside = window(&text[1..], FORMULA_BYTES);
    if inside.starts_with(char::is_whitespace) {
        return 0;
    }
    let bytes = inside.as_bytes();
    let closes = |&i: &usize| bytes[i] == b'$' && i > 0 && !bytes[i - 1].is_ascii_whitespace() && bytes[i - 1] != b'\\';
    let end = (0..bytes.len()).find(closes).filter(|&end| !inside[..end].contains("\n\n"));
    end.map_or(0, |end| end + 2)
}

/// Bytes of a span between runs of as many backticks; 0 where it does not end on its paragraph.
fn code(text: &str) -> usize {
    let width = text.bytes().take_while(|b| *b == b'`').count();
    let inside = window(&text[width..], FORMULA_BYTES);
    let end = inside.find(&text[..width]).filter(|&end| !inside[..end].contains("\n\n"));
    end.map_or(0, |end| end + 2 * width)
}

/// Bytes of `<name>` or `</name>`.
fn tag(text: &str) -> usize {
    let inside = &text[1..];
    let inside = inside.strip_prefix('/').unwrap_or(inside);
    let name = inside.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"_-|".contains(b)).count();
    match inside.as_bytes().get(name) {
        Some(b'>') if name > 0 => text.len() - inside.len() + name + 1,
        _ => 0,
    }
}

/// Bytes of the rest of an address whose scheme was kept already, and is taken back.
fn address(text: &str, kept: &mut String) -> usize {
    if !text.starts_with("://") {
        return 0;
    }
    let scheme = kept.bytes().rev().take_while(u8::is_ascii_alphabetic).count();
    kept.truncate(kept.len() - scheme);
    text.find(|c: char| c.is_whitespace() || !c.is_ascii()).unwrap_or(text.len())
}

/// Bytes of `\(…\)`, `\[…\]`, an environment, or a command with its arguments in braces and brackets.
fn command(text: &str) -> usize {
    let display = window(text, DISPLAY_BYTES);
    for (open, close) in [("\\(", "\\)"), ("\\[", "\\]")] {
        if text.starts_with(open) {
            return display.find(close).map_or(0, |end| end + 2);
        }
    }
    if let Some(rest) = display.strip_prefix("\\begin{")
        && let Some(name_end) = rest.find('}').filter(|&end| end < 40)
    {
        let close = format!("\\end{{{}}}", &rest[..name_end]);
        return display.find(&close).map_or(0, |end| end + close.len());
    }
    let name = text[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
    if name == 0 {
        return 0;
    }
    let mut end = 1 + name;
    loop {
        match arguments(&display[end.min(display.len())..]) {
            Some(0) => return end,
            Some(n) => end += n,
            None => return 0,
        }
    }
}

/// Bytes of one balanced `{…}` at the start; 0 where there is none, `None` where it does not close.
fn arguments(text: &str) -> Option<usize> {
    if !text.starts_with('{') {
        return Some(0);
    }
    let mut depth = 0usize;
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(i + 1),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// A text without addresses that have no scheme, file names, and lines that are plainly code.
fn without_names_of_places(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if is_code(line.trim()) {
            kept.push('\n');
            continue;
        }
        let mut rest = line;
        while let Some(start) = rest.find(|c: char| c.is_ascii_graphic()) {
            kept.push_str(&rest[..start]);
            let run = &rest[start..];
            let run = &run[..run.find(|c: char| !c.is_ascii_graphic()).unwrap_or(run.len())];
            kept.push_str(if is_place(run) { " " } else { run });
            rest = &rest[start + run.len()..];
        }
        kept.push_str(rest);
    }
    kept
}

/// `www.example.com/a`, `me@example.com`, `/usr/lib`, `main.py`.
fn is_place(run: &str) -> bool {
    const ENDS: [&str; 40] = [
        "com", "org", "net", "edu", "gov", "io", "cn", "jp", "kr", "de", "fr", "ru", "uk", "info", "dev", "py", "js",
        "ts", "txt", "csv", "json", "md", "cpp", "rs", "html", "xml", "yaml", "yml", "toml", "exe", "jar", "java",
        "go", "sh", "pdf", "png", "jpg", "zip", "ipynb", "log",
    ];
    let run = run.trim_matches(|c: char| "()[]{}<>.,;:!?\"'*".contains(c));
    if ["/", "./", "../", "~/"].iter().any(|start| run.starts_with(start)) || run.get(1..3) == Some(":\\") {
        return run.bytes().filter(u8::is_ascii_alphabetic).count() > 1;
    }
    let host = run.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let Some((name, end)) = host.rsplit_once('.') else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(plain) && ENDS.iter().any(|known| end.eq_ignore_ascii_case(known))
}

/// A line that is code by its first word and its marks, or by how it ends.
fn is_code(line: &str) -> bool {
    const WORDS: [&str; 24] = [
        "def", "class", "return", "import", "from", "for", "while", "if", "elif", "else", "print", "const", "let",
        "var", "int", "void", "public", "private", "static", "function", "func", "fn", "using", "include",
    ];
    if !line.is_ascii() || line.is_empty() {
        return false;
    }
    let word = line.trim_start_matches('#');
    let word = &word[..word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len())];
    let marks = |marks: &str| line.contains(|c| marks.contains(c));
    let opens = WORDS.contains(&word) && (line.ends_with([':', ';', '{', ')']) || marks("={}[]") || word == "import");
    let ends = line.ends_with([';', '{', '}']) && marks("(={}") || line.ends_with("):");
    let returns = word == "return" && marks("+-*/%");
    opens || ends || returns
}

#[cfg(test)]
mod tests {
    use super::prose;

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let prose = prose(text);
        assert_eq!(prose.split_whitespace().collect::<Vec<_>>(), expect, "{text:?} became {prose:?}");
    }

    #[test]
    fn formulas_are_no_prose() {
        check("so $x = \\text{cost}$ holds", &["so", "holds"]);
        check("it is $$a\n\nb$$ then", &["it", "is", "then"]);
        check(r"by \(a+b\) and \[c\] we get \boxed{\frac{1}{2}} now", &["by", "and", "we", "get", "now"]);
        check("\\begin{align} a &= b \\end{align} done", &["done"]);
        check("costs $5 and $6 today", &["costs", "$5", "and", "$6", "today"]);
    }

    #[test]
    fn code_tags_and_addresses_are_no_prose() {
        check("run\n```python\nimport os\n```\nor `ls -l` here", &["run", "or", "here"]);
        check("```\nnever closed\n", &[]);
        check("````\n```\ninner\n````\nouter", &["outer"]);
        check("<think>why</think> a < b", &["why", "a", "<", "b"]);
        check("see https://example.com/a?b=c for more: here", &["see", "for", "more:", "here"]);
    }

    #[test]
    fn places_and_lines_of_code_are_no_prose() {
        check("参见www.example.com/docs了解 or info@example.com, 见 main.py。", &["参见", "了解", "or", "见", "。"]);
        check(
            "in /usr/local/lib and ~/notes but and/or he said so.",
            &["in", "and", "but", "and/or", "he", "said", "so."],
        );
        check("def add(a, b):\n    return a + b\nx = f(y);\n如上", &["如上"]);
        check(
            "for example: this is prose\nif you like it",
            &["for", "example:", "this", "is", "prose", "if", "you", "like", "it"],
        );
        check(
            "It is 3.5 or so. Return to it, please.",
            &["It", "is", "3.5", "or", "so.", "Return", "to", "it,", "please."],
        );
    }

    #[test]
    fn odd_text_is_read_in_linear_time() {
        for unit in ["$", "\\begin{a}", "\\(", "`a", "{", "\\a{", "<a", "://", "```\n", "é$"] {
            let text = unit.repeat(200_000 / unit.len());
            let began = std::time::Instant::now();
            prose(&text);
            assert!(began.elapsed().as_millis() < 2_000, "{unit:?} took {:?}", began.elapsed());
        }
    }
}
