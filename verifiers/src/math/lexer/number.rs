//! Literals: where a number ends.

use super::{Commas, Lexer};
use crate::math::tokens::{Bracket, Token};

impl Lexer<'_> {
    /// A literal: digits with separators of thousands, decimals, an exponent.
    pub(super) fn number(&mut self) {
        let start = self.at;
        if let Some(width) = self.date() {
            return self.push(Token::Date, width);
        }
        let mut end = self.digits_end(start);
        if (1..=3).contains(&(end - start)) {
            while let Some(next) = self.thousands_end(end, self.byte(start) == b'0') {
                end = next;
            }
        }
        if self.byte(end) == b'.' && self.byte(end + 1).is_ascii_digit() {
            end = self.digits_end(end + 1);
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let digits = end + 1 + usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            if self.byte(digits).is_ascii_digit() {
                end = self.digits_end(digits);
            }
        }
        self.push(Token::Number, end - start);
    }

    /// The width of a date that stands alone: `2020-03-05`, `2020/3/5`, `5/3/2020`. Of two numbers only, or with more around it, it is a
    /// difference or a quotient.
    fn date(&self) -> Option<usize> {
        let bytes = self.source.as_bytes();
        let first = self.digits_end(self.at);
        let mark = bytes.get(first).filter(|mark| matches!(mark, b'-' | b'/'))?;
        let second = self.digits_end(first + 1);
        if bytes.get(second) != Some(mark) {
            return None;
        }
        let end = self.digits_end(second + 1);
        let opens = |token: Token| {
            use Token::{Comma, Conjunction, Open, Semicolon};
            matches!(token, Comma | Semicolon | Conjunction(_) | Open(Bracket::Brace))
        };
        let behind = self.source[end..].trim_start_matches([' ', '$', '}', '~']);
        let ends = behind.is_empty()
            || behind.starts_with([',', ';'])
            || ["or ", "and ", "\\}"].iter().any(|next| behind.starts_with(next));
        let alone = self.out.last().is_none_or(|last| opens(last.token)) && ends;
        (alone && date_parts(&self.source[self.at..end]).is_some()).then(|| end - self.at)
    }

    fn digits_end(&self, from: usize) -> usize {
        from + self.source.as_bytes()[from..].iter().take_while(|b| b.is_ascii_digit()).count()
    }

    /// The end of a further group of three digits and its separator.
    fn thousands_end(&mut self, from: usize, leading_zero: bool) -> Option<usize> {
        let (separator, width) = self.separator(from)?;
        let digits = from + width;
        let end = self.digits_end(digits);
        let after_index = matches!(self.out.last().map(|l| l.token), Some(Token::Underscore | Token::Caret));
        let refused = separator == " " && (after_index || matches!(self.byte(end), b'/' | b'\\'));
        if end - digits != 3 || leading_zero || refused {
            return None;
        }
        if separator == "," {
            if self.depth > 0 {
                return None;
            }
            self.ambiguous = true;
            if self.commas == Commas::Separators {
                return None;
            }
        }
        Some(end)
    }

    /// What separates groups of digits, and how many bytes it takes: `,`, `{,}`, `\,`, `,\!` and a space.
    fn separator(&self, from: usize) -> Option<(&'static str, usize)> {
        let rest = &self.source.as_bytes()[from..];
        let blanks = |from: usize| rest[from..].iter().take(3).take_while(|b| **b == b' ').count();
        match rest.first()? {
            b',' if rest[1..].starts_with(b"\\!") => Some((",\\!", 3 + blanks(3))),
            b',' => Some((",", 1)),
            b'\\' if rest.len() > 1 && matches!(rest[1], b',' | b'!' | b' ' | b';' | b':') => Some(("\\,", 2)),
            b' ' | b'{' => {
                let group = blanks(0);
                if rest.get(group) != Some(&b'{') {
                    return (group == 1).then_some((" ", 1));
                }
                let comma = group + 1 + blanks(group + 1);
                let close = comma + 1 + blanks((comma + 1).min(rest.len()));
                let closed = rest.get(comma) == Some(&b',') && rest.get(close) == Some(&b'}');
                closed.then_some(("{,}", close + 1))
            }
            _ => None,
        }
    }
}

/// The numbers of a date as they are written, where a year of four digits stands first or last.
fn date_parts(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split(['-', '/']);
    let (Some(a), Some(b), Some(c), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let short = |part: &str| (1..=2).contains(&part.len());
    let year_first = a.len() == 4 && short(b) && short(c);
    let year_last = short(a) && short(b) && c.len() == 4;
    let numbers = [a.parse().ok()?, b.parse().ok()?, c.parse().ok()?];
    let [x, y, z] = numbers;
    let day_and_month = |day: u32, month: u32| (1..=31).contains(&day) && (1..=12).contains(&month);
    let valid = year_first && day_and_month(z, y) || year_last && (day_and_month(x, y) || day_and_month(y, x));
    valid.then_some(numbers)
}

/// One spelling for a date: without leading zeros, with hyphens.
pub fn date_spelled(text: &str) -> Option<String> {
    date_parts(text).map(|[a, b, c]| format!("{a}-{b}-{c}"))
}
