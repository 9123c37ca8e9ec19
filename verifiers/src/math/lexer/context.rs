//! Signs and words whose meaning hangs on what stands around them: currencies, "to", halves of the day, points.

use super::super::tokens::{Bracket, Lexeme, Token};
use super::super::{units, words};
use super::{Font, Lexer};

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
            (false, true) if matches!(self.rest(), "AM" | "PM") => &["am", "pm"][..],
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

    /// Whether letters that spell a unit are variables: `mg` is a mass times g unless it ends a number, and `ml^2` is no volume.
    pub(super) fn is_product(&self, word: &str) -> bool {
        let number = self.out.last().is_some_and(|last| last.token == Token::Number);
        let within = self.out.last().is_some_and(|last| matches!(last.token, Token::Close(_)));
        let behind = self.rest()[word.len()..].trim_start_matches([' ', '$', '~']);
        let over = behind.is_empty() || behind.starts_with(|c: char| c.is_alphanumeric() || ",;.:)]}/=\\".contains(c));
        // Of what stands behind a unit, only these commands do not make it a factor.
        let said = !behind.starts_with('\\')
            || ["\\text", "\\mathrm", "\\quad", "\\,", "\\;", "\\ ", "\\\\", "\\)", "\\]", "\\}", "\\approx"]
                .iter()
                .any(|command| behind.starts_with(command));
        let grouped = self.groups.last().is_some_and(|group| group.visible);
        match word {
            "mg" => !number || grouped || !(over && said),
            "ml" => !(number || within) || grouped || !(over && said),
            _ => false,
        }
    }

    /// Whether an upright capital is a unit here: behind a number, and with no more of a formula behind it.
    pub(super) fn is_unit_here(&self, letter: &str, font: Font) -> bool {
        use Token::{Caret, Close, Comma, Cross, Divide, Frac, Minus, Number, Open, Pi, Plus, Relation, Sqrt, Times};
        const MAX_TOKENS: usize = 24;
        if font != Font::Upright || !units::is_letter_behind_number(letter) {
            return false;
        }
        let behind = self.rest()[1..].trim_start_matches([' ', '}', '$', '~']);
        if !(behind.is_empty() || behind.starts_with([',', ';', ')', '.', '/'])) {
            return false;
        }
        let number = |token: Token| {
            matches!(token, Number | Frac | Sqrt | Pi | Caret | Minus | Plus | Times | Cross | Divide)
                || matches!(token, Open(Bracket::Group) | Close(Bracket::Group))
        };
        let ends = |token: Token| matches!(token, Comma | Relation(_) | Open(Bracket::Paren | Bracket::Brace));
        let own = self.out.iter().rev().take(MAX_TOKENS).map(|lexeme| lexeme.token).take_while(|token| !ends(*token));
        let last = self.out.last().map(|last| last.token);
        matches!(last, Some(Number | Close(Bracket::Group))) && own.into_iter().all(number)
    }

    /// Whether a letter behind a sign of membership is a set of numbers: `k \in Z`.
    pub(super) fn is_set_of_numbers(&self, letter: &str) -> bool {
        let behind = self.rest()[1..].trim_start_matches([' ', '}']);
        matches!(letter, "N" | "Z" | "Q" | "R")
            && self.out.last().is_some_and(|last| last.token == Token::In)
            && !behind.starts_with(['_', '^', '(', '\''])
            && !behind.starts_with(|c: char| c.is_ascii_alphanumeric())
    }

    /// Whether brackets that open here only say what a name runs through: `2k\pi (k \in \mathbb{Z})`.
    pub(super) fn range_follows(&self) -> bool {
        const MAX_NAME_BYTES: usize = 16;
        let Some(last) = self.out.last() else { return false };
        let operand = match last.token {
            // "P(X in A)" is the probability of it, and "f" may be a function.
            Token::Symbol => !matches!(self.byte(last.start), b'A'..=b'Z' | b'f' | b'g' | b'h'),
            Token::Named(name) => !matches!(name, "P" | "E"),
            Token::Number | Token::Pi | Token::Close(_) | Token::Degree => true,
            _ => false,
        };
        if !operand {
            return false;
        }
        let name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b' ' | b',' | b'_' | b'{' | b'}');
        let rest = &self.source.as_bytes()[self.at + 1..];
        let width = rest.iter().take(MAX_NAME_BYTES).take_while(|b| name(b)).count();
        let (names, behind) = rest.split_at(width);
        let member = behind.strip_prefix(b"\\in").is_some_and(|set| !set.first().is_some_and(u8::is_ascii_alphabetic));
        member && names.iter().any(u8::is_ascii_alphabetic)
    }
}
