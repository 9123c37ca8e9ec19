//! Brackets of every shape, and matrices.

use super::super::budget::Unread;
use super::super::tokens::{Bracket, Environment, Token};
use super::super::tree::{Id, Joint, Node, Shape};
use super::Parser;

/// Cells that a matrix may have.
const MAX_CELLS: usize = 400;

impl Parser<'_> {
    pub(super) fn absolute(&mut self) -> Result<Id, Unread> {
        self.bars += 1;
        let (argument, ends) = (std::mem::take(&mut self.in_argument), std::mem::take(&mut self.bar_ends));
        let inner = self.expression(0)?;
        (self.in_argument, self.bar_ends) = (argument, ends);
        self.bars -= 1;
        if !self.take(Token::Bar) {
            return Err(Unread::Malformed("an absolute value is not closed"));
        }
        Ok(self.add(Node::Absolute(inner)))
    }

    /// What stands in brackets, the opening one taken.
    pub(super) fn bracketed(&mut self, open: Bracket) -> Result<Id, Unread> {
        match (open, self.peek()) {
            (Bracket::Brace, Some(Token::Close(Bracket::Brace))) => {
                self.at += 1;
                return Ok(self.add(Node::Sequence(Shape::Set, Vec::new(), Joint::Marks)));
            }
            // `{}` holds a place before an index.
            (Bracket::Group, Some(Token::Close(Bracket::Group))) => {
                self.at += 1;
                return match self.peek() {
                    Some(Token::Underscore | Token::Caret) => self.expression(61),
                    _ => Err(Unread::Malformed("an empty group")),
                };
            }
            _ => {}
        }
        let bars = std::mem::take(&mut self.bars);
        let argument = std::mem::take(&mut self.in_argument);
        let ends = std::mem::replace(&mut self.bar_ends, open == Bracket::Brace);
        let half_open = self.half_open && open == Bracket::Square;
        let reversed = std::mem::replace(&mut self.reversed, half_open);
        let inner = self.sequence()?;
        self.reversed = reversed;
        let condition = match self.peek() {
            Some(Token::Bar | Token::Such | Token::Colon) if open == Bracket::Brace => {
                self.at += 1;
                self.bar_ends = false;
                Some(self.sequence()?)
            }
            _ => None,
        };
        (self.bars, self.in_argument, self.bar_ends) = (bars, argument, ends);
        if half_open && condition.is_none() && self.peek() == Some(Token::Open(Bracket::Square)) {
            return self.french(inner, true);
        }
        let Some(Token::Close(close)) = self.peek() else {
            return Err(Unread::Malformed("a bracket is not closed"));
        };
        self.at += 1;
        match condition {
            Some(condition) if close == Bracket::Brace => Ok(self.add(Node::Builder(inner, condition))),
            Some(_) => Err(Unread::Malformed("brackets that do not match")),
            None => self.enclosed(open, close, inner),
        }
    }

    fn enclosed(&mut self, open: Bracket, close: Bracket, inner: Id) -> Result<Id, Unread> {
        let bare = matches!(self.tree.nodes[inner], Node::Sequence(Shape::Bare, ..));
        let shape = match (open, close) {
            (Bracket::Brace, Bracket::Brace) => Shape::Set,
            (Bracket::Group, Bracket::Group) => return Ok(inner),
            (Bracket::Angle, Bracket::Angle) if bare => Shape::Brackets(false, false),
            (Bracket::Paren | Bracket::Square, Bracket::Paren | Bracket::Square) if bare => {
                Shape::Brackets(open == Bracket::Square, close == Bracket::Square)
            }
            (Bracket::Floor, Bracket::Floor) if !bare => return Ok(self.add(Node::Floor(inner))),
            (Bracket::Ceiling, Bracket::Ceiling) if !bare => return Ok(self.add(Node::Ceiling(inner))),
            _ if open == close && !bare => return self.based(open, inner),
            _ => return Err(Unread::Malformed("brackets that do not match")),
        };
        let last = self.tree.nodes.len() - 1;
        match &mut self.tree.nodes[last] {
            Node::Sequence(written, ..) if bare && inner == last => {
                *written = shape;
                Ok(inner)
            }
            _ => Ok(self.add(Node::Sequence(shape, vec![inner], Joint::Marks))),
        }
    }

    /// `]1, 2[`: an open interval in the French way, its first bracket taken.
    pub(super) fn reversed_interval(&mut self) -> Result<Id, Unread> {
        let outer = std::mem::replace(&mut self.reversed, true);
        let inner = self.sequence()?;
        self.reversed = outer;
        self.french(inner, false)
    }

    /// The end of an interval in the French way, which comes next; `from` says whether its lower end belongs to it.
    fn french(&mut self, inner: Id, from: bool) -> Result<Id, Unread> {
        let closed = match self.peek() {
            Some(Token::Open(Bracket::Square)) => false,
            Some(Token::Close(Bracket::Square)) => true,
            _ => return Err(Unread::Malformed("a bracket is not closed")),
        };
        self.at += 1;
        match &mut self.tree.nodes[inner] {
            Node::Sequence(shape @ Shape::Bare, ..) => *shape = Shape::Brackets(from, closed),
            _ => return Err(Unread::Malformed("brackets that do not match")),
        }
        Ok(inner)
    }

    pub(super) fn expect_close(&mut self, bracket: Bracket) -> Result<(), Unread> {
        if self.take(Token::Close(bracket)) { Ok(()) } else { Err(Unread::Malformed("a bracket is not closed")) }
    }

    /// Rows of cells, their beginning taken.
    pub(super) fn matrix(&mut self, environment: Environment) -> Result<Id, Unread> {
        let bars = std::mem::take(&mut self.bars);
        let (argument, ends) = (std::mem::take(&mut self.in_argument), std::mem::take(&mut self.bar_ends));
        let (mut cells, mut stops, mut columns, mut row) = (Vec::new(), Vec::new(), None, 0);
        loop {
            while self.take(Token::Gap) {}
            match self.peek() {
                Some(Token::End) if row == 0 => {
                    self.at += 1;
                    break;
                }
                // The mark that aligns lines may open one.
                Some(Token::Ampersand) if row == 0 && environment == Environment::Lines => {
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            cells.push(self.sequence()?);
            row += 1;
            if cells.len() > MAX_CELLS {
                return Err(Unread::Limit("cells"));
            }
            let next = self.peek();
            self.at += 1;
            match next {
                Some(Token::Ampersand) => continue,
                Some(Token::RowEnd | Token::End) => {}
                _ => return Err(Unread::Malformed("an environment is not closed")),
            }
            stops.push(cells.len());
            if *columns.get_or_insert(row) != row && environment != Environment::Cases {
                return Err(Unread::Malformed("rows of different length"));
            }
            row = 0;
            if next == Some(Token::End) {
                break;
            }
        }
        (self.bars, self.in_argument, self.bar_ends) = (bars, argument, ends);
        match (environment, cells.as_slice()) {
            (_, []) => Err(Unread::Malformed("an empty environment")),
            (Environment::Lines, [single]) => Ok(*single),
            (Environment::Lines, _) => Err(Unread::Unsupported("several lines of a derivation".into())),
            (Environment::Cases, _) => Ok(self.cases(&cells, &stops)),
            _ => Ok(self.add(Node::Matrix(environment, stops.len(), cells))),
        }
    }

    /// The rows of a definition by cases, each ending before one of `ends`.
    fn cases(&mut self, cells: &[Id], ends: &[usize]) -> Id {
        let (mut rows, mut start) = (Vec::with_capacity(ends.len()), 0);
        for end in ends {
            rows.push(match &cells[start..*end] {
                [single] => *single,
                row => self.add(Node::Sequence(Shape::Brackets(false, false), row.to_vec(), Joint::Marks)),
            });
            start = *end;
        }
        self.add(Node::Sequence(Shape::Cases, rows, Joint::Marks))
    }
}
