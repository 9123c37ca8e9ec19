//! Literals and what may hang on them: a base, repeating decimals, the fraction of a mixed number.

use dashu::{Natural, Rational};

use super::super::budget::Unread;
use super::super::lexer::{Bracket, Token};
use super::super::number;
use super::{Id, Node, Parser};

impl Parser<'_> {
    /// A literal and what may hang on it: a base, repeating decimals, the fraction of a mixed number.
    pub(super) fn number(&mut self, least: u8) -> Result<Id, Unread> {
        let at = self.at - 1;
        let raw = self.source_of(at).to_owned();
        if self.take(&Token::Underscore) {
            let base = number::small_integer(&self.plain_group()?).and_then(|base| u32::try_from(base).ok());
            let value = base.and_then(|base| number::in_base(&raw, base));
            let value = value.ok_or(Unread::Malformed("a digit that its base does not have"))?;
            return Ok(self.add(Node::Number(value)));
        }
        let value = number::literal(&raw, self.budget)?;
        if self.take(&Token::Overline) {
            // The point may stand between the literal and the line: "0." before a command is not part of the token.
            let head = self.source[self.lexemes[at].start..self.lexemes[self.at - 1].start].trim_end().to_owned();
            let value = self.repeating(&head, value)?;
            return Ok(self.add(Node::Number(value)));
        }
        let whole = raw.bytes().all(|b| b.is_ascii_digit());
        let id = self.add(Node::Number(value));
        // In an exponent or a denominator, what follows is not part of the number.
        if !whole || least > 33 {
            return Ok(id);
        }
        match self.proper_fraction()? {
            Some(fraction) => {
                let fraction = self.add(Node::Number(fraction));
                Ok(self.add(Node::Add(id, fraction)))
            }
            None => Ok(id),
        }
    }

    /// Takes a proper fraction of two literals, when one comes next: `\frac{1}{2}` or, after a space, `1/2`.
    fn proper_fraction(&mut self) -> Result<Option<Rational>, Unread> {
        use Token::{Close, Divide, Frac, Number, Open};
        let group = Bracket::Group;
        let ahead: Vec<&Token> = (0..7).map_while(|ahead| self.token(ahead)).collect();
        let (over, under, width) = match ahead.as_slice() {
            [Frac, Open(a), Number, Close(b), Open(c), Number, Close(d)]
                if [a, b, c, d].iter().all(|x| **x == group) =>
            {
                (2, 5, 7)
            }
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
        let block_at = self.at + usize::from(self.peek() == Some(&Token::Open(Bracket::Group)));
        let block = self.plain_group()?;
        let length = self.source_of(block_at).len();
        if decimals + length > 1_000 || !block.is_int() {
            return Err(Unread::Limit("repeating digits"));
        }
        let ten = Natural::from(10u8);
        let nines = ten.pow(length) - Natural::ONE;
        self.budget.spend(((decimals + length) as u64).pow(2) / 64)?;
        Ok(value + block / Rational::from_parts((nines * ten.pow(decimals)).into(), Natural::ONE))
    }

    /// A literal, in a group or not.
    pub(super) fn plain_group(&mut self) -> Result<Rational, Unread> {
        let grouped = self.take(&Token::Open(Bracket::Group));
        if !self.take(&Token::Number) {
            return Err(Unread::Unsupported("an index that is no number".into()));
        }
        let value = number::literal(self.source_of(self.at - 1), self.budget)?;
        if grouped && !self.take(&Token::Close(Bracket::Group)) {
            return Err(Unread::Unsupported("an index that is no number".into()));
        }
        Ok(value)
    }
}
