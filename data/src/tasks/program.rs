//! The small Python functions that the code task asks for: their source, and a Rust twin that gives what Python gives.
//!
//! Python's `//` and `%` round towards minus infinity, so `-7 // 2 == -4` and `-7 % 2 == 1`; for the positive
//! divisors used here that is Rust's `div_euclid` and `rem_euclid`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A value of a function: its argument or its result. Displayed as Python writes it, lists without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Datum {
    /// An integer.
    Int(i64),
    /// A list of integers.
    List(Vec<i64>),
    /// A string of ASCII letters.
    Text(String),
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::List(xs) => write!(f, "[{}]", xs.iter().map(i64::to_string).collect::<Vec<_>>().join(",")),
            Self::Text(s) => write!(f, "'{s}'"),
        }
    }
}

impl From<&Datum> for Value {
    fn from(datum: &Datum) -> Self {
        match datum {
            Datum::Int(n) => json!(n),
            Datum::List(xs) => json!(xs),
            Datum::Text(s) => json!(s),
        }
    }
}

/// What a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `f(x)`, an integer.
    Int,
    /// `f(xs)`, a list of integers.
    List,
    /// `f(s)`, a string.
    Text,
}

/// A function of an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnInt {
    /// `x+b` or `x-b`, by the sign.
    Add(i64),
    /// `b-x`
    From(i64),
    /// `a*x`
    Scale(i64),
    /// `a*x+b` or `a*x-b`
    Affine(i64, i64),
    /// `x*x`, `x*x+b` or `x*x-b`
    Square(i64),
    /// `x%m`
    Mod(i64),
    /// `x//m`
    Div(i64),
    /// `max(x,b)`
    Max(i64),
    /// `min(x,b)`
    Min(i64),
    /// `abs(x-b)`
    Abs(i64),
}

impl OnInt {
    fn apply(self, x: i64) -> i64 {
        match self {
            Self::Add(b) => x + b,
            Self::From(b) => b - x,
            Self::Scale(a) => a * x,
            Self::Affine(a, b) => a * x + b,
            Self::Square(b) => x * x + b,
            Self::Mod(m) => x.rem_euclid(m),
            Self::Div(m) => x.div_euclid(m),
            Self::Max(b) => x.max(b),
            Self::Min(b) => x.min(b),
            Self::Abs(b) => (x - b).abs(),
        }
    }

    /// The function's body, with `x` as its argument is written.
    fn body(self, x: &str) -> String {
        let signed = |b: i64| if b == 0 { String::new() } else { format!("{b:+}") };
        match self {
            Self::Add(b) => format!("{x}{}", signed(b)),
            Self::From(b) => format!("{b}-{x}"),
            Self::Scale(a) => format!("{a}*{x}"),
            Self::Affine(a, b) => format!("{a}*{x}{}", signed(b)),
            Self::Square(b) => format!("{x}*{x}{}", signed(b)),
            Self::Mod(m) => format!("{x}%{m}"),
            Self::Div(m) => format!("{x}//{m}"),
            Self::Max(b) => format!("max({x},{b})"),
            Self::Min(b) => format!("min({x},{b})"),
            Self::Abs(b) => format!("abs({x}-{b})"),
        }
    }

    /// How the constants follow from `f(0)`, `f(1)` and the other examples, then a check on the last example. `None`
    /// where these examples do not show it in one step.
    fn worked(self, shown: &[(i64, i64)]) -> Option<String> {
        let ((_, f0), (_, f1), (q, fq)) = (*shown.first()?, *shown.get(1)?, *shown.last()?);
        let constants = match self {
            Self::Add(_) | Self::From(_) | Self::Square(_) | Self::Abs(_) => format!("b={f0}"),
            Self::Scale(_) => format!("a={f1}"),
            Self::Affine(a, b) => format!("b={b};a={f1}{:+}={a}", -f0),
            Self::Max(b) | Self::Min(b) => format!("b={b}"),
            Self::Mod(m) => {
                let &(x, r) = shown.iter().find(|(x, r)| x != r)?;
                (x - r == m).then(|| format!("m={x}-{r}={m}"))?
            }
            Self::Div(m) => (fq * m == q && fq > 0).then(|| format!("m={q}//{fq}={m}"))?,
        };
        Some(format!("{constants};{}={fq}", self.body(&q.to_string())))
    }
}

/// A function of a list of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnList {
    /// `sum(xs)`
    Sum,
    /// `max(xs)`
    Max,
    /// `min(xs)`
    Min,
    /// `len(xs)`
    Len,
    /// `sorted(xs)`
    Sorted,
    /// `xs[::-1]`
    Reversed,
    /// `xs[0]`
    First,
    /// `xs[-1]`
    Last,
    /// `xs[1:]`
    Tail,
    /// `xs[:-1]`
    Init,
    /// `[x+b for x in xs]`
    Plus(i64),
    /// `[x*a for x in xs]`
    Times(i64),
}

impl OnList {
    /// `xs` is not empty.
    fn apply(self, xs: &[i64]) -> Datum {
        let list = |xs: Vec<i64>| Datum::List(xs);
        match self {
            Self::Sum => Datum::Int(xs.iter().sum()),
            Self::Max => Datum::Int(xs.iter().copied().fold(xs[0], i64::max)),
            Self::Min => Datum::Int(xs.iter().copied().fold(xs[0], i64::min)),
            Self::Len => Datum::Int(xs.len() as i64),
            Self::Sorted => {
                let mut sorted = xs.to_vec();
                sorted.sort_unstable();
                list(sorted)
            }
            Self::Reversed => list(xs.iter().rev().copied().collect()),
            Self::First => Datum::Int(xs[0]),
            Self::Last => Datum::Int(xs[xs.len() - 1]),
            Self::Tail => list(xs[1..].to_vec()),
            Self::Init => list(xs[..xs.len() - 1].to_vec()),
            Self::Plus(b) => list(xs.iter().map(|x| x + b).collect()),
            Self::Times(a) => list(xs.iter().map(|x| x * a).collect()),
        }
    }

    fn body(self) -> String {
        match self {
            Self::Sum => "sum(xs)".into(),
            Self::Max => "max(xs)".into(),
            Self::Min => "min(xs)".into(),
            Self::Len => "len(xs)".into(),
            Self::Sorted => "sorted(xs)".into(),
            Self::Reversed => "xs[::-1]".into(),
            Self::First => "xs[0]".into(),
            Self::Last => "xs[-1]".into(),
            Self::Tail => "xs[1:]".into(),
            Self::Init => "xs[:-1]".into(),
            Self::Plus(b) => format!("[x+{b} for x in xs]"),
            Self::Times(a) => format!("[x*{a} for x in xs]"),
        }
    }

    /// The step that shows the constant or the sum on the first example; empty for functions that are seen at a glance.
    fn worked(self, first: &[i64]) -> String {
        let x = first[0];
        match self {
            Self::Sum => {
                let terms: Vec<String> = first.iter().map(i64::to_string).collect();
                format!("{}={}", terms.join("+"), first.iter().sum::<i64>())
            }
            Self::Plus(b) => format!("{}-{x}={b}", x + b),
            Self::Times(a) => format!("{x}*{a}={}", x * a),
            _ => String::new(),
        }
    }
}

/// A function of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnText {
    /// `s.upper()`
    Upper,
    /// `s[::-1]`
    Reversed,
    /// `s+s`
    Doubled,
    /// `s[0]`
    First,
    /// `s[-1]`
    Last,
    /// `len(s)`
    Len,
    /// `s[1:]`
    Tail,
    /// `s[:-1]`
    Init,
    /// `s+'c'`
    Append(char),
    /// `'c'+s`
    Prepend(char),
}

impl OnText {
    /// `s` is not empty and ASCII, so bytes are characters.
    fn apply(self, s: &str) -> Datum {
        Datum::Text(match self {
            Self::Upper => s.to_ascii_uppercase(),
            Self::Reversed => s.chars().rev().collect(),
            Self::Doubled => s.repeat(2),
            Self::First => s[..1].into(),
            Self::Last => s[s.len() - 1..].into(),
            Self::Len => return Datum::Int(s.len() as i64),
            Self::Tail => s[1..].into(),
            Self::Init => s[..s.len() - 1].into(),
            Self::Append(c) => format!("{s}{c}"),
            Self::Prepend(c) => format!("{c}{s}"),
        })
    }

    fn body(self) -> String {
        match self {
            Self::Upper => "s.upper()".into(),
            Self::Reversed => "s[::-1]".into(),
            Self::Doubled => "s+s".into(),
            Self::First => "s[0]".into(),
            Self::Last => "s[-1]".into(),
            Self::Len => "len(s)".into(),
            Self::Tail => "s[1:]".into(),
            Self::Init => "s[:-1]".into(),
            Self::Append(c) => format!("s+'{c}'"),
            Self::Prepend(c) => format!("'{c}'+s"),
        }
    }
}

/// One function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// Of an integer.
    Int(OnInt),
    /// Of a list.
    List(OnList),
    /// Of a string.
    Text(OnText),
}

impl Program {
    /// What it takes.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Int(_) => Kind::Int,
            Self::List(_) => Kind::List,
            Self::Text(_) => Kind::Text,
        }
    }

    /// Its result, exactly as Python computes it.
    ///
    /// # Panics
    /// If the argument is not of the program's kind, or an empty list or string.
    pub fn apply(&self, argument: &Datum) -> Datum {
        match (self, argument) {
            (Self::Int(f), Datum::Int(x)) => Datum::Int(f.apply(*x)),
            (Self::List(f), Datum::List(xs)) => f.apply(xs),
            (Self::Text(f), Datum::Text(s)) => f.apply(s),
            _ => panic!("{self:?} does not take {argument}"),
        }
    }

    /// The Python expression that it returns.
    pub fn body(&self) -> String {
        match self {
            Self::Int(f) => f.body("x"),
            Self::List(f) => f.body(),
            Self::Text(f) => f.body(),
        }
    }

    /// The whole function in Python.
    pub fn source(&self) -> String {
        let argument = match self.kind() {
            Kind::Int => "x",
            Kind::List => "xs",
            Kind::Text => "s",
        };
        format!("def f({argument}):\n return {}", self.body())
    }

    /// A line of reasoning that leads from the examples to the program; empty where none is needed, `None` where these
    /// examples do not lead there.
    pub fn worked(&self, shown: &[(Datum, Datum)]) -> Option<String> {
        match (self, shown) {
            (Self::Int(f), _) => {
                let integers = shown.iter().map(|pair| match pair {
                    (Datum::Int(x), Datum::Int(y)) => Some((*x, *y)),
                    _ => None,
                });
                f.worked(&integers.collect::<Option<Vec<_>>>()?)
            }
            (Self::List(f), [(Datum::List(first), _), ..]) => Some(f.worked(first)),
            (Self::Text(_), _) => Some(String::new()),
            _ => None,
        }
    }
}

/// The letters of the strings, and of the constants in functions of strings.
pub const LETTERS: [char; 8] = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];

/// All programs of one kind with constants up to `most` (at least 2), family by family: a family is one shape with
/// all its constants.
pub fn families(kind: Kind, most: i64) -> Vec<Vec<Program>> {
    let int = |programs: Vec<OnInt>| programs.into_iter().map(Program::Int).collect::<Vec<_>>();
    let text = |programs: Vec<OnText>| programs.into_iter().map(Program::Text).collect::<Vec<_>>();
    let signs = || (1..=most).flat_map(|b| [b, -b]);
    match kind {
        Kind::Int => vec![
            int(signs().map(OnInt::Add).collect()),
            int((1..=most).map(OnInt::From).collect()),
            int((2..=most).map(OnInt::Scale).collect()),
            int((2..=most).flat_map(|a| signs().map(move |b| OnInt::Affine(a, b))).collect()),
            int((-most..=most).map(OnInt::Square).collect()),
            int((2..=most).map(OnInt::Mod).collect()),
            int((2..=most).map(OnInt::Div).collect()),
            int((2..=most).map(OnInt::Max).collect()),
            int((2..=most).map(OnInt::Min).collect()),
            int((2..=most).map(OnInt::Abs).collect()),
        ],
        Kind::List => {
            use OnList::{First, Init, Last, Len, Max, Min, Reversed, Sorted, Sum, Tail};
            let plain = [Sum, Max, Min, Len, Sorted, Reversed, First, Last, Tail, Init];
            let mut all: Vec<Vec<Program>> = plain.into_iter().map(|f| vec![Program::List(f)]).collect();
            all.push((1..=most).map(|b| Program::List(OnList::Plus(b))).collect());
            all.push((2..=most).map(|a| Program::List(OnList::Times(a))).collect());
            all
        }
        Kind::Text => {
            use OnText::{Doubled, First, Init, Last, Len, Reversed, Tail, Upper};
            let plain = [Upper, Reversed, Doubled, First, Last, Len, Tail, Init];
            let mut all: Vec<Vec<Program>> = plain.into_iter().map(|f| text(vec![f])).collect();
            all.push(text(LETTERS.map(OnText::Append).to_vec()));
            all.push(text(LETTERS.map(OnText::Prepend).to_vec()));
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_int(f: OnInt, x: i64) -> String {
        Program::Int(f).apply(&Datum::Int(x)).to_string()
    }

    /// Each line was computed by CPython 3.
    #[test]
    fn integers_give_what_python_gives() {
        assert_eq!(of_int(OnInt::Mod(5), -7), "3");
        assert_eq!(of_int(OnInt::Mod(9), -9), "0");
        assert_eq!(of_int(OnInt::Div(2), -7), "-4");
        assert_eq!(of_int(OnInt::Div(5), -1), "-1");
        assert_eq!(of_int(OnInt::Div(5), 14), "2");
        assert_eq!(of_int(OnInt::Affine(3, -4), -2), "-10");
        assert_eq!(of_int(OnInt::Square(-1), -3), "8");
        assert_eq!(of_int(OnInt::Abs(6), -2), "8");
        assert_eq!(of_int(OnInt::From(4), 9), "-5");
        assert_eq!(of_int(OnInt::Max(3), -5), "3");
        assert_eq!(of_int(OnInt::Min(3), -5), "-5");
    }

    #[test]
    fn lists_and_strings_give_what_python_gives() {
        let xs = Datum::List(vec![3, -1, 2]);
        let of_list = |f: OnList| Program::List(f).apply(&xs).to_string();
        assert_eq!(of_list(OnList::Sorted), "[-1,2,3]");
        assert_eq!(of_list(OnList::Reversed), "[2,-1,3]");
        assert_eq!(of_list(OnList::Tail), "[-1,2]");
        assert_eq!(of_list(OnList::Init), "[3,-1]");
        assert_eq!(of_list(OnList::Times(3)), "[9,-3,6]");
        assert_eq!(of_list(OnList::Sum), "4");
        let of_text = |f: OnText| Program::Text(f).apply(&Datum::Text("abc".into())).to_string();
        assert_eq!(of_text(OnText::Reversed), "'cba'");
        assert_eq!(of_text(OnText::Tail), "'bc'");
        assert_eq!(of_text(OnText::Len), "3");
        assert_eq!(of_text(OnText::Prepend('h')), "'habc'");
    }

    #[test]
    fn sources_are_python() {
        assert_eq!(Program::Int(OnInt::Affine(2, -1)).source(), "def f(x):\n return 2*x-1");
        assert_eq!(Program::Int(OnInt::Square(0)).source(), "def f(x):\n return x*x");
        assert_eq!(Program::List(OnList::Plus(4)).source(), "def f(xs):\n return [x+4 for x in xs]");
        assert_eq!(Program::Text(OnText::Append('c')).source(), "def f(s):\n return s+'c'");
    }

    #[test]
    fn reasoning_shows_the_constants_and_checks_the_last_example() {
        let worked = |f: OnInt, xs: [i64; 4]| f.worked(&xs.map(|x| (x, f.apply(x))));
        assert_eq!(worked(OnInt::Affine(2, 1), [0, 1, 5, 7]).as_deref(), Some("b=1;a=3-1=2;2*7+1=15"));
        assert_eq!(worked(OnInt::Affine(2, -3), [0, 1, 5, 7]).as_deref(), Some("b=-3;a=-1+3=2;2*7-3=11"));
        assert_eq!(worked(OnInt::Mod(9), [0, 1, 11, 12]).as_deref(), Some("m=11-2=9;12%9=3"));
        assert_eq!(worked(OnInt::Div(4), [0, 1, 5, 12]).as_deref(), Some("m=12//3=4;12//4=3"));
        assert_eq!(worked(OnInt::Div(4), [0, 1, 5, 11]), None, "11 is no multiple of 4");
        assert_eq!(worked(OnInt::Max(5), [0, 1, 3, 8]).as_deref(), Some("b=5;max(8,5)=8"));
    }
}
