//! Typed answers: what a tree means.

use std::rc::Rc;

use super::budget::{Budget, Unread};
use super::quotient::Quotient;
use super::tokens::{Operator, Relation};
use super::tree::{Joint, Shape};
use super::units::Unit;

/// A value with what is written behind it.
#[derive(Debug, Clone)]
pub struct Value {
    /// The value; 50 % is one half.
    pub form: Quotient,
    /// True when it is written with a percent sign.
    pub percent: bool,
    /// Its unit.
    pub unit: Option<Unit>,
    /// How many digits stand behind the point, when it is a decimal literal.
    pub decimals: Option<u32>,
    /// Its letters, where it is written with nothing but letters.
    pub letters: Option<Rc<str>>,
}

impl Value {
    /// A form with nothing behind it.
    pub fn plain(form: Quotient) -> Self {
        Self { form, percent: false, unit: None, decimals: None, letters: None }
    }
}

/// One condition: `difference` is related to zero.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Never `>` or `≥`: those are turned round.
    pub relation: Relation,
    /// Left side minus right side.
    pub difference: Quotient,
}

/// What an answer is.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A number or an expression.
    Value(Value),
    /// Several answers; tuples, intervals, sets and bare lists by their shape.
    Sequence(Shape, Vec<Answer>, Joint),
    /// A tuple, a list or a matrix with words behind it.
    Labelled(Box<Answer>, Unit),
    /// All real numbers.
    Reals,
    /// `∪`
    Union(Box<Answer>, Box<Answer>),
    /// `∩`
    Intersection(Box<Answer>, Box<Answer>),
    /// `∖`
    Without(Box<Answer>, Box<Answer>),
    /// `label = value`, and `label ∈ value`.
    Assignment(Assignment),
    /// Equations and inequalities that all hold.
    Conditions(Conditions),
    /// Cells by rows; the rows are `rows`.
    Matrix {
        /// How many rows there are.
        rows: usize,
        /// The cells, row by row.
        cells: Vec<Answer>,
    },
    /// `{element | conditions}` where it is more than the numbers that fulfil conditions.
    Builder(Box<Builder>),
    /// `a ≡ b (mod m)`
    Congruence {
        /// Left side minus right side.
        difference: Quotient,
        /// What it is a multiple of.
        modulus: Quotient,
        /// The right side with its modulus, where the left one is a name: what `r (mod m)` says too.
        residue: Option<Value>,
    },
    /// An operator of which only the structure is known.
    Operation(Operator, Box<[Answer; 2]>),
    /// Words, in lower case.
    Text(String),
    /// What the reader is to continue.
    Dots,
}

/// An equation whose left side is only a name.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The name as written, `f(x)` and `AB` included.
    pub label: String,
    /// The name's own value, for equations about it.
    pub left: Option<Quotient>,
    /// What it is said to be.
    pub value: Box<Answer>,
}

/// Equations and inequalities that all hold.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// Each of them.
    pub all: Vec<Condition>,
    /// The last side, when all are equations.
    pub last: Option<Box<Answer>>,
    /// What is written behind one of its sides.
    pub unit: Option<Unit>,
}

/// A set by its elements.
#[derive(Debug, Clone)]
pub struct Builder {
    /// What stands before the bar.
    pub element: Answer,
    /// Variables and the sets that they run through, in order.
    pub domains: Vec<(String, Answer)>,
    /// What else holds.
    pub conditions: Vec<Condition>,
    /// Written without braces: `2k, k ∈ Z`.
    pub listed: bool,
}

impl Answer {
    /// The answer with another value for a variable.
    ///
    /// # Errors
    /// [`Unread`] where that divides by zero, or a limit is reached.
    pub fn substituted(&self, variable: &str, value: &Quotient, budget: &mut Budget) -> Result<Self, Unread> {
        let mut all = |answers: &[Self]| -> Result<Vec<Self>, Unread> {
            answers.iter().map(|answer| answer.substituted(variable, value, budget)).collect()
        };
        Ok(match self {
            Self::Sequence(shape, items, joint) => Self::Sequence(*shape, all(items)?, *joint),
            Self::Matrix { rows, cells } => Self::Matrix { rows: *rows, cells: all(cells)? },
            Self::Value(own) => {
                Self::Value(Value { form: own.form.substituted(variable, value, budget)?, ..own.clone() })
            }
            Self::Assignment(own) => Self::Assignment(Assignment {
                label: own.label.clone(),
                left: own.left.as_ref().map(|left| left.substituted(variable, value, budget)).transpose()?,
                value: Box::new(own.value.substituted(variable, value, budget)?),
            }),
            other => other.clone(),
        })
    }

    /// A form with nothing behind it.
    pub fn plain(form: Quotient) -> Self {
        Self::Value(Value::plain(form))
    }

    /// The form, when it is a value without a unit.
    pub fn form(&self) -> Option<&Quotient> {
        match self {
            Self::Value(value) => Some(&value.form),
            _ => None,
        }
    }

    /// A list as written, without brackets.
    pub fn list(items: Vec<Answer>) -> Self {
        Self::Sequence(Shape::Bare, items, Joint::Marks)
    }
}
