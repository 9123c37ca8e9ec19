//! Sets by their elements, families of answers, and operators of which only the structure is known.

use super::Evaluator;
use crate::math::answer::{Answer, Assignment, Builder, Conditions, Value};
use crate::math::budget::{Budget, Unread};
use crate::math::polynomial::Atom;
use crate::math::quotient::Quotient;
use crate::math::tokens::Operator;
use crate::math::tree::{Joint, Shape};
use crate::math::units::Unit;

impl Evaluator<'_> {
    /// `{element | condition}`. What says nothing but which real numbers fulfil conditions is those conditions;
    /// everything else keeps its parts.
    pub(super) fn builder(&mut self, element: Answer, condition: Answer) -> Result<Answer, Unread> {
        let items = match condition {
            Answer::Sequence(Shape::Bare, items, _) => items,
            single => vec![single],
        };
        let (mut domains, mut others, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
        let element = match element {
            Answer::Assignment(Assignment { label, left: None, value }) => {
                domains.push((label.clone(), *value));
                Answer::plain(Quotient::atom(Atom::Symbol(label.as_str().into())))
            }
            other => other,
        };
        for item in items {
            match item {
                Answer::Assignment(Assignment { label, left: None, value }) => domains.push((label, *value)),
                Answer::Conditions(Conditions { ref all, .. }) => {
                    conditions.extend(all.iter().cloned());
                    others.push(item);
                }
                Answer::Assignment(Assignment { left: Some(ref left), ref value, .. }) => {
                    let right = value.form().ok_or_else(|| Unread::Unsupported("a condition on a set".into()))?;
                    let difference = left.subtract(right, self.budget)?;
                    let relation = crate::math::tokens::Relation::Equal;
                    conditions.push(crate::math::answer::Condition { relation, difference });
                    others.push(item);
                }
                _ => return Err(Unread::Unsupported("a set with a condition of this kind".into())),
            }
        }
        let name = element.form().and_then(plain_name);
        let real = domains.iter().all(|(label, domain)| name == Some(label) && matches!(domain, Answer::Reals));
        if let Some(name) = name
            && real
            && conditions.iter().all(|condition| only_holds(&condition.difference, name))
        {
            match others.len() {
                0 if domains.len() == 1 => return Ok(Answer::Reals),
                1 => return Ok(others.remove(0)),
                2.. => return Ok(Answer::Sequence(Shape::Bare, others, Joint::And)),
                _ => {}
            }
        }
        if let (Some(name), [(label, _)], true) = (name, domains.as_slice(), conditions.is_empty())
            && name == label
        {
            return Ok(domains.remove(0).1);
        }
        Ok(Answer::Builder(Box::new(Builder { element, domains, conditions, listed: false })))
    }

    /// Items as written; `2kπ, k ∈ Z` is a family.
    pub(super) fn sequence(&mut self, shape: Shape, mut items: Vec<Answer>, joint: Joint) -> Result<Answer, Unread> {
        let is_domain = |item: &Answer| matches!(item, Answer::Assignment(Assignment { left: None, value, .. }) if is_discrete(value));
        if shape != Shape::Bare || !items.last().is_some_and(is_domain) || items.len() < 2 {
            return Ok(Answer::Sequence(shape, items, joint));
        }
        let Some(Answer::Assignment(Assignment { label, value, .. })) = items.pop() else {
            unreachable!("asked above");
        };
        if !items.iter().any(|item| holds(item, &label)) {
            items.push(Answer::Assignment(Assignment { label, left: None, value }));
            return Ok(Answer::Sequence(shape, items, joint));
        }
        let element = if items.len() == 1 { items.remove(0) } else { Answer::Sequence(shape, items, joint) };
        Ok(Answer::Builder(Box::new(Builder {
            element,
            domains: vec![(label, *value)],
            conditions: Vec::new(),
            listed: true,
        })))
    }

    /// Conditions joined by `∧` and `∨` are lists of conditions; anything else is a structure.
    pub(super) fn operator(&mut self, operator: Operator, a: Answer, b: Answer) -> Result<Answer, Unread> {
        let joint = if operator == Operator::And { Joint::And } else { Joint::Or };
        let joins = matches!(operator, Operator::And | Operator::Or);
        if !(joins && is_condition(&a, joint) && is_condition(&b, joint)) {
            return Ok(Answer::Operation(operator, Box::new([a, b])));
        }
        let mut items = Vec::new();
        for side in [a, b] {
            match side {
                Answer::Sequence(Shape::Bare, more, _) => items.extend(more),
                single => items.push(single),
            }
        }
        Ok(Answer::Sequence(Shape::Bare, items, joint))
    }

    /// The product, and of vectors the cross product, which turns its sign with its order.
    pub(super) fn cross(&mut self, a: &Quotient, b: &Quotient) -> Result<Quotient, Unread> {
        if !(has_vector(a) && has_vector(b)) {
            return a.multiply(b, self.budget);
        }
        if a.to_string() <= b.to_string() {
            Quotient::opaque("cross", &[a, b], self.budget)
        } else {
            Quotient::opaque("cross", &[b, a], self.budget)?.negate(self.budget)
        }
    }
}

/// `left ≡ right (mod modulus)`, `difference` being left minus right.
pub(super) fn congruence(
    left: &Quotient,
    difference: Quotient,
    modulus: Quotient,
    budget: &mut Budget,
) -> Result<Answer, Unread> {
    let residue = match plain_name(left) {
        Some(_) => {
            let unit = Some(Unit::new(&format!("mod{}", modulus.to_string().trim_start_matches("1*"))));
            Some(Value { unit, ..Value::plain(left.subtract(&difference, budget)?) })
        }
        None => None,
    };
    Ok(Answer::Congruence { difference, modulus, residue })
}

fn has_vector(form: &Quotient) -> bool {
    form.atoms().any(|atom| matches!(atom, Atom::Opaque(opaque) if opaque.function.starts_with("vector ") || *opaque.function == *"cross"))
}

/// The name, when a form is one variable.
fn plain_name(form: &Quotient) -> Option<&str> {
    let (monomial, coefficient) = form.numerator().as_term().filter(|_| form.is_whole())?;
    match monomial.as_slice() {
        [(Atom::Symbol(name), power)] if power.is_one() && coefficient.is_one() => Some(name),
        _ => None,
    }
}

fn only_holds(form: &Quotient, name: &str) -> bool {
    let mut names = std::collections::BTreeSet::new();
    form.collect_variables(&mut names);
    names.iter().all(|other| *other == name)
}

/// The integers, the natural numbers and the like, by their signs.
fn is_discrete(domain: &Answer) -> bool {
    let text = domain.form().map(ToString::to_string).unwrap_or_default();
    text.contains("\\mathbb{") || text == "1*Z" || text == "1*N"
}

fn is_condition(answer: &Answer, joint: Joint) -> bool {
    match answer {
        Answer::Conditions(_) | Answer::Assignment(_) => true,
        Answer::Sequence(Shape::Bare, items, own) => {
            *own == joint && items.iter().all(|item| is_condition(item, joint))
        }
        _ => false,
    }
}

fn holds(answer: &Answer, variable: &str) -> bool {
    match answer {
        Answer::Value(value) => value.form.holds(variable),
        Answer::Sequence(_, items, _) => items.iter().any(|item| holds(item, variable)),
        Answer::Assignment(assignment) => holds(&assignment.value, variable),
        _ => false,
    }
}
