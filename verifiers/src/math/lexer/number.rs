//! Literals: where a number ends.

use super::{Commas, Lexer};
use crate::math::tokens::Token;

impl Lexer<'_> {
    /// A literal: digits with separators of thousands, decimals, an exponent.
    pub(super) fn number(&mut self) {
        let start = self.at;
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
