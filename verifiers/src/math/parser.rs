//! Tokens to a tree: a Pratt parser, linear in the tokens, with limits on depth and size.
//!
//! The tree is an arena in which children stand before their parents, so whoever evaluates it walks an array and
//! never recurses. Binding powers, loosest first: relation 10, union 14, unit 15, sum 20, product 30, implied product
//! 31, power 50, postfix 60.

use dashu::Rational;

use super::budget::{Budget, Unread};
use super::lexer::{Bracket, Lexeme, Relation, Token};
use super::words;

mod literals;

/// How deep brackets, signs, exponents and arguments may nest.
pub const MAX_DEPTH: usize = 200;

/// Index of a node in its [`Tree`].
pub type Id = usize;

/// How a sequence is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `1, 2` or `1 or 2`
    Bare,
    /// `3:4`
    Ratio,
    /// `{1, 2}`
    Set,
    /// `(1, 2)`, `[1, 2]`, and intervals, which may mix the two. True is square.
    Brackets(bool, bool),
}

/// One node.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are the operands, in the order of their writing")]
pub enum Node {
    Number(Rational),
    Pi,
    Infinity,
    Symbol(String),
    Negate(Id),
    Add(Id, Id),
    Subtract(Id, Id),
    /// `a ± b`; without the first, `± b`. True for `∓`.
    PlusMinus(Option<Id>, Id, bool),
    Multiply(Id, Id),
    Divide(Id, Id),
    Power(Id, Id),
    /// The index, then the radicand.
    Root(Id, Id),
    Binomial(Id, Id),
    Factorial(Id),
    Percent(Id),
    Absolute(Id),
    Floor(Id),
    Ceiling(Id),
    Call(String, Id),
    /// A quantity with the words behind it.
    Unit(Id, String),
    Text(String),
    Sequence(Shape, Vec<Id>),
    /// One operator fewer than operands.
    Relation(Vec<Id>, Vec<Relation>),
    Member(Id, Id),
    Union(Vec<Id>),
}

/// Nodes, children first; the last one is the root.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The arena.
    pub nodes: Vec<Node>,
    /// True when a `±` occurs: the tree then stands for two answers.
    pub has_plus_minus: bool,
}

/// Reads the whole of `lexemes`, which [`super::lexer::lex`] made of `source`.
///
/// # Errors
/// [`Unread`], and no answer at all, when any part of the text cannot be read: a part is never taken for the whole.
pub fn parse(source: &str, lexemes: Vec<Lexeme>, budget: &mut Budget) -> Result<Tree, Unread> {
    budget.spend(lexemes.len() as u64 * 4)?;
    let mut parser = Parser { source, lexemes, at: 0, depth: 0, bars: 0, tree: Tree::default(), budget };
    let root = parser.sequence()?;
    if parser.at < parser.lexemes.len() {
        return Err(Unread::Malformed("something is left over at the end"));
    }
    debug_assert_eq!(root + 1, parser.tree.nodes.len());
    Ok(parser.tree)
}

struct Parser<'a> {
    source: &'a str,
    lexemes: Vec<Lexeme>,
    at: usize,
    depth: usize,
    /// Open absolute values: inside one, a bar closes it.
    bars: usize,
    tree: Tree,
    budget: &'a mut Budget,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&Token> {
        self.token(0)
    }

    fn token(&self, ahead: usize) -> Option<&Token> {
        self.lexemes.get(self.at + ahead).map(|lexeme| &lexeme.token)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn add(&mut self, node: Node) -> Id {
        self.tree.nodes.push(node);
        self.tree.nodes.len() - 1
    }

    /// Items between separators, up to a closing bracket or the end.
    fn sequence(&mut self) -> Result<Id, Unread> {
        let first = self.expression(0)?;
        let mut items = vec![first];
        let ratio = self.peek() == Some(&Token::Colon);
        while self.separator(ratio) {
            items.push(self.expression(0)?);
        }
        if items.len() == 1 {
            return Ok(first);
        }
        Ok(self.add(Node::Sequence(if ratio { Shape::Ratio } else { Shape::Bare }, items)))
    }

    /// Takes a separator: a colon in a ratio, else a comma, a conjunction, or one after the other.
    fn separator(&mut self, ratio: bool) -> bool {
        if ratio {
            return self.take(&Token::Colon);
        }
        let comma = self.take(&Token::Comma);
        self.take(&Token::Conjunction) || comma
    }

    fn expression(&mut self, least: u8) -> Result<Id, Unread> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unread::Limit("depth"));
        }
        let mut left = self.operand(least)?;
        while let Some(token) = self.peek() {
            let power = self.binding_power(token);
            if power == 0 || power < least {
                break;
            }
            left = self.infix(left, power)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// How tightly the next token binds to what stands before it; 0 when it ends the expression.
    fn binding_power(&self, token: &Token) -> u8 {
        match token {
            Token::Relation(_) | Token::In => 10,
            Token::Cup => 14,
            Token::Word(word) if words::multiplier(word).is_some() => 30,
            Token::Word(_) => 15,
            Token::Plus | Token::Minus | Token::PlusMinus(_) => 20,
            Token::Times | Token::Divide => 30,
            Token::Caret => 50,
            Token::Bang | Token::Percent | Token::Degree => 60,
            Token::Bar if self.bars > 0 => 0,
            Token::Close(_) | Token::Comma | Token::Colon | Token::Conjunction | Token::Underscore => 0,
            _ => 31,
        }
    }

    fn infix(&mut self, left: Id, power: u8) -> Result<Id, Unread> {
        let token = self.peek().expect("the caller has looked at it").clone();
        if power == 31 {
            return self.implied_product(left, &token);
        }
        self.at += 1;
        let node = match token {
            Token::Relation(relation) => return self.relation(left, relation),
            Token::In => Node::Member(left, self.expression(11)?),
            Token::Cup => return self.union(left),
            Token::Word(word) => match words::multiplier(&word) {
                Some(factor) => {
                    let factor = self.add(Node::Number(Rational::from(factor)));
                    Node::Multiply(left, factor)
                }
                None => Node::Unit(left, self.unit(word)?),
            },
            Token::Plus => Node::Add(left, self.expression(21)?),
            Token::Minus => Node::Subtract(left, self.expression(21)?),
            Token::PlusMinus(flipped) => {
                self.tree.has_plus_minus = true;
                Node::PlusMinus(Some(left), self.expression(21)?, flipped)
            }
            Token::Times => Node::Multiply(left, self.expression(33)?),
            Token::Divide => Node::Divide(left, self.expression(33)?),
            Token::Caret if self.degree_follows() => Node::Unit(left, "degree".into()),
            Token::Caret => Node::Power(left, self.expression(49)?),
            Token::Bang => Node::Factorial(left),
            Token::Percent => Node::Percent(left),
            _ => Node::Unit(left, "degree".into()),
        };
        Ok(self.add(node))
    }

    /// Two operands side by side. Two literals are no product: "3 4" must not become 12.
    fn implied_product(&mut self, left: Id, next: &Token) -> Result<Id, Unread> {
        let after_number = self.at > 0 && self.lexemes[self.at - 1].token == Token::Number;
        if *next == Token::Number && after_number {
            return Err(Unread::Malformed("two numbers side by side"));
        }
        if matches!(self.tree.nodes[left], Node::Unit(..) | Node::Text(_)) {
            return Err(Unread::Malformed("mathematics behind words"));
        }
        let right = self.expression(33)?;
        Ok(self.add(Node::Multiply(left, right)))
    }

    /// `a < b < c …`, the first operator taken.
    fn relation(&mut self, left: Id, first: Relation) -> Result<Id, Unread> {
        let (mut operands, mut relations) = (vec![left, self.expression(11)?], vec![first]);
        while let Some(Token::Relation(next)) = self.peek() {
            relations.push(*next);
            self.at += 1;
            operands.push(self.expression(11)?);
        }
        Ok(self.add(Node::Relation(operands, relations)))
    }

    fn union(&mut self, left: Id) -> Result<Id, Unread> {
        let mut parts = vec![left, self.expression(15)?];
        while self.take(&Token::Cup) {
            parts.push(self.expression(15)?);
        }
        Ok(self.add(Node::Union(parts)))
    }

    /// The words of a unit after its first: `square units`, `miles per hour`, `cm^2`, `km/h`.
    fn unit(&mut self, first: String) -> Result<String, Unread> {
        let mut name = first;
        let mut count = 1;
        loop {
            let joint = match (self.peek(), self.token(1)) {
                (Some(Token::Word(_)), _) => " ",
                (Some(Token::Divide), Some(Token::Word(_))) => "/",
                (Some(Token::Caret), Some(Token::Number)) => "^",
                (Some(Token::Caret), Some(Token::Open(Bracket::Group)))
                    if self.token(2) == Some(&Token::Number)
                        && self.token(3) == Some(&Token::Close(Bracket::Group)) =>
                {
                    name.push_str(&format!("^{}", self.source_of(self.at + 2)));
                    self.at += 4;
                    continue;
                }
                _ => return Ok(name),
            };
            self.at += usize::from(joint != " ");
            name.push_str(joint);
            name.push_str(&self.source_of(self.at).to_lowercase());
            self.at += 1;
            count += 1;
            // A longer text is a remark, and a remark may take the answer back.
            if count > 4 {
                return Err(Unread::Malformed("a remark behind the answer"));
            }
        }
    }

    fn source_of(&self, lexeme: usize) -> &'a str {
        let lexeme = &self.lexemes[lexeme];
        &self.source[lexeme.start..lexeme.end]
    }

    /// After a caret: takes `\circ` or `{\circ}`.
    fn degree_follows(&mut self) -> bool {
        let group = Token::Open(Bracket::Group);
        let width = match (self.peek(), self.token(1), self.token(2)) {
            (Some(Token::Degree), ..) => 1,
            (Some(open), Some(Token::Degree), Some(Token::Close(Bracket::Group))) if *open == group => 3,
            _ => return false,
        };
        self.at += width;
        true
    }

    /// What an expression may begin with.
    fn operand(&mut self, least: u8) -> Result<Id, Unread> {
        let token = self.peek().ok_or(Unread::Malformed("an operand is missing at the end"))?.clone();
        self.at += 1;
        let node = match token {
            Token::Number => return self.number(least),
            Token::Symbol(name) => Node::Symbol(self.subscripted(name)?),
            Token::Word(word) => return self.text(word),
            Token::Pi => Node::Pi,
            Token::Infinity => Node::Infinity,
            Token::EmptySet => Node::Sequence(Shape::Set, Vec::new()),
            Token::Minus => Node::Negate(self.expression(least.max(30))?),
            Token::Plus => return self.expression(least.max(30)),
            Token::PlusMinus(flipped) => {
                self.tree.has_plus_minus = true;
                Node::PlusMinus(None, self.expression(least.max(30))?, flipped)
            }
            Token::Frac => {
                let over = self.argument()?;
                Node::Divide(over, self.argument()?)
            }
            Token::Binom => {
                let n = self.argument()?;
                Node::Binomial(n, self.argument()?)
            }
            Token::Sqrt => return self.root(),
            Token::Function(name) => return self.call(name),
            Token::Bar => return self.absolute(),
            Token::Open(bracket) => return self.bracketed(bracket),
            Token::Overline => return Err(Unread::Unsupported("a line over letters".into())),
            _ => return Err(Unread::Malformed("an operator without its operand")),
        };
        Ok(self.add(node))
    }

    /// A variable's name with its index.
    fn subscripted(&mut self, name: String) -> Result<String, Unread> {
        if !self.take(&Token::Underscore) {
            return Ok(name);
        }
        let grouped = self.take(&Token::Open(Bracket::Group));
        let mut index = String::new();
        while let Some(Token::Number | Token::Symbol(_) | Token::Word(_)) = self.peek() {
            index.push_str(self.source_of(self.at));
            self.at += 1;
            if !grouped {
                break;
            }
        }
        if index.is_empty() || (grouped && !self.take(&Token::Close(Bracket::Group))) {
            return Err(Unread::Unsupported("an index of more than a name".into()));
        }
        Ok(format!("{name}_{index}"))
    }

    /// Prose: words in a row. A single letter of prose is a variable.
    fn text(&mut self, first: String) -> Result<Id, Unread> {
        let mut text = first;
        while let Some(Token::Word(word)) = self.peek() {
            text.push(' ');
            text.push_str(word);
            self.at += 1;
        }
        if text.len() == 1 {
            let original = self.source_of(self.at - 1).to_owned();
            return Ok(self.add(Node::Symbol(original)));
        }
        Ok(self.add(Node::Text(text)))
    }

    /// An argument of a LaTeX command: a group, or a single token, which for a number is a single digit.
    fn argument(&mut self) -> Result<Id, Unread> {
        if self.take(&Token::Open(Bracket::Group)) {
            return self.bracketed(Bracket::Group);
        }
        if self.peek() == Some(&Token::Number) && self.lexemes[self.at].end - self.lexemes[self.at].start > 1 {
            let digit = self.source.as_bytes()[self.lexemes[self.at].start];
            self.lexemes[self.at].start += 1;
            if !digit.is_ascii_digit() || !self.source.as_bytes()[self.lexemes[self.at].start].is_ascii_digit() {
                return Err(Unread::Malformed("a decimal as a bare argument"));
            }
            return Ok(self.add(Node::Number(Rational::from(digit - b'0'))));
        }
        self.expression(61)
    }

    fn root(&mut self) -> Result<Id, Unread> {
        let index = if self.take(&Token::Open(Bracket::Square)) {
            let index = self.expression(0)?;
            self.expect_close(Bracket::Square)?;
            index
        } else {
            self.add(Node::Number(Rational::from(2)))
        };
        // What follows without braces is one operand, and a literal is taken whole: √10 is not √1 · 0.
        let of = self.expression(61)?;
        Ok(self.add(Node::Root(index, of)))
    }

    /// A function with its exponent, its base and its argument.
    fn call(&mut self, name: &'static str) -> Result<Id, Unread> {
        let mut full = name.to_owned();
        if self.take(&Token::Underscore) {
            full = format!("{name}_{}", self.plain_group()?);
        }
        let mut exponent = None;
        if self.take(&Token::Caret) {
            let id = self.expression(51)?;
            match self.tree.nodes.as_slice() {
                [.., Node::Number(one), Node::Negate(_)] if one.is_one() && !full.starts_with("arc") => {
                    self.tree.nodes.truncate(self.tree.nodes.len() - 2);
                    full = format!("arc{full}");
                }
                _ => exponent = Some(id),
            }
        }
        let bracketed = matches!(self.peek(), Some(Token::Open(_)));
        let argument = self.expression(if bracketed { 61 } else { 31 })?;
        let node = match full.as_str() {
            "abs" => Node::Absolute(argument),
            _ => Node::Call(full, argument),
        };
        let call = self.add(node);
        Ok(match exponent {
            Some(exponent) => self.add(Node::Power(call, exponent)),
            None => call,
        })
    }

    fn absolute(&mut self) -> Result<Id, Unread> {
        self.bars += 1;
        let inner = self.expression(0)?;
        self.bars -= 1;
        if !self.take(&Token::Bar) {
            return Err(Unread::Malformed("an absolute value is not closed"));
        }
        Ok(self.add(Node::Absolute(inner)))
    }

    /// What stands in brackets, the opening one taken.
    fn bracketed(&mut self, open: Bracket) -> Result<Id, Unread> {
        if open == Bracket::Brace && self.take(&Token::Close(Bracket::Brace)) {
            return Ok(self.add(Node::Sequence(Shape::Set, Vec::new())));
        }
        let bars = std::mem::take(&mut self.bars);
        let inner = self.sequence()?;
        self.bars = bars;
        let Some(Token::Close(close)) = self.peek().cloned() else {
            return Err(Unread::Malformed("a bracket is not closed"));
        };
        self.at += 1;
        let bare = matches!(self.tree.nodes[inner], Node::Sequence(Shape::Bare, _));
        let shape = match (open, close) {
            (Bracket::Brace, Bracket::Brace) => Shape::Set,
            (Bracket::Group, Bracket::Group) if bare => Shape::Set,
            (Bracket::Paren | Bracket::Square, Bracket::Paren | Bracket::Square) if bare => {
                Shape::Brackets(open == Bracket::Square, close == Bracket::Square)
            }
            (Bracket::Floor, Bracket::Floor) if !bare => return Ok(self.add(Node::Floor(inner))),
            (Bracket::Ceiling, Bracket::Ceiling) if !bare => return Ok(self.add(Node::Ceiling(inner))),
            _ if open == close && !bare => return Ok(inner),
            _ => return Err(Unread::Malformed("brackets that do not match")),
        };
        let last = self.tree.nodes.len() - 1;
        match &mut self.tree.nodes[last] {
            Node::Sequence(written, _) if bare && inner == last => {
                *written = shape;
                Ok(inner)
            }
            _ => Ok(self.add(Node::Sequence(shape, vec![inner]))),
        }
    }

    fn expect_close(&mut self, bracket: Bracket) -> Result<(), Unread> {
        if self.take(&Token::Close(bracket)) { Ok(()) } else { Err(Unread::Malformed("a bracket is not closed")) }
    }
}
