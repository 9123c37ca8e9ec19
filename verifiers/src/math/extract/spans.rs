//! Mathematics between delimiters, found in one pass from left to right.

/// A piece of mathematics in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte, delimiters included.
    pub start: usize,
    /// One past the last byte, delimiters and a percent sign behind them included.
    pub end: usize,
    /// Where the content begins and ends.
    pub inner: (usize, usize),
    /// A percent sign or its word comes behind.
    pub percent: bool,
}

/// Finds `$$…$$`, `\[…\]`, `$…$`, `\(…\)`, ` [ … ] ` and bare fractions of two numbers. The last three kinds of
/// delimiters hold no line break.
pub fn spans(text: &str) -> Vec<Span> {
    let mut scanner = Scanner {
        text,
        bytes: text.as_bytes(),
        no_dollars_from: usize::MAX,
        no_bracket_from: usize::MAX,
        line_without: (0, 0),
    };
    let (mut found, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match scanner.at(at) {
            Some((inner, end)) => {
                let behind = percent_end(text, end);
                found.push(Span { start: at, end: behind.unwrap_or(end), inner, percent: behind.is_some() });
                at = end;
            }
            None => at += 1,
        }
    }
    found
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    /// From here on there is no `$$` any more: known after one search in vain.
    no_dollars_from: usize,
    /// From here on there is no `\]` any more.
    no_bracket_from: usize,
    /// A stretch of one line in which there is no `\)`.
    line_without: (usize, usize),
}

/// Where the content begins and ends, and where the span ends.
type Found = Option<((usize, usize), usize)>;

impl Scanner<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn at(&mut self, at: usize) -> Found {
        let before = if at == 0 { b' ' } else { self.byte(at - 1) };
        match (self.byte(at), self.byte(at + 1)) {
            (b'$', b'$') if before != b'\\' => self.display_dollars(at),
            (b'$', _) if before != b'\\' && !before.is_ascii_digit() => self.inline_dollars(at),
            (b'\\', b'[') if before != b'\\' => self.display_bracket(at),
            (b'\\', b'(') if before != b'\\' => self.inline_bracket(at),
            (b'[', _) if at > 0 && before.is_ascii_whitespace() => self.plain_bracket(at),
            (b'\\', b'f') => self.fraction(at),
            _ => None,
        }
    }

    fn display_dollars(&mut self, at: usize) -> Found {
        let mut from = at + 2;
        while from < self.no_dollars_from {
            let Some(offset) = self.text[from..].find("$$") else {
                self.no_dollars_from = from;
                return None;
            };
            let close = from + offset;
            if self.byte(close - 1) != b'\\' && close > at + 2 {
                return Some(((at + 2, close), close + 2));
            }
            from = close + 1;
        }
        None
    }

    fn inline_dollars(&self, at: usize) -> Found {
        let mut close = at + 1;
        // The search stops at the next dollar or line end, so no stretch is searched twice.
        loop {
            match self.byte(close) {
                b'\\' if self.byte(close + 1) == b'$' => close += 2,
                b'$' if close > at + 1 => return Some(((at + 1, close), close + 1)),
                b'$' | b'\n' | 0 => return None,
                _ => close += 1,
            }
        }
    }

    fn display_bracket(&mut self, at: usize) -> Found {
        let from = at + 2;
        if from >= self.no_bracket_from {
            return None;
        }
        match self.text[from..].find("\\]") {
            Some(0) => None,
            Some(offset) => Some(((from, from + offset), from + offset + 2)),
            None => {
                self.no_bracket_from = from;
                None
            }
        }
    }

    fn inline_bracket(&mut self, at: usize) -> Found {
        let from = at + 2;
        if (self.line_without.0..self.line_without.1).contains(&from) {
            return None;
        }
        let mut close = from;
        while close < self.bytes.len() && self.byte(close) != b'\n' {
            if self.byte(close) == b'\\' && self.byte(close + 1) == b')' {
                return (close > from).then_some(((from, close), close + 2));
            }
            close += 1;
        }
        self.line_without = (from, close);
        None
    }

    fn plain_bracket(&self, at: usize) -> Found {
        let mut close = at + 1;
        while close < self.bytes.len() && !matches!(self.byte(close), b'\n' | b'[' | b']') {
            close += 1;
        }
        let closed = self.byte(close) == b']' && self.byte(close + 1).is_ascii_whitespace() && close > at + 1;
        closed.then_some(((at + 1, close), close + 1))
    }

    /// `\frac{1}{2}` outside all delimiters.
    fn fraction(&self, at: usize) -> Found {
        let rest = self.text[at..].strip_prefix("\\frac{")?;
        let over = number_len(rest)?;
        let rest = rest[over..].strip_prefix("}{")?;
        let under = number_len(rest)?;
        rest[under..].starts_with('}').then(|| {
            let end = at + "\\frac{".len() + over + "}{".len() + under + 1;
            let start = if at > 0 && self.byte(at - 1) == b'-' { at - 1 } else { at };
            ((start, end), end)
        })
    }
}

fn number_len(text: &str) -> Option<usize> {
    let len = text.bytes().take(40).take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b',' | b'-')).count();
    (len > 0).then_some(len)
}

/// Where a percent sign or its word behind `at` ends.
pub fn percent_end(text: &str, at: usize) -> Option<usize> {
    let rest = text[at..].trim_start();
    let from = text.len() - rest.len();
    ["\\%", "%", "percent", "Percent", "pct", "Pct"]
        .iter()
        .find(|word| rest.starts_with(**word))
        .map(|word| from + word.len())
}
