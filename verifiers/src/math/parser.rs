//! Tokens to a tree: a Pratt parser, linear in the tokens, with limits on depth and size.
//!
//! Binding powers, loosest first: relation 10, ratio 12, set operation 14, unit 15, sum 20, product 30, implied product
//! 31, power 50, postfix 60.

use std::rc::Rc;

use dashu::Rational;

use super::budget::{Budget, Unread};
use super::lexer::date_spelled;
use super::tokens::{Bracket, Lexeme, Operator, Relation, Token};
use super::tree::{Id, Joint, Node, Shape, Tree};
use super::words;

mod brackets;
mod calculus;
mod calls;
mod literals;
mod names;
mod sequences;

/// How deep brackets, signs, exponents and arguments may nest.
pub const MAX_DEPTH: usize = 200;

/// Unions, intersections and differences in one answer. Chains of them nest to the left, and are walked recursively.
const MAX_SET_OPERATIONS: usize = 64;

/// Reads the whole of `lexemes`, which [`super::lexer::lex`] made of `source`. Whether a product without a sign behind a
/// slash stands under it as a whole is the caller's choice.
///
/// # Errors
/// [`Unread`], and no answer at all, when any part of the text cannot be read: a part is never taken for the whole.
pub fn parse(
    source: &str,
    lexemes: Vec<Lexeme>,
    slash_takes_product: bool,
    budget: &mut Budget,
) -> Result<Tree, Unread> {
    budget.spend(lexemes.len() as u64 * 4)?;
    let tree = Tree { nodes: Vec::with_capacity(lexemes.len() + 4), ..Tree::default() };
    let mut parser = Parser {
        half_open: has_half_open(&lexemes),
        source,
        lexemes,
        at: 0,
        depth: 0,
        set_operations: 0,
        bars: 0,
        in_argument: false,
        reversed: false,
        bar_ends: false,
        in_congruence: false,
        differential_at: usize::MAX,
        slash_takes_product,
        tree,
        budget,
    };
    let root = parser.sequence()?;
    if parser.at < parser.lexemes.len() {
        return Err(Unread::Malformed("something is left over at the end"));
    }
    debug_assert_eq!(root + 1, parser.tree.nodes.len());
    Ok(parser.tree)
}

/// Whether an opening bracket stands where only a closing one can: `[0, 1[`, `[0, 1[ ∪ …`.
fn has_half_open(lexemes: &[Lexeme]) -> bool {
    let ends = |next: Option<&Lexeme>| {
        next.is_none_or(|next| matches!(next.token, Token::Cup | Token::Cap | Token::Without | Token::Conjunction(_)))
    };
    let open = |lexeme: &Lexeme| lexeme.token == Token::Open(Bracket::Square);
    (0..lexemes.len()).any(|at| open(&lexemes[at]) && ends(lexemes.get(at + 1)))
}

struct Parser<'a> {
    /// Intervals are written in the French way, so an opening bracket may close one that is closed below.
    half_open: bool,
    source: &'a str,
    lexemes: Vec<Lexeme>,
    at: usize,
    depth: usize,
    set_operations: usize,
    /// Open absolute values: inside one, a bar closes it.
    bars: usize,
    /// In the bare argument of a function, the next function ends it: `sin a cos b`.
    in_argument: bool,
    /// In brackets the French way, an opening one closes: `]0, 1[`.
    reversed: bool,
    /// In braces, a bar between two operands introduces a condition: `{x | x > 3}`.
    bar_ends: bool,
    /// On the right side of `≡`, a modulus ends it.
    in_congruence: bool,
    /// Where the `d x` of the innermost integral stands: it ends the integrand.
    differential_at: usize,
    /// `1/2x` is one over `2x`.
    slash_takes_product: bool,
    tree: Tree,
    budget: &'a mut Budget,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token> {
        self.token(0)
    }

    fn token(&self, ahead: usize) -> Option<Token> {
        self.lexemes.get(self.at + ahead).map(|lexeme| lexeme.token)
    }

    fn take(&mut self, token: Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn add(&mut self, node: Node) -> Id {
        self.tree.nodes.push(node);
        self.tree.nodes.len() - 1
    }

    fn source_of(&self, lexeme: usize) -> &'a str {
        let lexeme = &self.lexemes[lexeme];
        &self.source[lexeme.start..lexeme.end]
    }

    fn expression(&mut self, least: u8) -> Result<Id, Unread> {
        self.depth += 1;
        self.budget.spend(4)?;
        if self.depth > MAX_DEPTH {
            return Err(Unread::Limit("depth"));
        }
        let mut left = self.operand(least)?;
        while let Some(token) = self.peek() {
            let power = self.binding_power(token);
            if power == 0 || power < least {
                break;
            }
            left = self.infix(left, power, token)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// How tightly the next token binds to what stands before it; 0 when it ends the expression.
    fn binding_power(&self, token: Token) -> u8 {
        if self.at == self.differential_at {
            return 0;
        }
        match token {
            Token::Modulus if self.in_congruence => 0,
            Token::Operator(operator, _) => operator.binding_power(),
            Token::Relation(_) | Token::In => 10,
            Token::Colon if !self.bar_ends => 12,
            Token::Cup | Token::Cap | Token::Without => 14,
            Token::Modulus => 15,
            Token::Word if words::multiplier(self.source_of(self.at)).is_some() => 30,
            Token::Word => 15,
            Token::Plus | Token::Minus | Token::PlusMinus(_) => 20,
            Token::Times | Token::Cross | Token::Divide => 30,
            Token::Choose | Token::Over => 5,
            Token::Caret => 50,
            Token::Bang | Token::Percent | Token::Degree | Token::Prime => 60,
            Token::Bar if self.bars > 0 || self.bar_ends => 0,
            Token::Function(_) if self.in_argument => 0,
            Token::Open(Bracket::Square) if self.reversed => 0,
            Token::Close(_) | Token::Comma | Token::Semicolon | Token::Colon | Token::Such | Token::Conjunction(_) => 0,
            Token::Gap | Token::Underscore | Token::End | Token::Ampersand | Token::RowEnd => 0,
            _ => 31,
        }
    }

    fn infix(&mut self, left: Id, power: u8, token: Token) -> Result<Id, Unread> {
        if power == 31 {
            return self.implied_product(left, token);
        }
        self.at += 1;
        let node = match token {
            Token::Relation(relation) => return self.relation(left, relation),
            Token::In => Node::Member(left, self.expression(11)?),
            Token::Colon => return self.ratio(left),
            Token::Cup | Token::Cap | Token::Without => {
                self.set_operations += 1;
                if self.set_operations > MAX_SET_OPERATIONS {
                    return Err(Unread::Limit("set operations"));
                }
                let right = self.expression(15)?;
                match token {
                    Token::Cup => Node::Union(left, right),
                    Token::Cap => Node::Intersection(left, right),
                    _ => Node::Without(left, right),
                }
            }
            Token::Modulus => return self.modulus(left),
            Token::Word => match words::multiplier(self.source_of(self.at - 1)) {
                Some(factor) => {
                    let factor = self.add(Node::Number(Rational::from(factor), None));
                    Node::Multiply(left, factor)
                }
                None => Node::Unit(left, self.unit()?),
            },
            Token::Plus => Node::Add(left, self.expression(21)?),
            // A set behind a minus is taken away.
            Token::Minus if self.peek() == Some(Token::Open(Bracket::Brace)) => {
                self.set_operations += 1;
                if self.set_operations > MAX_SET_OPERATIONS {
                    return Err(Unread::Limit("set operations"));
                }
                Node::Without(left, self.expression(21)?)
            }
            Token::Minus => Node::Subtract(left, self.expression(21)?),
            Token::PlusMinus(flipped) => {
                self.tree.has_plus_minus = true;
                Node::PlusMinus(Some(left), self.expression(21)?, flipped)
            }
            // The operator of derivatives is no factor.
            Token::Times | Token::Cross if matches!(&self.tree.nodes[left], Node::Unknown(name) if **name == *"\\nabla") =>
            {
                let name = if token == Token::Cross { "curl" } else { "divergence" };
                self.tree.nodes.pop();
                Node::Call(name, self.expression(33)?)
            }
            Token::Times => Node::Multiply(left, self.expression(33)?),
            Token::Cross => Node::Cross(left, self.expression(33)?),
            Token::Operator(operator, turned) => {
                let right = self.expression(power + 1)?;
                if turned { Node::Operator(operator, right, left) } else { Node::Operator(operator, left, right) }
            }
            Token::Divide => Node::Divide(left, self.expression(if self.slash_takes_product { 31 } else { 33 })?),
            Token::Choose => Node::Binomial(left, self.expression(6)?),
            Token::Over => Node::Divide(left, self.expression(6)?),
            Token::Caret => return self.power(left),
            Token::Bang => {
                let marks = 1 + self.lexemes[self.at..].iter().take_while(|l| l.token == Token::Bang).count();
                self.at += marks - 1;
                Node::Factorial(left, marks)
            }
            Token::Percent => Node::Percent(left),
            Token::Prime => Node::Unit(left, if self.take(Token::Prime) { "''" } else { "'" }.into()),
            _ => Node::Unit(left, self.scale().into()),
        };
        Ok(self.add(node))
    }

    /// What a caret raises to: a degree sign, the letters of an ordinal, or an exponent.
    fn power(&mut self, left: Id) -> Result<Id, Unread> {
        if self.degree_follows() {
            let scale = self.scale().into();
            return Ok(self.add(Node::Unit(left, scale)));
        }
        let grouped = usize::from(self.peek() == Some(Token::Open(Bracket::Group)));
        if self.token(grouped) == Some(Token::Word)
            && matches!(self.source_of(self.at + grouped), "th" | "st" | "nd" | "rd")
            && (grouped == 0 || self.token(2) == Some(Token::Close(Bracket::Group)))
        {
            self.at += 1 + 2 * grouped;
            return Ok(self.add(Node::Unit(left, "th".into())));
        }
        let exponent = self.expression(49)?;
        Ok(self.add(Node::Power(left, exponent)))
    }

    /// After a caret: takes `\circ` or `{\circ}`.
    fn degree_follows(&mut self) -> bool {
        let width = match (self.peek(), self.token(1), self.token(2)) {
            (Some(Token::Degree), ..) => 1,
            (Some(Token::Open(Bracket::Group)), Some(Token::Degree), Some(Token::Close(Bracket::Group))) => 3,
            _ => return false,
        };
        self.at += width;
        true
    }

    /// Two operands side by side. Two literals are no product: "3 4" must not become 12.
    fn implied_product(&mut self, left: Id, next: Token) -> Result<Id, Unread> {
        let after_number = self.at > 0 && self.lexemes[self.at - 1].token == Token::Number;
        if next == Token::Number && after_number {
            return Err(Unread::Malformed("two numbers side by side"));
        }
        if next == Token::Number && matches!(self.tree.nodes[left], Node::Unit(..) | Node::Mixed(..)) {
            return self.smaller_unit(left);
        }
        if matches!(self.tree.nodes[left], Node::Unit(..) | Node::Mixed(..) | Node::Text(_)) {
            return Err(Unread::Malformed("mathematics behind words"));
        }
        if after_number && let Some(unit) = self.final_unit(next) {
            return Ok(self.add(Node::Unit(left, unit)));
        }
        if after_number && let Some(remark) = self.remark(next) {
            return Ok(self.add(Node::Unit(left, remark)));
        }
        if next == Token::Frac
            && let Some(unit) = self.unit_fraction()
        {
            return Ok(self.add(Node::Unit(left, unit)));
        }
        let applied = next == Token::Open(Bracket::Paren) && self.is_function_letter(left);
        if next == Token::Open(Bracket::Paren)
            && matches!(&self.tree.nodes[left], Node::Symbol(name) if **name == *"C")
            && let Some(binomial) = self.binomial_call()?
        {
            return Ok(binomial);
        }
        let right = self.expression(33)?;
        Ok(self.add(if applied { Node::Apply(left, right) } else { Node::Multiply(left, right) }))
    }

    /// `a < b < c …`, the first operator taken.
    fn relation(&mut self, left: Id, first: Relation) -> Result<Id, Unread> {
        if first == Relation::Congruent {
            return self.congruence(left);
        }
        let (mut operands, mut relations) = (vec![left, self.side()?], vec![first]);
        while let Some(Token::Relation(next)) = self.peek() {
            relations.push(next);
            self.at += 1;
            operands.push(self.side()?);
        }
        Ok(self.add(Node::Relation(operands, relations)))
    }

    /// A side of a relation behind its sign.
    fn side(&mut self) -> Result<Id, Unread> {
        let start = self.at;
        let id = self.expression(11)?;
        Ok(self.lettered(id, start))
    }

    /// `a ≡ b (mod m)`, the sign taken; without a modulus, `a = b`.
    fn congruence(&mut self, left: Id) -> Result<Id, Unread> {
        let outer = std::mem::replace(&mut self.in_congruence, true);
        let right = self.expression(11)?;
        self.in_congruence = outer;
        if !self.take(Token::Modulus) {
            return Ok(self.add(Node::Relation(vec![left, right], vec![Relation::Congruent])));
        }
        let grouped = self.peek() == Some(Token::Open(Bracket::Group));
        let by = if grouped { self.argument()? } else { self.expression(31)? };
        Ok(self.add(Node::Congruence(left, right, by)))
    }

    /// `a : b : c`, the first colon taken. Two digits behind two may be a time of day.
    fn ratio(&mut self, left: Id) -> Result<Id, Unread> {
        let is = |lexeme: Option<&Lexeme>, widths: std::ops::RangeInclusive<usize>| {
            lexeme.is_some_and(|l| l.token == Token::Number && widths.contains(&(l.end - l.start)))
        };
        let clock = self.at >= 2 && is(self.lexemes.get(self.at - 2), 1..=2) && is(self.lexemes.get(self.at), 2..=2);
        let mut parts = vec![left, self.expression(13)?];
        while self.take(Token::Colon) {
            parts.push(self.expression(13)?);
        }
        Ok(self.add(Node::Sequence(Shape::Ratio(clock), parts, Joint::Marks)))
    }

    /// What an expression may begin with.
    fn operand(&mut self, least: u8) -> Result<Id, Unread> {
        while self.take(Token::Gap) {}
        let token = self.peek().ok_or(Unread::Malformed("an operand is missing at the end"))?;
        self.at += 1;
        let node = match token {
            Token::Number => return self.number(least),
            Token::Date => {
                let written = self.source_of(self.at - 1);
                Node::Text(date_spelled(written).ok_or(Unread::Malformed("no date"))?)
            }
            Token::Named("Gamma") if self.peek() == Some(Token::Open(Bracket::Paren)) => {
                Node::Call("gamma", self.expression(61)?)
            }
            Token::Named("zeta") if self.peek() == Some(Token::Open(Bracket::Paren)) => {
                Node::Call("zeta", self.expression(61)?)
            }
            Token::Symbol | Token::Named(_) => return self.name(token, least),
            Token::Unknown => Node::Unknown(plain_command(self.source_of(self.at - 1)).into()),
            Token::Word => return self.text(least),
            Token::Pi => Node::Pi,
            Token::Infinity => {
                self.tree.has_infinity = true;
                Node::Infinity
            }
            Token::Reals => Node::Reals,
            Token::Dots => Node::Dots,
            Token::EmptySet => Node::Sequence(Shape::Set, Vec::new(), Joint::Marks),
            Token::Minus => Node::Negate(self.expression(least.max(30))?),
            Token::Plus => return self.expression(least.max(30)),
            // At the very beginning these only say that a value is rounded.
            Token::Relation(Relation::About) | Token::Operator(Operator::Similar, _) if self.at == 1 => {
                return self.expression(least);
            }
            Token::PlusMinus(flipped) => {
                self.tree.has_plus_minus = true;
                Node::PlusMinus(None, self.expression(least.max(30))?, flipped)
            }
            Token::Frac => {
                if let Some(derivative) = self.derivative()? {
                    return Ok(derivative);
                }
                let over = self.argument()?;
                Node::Divide(over, self.argument()?)
            }
            Token::Binom => {
                let n = self.argument()?;
                Node::Binomial(n, self.argument()?)
            }
            Token::Sqrt => return self.root(),
            Token::Function(name) => return self.call(name),
            Token::Big(big) => return self.big(big),
            Token::Bar => return self.absolute(),
            Token::Open(bracket) => return self.bracketed(bracket),
            Token::Close(Bracket::Square) => return self.reversed_interval(),
            Token::Begin(environment) => return self.matrix(environment),
            Token::Overline => return self.overlined("overline"),
            Token::Decoration(name) => return self.overlined(name),
            Token::Underscore | Token::Caret => return self.indexed_before(token),
            _ => return Err(Unread::Malformed("an operator without its operand")),
        };
        Ok(self.add(node))
    }

    fn symbol(&mut self, name: &str) -> Id {
        let name: Rc<str> = name.into();
        self.add(Node::Symbol(name))
    }
}

/// One spelling for the sets of numbers: `\mathbb Z` and `\Bbb{Z}` are `\mathbb{Z}`.
fn plain_command(command: &str) -> String {
    if let "N" | "Z" | "Q" = command {
        return format!("\\mathbb{{{command}}}");
    }
    let name = command.strip_prefix("\\mathbb").or_else(|| command.strip_prefix("\\Bbb"));
    match name {
        Some(name) => format!("\\mathbb{{{}}}", name.trim_matches([' ', '{', '}'])),
        None => command.to_owned(),
    }
}
