//! Items between separators.

use super::super::budget::Unread;
use super::super::tokens::{Conjunction, Token};
use super::super::tree::{Id, Node, Shape};
use super::Parser;

/// What stands between two items.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    Comma,
    Semicolon,
    Gap,
    And,
    Or,
}

impl Parser<'_> {
    /// Items between separators, up to a closing bracket or the end. Where semicolons and commas stand side by side,
    /// the commas bind tighter: `p=5, q=2; p=7, q=2` is two pairs.
    pub(super) fn sequence(&mut self) -> Result<Id, Unread> {
        let first = self.expression(0)?;
        let (mut items, mut separators) = (vec![first], Vec::new());
        while let Some(separator) = self.separator() {
            separators.push(separator);
            items.push(self.expression(0)?);
        }
        if items.len() == 1 {
            return Ok(first);
        }
        let and = separators.contains(&Separator::And);
        if !separators.contains(&Separator::Semicolon) || separators.iter().all(|s| *s == Separator::Semicolon) {
            return Ok(self.add(Node::Sequence(Shape::Bare, items, and)));
        }
        let (mut groups, mut group) = (Vec::new(), vec![items[0]]);
        for (separator, item) in separators.iter().zip(&items[1..]) {
            if *separator == Separator::Semicolon {
                groups.push(std::mem::take(&mut group));
            }
            group.push(*item);
        }
        groups.push(group);
        let mut outer = Vec::with_capacity(groups.len());
        for group in groups {
            outer.push(match group.as_slice() {
                [single] => *single,
                _ => self.add(Node::Sequence(Shape::Bare, group, false)),
            });
        }
        Ok(self.add(Node::Sequence(Shape::Bare, outer, and)))
    }

    /// Takes everything between two items: a comma, a conjunction, wide spaces, or several of them. A wide space alone
    /// separates only where another item follows, and one before words does not.
    fn separator(&mut self) -> Option<Separator> {
        let start = self.at;
        let mut found = None;
        while let Some(token) = self.peek() {
            let separator = match token {
                Token::Comma => Separator::Comma,
                Token::Semicolon => Separator::Semicolon,
                Token::Gap => Separator::Gap,
                Token::Conjunction(Conjunction::And) => Separator::And,
                Token::Conjunction(Conjunction::Or) => Separator::Or,
                _ => break,
            };
            self.at += 1;
            found = match found {
                // The word says more than the mark before it.
                None | Some(Separator::Gap) => Some(separator),
                Some(Separator::Comma) if separator != Separator::Gap => Some(separator),
                other => other,
            };
        }
        match (found, self.peek()) {
            // A mark at the very end of the whole separates nothing.
            (Some(Separator::Gap | Separator::Comma | Separator::Semicolon), None) => None,
            (Some(Separator::Gap), Some(Token::Close(_) | Token::End | Token::RowEnd | Token::Ampersand)) => None,
            (Some(Separator::Gap), Some(Token::Word)) => {
                self.at = start;
                None
            }
            (found, _) => found,
        }
    }
}
