//! A byte-level BPE from tokens in the order of their ranks: tiktoken's form of a tokenizer, in Hugging Face's.
//!
//! tiktoken merges the two neighbours whose concatenation has the lowest rank, wherever they came from. Hugging Face
//! merges by a list of pairs. So every cut of a token into two tokens is a pair, and pairs stand in the order of what they
//! make. A piece of text that is a token as a whole becomes it without merging (`ignore_merges`), as in tiktoken.
//!
//! Pairs that make the same token come one after the other here, where tiktoken takes the leftmost. That is another
//! result only where three neighbours stand together of which the first two make the same token as the last two, from
//! other parts. No text is known that leads there; `scripts/dev/make_rank_fixtures.py --many` looks for one.

use std::collections::HashMap;

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

/// The most tokens of a vocabulary. Released ones have up to 262,144.
pub(super) const MOST_TOKENS: usize = 1 << 20;
/// The most special tokens. Released ones have up to 1,000.
pub(super) const MOST_SPECIAL: usize = 1 << 16;
/// The most that the squares of the tokens' lengths may add up to. It bounds the work, and the bytes of all pairs: a token of `n`
/// bytes has up to `n - 1` of them. Mistral's 150,000 tokens have 9 million.
const MOST_WORK: usize = 1 << 28;
/// The most cuts of tokens into two tokens. Mistral's 150,000 tokens have 0.6 million.
const MOST_PAIRS: usize = 1 << 22;

/// A vocabulary with what else decides the ids of a text.
pub(super) struct Ranks {
    /// The tokens' bytes, by rank.
    pub tokens: Vec<Vec<u8>>,
    /// The id of rank 0; the others follow.
    pub first: u32,
    /// The tokens that are found in the text before it is split.
    pub special: Vec<Special>,
    /// What splits a text into the pieces within which tokens are merged.
    pub pattern: String,
    /// The special token that begins a sequence, where one is asked for.
    pub begin: Option<Special>,
}

/// A token that stands for itself and is never merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Special {
    /// Its id.
    pub id: u32,
    /// How it is written in a text.
    pub text: String,
    /// Whether it is left out of a text that is decoded without special tokens.
    pub is_control: bool,
}

impl Ranks {
    /// The tokenizer. `place` names where the token of a rank stands in its file.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn build(self, place: impl Fn(usize) -> String) -> Result<Tokenizer, String> {
        self.check_size()?;
        let ranks = self.by_bytes(&place)?;
        let texts: Vec<String> = self.tokens.iter().map(|token| written(token)).collect();
        let merges = self.merges(&ranks, &texts)?;
        let mut vocab: Vocab = texts.into_iter().zip(self.first..).collect();
        for special in &self.special {
            special.check()?;
            if let Some(id) = vocab.insert(special.text.clone(), special.id) {
                return Err(format!("the special token `{}` is token {id} too", special.text));
            }
        }
        let model = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(true).build();
        let mut tokenizer = Tokenizer::new(model.map_err(|e| e.to_string())?);
        let pattern = SplitPattern::Regex(self.pattern);
        let split =
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(|e| format!("pattern: {e}"))?;
        let bytes = ByteLevel::new(false, false, false);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])));
        tokenizer.with_decoder(Some(bytes));
        tokenizer.with_post_processor(self.begin.as_ref().map(begins_with).transpose()?);
        let added: Vec<AddedToken> = self.special.iter().map(Special::added).collect();
        tokenizer.add_tokens(&added);
        Ok(tokenizer)
    }

    fn check_size(&self) -> Result<(), String> {
        let (tokens, special) = (self.tokens.len(), self.special.len());
        if tokens > MOST_TOKENS || special > MOST_SPECIAL {
            return Err(format!(
                "{tokens} tokens and {special} special ones are more than the {MOST_TOKENS} and {MOST_SPECIAL} that a vocabulary may have"
            ));
        }
        let work = self.tokens.iter().fold(0usize, |sum, token| sum.saturating_add(token.len().saturating_pow(2)));
        let longest = self.tokens.iter().map(Vec::len).max().unwrap_or(0);
        match work <= MOST_WORK {
            true => Ok(()),
            false => Err(format!(
                "its tokens are too long (the longest has {longest} bytes): the squares of their lengths add up to {work}, more than {MOST_WORK}"
            )),
        }
    }

    /// The ranks by the tokens' bytes, all bytes among them.
    fn by_bytes(&self, place: &impl Fn(usize) -> String) -> Result<HashMap<&[u8], usize>, String> {
        let mut ranks = HashMap::with_capacity(self.tokens.len());
        for (rank, token) in self.tokens.iter().enumerate() {
            if token.is_empty() {
                return Err(format!("{}: a token of no bytes", place(rank)));
            }
            if let Some(before) = ranks.insert(token.as_slice(), rank) {
                return Err(format!("{}: the same token as {}", place(rank), place(before)));
            }
        }
        match (0..=u8::MAX).find(|byte| !ranks.contains_key([*byte].as_slice())) {
            None => Ok(ranks),
            Some(byte) => Err(format!("the byte {byte:#04x} is no token, so that not every text has ids")),
        }
    }

    /// Every cut of a token into two tokens, in the order of what they make.
    fn merges(&self, ranks: &HashMap<&[u8], usize>, texts: &[String]) -> Result<Merges, String> {
        let mut merges = Merges::new();
        for token in &self.tokens {
            for cut in 1..token.len() {
                let (left, right) = token.split_at(cut);
                let Some(left) = ranks.get(left) else { continue };
                let Some(right) = ranks.get(right) else { continue };
                merges.push((texts[*left].clone(), texts[*right].clone()));
            }
            if merges.len() > MOST_PAIRS {
                return Err(format!("its tokens can be cut into two tokens in more than {MOST_PAIRS} ways"));
            }
        }
        Ok(merges)
    }
}

impl Special {
    /// Refuses a name that the pieces of another text could be written by: they are looked up by how they are written.
    fn check(&self) -> Result<(), String> {
        let is_written = |c: char| (0..=u8::MAX).any(|byte| byte_char(byte) == c);
        if self.text.is_empty() || (!self.text.is_ascii() && self.text.chars().all(is_written)) {
            return Err(format!("`{}` (id {}) cannot be the name of a special token", self.text, self.id));
        }
        Ok(())
    }

    fn added(&self) -> AddedToken {
        AddedToken::from(self.text.clone(), self.is_control).normalized(false)
    }
}

fn begins_with(begin: &Special) -> Result<TemplateProcessing, String> {
    let text = &begin.text;
    TemplateProcessing::builder()
        .try_single(format!("{text} $A"))
        .and_then(|template| template.try_pair(format!("{text} $A {text} $B:1")))
        .map_err(|e| e.to_string())?
        .special_tokens(vec![(text.clone(), begin.id)])
        .build()
        .map_err(|e| e.to_string())
}

/// How byte-level BPE writes bytes: a character each.
fn written(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| byte_char(*byte)).collect()
}

/// The character by which byte-level BPE writes a byte: printable ones are themselves, the others follow from U+0100
/// on.
pub(crate) fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !printable(*b)).count() as u32;
    char::from_u32(256 + before).expect("below U+0144")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(tokens: &[&str]) -> Ranks {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        Ranks {
            tokens: bytes.chain(tokens.iter().map(|token| token.as_bytes().to_vec())).collect(),
            first: 0,
            special: Vec::new(),
            pattern: r"\s+|\S+".to_owned(),
            begin: None,
        }
    }

    fn special(id: u32, text: &str) -> Special {
        Special { id, text: text.to_owned(), is_control: true }
    }

    fn ids(ranks: Ranks, text: &str) -> Vec<u32> {
        let tokenizer = ranks.build(|rank| format!("rank {rank}")).expect("builds");
        tokenizer.encode(text, false).expect("encodes").get_ids().to_vec()
    }

    /// What tiktoken 0.14 gives for these ranks.
    #[test]
    fn the_pair_that_makes_the_lowest_rank_goes_first_wherever_its_parts_came_from() {
        // `abc` is made of `ab` and `c` and of `a` and `bc`.
        assert_eq!(ids(ranks(&["bc", "abc"]), "xabcx"), [120, 257, 120]);
        assert_eq!(ids(ranks(&["ab", "bc", "abc"]), "abcbc"), [258, 257]);
        // No two tokens make `xyz`, but as a whole piece it is one.
        assert_eq!(ids(ranks(&["xyz"]), "xyz xyzz"), [256, 32, 120, 121, 122, 122]);
    }

    #[test]
    fn what_would_give_other_ids_or_take_too_long_is_refused() {
        let error = |ranks: Ranks| ranks.build(|rank| format!("line {}", rank + 1)).expect_err("refused");
        assert_eq!(error(ranks(&["ab", "ab"])), "line 258: the same token as line 257");
        assert_eq!(error(ranks(&[""])), "line 257: a token of no bytes");
        let mut lacking = ranks(&[]);
        lacking.tokens.swap_remove(7);
        assert!(error(lacking).contains("0x07"));
        let long = "x".repeat(1 << 14);
        assert!(error(ranks(&[&long])).contains("too long"));
        let named = |text: &str| {
            let mut ranks = ranks(&["ab"]);
            ranks.special = vec![special(257, "<s>"), special(258, text)];
            error(ranks)
        };
        assert!(named("ab").contains("token 256 too") && named("<s>").contains("token 257 too"));
        assert!(named("Ġa").contains("cannot be the name") && named("").contains("cannot be the name"));
        let mut unbalanced = ranks(&[]);
        unbalanced.pattern = "(".to_owned();
        assert!(error(unbalanced).contains("pattern"));
    }
}
