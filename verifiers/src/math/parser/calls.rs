//! Functions, roots and operators with limits.

use std::rc::Rc;

use dashu::Rational;

use super::super::budget::Unread;
use super::super::tokens::{Big, Bracket, Token};
use super::super::tree::{Id, Node};
use super::Parser;

impl Parser<'_> {
    /// An argument of a LaTeX command: a group, or a single token, which for a number is a single digit.
    pub(super) fn argument(&mut self) -> Result<Id, Unread> {
        if self.take(Token::Open(Bracket::Group)) {
            return self.bracketed(Bracket::Group);
        }
        if self.peek() == Some(Token::Number) && self.lexemes[self.at].end - self.lexemes[self.at].start > 1 {
            let digit = self.source.as_bytes()[self.lexemes[self.at].start];
            self.lexemes[self.at].start += 1;
            if !digit.is_ascii_digit() || !self.source.as_bytes()[self.lexemes[self.at].start].is_ascii_digit() {
                return Err(Unread::Malformed("a decimal as a bare argument"));
            }
            return Ok(self.add(Node::Number(Rational::from(digit - b'0'), None)));
        }
        self.expression(61)
    }

    pub(super) fn root(&mut self) -> Result<Id, Unread> {
        let index = if self.take(Token::Open(Bracket::Square)) {
            let index = self.expression(0)?;
            self.expect_close(Bracket::Square)?;
            index
        } else {
            self.add(Node::Number(Rational::from(2), None))
        };
        // What follows without braces is one operand, and a literal is taken whole: √10 is not √1 · 0.
        let of = self.expression(61)?;
        Ok(self.add(Node::Root(index, of)))
    }

    /// A function with its exponent, its base and its argument, the name taken.
    pub(super) fn call(&mut self, name: &'static str) -> Result<Id, Unread> {
        let name = plain_name(name);
        if name == "binom" {
            return self.plain_binomial();
        }
        let (mut base, mut exponent) = (None, None);
        let mut inverse = false;
        loop {
            if base.is_none() && self.take(Token::Underscore) {
                base = Some(self.argument()?);
            } else if exponent.is_none() && !inverse && self.peek() == Some(Token::Caret) {
                self.at += 1;
                let id = self.expression(51)?;
                match self.tree.nodes.as_slice() {
                    [.., Node::Number(one, _), Node::Negate(_)] if one.is_one() && inverse_of(name).is_some() => {
                        self.tree.nodes.truncate(self.tree.nodes.len() - 2);
                        inverse = true;
                    }
                    _ => exponent = Some(id),
                }
            } else {
                break;
            }
        }
        let name = if inverse { inverse_of(name).unwrap_or(name) } else { name };
        let bracketed = matches!(self.peek(), Some(Token::Open(_)));
        let outer = std::mem::replace(&mut self.in_argument, true);
        let argument = self.expression(if bracketed { 61 } else { 31 })?;
        self.in_argument = outer;
        let node = match (name, base) {
            ("abs", _) => Node::Absolute(argument),
            ("floor", _) => Node::Floor(argument),
            ("ceil", _) => Node::Ceiling(argument),
            ("cbrt", _) => {
                let index = self.add(Node::Number(Rational::from(3), None));
                Node::Root(index, argument)
            }
            ("log" | "lg", Some(base)) => Node::Logarithm(base, argument),
            (_, Some(_)) => return Err(Unread::Unsupported("a function with an index".into())),
            (name, None) => Node::Call(name, argument),
        };
        let call = self.add(node);
        Ok(match exponent {
            Some(exponent) => self.add(Node::Power(call, exponent)),
            None => call,
        })
    }

    /// `binom(n, k)`
    fn plain_binomial(&mut self) -> Result<Id, Unread> {
        if !self.take(Token::Open(Bracket::Paren)) {
            return Err(Unread::Malformed("a binomial without its arguments"));
        }
        let n = self.expression(0)?;
        if !self.take(Token::Comma) {
            return Err(Unread::Malformed("a binomial without its arguments"));
        }
        let k = self.expression(0)?;
        self.expect_close(Bracket::Paren)?;
        Ok(self.add(Node::Binomial(n, k)))
    }

    /// `\sum_{k=1}^{n} …`, the operator taken.
    pub(super) fn big(&mut self, big: Big) -> Result<Id, Unread> {
        let (mut low, mut high) = (None, None);
        loop {
            if low.is_none() && self.take(Token::Underscore) {
                low = Some(self.argument()?);
            } else if high.is_none() && self.take(Token::Caret) {
                high = Some(self.argument()?);
            } else {
                break;
            }
        }
        let first = self.tree.nodes.len();
        if big == Big::Integral {
            return self.integral(low, high, first);
        }
        let body = self.expression(30)?;
        Ok(self.add(Node::Big(big, low, high, first, body, None)))
    }

    /// `\bmod 5` computes; `\pmod{5}` says in which arithmetic the value before it holds. The command is taken.
    pub(super) fn modulus(&mut self, left: Id) -> Result<Id, Unread> {
        if matches!(self.source_of(self.at - 1), "\\bmod" | "\\mod") {
            let by = self.expression(31)?;
            return Ok(self.add(Node::Remainder(left, by)));
        }
        let (start, size) = (self.at, self.tree.nodes.len());
        self.argument()?;
        self.tree.nodes.truncate(size);
        let mut name = String::from("mod");
        self.lexemes[start..self.at]
            .iter()
            .filter(|lexeme| !matches!(lexeme.token, Token::Open(Bracket::Group) | Token::Close(Bracket::Group)))
            .for_each(|lexeme| name.push_str(&self.source[lexeme.start..lexeme.end]));
        Ok(self.add(Node::Unit(left, name)))
    }

    /// A line, an arrow or a hat over letters is part of their name; its command taken.
    pub(super) fn overlined(&mut self, mark: &'static str) -> Result<Id, Unread> {
        let (start, size) = (self.at, self.tree.nodes.len());
        let inner = self.argument()?;
        let mut name = format!("{mark} ");
        for lexeme in &self.lexemes[start..self.at] {
            match lexeme.token {
                Token::Symbol | Token::Word | Token::Number | Token::Named(_) => {
                    name.push_str(&self.source[lexeme.start..lexeme.end])
                }
                Token::Open(Bracket::Group) | Token::Close(Bracket::Group) => {}
                _ => return Ok(self.add(Node::Call(if mark == "overline" { "conjugate" } else { mark }, inner))),
            }
        }
        // The letters under the line are no nodes of their own any more.
        self.tree.nodes.truncate(size);
        // Unit vectors are written in many ways: bold, with an arrow, with a hat.
        if matches!(name.as_str(), "vector i" | "vector j" | "vector k" | "hat i" | "hat j" | "hat k") {
            return Ok(self.symbol(&name[name.len() - 1..]));
        }
        let name: Rc<str> = name.into();
        Ok(self.add(Node::Unknown(name)))
    }
}

/// One name for functions with several.
fn plain_name(name: &'static str) -> &'static str {
    match name {
        "asin" => "arcsin",
        "acos" => "arccos",
        "atan" => "arctan",
        "tg" => "tan",
        "ctg" => "cot",
        _ => name,
    }
}

/// The inverse that an exponent of -1 means.
fn inverse_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "sin" => "arcsin",
        "cos" => "arccos",
        "tan" => "arctan",
        "cot" => "arccot",
        "sec" => "arcsec",
        "csc" => "arccsc",
        "sinh" => "arcsinh",
        "cosh" => "arccosh",
        "tanh" => "arctanh",
        _ => return None,
    })
}
