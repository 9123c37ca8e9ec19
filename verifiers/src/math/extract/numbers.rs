//! Numbers and arithmetic in plain text, found in one pass from left to right.

/// A number or an expression of numbers in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain {
    /// First byte.
    pub start: usize,
    /// One past the last byte, a percent sign or its word included.
    pub end: usize,
    /// One past the last byte of the digits.
    pub digits_end: usize,
    /// More than a literal.
    pub expression: bool,
    /// A percent sign or its word comes behind.
    pub percent: bool,
}

/// Everything that stands behind white space or an equals sign and starts like a number.
pub fn numbers(text: &str) -> Vec<Plain> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut run) = (Vec::new(), 0, Run::default());
    while at < bytes.len() {
        let Some(start) = start_at(text, at) else {
            at += 1;
            continue;
        };
        if start >= run.end {
            run = Run::at(text, start);
        }
        let plain = run.expression(text, start).or_else(|| literal(text, start));
        at = match plain {
            Some(plain) => {
                found.push(plain);
                plain.end.max(at + 1)
            }
            None => at + 1,
        };
    }
    found
}

/// Where a number may start, when `at` is what may stand before one or the start of the text.
fn start_at(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let opens = |at: usize| {
        bytes.get(at).is_some_and(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'('))
            || text[at..].starts_with(['$', '€', '£', '¥', '₹'])
    };
    if !text.is_char_boundary(at) {
        return None;
    }
    let mut start = match bytes[at] {
        b if b.is_ascii_whitespace() || b == b'=' => at + 1,
        _ if at == 0 => 0,
        _ => return None,
    };
    if text[start..].starts_with("**") {
        start += 2;
    }
    (start < bytes.len() && text.is_char_boundary(start) && opens(start)).then(|| {
        let width = text[start..].chars().next().filter(|c| "$€£¥₹".contains(*c)).map_or(0, char::len_utf8);
        start + width
    })
}

fn digits_end(bytes: &[u8], from: usize) -> usize {
    from + bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count()
}

/// A literal: thousands in groups, a decimal point or comma.
pub fn literal(text: &str, start: usize) -> Option<Plain> {
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let unsigned = start + usize::from(byte(start) == b'-');
    let mut end = digits_end(bytes, unsigned);
    if end == unsigned {
        let decimals = digits_end(bytes, unsigned + 1);
        if byte(unsigned) != b'.' || decimals == unsigned + 1 {
            return None;
        }
        end = decimals;
    } else {
        let mut groups = end;
        let grouped = end - unsigned <= 3 && byte(unsigned) != b'0';
        while grouped && matches!(byte(groups), b' ' | b',') && digits_end(bytes, groups + 1) == groups + 4 {
            groups += 4;
        }
        let in_groups = groups > end;
        end = groups;
        let mark = byte(end) == b'.' || byte(end) == b',' && !in_groups;
        if mark && byte(end + 1).is_ascii_digit() {
            end = digits_end(bytes, end + 1);
        }
    }
    let behind = super::spans::percent_end(text, end);
    Some(Plain { start, end: behind.unwrap_or(end), digits_end: end, expression: false, percent: behind.is_some() })
}

/// A run of digits, operators, brackets and blanks. Each is looked at once, however many numbers start in it.
#[derive(Debug, Default)]
struct Run {
    end: usize,
    /// One past its last digit or closing bracket.
    close: usize,
    /// Its last operator before that.
    operator: Option<usize>,
    /// What stands behind is no letter or sign that would belong to it.
    ends_well: bool,
}

impl Run {
    fn at(text: &str, start: usize) -> Self {
        let mut run = Self { end: start, ..Self::default() };
        let mut operator = None;
        for (offset, c) in text[start..].char_indices() {
            let at = start + offset;
            let is_operator = matches!(c, '+' | '-' | '*' | '×' | '/' | '^' | '÷' | '(' | ')');
            if !(is_operator || c.is_ascii_digit() || matches!(c, '.' | ' ' | '\n')) {
                break;
            }
            if is_operator {
                operator = Some(at);
            }
            run.end = at + c.len_utf8();
            if c.is_ascii_digit() || c == ')' {
                (run.close, run.operator) = (run.end, operator);
            }
        }
        run.ends_well = text[run.close..]
            .trim_start_matches("**")
            .chars()
            .next()
            .is_none_or(|c| c.is_whitespace() || matches!(c, '.' | ',' | ':' | ')' | '$'));
        run
    }

    /// Arithmetic of literals from `start` to the end of the run, where that starts with a digit and holds an operator.
    fn expression(&self, text: &str, start: usize) -> Option<Plain> {
        let bytes = text.as_bytes();
        let first = bytes[start..].iter().take(3).position(u8::is_ascii_digit)?;
        let opens = bytes[start..start + first].iter().all(|b| matches!(b, b'-' | b'('));
        let operator = self.operator.is_some_and(|at| at > start + first);
        let close = self.close;
        let whole = opens && operator && self.ends_well && close > start;
        whole.then_some(Plain { start, end: close, digits_end: close, expression: true, percent: false })
    }
}

/// The literal in the spelling that the lexer reads: a decimal comma becomes a point.
pub fn spelled(text: &str, plain: &Plain) -> String {
    let raw = &text[plain.start..plain.digits_end];
    let mut spelled = match raw.rsplit_once(',') {
        _ if plain.expression => raw.replace('\n', " "),
        _ if raw.contains('.') => raw.replace([',', ' '], ""),
        Some((head, tail))
            if !head.contains(',')
                && !head.contains(' ')
                && (tail.len() != 3 || head.trim_start_matches('-') == "0") =>
        {
            format!("{head}.{tail}")
        }
        _ => raw.replace([',', ' '], ""),
    };
    if plain.percent {
        spelled.push('%');
    }
    spelled
}
