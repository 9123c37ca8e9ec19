//! Integrals with what they run over, and derivatives: `d` is no factor there.

use std::rc::Rc;

use dashu::Rational;

use super::super::budget::Unread;
use super::super::tokens::{Big, Bracket, Token};
use super::super::tree::{Id, Node};
use super::Parser;

/// Tokens in which an integral must end.
const MAX_INTEGRAND: usize = 400;

/// Tokens in which the numerator of a derivative must end.
const MAX_NUMERATOR: usize = 64;

impl Parser<'_> {
    fn is_letter_d(&self, at: usize) -> bool {
        self.lexemes.get(at).is_some_and(|lexeme| {
            let text = &self.source[lexeme.start..lexeme.end];
            lexeme.token == Token::Symbol && text == "d" || lexeme.token == Token::Unknown && text == "\\partial"
        })
    }

    /// The name of the variable at `at`.
    fn variable_at(&self, at: usize) -> Option<Rc<str>> {
        match self.lexemes.get(at)?.token {
            Token::Symbol => Some(self.source_of(at).into()),
            Token::Named(name) => Some(name.into()),
            _ => None,
        }
    }

    /// The body of an integral up to the `d x` that ends it, its limits taken.
    pub(super) fn integral(&mut self, low: Option<Id>, high: Option<Id>, first: Id) -> Result<Id, Unread> {
        let found = self.differential();
        let outer = std::mem::replace(&mut self.differential_at, found.as_ref().map_or(usize::MAX, |(at, _)| *at));
        let empty = self.at == self.differential_at;
        let body = if empty { self.add(Node::Number(Rational::ONE, None)) } else { self.expression(21)? };
        let at = std::mem::replace(&mut self.differential_at, outer);
        let variable = match found {
            Some((_, variable)) if self.at == at => {
                self.at += 2;
                Some(variable)
            }
            Some(_) => return Err(Unread::Unsupported("an integral that does not end in its variable".into())),
            None => None,
        };
        Ok(self.add(Node::Big(Big::Integral, low, high, first, body, variable)))
    }

    /// Where the next `d x` outside of brackets stands, and its variable; that of an inner integral is passed over.
    fn differential(&mut self) -> Option<(usize, Rc<str>)> {
        let (mut depth, mut inner) = (0usize, 0usize);
        for at in self.at..self.lexemes.len().min(self.at + MAX_INTEGRAND) {
            match self.lexemes[at].token {
                Token::Open(_) => depth += 1,
                Token::Close(_) if depth == 0 => return None,
                Token::Close(_) => depth -= 1,
                Token::Big(Big::Integral) if depth == 0 => inner += 1,
                _ if depth == 0 && self.is_letter_d(at) => {
                    let Some(variable) = self.variable_at(at + 1) else { continue };
                    if inner == 0 {
                        return Some((at, variable));
                    }
                    inner -= 1;
                }
                _ => {}
            }
        }
        None
    }

    /// `\frac{d}{dx} …`, `\frac{d^2 y}{dx^2}`: `None`, and nothing taken, for any other fraction.
    pub(super) fn derivative(&mut self) -> Result<Option<Id>, Unread> {
        const GROUP: Bracket = Bracket::Group;
        let open = |at: usize| self.lexemes.get(at).is_some_and(|l| l.token == Token::Open(GROUP));
        if !open(self.at) || !self.is_letter_d(self.at + 1) {
            return Ok(None);
        }
        let Some(close) = self.group_end(self.at) else { return Ok(None) };
        let under = close + 2;
        if !open(close + 1) || !self.is_letter_d(under) {
            return Ok(None);
        }
        let Some(variable) = self.variable_at(under + 1) else { return Ok(None) };
        let (order, end) = self.order(under + 2);
        let (above, body) = self.order(self.at + 2);
        if order != above || self.lexemes.get(end).is_none_or(|lexeme| lexeme.token != Token::Close(GROUP)) {
            return Ok(None);
        }
        self.at = body;
        let of = if body == close {
            self.at = end + 1;
            self.expression(31)?
        } else {
            let of = self.expression(0)?;
            if self.at != close {
                return Err(Unread::Unsupported("a derivative of several things".into()));
            }
            self.at = end + 1;
            of
        };
        Ok(Some(self.add(Node::Derivative(of, variable, order))))
    }

    /// Where the group that opens at `at` ends.
    fn group_end(&self, at: usize) -> Option<usize> {
        let mut depth = 0usize;
        for (offset, lexeme) in self.lexemes[at..].iter().take(MAX_NUMERATOR).enumerate() {
            match lexeme.token {
                Token::Open(_) => depth += 1,
                Token::Close(_) if depth == 1 => return Some(at + offset),
                Token::Close(_) => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// The order that a caret and a digit at `at` give, and where they end; 1 without them.
    fn order(&self, at: usize) -> (usize, usize) {
        let token = |at: usize| self.lexemes.get(at).map(|lexeme| lexeme.token);
        let grouped = usize::from(token(at + 1) == Some(Token::Open(Bracket::Group)));
        let digit = at + 1 + grouped;
        if token(at) != Some(Token::Caret) || token(digit) != Some(Token::Number) {
            return (1, at);
        }
        let order = self.source_of(digit).parse().ok().filter(|order| (1..=8).contains(order));
        order.map_or((1, at), |order| (order, digit + 1 + grouped))
    }
}
