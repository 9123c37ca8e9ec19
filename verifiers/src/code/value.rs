//! Python values as exact-typed data: what a program returned, and what was expected.

use dashu::integer::IBig;

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
    Dict(Vec<(Value, Value)>),
}

/// Depth that the runner may send; it refuses deeper values itself, so more than this is no value of its.
const MAX_DEPTH: usize = 110;

impl Value {
    /// Decodes what the runner's `encode` wrote. `None` for anything else: the bytes come from a program that may have forged them.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes };
        let value = reader.value(0)?;
        reader.bytes.is_empty().then_some(value)
    }

    /// The value of JSON text or of an element of a ground truth.
    ///
    /// # Errors
    /// An integral number beyond 64 bits: JSON has lost its digits by now, so nothing can be compared with it exactly.
    pub fn of_json(json: &serde_json::Value) -> Result<Self, String> {
        use serde_json::Value as Json;
        Ok(match json {
            Json::Null => Self::None,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(i), ..) => Self::Int(i.into()),
                (_, Some(u), _) => Self::Int(u.into()),
                (.., Some(f)) if f.fract() == 0.0 && f.abs() >= 9.0e18 => {
                    return Err(format!("the number {n} is beyond 64 bits; use an assert, whose numbers are exact"));
                }
                (.., f) => Self::Float(f.unwrap_or(f64::NAN)),
            },
            Json::String(s) => Self::Str(s.clone().into_bytes()),
            Json::Array(items) => Self::List(items.iter().map(Self::of_json).collect::<Result<_, _>>()?),
            Json::Object(map) => Self::Dict(
                map.iter()
                    .map(|(k, v)| Ok((Self::Str(k.clone().into_bytes()), Self::of_json(v)?)))
                    .collect::<Result<_, String>>()?,
            ),
        })
    }

    /// Python's truth of the value.
    pub fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(i) => *i != IBig::ZERO,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) | Self::Bytes(s) => !s.is_empty(),
            Self::List(v) | Self::Tuple(v) | Self::Set(v) | Self::FrozenSet(v) => !v.is_empty(),
            Self::Dict(d) => !d.is_empty(),
        }
    }
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
            b'd' => {
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
        for forged in
            [&b""[..], b"x", b"NN", b"i\0\0\0\x02zz", b"l\xff\xff\xff\xffN", b"s\xff\xff\xff\xff", b"f1234567"]
        {
            assert_eq!(Value::decode(forged), None, "{forged:?}");
        }
        let deep: Vec<u8> = b"l\0\0\0\x01".repeat(10_000);
        assert_eq!(Value::decode(&deep), None);
    }

    #[test]
    fn json_numbers_beyond_64_bits_are_refused() {
        assert!(Value::of_json(&serde_json::json!(1e30)).is_err());
        assert_eq!(Value::of_json(&serde_json::json!(u64::MAX)), Ok(Value::Int(u64::MAX.into())));
    }
}
