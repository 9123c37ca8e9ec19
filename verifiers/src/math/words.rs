//! The vocabulary: commands of LaTeX, names of functions, words that are operators in disguise, units.

use super::budget::Unread;
use super::lexer::{Bracket, Relation, Token};

/// What a run of letters is.
pub enum Word {
    /// One token.
    Token(Token),
    /// A product of one-letter variables.
    Letters,
}

/// What a LaTeX command is.
pub enum Command {
    /// One token.
    Token(Token),
    /// Spacing and sizing.
    Skip,
    /// A font around its argument, which is prose or mathematics.
    Wrapper {
        /// True for `\text` and its like.
        prose: bool,
    },
}

/// Functions that stay symbolic unless a rule evaluates them.
const FUNCTIONS: [&str; 24] = [
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln", "lg",
    "exp", "gcd", "lcm", "max", "min", "det", "arg", "abs", "deg",
];

/// Words that change the value beside them or take it back. Taking one for a unit would pass a wrong answer, so they
/// are not read at all.
const OPERATORS: [&str; 32] = [
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
];

/// Units under their common spellings; the first of each row names it.
const UNITS: [&[&str]; 26] = [
    &["cm", "centimeter", "centimeters", "centimetre", "centimetres"],
    &["mm", "millimeter", "millimeters", "millimetre", "millimetres"],
    &["km", "kilometer", "kilometers", "kilometre", "kilometres"],
    &["m", "meter", "meters", "metre", "metres"],
    &["in", "inch", "inches"],
    &["ft", "foot", "feet"],
    &["yd", "yard", "yards"],
    &["mi", "mile", "miles"],
    &["kg", "kilogram", "kilograms"],
    &["mg", "milligram", "milligrams"],
    &["g", "gram", "grams"],
    &["lb", "lbs", "pound", "pounds"],
    &["oz", "ounce", "ounces"],
    &["ml", "milliliter", "milliliters"],
    &["l", "liter", "liters", "litre", "litres"],
    &["s", "sec", "secs", "second", "seconds"],
    &["min", "mins", "minute", "minutes"],
    &["h", "hr", "hrs", "hour", "hours"],
    &["day", "days"],
    &["week", "weeks"],
    &["year", "years", "yr", "yrs"],
    &["degree", "degrees", "deg"],
    &["radian", "radians", "rad"],
    &["dollar", "dollars", "usd"],
    &["cent", "cents"],
    &["mph"],
];

/// What a run of letters is; `prose` inside `\text` and its like.
///
/// # Errors
/// [`Unread::Unsupported`] for a word that would change the value in a way that no rule reads.
pub fn classify(run: &str, prose: bool) -> Result<Word, Unread> {
    let lower = run.to_ascii_lowercase();
    let token = match lower.as_str() {
        "or" | "and" => Token::Conjunction,
        "pi" => Token::Pi,
        "infinity" | "infty" => Token::Infinity,
        "sqrt" => Token::Sqrt,
        "percent" => Token::Percent,
        _ if OPERATORS.contains(&lower.as_str()) && (prose || run.len() > 2) => {
            return Err(Unread::Unsupported(format!("the word \"{lower}\"")));
        }
        _ => match FUNCTIONS.iter().find(|name| **name == run && run != "min" && run != "deg") {
            Some(name) => Token::Function(name),
            // One letter of prose is a unit after a number and a variable elsewhere; the parser knows which.
            None if prose || run.len() >= 4 || (run.len() > 1 && unit(&lower).is_some()) => Token::Word(lower),
            None => return Ok(Word::Letters),
        },
    };
    Ok(Word::Token(token))
}

/// The power of ten that a number word multiplies by, and the factor before it.
pub fn multiplier(word: &str) -> Option<u64> {
    Some(match word {
        "dozen" => 12,
        "hundred" => 100,
        "thousand" => 1_000,
        "million" => 1_000_000,
        "billion" => 1_000_000_000,
        "trillion" => 1_000_000_000_000,
        _ => return None,
    })
}

/// The common name of a known unit.
pub fn unit(word: &str) -> Option<&'static str> {
    UNITS.iter().find(|row| row.contains(&word)).map(|row| row[0])
}

/// The name of a Greek letter other than π.
pub fn greek_letter(c: char) -> Option<&'static str> {
    let at = ['α', 'β', 'γ', 'δ', 'ε', 'θ', 'λ', 'μ', 'ρ', 'σ', 'τ', 'φ', 'ω'].iter().position(|g| *g == c)?;
    Some(GREEK[at])
}

const GREEK: [&str; 13] =
    ["alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "rho", "sigma", "tau", "phi", "omega"];

/// What a LaTeX command is, by its name without the backslash.
///
/// # Errors
/// [`Unread::Unsupported`] for a command that no rule reads.
pub fn command(name: &str) -> Result<Command, Unread> {
    let token = match name {
        "left" | "right" | "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl" | "Bigr" | "biggl" | "biggr"
        | "displaystyle" | "textstyle" | "quad" | "qquad" | "limits" | "phantom" | "mathopen" => {
            return Ok(Command::Skip);
        }
        "text" | "textbf" | "textit" | "textrm" | "textnormal" | "mathrm" | "mbox" | "operatorname" | "rm" => {
            return Ok(Command::Wrapper { prose: true });
        }
        "mathbf" | "boldsymbol" | "bm" | "mathit" | "mathsf" | "mathcal" | "boxed" => {
            return Ok(Command::Wrapper { prose: false });
        }
        "frac" | "dfrac" | "tfrac" | "cfrac" => Token::Frac,
        "sqrt" => Token::Sqrt,
        "binom" | "dbinom" | "tbinom" => Token::Binom,
        "overline" | "bar" => Token::Overline,
        "pi" => Token::Pi,
        "infty" => Token::Infinity,
        "emptyset" | "varnothing" => Token::EmptySet,
        "cdot" | "times" | "ast" => Token::Times,
        "div" => Token::Divide,
        "pm" => Token::PlusMinus(false),
        "mp" => Token::PlusMinus(true),
        "circ" | "degree" => Token::Degree,
        "percent" => Token::Percent,
        "cup" => Token::Cup,
        "in" => Token::In,
        "le" | "leq" | "leqslant" => Token::Relation(Relation::AtMost),
        "ge" | "geq" | "geqslant" => Token::Relation(Relation::AtLeast),
        "lt" => Token::Relation(Relation::Less),
        "gt" => Token::Relation(Relation::Greater),
        "ne" | "neq" => Token::Relation(Relation::NotEqual),
        "lbrace" => Token::Open(Bracket::Brace),
        "rbrace" => Token::Close(Bracket::Brace),
        "lfloor" => Token::Open(Bracket::Floor),
        "rfloor" => Token::Close(Bracket::Floor),
        "lceil" => Token::Open(Bracket::Ceiling),
        "rceil" => Token::Close(Bracket::Ceiling),
        "vert" | "lvert" | "rvert" | "mid" => Token::Bar,
        "varepsilon" => Token::Symbol("epsilon".into()),
        "varphi" => Token::Symbol("phi".into()),
        _ => match (FUNCTIONS.iter().find(|f| **f == name), GREEK.iter().find(|g| **g == name)) {
            (Some(function), _) => Token::Function(function),
            (_, Some(letter)) => Token::Symbol((*letter).into()),
            _ => {
                return Err(Unread::Unsupported(format!(
                    "the command \\{}",
                    name.chars().take(20).collect::<String>()
                )));
            }
        },
    };
    Ok(Command::Token(token))
}
