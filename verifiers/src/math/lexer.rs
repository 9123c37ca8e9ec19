//! Text to tokens, in one pass: LaTeX and plain notation share the tokens.

use super::budget::Unread;
use super::commands::{self, Command};
use super::tokens::{Bracket, Conjunction, Lexeme, Relation, Token};
use super::words::{self, Word};

mod context;
mod number;

pub use number::date_spelled;

/// Tokens that one answer may have.
pub const MAX_TOKENS: usize = 8_000;

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
        environments: 0,
        groups: Vec::new(),
        font_next: None,
        spaced: false,
        out: Vec::with_capacity(source.len() / 2 + 1),
        ambiguous: false,
        quotes: 0,
    };
    while lexer.at < source.len() {
        lexer.step()?;
        if lexer.out.len() > MAX_TOKENS {
            return Err(Unread::Limit("tokens"));
        }
    }
    Ok(Lexed { lexemes: lexer.out, ambiguous: lexer.ambiguous })
}

/// How letters are read inside a font command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Font {
    /// As products of variables, with longer runs as words.
    Mathematics,
    /// As words, but for the letters that name constants: `\mathrm{e}`.
    Upright,
    /// As words.
    Prose,
}

/// An open `{`: what does it hold, and is it a token?
struct Group {
    font: Font,
    visible: bool,
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    commas: Commas,
    /// Open brackets; commas inside them separate.
    depth: usize,
    /// Open matrices and the like: there `&` and `\\` are tokens.
    environments: usize,
    groups: Vec<Group>,
    /// Set when the next `{` is the argument of a font command.
    font_next: Option<Font>,
    spaced: bool,
    out: Vec<Lexeme>,
    ambiguous: bool,
    /// Double quotes so far.
    quotes: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn byte(&self, at: usize) -> u8 {
        self.source.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn push(&mut self, token: Token, width: usize) {
        let start = self.at;
        self.at += width;
        match token {
            Token::Open(_) => self.depth += 1,
            Token::Close(_) => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.out.push(Lexeme { token, start, end: self.at, spaced: std::mem::take(&mut self.spaced) });
    }

    fn skip(&mut self, width: usize) {
        self.at += width;
        self.spaced = true;
    }

    fn step(&mut self) -> Result<(), Unread> {
        let byte = self.byte(self.at);
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' | b'$' | b'`' => self.skip(1),
            b'"' => self.double_quote(),
            b'~' if self.byte(self.at + 1) == b'=' => self.push(Token::Relation(Relation::About), 2),
            b'~' => self.skip(1),
            b'0'..=b'9' => self.number(),
            b'.' if self.byte(self.at + 1).is_ascii_digit() => self.number(),
            b'.' if self.rest().starts_with("...") => self.push(Token::Dots, 3),
            b'.' if !self.rest().starts_with("..") => self.at += 1,
            b'{' if self.rest().starts_with("{:}") => self.push(Token::Colon, 3),
            b'{' => self.open_group(),
            b'}' => self.close_group()?,
            b'\\' => self.command()?,
            b'&' if self.environments > 0 => self.push(Token::Ampersand, 1),
            b'&' => self.skip(1),
            b'a'..=b'z' | b'A'..=b'Z' => self.letters()?,
            0..=127 => self.mark(byte)?,
            _ => self.other()?,
        }
        Ok(())
    }

    fn open_group(&mut self) {
        let font = self.font_next.take();
        let inherited = self.groups.last().map_or(Font::Mathematics, |group| group.font);
        self.groups.push(Group { font: font.unwrap_or(inherited), visible: font.is_none() });
        if font.is_none() {
            self.push(Token::Open(Bracket::Group), 1);
        } else {
            self.skip(1);
        }
    }

    fn close_group(&mut self) -> Result<(), Unread> {
        match self.groups.pop() {
            Some(group) if group.visible => self.push(Token::Close(Bracket::Group), 1),
            Some(_) => self.skip(1),
            None => return Err(Unread::Malformed("a closing brace without its opening one")),
        }
        Ok(())
    }

    fn letters(&mut self) -> Result<(), Unread> {
        let run = self.rest().bytes().take_while(u8::is_ascii_alphabetic).count();
        let word = &self.rest()[..run];
        let font = self.groups.last().map_or(Font::Mathematics, |group| group.font);
        // An ordinal's letters stand right behind its digits.
        let behind_digit = self.at > 0 && self.byte(self.at - 1).is_ascii_digit();
        if behind_digit && matches!(word, "th" | "st" | "nd" | "rd") {
            self.push(Token::Word, run);
            return Ok(());
        }
        if self.environments > 0 {
            let opens = self.out.last().is_some_and(|last| matches!(last.token, Token::Ampersand | Token::Comma));
            match word {
                "if" | "when" | "for" | "If" if opens => {
                    self.skip(run);
                    return Ok(());
                }
                "otherwise" | "else" => {
                    self.push(Token::Word, run);
                    return Ok(());
                }
                _ => {}
            }
        }
        if word == "to" && self.is_ratio() {
            self.push(Token::Colon, run);
            return Ok(());
        }
        if let Some(width) = self.half_of_day() {
            self.push(Token::Word, width);
            return Ok(());
        }
        // Two letters behind a name are a product, whatever unit they spell: `\pi hr^2`.
        let behind_name =
            matches!(self.out.last(), Some(Lexeme { token: Token::Symbol | Token::Pi | Token::Named(_), .. }));
        match words::classify(word, font)? {
            Word::Token(Token::Word) if run == 2 && behind_name && font == Font::Mathematics => {
                (0..run).for_each(|_| self.push(Token::Symbol, 1));
            }
            Word::Token(Token::Word) if font == Font::Mathematics && self.is_product(word) => {
                (0..run).for_each(|_| self.push(Token::Symbol, 1));
            }
            Word::Letters if run == 1 && self.is_unit_here(word, font) => self.push(Token::Word, run),
            Word::Letters if run == 1 && self.is_set_of_numbers(word) => {
                self.push(if word == "R" { Token::Reals } else { Token::Unknown }, run);
            }
            Word::Token(token) => self.push(token, run),
            Word::Glued(token, width) => self.push(token, width),
            Word::Letters => (0..run).for_each(|_| self.push(Token::Symbol, 1)),
        }
        Ok(())
    }

    fn command(&mut self) -> Result<(), Unread> {
        let name_len = self.source.as_bytes()[self.at + 1..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
        if name_len == 0 {
            return self.escaped();
        }
        let name = &self.source[self.at + 1..self.at + 1 + name_len];
        let (command, width) = commands::command(name);
        let width = width + 1;
        match command {
            Command::Token(token) => self.push(token, width),
            Command::Skip => self.skip(width),
            Command::Colour => {
                let name = self.environment(self.at + width);
                self.skip(name.map_or(width, |(_, end)| end - self.at));
            }
            Command::Dot if self.repeats(self.at + width) => self.push(Token::Overline, width),
            Command::Dot => self.push(Token::Decoration("point"), width),
            Command::Font(font) => {
                self.skip(width);
                self.font_argument(font);
            }
            Command::Begin => self.begin(width)?,
            Command::End => self.end(width)?,
            Command::Not => self.negated(width)?,
            Command::Modulus => self.push(Token::Modulus, width),
            Command::Blackboard => self.blackboard(width),
            Command::Aside => self.aside(width)?,
        }
        Ok(())
    }

    /// A command whose argument says nothing, with that argument: `\hspace{1cm}`, `\tag*{1}`.
    fn aside(&mut self, width: usize) -> Result<(), Unread> {
        let rest = self.source[self.at + width..].trim_start_matches(['*', ' ']);
        let start = self.source.len() - rest.len();
        if !rest.starts_with('{') {
            self.skip(width);
            return Ok(());
        }
        let mut open = 0;
        for (offset, byte) in rest.bytes().enumerate() {
            match byte {
                b'{' => open += 1,
                b'}' => open -= 1,
                _ => {}
            }
            if open == 0 {
                self.skip(start + offset + 1 - self.at);
                return Ok(());
            }
        }
        Err(Unread::Malformed("an opening brace without its closing one"))
    }

    /// The name of a set of numbers: `\mathbb{R}`, `\mathbb R`; a probability or an expectation is a name.
    fn blackboard(&mut self, width: usize) {
        let rest = &self.source[self.at + width..];
        let inner = rest.trim_start();
        let blanks = rest.len() - inner.len();
        let (name, own) = match inner.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name.trim(), name.len() + 2),
            None => inner.chars().next().map_or(("", 0), |c| (&inner[..c.len_utf8()], c.len_utf8())),
        };
        let token = match name {
            "R" => Token::Reals,
            "P" => Token::Named("P"),
            "E" => Token::Named("E"),
            _ => Token::Unknown,
        };
        self.push(token, width + blanks + own);
    }

    /// Opens the group behind a font command, where there is one.
    fn font_argument(&mut self, font: Font) {
        let blanks = self.rest().bytes().take_while(|b| *b == b' ').count();
        if self.byte(self.at + blanks) == b'{' {
            self.at += blanks;
            self.font_next = Some(font);
            self.open_group();
        }
    }

    /// `\not` before a relation.
    fn negated(&mut self, width: usize) -> Result<(), Unread> {
        let rest = self.source[self.at + width..].trim_start();
        let next = self.source.len() - rest.len();
        let negated = if rest.starts_with('=') {
            Relation::NotEqual
        } else {
            return Err(Unread::Unsupported("a negated relation".into()));
        };
        self.push(Token::Relation(negated), next + 1 - self.at);
        Ok(())
    }

    /// The name of an environment in its braces, and where they end.
    fn environment(&self, from: usize) -> Option<(&'a str, usize)> {
        let rest = self.source[from..].trim_start();
        let inner = rest.strip_prefix('{')?;
        let end = inner.find('}')?;
        Some((inner[..end].trim(), self.source.len() - inner.len() + end + 1))
    }

    fn begin(&mut self, width: usize) -> Result<(), Unread> {
        let (name, mut end) =
            self.environment(self.at + width).ok_or(Unread::Malformed("an environment without a name"))?;
        let Some(environment) = commands::environment(name) else {
            return Err(Unread::Unsupported(format!("the environment {}", name.chars().take(20).collect::<String>())));
        };
        if name == "array" {
            // The columns' alignment says nothing about the answer.
            end = self.environment(end).map_or(end, |(_, end)| end);
        }
        self.environments += 1;
        self.push(Token::Begin(environment), end - self.at);
        Ok(())
    }

    fn end(&mut self, width: usize) -> Result<(), Unread> {
        let (name, end) = self.environment(self.at + width).ok_or(Unread::Malformed("an end without a name"))?;
        if commands::environment(name).is_none() || self.environments == 0 {
            // The end of what began outside the answer.
            self.skip(end - self.at);
            return Ok(());
        }
        self.environments -= 1;
        self.push(Token::End, end - self.at);
        Ok(())
    }

    /// A backslash and a character that is no letter.
    fn escaped(&mut self) -> Result<(), Unread> {
        match self.byte(self.at + 1) {
            b'{' => self.push(Token::Open(Bracket::Brace), 2),
            b'}' => self.push(Token::Close(Bracket::Brace), 2),
            b'%' => self.push(Token::Percent, 2),
            b'|' => self.push(Token::Bar, 2),
            b'$' => self.currency(2),
            b',' | b'!' | b';' | b':' | b' ' | b'>' | b'(' | b')' | b'[' | b']' | b'\n' | b'\t' | b'/' | b'&'
            | b'-' | b'#' => self.skip(2),
            b'\\' if self.environments > 0 => self.push(Token::RowEnd, 2),
            // A command whose backslash was escaped once too often.
            b'\\' if self.byte(self.at + 2).is_ascii_alphabetic() => self.at += 1,
            b'\\' if matches!(self.byte(self.at + 2), b'{' | b'}' | b'%') => self.at += 1,
            b'\\' => self.push(Token::Gap, 2),
            _ => return Err(Unread::Unsupported("an escaped character".into())),
        }
        Ok(())
    }

    fn mark(&mut self, byte: u8) -> Result<(), Unread> {
        let next = self.byte(self.at + 1);
        let (token, width) = match byte {
            b'+' if next == b'-' => (Token::PlusMinus(false), 2),
            b'+' => (Token::Plus, 1),
            b'-' => (Token::Minus, 1),
            b'*' if next == b'*' => (Token::Caret, 2),
            b'*' => (Token::Times, 1),
            b'/' => (Token::Divide, 1),
            b'^' => (Token::Caret, 1),
            b'_' => (Token::Underscore, 1),
            b'\'' => (Token::Prime, 1),
            b'!' if next == b'=' => (Token::Relation(Relation::NotEqual), 2),
            b'!' => (Token::Bang, 1),
            b'%' => (Token::Percent, 1),
            b'|' => (Token::Bar, 1),
            b',' => (Token::Comma, 1),
            b';' => (Token::Semicolon, 1),
            b':' if next == b'=' => (Token::Relation(Relation::Equal), 2),
            b':' => (Token::Colon, 1),
            b'=' if next == b'=' => (Token::Relation(Relation::Equal), 2),
            b'=' if next == b'<' => (Token::Relation(Relation::AtMost), 2),
            b'=' => (Token::Relation(Relation::Equal), 1),
            b'<' if next == b'=' => (Token::Relation(Relation::AtMost), 2),
            b'>' if next == b'=' => (Token::Relation(Relation::AtLeast), 2),
            b'<' => (Token::Relation(Relation::Less), 1),
            b'>' => (Token::Relation(Relation::Greater), 1),
            b'(' => {
                if self.range_follows() {
                    self.push(Token::Gap, 0);
                }
                (Token::Open(Bracket::Paren), 1)
            }
            b')' => (Token::Close(Bracket::Paren), 1),
            b'[' => (Token::Open(Bracket::Square), 1),
            b']' => (Token::Close(Bracket::Square), 1),
            _ => return Err(Unread::Unsupported(format!("the character {:?}", char::from(byte)))),
        };
        self.push(token, width);
        Ok(())
    }

    /// A character outside ASCII that normalisation left as it is.
    fn other(&mut self) -> Result<(), Unread> {
        let c = self.rest().chars().next().expect("the loop ends at the end of the text");
        let width = c.len_utf8();
        match c {
            '£' | '€' | '¥' | '₹' | '₽' | '₩' => self.currency(width),
            _ if words::greek_letter(c).is_some() => {
                let name = words::greek_letter(c).expect("asked in the guard");
                self.push(Token::Named(name), width);
            }
            _ if c.is_alphabetic() => {
                let run: usize = self.rest().chars().take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum();
                let token = if run == width { Token::Symbol } else { Token::Word };
                self.push(token, run);
            }
            _ => return Err(Unread::Unsupported(format!("the character {c:?}"))),
        }
        Ok(())
    }
}

impl Conjunction {
    /// The conjunction that a word is.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "or" => Some(Self::Or),
            "and" => Some(Self::And),
            _ => None,
        }
    }
}
