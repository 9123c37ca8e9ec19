//! The language verifier: is a completion written in the language that it should be written in?
//!
//! As in DeepSeek-R1 (arXiv 2501.12948, section 2.3.2) the reward is the share of words in the target language. Math and
//! code, the same in every language, are left out first.

mod prose;
mod scripts;
mod words;

use std::collections::BTreeMap;

use data::{Item, Status, Verdict};
use serde::{Deserialize, Serialize};
use whatlang::Detector;

use crate::Verifier;
use crate::math::extract;
use scripts::{Language, Script};
use words::{Piece, pieces};

/// Letters that the detector must have to be asked at all.
const DETECTOR_LETTERS: usize = 40;

/// What the detector's confidence in another language must be for a short text to be in doubt.
const DOUBT: f64 = 0.5;

/// Why language settings are refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LanguageError {
    /// No such language.
    #[error("language: {0:?} is no language that is known; use prompt, or a code of ISO 639-1 out of {list}", list = codes())]
    UnknownLanguage(String),
    /// A share that no text can have.
    #[error("language: threshold = {0} is no share; set it above 0 and at most 1")]
    Threshold(f64),
}

fn codes() -> String {
    scripts::LANGUAGES.map(|language| language.code).join(", ")
}

/// What the reward of a completion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LanguageReward {
    /// The share of words in the target language.
    #[default]
    Share,
    /// 1 where the share reaches the threshold, else 0.
    Pass,
}

/// Which part of a completion is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// All of it.
    #[default]
    All,
    /// What stands between `<think>` and `</think>`.
    Reasoning,
    /// What stands outside.
    Answer,
}

/// Settings of [`LanguageVerifier`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LanguageSettings {
    /// ISO 639-1 code of the language, or `prompt`: the language of the item's prompt. An item may name its own in
    /// `extra_info.language.target`.
    pub target: String,
    /// The share of target-language words from which on a completion passes.
    pub threshold: f64,
    /// Whether the reward is the share, or 1 and 0.
    pub reward: LanguageReward,
    /// Which part is judged.
    pub part: Part,
    /// With fewer words than this there is nothing to judge: the verdict is `undecided`.
    pub min_words: usize,
    /// Tell languages of one script apart, such as English and French. Otherwise only scripts count.
    pub detect: bool,
}

impl Default for LanguageSettings {
    fn default() -> Self {
        Self {
            target: "en".into(),
            threshold: 0.9,
            reward: LanguageReward::Share,
            part: Part::All,
            min_words: 5,
            detect: true,
        }
    }
}

/// Judges by the share of words in the target language.
///
/// Share = words in the target's scripts, but for those of sentences that are surely in another language of the same
/// script, over all words. Words are counted as its cutter into pieces counts them.
#[derive(Debug, Clone)]
pub struct LanguageVerifier {
    settings: LanguageSettings,
    target: Option<&'static Language>,
}

/// What was counted in a text.
#[derive(Debug, Default)]
struct Count {
    target: usize,
    all: usize,
    foreign: BTreeMap<&'static str, usize>,
    /// The text is short, and looks more like another language of the target's script.
    doubtful: bool,
}

impl LanguageVerifier {
    /// A verifier with these settings.
    ///
    /// # Errors
    /// [`LanguageError`] for a language that is not known, or a threshold that is no share.
    pub fn new(settings: LanguageSettings) -> Result<Self, LanguageError> {
        if !(settings.threshold > 0.0 && settings.threshold <= 1.0) {
            return Err(LanguageError::Threshold(settings.threshold));
        }
        let target = match settings.target.as_str() {
            "prompt" => None,
            code => Some(scripts::by_code(code).ok_or_else(|| LanguageError::UnknownLanguage(code.into()))?),
        };
        Ok(Self { settings, target })
    }

    fn verify_one(&self, item: &Item) -> Verdict {
        let target = match self.target_of(item) {
            Ok(target) => target,
            Err(verdict) => return *verdict,
        };
        let count = self.count(self.part(&item.completion).as_str(), target);
        let share = count.target as f64 / count.all.max(1) as f64;
        let LanguageSettings { threshold, min_words, .. } = self.settings;
        let mut verdict = if count.all < min_words {
            Verdict::undecided(&item.id, format!("{} words are too few to judge a language by", count.all))
        } else if count.doubtful && share >= threshold {
            Verdict::undecided(
                &item.id,
                format!("{} words are too few to tell languages of one script apart", count.all),
            )
        } else {
            let words = format!("{share:.3} of {} words are in {}", count.all, target.code);
            let passes = share >= threshold;
            let mut verdict = if passes { Verdict::pass(&item.id, words) } else { Verdict::fail(&item.id, words) };
            if self.settings.reward == LanguageReward::Share {
                verdict.reward = Some(share);
            }
            verdict
        };
        if let Some((most, _)) = count.foreign.iter().max_by_key(|(_, n)| **n) {
            verdict = verdict.tag("foreign", *most);
        }
        if verdict.status != Status::Undecided {
            verdict = verdict.metric("share", share);
        }
        verdict.metric("words", count.all as f64).tag("target", target.code)
    }

    /// The language that the item should be in, or the verdict that follows from there being none.
    fn target_of(&self, item: &Item) -> Result<&'static Language, Box<Verdict>> {
        let own = item.extra_info.get("language").and_then(|own| own.get("target")).and_then(|code| code.as_str());
        let unknown = |code| Box::new(Verdict::error(&item.id, LanguageError::UnknownLanguage(code).to_string()));
        match (own, self.target) {
            (Some(code), _) if code != "prompt" => scripts::by_code(code).ok_or_else(|| unknown(code.to_owned())),
            (None, Some(target)) => Ok(target),
            _ => {
                let Some(prompt) = &item.prompt else {
                    return Err(Box::new(Verdict::error(
                        &item.id,
                        "the item has no prompt, and the target is the prompt's language",
                    )));
                };
                language_of(prompt)
                    .ok_or_else(|| Box::new(Verdict::undecided(&item.id, "the language of the prompt cannot be told")))
            }
        }
    }

    fn part(&self, completion: &str) -> String {
        let answer = extract::outside_reasoning(completion);
        match self.settings.part {
            Part::All => completion.to_owned(),
            Part::Answer => answer.join("\n"),
            Part::Reasoning => reasoning(completion, &answer),
        }
    }

    fn count(&self, text: &str, target: &Language) -> Count {
        let mut count = Count::default();
        let pieces = pieces(&prose::prose(text));
        count.doubtful = self.settings.detect && is_doubtful(&pieces, target);
        for piece in pieces {
            let other = if self.settings.detect { other_language(&piece, target) } else { None };
            for &(script, words) in &piece.words {
                // Names are the same in every language.
                let named = script == Script::Latin && !target.scripts.contains(&script);
                let words = if named { words - piece.names } else { words };
                count.all += words;
                match other {
                    _ if words == 0 => {}
                    _ if !target.scripts.contains(&script) => *count.foreign.entry(name(script)).or_default() += words,
                    Some(other) => *count.foreign.entry(other).or_default() += words,
                    None => count.target += words,
                }
            }
        }
        count
    }
}

impl Verifier for LanguageVerifier {
    fn name(&self) -> &'static str {
        "language"
    }

    fn verify(&self, items: &[Item]) -> Vec<Verdict> {
        items.iter().map(|item| self.verify_one(item)).collect()
    }
}

/// What `answer` leaves of a text: the two are parts of one string, so addresses tell where each begins.
fn reasoning(text: &str, answer: &[&str]) -> String {
    let mut left = String::new();
    let mut at = 0;
    for segment in answer {
        let start = segment.as_ptr().addr() - text.as_ptr().addr();
        left.push_str(&text[at..start]);
        left.push('\n');
        at = start + segment.len();
    }
    left.push_str(&text[at..]);
    left
}

/// Another language of the target's script that the piece is surely in.
fn other_language(piece: &Piece, target: &Language) -> Option<&'static str> {
    if piece.letters < DETECTOR_LETTERS {
        return None;
    }
    let found = Detector::new().detect(&piece.text).filter(whatlang::Info::is_reliable)?;
    if found.lang() == target.lang {
        return None;
    }
    // A piece in another script is counted by its script. One whose detected language is written otherwise than most of
    // its words is a mixture, where the detector has nothing to say.
    let other = scripts::by_lang(found.lang()).filter(|other| other.looks_like(target))?;
    let pair = Detector::with_allowlist(vec![target.lang, other.lang]).detect(&piece.text)?;
    (pair.lang() == other.lang && pair.is_reliable()).then_some(other.code)
}

/// Whether a text is too short for the detector to be sure, and looks more like another language that is written as the target is.
fn is_doubtful(pieces: &[Piece], target: &Language) -> bool {
    let [piece] = pieces else { return false };
    let rivals: Vec<_> = scripts::LANGUAGES.iter().filter(|language| language.looks_like(target)).collect();
    if rivals.len() < 2 || piece.letters >= 2 * DETECTOR_LETTERS || other_language(piece, target).is_some() {
        return false;
    }
    let among = |languages: Vec<whatlang::Lang>| Detector::with_allowlist(languages).detect(&piece.text);
    let Some(guess) = among(rivals.iter().map(|language| language.lang).collect()) else { return false };
    let pair = among(vec![target.lang, guess.lang()]);
    guess.lang() != target.lang && pair.is_some_and(|p| p.lang() == guess.lang() && p.confidence() >= DOUBT)
}

/// The language of a prompt: by its script where one language alone is written so, else as detected.
fn language_of(prompt: &str) -> Option<&'static Language> {
    let pieces = pieces(&prose::prose(prompt));
    let mut words: BTreeMap<Script, usize> = BTreeMap::new();
    let mut text = String::new();
    for piece in &pieces {
        piece.words.iter().for_each(|&(script, n)| *words.entry(script).or_default() += n);
        text.push_str(&piece.text);
    }
    let most = words.iter().max_by_key(|(_, n)| **n).map(|(script, _)| *script)?;
    let candidates: Vec<_> = scripts::LANGUAGES.iter().filter(|language| language.scripts.contains(&most)).collect();
    match candidates.as_slice() {
        [] => None,
        [only] => Some(only),
        several if most == Script::Han => {
            let kana = words.contains_key(&Script::Kana);
            several.iter().copied().find(|language| language.scripts.contains(&Script::Kana) == kana)
        }
        several => {
            let found =
                Detector::with_allowlist(several.iter().map(|language| language.lang).collect()).detect(&text)?;
            scripts::by_lang(found.lang())
        }
    }
}

fn name(script: Script) -> &'static str {
    match script {
        Script::Latin => "Latin",
        Script::Cyrillic => "Cyrillic",
        Script::Greek => "Greek",
        Script::Arabic => "Arabic",
        Script::Hebrew => "Hebrew",
        Script::Devanagari => "Devanagari",
        Script::Bengali => "Bengali",
        Script::Tamil => "Tamil",
        Script::Telugu => "Telugu",
        Script::Thai => "Thai",
        Script::Han => "Han",
        Script::Kana => "Kana",
        Script::Hangul => "Hangul",
        Script::Other => "another script",
    }
}

#[cfg(test)]
mod tests;
