//! One spelling for what is written in many: full-width and typographic characters, delimiters around the whole answer.

use super::words;

/// Maps typographic characters to the ASCII or LaTeX that the lexer reads, and strips what only decorates the whole
/// answer.
pub fn normalise(text: &str) -> String {
    if text.is_ascii() {
        return undecorated(text).to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    let mut raised = false;
    for c in text.chars() {
        // Raised digits stand side by side: x¹² is x^{12}.
        if let Some(digit) = superscript(c) {
            plain.push_str(if raised { "" } else { "^{" });
            plain.push(digit);
            raised = true;
            continue;
        }
        if raised {
            plain.push('}');
            raised = false;
        }
        map_character(c, &mut plain);
    }
    if raised {
        plain.push('}');
    }
    undecorated(&plain).to_owned()
}

fn superscript(c: char) -> Option<char> {
    Some(match c {
        '⁰' => '0',
        '¹' => '1',
        '²' => '2',
        '³' => '3',
        '⁴'..='⁹' => char::from(b'4' + (c as u32 - '⁴' as u32) as u8),
        '⁻' => '-',
        'ⁿ' => 'n',
        _ => return None,
    })
}

fn map_character(c: char, plain: &mut String) {
    let mapped = match c {
        // Full-width forms lie at a fixed distance from ASCII.
        '\u{FF01}'..='\u{FF5E}' => {
            plain.extend(char::from_u32(c as u32 - 0xFEE0));
            return;
        }
        '\u{00A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{3000}' | '\t' | '\n' | '\r' => " ",
        '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}' => "",
        '−' | '‐' | '‑' | '‒' | '–' | '—' => "-",
        '×' | '⋅' | '·' | '∙' | '•' => "*",
        '÷' | '∕' | '⁄' => "/",
        '≤' => "\\le ",
        '≥' => "\\ge ",
        '≠' => "\\ne ",
        '±' => "\\pm ",
        '∓' => "\\mp ",
        '√' => "\\sqrt ",
        '∛' => "\\sqrt[3]",
        '∜' => "\\sqrt[4]",
        '≈' => "\\approx ",
        '≡' => "\\equiv ",
        '∩' => "\\cap ",
        '∖' => "\\setminus ",
        'ℝ' => "\\reals ",
        '∑' => "\\sum ",
        '∏' => "\\prod ",
        '∫' => "\\int ",
        '…' | '⋯' => "\\ldots ",
        '⌊' => "\\lfloor ",
        '⌋' => "\\rfloor ",
        '⌈' => "\\lceil ",
        '⌉' => "\\rceil ",
        '⟨' | '〈' => "\\langle ",
        '⟩' | '〉' => "\\rangle ",
        '∣' => "|",
        '∠' => "\\angle ",
        '△' => "\\triangle ",
        'µ' => "\\mu ",
        '𝑒' => "e",
        '𝑥' => "x",
        '、' => ",",
        '。' => ".",
        '₀'..='₉' => {
            plain.push('_');
            plain.push(char::from(b'0' + (c as u32 - '₀' as u32) as u8));
            return;
        }
        'π' => "\\pi ",
        '∞' => "\\infty ",
        '∪' => "\\cup ",
        '∈' => "\\in ",
        '∅' => "\\emptyset ",
        '∀' => "\\forall ",
        '∃' => "\\exists ",
        '∄' => "\\nexists ",
        '¬' => "\\neg ",
        '°' => "^\\circ ",
        '’' | '‘' | '′' => "'",
        '″' => "''",
        'Ω' => "\\Omega ",
        '“' | '”' => "\"",
        '½' => "\\frac{1}{2}",
        '⅓' => "\\frac{1}{3}",
        '⅔' => "\\frac{2}{3}",
        '¼' => "\\frac{1}{4}",
        '¾' => "\\frac{3}{4}",
        '⅕' => "\\frac{1}{5}",
        '⅖' => "\\frac{2}{5}",
        '⅗' => "\\frac{3}{5}",
        '⅘' => "\\frac{4}{5}",
        '⅙' => "\\frac{1}{6}",
        '⅚' => "\\frac{5}{6}",
        '⅛' => "\\frac{1}{8}",
        '⅜' => "\\frac{3}{8}",
        '⅝' => "\\frac{5}{8}",
        '⅞' => "\\frac{7}{8}",
        _ => {
            plain.push(c);
            return;
        }
    };
    plain.push_str(mapped);
}

/// The answer without mathematics delimiters, bold marks and final punctuation around it.
fn undecorated(text: &str) -> &str {
    const PAIRS: [(&str, &str); 6] =
        [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`")];
    let mut inner = text.trim();
    loop {
        let before = inner.len();
        for mark in ["__", "*", "'"] {
            let within = inner.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
            if let Some(rest) = within.filter(|rest| !rest.is_empty() && !rest.contains(mark)) {
                inner = rest.trim();
            }
        }
        for label in ["final answer:", "the answer is", "answer is", "answer:"] {
            if inner.get(..label.len()).is_some_and(|head| head.eq_ignore_ascii_case(label)) {
                inner = inner[label.len()..].trim_start_matches([' ', ':']);
            }
        }
        inner = without_label(inner);
        for (open, close) in PAIRS {
            if let Some(rest) = inner.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)) {
                inner = rest.trim();
            }
        }
        // An escaped character at the end is a command, not punctuation.
        let cut = inner.trim_end_matches(['.', ',', ';', ' ']);
        if !cut.ends_with('\\') && !inner.ends_with("..") {
            inner = cut;
        }
        for gap in ["\\\\", "\\quad", "\\ ", "\\,", "\\;"] {
            inner = inner.strip_suffix(gap).unwrap_or(inner).trim_end();
        }
        if inner.len() == before {
            return inner;
        }
    }
}

/// Without words of prose at the beginning that only announce what follows: `\text{Total: } 10`.
fn without_label(text: &str) -> &str {
    const SAID: [&str; 4] = ["the answer is", "answer is", "the final answer is", "final answer is"];
    let Some((label, rest)) = text.strip_prefix("\\text{").and_then(|inner| inner.split_once('}')) else { return text };
    let name = label.trim();
    let named = name.strip_suffix(':').is_some_and(|name| {
        name.len() > 2 && name.chars().all(|c| c.is_alphabetic() || c == ' ') && !name.eq_ignore_ascii_case("not")
    });
    let said = SAID.iter().any(|said| name.eq_ignore_ascii_case(said));
    if (named || said) && !rest.trim().is_empty() { rest.trim_start() } else { text }
}

/// A key under which two answers are the same text: no sizing commands, no spaces but those between letters or
/// digits, and for prose no case and no fonts.
pub fn text_key(normal: &str) -> String {
    let prose = without_fonts(normal);
    let of_prose = |c: char| c.is_alphanumeric() || c.is_whitespace() || matches!(c, '-' | '\'' | ',' | '.' | ':');
    if is_prose(&prose) && prose.chars().all(of_prose) {
        let lower = prose.to_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        // An article says nothing; behind the first word an "a" may be a name.
        let leading = usize::from(words.len() > 1 && words[0] == "a");
        let said = words[leading..].iter().filter(|word| words.len() == 1 || !matches!(**word, "an" | "the"));
        return said.copied().collect::<Vec<_>>().join(" ");
    }
    let mut key = String::with_capacity(normal.len());
    let mut gap = false;
    let mut rest = normal;
    while let Some(c) = rest.chars().next() {
        if let Some(width) = blank(rest, c) {
            gap = true;
            rest = &rest[width..];
            continue;
        }
        // Without this "5 5" would be 55.
        if gap && c.is_alphanumeric() && key.ends_with(char::is_alphanumeric) {
            key.push(' ');
        }
        gap = false;
        // A backslash and its character stay together: a line break is no space.
        let width = c.len_utf8() + if c == '\\' { rest[1..].chars().next().map_or(0, char::len_utf8) } else { 0 };
        key.push_str(&rest[..width]);
        rest = &rest[width..];
    }
    key
}

/// Whether two texts as written are the same prose.
pub fn same_prose(a: &str, b: &str) -> bool {
    const MAX_BYTES: usize = 200;
    let short = a.len() <= MAX_BYTES && b.len() <= MAX_BYTES;
    short && is_prose(b) && text_key(&normalise(a)) == text_key(&normalise(b))
}

/// The width of the spacing or sizing command that `text` starts with.
fn blank(text: &str, first: char) -> Option<usize> {
    const COMMANDS: [&str; 5] = ["\\left", "\\right", "\\displaystyle", "\\quad", "\\qquad"];
    if first.is_whitespace() || first == '$' {
        return Some(first.len_utf8());
    }
    if first != '\\' {
        return None;
    }
    if text[1..].starts_with(['!', ',', ';', ':', ' ']) {
        return Some(2);
    }
    let ends = |name: &&&str| !text.as_bytes().get(name.len()).is_some_and(u8::is_ascii_alphabetic);
    COMMANDS.iter().filter(|name| text.starts_with(**name)).find(ends).map(|name| name.len())
}

/// True when the text has a word: a run of four letters that is no LaTeX command, or one of the short words that are
/// answers.
fn is_prose(text: &str) -> bool {
    const SHORT: [&str; 8] = ["yes", "no", "true", "odd", "even", "none", "all", "neither"];
    let mut start = None;
    let mut command = false;
    for (i, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (c.is_alphabetic(), start) {
            (true, None) => {
                command = text[..i].ends_with('\\');
                start = Some(i);
            }
            (false, Some(from)) => {
                let run = &text[from..i];
                if !command && (run.chars().count() >= 4 || SHORT.contains(&run.to_lowercase().as_str())) {
                    return true;
                }
                start = None;
            }
            _ => {}
        }
    }
    false
}

/// Whether both are one and the same word, which LaTeX may have spelt as a product of letters: `\text{odd}` and `odd`.
/// Of single letters the case counts.
pub fn same_word(a: &str, b: &str) -> bool {
    let word = |text: &str| -> Option<String> {
        let plain = without_fonts(text);
        let letters = plain.chars().all(|c| c.is_alphabetic() || c == ' ');
        (letters && plain.chars().count() > 1).then(|| plain.replace(' ', "").to_lowercase())
    };
    word(a).is_some_and(|a| word(b) == Some(a))
}

/// Whether two texts differ in nothing but the case of letters that are no part of a command.
pub fn same_but_for_case(a: &str, b: &str) -> bool {
    let folded = |text: &str| {
        let mut command = false;
        let fold = |c: char| {
            command = c == '\\' || command && c.is_ascii_alphabetic();
            if command { c } else { c.to_ascii_lowercase() }
        };
        text_key(text).chars().map(fold).collect::<String>()
    };
    folded(a) == folded(b)
}

/// The letter of a multiple-choice answer: `B`, `(b)`, `\text{(B)}`, `B. Paris`, `(B) 12`; `None` when the text is
/// anything else or names a second choice.
pub fn choice(normal: &str) -> Option<char> {
    let plain = without_name(without_fonts(normal));
    let (opened, rest) = plain.strip_prefix('(').map_or((false, plain.as_str()), |rest| (true, rest));
    let letter = rest.chars().next().filter(char::is_ascii_alphabetic)?;
    let rest = &rest[1..];
    let (marked, rest) = match rest.strip_prefix([')', '.', ':']) {
        Some(after) => (true, after),
        None => (false, rest),
    };
    // What is reckoned with is no choice: "(B)^2", "(B) + 1".
    if rest.trim_start().starts_with(['^', '_', '+', '*', '/', '=', '!', '<', '>', '\'']) {
        return None;
    }
    if (opened && !plain.contains(')')) || (!marked && !rest.is_empty()) {
        return None;
    }
    let names_another = rest
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| matches!(word, "or" | "and") || (word.len() == 1 && word.bytes().all(|b| b.is_ascii_uppercase())));
    (!names_another).then(|| letter.to_ascii_uppercase())
}

/// A choice and its content apart: `\text{(B) } 12` is `B` and `12`.
pub fn choice_with_content(normal: &str) -> Option<(char, &str)> {
    let mut text = normal.trim();
    // A font around the letter ends behind it, and one around both is taken off.
    for font in ["\\textbf{", "\\text{", "\\mathrm{", "\\mathbf{", "\\textrm{"] {
        let Some(inner) = text.strip_prefix(font) else { continue };
        let end = inner.find('}')?;
        if end + 1 == inner.len() {
            text = inner[..end].trim();
            break;
        }
        let (letter, gap) = marked_letter(inner[..end].trim())?;
        return content(&inner[end + 1..]).filter(|_| gap.is_empty()).map(|content| (letter, content));
    }
    let (letter, rest) = marked_letter(text)?;
    let spaced = rest.starts_with([' ', '~', '\\', '$']);
    content(rest).filter(|_| spaced).map(|content| (letter, content))
}

/// The letter at the beginning with its brackets, a point or a colon, and the rest.
fn marked_letter(text: &str) -> Option<(char, &str)> {
    let inner = text.strip_prefix('(').unwrap_or(text);
    let letter = inner.chars().next().filter(|letter| matches!(letter, 'A'..='J'))?;
    let closing: &[char] = if inner.len() < text.len() { &[')'] } else { &[')', '.', ':'] };
    inner[1..].strip_prefix(closing).map(|rest| (letter, rest))
}

/// What stands behind a choice, unless it is reckoned with.
fn content(rest: &str) -> Option<&str> {
    let mut rest = rest.trim_start();
    for gap in ["\\quad", "\\qquad", "\\ ", "\\,", "\\;", "\\:", "~", "$"] {
        rest = rest.strip_prefix(gap).unwrap_or(rest).trim_start();
    }
    let digit = rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '\\'));
    const RELATIONS: [&str; 9] = ["\\ne", "\\le", "\\ge", "\\lt", "\\gt", "\\in", "\\cdot", "\\times", "\\approx"];
    let marks: &[char] = &['^', '_', '+', '*', '/', '=', '!', '<', '>', '\'', '('];
    let related = RELATIONS.iter().any(|command| rest.starts_with(command)) && !rest.starts_with("\\left");
    let reckons = related || rest.starts_with(marks) || rest.starts_with('-') && !digit;
    (!rest.is_empty() && !reckons).then(|| rest.trim_end_matches('$'))
}

/// Whether a text says that there is no such thing: `DNE`.
pub fn does_not_exist(normal: &str) -> bool {
    if normal.len() > 60 {
        return false;
    }
    let plain = without_fonts(normal).to_lowercase().replace(['.', '~', '\\'], " ");
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = plain.trim_start_matches("the ").trim_start_matches("limit ").trim_start_matches("it ");
    matches!(plain, "dne" | "d n e" | "does not exist" | "doesn't exist" | "do not exist")
}

/// Whether one text is a list of choices and the other the same letters run together: `A, C` and `AC`, in ascending order.
pub fn same_choices(a: &str, b: &str) -> bool {
    match (choices(a), choices(b)) {
        (Some((a, a_listed)), Some((b, b_listed))) => a_listed != b_listed && a == b,
        _ => false,
    }
}

/// Two choices or more, and whether something stands between them.
fn choices(normal: &str) -> Option<(Vec<u8>, bool)> {
    const MAX_BYTES: usize = 80;
    if normal.len() > MAX_BYTES || normal.bytes().any(|b| b.is_ascii_digit() || b"^_=+-|[]<>/".contains(&b)) {
        return None;
    }
    let plain = without_fonts(normal).replace(" and ", ",");
    let listed = plain.contains([',', ';']);
    let bare = |part: &str| part.strip_prefix('(').and_then(|part| part.strip_suffix(')')).unwrap_or(part).to_owned();
    let letters: Vec<u8> = if listed {
        let parts = plain.split([',', ';']).map(|part| bare(part.trim()));
        parts.map(|part| <[u8; 1]>::try_from(part.as_bytes()).ok().map(|[letter]| letter)).collect::<Option<_>>()?
    } else {
        plain.into_bytes()
    };
    let ascending = letters.windows(2).all(|pair| pair[0] < pair[1]);
    let choices = letters.len() > 1 && ascending && letters.iter().all(|letter| matches!(letter, b'A'..=b'H'));
    choices.then_some((letters, listed))
}

/// Whether a line goes through the whole of a text: `\cancel{42}`.
pub fn is_struck(text: &str) -> bool {
    const LINES: [&str; 5] = ["\\cancel{", "\\xcancel{", "\\bcancel{", "\\sout{", "\\st{"];
    const FONTS: [&str; 4] = ["\\text{", "\\textbf{", "\\mathbf{", "\\mathrm{"];
    const MAX_FONTS: usize = 4;
    let mut inner = text;
    for _ in 0..MAX_FONTS {
        inner = inner.trim_matches(|c: char| c.is_whitespace() || c == '$');
        if let Some(rest) = LINES.iter().find_map(|line| inner.strip_prefix(line)) {
            return closes_at_end(rest);
        }
        let font = FONTS.iter().find_map(|font| inner.strip_prefix(font)).filter(|rest| closes_at_end(rest));
        let Some(rest) = font else { return false };
        inner = &rest[..rest.len() - 1];
    }
    false
}

/// Whether the brace that was opened before a text is closed by its last character.
fn closes_at_end(text: &str) -> bool {
    let mut open = 1;
    for (at, byte) in text.bytes().enumerate() {
        open += i32::from(byte == b'{') - i32::from(byte == b'}');
        if open == 0 {
            return at + 1 == text.len();
        }
    }
    false
}

/// The letter of a choice with its content: `(A) 12`, but not `a) …` or a product.
pub fn marked_choice(normal: &str) -> Option<char> {
    let plain = without_fonts(normal);
    let marked = plain.strip_prefix('(').is_some_and(|rest| rest.get(1..3) == Some(") "))
        || plain.get(1..3).is_some_and(|mark| matches!(mark, ". " | ") " | ": "));
    let letter = plain.trim_start_matches('(').chars().next()?;
    (marked && matches!(letter, 'A'..='J')).then(|| choice(normal)).flatten()
}

/// The letter, when the whole text is one letter from A to J, in brackets or not: then the answer is a choice.
pub fn choice_only(normal: &str) -> Option<char> {
    let plain = without_name(without_fonts(normal));
    let mut inner = plain.trim_matches(['(', ')', '.', ' ']).chars();
    match (inner.next(), inner.next()) {
        (Some(letter @ 'A'..='J'), None) => Some(letter),
        _ => None,
    }
}

/// Without the word that says that a choice follows: `Option B`.
fn without_name(plain: String) -> String {
    let names = ["option ", "choice ", "answer ", "answer: "];
    let named = |name: &&&str| plain.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
    match names.iter().rev().find(named) {
        Some(name) => plain[name.len()..].trim_start().to_owned(),
        None => plain,
    }
}

/// The digits of an answer that is a number in words and nothing else: `\text{seventeen}`.
pub fn number_in_words(normal: &str) -> Option<String> {
    const MAX_BYTES: usize = 40;
    // What most answers hold, and no number in words does.
    let mathematics = |b: u8| b.is_ascii_digit() || b"^_=+/<>()[]|,;:&%!".contains(&b);
    if !(3..=MAX_BYTES).contains(&normal.len()) || normal.bytes().any(mathematics) {
        return None;
    }
    let plain = without_fonts(normal);
    let whole = words::small_number(&plain).map(|number| number.to_string());
    whole.or_else(|| words::small_fraction(&plain).map(|(over, under)| format!("{over}/{under}")))
}

fn without_fonts(normal: &str) -> String {
    const COMMANDS: [&str; 6] = ["\\textbf", "\\text", "\\mathrm", "\\mathbf", "\\left", "\\right"];
    let marks = ['\\', '{', '}', '*', '$'];
    let mut plain = String::with_capacity(normal.len());
    let mut rest = normal;
    while let Some(at) = rest.find(marks) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let width = match rest.as_bytes()[0] {
            b'\\' => COMMANDS.iter().find(|command| rest.starts_with(**command)).map_or(0, |command| command.len()),
            b'*' => 2 * usize::from(rest.starts_with("**")),
            _ => 1,
        };
        if width == 0 {
            plain.push_str(&rest[..1]);
        }
        rest = &rest[width.max(1)..];
    }
    plain.push_str(rest);
    plain.trim().to_owned()
}
