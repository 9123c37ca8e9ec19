//! What is written behind a number: units of measurement, which convert, and words, which only name.

use std::borrow::Cow;

use dashu::{Natural, Rational};

/// Powers of the metre, the gram, the second, the dollar and the ampere.
type Dimensions = [i8; 5];

/// The names of one unit, the first of which stands for all; its dimensions, none of which are set for a unit that
/// converts into nothing else; its size as a fraction.
type Row = (&'static [&'static str], Dimensions, u64, u64);

/// Higher powers of units are not converted.
const MAX_POWER: i32 = 12;

const ALONE: Dimensions = [0; 5];
const LENGTH: Dimensions = [1, 0, 0, 0, 0];
const MASS: Dimensions = [0, 1, 0, 0, 0];
const TIME: Dimensions = [0, 0, 1, 0, 0];
const MONEY: Dimensions = [0, 0, 0, 1, 0];
const CURRENT: Dimensions = [0, 0, 0, 0, 1];
const VOLUME: Dimensions = [3, 0, 0, 0, 0];

const UNITS: [Row; 58] = [
    (&["mm", "millimeter", "millimeters", "millimetre", "millimetres"], LENGTH, 1, 1000),
    (&["cm", "centimeter", "centimeters", "centimetre", "centimetres", "cms"], LENGTH, 1, 100),
    (&["dm", "decimeter", "decimeters", "decimetre", "decimetres"], LENGTH, 1, 10),
    (&["m", "meter", "meters", "metre", "metres"], LENGTH, 1, 1),
    (&["km", "kilometer", "kilometers", "kilometre", "kilometres", "kms"], LENGTH, 1000, 1),
    (&["in", "inch", "inches"], LENGTH, 254, 10_000),
    (&["ft", "foot", "feet"], LENGTH, 3048, 10_000),
    (&["yd", "yard", "yards"], LENGTH, 9144, 10_000),
    (&["mi", "mile", "miles"], LENGTH, 1_609_344, 1000),
    (&["mg", "milligram", "milligrams"], MASS, 1, 1000),
    (&["g", "gram", "grams", "gm"], MASS, 1, 1),
    (&["kg", "kilogram", "kilograms", "kgs"], MASS, 1000, 1),
    (&["tonne", "tonnes"], MASS, 1_000_000, 1),
    (&["lb", "lbs", "pound", "pounds"], MASS, 45_359_237, 100_000),
    (&["oz", "ounce", "ounces"], MASS, 45_359_237, 1_600_000),
    (&["ml", "milliliter", "milliliters", "millilitre", "millilitres"], VOLUME, 1, 1_000_000),
    (&["l", "liter", "liters", "litre", "litres"], VOLUME, 1, 1000),
    (&["hectare", "hectares"], [2, 0, 0, 0, 0], 10_000, 1),
    (&["gal", "gallon", "gallons"], ALONE, 1, 1),
    (&["millisecond", "milliseconds"], TIME, 1, 1000),
    (&["s", "sec", "secs", "second", "seconds"], TIME, 1, 1),
    (&["min", "mins", "minute", "minutes"], TIME, 60, 1),
    (&["h", "hr", "hrs", "hour", "hours"], TIME, 3600, 1),
    (&["day", "days"], TIME, 86_400, 1),
    (&["week", "weeks"], TIME, 604_800, 1),
    (&["month", "months"], ALONE, 1, 1),
    (&["year", "years", "yr", "yrs"], ALONE, 1, 1),
    (&["degree", "degrees", "deg"], ALONE, 1, 1),
    (&["radian", "radians", "rad", "rads"], ALONE, 1, 1),
    (&["'"], ALONE, 1, 1),
    (&["''"], ALONE, 1, 1),
    (&["celsius", "centigrade"], ALONE, 1, 1),
    (&["fahrenheit"], ALONE, 1, 1),
    (&["kelvin", "kelvins"], ALONE, 1, 1),
    (&["cent", "cents"], MONEY, 1, 100),
    (&["dollar", "dollars", "usd", "\\$"], MONEY, 1, 1),
    (&["euro", "euros", "eur", "€"], ALONE, 1, 1),
    (&["sterling", "gbp", "£"], ALONE, 1, 1),
    (&["yen", "¥"], ALONE, 1, 1),
    (&["rupee", "rupees", "₹"], ALONE, 1, 1),
    (&["ruble", "rubles", "rouble", "roubles", "₽"], ALONE, 1, 1),
    (&["won", "₩"], ALONE, 1, 1),
    (&["ampere", "amperes", "amps"], CURRENT, 1, 1),
    (&["coulomb", "coulombs"], [0, 0, 1, 0, 1], 1, 1),
    (&["tesla", "teslas"], [0, 1, -2, 0, -1], 1000, 1),
    (&["j", "joule", "joules"], [2, 1, -2, 0, 0], 1000, 1),
    (&["kj", "kilojoule", "kilojoules"], [2, 1, -2, 0, 0], 1_000_000, 1),
    (&["n", "newton", "newtons"], [1, 1, -2, 0, 0], 1000, 1),
    (&["w", "watt", "watts"], [2, 1, -3, 0, 0], 1000, 1),
    (&["kw", "kilowatt", "kilowatts"], [2, 1, -3, 0, 0], 1_000_000, 1),
    (&["v", "volt", "volts"], [2, 1, -3, 0, -1], 1000, 1),
    (&["ohm", "ohms"], [2, 1, -3, 0, -2], 1000, 1),
    (&["pascal", "pascals"], [-1, 1, -2, 0, 0], 1000, 1),
    (&["hz", "hertz"], [0, 0, -1, 0, 0], 1, 1),
    (&["mole", "moles"], ALONE, 1, 1),
    (&["unit", "units"], ALONE, 1, 1),
    (&["am", "a.m", "a.m."], ALONE, 1, 1),
    (&["pm", "p.m", "p.m."], ALONE, 1, 1),
];

/// Pairs of which the first leaves open what the second says: a degree may be one of a scale, a mark a foot or a minute.
const OPEN: [(&str, &str); 7] = [
    ("degree", "celsius"),
    ("degree", "fahrenheit"),
    ("'", "ft"),
    ("'", "min"),
    ("''", "in"),
    ("''", "s"),
    ("lb", "sterling"),
];

fn row(word: &str) -> Option<usize> {
    // Most words are no units, and most units are short.
    if word.len() > 12 {
        return None;
    }
    UNITS.iter().position(|row| row.0.contains(&word))
}

/// Whether a word in lower case is the name of a unit.
pub fn is_name(word: &str) -> bool {
    row(word).is_some()
}

/// Whether a single upright letter is a unit rather than a name.
pub fn is_letter(letter: &str) -> bool {
    matches!(letter, "m" | "g" | "s" | "h" | "l" | "L" | "J" | "N" | "W" | "V")
}

/// Whether an upright letter is a unit behind a number and nowhere else: elsewhere it is a choice, a point or a variable.
pub fn is_letter_behind_number(letter: &str) -> bool {
    capital(letter).is_some()
}

/// The unit that a capital letter is; in lower case it would be none, or an article.
fn capital(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "A" => "ampere",
        "C" => "coulomb",
        "K" => "kelvin",
        "T" => "tesla",
        _ => return None,
    })
}

/// How two units go together.
#[derive(Debug, Clone, PartialEq)]
pub enum Fit {
    /// They say the same, or one says more than the other.
    Same,
    /// One of the second is so many of the first.
    Times(Rational),
    /// They say different things.
    Differ,
}

/// What is written behind a number, in parts: `km/h`, `cm^2`, `square feet`, `red balls`, `\$` with `profit`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// Rows of [`UNITS`] and their powers, in ascending order.
    factors: Vec<(usize, i32)>,
    /// What is no unit of measurement: singular, in lower case, in ascending order.
    words: Vec<String>,
}

impl Unit {
    /// Reads the words of a unit.
    pub fn new(written: &str) -> Self {
        let lower = written.to_lowercase();
        let same_places = lower.len() == written.len();
        let mut unit = Self::default();
        let (mut rest, mut joint, mut power, mut over) = (lower.as_str(), ' ', 1, false);
        while !rest.is_empty() {
            let end = rest.find([' ', '/', '^', '*']).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            // Before another word a capital is none: "2 A batteries".
            let alone =
                !behind.starts_with(' ') || behind.len() == 2 && is_letter(&behind[1..]) || matches!(joint, '/' | '*');
            let as_written = (word.len() == 1 && alone).then(|| written.get(lower.len() - rest.len()..)).flatten();
            let word =
                as_written.and_then(|rest| rest.get(..1)).and_then(capital).filter(|_| same_places).unwrap_or(word);
            over |= joint == '/';
            match word {
                _ if joint == '^' => unit.raise(word),
                "" | "the" | "a" | "an" => {}
                "per" => over = true,
                "square" | "sq" => power = 2,
                "cubic" | "cu" => power = 3,
                // Before another word this is no inch.
                "in" if behind.len() > 1 && behind.starts_with(' ') && !behind.starts_with(" per") => {}
                "mph" => unit.factors.extend([named("mi", 1), named("h", -1)]),
                "kmh" | "kph" | "kmph" => unit.factors.extend([named("km", 1), named("h", -1)]),
                _ => {
                    unit.push(word, power, over);
                    (power, over) = (1, false);
                }
            }
            joint = behind.chars().next().unwrap_or(' ');
            rest = behind.get(joint.len_utf8()..).unwrap_or_default();
        }
        unit.merge();
        unit
    }

    /// An exponent of the last unit.
    fn raise(&mut self, exponent: &str) {
        match (exponent.parse::<i32>(), self.factors.last_mut()) {
            (Ok(exponent), Some(last)) if exponent.abs() < 10 && last.1.abs() < MAX_POWER => last.1 *= exponent,
            _ => self.words.push(format!("^{exponent}")),
        }
    }

    fn push(&mut self, word: &str, power: i32, over: bool) {
        match row(word) {
            Some(row) => self.factors.push((row, if over { -power } else { power })),
            None => {
                if power > 1 {
                    self.words.push(if power == 2 { "square".into() } else { "cubic".into() });
                }
                self.words.push(format!("{}{}", if over { "/" } else { "" }, singular(word)));
            }
        }
    }

    /// Each unit once, in order.
    fn merge(&mut self) {
        self.factors.sort_unstable();
        self.factors.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        self.words.sort_unstable();
        self.words.dedup();
    }

    /// The two together: `50 dollars` with `profit`.
    pub fn with(mut self, other: Self) -> Self {
        self.factors.extend(other.factors);
        self.words.extend(other.words);
        self.merge();
        self
    }

    /// The only unit, to the first power.
    fn single(&self) -> Option<&'static str> {
        match self.factors.as_slice() {
            [(row, 1)] => Some(UNITS[*row].0[0]),
            _ => None,
        }
    }

    /// The variables that its letters would be, where it is one of those that formulas hold as well: `mg`, `K`.
    pub fn as_variables(&self) -> Option<&'static [&'static str]> {
        Some(match self.single().filter(|_| self.words.is_empty())? {
            "mg" => &["m", "g"],
            "ml" => &["m", "l"],
            "ampere" => &["A"],
            "coulomb" => &["C"],
            "kelvin" => &["K"],
            "tesla" => &["T"],
            _ => return None,
        })
    }

    /// True for degrees.
    pub fn is_degree(&self) -> bool {
        self.single() == Some("degree")
    }

    /// True for radians.
    pub fn is_radian(&self) -> bool {
        self.single() == Some("radian")
    }

    /// True when both measure something.
    pub fn both_measure(&self, other: &Self) -> bool {
        !self.factors.is_empty() && !other.factors.is_empty()
    }

    /// How the gold unit and another go together. What one side leaves out, the other may say; but what both say must be
    /// the same.
    pub fn against(&self, other: &Self) -> Fit {
        let (a, b) = (self, other);
        let within = |few: &[String], many: &[String]| few.iter().all(|word| many.contains(word));
        let fits = match (a.factors.is_empty(), b.factors.is_empty()) {
            (true, false) => within(&a.words, &b.words),
            (false, true) => within(&b.words, &a.words),
            _ => within(&a.words, &b.words) || within(&b.words, &a.words),
        };
        if !fits {
            return Fit::Differ;
        }
        // An angle is no temperature; a temperature without its scale is one.
        let (a, b) = (&a.marks_beside(b), &b.marks_beside(a));
        if a.factors.is_empty()
            || b.factors.is_empty()
            || a.factors == b.factors
            || (a.leaves_open(b) && !a.is_degree())
            || b.leaves_open(a)
        {
            return Fit::Same;
        }
        a.ratio(b).map_or(Fit::Differ, Fit::Times)
    }

    /// With its marks read as feet and inches beside a length, and as minutes and seconds beside a time.
    fn marks_beside(&self, other: &Self) -> Cow<'_, Self> {
        let as_unit = match (self.single(), other.dimensions()) {
            (Some("'"), [1, 0, 0, 0, 0]) => "ft",
            (Some("''"), [1, 0, 0, 0, 0]) => "in",
            (Some("'"), [0, 0, 1, 0, 0]) => "min",
            (Some("''"), [0, 0, 1, 0, 0]) => "s",
            _ => return Cow::Borrowed(self),
        };
        Cow::Owned(Self { factors: vec![named(as_unit, 1)], words: self.words.clone() })
    }

    /// Whether this is a vaguer name of the other: units of length, degrees of a scale.
    fn leaves_open(&self, other: &Self) -> bool {
        if let ([(unit, power)], [(row, other_power)]) = (self.factors.as_slice(), other.factors.as_slice())
            && UNITS[*unit].0[0] == "unit"
        {
            return UNITS[*row].1 == LENGTH && power == other_power;
        }
        match (self.single(), other.single()) {
            (Some(a), Some(b)) => OPEN.contains(&(a, b)),
            _ => false,
        }
    }

    /// How many of this one the other is, where both have the same dimensions.
    fn ratio(&self, other: &Self) -> Option<Rational> {
        let (a, b) = (self.dimensions(), other.dimensions());
        let alone = |unit: &Self| -> Vec<(usize, i32)> {
            unit.factors.iter().copied().filter(|(row, _)| UNITS[*row].1 == ALONE).collect()
        };
        let large = |unit: &Self| unit.factors.iter().any(|(_, power)| power.abs() > MAX_POWER);
        if a != b || alone(self) != alone(other) || large(self) || large(other) {
            return None;
        }
        Some(other.size() / self.size())
    }

    fn dimensions(&self) -> [i32; 5] {
        let mut sum = [0; 5];
        for (row, power) in &self.factors {
            for (total, own) in sum.iter_mut().zip(UNITS[*row].1) {
                *total += i32::from(own) * power;
            }
        }
        sum
    }

    fn size(&self) -> Rational {
        let factor = |(row, power): &(usize, i32)| {
            let (_, _, over, under) = UNITS[*row];
            Rational::from_parts(over.into(), Natural::from(under)).pow(*power as isize)
        };
        self.factors.iter().map(factor).fold(Rational::ONE, |product, factor| product * factor)
    }

    /// How many of this one a smaller unit is that may follow it: `5 ft 6 in`, `5° 30' 15''`.
    pub fn part(&self, smaller: &Self) -> Option<Rational> {
        let share = match (self.single()?, smaller.single()?) {
            ("degree", "'" | "min") => Rational::from_parts(1.into(), Natural::from(60u8)),
            ("degree", "''" | "s") => Rational::from_parts(1.into(), Natural::from(3600u16)),
            ("'" | "ft", "''") | ("'", "in") => Rational::from_parts(1.into(), Natural::from(12u8)),
            _ => self.ratio(smaller)?,
        };
        (share < Rational::ONE).then_some(share)
    }
}

fn named(name: &str, power: i32) -> (usize, i32) {
    (row(name).expect("the table holds it"), power)
}

/// One form of a word for one and for many, and of words that mean the same behind a number.
fn singular(word: &str) -> String {
    let word = word.trim_end_matches(['.', ',']);
    match word {
        "people" | "persons" => return "person".into(),
        "children" | "kids" | "kid" => return "child".into(),
        "men" => return "man".into(),
        "women" => return "woman".into(),
        "mice" => return "mouse".into(),
        "dice" => return "die".into(),
        "geese" => return "goose".into(),
        "teeth" => return "tooth".into(),
        "vertices" => return "vertex".into(),
        "matrices" => return "matrix".into(),
        "possibilities" | "possibility" | "choices" | "choice" | "options" | "option" => return "way".into(),
        _ => {}
    }
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| stem.len() > 2) {
        return format!("{stem}y");
    }
    if ["sses", "shes", "ches", "xes", "zes"].iter().any(|end| word.ends_with(end)) {
        return word[..word.len() - 2].into();
    }
    let plural = word.len() > 3 && word.ends_with('s') && !["ss", "us", "is"].iter().any(|end| word.ends_with(end));
    word[..word.len() - usize::from(plural)].into()
}
