//! Tuples, lists, sets, ratios and sets of real numbers.

use dashu::Rational;

use super::{Comparison, Outcome, Units};
use crate::math::answer::{Answer, Value};
use crate::math::budget::Unread;
use crate::math::quotient::Quotient;
use crate::math::region::{self, End, Region};
use crate::math::tree::{Joint, Shape};
use crate::math::units::Fit;

impl Comparison<'_> {
    pub(super) fn sequences(
        &mut self,
        (gold_shape, gold): (Shape, &[Answer]),
        (shape, other): (Shape, &[Answer]),
    ) -> Result<Outcome, Unread> {
        use Shape::{Bare, Brackets, Cases, Ratio, Set};
        if gold_shape == Bare
            && shape == Bare
            && let Some(outcome) = self.by_names(gold, other)?
        {
            return Ok(outcome);
        }
        match (gold_shape, shape) {
            (Set, Set | Bare) | (Bare, Set) => self.as_sets(gold, other),
            (Bare, Bare) if self.policy.ordered_lists => self.ordered(gold, other),
            (Bare, Bare) => self.as_lists(gold, other),
            // Only an interval mixes its brackets, and one kind of brackets does not stand for the other.
            (Brackets(false, false), Bare) => self.ordered(gold, &by_name(other)),
            (Bare, Brackets(a, b)) if a == b => self.ordered(&by_name(gold), other),
            (Cases, Cases) => self.cases(gold, other),
            // A system may be written in a line.
            (Cases, Bare) | (Bare, Cases) if gold.iter().chain(other).all(region::is_equation) => {
                self.as_sets(gold, other)
            }
            (Cases, Brackets(false, false)) => self.ordered(&by_name(gold), other),
            (Brackets(false, false), Cases) => self.ordered(gold, &by_name(other)),
            (Ratio(true), Ratio(true)) => self.ordered(gold, other),
            (Ratio(_), Ratio(_)) => self.ratios(gold, other),
            (a, b) if a == b => self.ordered(gold, other),
            (Set, Brackets(a, b)) if self.any_brackets(a, b, other) => self.as_sets(gold, other),
            (Brackets(a, b), Set) if self.any_brackets(a, b, gold) => self.as_sets(gold, other),
            (Brackets(a, b), Bare) if self.policy.any_brackets && a == b && gold.len() != 2 => {
                self.ordered(gold, other)
            }
            (Brackets(a, b), Brackets(c, d)) if self.policy.any_brackets && a == b && c == d && gold.len() != 2 => {
                self.ordered(gold, other)
            }
            _ => Ok(Outcome::Different("brackets of different kinds")),
        }
    }

    /// Whether a set may stand for a tuple: two items in brackets that close are an interval, and so are two that descend.
    fn any_brackets(&self, opens: bool, closes: bool, items: &[Answer]) -> bool {
        self.policy.any_brackets && opens == closes && (items.len() != 2 || !opens && !ascend(items))
    }

    /// The rows of two definitions by cases, in any order.
    fn cases(&mut self, gold: &[Answer], other: &[Answer]) -> Result<Outcome, Unread> {
        let row = |row: &Answer| region::is_equation(row) || matches!(row, Answer::Sequence(..));
        match self.ordered(gold, other)? {
            Outcome::Different(_) if gold.iter().any(row) => self.unordered(gold, other),
            outcome => Ok(outcome),
        }
    }

    pub(super) fn ordered(&mut self, gold: &[Answer], other: &[Answer]) -> Result<Outcome, Unread> {
        if gold.len() != other.len() {
            return Ok(Outcome::Different("different numbers of items"));
        }
        let mut unknown = None;
        for (a, b) in gold.iter().zip(other) {
            match self.item(a, b)? {
                Outcome::Equal(_) => {}
                Outcome::Different(_) => return Ok(Outcome::Different("an item differs")),
                Outcome::Unknown(why) => unknown = Some(why),
            }
        }
        Ok(unknown.map_or(Outcome::Equal("the same items in order"), Outcome::Unknown))
    }

    /// Two items of lists, tuples or sets.
    fn item(&mut self, gold: &Answer, other: &Answer) -> Result<Outcome, Unread> {
        // Pairs of long lists are many, and each is dearer than what it counts itself.
        self.budget.spend(180)?;
        self.within += 1;
        let outcome = self.answers(gold, other);
        self.within -= 1;
        outcome
    }

    pub(super) fn as_sets(&mut self, gold: &[Answer], other: &[Answer]) -> Result<Outcome, Unread> {
        if let (Some(a), Some(b)) = (numbers(gold), numbers(other)) {
            if a == b {
                return Ok(Outcome::Equal("the same numbers"));
            }
            if self.policy.float_rounding.is_none() && self.policy.decimal_places.is_none() {
                return Ok(Outcome::Different("an item is missing"));
            }
        }
        if gold.len() == other.len()
            && let equal @ Outcome::Equal(_) = self.unordered(gold, other)?
        {
            return Ok(equal);
        }
        let (gold, other) = (self.distinct(gold)?, self.distinct(other)?);
        self.unordered(&gold, &other)
    }

    /// Lists in any order. Of as many items each counts; in a shorter list what the other repeats is said once.
    fn as_lists(&mut self, gold: &[Answer], other: &[Answer]) -> Result<Outcome, Unread> {
        if gold.len() != other.len() {
            return self.as_sets(gold, other);
        }
        if let (Some(a), Some(b)) = (sorted(gold), sorted(other)) {
            if a == b {
                return Ok(Outcome::Equal("the same numbers"));
            }
            if self.policy.float_rounding.is_none() && self.policy.decimal_places.is_none() {
                return Ok(Outcome::Different("an item is missing"));
            }
        }
        self.unordered(gold, other)
    }

    /// Pairs equal items off, each once.
    fn unordered(&mut self, gold: &[Answer], other: &[Answer]) -> Result<Outcome, Unread> {
        if gold.len() != other.len() {
            return Ok(Outcome::Different("different numbers of items"));
        }
        let mut left: Vec<&Answer> = other.iter().collect();
        let (mut missing, mut unknown) = (false, None);
        'gold: for item in gold {
            let mut undecided = None;
            for at in 0..left.len() {
                match self.item(item, left[at])? {
                    Outcome::Equal(_) => {
                        left.remove(at);
                        continue 'gold;
                    }
                    Outcome::Unknown(why) => undecided = Some(why),
                    Outcome::Different(_) => {}
                }
            }
            match undecided {
                Some(why) => unknown = Some(why),
                None => missing = true,
            }
        }
        Ok(match (missing, unknown) {
            (true, _) => Outcome::Different("an item is missing"),
            (false, Some(why)) => Outcome::Unknown(why),
            (false, None) => Outcome::Equal("the same items"),
        })
    }

    /// Whether a list says one thing several times.
    pub(super) fn all_the_same(&mut self, items: &[Answer]) -> Result<bool, Unread> {
        for pair in items.windows(2) {
            if !matches!(self.item(&pair[0], &pair[1])?, Outcome::Equal(_)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The items without repetitions.
    fn distinct(&mut self, items: &[Answer]) -> Result<Vec<Answer>, Unread> {
        let mut kept: Vec<Answer> = Vec::new();
        'items: for item in items {
            for seen in &kept {
                if matches!(self.item(seen, item)?, Outcome::Equal(_)) {
                    continue 'items;
                }
            }
            kept.push(item.clone());
        }
        Ok(kept)
    }

    /// `a : b = c : d` where `a d = b c`, part by part.
    fn ratios(&mut self, gold: &[Answer], other: &[Answer]) -> Result<Outcome, Unread> {
        if gold.len() != other.len() {
            return Ok(Outcome::Different("different numbers of parts"));
        }
        for (a, b) in gold.iter().zip(other) {
            if let (Answer::Value(Value { unit: Some(a), .. }), Answer::Value(Value { unit: Some(b), .. })) = (a, b)
                && self.policy.units == Units::Checked
                && a.against(b) != Fit::Same
            {
                return Ok(Outcome::Unknown("ratios of other things"));
            }
        }
        let forms = |parts: &[Answer]| parts.iter().map(|part| part.form().cloned()).collect::<Option<Vec<Quotient>>>();
        let (Some(a), Some(b)) = (forms(gold), forms(other)) else { return self.ordered(gold, other) };
        // With nothing on one side products say nothing: `9:00` is not `8:00`.
        if a.iter().chain(&b).any(|part| part.numerator().is_zero()) {
            return self.ordered(gold, other);
        }
        for at in 1..a.len() {
            let left = Value::plain(a[0].multiply(&b[at], self.budget)?);
            let right = Value::plain(b[0].multiply(&a[at], self.budget)?);
            match self.values(&left, &right)? {
                Outcome::Equal(_) => {}
                other => return Ok(other),
            }
        }
        Ok(Outcome::Equal("the same ratio"))
    }

    /// A ratio of two is a quotient.
    pub(super) fn ratio_and_value(&mut self, parts: &[Answer], value: &Value) -> Result<Outcome, Unread> {
        let [Answer::Value(over), Answer::Value(under)] = parts else {
            return Ok(Outcome::Different("answers of different kinds"));
        };
        if under.form.as_rational().is_some_and(|under| under.is_zero()) {
            return Ok(Outcome::Different("a ratio to nothing"));
        }
        let quotient = over.form.multiply(&under.form.invert(self.budget)?, self.budget)?;
        self.values(value, &Value::plain(quotient))
    }

    pub(super) fn regions(&mut self, gold: &Region, other: &Region) -> Result<Outcome, Unread> {
        if gold.intervals.len() != other.intervals.len() {
            return Ok(Outcome::Different("sets of different parts"));
        }
        for (a, b) in gold.intervals.iter().zip(&other.intervals) {
            for (a, b) in [(&a.low, &b.low), (&a.high, &b.high)] {
                match (&a.0, &b.0) {
                    _ if a.1 != b.1 => return Ok(Outcome::Different("one end is open and one closed")),
                    (End::Below, End::Below) | (End::Above, End::Above) => {}
                    (End::At(a), End::At(b)) => match self.values(a, b)? {
                        Outcome::Equal(_) => {}
                        Outcome::Different(_) => return Ok(Outcome::Different("intervals end at different places")),
                        unknown => return Ok(unknown),
                    },
                    _ => return Ok(Outcome::Different("intervals end at different places")),
                }
            }
        }
        Ok(Outcome::Equal("the same set"))
    }
}

/// The distinct numbers of a long list in ascending order.
fn numbers(items: &[Answer]) -> Option<Vec<Rational>> {
    let mut numbers = sorted(items)?;
    numbers.dedup();
    Some(numbers)
}

/// The numbers of a long list in ascending order, so that not all pairs need to be tried.
fn sorted(items: &[Answer]) -> Option<Vec<Rational>> {
    const MIN_ITEMS: usize = 8;
    let plain = |item: &Answer| match item {
        Answer::Value(value) if value.unit.is_none() && !value.percent => value.form.as_rational(),
        _ => None,
    };
    let mut numbers = (items.len() >= MIN_ITEMS).then(|| items.iter().map(plain).collect::<Option<Vec<_>>>())??;
    numbers.sort();
    Some(numbers)
}

/// Whether two numbers ascend, as the ends of an interval do.
fn ascend(items: &[Answer]) -> bool {
    let numbers: Option<Vec<Rational>> = items.iter().map(|item| item.form().and_then(Quotient::as_rational)).collect();
    // What cannot be ordered here may be an interval too.
    numbers.is_none_or(|numbers| numbers.is_sorted())
}

/// Assignments to coordinates in the order of a tuple of them: `y = 3, x = 1` says `(1, 3)`. Anything else stays as it is.
pub(super) fn by_name(items: &[Answer]) -> Vec<Answer> {
    const COORDINATES: [&str; 5] = ["xyz", "abcd", "pqr", "uvw", "mn"];
    let place = |family: &str, answer: &Answer| match answer {
        Answer::Assignment(assignment) if assignment.label.len() == 1 => family.find(assignment.label.as_str()),
        _ => None,
    };
    let mut sorted = items.to_vec();
    let family = COORDINATES.iter().find(|family| items.iter().all(|item| place(family, item).is_some()));
    if let Some(family) = family {
        sorted.sort_by_key(|item| place(family, item));
    }
    sorted
}

/// Words for there being nothing.
pub(super) fn is_none(text: &str) -> bool {
    matches!(
        text,
        "no solution"
            | "no solutions"
            | "no real solution"
            | "no real solutions"
            | "none"
            | "empty set"
            | "no roots"
            | "no real roots"
            | "no answer"
            | "the empty set"
            | "there are no solutions"
            | "there is no solution"
    )
}

/// The set that words describe.
pub(super) fn set_in_words(text: &str) -> Option<Answer> {
    match text {
        "all real numbers" | "all reals" | "real numbers" | "the real numbers" | "all real" | "any real number" => {
            Some(Answer::Reals)
        }
        _ if is_none(text) => Some(Answer::Sequence(Shape::Set, Vec::new(), Joint::Marks)),
        _ => None,
    }
}
