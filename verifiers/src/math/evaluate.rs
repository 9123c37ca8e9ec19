//! Trees to answers: bottom-up over the arena, exactly, within the step budget.

use std::rc::Rc;

use dashu::{Integer, Rational};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Value};
use super::budget::{Budget, Unread};
use super::number;
use super::polynomial::Atom;
use super::quotient::Quotient;
use super::tokens::Environment;
use super::tree::{Id, Node, Shape, Tree};
use super::units::Unit;

mod functions;
mod infinity;
mod matrices;
mod relations;
mod series;
mod structures;

/// What `\log` without a base means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogBase {
    /// The base is 10.
    #[default]
    Ten,
    /// The base is e.
    Natural,
}

/// How a tree is read where notation leaves a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reader {
    /// What `\log` without a base means.
    pub log_base: LogBase,
    /// In `x = a = b` only the last side counts; otherwise a chain that does not hold is no answer.
    pub last_side_counts: bool,
    /// Variables are numbered in the order in which they occur.
    pub anonymous_variables: bool,
    /// `1/2x` is one over `2x`.
    pub slash_takes_product: bool,
    /// A gold answer is right whatever else its chain of equalities says.
    pub trusts: bool,
}

/// The answer that a tree stands for. A `±` makes two of it.
///
/// # Errors
/// [`Unread`] when some operation has no meaning here, or a limit is reached.
pub fn evaluate(tree: &Tree, reader: Reader, budget: &mut Budget) -> Result<Answer, Unread> {
    let upper = Evaluator::new(tree, reader, true, budget).run()?;
    if !tree.has_plus_minus {
        return Ok(upper);
    }
    let lower = Evaluator::new(tree, reader, false, budget).run()?;
    Ok(both_signs(tree, upper, lower))
}

/// One answer of the two that `±` makes. In a list only the items that hold a `±` are doubled.
fn both_signs(tree: &Tree, upper: Answer, lower: Answer) -> Answer {
    if let (Some(Node::Sequence(shape, ids, _)), Answer::Sequence(_, xs, and), Answer::Sequence(_, ys, _)) =
        (tree.nodes.last(), &upper, &lower)
        && matches!(shape, Shape::Bare | Shape::Set)
        && xs.len() == ids.len()
        && ys.len() == ids.len()
    {
        let doubled = doubled(tree);
        let mut items = Vec::with_capacity(2 * ids.len());
        for (id, (x, y)) in ids.iter().zip(xs.iter().zip(ys)) {
            items.push(x.clone());
            if doubled[*id] {
                items.push(y.clone());
            }
        }
        return Answer::Sequence(*shape, items, *and);
    }
    if let (Answer::Assignment(x), Answer::Assignment(y)) = (&upper, &lower)
        && x.label == y.label
    {
        let value = Box::new(Answer::list(vec![(*x.value).clone(), (*y.value).clone()]));
        return Answer::Assignment(super::answer::Assignment { value, ..x.clone() });
    }
    Answer::list(vec![upper, lower])
}

/// Which nodes hold a `±`.
fn doubled(tree: &Tree) -> Vec<bool> {
    let mut doubled = vec![false; tree.nodes.len()];
    // Children stand before their parents, and a subtree is without gaps: so the first node of a subtree is known.
    for (id, node) in tree.nodes.iter().enumerate() {
        doubled[id] = matches!(node, Node::PlusMinus(..)) || children(node).iter().any(|child| doubled[*child]);
    }
    doubled
}

/// The operands of a node.
fn children(node: &Node) -> Vec<Id> {
    use Node::*;
    match node {
        Number(..) | Pi | Infinity | Reals | Dots | Symbol(_) | Unknown(_) | Text(_) => Vec::new(),
        Indexed(_, a)
        | Negate(a)
        | PlusMinus(None, a, _)
        | Factorial(a, _)
        | Percent(a)
        | Absolute(a)
        | Floor(a)
        | Ceiling(a)
        | Call(_, a)
        | Letters(a, _)
        | Unit(a, _) => vec![*a],
        Add(a, b)
        | Subtract(a, b)
        | PlusMinus(Some(a), b, _)
        | Multiply(a, b)
        | Cross(a, b)
        | Mixed(a, b)
        | Operator(_, a, b)
        | Apply(a, b)
        | Divide(a, b)
        | Power(a, b)
        | Root(a, b)
        | Binomial(a, b)
        | Arrangements(a, b)
        | Logarithm(a, b)
        | Remainder(a, b)
        | Member(a, b)
        | Union(a, b)
        | Intersection(a, b)
        | Without(a, b)
        | Builder(a, b) => vec![*a, *b],
        Congruence(a, b, c) => vec![*a, *b, *c],
        Derivative(a, ..) => vec![*a],
        Big(_, low, high, _, body, _) => low.iter().chain(high).chain([body]).copied().collect(),
        Sequence(_, items, _) | Relation(items, _) | Matrix(_, _, items) => items.clone(),
    }
}

struct Evaluator<'a> {
    tree: &'a Tree,
    reader: Reader,
    /// Which sign `±` is in this pass.
    plus: bool,
    /// Variables that have a value: those that a sum runs over.
    bindings: Vec<(Rc<str>, Rational)>,
    /// Letters that run through a range and are no constants there: the `i` of `Σ_{i=1}^n`.
    letters: Vec<Rc<str>>,
    /// Variables in the order of their occurrence, where they are anonymous.
    variables: Vec<Rc<str>>,
    budget: &'a mut Budget,
}

/// Answers of the nodes before the current one; each is taken once, by its parent.
struct Done {
    /// The node of the first slot.
    first: Id,
    slots: Vec<Option<Answer>>,
}

impl Done {
    fn take(&mut self, id: Id) -> Result<Answer, Unread> {
        let slot = id.checked_sub(self.first).and_then(|at| self.slots.get_mut(at));
        slot.and_then(Option::take).ok_or(Unread::Malformed("an operand used twice"))
    }

    fn take_all(&mut self, ids: &[Id]) -> Result<Vec<Answer>, Unread> {
        ids.iter().map(|id| self.take(*id)).collect()
    }

    /// The operand of an arithmetic operation.
    fn form(&mut self, id: Id) -> Result<Quotient, Unread> {
        form_of(self.take(id)?)
    }

    fn is_matrix(&self, id: Id) -> bool {
        matches!(self.slots.get(id - self.first), Some(Some(Answer::Matrix { .. })))
    }
}

fn form_of(answer: Answer) -> Result<Quotient, Unread> {
    match answer {
        Answer::Value(value) if value.unit.is_none() => Ok(value.form),
        Answer::Value(_) => Err(Unread::Unsupported("arithmetic with units".into())),
        Answer::Text(_) => Err(Unread::Malformed("words among the mathematics")),
        _ => Err(Unread::Unsupported("arithmetic with tuples, sets or relations".into())),
    }
}

impl<'a> Evaluator<'a> {
    fn new(tree: &'a Tree, reader: Reader, plus: bool, budget: &'a mut Budget) -> Self {
        Self { tree, reader, plus, bindings: Vec::new(), letters: Vec::new(), variables: Vec::new(), budget }
    }

    fn run(mut self) -> Result<Answer, Unread> {
        self.range(0, self.tree.nodes.len())
    }

    /// The answer of the last of these nodes, which form a subtree.
    fn range(&mut self, first: Id, end: Id) -> Result<Answer, Unread> {
        let mut done = Done { first, slots: Vec::with_capacity(end - first) };
        for node in &self.tree.nodes[first..end] {
            // What a node becomes is memory of its own, however short its text is.
            self.budget.spend(12)?;
            let answer = self.node(node, &mut done)?;
            done.slots.push(Some(answer));
        }
        done.slots.pop().flatten().ok_or(Unread::Malformed("nothing to read"))
    }

    fn node(&mut self, node: &Node, done: &mut Done) -> Result<Answer, Unread> {
        let form = match node {
            Node::Number(value, decimals) => {
                let form = Quotient::rational(value.clone());
                return Ok(Answer::Value(Value { decimals: *decimals, ..Value::plain(form) }));
            }
            Node::Pi => Quotient::atom(Atom::Pi),
            Node::Infinity => Quotient::atom(Atom::Infinity),
            Node::Reals => return Ok(Answer::Reals),
            Node::Dots => return Ok(Answer::Dots),
            Node::Symbol(name) => self.symbol(name),
            Node::Unknown(name) => Quotient::opaque(name, &[], self.budget)?,
            Node::Indexed(name, index) => {
                let index = done.form(*index)?;
                Quotient::opaque(name, &[&index], self.budget)?
            }
            Node::Negate(of) => return self.negate(done.take(*of)?),
            Node::Percent(of) => return self.percent(done.form(*of)?),
            Node::Unit(of, name) => return unit(done.take(*of)?, name),
            Node::Mixed(of, smaller) => {
                let of = done.take(*of)?;
                return self.mixed(of, done.take(*smaller)?);
            }
            Node::Letters(of, letters) => {
                return Ok(match done.take(*of)? {
                    Answer::Value(value) => Answer::Value(Value { letters: Some(letters.clone()), ..value }),
                    other => other,
                });
            }
            Node::Text(text) => return Ok(Answer::Text(text.clone())),
            Node::Sequence(shape, items, and) => return self.sequence(*shape, done.take_all(items)?, *and),
            Node::Union(a, b) => return Ok(Answer::Union(Box::new(done.take(*a)?), Box::new(done.take(*b)?))),
            Node::Intersection(a, b) => {
                return Ok(Answer::Intersection(Box::new(done.take(*a)?), Box::new(done.take(*b)?)));
            }
            Node::Without(a, b) => return Ok(Answer::Without(Box::new(done.take(*a)?), Box::new(done.take(*b)?))),
            Node::Builder(element, condition) => {
                let element = done.take(*element)?;
                return self.builder(element, done.take(*condition)?);
            }
            Node::Operator(operator, a, b) => return self.operator(*operator, done.take(*a)?, done.take(*b)?),
            Node::Congruence(a, b, by) => {
                let left = done.form(*a)?;
                let difference = left.subtract(&done.form(*b)?, self.budget)?;
                return structures::congruence(&left, difference, done.form(*by)?, self.budget);
            }
            Node::Derivative(of, variable, order) => self.derivative(&done.form(*of)?, variable, *order)?,
            Node::Member(left, right) => return self.member(*left, *right, done),
            Node::Relation(operands, relations) => return self.relation(operands, relations, done),
            Node::Matrix(Environment::Determinant, rows, cells) => self.determinant(*rows, done.take_all(cells)?)?,
            Node::Matrix(_, rows, cells) => return Ok(Answer::Matrix { rows: *rows, cells: done.take_all(cells)? }),
            Node::Big(big, low, high, first, body, variable) => {
                self.big((*big, *low, *high), (*first, *body), variable.as_deref(), done)?
            }
            Node::Call(name, of) => self.call(name, done.take(*of)?)?,
            _ if self.tree.has_infinity
                && let Some(form) = self.beyond_numbers(node, done)? =>
            {
                form
            }
            _ if self.has_matrix(node, done) => return self.matrix_operation(node, done),
            _ => self.operation(node, done)?,
        };
        Ok(Answer::plain(form))
    }

    fn symbol(&mut self, name: &Rc<str>) -> Quotient {
        if let Some((_, value)) = self.bindings.iter().rev().find(|(bound, _)| bound == name) {
            return Quotient::rational(value.clone());
        }
        Quotient::atom(match name.as_ref() {
            _ if self.letters.contains(name) => Atom::Symbol(name.clone()),
            "e" => Atom::Euler,
            "i" => Atom::Imaginary,
            _ if self.reader.anonymous_variables => {
                let at = self.variables.iter().position(|known| known == name).unwrap_or_else(|| {
                    self.variables.push(name.clone());
                    self.variables.len() - 1
                });
                Atom::Symbol(format!("variable {at}").into())
            }
            _ => Atom::Symbol(name.clone()),
        })
    }

    fn operation(&mut self, node: &Node, done: &mut Done) -> Result<Quotient, Unread> {
        match node {
            Node::Add(a, b) => done.form(*a)?.add(&done.form(*b)?, self.budget),
            Node::Subtract(a, b) => done.form(*a)?.subtract(&done.form(*b)?, self.budget),
            Node::PlusMinus(a, b, flipped) => {
                let left = a.map_or(Ok(Quotient::rational(Rational::ZERO)), |a| done.form(a))?;
                let right = done.form(*b)?;
                if self.plus != *flipped { left.add(&right, self.budget) } else { left.subtract(&right, self.budget) }
            }
            Node::Multiply(a, b) => done.form(*a)?.multiply(&done.form(*b)?, self.budget),
            Node::Cross(a, b) => self.cross(&done.form(*a)?, &done.form(*b)?),
            Node::Apply(a, b) => self.apply(*a, done.form(*a)?, done.take(*b)?),
            Node::Divide(a, b) => {
                let over = done.form(*a)?;
                let under = done.form(*b)?.invert(self.budget)?;
                over.multiply(&under, self.budget)
            }
            Node::Power(a, b) => done.form(*a)?.power(&done.form(*b)?, self.budget),
            Node::Root(index, of) => {
                let index = done.form(*index)?;
                done.form(*of)?.root(&index, self.budget)
            }
            Node::Binomial(n, k) => self.binomial(&done.form(*n)?, &done.form(*k)?),
            Node::Arrangements(n, k) => self.arrangements(&done.form(*n)?, &done.form(*k)?),
            Node::Logarithm(base, of) => {
                let base = done.form(*base)?;
                self.logarithm(&base, &done.form(*of)?)
            }
            Node::Remainder(a, b) => self.remainder(&done.form(*a)?, &done.form(*b)?),
            Node::Factorial(of, 1) => self.factorial(&done.form(*of)?),
            Node::Factorial(of, 2) => {
                self.exact_or_opaque("double factorial", &done.form(*of)?, number::double_factorial)
            }
            Node::Factorial(..) => Err(Unread::Unsupported("more than two exclamation marks".into())),
            Node::Absolute(of) => self.absolute(done.form(*of)?),
            Node::Floor(of) => {
                self.exact_or_opaque("floor", &done.form(*of)?, |x, _| Ok(Some(Rational::from(x.floor()))))
            }
            Node::Ceiling(of) => {
                self.exact_or_opaque("ceiling", &done.form(*of)?, |x, _| Ok(Some(Rational::from(x.ceil()))))
            }
            _ => unreachable!("node() answers the leaves and the structures itself"),
        }
    }

    /// The negative; of a decimal literal it is one too.
    fn negate(&mut self, of: Answer) -> Result<Answer, Unread> {
        match of {
            Answer::Value(value) => {
                let form = value.form.negate(self.budget)?;
                Ok(Answer::Value(Value { form, letters: None, ..value }))
            }
            Answer::Matrix { rows, cells } => {
                let cells = cells.into_iter().map(|cell| self.negate(cell)).collect::<Result<_, _>>()?;
                Ok(Answer::Matrix { rows, cells })
            }
            other => form_of(other).map(Answer::plain),
        }
    }

    /// A quantity in two units, in the larger one.
    fn mixed(&mut self, of: Answer, smaller: Answer) -> Result<Answer, Unread> {
        const NONE: Unread = Unread::Malformed("a number behind a unit");
        let (Answer::Value(of), Answer::Value(smaller)) = (of, smaller) else { return Err(NONE) };
        let (Some(unit), Some(part)) = (&of.unit, &smaller.unit) else { return Err(NONE) };
        let share = unit.part(part).ok_or(NONE)?;
        let smaller = smaller.form.multiply(&Quotient::rational(share), self.budget)?;
        Ok(Answer::Value(Value { form: of.form.add(&smaller, self.budget)?, ..of }))
    }

    fn percent(&mut self, of: Quotient) -> Result<Answer, Unread> {
        let hundredth = Quotient::rational(Rational::from_parts(Integer::ONE, 100u8.into()));
        let form = of.multiply(&hundredth, self.budget)?;
        Ok(Answer::Value(Value { percent: true, ..Value::plain(form) }))
    }

    /// `f(x)`: of a letter that hardly ever names a number; of others a product, unless the brackets hold more than a value.
    fn apply(&mut self, name: Id, left: Quotient, right: Answer) -> Result<Quotient, Unread> {
        let function = matches!(&self.tree.nodes[name], Node::Symbol(name) if names_a_function(name));
        match right {
            Answer::Value(value) if value.unit.is_none() && function => {
                let name = left.to_string();
                Quotient::opaque(name.trim_start_matches("1*"), &[&value.form], self.budget)
            }
            Answer::Value(value) if value.unit.is_none() => left.multiply(&value.form, self.budget),
            Answer::Sequence(Shape::Brackets(false, false), items, _) => {
                let forms = items.into_iter().map(form_of).collect::<Result<Vec<_>, _>>()?;
                let name = match &self.tree.nodes[name] {
                    Node::Symbol(name) => name.clone(),
                    _ => return Err(Unread::Unsupported("a product with a tuple".into())),
                };
                Quotient::opaque(&name, &forms.iter().collect::<Vec<_>>(), self.budget)
            }
            other => form_of(other),
        }
    }
}

/// Letters that stand for functions and hardly ever for numbers.
fn names_a_function(name: &str) -> bool {
    matches!(name.trim_end_matches('\''), "f" | "g" | "F" | "G" | "H")
}

/// A quantity with what is written behind it.
fn unit(of: Answer, name: &str) -> Result<Answer, Unread> {
    // An ordinal's letters measure nothing.
    if matches!(name, "th" | "st" | "nd" | "rd") && matches!(of, Answer::Value(_)) {
        return Ok(of);
    }
    match of {
        Answer::Value(value) => {
            // A mark behind anything but a number is a derivative's.
            if name.starts_with('\'') && value.form.as_rational().is_none() {
                return Err(Unread::Unsupported("a mark behind an expression".into()));
            }
            let own = Unit::new(name);
            let unit = Some(match value.unit {
                Some(inner) => inner.with(own),
                None => own,
            });
            Ok(Answer::Value(Value { unit, letters: None, ..value }))
        }
        Answer::Assignment(assignment) => {
            let value = Box::new(unit(*assignment.value, name)?);
            Ok(Answer::Assignment(super::answer::Assignment { value, ..assignment }))
        }
        // "(1, 2) meters" and the like: the words decorate the whole.
        other @ (Answer::Sequence(..) | Answer::Matrix { .. }) => {
            Ok(Answer::Labelled(Box::new(other), Unit::new(name)))
        }
        _ => Err(Unread::Malformed("words behind something that has no unit")),
    }
}
