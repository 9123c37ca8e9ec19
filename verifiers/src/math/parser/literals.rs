//! Literals and what may hang on them: a base, repeating decimals, the fraction of a mixed number.

use dashu::{Natural, Rational};

use super::super::budget::Unread;
use super::super::number;
use super::super::tokens::{Bracket, Token};
use super::super::tree::{Id, Node};
use super::Parser;

impl Parser<'_> {
    /// A literal and what may hang on it: a base, repeating decimals, the fraction of a mixed number.
    pub(super) fn number(&mut self, least: u8) -> Result<Id, Unread> {
        let at = self.at - 1;
        let raw = self.source_of(at);
        if self.peek() == Some(Token::Underscore) {
            return self.in_base(raw);
        }
        let value = number::literal(raw, self.budget)?;
        if self.take(Token::Overline) {
            // The point may stand between the literal and the line: "0." before a command is not part of the token.
            let head = self.source[self.lexemes[at].start..self.lexemes[self.at - 1].start].trim_end().to_owned();
            let value = self.repeating(&head, value)?;
            return Ok(self.add(Node::Number(value, None)));
        }
        let whole = raw.bytes().all(|b| b.is_ascii_digit());
        let decimals = raw.split_once('.').map(|(_, decimals)| decimals.len() as u32);
        let id = self.add(Node::Number(value, decimals));
        // In an exponent or a denominator, what follows is not part of the number.
        if !whole || least > 33 {
            return Ok(id);
        }
        match self.proper_fraction()? {
            Some(fraction) => {
                let fraction = self.add(Node::Number(fraction, None));
                Ok(self.add(Node::Add(id, fraction)))
            }
            None => Ok(id),
        }
    }

    /// What the digits of `raw` are in the base that follows, its underscore not taken yet.
    fn in_base(&mut self, raw: &str) -> Result<Id, Unread> {
        self.at += 1;
        if let Some(base) = self.base_in_words() {
            let value = number::in_base(raw, base).ok_or(Unread::Malformed("a digit that its base does not have"))?;
            return Ok(self.add(Node::Number(value, None)));
        }
        let base = number::small_integer(&self.plain_group()?).and_then(|base| u32::try_from(base).ok());
        let value = base.and_then(|base| number::in_base(raw, base));
        let value = value.ok_or(Unread::Malformed("a digit that its base does not have"))?;
        Ok(self.add(Node::Number(value, None)))
    }

    /// Takes a base that is written out: `1011_{\text{two}}`.
    fn base_in_words(&mut self) -> Option<u32> {
        let grouped = usize::from(self.peek() == Some(Token::Open(Bracket::Group)));
        if self.token(grouped) != Some(Token::Word)
            || grouped == 1 && self.token(2) != Some(Token::Close(Bracket::Group))
        {
            return None;
        }
        const NAMES: [&str; 11] =
            ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
        let word = self.source_of(self.at + grouped).to_ascii_lowercase();
        let at = NAMES.iter().position(|name| *name == word)?;
        self.at += 1 + 2 * grouped;
        Some(at as u32 + 2)
    }

    /// `(1011)_2`, the closing bracket taken. Any other content is what it is.
    pub(super) fn based(&mut self, open: Bracket, inner: Id) -> Result<Id, Unread> {
        let literal = self.at >= 2 && self.lexemes[self.at - 2].token == Token::Number;
        let alone = matches!(self.tree.nodes[inner], Node::Number(_, None)) && inner + 1 == self.tree.nodes.len();
        if open == Bracket::Paren && literal && alone && self.peek() == Some(Token::Underscore) {
            let raw = self.source_of(self.at - 2);
            self.tree.nodes.pop();
            return self.in_base(raw);
        }
        Ok(inner)
    }

    /// Takes a proper fraction of two literals, when one comes next: `\frac{1}{2}` or, after a space, `1/2`.
    fn proper_fraction(&mut self) -> Result<Option<Rational>, Unread> {
        use Token::{Close, Divide, Frac, Number, Open};
        const GROUP: Bracket = Bracket::Group;
        // `1{\frac{1}{2}}`
        if self.peek() == Some(Open(GROUP)) && self.token(1) == Some(Frac) {
            let start = self.at;
            self.at += 1;
            let fraction = self.proper_fraction()?;
            if fraction.is_some() && self.take(Close(GROUP)) {
                return Ok(fraction);
            }
            self.at = start;
            return Ok(None);
        }
        let mut ahead = [Token::End; 7];
        let known = self.lexemes[self.at..].iter().take(7);
        let count = known.zip(&mut ahead).map(|(lexeme, slot)| *slot = lexeme.token).count();
        let (over, under, width) = match &ahead[..count] {
            [Frac, Open(GROUP), Number, Close(GROUP), Open(GROUP), Number, Close(GROUP)] => (2, 5, 7),
            [Number, Divide, Number, ..] if self.lexemes[self.at].spaced => (0, 2, 3),
            [Frac, Number, ..] if self.source_of(self.at + 1).len() == 2 => return Ok(self.short_fraction()),
            _ => return Ok(None),
        };
        let over = number::literal(self.source_of(self.at + over), self.budget)?;
        let under = number::literal(self.source_of(self.at + under), self.budget)?;
        if !over.is_int() || !under.is_int() || over >= under {
            return Ok(None);
        }
        self.at += width;
        Ok(Some(over / under))
    }

    /// `\frac12`, when it is proper.
    fn short_fraction(&mut self) -> Option<Rational> {
        let digits = self.source_of(self.at + 1).as_bytes();
        let (over, under) = (digits[0].wrapping_sub(b'0'), digits[1].wrapping_sub(b'0'));
        if over >= under || under > 9 {
            return None;
        }
        self.at += 2;
        Some(Rational::from_parts(over.into(), Natural::from(under)))
    }

    /// `0.1\overline{6}`: the block behind `value` repeats for ever.
    fn repeating(&mut self, raw: &str, value: Rational) -> Result<Rational, Unread> {
        let Some((_, decimals)) = raw.split_once('.') else {
            return Err(Unread::Unsupported("a line over an integer".into()));
        };
        let decimals = decimals.len();
        let block_at = self.at + usize::from(self.peek() == Some(Token::Open(Bracket::Group)));
        let mut block = self.plain_group()?;
        let mut length = self.source_of(block_at).len();
        // Points stand above the first and the last digit of a block: `0.\dot{1}4285\dot{7}`.
        if self.token(0) == Some(Token::Number) && self.token(1) == Some(Token::Overline) {
            let between = self.source_of(self.at).to_owned();
            self.at += 2;
            let last =
                self.source_of(self.at + usize::from(self.peek() == Some(Token::Open(Bracket::Group)))).to_owned();
            self.plain_group()?;
            let digits = format!("{}{between}{last}", self.source_of(block_at));
            block = number::literal(&digits, self.budget)?;
            length = digits.len();
        }
        if decimals + length > 1_000 || !block.is_int() {
            return Err(Unread::Limit("repeating digits"));
        }
        let ten = Natural::from(10u8);
        let nines = ten.pow(length) - Natural::ONE;
        self.budget.spend(((decimals + length) as u64).pow(2) / 64)?;
        Ok(value + block / Rational::from_parts((nines * ten.pow(decimals)).into(), Natural::ONE))
    }

    /// A literal, in a group or not.
    fn plain_group(&mut self) -> Result<Rational, Unread> {
        let grouped = self.take(Token::Open(Bracket::Group));
        if !self.take(Token::Number) {
            return Err(Unread::Unsupported("an index that is no number".into()));
        }
        let value = number::literal(self.source_of(self.at - 1), self.budget)?;
        if grouped && !self.take(Token::Close(Bracket::Group)) {
            return Err(Unread::Unsupported("an index that is no number".into()));
        }
        Ok(value)
    }
}
