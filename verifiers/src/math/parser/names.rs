//! Names, their indices, words and units.

use super::super::budget::Unread;
use super::super::tokens::{Bracket, Token};
use super::super::tree::{Id, Node};
use super::super::units;
use super::Parser;

/// Words that a unit may have; a longer text is a remark, and a remark may take the answer back.
const MAX_UNIT_WORDS: usize = 4;

impl Parser<'_> {
    /// A variable with its marks and its index, the variable taken.
    pub(super) fn name(&mut self, token: Token, least: u8) -> Result<Id, Unread> {
        let mut name = match token {
            Token::Named(name) => name.to_owned(),
            _ => self.source_of(self.at - 1).to_owned(),
        };
        while self.take(Token::Prime) {
            name.push('\'');
        }
        if least < 49 && self.numbered() && !matches!(name.as_str(), "e" | "i") {
            return self.index(&name);
        }
        if !self.take(Token::Underscore) {
            return Ok(self.symbol(&name));
        }
        if matches!(name.as_str(), "C" | "P" | "A")
            && let Some(choice) = self.combination(&name)?
        {
            return Ok(choice);
        }
        self.index(&name)
    }

    /// The index of `name`, its underscore taken: letters and digits become part of the name.
    fn index(&mut self, name: &str) -> Result<Id, Unread> {
        let start = self.at;
        let grouped = self.take(Token::Open(Bracket::Group));
        let mut full = format!("{name}_");
        while let Some(Token::Number | Token::Symbol | Token::Word | Token::Named(_)) = self.peek() {
            full.push_str(self.source_of(self.at));
            self.at += 1;
            if !grouped {
                break;
            }
        }
        if full.len() > name.len() + 1 && (!grouped || self.take(Token::Close(Bracket::Group))) {
            while self.take(Token::Prime) {
                full.push('\'');
            }
            return Ok(self.symbol(&full));
        }
        self.at = start;
        let index = self.argument()?;
        Ok(self.add(Node::Indexed(name.into(), index)))
    }

    /// Whether digits stand right behind a letter: `B1` is a name, and no product. (In an argument without braces and an
    /// exponent they are none of its own.)
    fn numbered(&self) -> bool {
        let digits = |at: usize| self.source_of(at).bytes().all(|b| b.is_ascii_digit());
        self.peek() == Some(Token::Number)
            && !self.lexemes[self.at].spaced
            && digits(self.at)
            && self.lexemes[self.at - 1].end == self.lexemes[self.at].start
    }

    /// `C_n^k` and `C_{n}^{k}`, the underscore taken; `None`, and nothing taken, where no exponent follows.
    fn combination(&mut self, name: &str) -> Result<Option<Id>, Unread> {
        if self.token(self.argument_width()) != Some(Token::Caret) {
            return Ok(None);
        }
        let n = self.argument()?;
        if !self.take(Token::Caret) {
            return Err(Unread::Malformed("an index without its exponent"));
        }
        let k = self.argument()?;
        self.chosen(name, n, k).map(Some)
    }

    /// How many tokens the next argument has: one, or a group of a few. Looking ahead, and not back, keeps the parser
    /// linear.
    fn argument_width(&self) -> usize {
        const MAX_WIDTH: usize = 16;
        let mut open = 0;
        for width in 0..MAX_WIDTH {
            match self.token(width) {
                Some(Token::Open(Bracket::Group)) => open += 1,
                Some(Token::Close(Bracket::Group)) if open <= 1 => return width + 1,
                Some(Token::Close(Bracket::Group)) => open -= 1,
                _ if open == 0 => return width + 1,
                _ => {}
            }
        }
        MAX_WIDTH
    }

    /// `n` over `k`, or the number of their arrangements.
    fn chosen(&mut self, name: &str, n: Id, k: Id) -> Result<Id, Unread> {
        if name == "C" {
            return Ok(self.add(Node::Binomial(n, k)));
        }
        Ok(self.add(Node::Arrangements(n, k)))
    }

    /// `{}_nC_k`, `_{n}C_{k}` and `^nC_k`, the mark before `n` taken.
    pub(super) fn indexed_before(&mut self, _mark: Token) -> Result<Id, Unread> {
        let n = self.argument()?;
        let name = match self.peek() {
            Some(Token::Symbol) => self.source_of(self.at),
            _ => "",
        };
        if !matches!(name, "C" | "P") || self.token(1) != Some(Token::Underscore) {
            return Err(Unread::Malformed("an index without a name"));
        }
        self.at += 2;
        let k = self.argument()?;
        self.chosen(name, n, k)
    }

    /// `C(n, k)` of two literals: a name before any other brackets is left alone.
    pub(super) fn binomial_call(&mut self) -> Result<Option<Id>, Unread> {
        use Token::{Close, Comma, Number, Open};
        let ahead = [self.token(1), self.token(2), self.token(3), self.token(4)];
        let paren = Some(Close(Bracket::Paren));
        if self.peek() != Some(Open(Bracket::Paren)) || ahead != [Some(Number), Some(Comma), Some(Number), paren] {
            return Ok(None);
        }
        // The letter itself is the last node, and not needed any more.
        self.tree.nodes.pop();
        self.at += 1;
        let n = self.expression(61)?;
        self.at += 1;
        let k = self.expression(61)?;
        self.at += 1;
        self.chosen("C", n, k).map(Some)
    }

    /// Whether a node is a letter that functions have for a name.
    pub(super) fn is_function_letter(&self, id: Id) -> bool {
        let letters =
            ["f", "g", "h", "p", "q", "u", "v", "F", "G", "H", "P", "Q", "R", "S", "T", "V", "W", "phi", "psi"];
        match &self.tree.nodes[id] {
            Node::Symbol(name) => {
                let plain = name.trim_end_matches('\'');
                letters.contains(&plain.split('_').next().unwrap_or(plain))
            }
            _ => false,
        }
    }

    /// Prose: words in a row, the first taken. A single letter of prose is a variable.
    pub(super) fn text(&mut self, least: u8) -> Result<Id, Unread> {
        let first = self.source_of(self.at - 1);
        let mut text = first.to_lowercase();
        let mut count = 1;
        while let Some(Token::Word) = self.peek() {
            text.push(' ');
            text.push_str(&self.source_of(self.at).to_lowercase());
            self.at += 1;
            count += 1;
        }
        if count == 1 && first.len() == 1 && least < 49 && self.numbered() {
            return self.index(first);
        }
        if count == 1 && first.chars().count() == 1 {
            return Ok(self.symbol(first));
        }
        if self.peek() == Some(Token::Underscore) && count == 1 {
            self.at += 1;
            return self.index(first);
        }
        Ok(self.add(Node::Text(text)))
    }

    /// Takes `\frac{\text{km}}{\text{h}}` and `\frac{\text{m}}{\text{s}^2}` behind a value: a fraction of units and nothing else.
    pub(super) fn unit_fraction(&mut self) -> Option<String> {
        use Token::{Caret, Close, Frac, Number, Open, Word};
        const GROUP: Bracket = Bracket::Group;
        let tokens: Vec<Token> = self.lexemes[self.at..].iter().take(9).map(|lexeme| lexeme.token).collect();
        let (power, width) = match &tokens[..] {
            [Frac, Open(GROUP), Word, Close(GROUP), Open(GROUP), Word, Close(GROUP), ..] => (None, 7),
            [Frac, Open(GROUP), Word, Close(GROUP), Open(GROUP), Word, Caret, Number, Close(GROUP)] => (Some(7), 9),
            _ => return None,
        };
        let mut name = format!("{}/{}", self.source_of(self.at + 2), self.source_of(self.at + 5));
        if let Some(power) = power {
            name.push('^');
            name.push_str(self.source_of(self.at + power));
        }
        self.at += width;
        Some(name)
    }

    /// At a caret so many tokens ahead, `^{-2}` or `^-2`: where its digits are, and how many tokens it has.
    fn negative_exponent(&self, ahead: usize) -> Option<(usize, usize)> {
        const GROUP: Bracket = Bracket::Group;
        let tokens = [0, 1, 2, 3, 4].map(|at| self.token(ahead + at));
        match tokens {
            [
                Some(Token::Caret),
                Some(Token::Open(GROUP)),
                Some(Token::Minus),
                Some(Token::Number),
                Some(Token::Close(GROUP)),
            ] => Some((self.at + ahead + 3, 5)),
            [Some(Token::Caret), Some(Token::Minus), Some(Token::Number), ..] => Some((self.at + ahead + 2, 3)),
            _ => None,
        }
    }

    /// Takes letters that are units, behind a number and a space, at the very end: `5 m`, `15 m^2`, `20 m/s`,
    /// `9.8 m s^{-2}`, `5 \Omega`. Several of them side by side are units only where an exponent or a slash says so.
    pub(super) fn final_unit(&mut self, next: Token) -> Option<String> {
        if !self.lexemes[self.at].spaced || !matches!(next, Token::Symbol | Token::Named("Omega")) {
            return None;
        }
        if next == Token::Named("Omega") {
            let last = self.at + 1 == self.lexemes.len();
            self.at += usize::from(last);
            return last.then(|| "ohm".into());
        }
        let (mut ahead, mut name, mut plain) = (0, String::new(), 0);
        while let Some(token) = self.token(ahead) {
            let letter = self.source_of(self.at + ahead);
            if token != Token::Symbol || !units::is_letter(letter) {
                return None;
            }
            name.push_str(letter);
            ahead += 1;
            let exponent = match (self.token(ahead), self.token(ahead + 1)) {
                (Some(Token::Caret), Some(Token::Number)) => Some((self.at + ahead + 1, 2, "^")),
                _ => self.negative_exponent(ahead).map(|(digits, width)| (digits, width, "^-")),
            };
            if let Some((digits, width, mark)) = exponent {
                let digits = self.source_of(digits);
                if !matches!(digits, "1" | "2" | "3") {
                    return None;
                }
                name.push_str(mark);
                name.push_str(digits);
                ahead += width;
            }
            let signed = exponent.is_some_and(|exponent| exponent.2 == "^-");
            match self.token(ahead) {
                Some(Token::Divide) => {
                    name.push('/');
                    ahead += 1;
                }
                Some(_) => {
                    name.push(' ');
                    plain += usize::from(!signed);
                }
                None if plain > 0 && !signed => return None,
                None => break,
            }
        }
        if name.ends_with(['/', ' ']) {
            return None;
        }
        self.at += ahead;
        Some(name)
    }

    /// Takes words in brackets behind a number: `12 (twelve)`.
    pub(super) fn remark(&mut self, next: Token) -> Option<String> {
        if next != Token::Open(Bracket::Paren) {
            return None;
        }
        let words = self.lexemes[self.at + 1..].iter().take(MAX_UNIT_WORDS + 1);
        let count = words.take_while(|lexeme| lexeme.token == Token::Word).count();
        let long = |at: usize| self.source_of(at).chars().count() > 1;
        if !(1..=MAX_UNIT_WORDS).contains(&count)
            || self.token(count + 1) != Some(Token::Close(Bracket::Paren))
            || !(1..=count).all(|ahead| long(self.at + ahead))
        {
            return None;
        }
        let words: Vec<&str> = (1..=count).map(|ahead| self.source_of(self.at + ahead)).collect();
        self.at += count + 2;
        Some(words.join(" "))
    }

    /// Behind a sign of degrees: what they are degrees of.
    pub(super) fn scale(&mut self) -> &'static str {
        let Some(Token::Word | Token::Symbol) = self.peek() else { return "degree" };
        let scale = match self.source_of(self.at) {
            "C" | "Celsius" | "celsius" => "celsius",
            "F" | "Fahrenheit" | "fahrenheit" => "fahrenheit",
            _ => return "degree",
        };
        if let Some(Token::Symbol | Token::Number | Token::Open(_) | Token::Underscore | Token::Caret) = self.token(1) {
            return "degree";
        }
        self.at += 1;
        scale
    }

    /// What a smaller unit adds to a quantity, its number next: `5 ft 6 in`, `5° 30'`.
    pub(super) fn smaller_unit(&mut self, left: Id) -> Result<Id, Unread> {
        let mut right = self.expression(32)?;
        if self.take(Token::Word) {
            let unit = self.unit()?;
            right = self.add(Node::Unit(right, unit));
        }
        if !matches!(self.tree.nodes[right], Node::Unit(..)) {
            return Err(Unread::Malformed("mathematics behind words"));
        }
        Ok(self.add(Node::Mixed(left, right)))
    }

    /// The words of a unit, its first taken: `square units`, `miles per hour`, `cm^2`, `km/h`.
    pub(super) fn unit(&mut self) -> Result<String, Unread> {
        let mut name = self.source_of(self.at - 1).to_owned();
        let mut count = 1;
        loop {
            let joint = match (self.peek(), self.token(1)) {
                (Some(Token::Word), _) => " ",
                (Some(Token::Divide), Some(Token::Word | Token::Symbol)) => "/",
                (Some(Token::Times), Some(Token::Word)) => "*",
                (Some(Token::Caret), Some(Token::Number)) => "^",
                (Some(Token::Caret), Some(Token::Open(Bracket::Group)))
                    if self.token(2) == Some(Token::Number) && self.token(3) == Some(Token::Close(Bracket::Group)) =>
                {
                    name.push('^');
                    name.push_str(self.source_of(self.at + 2));
                    self.at += 4;
                    continue;
                }
                (Some(Token::Caret), _) if self.negative_exponent(0).is_some() => {
                    let (digits, width) = self.negative_exponent(0).expect("asked in the guard");
                    name.push_str("^-");
                    name.push_str(self.source_of(digits));
                    self.at += width;
                    continue;
                }
                _ => return Ok(name),
            };
            self.at += usize::from(joint != " ");
            name.push_str(joint);
            name.push_str(self.source_of(self.at));
            self.at += 1;
            count += 1;
            if count > MAX_UNIT_WORDS {
                return Err(Unread::Malformed("a remark behind the answer"));
            }
        }
    }
}
