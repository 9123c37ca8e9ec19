//! When a returned value or a program's output is the expected one.
//!
//! Values compare by exact type and content: a bool is no number, a subclass has been refused before. An int and a float of exactly the
//! same value are equal if the settings say so, floats may differ by a tolerance if the settings give one, and NaN equals nothing unless
//! asked. Sets and dicts compare without order. What was expected as JSON has no tuples and no keys but strings, so there a tuple meets a
//! list and an int key meets its decimal.
//!
//! Standard output compares by lines: CR LF is LF, blanks at the end of a line and empty lines at the end of the text do not count. A line
//! is equal too where its words differ only in numbers: an expected `0.30` or `1e-5` is met by a number within `output_tolerance`, as
//! the graders of APPS do, and with `float_tolerance` any number by one within that.

use dashu::integer::IBig;

use super::{settings::CodeSettings, value::Value};

/// The rules that the settings choose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    tolerance: f64,
    output_tolerance: f64,
    int_equals_float: bool,
    nan_equals_nan: bool,
    /// What was expected came as JSON.
    json: bool,
}

impl Rules {
    pub fn new(settings: &CodeSettings, json: bool) -> Self {
        Self {
            tolerance: settings.float_tolerance,
            output_tolerance: settings.output_tolerance,
            int_equals_float: settings.int_equals_float,
            nan_equals_nan: settings.nan_equals_nan,
            json,
        }
    }

    /// True when the program's value is the expected one.
    pub fn equal(&self, expected: &Value, got: &Value) -> bool {
        use Value::{
            Bool, Bytes, Complex, Decimal, Deque, Dict, Float, Fraction, FrozenSet, Int, List, None, Set, Str, Tuple,
        };
        match (expected, got) {
            (None, None) => true,
            (Bool(a), Bool(b)) => a == b,
            (Int(a), Int(b)) => a == b,
            (Float(a), Float(b)) => self.floats(*a, *b),
            (Int(i), Float(f)) | (Float(f), Int(i)) => self.mixed(i, *f),
            (Complex(a, b), Complex(c, d)) => self.floats(*a, *c) && self.floats(*b, *d),
            (Complex(re, im), real @ (Int(_) | Float(_))) | (real @ (Int(_) | Float(_)), Complex(re, im)) => {
                self.int_equals_float && *im == 0.0 && self.equal(&Float(*re), real)
            }
            (Fraction(_) | Decimal(_), Int(_) | Float(_) | Fraction(_) | Decimal(_))
            | (Int(_) | Float(_), Fraction(_) | Decimal(_)) => {
                let same_kind = std::mem::discriminant(expected) == std::mem::discriminant(got);
                (same_kind || self.int_equals_float)
                    && expected.rational().is_some_and(|value| got.rational() == Some(value))
            }
            (Str(a), Str(b)) | (Bytes(a), Bytes(b)) => a == b,
            (List(a), List(b)) | (Tuple(a), Tuple(b)) | (Deque(a), Deque(b)) => self.sequences(a, b),
            (List(a), Tuple(b)) => self.json && self.sequences(a, b),
            (Set(a) | FrozenSet(a), Set(b) | FrozenSet(b)) => {
                a.len() == b.len() && sorted(a.iter().map(|v| self.key(v))) == sorted(b.iter().map(|v| self.key(v)))
            }
            (Dict(a), Dict(b)) => self.dicts(a, b),
            _ => false,
        }
    }

    fn floats(&self, a: f64, b: f64) -> bool {
        if a.is_nan() || b.is_nan() {
            return self.nan_equals_nan && a.is_nan() && b.is_nan();
        }
        // Equality first: infinities have no difference to measure.
        a == b || (self.tolerance > 0.0 && (a - b).abs() <= self.tolerance * f64::max(1.0, a.abs().min(b.abs())))
    }

    fn mixed(&self, i: &IBig, f: f64) -> bool {
        self.int_equals_float
            && (exact(f).is_some_and(|g| *i == g) || (self.tolerance > 0.0 && self.floats(i.to_f64().value(), f)))
    }

    fn sequences(&self, a: &[Value], b: &[Value]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.equal(a, b))
    }

    fn dicts(&self, a: &[(Value, Value)], b: &[(Value, Value)]) -> bool {
        if a.len() != b.len() {
            return false;
        }
        let order = |pairs: &[(Value, Value)]| {
            let mut keys: Vec<(Vec<u8>, usize)> =
                pairs.iter().enumerate().map(|(i, (k, _))| (self.dict_key(k), i)).collect();
            keys.sort_unstable();
            keys
        };
        order(a).iter().zip(&order(b)).all(|((ka, ia), (kb, ib))| ka == kb && self.equal(&a[*ia].1, &b[*ib].1))
    }

    fn dict_key(&self, key: &Value) -> Vec<u8> {
        match key {
            Value::Int(i) if self.json => self.key(&Value::Str(i.to_string().into_bytes())),
            other => self.key(other),
        }
    }

    /// Bytes that are equal for equal members of a set. Tolerance does not apply to members and keys.
    fn key(&self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_key(value, &mut out);
        out
    }

    fn write_key(&self, value: &Value, out: &mut Vec<u8>) {
        let block = |tag: u8, bytes: &[u8], out: &mut Vec<u8>| {
            out.push(tag);
            out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            out.extend_from_slice(bytes);
        };
        let list = |tag: u8, items: Vec<Vec<u8>>, out: &mut Vec<u8>| {
            block(tag, &(items.len() as u64).to_be_bytes(), out);
            items.iter().for_each(|item| out.extend_from_slice(item));
        };
        match value {
            Value::None => out.push(b'N'),
            Value::Bool(b) => out.extend_from_slice(&[b'B', u8::from(*b)]),
            Value::Int(i) => block(b'i', i.to_string().as_bytes(), out),
            Value::Float(f) => match exact(*f).filter(|_| self.int_equals_float) {
                Some(i) => block(b'i', i.to_string().as_bytes(), out),
                None => block(b'f', &f.to_bits().to_be_bytes(), out),
            },
            Value::Fraction(_) | Value::Decimal(_) => match value.rational() {
                Some(r) => match (r.denominator() == &1u8.into(), r.to_f64_fast()) {
                    (true, _) => block(b'i', r.numerator().to_string().as_bytes(), out),
                    // A float of exactly this value is an equal member.
                    (false, f) if self.int_equals_float && Value::Float(f).rational() == Some(r.clone()) => {
                        block(b'f', &f.to_bits().to_be_bytes(), out);
                    }
                    _ => block(b'r', r.to_string().as_bytes(), out),
                },
                None => out.push(b'?'),
            },
            Value::Complex(re, im) if *im == 0.0 && self.int_equals_float => self.write_key(&Value::Float(*re), out),
            Value::Complex(re, im) => {
                block(b'c', &[re.to_bits().to_be_bytes(), im.to_bits().to_be_bytes()].concat(), out)
            }
            Value::Handle(number) | Value::Lent(number, _) => block(b'h', &number.to_be_bytes(), out),
            Value::Name(name) => block(b'g', name, out),
            Value::Deque(v) => list(b'q', v.iter().map(|v| self.key(v)).collect(), out),
            Value::Str(s) => block(b's', s, out),
            Value::Bytes(b) => block(b'b', b, out),
            Value::List(v) => list(b'l', v.iter().map(|v| self.key(v)).collect(), out),
            Value::Tuple(v) => list(b't', v.iter().map(|v| self.key(v)).collect(), out),
            Value::Set(v) | Value::FrozenSet(v) => list(b'S', sorted(v.iter().map(|v| self.key(v))), out),
            Value::Dict(d) => {
                list(b'd', sorted(d.iter().map(|(k, v)| [self.key(k), self.key(v)].concat())), out);
            }
        }
    }

    /// True when what a program printed is the expected output, by the rules above.
    pub fn output(&self, expected: &str, got: &[u8]) -> bool {
        let (expected, got) = (lines(expected.as_bytes()), lines(got));
        expected.len() == got.len() && expected.iter().zip(&got).all(|(e, g)| e == g || self.words(e, g))
    }

    fn words(&self, expected: &[u8], got: &[u8]) -> bool {
        if self.tolerance == 0.0 && self.output_tolerance == 0.0 {
            return false;
        }
        let (Ok(expected), Ok(got)) = (std::str::from_utf8(expected), std::str::from_utf8(got)) else { return false };
        let (mut e, mut g) = (expected.split_whitespace(), got.split_whitespace());
        // Without a number that differs it is the blanks that do.
        let mut met = false;
        loop {
            match (e.next(), g.next()) {
                (None, None) => return met,
                (Some(e), Some(g)) if e == g => {}
                (Some(e), Some(g)) => match (e.parse(), g.parse()) {
                    (Ok(a), Ok(b)) if (self.tolerance > 0.0 && self.floats(a, b)) || self.near(e, a, b) => met = true,
                    _ => return false,
                },
                _ => return false,
            }
        }
    }
}

/// The smallest difference that `output_tolerance` lets pass: numpy's `allclose`, which those graders call, adds as much.
const OUTPUT_ABSOLUTE: f64 = 1e-8;

impl Rules {
    /// True for a number near enough to an expected word that is written as a float.
    fn near(&self, expected: &str, a: f64, b: f64) -> bool {
        let digits = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        let is_float = expected.chars().all(digits) && (expected.contains('.') || expected.contains("e-"));
        let within = OUTPUT_ABSOLUTE + self.output_tolerance * a.abs();
        is_float && self.output_tolerance > 0.0 && (a == b || (a - b).abs() <= within)
    }
}

fn sorted(keys: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    keys
}

/// The integer that a float is, if it is one.
fn exact(f: f64) -> Option<IBig> {
    if f.is_finite() && f.fract() == 0.0 { IBig::try_from(f).ok() } else { None }
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Rules, Value};
    use crate::code::{CodeSettings, pyliteral::literal};

    fn equal(rules: &Rules, expected: &str, got: &str) -> bool {
        rules.equal(&literal(expected).expect("literal"), &literal(got).expect("literal"))
    }

    #[test]
    fn values_compare_by_type_and_content() {
        let rules = Rules::new(&CodeSettings::default(), false);
        for same in ["1", "'a'", "[1, (2, {3})]", "{1: 'a', 'b': None}", "1267650600228229401496703205376"] {
            assert!(equal(&rules, same, same), "{same}");
        }
        for (a, b) in [
            ("1", "True"),
            ("0", "False"),
            ("[1]", "(1,)"),
            ("'1'", "1"),
            ("b'a'", "'a'"),
            ("{1}", "[1]"),
            ("0", "None"),
            ("deque([1])", "[1]"),
            ("1j", "1"),
            ("Fraction(1, 3)", "0.3333333333333333"),
        ] {
            assert!(!equal(&rules, a, b) && !equal(&rules, b, a), "{a} {b}");
        }
        assert!(
            equal(&rules, "2", "2.0") && equal(&rules, "{1, 2}", "{2.0, 1}") && equal(&rules, "{1: 2}", "{1.0: 2.0}")
        );
        for (a, b) in [
            ("Counter({'a': 1})", "{'a': 1}"),
            ("Fraction(1, 2)", "0.5"),
            ("Decimal('1.50')", "Fraction(3, 2)"),
            ("{Fraction(1, 2), Decimal('3.0')}", "{0.5, 3}"),
            ("2+0j", "2"),
        ] {
            assert!(equal(&rules, a, b) && equal(&rules, b, a), "{a} {b}");
        }
        assert!(!equal(&rules, "9007199254740993", "9007199254740992.0"));
        assert!(!equal(&rules, "float('nan')", "float('nan')") && !equal(&rules, "0.3", "0.30000000000000004"));
        assert!(equal(&rules, "float('inf')", "float('inf')") && !equal(&rules, "float('inf')", "1.0"));
    }

    #[test]
    fn json_has_no_tuples_and_only_string_keys() {
        let rules = Rules::new(&CodeSettings::default(), true);
        assert!(equal(&rules, "[[1, 2]]", "[(1, 2)]") && equal(&rules, "{'1': 2}", "{1: 2}"));
        assert!(!equal(&rules, "[1]", "{1}") && !equal(&rules, "{'1': 2}", "{True: 2}"));
    }

    #[test]
    fn a_tolerance_holds_for_values_and_numbers_on_stdout() {
        let settings = CodeSettings { float_tolerance: 1e-6, ..CodeSettings::default() };
        let rules = Rules::new(&settings, false);
        assert!(equal(&rules, "0.3", "0.3000000001") && !equal(&rules, "0.3", "0.3001") && !equal(&rules, "1", "True"));
        assert!(rules.output("x 0.3", b"x  0.3000000001\n") && !rules.output("x 0.3", b"y 0.3"));
        assert!(!rules.equal(&Value::Float(f64::INFINITY), &Value::Float(1.0)));
    }

    #[test]
    fn output_compares_by_lines_without_blanks_at_ends() {
        let rules = Rules::new(&CodeSettings::default(), true);
        assert!(rules.output("1\n2\n", b"1 \r\n2\n\n") && rules.output("", b"\n"));
        assert!(rules.output("0.3", b"0.30000000000000004") && rules.output("x 2.50\n", b"x 2.5"));
        assert!(!rules.output("0.3", b"0.3001") && !rules.output("0.3", b"nan") && !rules.output("2.5", b"2.5x"));
        assert!(!rules.output("100000", b"100001") && !rules.output("0011", b"11") && !rules.output("nan", b"NaN"));
        let exact = Rules::new(&CodeSettings { output_tolerance: 0.0, ..CodeSettings::default() }, true);
        assert!(!exact.output("2.50", b"2.5"));
        assert!(!rules.output("1\n2", b"1 2") && !rules.output("1", b" 1") && !rules.output("1", b"\n1"));
    }
}
