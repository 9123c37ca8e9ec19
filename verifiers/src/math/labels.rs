//! What stands around a value without being a part of it: a name before an equals sign that the parser does not read, and
//! the base behind digits.

/// Bytes that a name may have.
const MAX_NAME_BYTES: usize = 80;

/// A name that holds more than the parser reads, and the value that it is said to have: `P(A \mid B) = 1/2`, `E[X] = 3`,
/// `\operatorname{Var}(X) = 2`. The name is letters or a command with brackets behind it, and nothing else.
pub fn named_value(normal: &str) -> Option<(&str, &str)> {
    let mut depth = 0_i32;
    let at = normal.bytes().take(MAX_NAME_BYTES + 2).position(|b| {
        depth += i32::from(matches!(b, b'(' | b'[' | b'{')) - i32::from(matches!(b, b')' | b']' | b'}'));
        b == b'=' && depth == 0
    })?;
    let (name, value) = (&normal[..at], &normal[at + 1..]);
    let (name, value) = (name.trim(), value.trim());
    let single = !value.is_empty() && !value.contains(['=', '<', '>']) && !value.contains("\\ne");
    (single && name.len() <= MAX_NAME_BYTES && is_applied(name)).then_some((name, value))
}

/// Whether a text is a name and one pair of brackets that encloses the rest.
fn is_applied(text: &str) -> bool {
    let mut rest = text;
    for font in ["\\mathbb", "\\operatorname", "\\mathrm", "\\text", "\\mathbf", "\\mathcal"] {
        rest = rest.strip_prefix(font).unwrap_or(rest);
    }
    let name = rest.trim_start_matches(['\\', '{']);
    let letters = name.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(name.len());
    if !(1..=12).contains(&letters) {
        return false;
    }
    let behind = name[letters..].trim_start_matches(['}', ' ']);
    let behind = behind.strip_prefix("\\left").unwrap_or(behind);
    let (open, close) = match behind.chars().next() {
        Some('(') => ('(', ')'),
        Some('[') => ('[', ']'),
        _ => return false,
    };
    let mut depth = 0_usize;
    for (at, c) in behind.char_indices() {
        depth += usize::from(c == open);
        if c == close {
            depth -= 1;
            if depth == 0 {
                return at + 1 == behind.len() && at > 1;
            }
        }
    }
    false
}

/// The digits of a number that is written with its base: `1011` of `1011_2`, `(1011)_{2}` and `1011_{\text{two}}`.
pub fn digits_of_base(normal: &str) -> Option<&str> {
    let (digits, base) = normal.split_once('_')?;
    let digits = digits.trim().trim_start_matches('(').trim_end_matches(')');
    let base = base.trim_matches(['{', '}', ' ']);
    let base = base.strip_prefix("\\text{").unwrap_or(base);
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let decimal = matches!(base, "10" | "ten");
    (plain(digits) && digits.starts_with(|c: char| c.is_ascii_digit()) && plain(base) && !decimal).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_letters_with_brackets() {
        for name in
            ["P(A \\mid B)", "\\mathbb{P}(X>2)", "E[X|Y]", "E[X|Y=1]", "\\operatorname{Var}(X)", "\\Pr\\left[A\\right]"]
        {
            let text = format!("{name}={}", r"\frac12");
            let found = named_value(&text).map(|(_, value)| value);
            assert_eq!(found, Some("\\frac12"), "{name}");
        }
        for text in ["2P(A|B)=1", "(A|B)=1", "P(A|B)+P(C)=1", "P=1", "P(A|B)=1=2", "P(A|B)<1", "x=1", "P()=1"] {
            assert_eq!(named_value(text), None, "{text}");
        }
    }

    #[test]
    fn digits_with_a_base() {
        for text in ["1011_2", "(1011)_{2}", "1011_{\\text{two}}", "1011_\\text{two}"] {
            assert_eq!(digits_of_base(text), Some("1011"), "{text}");
        }
        assert_eq!(digits_of_base("3A_{16}"), Some("3A"));
        for text in ["1011", "x_2", "1011_{10}", "1011_", "_2", "10+11_2", "-5_3"] {
            assert_eq!(digits_of_base(text), None, "{text}");
        }
    }
}
