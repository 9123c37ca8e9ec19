//! Are two typed answers the same? Gold first: what the gold leaves open (a name, a unit, brackets) the other may
//! fill in.

use super::answer::{Answer, Assignment, Condition, Conditions};
use super::budget::{Budget, Unread};
use super::polynomial::Atom;
use super::quotient::Quotient;
use super::region::{self, Region};
use super::tree::Shape;
use super::units::{Fit, Unit};

mod names;
mod relations;
mod sequences;
mod structures;
mod values;

pub use values::{Percent, Units};

/// What a comparison says, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The same.
    Equal(&'static str),
    /// Proved different.
    Different(&'static str),
    /// Neither is proved.
    Unknown(&'static str),
}

/// The switches of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Percent signs.
    pub percent: Percent,
    /// Units of measurement.
    pub units: Units,
    /// Numbers that are within half a unit of this decimal place are the same; exact when absent.
    pub decimal_places: Option<u32>,
    /// Where one side is a decimal literal, both are rounded to so many places.
    pub float_rounding: Option<u32>,
    /// Lists without brackets are compared in order.
    pub ordered_lists: bool,
    /// A condition may stand where the gold is the set of what fulfils it.
    pub relation_for_set: bool,
    /// Of an equation between other things than a name and its value, the last side counts.
    pub last_side_counts: bool,
    /// Texts that differ in the case of letters only are the same.
    pub fold_case: bool,
    /// Sets, tuples and lists in square brackets stand for each other, but for intervals.
    pub any_brackets: bool,
}

/// Compares two answers.
///
/// # Errors
/// [`Unread::Limit`] when the budget runs out.
pub fn compare(gold: &Answer, other: &Answer, policy: Policy, budget: &mut Budget) -> Result<Outcome, Unread> {
    Comparison { policy, budget, depth: 0, within: 0 }.answers(gold, other)
}

/// How deep tuples may hold tuples.
const MAX_DEPTH: usize = 64;

struct Comparison<'a> {
    policy: Policy,
    budget: &'a mut Budget,
    depth: usize,
    /// How many lists, tuples and sets the items that are compared lie in.
    within: usize,
}

impl Comparison<'_> {
    fn answers(&mut self, gold: &Answer, other: &Answer) -> Result<Outcome, Unread> {
        self.budget.spend(8)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unread::Limit("depth"));
        }
        let outcome = self.typed(gold, other)?;
        self.depth -= 1;
        Ok(outcome)
    }

    fn typed(&mut self, gold: &Answer, other: &Answer) -> Result<Outcome, Unread> {
        use Answer::{Labelled, Matrix, Sequence, Text, Value};
        if let Some(outcome) = self.words(gold, other) {
            return Ok(outcome);
        }
        let bare = |answer: &'_ Answer| matches!(answer, Labelled(..));
        if bare(gold) || bare(other) {
            return self.answers(unlabelled(gold), unlabelled(other));
        }
        if let Some(outcome) = self.coordinates(gold, other)? {
            return Ok(outcome);
        }
        if let Some(outcome) = self.as_regions(gold, other)? {
            return Ok(outcome);
        }
        if let Some(outcome) = self.solutions(gold, other)? {
            return Ok(outcome);
        }
        if let Some(outcome) = self.structures(gold, other)? {
            return Ok(outcome);
        }
        match (gold, other) {
            (Value(a), Value(b)) => self.values(a, b),
            (Answer::Assignment(a), Answer::Assignment(b)) => self.assignments(a, b),
            // A name for a set, `A = {x | x > 0}`, may be left off.
            (Answer::Assignment(named), Answer::Conditions(_)) if named.value.form().is_none() => {
                self.answers(&named.value, other)
            }
            (Answer::Conditions(_), Answer::Assignment(named)) if named.value.form().is_none() => {
                self.answers(gold, &named.value)
            }
            (Answer::Assignment(_) | Answer::Conditions(_), Answer::Assignment(_) | Answer::Conditions(_)) => {
                self.relations(gold, other)
            }
            (Answer::Assignment(assignment), _) => self.answers(&assignment.value, other),
            (_, Answer::Assignment(assignment)) => self.answers(gold, &assignment.value),
            (gold, Answer::Conditions(Conditions { last: Some(last), all, .. })) if self.ends_in_value(all, last) => {
                self.answers(gold, last)
            }
            (Answer::Conditions(Conditions { last: Some(last), all, .. }), _)
                if self.policy.last_side_counts && all.len() > 1 =>
            {
                self.answers(last, other)
            }
            // A set of one pair may stand for the pair.
            (Sequence(Shape::Set, xs, _), Sequence(Shape::Brackets(..), ..)) if self.within == 0 && is_one_pair(xs) => {
                self.answers(&xs[0], other)
            }
            (Sequence(Shape::Brackets(..), ..), Sequence(Shape::Set, ys, _)) if self.within == 0 && is_one_pair(ys) => {
                self.answers(gold, &ys[0])
            }
            // An interval from a number to itself is the set of that number.
            (Sequence(Shape::Brackets(true, true), xs, _), Sequence(Shape::Set, ys, _))
                if xs.len() == 2 && ys.len() == 1 && self.all_the_same(xs)? =>
            {
                self.answers(&xs[0], &ys[0])
            }
            (Sequence(Shape::Set, xs, _), Sequence(Shape::Brackets(true, true), ys, _))
                if xs.len() == 1 && ys.len() == 2 && self.all_the_same(ys)? =>
            {
                self.answers(&xs[0], &ys[0])
            }
            (Sequence(a, xs, _), Sequence(b, ys, _)) => self.sequences((*a, xs), (*b, ys)),
            // What is said twice is said once.
            (_, Sequence(Shape::Bare, ys, _)) if !is_list(gold) && ys.len() > 1 && self.all_the_same(ys)? => {
                self.answers(gold, &ys[ys.len() - 1])
            }
            // A system may be written in lines.
            (Matrix { cells, .. }, Sequence(Shape::Bare, items, _))
            | (Sequence(Shape::Bare, items, _), Matrix { cells, .. })
                if cells.iter().all(region::is_equation) =>
            {
                self.as_sets(cells, items)
            }
            (Matrix { rows, cells }, Sequence(Shape::Cases, others, _))
            | (Sequence(Shape::Cases, others, _), Matrix { rows, cells })
                if cells.len() == *rows && others.len() == *rows =>
            {
                self.ordered(cells, others)
            }
            // A set of one may stand for its element, but not within another set.
            (Sequence(Shape::Set, xs, _), _) if xs.len() == 1 && self.within == 0 => self.answers(&xs[0], other),
            (_, Sequence(Shape::Set, ys, _)) if ys.len() == 1 && self.within == 0 => self.answers(gold, &ys[0]),
            (Sequence(Shape::Ratio(_), parts, _), Value(value))
            | (Value(value), Sequence(Shape::Ratio(_), parts, _)) => self.ratio_and_value(parts, value),
            (Matrix { rows, cells }, Matrix { rows: other_rows, cells: others }) => {
                if rows != other_rows {
                    return Ok(Outcome::Different("matrices of different shapes"));
                }
                self.ordered(cells, others)
            }
            // A vector may be written as a tuple.
            (Matrix { rows, cells }, Sequence(Shape::Brackets(false, false), items, _))
            | (Sequence(Shape::Brackets(false, false), items, _), Matrix { rows, cells })
                if *rows == 1 || *rows == cells.len() =>
            {
                self.ordered(cells, items)
            }
            (Text(a), Text(b)) if a == b || sequences::is_none(a) && sequences::is_none(b) => {
                Ok(Outcome::Equal("the same words"))
            }
            // A word that LaTeX has spelt as a product of letters.
            (Text(text), Value(value)) | (Value(value), Text(text))
                if value.letters.as_ref().is_some_and(|letters| letters.to_lowercase() == *text) =>
            {
                Ok(Outcome::Equal("the same word"))
            }
            (Text(_), Text(_)) => Ok(Outcome::Different("different words")),
            (Answer::Dots, Answer::Dots) => Ok(Outcome::Equal("both go on")),
            (Answer::Conditions(_), other) | (other, Answer::Conditions(_)) if region::is_set(other) => {
                Ok(Outcome::Unknown("a condition that is not solved"))
            }
            _ => Ok(Outcome::Different("answers of different kinds")),
        }
    }

    /// What words behind tuples, matrices and conditions decide: different ones are different answers.
    fn words(&self, gold: &Answer, other: &Answer) -> Option<Outcome> {
        if self.policy.units != Units::Checked || matches!((gold, other), (Answer::Value(_), Answer::Value(_))) {
            return None;
        }
        let (a, b) = (words_behind(gold)?, words_behind(other)?);
        match a.against(b) {
            Fit::Same => None,
            Fit::Differ => Some(Outcome::Different("other words behind it")),
            Fit::Times(_) if matches!((gold, other), (Answer::Assignment(_), Answer::Assignment(_))) => None,
            Fit::Times(_) => Some(Outcome::Unknown("the units differ and are not converted")),
        }
    }

    /// Whether an equation tells a value: `a + b = 5` does, `3x - y + 13 = 0` is an equation, and `3 = 5` is wrong.
    fn ends_in_value(&self, all: &[Condition], last: &Answer) -> bool {
        let has_variables = |form: &Quotient| form.atoms().any(|atom| matches!(atom, Atom::Symbol(_)));
        match last.form() {
            Some(last) if all.len() == 1 && all.iter().any(|c| has_variables(&c.difference)) => {
                !has_variables(last) && last.as_rational().is_none_or(|last| !last.is_zero())
            }
            _ => self.policy.last_side_counts,
        }
    }

    /// Compares sets of real numbers, where both sides are ones: intervals, unions, and conditions on one unknown.
    fn as_regions(&mut self, gold: &Answer, other: &Answer) -> Result<Option<Outcome>, Unread> {
        let words = |answer: &Answer| match answer {
            Answer::Text(text) => sequences::set_in_words(text),
            _ => None,
        };
        let (gold_words, other_words) = (words(gold), words(other));
        let (gold, other) = (gold_words.as_ref().unwrap_or(gold), other_words.as_ref().unwrap_or(other));
        let (gold_set, other_set) = (region::is_set(gold), region::is_set(other));
        let (gold_relation, other_relation) = (region::is_relation(gold), region::is_relation(other));
        let wanted = match (gold_set, gold_relation, other_set, other_relation) {
            // Pairs are compared as such: as intervals they might not even be ones.
            (true, _, true, _) => !(is_pair(gold) && is_pair(other)),
            (_, true, true, _) => true,
            (true, _, _, true) => {
                if !self.policy.relation_for_set {
                    return Ok(Some(Outcome::Different("a condition where the gold is a set")));
                }
                true
            }
            // Lists of conditions may say the same in different words.
            (_, true, _, true) => is_list(gold) || is_list(other),
            (true, ..) => !is_pair(gold) && matches!(other, Answer::Sequence(Shape::Set, ..)),
            (_, _, true, _) => !is_pair(other) && matches!(gold, Answer::Sequence(Shape::Set, ..)),
            _ => false,
        };
        if !wanted {
            return Ok(None);
        }
        let (Some(gold), Some(other)) = (Region::of(gold, self.budget)?, Region::of(other, self.budget)?) else {
            return Ok(None);
        };
        self.regions(&gold, &other).map(Some)
    }
}

/// What is written behind an answer as a whole.
fn words_behind(answer: &Answer) -> Option<&Unit> {
    match answer {
        Answer::Labelled(_, unit) => Some(unit),
        Answer::Conditions(conditions) => conditions.unit.as_ref(),
        Answer::Assignment(assignment) => words_behind(&assignment.value),
        Answer::Value(value) => value.unit.as_ref(),
        _ => None,
    }
}

fn unlabelled(answer: &Answer) -> &Answer {
    match answer {
        Answer::Labelled(inner, _) => inner,
        other => other,
    }
}

fn is_pair(answer: &Answer) -> bool {
    match answer {
        Answer::Sequence(Shape::Brackets(..), ..) => true,
        Answer::Assignment(Assignment { left: None, value, .. }) => is_pair(value),
        _ => false,
    }
}

fn is_one_pair(items: &[Answer]) -> bool {
    matches!(items, [Answer::Sequence(Shape::Brackets(false, false), ..)])
}

fn is_list(answer: &Answer) -> bool {
    matches!(answer, Answer::Sequence(..))
}
