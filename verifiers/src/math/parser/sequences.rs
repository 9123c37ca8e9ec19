//! Items between separators.

use super::super::budget::Unread;
use super::super::tokens::{Conjunction, Token};
use super::super::tree::{Id, Joint, Node, Shape};
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
        let first = self.item()?;
        let (mut items, mut separators) = (vec![first], Vec::new());
        while let Some(separator) = self.separator() {
            separators.push(separator);
            items.push(self.item()?);
        }
        if items.len() == 1 {
            return Ok(first);
        }
        let joint = if separators.contains(&Separator::And) {
            Joint::And
        } else if separators.contains(&Separator::Or) {
            Joint::Or
        } else {
            Joint::Marks
        };
        if !separators.contains(&Separator::Semicolon) || separators.iter().all(|s| *s == Separator::Semicolon) {
            return Ok(self.add(Node::Sequence(Shape::Bare, items, joint)));
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
                _ => self.add(Node::Sequence(Shape::Bare, group, Joint::Marks)),
            });
        }
        Ok(self.add(Node::Sequence(Shape::Bare, outer, joint)))
    }

    /// One item; of nothing but letters, those are kept.
    fn item(&mut self) -> Result<Id, Unread> {
        let start = self.at;
        let id = self.expression(0)?;
        Ok(self.lettered(id, start))
    }

    /// Keeps the letters of what was read since `start`, where it is written with nothing else: two at least, behind the
    /// sign of an angle or a triangle or not.
    pub(super) fn lettered(&mut self, id: Id, start: usize) -> Id {
        const MAX_LETTERS: usize = 12;
        let lexemes = &self.lexemes[start..self.at];
        if !(2..=MAX_LETTERS).contains(&lexemes.len()) {
            return id;
        }
        let mut letters = String::with_capacity(lexemes.len() + 2);
        for lexeme in lexemes {
            match (lexeme.token, &self.source[lexeme.start..lexeme.end]) {
                (Token::Symbol, letter) if letter.len() == 1 => letters.push_str(letter),
                (Token::Unknown, "\\angle") => letters.push('∠'),
                (Token::Unknown, "\\triangle") => letters.push('△'),
                _ => return id,
            }
        }
        self.add(Node::Letters(id, letters.into()))
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
            (Some(Separator::Comma | Separator::Semicolon), Some(Token::End | Token::RowEnd | Token::Ampersand)) => {
                None
            }
            (Some(Separator::Gap), Some(Token::Word)) => {
                self.at = start;
                None
            }
            (found, _) => found,
        }
    }
}
