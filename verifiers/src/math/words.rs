//! The vocabulary: names of functions, words that are operators in disguise.

use super::budget::Unread;
use super::lexer::Font;
use super::tokens::{Conjunction, Token};
use super::units;

/// What a run of letters is.
pub enum Word {
    /// One token.
    Token(Token),
    /// A token, and the rest of so many bytes is read on.
    Glued(Token, usize),
    /// A product of one-letter variables.
    Letters,
}

/// Functions that stay symbolic unless a rule evaluates them.
pub const FUNCTIONS: [&str; 42] = [
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "arcsec", "arccsc", "sinh",
    "cosh", "tanh", "coth", "arcsinh", "arccosh", "arctanh", "log", "ln", "lg", "exp", "gcd", "lcm", "max", "min",
    "det", "arg", "abs", "deg", "floor", "ceil", "cbrt", "asin", "acos", "atan", "binom", "tg", "ctg", "sgn", "cis",
];

/// Functions that may have their argument glued to them: `sinx`.
const GLUED: [&str; 13] =
    ["arcsin", "arccos", "arctan", "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp"];

/// Words that change the value beside them or take it back. Taking one for a unit would pass a wrong answer, so they
/// are not read at all.
const OPERATORS: [&str; 40] = [
    "squared",
    "cubed",
    "factorial",
    "over",
    "times",
    "plus",
    "minus",
    "mod",
    "modulo",
    "base",
    "to",
    "power",
    "half",
    "third",
    "quarter",
    "not",
    "more",
    "less",
    "than",
    "divided",
    "multiplied",
    "negative",
    "root",
    "choose",
    "double",
    "twice",
    "wrong",
    "incorrect",
    "maybe",
    "possibly",
    "perhaps",
    "except",
    "thirds",
    "quarters",
    "halves",
    "if",
    "otherwise",
    "approximately",
    "about",
    "between",
];

/// A number below a hundred in words: `five`, `twenty-five`.
pub fn small_number(word: &str) -> Option<u32> {
    const ONES: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let at = |names: &[&str], word: &str| names.iter().position(|name| name.eq_ignore_ascii_case(word));
    if let Some(value) = at(&ONES, word) {
        return Some(value as u32);
    }
    let (tens, ones) = word.split_once('-').map_or((word, None), |(tens, ones)| (tens, Some(ones)));
    let tens = at(&TENS, tens)? as u32 * 10 + 20;
    match ones {
        None => Some(tens),
        Some(ones) => at(&ONES[..10], ones).filter(|ones| *ones > 0).map(|ones| tens + ones as u32),
    }
}

/// Whether a text is two words or more and nothing else, none of which is mathematics: "no solution".
pub fn is_phrase(text: &str) -> bool {
    let reads = |word: &str| {
        let lower = word.to_ascii_lowercase();
        FUNCTIONS.contains(&&*lower)
            || OPERATORS.contains(&&*lower)
            || units::is_name(&lower)
            || multiplier(&lower).is_some()
            || matches!(
                &*lower,
                "pi" | "infinity" | "infty" | "inf" | "sqrt" | "or" | "and" | "percent" | "degrees" | "degree"
            )
    };
    text.len() <= 60
        && text.contains(' ')
        && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ')
        && text.split(' ').filter(|word| !word.is_empty()).all(|word| word.len() > 1 && !reads(word))
}

/// What a run of letters is.
///
/// # Errors
/// [`Unread::Unsupported`] for a word that would change the value in a way that no rule reads.
pub fn classify(run: &str, font: Font) -> Result<Word, Unread> {
    let prose = font == Font::Prose;
    if run.len() == 1 {
        // One letter of prose is a unit after a number and a variable elsewhere; the parser knows which.
        let word = prose || font == Font::Upright && units::is_letter(run);
        return Ok(if word { Word::Token(Token::Word) } else { Word::Letters });
    }
    let mut buffer = [0; 24];
    let lower = lowered(run, &mut buffer);
    let token = match lower {
        "pi" => Token::Pi,
        "infinity" | "infty" | "inf" => Token::Infinity,
        "dne" => Token::Word,
        "sqrt" => Token::Sqrt,
        "percent" | "percentage" | "pct" => Token::Percent,
        "degrees" | "degree" => Token::Degree,
        _ if Conjunction::of(lower).is_some() => {
            Token::Conjunction(Conjunction::of(lower).expect("asked in the guard"))
        }
        // Short words of a sentence are no products of letters.
        "is" | "it" | "so" | "we" | "of" => return Err(Unread::Unsupported(format!("the word \"{lower}\""))),
        _ if OPERATORS.contains(&lower) && (prose || run.len() > 2) => {
            return Err(Unread::Unsupported(format!("the word \"{lower}\"")));
        }
        _ => match FUNCTIONS.iter().find(|name| **name == run && run != "min" && run != "deg") {
            Some(name) => Token::Function(name),
            None => return Ok(longer(run, lower, prose)),
        },
    };
    Ok(Word::Token(token))
}

/// A run of letters that no list holds.
fn longer(run: &str, lower: &str, prose: bool) -> Word {
    if !prose {
        let glued = GLUED.iter().find(|head| run.starts_with(**head) && run.len() == head.len() + 1);
        if let Some(head) = glued {
            let token = if *head == "sqrt" { Token::Sqrt } else { Token::Function(head) };
            return Word::Glued(token, head.len());
        }
    }
    if prose || run.len() >= 4 || is_unit(lower) {
        return Word::Token(Token::Word);
    }
    // "7or" and "1or2": the number before the word is a token of its own already.
    let head = ["or", "and"].into_iter().find(|head| lower.starts_with(head) && lower.len() == head.len() + 1);
    match head {
        Some(head) => {
            let conjunction = Conjunction::of(head).expect("both are conjunctions");
            Word::Glued(Token::Conjunction(conjunction), head.len())
        }
        None => Word::Letters,
    }
}

/// Whether a run outside of prose is a unit. "am" and "pm" are products there, unless a time of day stands before them.
fn is_unit(lower: &str) -> bool {
    units::is_name(lower) && !matches!(lower, "am" | "pm" | "kj" | "kw" | "ohm" | "yen" | "won")
}

/// The run in lower case, without the heap for the runs that lists may hold.
fn lowered<'a>(run: &'a str, buffer: &'a mut [u8; 24]) -> &'a str {
    let Some(bytes) = buffer.get_mut(..run.len()) else { return run };
    bytes.copy_from_slice(run.as_bytes());
    bytes.make_ascii_lowercase();
    std::str::from_utf8(bytes).expect("letters of ASCII")
}

/// The power of ten that a number word multiplies by, and the factor before it.
pub fn multiplier(word: &str) -> Option<u64> {
    Some(match word.to_ascii_lowercase().as_str() {
        "dozen" => 12,
        "hundred" => 100,
        "thousand" => 1_000,
        "million" => 1_000_000,
        "billion" => 1_000_000_000,
        "trillion" => 1_000_000_000_000,
        _ => return None,
    })
}

/// The name of a Greek letter other than π.
pub fn greek_letter(c: char) -> Option<&'static str> {
    GREEK.iter().find(|(letter, _)| *letter == c).map(|(_, name)| *name)
}

/// The Greek letters and their commands.
pub const GREEK: [(char, &str); 31] = [
    ('α', "alpha"),
    ('β', "beta"),
    ('γ', "gamma"),
    ('δ', "delta"),
    ('ε', "epsilon"),
    ('ζ', "zeta"),
    ('η', "eta"),
    ('θ', "theta"),
    ('ι', "iota"),
    ('κ', "kappa"),
    ('λ', "lambda"),
    ('μ', "mu"),
    ('ν', "nu"),
    ('ξ', "xi"),
    ('ρ', "rho"),
    ('σ', "sigma"),
    ('τ', "tau"),
    ('υ', "upsilon"),
    ('φ', "phi"),
    ('χ', "chi"),
    ('ψ', "psi"),
    ('ω', "omega"),
    ('Γ', "Gamma"),
    ('Δ', "Delta"),
    ('Θ', "Theta"),
    ('Λ', "Lambda"),
    ('Ξ', "Xi"),
    ('Σ', "Sigma"),
    ('Φ', "Phi"),
    ('Ψ', "Psi"),
    ('Ω', "Omega"),
];
