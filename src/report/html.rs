//! HTML that cannot be injected into: fixed markup is `&'static str`, everything else is escaped on its way in.

use std::borrow::Cow;
use std::fmt::{Display, Write};

/// HTML under construction. A run's text (names, prompts, completions, reasons) is hostile until proven otherwise: a policy
/// writes whatever its reward pays for. So the only way in for text that is not part of this program is [`Html::text`].
#[derive(Debug, Default)]
pub struct Html(String);

impl Html {
    /// Markup of this program.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of any origin, between tags or inside a quoted attribute.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        write!(Escaper(&mut self.0), "{text}").expect("writing to a string does not fail");
        self
    }

    /// Bytes as base64 (RFC 4648), whose alphabet has no character that means anything to HTML.
    pub fn raw_base64(&mut self, bytes: &[u8]) -> &mut Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for chunk in bytes.chunks(3) {
            let word = chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
            for i in 0..4 {
                let digit = ALPHABET[(word >> (18 - 6 * i) & 63) as usize];
                self.0.push(if i > chunk.len() { '=' } else { char::from(digit) });
            }
        }
        self
    }

    /// What has been built.
    pub fn finish(self) -> String {
        self.0
    }
}

struct Escaper<'a>(&'a mut String);

impl Write for Escaper<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                _ => self.0.push(visible(c)),
            }
        }
        Ok(())
    }
}

/// Control characters as their pictures, and bidirectional overrides as a replacement mark: a sample is shown as what it is, and
/// cannot reorder or hide what stands beside it. Line feeds and tabs stay.
fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).expect("the block of control pictures has one for each"),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ => c,
    }
}

/// `text` on one line for a terminal: no control character reaches it, so no text can move the cursor or set a colour.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { visible(c) }).collect()
}

/// The first `limit` characters, and how many were left off.
pub fn clip(text: &str, limit: usize) -> (&str, usize) {
    match text.char_indices().nth(limit) {
        Some((end, _)) => (&text[..end], text[end..].chars().count()),
        None => (text, 0),
    }
}

/// A number for people: four significant digits, no trailing zeros, exponent only where it helps.
pub fn number(x: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    if !x.is_finite() {
        return if x.is_nan() {
            "NaN"
        } else if x > 0.0 {
            "∞"
        } else {
            "−∞"
        }
        .into();
    }
    let size = x.abs();
    let text = if (1e-3..1e5).contains(&size) {
        let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        let fixed = format!("{size:.decimals$}");
        if fixed.contains('.') { fixed.trim_end_matches('0').trim_end_matches('.').to_owned() } else { fixed }
    } else {
        let scientific = format!("{size:.2e}");
        let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` always writes an exponent");
        let mantissa =
            if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
        format!("{mantissa}e{exponent}")
    };
    format!("{}{text}", if x < 0.0 { "−" } else { "" })
}

/// A count with an SI prefix: `12.4 M`. NaN and infinities as [`number`] has them.
pub fn si(x: f64) -> String {
    const PREFIXES: [&str; 9] = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    if !x.is_finite() || x.abs() < 1000.0 {
        return number(x);
    }
    let mut step = ((x.abs().log10() / 3.0).floor() as usize).min(PREFIXES.len() - 1);
    // 999 999 would print as "1000 k": what rounds up to a thousand belongs to the next prefix.
    if x.abs() / 1000f64.powi(step as i32) >= 999.5 && step + 1 < PREFIXES.len() {
        step += 1;
    }
    let scaled = x / 1000f64.powi(step as i32);
    let decimals = if scaled.abs() < 9.995 { 2 } else { usize::from(scaled.abs() < 99.95) };
    format!("{scaled:.decimals$} {}", PREFIXES[step])
}

/// An exact count with thin groups of three: `1 234 567`, separated by no-break spaces so that it never wraps.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// An amount of memory: `512 B`, `1.50 KiB`, `12.3 GiB`.
pub fn binary(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (bytes as f64, 0);
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        (amount, unit) = (amount / 1024.0, unit + 1);
    }
    let decimals = if unit == 0 {
        0
    } else if amount < 9.995 {
        2
    } else {
        usize::from(amount < 99.95)
    };
    format!("{amount:.decimals$}\u{a0}{}", UNITS[unit])
}

/// A duration: `0.84 s`, `42 s`, `8 min 12 s`, `3 h 05 min`.
pub fn seconds(s: f64) -> String {
    if !s.is_finite() || s < 0.0 {
        return "–".into();
    }
    if s < 10.0 {
        return format!("{s:.2} s");
    }
    let whole = s.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A share in per cent: `12.3 %`; a dash for what is not a number.
pub fn percent(share: f64) -> Cow<'static, str> {
    if !share.is_finite() {
        return "–".into();
    }
    format!("{:.1} %", share * 100.0).into()
}

/// A difference of two scores with its sign: `+0.125`, `−0.030`, `±0.000`.
pub fn signed(delta: f64) -> String {
    let sign = if delta.abs() < 5e-4 {
        "±"
    } else if delta > 0.0 {
        "+"
    } else {
        "−"
    };
    format!("{sign}{:.3}", delta.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element_or_attribute() {
        let mut html = Html::default();
        html.raw("<p title=\"").text("\" onload='x").raw("\">").text("</p><script>alert(1)</script>&amp;").raw("</p>");
        assert_eq!(
            html.finish(),
            "<p title=\"&quot; onload=&#39;x\">&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;</p>"
        );
    }

    /// RFC 4648, section 10.
    #[test]
    fn base64_known_answers() {
        let check = |text: &str, expected: &str| {
            let mut html = Html::default();
            html.raw_base64(text.as_bytes());
            assert_eq!(html.finish(), expected);
        };
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foobar", "Zm9vYmFy");
    }

    #[test]
    fn controls_and_bidi_overrides_are_made_visible() {
        let mut html = Html::default();
        html.text("a\0b\x1b[31m\u{202e}c\n\td\u{9b}");
        assert_eq!(html.finish(), "a␀b␛[31m\u{fffd}c\n\td\u{fffd}");
        assert_eq!(plain("a\x1b]0;x\x07\nb"), "a␛]0;x␇ b");
    }

    #[test]
    fn numbers_read_well() {
        let check = |x: f64, expected: &str| assert_eq!(number(x), expected);
        check(0.0, "0");
        check(-0.0, "0");
        check(0.123_456, "0.1235");
        check(12.0, "12");
        check(-1234.56, "−1235");
        check(120_000.0, "1.2e5");
        check(1e-6, "1e-6");
        check(f64::NAN, "NaN");
        check(f64::NEG_INFINITY, "−∞");
    }

    #[test]
    fn counts_durations_and_shares_read_well() {
        assert_eq!([si(999.0), si(999_999.0), si(12_345_678.0), si(4.2e30)], ["999", "1.00 M", "12.3 M", "4200000 Y"]);
        assert_eq!([grouped(0), grouped(999), grouped(1_234_567)], ["0", "999", "1\u{202f}234\u{202f}567"]);
        assert_eq!(
            [seconds(0.5), seconds(59.6), seconds(492.0), seconds(11_100.0)],
            ["0.50 s", "1 min 00 s", "8 min 12 s", "3 h 05 min"]
        );
        assert_eq!(
            [seconds(f64::NAN), percent(f64::NAN).into_owned(), percent(0.1234).into_owned()],
            ["–", "–", "12.3 %"]
        );
        assert_eq!([signed(0.125), signed(-0.03), signed(-0.0)], ["+0.125", "−0.030", "±0.000"]);
        assert_eq!(clip("aéb", 2), ("aé", 1));
    }
}
