//! Text to tokens, in one pass and without looking back: LaTeX and plain notation share the tokens.

use super::budget::Unread;
use super::words::{self, Word};

/// Tokens that one answer may have.
pub const MAX_TOKENS: usize = 20_000;

/// A bracket by its shape. `Group` is TeX's invisible brace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bracket {
    /// `( )`
    Paren,
    /// `[ ]`
    Square,
    /// `\{ \}`
    Brace,
    /// `{ }`
    Group,
    /// `\lfloor \rfloor`
    Floor,
    /// `\lceil \rceil`
    Ceiling,
}

/// How two sides are related; `>` and `≥` are turned round by the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `=`
    Equal,
    /// `≠`
    NotEqual,
    /// `<`
    Less,
    /// `≤`
    AtMost,
    /// `>`
    Greater,
    /// `≥`
    AtLeast,
}

/// What a piece of the text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A literal; its digits are in the source.
    Number,
    /// A variable, one letter or a named one.
    Symbol(String),
    /// A word of prose, in lower case: a unit, a text answer.
    Word(String),
    /// A function's name.
    Function(&'static str),
    /// π
    Pi,
    /// ∞
    Infinity,
    /// ∅
    EmptySet,
    /// `\frac`
    Frac,
    /// `\sqrt`
    Sqrt,
    /// `\binom`
    Binom,
    /// `\overline`
    Overline,
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `±`; true for `∓`
    PlusMinus(bool),
    /// `*`
    Times,
    /// `/`
    Divide,
    /// `^`
    Caret,
    /// `_`
    Underscore,
    /// `!`
    Bang,
    /// `%`
    Percent,
    /// `\circ`
    Degree,
    /// `|`
    Bar,
    /// `∪`
    Cup,
    /// `∈`
    In,
    /// A relation.
    Relation(Relation),
    /// An opening bracket.
    Open(Bracket),
    /// A closing one.
    Close(Bracket),
    /// `,` and `;`
    Comma,
    /// `:`
    Colon,
    /// The words "and" and "or".
    Conjunction,
}

/// A token and where it stands in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lexeme {
    /// What it is.
    pub token: Token,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// True when white space comes before it.
    pub spaced: bool,
}

/// What a comma between groups of three digits is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commas {
    /// Part of the number, outside brackets: `1,234` is one number.
    Thousands,
    /// Between two numbers.
    Separators,
}

/// The tokens of a text.
#[derive(Debug)]
pub struct Lexed {
    /// In the order of the text.
    pub lexemes: Vec<Lexeme>,
    /// True when [`Commas`] made a difference.
    pub ambiguous: bool,
}

/// Splits a [normalised](super::normal::normalise) text.
///
/// # Errors
/// [`Unread::Unsupported`] for a command or character that no rule reads, [`Unread::Limit`] past [`MAX_TOKENS`].
pub fn lex(source: &str, commas: Commas) -> Result<Lexed, Unread> {
    let mut lexer = Lexer {
        source,
        at: 0,
        commas,
        depth: 0,
        groups: Vec::new(),
        font_next: None,
        spaced: false,
        out: Vec::new(),
        ambiguous: false,
    };
    while lexer.at < source.len() {
        lexer.step()?;
        if lexer.out.len() > MAX_TOKENS {
            return Err(Unread::Limit("tokens"));
        }
    }
    Ok(Lexed { lexemes: lexer.out, ambiguous: lexer.ambiguous })
}

/// An open `{`: does it hold prose, and is it a token?
struct Group {
    text: bool,
    visible: bool,
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    commas: Commas,
    /// Open brackets other than groups; commas inside them separate.
    depth: usize,
    groups: Vec<Group>,
    /// Set when the next `{` is the argument of a font command; true when that holds prose.
    font_next: Option<bool>,
    spaced: bool,
    out: Vec<Lexeme>,
    ambiguous: bool,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn byte(&self, at: usize) -> u8 {
        self.source.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn push(&mut self, token: Token, width: usize) {
        let start = self.at;
        self.at += width;
        self.out.push(Lexeme { token, start, end: self.at, spaced: std::mem::take(&mut self.spaced) });
    }

    fn step(&mut self) -> Result<(), Unread> {
        let c = self.rest().chars().next().expect("the loop ends at the end of the text");
        match c {
            ' ' | '~' | '$' | '"' | '£' | '€' | '&' => {
                self.at += c.len_utf8();
                self.spaced = true;
            }
            '0'..='9' => self.number(),
            '.' if self.byte(self.at + 1).is_ascii_digit() => self.number(),
            '.' if !self.rest().starts_with("..") => self.at += 1,
            '{' => self.open_group(),
            '}' => self.close_group()?,
            '\\' => self.command()?,
            _ if c.is_alphabetic() => self.letters(c)?,
            _ => self.mark(c)?,
        }
        Ok(())
    }

    fn open_group(&mut self) {
        let font = self.font_next.take();
        let text = font.unwrap_or_else(|| self.groups.last().is_some_and(|group| group.text));
        self.groups.push(Group { text, visible: font.is_none() });
        if font.is_none() {
            self.push(Token::Open(Bracket::Group), 1);
        } else {
            self.at += 1;
            self.spaced = true;
        }
    }

    fn close_group(&mut self) -> Result<(), Unread> {
        match self.groups.pop() {
            Some(group) if group.visible => self.push(Token::Close(Bracket::Group), 1),
            Some(_) => {
                self.at += 1;
                self.spaced = true;
            }
            None => return Err(Unread::Malformed("a closing brace without its opening one")),
        }
        Ok(())
    }

    /// A literal: digits with separators of thousands, decimals, an exponent.
    fn number(&mut self) {
        let start = self.at;
        let mut end = self.digits_end(start);
        if (1..=3).contains(&(end - start)) {
            while let Some(next) = self.thousands_end(end, self.byte(start) == b'0') {
                end = next;
            }
        }
        if self.byte(end) == b'.' && self.byte(end + 1).is_ascii_digit() {
            end = self.digits_end(end + 1);
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let digits = end + 1 + usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            if self.byte(digits).is_ascii_digit() {
                end = self.digits_end(digits);
            }
        }
        self.push(Token::Number, end - start);
    }

    fn digits_end(&self, from: usize) -> usize {
        from + self.source.as_bytes()[from..].iter().take_while(|b| b.is_ascii_digit()).count()
    }

    /// The end of a further group of three digits and its separator.
    fn thousands_end(&mut self, from: usize, leading_zero: bool) -> Option<usize> {
        let rest = &self.source[from..];
        let separator = ["{,}", ",\\!", ",", "\\,", "\\!", "\\ ", " "].into_iter().find(|s| rest.starts_with(s))?;
        let digits = from + separator.len();
        let end = self.digits_end(digits);
        let after_index = matches!(self.out.last().map(|l| &l.token), Some(Token::Underscore | Token::Caret));
        let refused = separator == " " && (after_index || matches!(self.byte(end), b'/' | b'\\'));
        if end - digits != 3 || leading_zero || refused {
            return None;
        }
        if separator == "," {
            if self.depth > 0 {
                return None;
            }
            self.ambiguous = true;
            if self.commas == Commas::Separators {
                return None;
            }
        }
        Some(end)
    }

    fn letters(&mut self, first: char) -> Result<(), Unread> {
        if !first.is_ascii_alphabetic() {
            let name = words::greek_letter(first).map_or_else(|| first.to_string(), str::to_owned);
            self.push(Token::Symbol(name), first.len_utf8());
            return Ok(());
        }
        let run = self.rest().bytes().take_while(u8::is_ascii_alphabetic).count();
        let prose = self.groups.last().is_some_and(|group| group.text);
        let word = self.rest()[..run].to_owned();
        match words::classify(&word, prose)? {
            Word::Token(token) => self.push(token, run),
            Word::Letters => word.chars().for_each(|c| self.push(Token::Symbol(c.to_string()), 1)),
        }
        Ok(())
    }

    fn command(&mut self) -> Result<(), Unread> {
        let name_len = self.source.as_bytes()[self.at + 1..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let name = self.source[self.at + 1..self.at + 1 + name_len].to_owned();
        if name.is_empty() {
            return self.escaped();
        }
        let width = name_len + 1;
        match words::command(&name)? {
            words::Command::Token(token) => {
                self.track_depth(&token);
                self.push(token, width);
            }
            words::Command::Skip => {
                self.at += width;
                self.spaced = true;
            }
            words::Command::Wrapper { prose } => {
                self.at += width;
                self.spaced = true;
                let blanks = self.rest().bytes().take_while(|b| *b == b' ').count();
                if self.byte(self.at + blanks) == b'{' {
                    self.at += blanks;
                    self.font_next = Some(prose);
                    self.open_group();
                }
            }
        }
        Ok(())
    }

    /// A backslash and a character that is no letter.
    fn escaped(&mut self) -> Result<(), Unread> {
        match self.byte(self.at + 1) {
            b'{' => self.push_bracket(Token::Open(Bracket::Brace), 2),
            b'}' => self.push_bracket(Token::Close(Bracket::Brace), 2),
            b'%' => self.push(Token::Percent, 2),
            b'|' => self.push(Token::Bar, 2),
            b',' | b'!' | b';' | b':' | b' ' | b'$' | b'>' | b'(' | b')' | b'[' | b']' => {
                self.at += 2;
                self.spaced = true;
            }
            _ => return Err(Unread::Unsupported("a line break or an escaped character".into())),
        }
        Ok(())
    }

    fn mark(&mut self, c: char) -> Result<(), Unread> {
        let (token, width) = match c {
            '+' => (Token::Plus, 1),
            '-' => (Token::Minus, 1),
            '*' if self.rest().starts_with("**") => (Token::Caret, 2),
            '*' => (Token::Times, 1),
            '/' => (Token::Divide, 1),
            '^' => (Token::Caret, 1),
            '_' => (Token::Underscore, 1),
            '!' if self.rest().starts_with("!=") => (Token::Relation(Relation::NotEqual), 2),
            '!' => (Token::Bang, 1),
            '%' => (Token::Percent, 1),
            '|' => (Token::Bar, 1),
            ',' | ';' => (Token::Comma, 1),
            ':' => (Token::Colon, 1),
            '=' => (Token::Relation(Relation::Equal), if self.rest().starts_with("==") { 2 } else { 1 }),
            '<' if self.rest().starts_with("<=") => (Token::Relation(Relation::AtMost), 2),
            '>' if self.rest().starts_with(">=") => (Token::Relation(Relation::AtLeast), 2),
            '<' => (Token::Relation(Relation::Less), 1),
            '>' => (Token::Relation(Relation::Greater), 1),
            '(' => (Token::Open(Bracket::Paren), 1),
            ')' => (Token::Close(Bracket::Paren), 1),
            '[' => (Token::Open(Bracket::Square), 1),
            ']' => (Token::Close(Bracket::Square), 1),
            _ => return Err(Unread::Unsupported(format!("the character {c:?}"))),
        };
        self.push_bracket(token, width);
        Ok(())
    }

    fn push_bracket(&mut self, token: Token, width: usize) {
        self.track_depth(&token);
        self.push(token, width);
    }

    fn track_depth(&mut self, token: &Token) {
        match token {
            Token::Open(_) => self.depth += 1,
            Token::Close(_) => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}
