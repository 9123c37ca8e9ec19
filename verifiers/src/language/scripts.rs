//! Which script a letter belongs to, and which scripts a language is written in.

use whatlang::Lang;

/// The scripts that the languages below are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Script {
    /// A to Z with all its accents.
    Latin,
    /// Russian, Ukrainian, ….
    Cyrillic,
    /// Greek.
    Greek,
    /// Arabic, Persian, Urdu.
    Arabic,
    /// Hebrew.
    Hebrew,
    /// Hindi, Marathi, Nepali.
    Devanagari,
    /// Bengali.
    Bengali,
    /// Tamil.
    Tamil,
    /// Telugu.
    Telugu,
    /// Thai.
    Thai,
    /// Chinese characters, wherever they are used.
    Han,
    /// Hiragana and Katakana.
    Kana,
    /// Korean.
    Hangul,
    /// Any other.
    Other,
}

impl Script {
    /// The script of a letter or mark; `None` for what is neither.
    pub fn of(c: char) -> Option<Self> {
        if c.is_ascii() {
            return c.is_ascii_alphabetic().then_some(Self::Latin);
        }
        let script = match u32::from(c) {
            0xAA | 0xBA | 0xC0..=0xD6 | 0xD8..=0xF6 | 0xF8..=0x2AF | 0x300..=0x36F => Self::Latin,
            0x1E00..=0x1EFF | 0xFF21..=0xFF3A | 0xFF41..=0xFF5A => Self::Latin,
            0x370..=0x3FF | 0x1F00..=0x1FFF => Self::Greek,
            0x400..=0x52F => Self::Cyrillic,
            0x591..=0x5F4 => Self::Hebrew,
            0x600..=0x6FF | 0x750..=0x77F | 0xFB50..=0xFDFF | 0xFE70..=0xFEFC => Self::Arabic,
            0x900..=0x97F => Self::Devanagari,
            0x980..=0x9FF => Self::Bengali,
            0xB80..=0xBFF => Self::Tamil,
            0xC00..=0xC7F => Self::Telugu,
            0xE00..=0xE7F => Self::Thai,
            0x3041..=0x30FF | 0x31F0..=0x31FF | 0xFF66..=0xFF9F => Self::Kana,
            0x3005 | 0x3007 | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x323AF => Self::Han,
            0x1100..=0x11FF | 0x3130..=0x318F | 0xAC00..=0xD7AF => Self::Hangul,
            // Mathematical letters are formulas, whatever they look like.
            0x2100..=0x214F | 0x1D400..=0x1D7FF => return None,
            _ if c.is_alphabetic() => Self::Other,
            _ => return None,
        };
        let letter = c.is_alphabetic() || !matches!(script, Self::Greek | Self::Arabic | Self::Thai | Self::Kana);
        letter.then_some(script)
    }

    /// Letters that count as one word, where a script puts no blanks between words; `None` where it does.
    pub fn letters_a_word(self) -> Option<usize> {
        match self {
            Self::Han | Self::Kana => Some(1),
            Self::Thai => Some(5),
            _ => None,
        }
    }
}

/// A language that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language {
    /// ISO 639-1.
    pub code: &'static str,
    /// What it is written in.
    pub scripts: &'static [Script],
    /// As the detector names it.
    pub lang: Lang,
}

impl Language {
    /// Whether a text in the one may be taken for one in the other, so that only the detector can tell.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.scripts == other.scripts || [self, other].iter().all(|language| language.scripts[0] == Script::Cyrillic)
    }
}

const fn language(code: &'static str, scripts: &'static [Script], lang: Lang) -> Language {
    Language { code, scripts, lang }
}

/// Every language that can be asked for.
pub const LANGUAGES: [Language; 40] = {
    use Script::{Arabic, Bengali, Cyrillic, Devanagari, Greek, Han, Hangul, Hebrew, Kana, Latin, Tamil, Telugu, Thai};
    [
        language("en", &[Latin], Lang::Eng),
        language("zh", &[Han], Lang::Cmn),
        language("ja", &[Han, Kana], Lang::Jpn),
        language("ko", &[Hangul], Lang::Kor),
        language("fr", &[Latin], Lang::Fra),
        language("de", &[Latin], Lang::Deu),
        language("es", &[Latin], Lang::Spa),
        language("pt", &[Latin], Lang::Por),
        language("it", &[Latin], Lang::Ita),
        language("nl", &[Latin], Lang::Nld),
        language("sv", &[Latin], Lang::Swe),
        language("da", &[Latin], Lang::Dan),
        language("nb", &[Latin], Lang::Nob),
        language("fi", &[Latin], Lang::Fin),
        language("et", &[Latin], Lang::Est),
        language("pl", &[Latin], Lang::Pol),
        language("cs", &[Latin], Lang::Ces),
        language("sk", &[Latin], Lang::Slk),
        language("hu", &[Latin], Lang::Hun),
        language("ro", &[Latin], Lang::Ron),
        language("hr", &[Latin], Lang::Hrv),
        language("ca", &[Latin], Lang::Cat),
        language("tr", &[Latin], Lang::Tur),
        language("vi", &[Latin], Lang::Vie),
        language("id", &[Latin], Lang::Ind),
        language("tl", &[Latin], Lang::Tgl),
        language("ru", &[Cyrillic], Lang::Rus),
        language("uk", &[Cyrillic], Lang::Ukr),
        language("bg", &[Cyrillic], Lang::Bul),
        language("be", &[Cyrillic], Lang::Bel),
        // In Latin letters it is not told from Croatian.
        language("sr", &[Cyrillic, Latin], Lang::Srp),
        language("el", &[Greek], Lang::Ell),
        language("ar", &[Arabic], Lang::Ara),
        language("fa", &[Arabic], Lang::Pes),
        language("he", &[Hebrew], Lang::Heb),
        language("hi", &[Devanagari], Lang::Hin),
        language("bn", &[Bengali], Lang::Ben),
        language("ta", &[Tamil], Lang::Tam),
        language("te", &[Telugu], Lang::Tel),
        language("th", &[Thai], Lang::Tha),
    ]
};

/// The language of an ISO 639-1 code.
pub fn by_code(code: &str) -> Option<&'static Language> {
    LANGUAGES.iter().find(|language| language.code == code)
}

/// The language that the detector named.
pub fn by_lang(lang: Lang) -> Option<&'static Language> {
    LANGUAGES.iter().find(|language| language.lang == lang)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_know_their_script() {
        let cases = [
            ('a', Some(Script::Latin)),
            ('é', Some(Script::Latin)),
            ('ế', Some(Script::Latin)),
            ('ж', Some(Script::Cyrillic)),
            ('λ', Some(Script::Greek)),
            ('中', Some(Script::Han)),
            ('の', Some(Script::Kana)),
            ('한', Some(Script::Hangul)),
            ('ש', Some(Script::Hebrew)),
            ('न', Some(Script::Devanagari)),
            ('ℝ', None),
            ('𝑥', None),
            ('3', None),
            ('×', None),
            ('、', None),
            ('።', None),
            ('አ', Some(Script::Other)),
        ];
        for (c, script) in cases {
            assert_eq!(Script::of(c), script, "{c}");
        }
    }
}
