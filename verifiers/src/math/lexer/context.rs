//! Signs and words whose meaning hangs on what stands around them: currencies, "to", halves of the day, points.

use super::super::tokens::{Lexeme, Token};
use super::super::words;
use super::Lexer;

impl Lexer<'_> {
    /// The sign of a currency: behind a number a unit, and before one too. Elsewhere it may be anything.
    pub(super) fn currency(&mut self, width: usize) {
        let start = self.at;
        if self.out.last().is_some_and(|last| last.token == Token::Number) && !self.before_money(width) {
            self.push(Token::Word, width);
        } else if self.before_money(width) {
            self.skip(width);
            self.number();
            self.out.push(Lexeme { token: Token::Word, start, end: start + width, spaced: true });
        } else {
            self.skip(width);
        }
    }

    /// Whether behind the sign of a currency a number stands alone: at the end of the item, or with words behind it.
    pub(super) fn before_money(&self, width: usize) -> bool {
        let rest = self.rest()[width..].trim_start();
        if rest.len() != self.rest().len() - width || !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return false;
        }
        let behind = rest.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ','));
        let behind = behind.trim_start_matches(['$', ' ', '}']);
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
        // "\\$3 million" is three million: the number is not over yet.
        let words = behind.strip_prefix("\\text{").unwrap_or(behind).trim_start();
        let word = words.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        if words::multiplier(word).is_some() {
            return false;
        }
        behind.is_empty()
            || behind.starts_with(['/', ')', ']', ';', ':'])
            || behind.starts_with("\\text")
            || behind.starts_with("\\}")
            || letters > 1
            || rest[..rest.len() - behind.len()].trim_end_matches(['$', ' ', '}']).ends_with(',')
    }

    /// Whether the word "to" stands between two numbers.
    pub(super) fn is_ratio(&self) -> bool {
        let behind = self.rest()[2..].trim_start_matches([' ', '~', '}', '\\']);
        self.out.last().is_some_and(|last| last.token == Token::Number)
            && behind.starts_with(|c: char| c.is_ascii_digit())
    }

    /// The width of "a.m." or "PM" behind a time of day, where one starts here.
    pub(super) fn half_of_day(&self) -> Option<usize> {
        let clock = match &self.out[..] {
            [.., colon, minutes] => colon.token == Token::Colon && minutes.token == Token::Number,
            _ => false,
        };
        let number = self.out.last().is_some_and(|last| last.token == Token::Number);
        let marks = match (clock, number) {
            (true, _) => &["a.m.", "p.m.", "a.m", "p.m", "am", "pm"][..],
            (false, true) => &["a.m.", "p.m.", "a.m", "p.m"][..],
            _ => return None,
        };
        let rest = self.rest().as_bytes();
        let is = |mark: &&&str| {
            let ends = !rest.get(mark.len()).is_some_and(u8::is_ascii_alphanumeric);
            rest.get(..mark.len()).is_some_and(|text| text.eq_ignore_ascii_case(mark.as_bytes())) && ends
        };
        marks.iter().find(is).map(|mark| mark.len())
    }

    /// A double quote: right behind a number, and not the second of two, it is the mark of inches, which is two primes.
    pub(super) fn double_quote(&mut self) {
        let closes = self.quotes % 2 == 1;
        self.quotes += 1;
        let behind_number = self.out.last().is_some_and(|last| last.token == Token::Number && last.end == self.at);
        if closes || !behind_number {
            return self.skip(1);
        }
        self.push(Token::Prime, 1);
        self.push(Token::Prime, 0);
    }

    /// Whether a digit stands there, in braces or not.
    pub(super) fn repeats(&self, at: usize) -> bool {
        let rest = self.source[at..].trim_start();
        let digit = rest.strip_prefix('{').map_or(rest, str::trim_start);
        digit.starts_with(|c: char| c.is_ascii_digit())
    }
}
