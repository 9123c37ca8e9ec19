//! Quantifiers: what holds for all is another statement than what holds for one, and "for each x a y" than "a y for each x". A name
//! may be left off and a list may be turned round; so quantifiers, which stand before names, are compared on their own.

/// Bytes of a name with its index.
const MAX_NAME_BYTES: usize = 24;

/// Names that one quantifier binds.
const MAX_NAMES: usize = 8;

/// What is said of the names behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    All,
    Some,
    One,
    None,
    Not,
}

/// A quantifier and the names that it binds.
type Quantifier<'a> = (Kind, Vec<&'a str>);

/// Whether two normalised texts quantify in the same way: the same kinds in the same order, and, where there are several kinds, of the
/// same names.
pub fn agree(a: &str, b: &str) -> bool {
    if !quantifies(a) && !quantifies(b) {
        return true;
    }
    let (a, b) = (quantifiers(a), quantifiers(b));
    let same_kinds = a.iter().map(|own| own.0).eq(b.iter().map(|own| own.0));
    // Two of one kind may change places.
    let ordered = a.windows(2).any(|pair| pair[0].0 != pair[1].0 || !matches!(pair[0].0, Kind::All | Kind::Some));
    same_kinds && (!ordered || a == b)
}

fn quantifies(normal: &str) -> bool {
    normal.contains("\\exists") || normal.contains("\\forall") || normal.contains("\\nexists")
}

fn quantifiers(normal: &str) -> Vec<Quantifier<'_>> {
    let mut found = Vec::new();
    for (at, _) in normal.match_indices('\\') {
        let name = command(&normal[at..]);
        let rest = &normal[at + name.len()..];
        let kind = match name {
            "\\forall" => Kind::All,
            "\\exists" => Kind::Some,
            "\\nexists" => Kind::None,
            "\\neg" | "\\lnot" | "\\not" => Kind::Not,
            _ => continue,
        };
        let only = spaces_off(rest).strip_prefix('!').filter(|_| kind == Kind::Some);
        let (kind, rest) = only.map_or((kind, rest), |rest| (Kind::One, rest));
        found.push((kind, if kind == Kind::Not { Vec::new() } else { names(rest) }));
    }
    found
}

/// The names behind a quantifier: one, or several with commas before a membership or the next quantifier.
fn names(text: &str) -> Vec<&str> {
    let mut rest = spaces_off(text);
    let (mut names, mut bound) = (Vec::new(), 1);
    while names.len() < MAX_NAMES
        && let Some((name, behind)) = name(rest)
    {
        names.push(name);
        rest = spaces_off(behind);
        if ["\\in", "\\forall", "\\exists", "\\nexists"].contains(&command(rest)) {
            bound = names.len();
        }
        let Some(next) = rest.strip_prefix(',') else { break };
        rest = spaces_off(next);
    }
    names.truncate(bound);
    names
}

/// A letter or a command with its index, and what stands behind it.
fn name(text: &str) -> Option<(&str, &str)> {
    let first = text.chars().next()?;
    let mut width = match first {
        '\\' => command(text).len(),
        _ if first.is_alphabetic() => first.len_utf8(),
        _ => return None,
    };
    if let Some(index) = text[width..].strip_prefix('_') {
        let grouped = index.strip_prefix('{').and_then(|inner| inner.find('}')).map(|end| end + 2);
        width += 1 + grouped.or_else(|| index.chars().next().map(char::len_utf8)).unwrap_or(0);
    }
    (width > 1 || first != '\\').then_some(())?;
    (width <= MAX_NAME_BYTES).then(|| text.split_at(width))
}

/// The command that a text begins with, its backslash included; nothing where it begins with none.
fn command(text: &str) -> &str {
    let letters = |rest: &str| rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    text.strip_prefix('\\').map_or("", |rest| &text[..1 + letters(rest)])
}

fn spaces_off(text: &str) -> &str {
    let mut rest = text;
    loop {
        let before = rest.len();
        rest = rest.trim_start_matches([' ', '~', '{', '}', '(', ')']);
        rest = ["\\,", "\\;", "\\:", "\\!", "\\ ", "\\quad"].iter().fold(rest, |rest, gap| {
            let whole = |rest: &&str| *gap != "\\quad" || !rest.starts_with(|c: char| c.is_ascii_alphabetic());
            rest.strip_prefix(gap).filter(whole).unwrap_or(rest)
        });
        if rest.len() == before {
            return rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_their_order_count() {
        for (a, b) in [
            ("\\forall x, x<y", "\\exists x, x<y"),
            ("\\exists!x, x<y", "\\exists x, x<y"),
            ("\\nexists x, x<y", "\\exists x, x<y"),
            ("\\neg\\forall x, x<y", "\\forall x, x<y"),
            ("\\exists x, x<y", "x<y"),
            ("\\forall x\\exists y, x<y", "\\exists y\\forall x, x<y"),
            ("\\forall x_1\\exists x_2, x_1<x_2", "\\forall x_2\\exists x_1, x_1<x_2"),
            ("\\forall x,y\\in A\\exists z", "\\forall x\\in A\\exists y,z\\in A"),
        ] {
            assert!(!agree(a, b), "{a} {b}");
        }
    }

    #[test]
    fn spelling_and_names_of_one_kind_do_not() {
        for (a, b) in [
            ("x<y", "y>x"),
            ("\\exists x_0, x_0>1", "\\exists x, x>1"),
            ("\\forall x\\forall y, x<y", "\\forall y \\forall x, x<y"),
            ("\\forall x\\in A,\\exists y\\in B, x<y", "\\forall x \\in A\\,\\exists\\,y \\in B: x<y"),
            ("\\exists!x, x<y", "\\exists ! x, x<y"),
        ] {
            assert!(agree(a, b), "{a} {b}");
        }
    }
}
