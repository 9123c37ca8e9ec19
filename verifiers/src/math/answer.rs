//! Typed answers: what a tree means. Evaluated bottom-up over the arena, exactly, within the step budget.

use dashu::{Integer, Rational};

use super::budget::{Budget, Unread};
use super::lexer::Relation;
use super::number;
use super::parser::{Id, Node, Shape, Tree};
use super::polynomial::Atom;
use super::quotient::Quotient;

/// A value with what is written behind it.
#[derive(Debug, Clone)]
pub struct Value {
    /// The value; 50 % is one half.
    pub form: Quotient,
    /// True when it is written with a percent sign.
    pub percent: bool,
    /// The words of its unit, as written.
    pub unit: Option<String>,
}

/// One side of a system of conditions: `difference` is related to zero.
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
    Sequence(Shape, Vec<Answer>),
    /// `∪` of its parts.
    Union(Vec<Answer>),
    /// `x = …`, and `x ∈ …`.
    Assignment(String, Box<Answer>),
    /// Equations and inequalities that all hold.
    Conditions(Vec<Condition>),
    /// Words, in lower case.
    Text(String),
}

/// The answer that a tree stands for. A `±` makes it a list of two.
///
/// # Errors
/// [`Unread`] when some operation has no meaning here, or a limit is reached.
pub fn evaluate(tree: &Tree, budget: &mut Budget) -> Result<Answer, Unread> {
    let upper = Evaluator { tree, plus: true, budget }.run()?;
    if !tree.has_plus_minus {
        return Ok(upper);
    }
    let lower = Evaluator { tree, plus: false, budget }.run()?;
    Ok(Answer::Sequence(Shape::Bare, vec![upper, lower]))
}

struct Evaluator<'a> {
    tree: &'a Tree,
    /// Which sign `±` is in this pass.
    plus: bool,
    budget: &'a mut Budget,
}

/// Answers of the nodes before the current one; each is taken once, by its parent.
type Done = Vec<Option<Answer>>;

impl Evaluator<'_> {
    fn run(mut self) -> Result<Answer, Unread> {
        let mut done: Done = Vec::with_capacity(self.tree.nodes.len());
        for node in &self.tree.nodes {
            self.budget.spend(4)?;
            let answer = self.node(node, &mut done)?;
            done.push(Some(answer));
        }
        done.pop().flatten().ok_or(Unread::Malformed("nothing to read"))
    }

    fn node(&mut self, node: &Node, done: &mut Done) -> Result<Answer, Unread> {
        let form = match node {
            Node::Number(value) => Quotient::rational(value.clone()),
            Node::Pi => Quotient::atom(Atom::Pi),
            Node::Infinity => Quotient::atom(Atom::Infinity),
            Node::Symbol(name) => Quotient::atom(match name.as_str() {
                "e" => Atom::Euler,
                "i" => Atom::Imaginary,
                _ => Atom::Symbol(name.clone()),
            }),
            Node::Percent(of) => return self.percent(form(*of, done)?),
            Node::Unit(of, name) => return unit(take(*of, done)?, name),
            Node::Text(text) => return Ok(Answer::Text(text.clone())),
            Node::Sequence(shape, items) => return Ok(Answer::Sequence(*shape, take_all(items, done)?)),
            Node::Union(parts) => return Ok(Answer::Union(take_all(parts, done)?)),
            Node::Member(left, right) => {
                let name =
                    self.name(*left).ok_or_else(|| Unread::Unsupported("a membership of an expression".into()))?;
                return Ok(Answer::Assignment(name, Box::new(take(*right, done)?)));
            }
            Node::Relation(operands, relations) => return self.relation(operands, relations, done),
            _ => self.operation(node, done)?,
        };
        Ok(plain(form))
    }

    fn operation(&mut self, node: &Node, done: &mut Done) -> Result<Quotient, Unread> {
        match node {
            Node::Negate(a) => form(*a, done)?.negate(self.budget),
            Node::Add(a, b) => form(*a, done)?.add(&form(*b, done)?, self.budget),
            Node::Subtract(a, b) => form(*a, done)?.subtract(&form(*b, done)?, self.budget),
            Node::PlusMinus(a, b, flipped) => {
                let left = a.map_or(Ok(Quotient::rational(Rational::ZERO)), |a| form(a, done))?;
                let right = form(*b, done)?;
                if self.plus != *flipped { left.add(&right, self.budget) } else { left.subtract(&right, self.budget) }
            }
            Node::Multiply(a, b) => form(*a, done)?.multiply(&form(*b, done)?, self.budget),
            Node::Divide(a, b) => {
                let over = form(*a, done)?;
                let under = form(*b, done)?.invert(self.budget)?;
                over.multiply(&under, self.budget)
            }
            Node::Power(a, b) => form(*a, done)?.power(&form(*b, done)?, self.budget),
            Node::Root(index, of) => {
                let index = form(*index, done)?;
                form(*of, done)?.root(&index, self.budget)
            }
            Node::Binomial(n, k) => self.binomial(&form(*n, done)?, &form(*k, done)?),
            Node::Call(name, of) => self.call(name, &form(*of, done)?),
            Node::Factorial(of) => self.exact_or_opaque("factorial", &form(*of, done)?, number::factorial),
            Node::Absolute(of) => self.exact_or_opaque("abs", &form(*of, done)?, |x, _| Ok(Some(number::magnitude(x)))),
            Node::Floor(of) => {
                self.exact_or_opaque("floor", &form(*of, done)?, |x, _| Ok(Some(Rational::from(x.floor()))))
            }
            Node::Ceiling(of) => {
                self.exact_or_opaque("ceiling", &form(*of, done)?, |x, _| Ok(Some(Rational::from(x.ceil()))))
            }
            _ => unreachable!("node() answers the leaves and the structures itself"),
        }
    }

    /// A function of a rational number that has an exact value, else the symbol of it.
    fn exact_or_opaque(
        &mut self,
        name: &str,
        of: &Quotient,
        exact: impl Fn(&Rational, &mut Budget) -> Result<Option<Rational>, Unread>,
    ) -> Result<Quotient, Unread> {
        if let Some(argument) = of.as_rational()
            && let Some(value) = exact(&argument, self.budget)?
        {
            return Ok(Quotient::rational(value));
        }
        Quotient::opaque(name, &[of], self.budget)
    }

    fn binomial(&mut self, n: &Quotient, k: &Quotient) -> Result<Quotient, Unread> {
        if let (Some(n), Some(k)) = (n.as_rational(), k.as_rational())
            && let Some(value) = number::binomial(&n, &k, self.budget)?
        {
            return Ok(Quotient::rational(value));
        }
        Quotient::opaque("binomial", &[n, k], self.budget)
    }

    fn call(&mut self, name: &str, of: &Quotient) -> Result<Quotient, Unread> {
        let argument = of.as_rational();
        match name {
            "exp" => Quotient::atom(Atom::Euler).power(of, self.budget),
            "ln" | "log" if argument.as_ref().is_some_and(|x| x.is_one()) => Ok(Quotient::rational(Rational::ZERO)),
            "ln" if *of == Quotient::atom(Atom::Euler) => Ok(Quotient::rational(Rational::ONE)),
            "sin" | "tan" | "arcsin" | "arctan" if argument.as_ref().is_some_and(Rational::is_zero) => {
                Ok(Quotient::rational(Rational::ZERO))
            }
            "cos" if argument.as_ref().is_some_and(Rational::is_zero) => Ok(Quotient::rational(Rational::ONE)),
            _ => Quotient::opaque(name, &[of], self.budget),
        }
    }

    fn percent(&mut self, of: Quotient) -> Result<Answer, Unread> {
        let hundredth = Quotient::rational(Rational::from_parts(Integer::ONE, 100u8.into()));
        Ok(Answer::Value(Value { form: of.multiply(&hundredth, self.budget)?, percent: true, unit: None }))
    }

    /// The name on the left of an assignment: a variable, or a function of one.
    fn name(&self, id: Id) -> Option<String> {
        match &self.tree.nodes[id] {
            Node::Symbol(name) if name != "e" && name != "i" => Some(name.clone()),
            Node::Multiply(f, x) => match (&self.tree.nodes[*f], &self.tree.nodes[*x]) {
                (Node::Symbol(f), Node::Symbol(x)) if matches!(f.as_str(), "f" | "g" | "h" | "p" | "P" | "F" | "G") => {
                    Some(format!("{f}({x})"))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn relation(&mut self, operands: &[Id], relations: &[Relation], done: &mut Done) -> Result<Answer, Unread> {
        let equalities = relations.iter().all(|relation| *relation == Relation::Equal);
        let name = self.name(operands[0]).filter(|_| equalities);
        let mut sides = take_all(operands, done)?;
        if let Some(name) = name {
            let value = sides.pop().expect("a relation has two sides");
            for middle in &sides[1..] {
                self.same_value(middle, &value)?;
            }
            return Ok(Answer::Assignment(name, Box::new(value)));
        }
        let mut conditions = Vec::with_capacity(relations.len());
        for (pair, relation) in sides.windows(2).zip(relations) {
            let (left, right) = (quantity(&pair[0])?, quantity(&pair[1])?);
            let (small, large, relation) = match relation {
                Relation::Greater => (right, left, Relation::Less),
                Relation::AtLeast => (right, left, Relation::AtMost),
                other => (left, right, *other),
            };
            conditions.push(Condition { relation, difference: small.subtract(large, self.budget)? });
        }
        Ok(Answer::Conditions(conditions))
    }

    /// In `x = 1 + 1 = 2` every link must hold: a chain of different values is not an answer.
    fn same_value(&mut self, middle: &Answer, last: &Answer) -> Result<(), Unread> {
        if quantity(middle)?.equals(quantity(last)?, self.budget)? {
            Ok(())
        } else {
            Err(Unread::Malformed("a chain of equalities that does not hold"))
        }
    }
}

fn plain(form: Quotient) -> Answer {
    Answer::Value(Value { form, percent: false, unit: None })
}

fn take(id: Id, done: &mut Done) -> Result<Answer, Unread> {
    done[id].take().ok_or(Unread::Malformed("an operand used twice"))
}

fn take_all(ids: &[Id], done: &mut Done) -> Result<Vec<Answer>, Unread> {
    ids.iter().map(|id| take(*id, done)).collect()
}

/// The operand of an arithmetic operation.
fn form(id: Id, done: &mut Done) -> Result<Quotient, Unread> {
    match take(id, done)? {
        Answer::Value(value) if value.unit.is_none() => Ok(value.form),
        Answer::Value(_) => Err(Unread::Unsupported("arithmetic with units".into())),
        Answer::Text(_) => Err(Unread::Malformed("words among the mathematics")),
        _ => Err(Unread::Unsupported("arithmetic with tuples, sets or relations".into())),
    }
}

fn quantity(answer: &Answer) -> Result<&Quotient, Unread> {
    match answer {
        Answer::Value(value) => Ok(&value.form),
        _ => Err(Unread::Unsupported("a relation between other things than values".into())),
    }
}

fn unit(of: Answer, name: &str) -> Result<Answer, Unread> {
    match of {
        Answer::Value(value) if value.unit.is_none() => {
            Ok(Answer::Value(Value { unit: Some(name.to_owned()), ..value }))
        }
        // "(1, 2) meters" and the like: the words decorate the whole.
        other @ Answer::Sequence(..) => Ok(other),
        _ => Err(Unread::Malformed("words behind something that has no unit")),
    }
}
