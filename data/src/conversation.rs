//! What is learned of a row: its tokens, and which of them are the model's own to say.
//!
//! | row | learned |
//! | --- | --- |
//! | a conversation | what the assistant says, each turn with its end token, but for turns of `weight` 0 |
//! | a prompt with an answer | the answer and an end token |
//! | plain text | all of it, and an end token |
//!
//! A template with `{% generation %}` blocks says itself what the assistant wrote. For any other, a turn is what the rendered
//! conversation up to and with the turn has more than the prompt for it. A template that renders a turn differently once the
//! conversation goes on (it drops earlier thoughts, say) gives such a turn a sequence of its own, so that each is learned after
//! what a sampler would have shown the model.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::chat::{ChatError, ChatTemplate, Marked};
use crate::{Prompt, Tokenizer, TokenizerError};

/// A sequence to learn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// For each token whether it is learned.
    pub trained: Vec<bool>,
}

impl Tokenizer {
    /// The sequences to learn from a row; empty where it holds nothing to imitate.
    ///
    /// # Errors
    /// [`TokenizerError::Chat`], [`TokenizerError::Apply`].
    pub fn encode_to_learn(&self, prompt: &Prompt) -> Result<Vec<Learned>, TokenizerError> {
        if prompt.is_conversation() {
            return self.encode_conversation(prompt);
        }
        let Some(answer) = &prompt.answer else { return Ok(Vec::new()) };
        let (mut tokens, asked) = match prompt.messages.is_empty() {
            true => (self.encode(answer, true)?, 0),
            false => self.encode_answered(prompt, answer)?,
        };
        let mut trained = vec![false; asked];
        // A tokenizer may end a text by itself.
        if let Some(end) = self.eos_ids().first().filter(|end| tokens.last() != Some(end)) {
            tokens.push(*end);
        }
        trained.resize(tokens.len(), true);
        Ok(vec![Learned { tokens, trained }])
    }

    /// A prompt with its answer, and how many of the tokens are the prompt's: those that the sampler goes on from. The two are read as one text
    /// where that has these tokens too, since a tokenizer may treat the beginning of a text in its own way (SentencePiece puts a space before
    /// it).
    fn encode_answered(&self, prompt: &Prompt, answer: &str) -> Result<(Vec<u32>, usize), TokenizerError> {
        let mut tokens = self.encode_asked(prompt)?;
        let asked = tokens.len();
        let whole = self.encode_asked_with(prompt, answer)?;
        match whole.starts_with(&tokens) {
            true => tokens = whole,
            false => tokens.extend(self.encode_behind(answer)?),
        }
        Ok((tokens, asked))
    }

    /// A text as it is behind others: what the end of a line before it has by itself is cut off again.
    fn encode_behind(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        const BEFORE: &str = "\n";
        let before = self.encode(BEFORE, false)?;
        match self.encode(&format!("{BEFORE}{text}"), false)?.strip_prefix(before.as_slice()) {
            Some(own) => Ok(own.to_vec()),
            None => self.encode(text, false),
        }
    }

    fn encode_conversation(&self, prompt: &Prompt) -> Result<Vec<Learned>, TokenizerError> {
        let roles = || prompt.messages.iter().map(|m| m.role.as_str()).collect::<Vec<_>>().join(", ");
        let template = self.chat_template().ok_or_else(|| ChatError::NoTemplate { roles: roles() })?;
        let variables = self.variables_for(prompt);
        let has_unlearned = prompt.messages.iter().any(|turn| turn.role == "assistant" && !turn.is_trained());
        let marked = match template.marks_generation(&variables) && !has_unlearned {
            true => vec![template.render_marked(&prompt.messages, &variables)?],
            false => by_prefix(template, prompt, &variables)?,
        };
        marked.iter().map(|marked| self.encode_marked(marked)).collect()
    }

    /// A token is learned if it holds anything of a span, but not what follows the last end token within the span.
    fn encode_marked(&self, marked: &Marked) -> Result<Learned, TokenizerError> {
        let (mut tokens, places): (Vec<u32>, Vec<Range<usize>>) = self.encode_placed(&marked.text)?.into_iter().unzip();
        let mut trained = vec![false; tokens.len()];
        for span in &marked.spans {
            let inside: Vec<usize> =
                (0..tokens.len()).filter(|&i| places[i].start < span.end && span.start < places[i].end).collect();
            let end = inside.iter().rposition(|&i| self.eos_ids().contains(&tokens[i]));
            let learned = &inside[..end.map_or(inside.len(), |end| end + 1)];
            learned.iter().for_each(|&i| trained[i] = true);
            // Without an end token the model would never learn to stop.
            if end.is_none() && span.end == marked.text.len() {
                tokens.extend(self.eos_ids().first());
                trained.resize(tokens.len(), true);
            }
        }
        Ok(Learned { tokens, trained })
    }
}

/// The conversation as one text with its learned turns, and each turn that is not in that text as it was when it was said.
fn by_prefix(
    template: &ChatTemplate,
    prompt: &Prompt,
    variables: &Map<String, Value>,
) -> Result<Vec<Marked>, ChatError> {
    let turns = prompt.messages.iter().enumerate().filter(|(_, turn)| turn.is_trained());
    let mut said = turns.map(|(i, _)| turn(template, prompt, i, variables)).collect::<Result<Vec<_>, _>>()?;
    let Some(mut whole) = said.pop() else { return Ok(Vec::new()) };
    let (within, apart): (Vec<_>, Vec<_>) = said.into_iter().partition(|turn| whole.text.starts_with(&turn.text));
    let spans = within.into_iter().flat_map(|turn| turn.spans).chain(std::mem::take(&mut whole.spans)).collect();
    whole.spans = spans;
    Ok(apart.into_iter().chain([whole]).collect())
}

/// The conversation up to and with turn `i`, whose text is the span.
fn turn(
    template: &ChatTemplate,
    prompt: &Prompt,
    i: usize,
    variables: &Map<String, Value>,
) -> Result<Marked, ChatError> {
    let text = template.render(&prompt.messages[..=i], false, variables)?;
    for add_generation_prompt in [true, false] {
        let before = template.render(&prompt.messages[..i], add_generation_prompt, variables)?;
        if text.starts_with(&before) {
            let span = before.len()..text.len();
            return Ok(Marked { text, spans: vec![span] });
        }
    }
    Err(ChatError::NotAPrefix { turn: i + 1 })
}
