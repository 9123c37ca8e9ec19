//! Units of measurement: their names, and what one is in another of its kind.

use dashu::{Natural, Rational};

/// A kind of quantity: only units of one kind convert into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Length,
    Mass,
    Volume,
    Time,
    Money,
    Angle,
    Other,
}

/// The names of one unit, the first of which stands for all; its kind; its size in the kind's smallest steps as a
/// fraction.
type Row = (&'static [&'static str], Kind, u64, u64);

const UNITS: [Row; 38] = [
    (&["mm", "millimeter", "millimeters", "millimetre", "millimetres"], Kind::Length, 1, 1000),
    (&["cm", "centimeter", "centimeters", "centimetre", "centimetres", "cms"], Kind::Length, 1, 100),
    (&["dm", "decimeter", "decimeters", "decimetre", "decimetres"], Kind::Length, 1, 10),
    (&["m", "meter", "meters", "metre", "metres"], Kind::Length, 1, 1),
    (&["km", "kilometer", "kilometers", "kilometre", "kilometres", "kms"], Kind::Length, 1000, 1),
    (&["in", "inch", "inches"], Kind::Length, 254, 10_000),
    (&["ft", "foot", "feet"], Kind::Length, 3048, 10_000),
    (&["yd", "yard", "yards"], Kind::Length, 9144, 10_000),
    (&["mi", "mile", "miles"], Kind::Length, 1_609_344, 1000),
    (&["mg", "milligram", "milligrams"], Kind::Mass, 1, 1000),
    (&["g", "gram", "grams", "gm"], Kind::Mass, 1, 1),
    (&["kg", "kilogram", "kilograms", "kgs"], Kind::Mass, 1000, 1),
    (&["lb", "lbs", "pound", "pounds"], Kind::Mass, 45_359_237, 100_000),
    (&["oz", "ounce", "ounces"], Kind::Mass, 45_359_237, 1_600_000),
    (&["ml", "milliliter", "milliliters", "millilitre", "millilitres"], Kind::Volume, 1, 1000),
    (&["l", "liter", "liters", "litre", "litres"], Kind::Volume, 1, 1),
    (&["gal", "gallon", "gallons"], Kind::Other, 1, 1),
    (&["s", "sec", "secs", "second", "seconds"], Kind::Time, 1, 1),
    (&["min", "mins", "minute", "minutes"], Kind::Time, 60, 1),
    (&["h", "hr", "hrs", "hour", "hours"], Kind::Time, 3600, 1),
    (&["day", "days"], Kind::Time, 86_400, 1),
    (&["week", "weeks"], Kind::Time, 604_800, 1),
    (&["month", "months"], Kind::Other, 1, 1),
    (&["year", "years", "yr", "yrs"], Kind::Other, 1, 1),
    (&["degree", "degrees", "deg"], Kind::Angle, 1, 1),
    (&["radian", "radians", "rad", "rads"], Kind::Angle, 1, 1),
    (&["cent", "cents"], Kind::Money, 1, 100),
    (&["dollar", "dollars", "usd", "\\$"], Kind::Money, 1, 1),
    (&["euro", "euros", "eur"], Kind::Other, 1, 1),
    (&["mph"], Kind::Other, 1, 1),
    (&["kmh", "kph", "kmph"], Kind::Other, 1, 1),
    (&["j", "joule", "joules"], Kind::Other, 1, 1),
    (&["n", "newton", "newtons"], Kind::Other, 1, 1),
    (&["w", "watt", "watts"], Kind::Other, 1, 1),
    (&["v", "volt", "volts"], Kind::Other, 1, 1),
    (&["hz", "hertz"], Kind::Other, 1, 1),
    (&["am", "a.m", "a.m."], Kind::Other, 1, 1),
    (&["pm", "p.m", "p.m."], Kind::Other, 1, 1),
];

fn row(word: &str) -> Option<&'static Row> {
    // Most words are no units, and most units are short.
    if word.len() > 12 {
        return None;
    }
    UNITS.iter().find(|row| row.0.contains(&word))
}

/// The common name of a known unit, from its name in lower case.
pub fn canonical(word: &str) -> Option<&'static str> {
    row(word).map(|row| row.0[0])
}

/// Whether a single upright letter is a unit rather than a name.
pub fn is_letter(letter: &str) -> bool {
    matches!(letter, "m" | "g" | "s" | "h" | "l" | "L" | "J" | "N" | "W" | "V")
}

/// A unit as written, in parts: `km/h`, `cm^2`, `square feet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The words' common names with what joins them.
    pub name: String,
    /// All of its words are known units, or it is a modulus.
    known: bool,
    /// The only unit in it, where it is known, and its power.
    single: Option<(&'static str, u8)>,
}

impl Unit {
    /// Reads the words of a unit.
    pub fn new(written: &str) -> Self {
        let (mut name, mut words) = (String::with_capacity(written.len()), Vec::new());
        let mut power = 1u8;
        for word in written.to_lowercase().split_inclusive([' ', '/', '^', '*']) {
            let bare = word.trim_end_matches([' ', '/', '^', '*']);
            let joint = &word[bare.len()..];
            match bare {
                "square" | "sq" | "2" => power = 2,
                "cubic" | "cu" | "3" => power = 3,
                "per" => name.push('/'),
                _ => {
                    let known = canonical(bare);
                    words.push(known);
                    name.push_str(match known {
                        Some("mph") => "mi/h",
                        Some("kmh") => "km/h",
                        Some(known) => known,
                        None => bare,
                    });
                }
            }
            if joint.contains('/') {
                name.push('/');
            }
        }
        let single = match words.as_slice() {
            [Some(unit)] => Some((*unit, power)),
            _ => None,
        };
        if power > 1 {
            name.push(char::from(b'0' + power));
        }
        let known = name.starts_with("mod") || !words.is_empty() && words.iter().all(Option::is_some);
        Self { name, known, single }
    }

    /// The unit of angles in degrees.
    pub fn degree() -> Self {
        Self { name: "degree".into(), known: true, single: Some(("degree", 1)) }
    }

    /// True for degrees.
    pub fn is_degree(&self) -> bool {
        self.name == "degree"
    }

    /// True for radians.
    pub fn is_radian(&self) -> bool {
        self.name == "radian"
    }

    /// True when all of its words are known, so that another unit means another quantity.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// How many of `other` one of `self` is, where both are known and of one kind.
    pub fn in_other(&self, other: &Self) -> Option<Rational> {
        let ((a, power), (b, other_power)) = (self.single?, other.single?);
        let (a, b) = (row(a)?, row(b)?);
        if power != other_power || a.1 != b.1 || matches!(a.1, Kind::Other | Kind::Angle) {
            return None;
        }
        let ratio = Rational::from_parts((a.2 * b.3).into(), Natural::from(a.3 * b.2));
        Some(ratio.pow(isize::from(power)))
    }
}
