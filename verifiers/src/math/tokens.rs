//! The tokens that LaTeX and plain notation share.

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
    /// `\langle \rangle`
    Angle,
}

/// How two sides are related.
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
    /// `≈`
    About,
    /// `≡`
    Congruent,
}

/// The word between two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conjunction {
    /// "and"
    And,
    /// "or"
    Or,
}

/// What rows and columns are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// A matrix with or without brackets of its own.
    Matrix,
    /// A determinant.
    Determinant,
    /// A definition by cases.
    Cases,
    /// Lines of a derivation.
    Lines,
}

/// An operator with limits below and above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Big {
    /// `\sum`
    Sum,
    /// `\prod`
    Product,
    /// `\int`
    Integral,
    /// `\lim`
    Limit,
}

/// An operator of which only the structure is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `⊂`
    Subset,
    /// `⊆`
    SubsetOrEqual,
    /// `⊊`
    ProperSubset,
    /// `→`
    To,
    /// `↦`
    MapsTo,
    /// `⇒`
    Implies,
    /// `⇔`
    Equivalent,
    /// `∝`
    Proportional,
    /// `∼`
    Similar,
    /// `∥`
    Parallel,
    /// `⊥`
    Perpendicular,
    /// `∉`
    NotIn,
    /// `∧`
    And,
    /// `∨`
    Or,
    /// `⊕`
    DirectSum,
    /// `⊗`
    Tensor,
}

impl Operator {
    /// Whether the order of its operands says nothing.
    pub fn is_symmetric(self) -> bool {
        use Operator::{And, DirectSum, Equivalent, Or, Parallel, Perpendicular, Similar};
        matches!(self, And | DirectSum | Equivalent | Or | Parallel | Perpendicular | Similar)
    }

    /// How tightly it binds.
    pub fn binding_power(self) -> u8 {
        match self {
            Self::To | Self::MapsTo => 9,
            Self::Implies | Self::Equivalent => 2,
            Self::And => 4,
            Self::Or => 3,
            Self::DirectSum => 20,
            Self::Tensor => 30,
            _ => 10,
        }
    }
}

/// What a piece of the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// A literal; its digits are in the source.
    Number,
    /// A day of the calendar: `2020-03-05`.
    Date,
    /// A variable of one letter, which is in the source.
    Symbol,
    /// A variable with a name: a Greek letter.
    Named(&'static str),
    /// A command that no rule knows, taken as a name; its text is in the source.
    Unknown,
    /// A word of prose: a unit, a text answer. Its letters are in the source.
    Word,
    /// A function's name.
    Function(&'static str),
    /// π
    Pi,
    /// ∞
    Infinity,
    /// ∅
    EmptySet,
    /// ℝ
    Reals,
    /// `\frac`
    Frac,
    /// `\sqrt`
    Sqrt,
    /// `\binom`
    Binom,
    /// `\choose`
    Choose,
    /// `\over`
    Over,
    /// `\overline`
    Overline,
    /// An operator with limits.
    Big(Big),
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `±`; true for `∓`
    PlusMinus(bool),
    /// `*`
    Times,
    /// `\times`
    Cross,
    /// An operator of which only the structure is known; true when its operands are written the other way round.
    Operator(Operator, bool),
    /// An arrow, a hat or points above a name, by its name.
    Decoration(&'static str),
    /// `/`
    Divide,
    /// `^`
    Caret,
    /// `_`
    Underscore,
    /// `'`
    Prime,
    /// `!`
    Bang,
    /// `%`
    Percent,
    /// `\circ`
    Degree,
    /// `|`
    Bar,
    /// `\mid`
    Such,
    /// `∪`
    Cup,
    /// `∩`
    Cap,
    /// `∖`
    Without,
    /// `∈`
    In,
    /// `\pmod`
    Modulus,
    /// A relation.
    Relation(Relation),
    /// An opening bracket.
    Open(Bracket),
    /// A closing one.
    Close(Bracket),
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// `:`
    Colon,
    /// The words "and" and "or".
    Conjunction(Conjunction),
    /// A wide space or a new line, which may separate.
    Gap,
    /// `…`
    Dots,
    /// `\begin`
    Begin(Environment),
    /// `\end`
    End,
    /// `&`
    Ampersand,
    /// `\\`
    RowEnd,
}

/// A token and where it stands in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
