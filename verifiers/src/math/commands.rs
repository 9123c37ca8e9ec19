//! The commands of LaTeX.

use super::lexer::Font;
use super::tokens::{Big, Bracket, Environment, Operator, Relation, Token};
use super::words::{FUNCTIONS, GREEK};

/// What a command is.
pub enum Command {
    /// One token.
    Token(Token),
    /// Spacing and sizing.
    Skip,
    /// A colour, whose name is its first argument.
    Colour,
    /// A point above a digit that repeats for ever; above anything else a decoration.
    Dot,
    /// A font or a decoration around its argument.
    Font(Font),
    /// `\begin`
    Begin,
    /// `\end`
    End,
    /// `\not`
    Not,
    /// `\pmod` and its like.
    Modulus,
    /// `\mathbb`
    Blackboard,
    /// Space, a label or a number of the line: the command and its argument say nothing.
    Aside,
}

/// What a command is, by its name without the backslash, and how many letters of the name are its own: in `\quadx`
/// they are four.
pub fn command(name: &str) -> (Command, usize) {
    if let Some(command) = known(name) {
        return (command, name.len());
    }
    // Longest first, so that \qquad is no \q and no rule reads \quad for \qquad.
    const GLUED: [&str; 16] = [
        "displaystyle",
        "qquad",
        "infty",
        "times",
        "theta",
        "right",
        "quad",
        "left",
        "cdot",
        "leq",
        "geq",
        "neq",
        "cup",
        "pm",
        "pi",
        "ln",
    ];
    for head in GLUED {
        if name.starts_with(head)
            && let Some(command) = known(head)
        {
            return (command, head.len());
        }
    }
    (Command::Token(Token::Unknown), name.len())
}

fn known(name: &str) -> Option<Command> {
    if let Some(token) = token(name) {
        return Some(Command::Token(token));
    }
    Some(match name {
        "left" | "right" | "middle" | "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl" | "Bigr" | "biggl"
        | "biggr" | "Biggl" | "Biggr" | "mleft" | "mright" | "displaystyle" | "textstyle" | "scriptstyle"
        | "limits" | "nolimits" | "mathopen" | "mathclose" | "thinspace" | "enspace" | "enskip" | "space" | "hfill"
        | "nonumber" | "centering" | "rm" | "bf" | "it" | "tiny" | "small" | "large" | "Large" | "LARGE" | "huge"
        | "mathstrut" | "strut" | "allowbreak" | "nobreak" | "euro" | "pounds" | "dollar" => Command::Skip,
        "text" | "textbf" | "textit" | "textrm" | "textnormal" | "textsf" | "texttt" | "mbox" | "hbox" | "textup"
        | "operatorname" | "emph" | "underbrace" | "mathtt" => Command::Font(Font::Prose),
        "mathrm" => Command::Font(Font::Upright),
        "mathbf" | "boldsymbol" | "bm" | "mathit" | "mathsf" | "mathcal" | "mathscr" | "mathfrak" | "boxed"
        | "fbox" | "pmb" | "underline" | "mathop" | "mathrel" | "mathbin" | "mathord" | "ensuremath" | "cancel" => {
            Command::Font(Font::Mathematics)
        }
        "color" | "textcolor" | "colorbox" => Command::Colour,
        "dot" => Command::Dot,
        "begin" => Command::Begin,
        "end" => Command::End,
        "not" => Command::Not,
        "pmod" | "mod" | "bmod" | "pod" => Command::Modulus,
        "mathbb" | "Bbb" => Command::Blackboard,
        "hspace" | "vspace" | "phantom" | "hphantom" | "vphantom" | "tag" | "label" => Command::Aside,
        _ => return None,
    })
}

fn token(name: &str) -> Option<Token> {
    Some(match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" => Token::Frac,
        "sqrt" => Token::Sqrt,
        "binom" | "dbinom" | "tbinom" => Token::Binom,
        "choose" => Token::Choose,
        "over" => Token::Over,
        "colon" => Token::Colon,
        "overline" | "bar" => Token::Overline,
        "sum" => Token::Big(Big::Sum),
        "prod" => Token::Big(Big::Product),
        "int" => Token::Big(Big::Integral),
        "lim" => Token::Big(Big::Limit),
        "pi" => Token::Pi,
        "infty" | "infinity" => Token::Infinity,
        "emptyset" | "varnothing" | "empty" => Token::EmptySet,
        "reals" | "R" | "Reals" => Token::Reals,
        "cdot" | "ast" | "cdotp" => Token::Times,
        "times" => Token::Cross,
        "div" | "slash" => Token::Divide,
        "pm" => Token::PlusMinus(false),
        "mp" => Token::PlusMinus(true),
        "circ" | "degree" => Token::Degree,
        "percent" => Token::Percent,
        "prime" => Token::Prime,
        "cup" | "bigcup" => Token::Cup,
        "cap" | "bigcap" => Token::Cap,
        "setminus" | "smallsetminus" | "backslash" => Token::Without,
        "in" => Token::In,
        "quad" | "qquad" | "newline" | "cr" => Token::Gap,
        "dots" | "ldots" | "cdots" | "dotsc" | "dotsb" | "dotsm" | "vdots" | "ddots" => Token::Dots,
        "lbrace" => Token::Open(Bracket::Brace),
        "rbrace" => Token::Close(Bracket::Brace),
        "lbrack" => Token::Open(Bracket::Square),
        "rbrack" => Token::Close(Bracket::Square),
        "lparen" => Token::Open(Bracket::Paren),
        "rparen" => Token::Close(Bracket::Paren),
        "lfloor" => Token::Open(Bracket::Floor),
        "rfloor" => Token::Close(Bracket::Floor),
        "lceil" => Token::Open(Bracket::Ceiling),
        "rceil" => Token::Close(Bracket::Ceiling),
        "langle" => Token::Open(Bracket::Angle),
        "rangle" => Token::Close(Bracket::Angle),
        "vert" | "lvert" | "rvert" | "Vert" | "lVert" | "rVert" => Token::Bar,
        "mid" => Token::Such,
        "imath" => Token::Named("i"),
        "ell" => Token::Named("l"),
        "vec" | "overrightarrow" => Token::Decoration("vector"),
        "hat" | "widehat" => Token::Decoration("hat"),
        "tilde" | "widetilde" => Token::Decoration("tilde"),
        "ddot" => Token::Decoration("two points"),
        _ => {
            return relation(name)
                .map(Token::Relation)
                .or_else(|| operator(name).map(|(operator, turned)| Token::Operator(operator, turned)))
                .or_else(|| letter(name));
        }
    })
}

fn relation(name: &str) -> Option<Relation> {
    Some(match name {
        "le" | "leq" | "leqslant" | "leqq" => Relation::AtMost,
        "ge" | "geq" | "geqslant" | "geqq" => Relation::AtLeast,
        "lt" => Relation::Less,
        "gt" => Relation::Greater,
        "ne" | "neq" => Relation::NotEqual,
        "approx" | "thickapprox" | "simeq" | "doteq" => Relation::About,
        "equiv" | "cong" => Relation::Congruent,
        _ => return None,
    })
}

/// An operator of which only the structure is known, and whether its operands are written the other way round.
fn operator(name: &str) -> Option<(Operator, bool)> {
    Some(match name {
        "subset" => (Operator::Subset, false),
        "supset" => (Operator::Subset, true),
        "subseteq" => (Operator::SubsetOrEqual, false),
        "supseteq" => (Operator::SubsetOrEqual, true),
        "subsetneq" => (Operator::ProperSubset, false),
        "supsetneq" => (Operator::ProperSubset, true),
        "to" | "rightarrow" | "longrightarrow" => (Operator::To, false),
        "gets" | "leftarrow" | "longleftarrow" => (Operator::To, true),
        "mapsto" | "longmapsto" => (Operator::MapsTo, false),
        "implies" | "Rightarrow" | "Longrightarrow" => (Operator::Implies, false),
        "impliedby" | "Leftarrow" | "Longleftarrow" => (Operator::Implies, true),
        "iff" | "Leftrightarrow" | "Longleftrightarrow" | "leftrightarrow" => (Operator::Equivalent, false),
        "propto" | "varpropto" => (Operator::Proportional, false),
        "sim" => (Operator::Similar, false),
        "parallel" => (Operator::Parallel, false),
        "perp" => (Operator::Perpendicular, false),
        "notin" => (Operator::NotIn, false),
        "land" | "wedge" => (Operator::And, false),
        "lor" | "vee" => (Operator::Or, false),
        "oplus" => (Operator::DirectSum, false),
        "otimes" => (Operator::Tensor, false),
        _ => return None,
    })
}

/// A function or a Greek letter.
fn letter(name: &str) -> Option<Token> {
    if let Some(function) = FUNCTIONS.iter().find(|function| **function == name) {
        return Some(Token::Function(function));
    }
    let plain = match name {
        "varepsilon" => "epsilon",
        "varphi" => "phi",
        "vartheta" => "theta",
        "varrho" => "rho",
        "varsigma" => "sigma",
        _ => name,
    };
    GREEK.iter().find(|(_, greek)| *greek == plain).map(|(_, greek)| Token::Named(greek))
}

/// What an environment is, by its name.
pub fn environment(name: &str) -> Option<Environment> {
    Some(match name.trim_end_matches('*') {
        "matrix" | "pmatrix" | "bmatrix" | "Bmatrix" | "smallmatrix" | "array" | "psmallmatrix" | "bsmallmatrix" => {
            Environment::Matrix
        }
        "vmatrix" | "Vmatrix" => Environment::Determinant,
        "cases" | "dcases" | "rcases" => Environment::Cases,
        "align" | "aligned" | "gather" | "gathered" | "equation" | "split" | "multline" | "eqnarray" => {
            Environment::Lines
        }
        _ => return None,
    })
}
