//! JSON read into [`Value`], so that an integer of any length keeps its digits: a ground truth may hold `2 ** 100`.

use dashu::integer::IBig;

use super::value::Value;

/// Nesting that a text may have.
const MAX_DEPTH: usize = 100;

/// The value of a JSON text, or where it is wrong. `NaN` and `Infinity` are read too, as Python writes them.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { text: text.as_bytes(), at: 0 };
    let value = parser.value(0).filter(|_| {
        parser.blanks();
        parser.at == parser.text.len()
    });
    value.ok_or_else(|| format!("no JSON from byte {} on", parser.at))
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, wanted: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(wanted);
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    fn next_is(&mut self, wanted: u8) -> bool {
        self.blanks();
        self.eat(&[wanted])
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.blanks();
        match self.peek()? {
            b'[' => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.next_is(b']') {
                    (items.is_empty() || self.eat(b",")).then_some(())?;
                    items.push(self.value(depth + 1)?);
                }
                Some(Value::List(items))
            }
            b'{' => self.object(depth),
            b'"' => self.string().map(Value::Str),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut pairs: Vec<(Value, Value)> = Vec::new();
        while !self.next_is(b'}') {
            (pairs.is_empty() || self.eat(b",")).then_some(())?;
            self.blanks();
            let key = Value::Str(self.string()?);
            self.next_is(b':').then_some(())?;
            pairs.push((key, self.value(depth + 1)?));
        }
        Some(Value::Dict(pairs))
    }

    fn word(&mut self) -> Option<Value> {
        for (word, value) in [
            (&b"null"[..], Value::None),
            (b"true", Value::Bool(true)),
            (b"false", Value::Bool(false)),
            (b"NaN", Value::Float(f64::NAN)),
            (b"Infinity", Value::Float(f64::INFINITY)),
            (b"-Infinity", Value::Float(f64::NEG_INFINITY)),
        ] {
            if self.eat(word) {
                return Some(value);
            }
        }
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        digits.bytes().next().filter(u8::is_ascii_digit)?;
        if digits.bytes().all(|b| b.is_ascii_digit()) {
            return IBig::from_str_radix(text, 10).ok().map(Value::Int);
        }
        text.parse().ok().map(Value::Float)
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        self.eat(b"\"").then_some(())?;
        let mut out = Vec::new();
        loop {
            let plain = self.text[self.at..].iter().position(|b| matches!(b, b'"' | b'\\'))?;
            out.extend_from_slice(&self.text[self.at..self.at + plain]);
            self.at += plain + 1;
            if self.text[self.at - 1] == b'"' {
                return Some(out);
            }
            let escape = self.peek()?;
            self.at += 1;
            out.push(match escape {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'b' => 8,
                b'f' => 12,
                b'"' | b'\\' | b'/' => escape,
                b'u' => {
                    self.code_point(&mut out)?;
                    continue;
                }
                _ => return None,
            });
        }
    }

    /// A code point, of one escape or of two that are a surrogate pair. A lone surrogate stays one, as in Python.
    fn code_point(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let first = self.four_digits()?;
        let back = self.at;
        if (0xd800..0xdc00).contains(&first) && self.eat(b"\\u") {
            let second = self.four_digits()?;
            if (0xdc00..0xe000).contains(&second) {
                return super::pyliteral::push(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), out);
            }
            self.at = back;
        }
        super::pyliteral::push(first, out)
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, parse};

    #[test]
    fn every_digit_of_an_integer_is_kept() {
        let big = "1267650600228229401496703205376";
        let value = parse(&format!("[{big}, -{big}, 1e3, 0.5, -0]")).expect("JSON");
        let int = |text: &str| Value::Int(text.parse().expect("digits"));
        let wanted = [int(big), int(&format!("-{big}")), Value::Float(1e3), Value::Float(0.5), int("0")];
        assert_eq!(value, Value::List(wanted.to_vec()));
    }

    #[test]
    fn strings_and_objects_are_read_as_json_says() {
        let value = parse(r#" {"a": ["\u00e9\n\/", "\ud83d\ude00", "\ud83d"], "b": {"": null}} "#).expect("JSON");
        let text = |bytes: &[u8]| Value::Str(bytes.to_vec());
        let list = Value::List(vec![text("é\n/".as_bytes()), text("😀".as_bytes()), text(b"\xed\xa0\xbd")]);
        let inner = Value::Dict(vec![(text(b""), Value::None)]);
        assert_eq!(value, Value::Dict(vec![(text(b"a"), list), (text(b"b"), inner)]));
        let deep = "[".repeat(100_000);
        for bad in ["", "[1,]", "[1 2]", "{1: 2}", "{\"a\" 1}", "'a'", "\"a", "1 2", "-", "0x1", "+1", "nul", &deep] {
            assert!(parse(bad).is_err(), "{bad:.20}");
        }
    }
}
