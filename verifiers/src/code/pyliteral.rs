//! Python literals, read in the supervisor so that what is expected never enters the child.

use dashu::{integer::IBig, rational::RBig};

use super::value::Value;

/// Nesting that a literal may have.
const MAX_DEPTH: usize = 100;

/// The value of a Python literal (or of the JSON words `true`, `false`, `null`); `None` when the text is anything else.
pub(super) fn literal(text: &str) -> Option<Value> {
    let mut parser = Parser { text: text.as_bytes(), at: 0 };
    let value = parser.value(0)?;
    parser.blanks();
    (parser.at == parser.text.len()).then_some(value)
}

/// Where the string literal that starts at `at` ends.
pub(super) fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut parser = Parser { text, at };
    parser.string(true)?;
    Some(parser.at)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn blanks(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let found = self.text[self.at..].starts_with(wanted.as_bytes());
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    /// Skips blanks, then eats `wanted`.
    fn next_is(&mut self, wanted: &str) -> bool {
        self.blanks();
        self.eat(wanted)
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        let first = self.item(depth)?;
        // `1+2j`, which Python itself reads as a sum.
        self.blanks();
        match (self.peek(), &first) {
            (Some(sign @ (b'+' | b'-')), Value::Int(_) | Value::Float(_)) => {
                self.at += 1;
                self.blanks();
                let real = match &first {
                    Value::Float(f) => *f,
                    other => other.rational()?.to_f64().value(),
                };
                let imaginary = match self.number()? {
                    Value::Complex(_, im) => im,
                    _ => return None,
                };
                Some(Value::Complex(real, if sign == b'-' { -imaginary } else { imaginary }))
            }
            _ => Some(first),
        }
    }

    fn item(&mut self, depth: usize) -> Option<Value> {
        self.blanks();
        match self.peek()? {
            b'[' => self.bracket("[", "]", depth).map(|(items, _)| Value::List(items)),
            b'(' => match self.bracket("(", ")", depth)? {
                (mut items, false) if items.len() == 1 => items.pop(),
                (items, _) => Some(Value::Tuple(items)),
            },
            b'{' => self.braces(depth),
            b'-' | b'+' => self.signed(depth),
            b'0'..=b'9' | b'.' => self.number(),
            b'"' | b'\'' => self.strings(),
            _ => self.word(depth),
        }
    }

    /// The items between brackets, and whether a comma followed the last.
    fn bracket(&mut self, open: &str, close: &str, depth: usize) -> Option<(Vec<Value>, bool)> {
        self.eat(open).then_some(())?;
        let (mut items, mut comma) = (Vec::new(), false);
        while !self.next_is(close) {
            (items.is_empty() || comma).then_some(())?;
            items.push(self.value(depth + 1)?);
            comma = self.next_is(",");
        }
        Some((items, comma))
    }

    fn braces(&mut self, depth: usize) -> Option<Value> {
        self.eat("{").then_some(())?;
        let (mut pairs, mut members, mut comma) = (Vec::new(), Vec::new(), true);
        while !self.next_is("}") {
            comma.then_some(())?;
            let first = self.value(depth + 1)?;
            if self.next_is(":") {
                pairs.push((first, self.value(depth + 1)?));
            } else {
                members.push(first);
            }
            comma = self.next_is(",");
        }
        match (pairs.is_empty(), members.is_empty()) {
            (_, true) => Some(Value::Dict(unique(pairs, |(a, _), (b, _)| a == b))),
            (true, false) => Some(Value::Set(unique(members, Value::eq))),
            (false, false) => None,
        }
    }

    fn signed(&mut self, depth: usize) -> Option<Value> {
        let minus = self.eat("-") || !self.eat("+");
        if depth > MAX_DEPTH {
            return None;
        }
        match (minus, self.item(depth + 1)?) {
            (true, Value::Complex(re, im)) => Some(Value::Complex(-re, -im)),
            (false, number @ Value::Complex(..)) => Some(number),
            (true, Value::Int(i)) => Some(Value::Int(-i)),
            (true, Value::Float(f)) => Some(Value::Float(-f)),
            (false, number @ (Value::Int(_) | Value::Float(_))) => Some(number),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        let mut previous = 0;
        while let Some(b) = self.peek() {
            let exponent_sign =
                matches!(b, b'+' | b'-') && matches!(previous, b'e' | b'E') && !self.text[start..].starts_with(b"0x");
            if !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_') || exponent_sign) {
                break;
            }
            previous = b;
            self.at += 1;
        }
        let digits = std::str::from_utf8(&self.text[start..self.at]).ok()?.replace('_', "").to_lowercase();
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
            if let Some(digits) = digits.strip_prefix(prefix) {
                return IBig::from_str_radix(digits, radix).ok().map(Value::Int);
            }
        }
        if let Some(part) = digits.strip_suffix('j') {
            return part.parse().ok().map(|im| Value::Complex(0.0, im));
        }
        if digits.bytes().all(|b| b.is_ascii_digit()) {
            return IBig::from_str_radix(&digits, 10).ok().map(Value::Int);
        }
        // Rust also reads `inf` and `nan`, which cannot get here: they do not start with a digit or a point.
        digits.parse().ok().map(Value::Float)
    }

    /// One or more string literals side by side.
    fn strings(&mut self) -> Option<Value> {
        let mut text = self.string(false)?;
        loop {
            self.blanks();
            match self.peek() {
                Some(b'"' | b'\'') => text.extend(self.string(false)?),
                _ => return Some(Value::Str(text)),
            }
        }
    }

    fn string(&mut self, raw: bool) -> Option<Vec<u8>> {
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| self.eat(q))?;
        let mut out = Vec::new();
        while !self.eat(quote) {
            let b = self.peek()?;
            self.at += 1;
            match b {
                b'\n' if quote.len() == 1 => return None,
                b'\\' if raw => {
                    out.extend([b, self.peek()?]);
                    self.at += 1;
                }
                b'\\' => self.escape(&mut out)?,
                _ => out.push(b),
            }
        }
        Some(out)
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let b = self.peek()?;
        self.at += 1;
        let plain = match b {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'\\' | b'\'' | b'"' => b,
            b'\n' => return Some(()),
            b'x' => return self.code_point(2, out),
            b'u' => return self.code_point(4, out),
            b'U' => return self.code_point(8, out),
            b'0'..=b'7' => {
                let mut code = u32::from(b - b'0');
                for _ in 0..2 {
                    let Some(digit @ b'0'..=b'7') = self.peek() else { break };
                    code = code * 8 + u32::from(digit - b'0');
                    self.at += 1;
                }
                return push(code, out);
            }
            // A named character would need the Unicode tables.
            b'N' => return None,
            other => {
                out.push(b'\\');
                other
            }
        };
        out.push(plain);
        Some(())
    }

    fn code_point(&mut self, digits: usize, out: &mut Vec<u8>) -> Option<()> {
        let text = std::str::from_utf8(self.text.get(self.at..self.at + digits)?).ok()?;
        self.at += digits;
        // The reader of numbers would let a sign through.
        text.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
        push(u32::from_str_radix(text, 16).ok()?, out)
    }

    /// Names: constants, prefixed strings, and the calls that stand for literals Python lacks.
    fn word(&mut self, depth: usize) -> Option<Value> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            self.at += 1;
        }
        let name = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        if matches!(self.peek(), Some(b'"' | b'\'')) {
            return match name.to_ascii_lowercase().as_str() {
                "r" => self.string(true).map(Value::Str),
                "u" => self.strings(),
                "b" => self.string(false).filter(|s| s.is_ascii()).map(Value::Bytes),
                "rb" | "br" => self.string(true).filter(|s| s.is_ascii()).map(Value::Bytes),
                _ => None,
            };
        }
        match name {
            "None" | "null" => Some(Value::None),
            "True" | "true" => Some(Value::Bool(true)),
            "False" | "false" => Some(Value::Bool(false)),
            "Fraction" | "Decimal" | "Counter" | "OrderedDict" | "deque" => {
                self.blanks();
                let (arguments, _) = self.bracket("(", ")", depth)?;
                of_library(name, arguments)
            }
            "defaultdict" => {
                self.blanks();
                let start = self.at;
                // What makes its missing values does not count.
                let inner = self.text[start..].iter().position(|b| *b == b',').filter(|_| self.eat("("))?;
                self.at = start + inner + 1;
                let value = self.value(depth + 1)?;
                (self.next_is(")") && matches!(value, Value::Dict(_))).then_some(value)
            }
            "set" | "frozenset" | "float" => {
                self.blanks();
                let (mut arguments, _) = self.bracket("(", ")", depth)?;
                call(name, arguments.pop(), arguments.len())
            }
            _ => None,
        }
    }
}

fn call(name: &str, argument: Option<Value>, more: usize) -> Option<Value> {
    (more == 0).then_some(())?;
    let members = |items: Vec<Value>| unique(items, Value::eq);
    match (name, argument) {
        ("set", None) => Some(Value::Set(Vec::new())),
        ("frozenset", None) => Some(Value::FrozenSet(Vec::new())),
        ("set", Some(Value::List(v) | Value::Tuple(v) | Value::Set(v))) => Some(Value::Set(members(v))),
        ("frozenset", Some(Value::List(v) | Value::Tuple(v) | Value::Set(v))) => Some(Value::FrozenSet(members(v))),
        ("float", Some(Value::Str(s))) => match s.to_ascii_lowercase().as_slice() {
            b"nan" => Some(Value::Float(f64::NAN)),
            b"inf" | b"infinity" => Some(Value::Float(f64::INFINITY)),
            b"-inf" | b"-infinity" => Some(Value::Float(f64::NEG_INFINITY)),
            _ => None,
        },
        _ => None,
    }
}

/// A value of the standard library's own types, of arguments that are literals.
fn of_library(name: &str, arguments: Vec<Value>) -> Option<Value> {
    match (name, arguments.as_slice()) {
        ("Fraction", [Value::Int(over)]) => Some(Value::Fraction(RBig::from(over.clone()))),
        ("Fraction", [Value::Int(over), Value::Int(under)]) if *under != IBig::ZERO => {
            Some(Value::Fraction(RBig::from(over.clone()) / RBig::from(under.clone())))
        }
        ("Decimal", [Value::Str(text)]) => Some(Value::Decimal(text.clone())).filter(|d| d.rational().is_some()),
        ("Counter" | "OrderedDict", [Value::Dict(_)]) => arguments.into_iter().next(),
        ("Counter" | "OrderedDict", []) => Some(Value::Dict(Vec::new())),
        ("OrderedDict", [Value::List(pairs)]) => {
            let pair = |pair: &Value| match pair {
                Value::Tuple(pair) | Value::List(pair) => {
                    <[Value; 2]>::try_from(pair.clone()).ok().map(|[k, v]| (k, v))
                }
                _ => None,
            };
            let pairs = pairs.iter().map(pair).collect::<Option<Vec<_>>>()?;
            Some(Value::Dict(unique(pairs, |(a, _), (b, _)| a == b)))
        }
        ("deque", []) => Some(Value::Deque(Vec::new())),
        ("deque", [Value::List(items) | Value::Tuple(items)]) => Some(Value::Deque(items.clone())),
        _ => None,
    }
}

/// Keeps the last of equal keys, as Python does.
fn unique<T>(items: Vec<T>, same: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for item in items {
        match kept.iter().position(|k| same(k, &item)) {
            Some(i) => kept[i] = item,
            None => kept.push(item),
        }
    }
    kept
}

/// Appends a code point as UTF-8; a surrogate as the three bytes that Python's `surrogatepass` gives.
pub(super) fn push(code: u32, out: &mut Vec<u8>) -> Option<()> {
    if let Some(c) = char::from_u32(code) {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    } else if (0xd800..0xe000).contains(&code) {
        out.extend([0xe0 | (code >> 12) as u8, 0x80 | ((code >> 6) & 0x3f) as u8, 0x80 | (code & 0x3f) as u8]);
    } else {
        return None;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{Value, literal};

    fn int(i: i64) -> Value {
        Value::Int(i.into())
    }

    #[test]
    fn literals_are_read_as_python_reads_them() {
        for (text, value) in [
            (" -1_000 ", int(-1000)),
            ("0xff", int(255)),
            ("1e-3", Value::Float(0.001)),
            ("(1)", int(1)),
            ("(1,)", Value::Tuple(vec![int(1)])),
            ("()", Value::Tuple(vec![])),
            ("[1, [2],]", Value::List(vec![int(1), Value::List(vec![int(2)])])),
            ("{}", Value::Dict(vec![])),
            ("{1, 1}", Value::Set(vec![int(1)])),
            ("set()", Value::Set(vec![])),
            (r"'a\n\x41\u00e9' 'b'", Value::Str("a\nA\u{e9}b".into())),
            (r"r'\n'", Value::Str(r"\n".into())),
            ("-1.5-2j", Value::Complex(-1.5, -2.0)),
            ("defaultdict(<class 'int'>, {1: 2})", Value::Dict(vec![(int(1), int(2))])),
            ("OrderedDict([(1, 2)])", Value::Dict(vec![(int(1), int(2))])),
            ("{'a': None}", Value::Dict(vec![(Value::Str("a".into()), Value::None)])),
        ] {
            assert_eq!(literal(text), Some(value), "{text}");
        }
        for text in [
            "",
            "x",
            "1 +1",
            "[1",
            "[,]",
            "f(1)",
            "1+j",
            "1+2",
            "1j+1j",
            "Fraction(1, 0)",
            "Decimal('x')",
            "deque(3)",
            "'a",
            "[1 2]",
            "{1: 2, 3}",
            "--True",
            "__import__('os')",
        ] {
            assert_eq!(literal(text), None, "{text}");
        }
        assert_eq!(literal(r"'\x+1'"), None, "a sign is no digit");
        assert_eq!(literal(&"[".repeat(100_000)), None);
    }
}
