//! The tree that the parser builds: an arena in which children stand before their parents, so whoever evaluates it walks
//! an array and never recurses.

use std::rc::Rc;

use dashu::Rational;

use super::tokens::{Big, Environment, Operator, Relation};

/// Index of a node in its [`Tree`].
pub type Id = usize;

/// What joins the items of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    /// Commas, or nothing that says more.
    Marks,
    /// An "and" among them.
    And,
    /// An "or" among them.
    Or,
}

/// How a sequence is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `1, 2` or `1 or 2`
    Bare,
    /// `3:4`. True when it may be a time of day: `12:00`.
    Ratio(bool),
    /// `{1, 2}`
    Set,
    /// `(1, 2)`, `[1, 2]`, and intervals, which may mix the two. True is square.
    Brackets(bool, bool),
    /// The rows of a definition by cases, of a system of equations.
    Cases,
}

/// One node.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are the operands, in the order of their writing")]
pub enum Node {
    /// The value, and how many digits stand behind its decimal point.
    Number(Rational, Option<u32>),
    Pi,
    Infinity,
    Reals,
    Dots,
    Symbol(Rc<str>),
    /// A name that no rule knows.
    Unknown(Rc<str>),
    /// A name with an index that is an expression.
    Indexed(Rc<str>, Id),
    Negate(Id),
    Add(Id, Id),
    Subtract(Id, Id),
    /// `a ± b`; without the first, `± b`. True for `∓`.
    PlusMinus(Option<Id>, Id, bool),
    Multiply(Id, Id),
    /// A letter before brackets, `f(x)`: a product unless it stands on the left of an equation.
    Apply(Id, Id),
    Divide(Id, Id),
    Power(Id, Id),
    /// The index, then the radicand.
    Root(Id, Id),
    Binomial(Id, Id),
    Arrangements(Id, Id),
    /// How many marks there are.
    Factorial(Id, usize),
    Percent(Id),
    Absolute(Id),
    Floor(Id),
    Ceiling(Id),
    Call(&'static str, Id),
    /// The base, then the argument.
    Logarithm(Id, Id),
    /// The operator, its limits, the first node of what it is applied to, that, and what an integral runs over.
    Big(Big, Option<Id>, Option<Id>, Id, Id, Option<Rc<str>>),
    /// What is derived, by which variable, and how often.
    Derivative(Id, Rc<str>, usize),
    /// `×` between vectors is no product.
    Cross(Id, Id),
    /// An operator that only its structure is known of: `A ⊂ B`, `p ⇒ q`.
    Operator(Operator, Id, Id),
    /// Left side, right side, modulus.
    Congruence(Id, Id, Id),
    /// A quantity with the words behind it.
    Unit(Id, String),
    /// A quantity in two units: `5 ft 6 in`.
    Mixed(Id, Id),
    /// What is written with nothing but letters, and those letters: a product, a word or the name of points.
    Letters(Id, Rc<str>),
    /// The remainder of a division.
    Remainder(Id, Id),
    Text(String),
    Sequence(Shape, Vec<Id>, Joint),
    /// One operator fewer than operands.
    Relation(Vec<Id>, Vec<Relation>),
    Member(Id, Id),
    Union(Id, Id),
    Intersection(Id, Id),
    Without(Id, Id),
    /// `{x | condition}`
    Builder(Id, Id),
    /// Cells row by row.
    Matrix(Environment, usize, Vec<Id>),
}

/// Nodes, children first; the last one is the root.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The arena.
    pub nodes: Vec<Node>,
    /// True when a `±` occurs: the tree then stands for two answers.
    pub has_plus_minus: bool,
    /// True when an infinity occurs, which is no number to reckon with.
    pub has_infinity: bool,
}
