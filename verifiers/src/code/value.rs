//! Python values as exact-typed data: what a program returned, and what was expected.

use dashu::{integer::IBig, rational::RBig};

/// A plain Python value. A subclass never becomes one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(IBig),
    Float(f64),
    /// UTF-8, with lone surrogates as three bytes each.
    Str(Vec<u8>),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Set(Vec<Value>),
    FrozenSet(Vec<Value>),
    /// Also what `Counter`, `OrderedDict` and `defaultdict` hold: they equal a dict of the same pairs.
    Dict(Vec<(Value, Value)>),
    Deque(Vec<Value>),
    Complex(f64, f64),
    Fraction(RBig),
    /// As Python writes it.
    Decimal(Vec<u8>),
    /// An object that stays in the program's process. It equals nothing, nor do the next two.
    Handle(u32),
    /// A function or an object that stays with the tests, and what it is.
    Lent(u32, Vec<u8>),
    /// A name of the program's, or of Python's.
    Name(Vec<u8>),
}

/// Digits, and places that an exponent may shift, of a decimal.
const MAX_DIGITS: usize = 10_100;

/// Depth that the runner may send; it refuses deeper values itself, so more than this is no value of its.
const MAX_DEPTH: usize = 110;

impl Value {
    /// Decodes what the runner's `encode` wrote. `None` for anything else: the bytes come from a program that may have forged them.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes };
        let value = reader.value(0)?;
        reader.bytes.is_empty().then_some(value)
    }

    /// What the runner's `decode` reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        let head = |tag: u8, length: usize, out: &mut Vec<u8>| {
            out.push(tag);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        };
        let mut block = |tag: u8, bytes: &[u8]| {
            head(tag, bytes.len(), out);
            out.extend_from_slice(bytes);
        };
        match self {
            Self::None => out.push(b'N'),
            Self::Bool(b) => out.push(if *b { b'T' } else { b'F' }),
            Self::Int(i) => block(b'i', i.in_radix(16).to_string().as_bytes()),
            Self::Float(f) => {
                out.push(b'f');
                out.extend_from_slice(&f.to_be_bytes());
            }
            Self::Str(s) => block(b's', s),
            Self::Bytes(b) => block(b'b', b),
            Self::Complex(re, im) => {
                out.push(b'c');
                out.extend_from_slice(&re.to_be_bytes());
                out.extend_from_slice(&im.to_be_bytes());
            }
            Self::Fraction(r) => {
                out.push(b'r');
                Self::Int(r.numerator().clone()).write(out);
                Self::Int(r.denominator().clone().into()).write(out);
            }
            Self::Decimal(text) => block(b'm', text),
            Self::Handle(number) => head(b'h', *number as usize, out),
            Self::Lent(number, about) => {
                head(b'k', *number as usize, out);
                Self::Str(about.clone()).write(out);
            }
            Self::Name(name) => block(b'g', name),
            Self::List(v) | Self::Tuple(v) | Self::Set(v) | Self::FrozenSet(v) | Self::Deque(v) => {
                let tag = match self {
                    Self::List(_) => b'l',
                    Self::Deque(_) => b'q',
                    Self::Tuple(_) => b't',
                    Self::Set(_) => b'S',
                    _ => b'Z',
                };
                head(tag, v.len(), out);
                v.iter().for_each(|item| item.write(out));
            }
            Self::Dict(d) => {
                head(b'd', d.len(), out);
                d.iter().flat_map(|(k, v)| [k, v]).for_each(|item| item.write(out));
            }
        }
    }

    /// The exact value of a finite number; a bool is none.
    pub fn rational(&self) -> Option<RBig> {
        match self {
            Self::Int(i) => Some(RBig::from(i.clone())),
            Self::Float(f) => RBig::try_from(*f).ok(),
            Self::Fraction(r) => Some(r.clone()),
            Self::Decimal(text) => decimal(text),
            _ => None,
        }
    }

    /// Python's truth of the value.
    pub fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(i) => *i != IBig::ZERO,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) | Self::Bytes(s) => !s.is_empty(),
            Self::List(v) | Self::Tuple(v) | Self::Set(v) | Self::FrozenSet(v) | Self::Deque(v) => !v.is_empty(),
            Self::Dict(d) => !d.is_empty(),
            Self::Complex(re, im) => *re != 0.0 || *im != 0.0,
            Self::Fraction(r) => *r != RBig::ZERO,
            Self::Decimal(_) => self.rational().is_some_and(|r| r != RBig::ZERO),
            Self::Handle(_) | Self::Lent(..) | Self::Name(_) => true,
        }
    }
}

/// The value of `-12.5E+3`; `None` for anything else, and for more digits than a decimal may have.
fn decimal(text: &[u8]) -> Option<RBig> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_DIGITS)?;
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let shift = exponent.parse::<i32>().ok()?.checked_sub(part.len() as i32)?;
    let number = IBig::from_str_radix(&format!("{whole}{part}"), 10).ok()?;
    let scale = IBig::from(10).pow(Some(shift.unsigned_abs() as usize).filter(|n| *n <= MAX_DIGITS)?);
    Some(if shift < 0 { RBig::from(number) / RBig::from(scale) } else { RBig::from(number * scale) })
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let (head, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(head)
    }

    fn length(&mut self) -> Option<usize> {
        let word = self.take(4)?;
        Some(u32::from_be_bytes(word.try_into().ok()?) as usize)
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let n = self.length()?;
        self.take(n).map(<[u8]>::to_vec)
    }

    /// Counts are not believed: the vector grows by what is really there.
    fn items(&mut self, depth: usize) -> Option<Vec<Value>> {
        let n = self.length()?;
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(self.value(depth + 1)?);
        }
        Some(items)
    }

    /// What has a number: no deeper than without it, so only a container and not another number may follow.
    fn container(&mut self, depth: usize) -> Option<Value> {
        let tag = self.bytes.first()?;
        if b"lSqdOKDw".contains(tag) { self.value(depth) } else { None }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        let tag = self.take(1)?[0];
        Some(match tag {
            b'N' => Value::None,
            b'T' => Value::Bool(true),
            b'F' => Value::Bool(false),
            b'i' => {
                let digits = self.string()?;
                Value::Int(IBig::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?)
            }
            b'f' => Value::Float(f64::from_be_bytes(self.take(8)?.try_into().ok()?)),
            b's' => Value::Str(self.string()?),
            b'b' => Value::Bytes(self.string()?),
            b'l' => Value::List(self.items(depth)?),
            b't' => Value::Tuple(self.items(depth)?),
            b'S' => Value::Set(self.items(depth)?),
            b'Z' => Value::FrozenSet(self.items(depth)?),
            b'q' => Value::Deque(self.items(depth)?),
            b'c' => {
                let mut part = || Some(f64::from_be_bytes(self.take(8)?.try_into().ok()?));
                Value::Complex(part()?, part()?)
            }
            b'r' => match (self.value(depth + 1)?, self.value(depth + 1)?) {
                (Value::Int(over), Value::Int(under)) if under > IBig::ZERO => {
                    Value::Fraction(RBig::from(over) / RBig::from(under))
                }
                _ => return None,
            },
            b'm' => Value::Decimal(self.string().filter(|text| decimal(text).is_some())?),
            // An object, a coroutine, a container that both sides know already.
            b'h' | b'a' | b'&' => Value::Handle(self.length()? as u32),
            // The number by which both sides know a container, then the container; what makes a defaultdict's values, then the dict.
            b'@' => {
                self.length()?;
                self.container(depth)?
            }
            b'w' => {
                self.value(depth + 1)?;
                (self.bytes.first() == Some(&b'D')).then_some(())?;
                self.value(depth)?
            }
            b'k' => match (self.length()?, self.value(depth + 1)?) {
                (number, Value::Str(about)) => Value::Lent(number as u32, about),
                _ => return None,
            },
            b'g' => Value::Name(self.string()?),
            // Its name and its fields', which do not count, then its items.
            b'n' => {
                let n = self.length()?;
                match self.value(depth + 1)? {
                    Value::Tuple(about) if about.len() == 2 => {}
                    _ => return None,
                }
                let mut items = Vec::new();
                for _ in 0..n {
                    items.push(self.value(depth + 1)?);
                }
                Value::Tuple(items)
            }
            b'd' | b'O' | b'D' | b'K' => {
                let n = self.length()?;
                let mut pairs = Vec::new();
                for _ in 0..n {
                    pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
                }
                Value::Dict(pairs)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn decoding_refuses_what_the_runner_cannot_have_sent() {
        assert_eq!(Value::decode(b"i\0\0\0\x03-ff"), Some(Value::Int((-255).into())));
        for forged in [
            &b""[..],
            b"x",
            b"@\0\0\0\x01N",
            b"@\0\0\0\x01@\0\0\0\x01l\0\0\0\0",
            b"wNl\0\0\0\0",
            b"NN",
            b"i\0\0\0\x02zz",
            b"l\xff\xff\xff\xffN",
            b"s\xff\xff\xff\xff",
            b"f1234567",
        ] {
            assert_eq!(Value::decode(forged), None, "{forged:?}");
        }
        for level in [&b"l\0\0\0\x01"[..], b"@\0\0\0\x07l\0\0\0\x01", b"@\0\0\0\x07", b"wN"] {
            assert_eq!(Value::decode(&level.repeat(10_000)), None);
        }
        assert_eq!(Value::decode(b"@\0\0\0\x07l\0\0\0\x01&\0\0\0\x07"), Some(Value::List(vec![Value::Handle(7)])));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let list = Value::List(vec![Value::Int((-255).into()), Value::Float(0.5), Value::Bool(true), Value::None]);
        let pair = (Value::Str("é".into()), Value::Tuple(vec![Value::Bytes(vec![0, 255]), Value::Set(vec![])]));
        let value = Value::Dict(vec![pair, (list.clone(), Value::FrozenSet(vec![list]))]);
        assert_eq!(Value::decode(&value.encode()), Some(value));
    }
}
