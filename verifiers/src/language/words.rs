//! Counts words by script, so that scripts with and without blanks between words can be compared.

use super::scripts::Script;

/// A stretch of prose that the detector judges as one.
#[derive(Debug, Default)]
pub struct Piece {
    /// Its words, in order, as text for the detector: blanks in place of all that was left out.
    pub text: String,
    /// Letters in `text`.
    pub letters: usize,
    /// How many words of each script it has.
    pub words: Vec<(Script, usize)>,
    /// How many of the Latin ones are names, should the text be in another script: `Python` and `Cauchy` amid Chinese.
    pub names: usize,
}

impl Piece {
    fn add(&mut self, script: Script, words: usize, text: &str, letters: usize) {
        self.count(script, words);
        self.text.push_str(text);
        if script.letters_a_word().is_none() {
            self.text.push(' ');
        }
        self.letters += letters;
    }

    fn count(&mut self, script: Script, words: usize) {
        match self.words.iter_mut().find(|(known, _)| *known == script) {
            Some((_, count)) => *count += words,
            None => self.words.push((script, words)),
        }
    }
}

/// Letters from which on a piece ends with its sentence: the detector needs some, and a sentence in another language
/// should not hide among many.
const PIECE_LETTERS: usize = 80;

/// Latin words with a capital that may follow one another as a name in a text of another script.
const MAX_NAME: usize = 3;

/// Latin words of a sentence that follow one another.
#[derive(Debug, Default)]
struct LatinRun {
    words: usize,
    with_capital: usize,
    /// Something in another script stands before it.
    embedded: bool,
}

impl LatinRun {
    /// Ends the run; `embedded` says whether something in another script stands behind it.
    fn end(&mut self, embedded: bool, piece: &mut Piece) {
        let embedded = self.embedded || embedded;
        if embedded && self.words == self.with_capital && self.words <= MAX_NAME {
            piece.names += self.words;
        }
        *self = Self { embedded: true, ..Self::default() };
    }
}

/// Splits prose into pieces of one or more sentences and counts the words of each.
///
/// A word is a run of letters of one script. Chinese and Japanese characters count as a word each, Thai ones as a fifth.
/// Single letters and words with digits, underscores or inner capitals are variables and names, the same in every
/// language: they are not counted.
pub fn pieces(prose: &str) -> Vec<Piece> {
    let mut pieces = vec![Piece::default()];
    for sentence in prose.split_inclusive(['\n', '.', '!', '?', '。', '！', '？', '।']) {
        let last = pieces.last_mut().expect("there is always one");
        let mut latin = LatinRun::default();
        for chunk in sentence.split(|c: char| !is_inside_word(c)) {
            count_chunk(chunk, last, &mut latin);
        }
        latin.end(false, last);
        if last.letters >= PIECE_LETTERS {
            pieces.push(Piece::default());
        }
    }
    pieces.retain(|piece| !piece.words.is_empty());
    // What is left at the end is too short to be judged alone.
    if pieces.len() > 1
        && pieces.last().is_some_and(|last| last.letters < PIECE_LETTERS)
        && let (Some(end), Some(before)) = (pieces.pop(), pieces.last_mut())
    {
        before.text.push_str(&end.text);
        before.letters += end.letters;
        before.names += end.names;
        end.words.iter().for_each(|&(script, n)| before.count(script, n));
    }
    pieces
}

fn is_inside_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '\'' || c == '’' || Script::of(c).is_some()
}

/// Counts the runs of one script within a chunk that has no blank in it.
fn count_chunk(chunk: &str, piece: &mut Piece, latin: &mut LatinRun) {
    let is_name = chunk.contains(|c: char| c == '_' || c.is_numeric());
    let mut rest = chunk;
    while let Some(start) = rest.find(|c| Script::of(c).is_some()) {
        rest = &rest[start..];
        let script = rest.chars().next().and_then(Script::of).expect("found by its script");
        let belongs = |c: char| Script::of(c) == Some(script) || ((c == '\'' || c == '’') && script == Script::Latin);
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let letters = run.chars().filter(|c| c.is_alphabetic()).count();
        if script != Script::Latin {
            latin.end(true, piece);
        }
        match script.letters_a_word() {
            Some(a_word) => piece.add(script, letters.div_ceil(a_word), run, letters),
            None if letters > 1 && !is_name && !has_inner_capital(run) => {
                if script == Script::Latin {
                    latin.words += 1;
                    latin.with_capital += usize::from(run.starts_with(char::is_uppercase));
                }
                piece.add(script, 1, run, letters);
            }
            None => {}
        }
        rest = after;
    }
}

/// `camelCase`, `GPUs` and `NaN` are names; `Word` and `WORD` are words.
fn has_inner_capital(run: &str) -> bool {
    let tail = run.chars().skip(1);
    tail.clone().any(char::is_uppercase) && run.chars().any(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Vec<(Script, usize)> {
        pieces(text).into_iter().flat_map(|piece| piece.words).collect()
    }

    #[test]
    fn words_of_every_kind_of_script() {
        assert_eq!(counts("don't stop, x = my_var + maxValue + x2"), [(Script::Latin, 2)]);
        assert_eq!(counts("所以答案是5"), [(Script::Han, 5)]);
        assert_eq!(counts("第1步用Python写"), [(Script::Han, 4)]);
        assert_eq!(counts("使用 Python 写"), [(Script::Han, 3), (Script::Latin, 1)]);
        assert_eq!(counts("это ответ"), [(Script::Cyrillic, 2)]);
        assert_eq!(counts("한국어 문장"), [(Script::Hangul, 2)]);
        assert_eq!(counts("हिन्दी भाषा"), [(Script::Devanagari, 2)]);
    }

    #[test]
    fn names_amid_another_script_are_known() {
        let names = |text: &str| pieces(text).iter().map(|piece| piece.names).sum::<usize>();
        for (text, expected) in [
            ("使用 Python 写", 1),
            ("根据 Cauchy-Schwarz 不等式", 2),
            ("在 GPU 上训练 Transformer 模型", 2),
            ("Python 是一种语言", 1),
            ("используем Python и библиотеку", 1),
            ("The answer is five", 0),
            ("答案：The answer is five", 0),
            ("The 答案 is five", 1),
            ("他说 The Answer Is Now Known 很好", 0),
            ("Python", 0),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn long_prose_is_cut_at_sentences() {
        let text = "The number of apples is found by counting them one after another. ".repeat(4);
        assert_eq!(pieces(&text).len(), 2);
    }
}
