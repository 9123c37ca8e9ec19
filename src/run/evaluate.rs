//! Held-out evaluation: the first prompts of each domain's `eval` sources, always the same.

use std::collections::BTreeMap;

use data::tasks::Split;
use data::{Prompt, ScoredGroup, Trajectory};
use learner::text::{ContextLoss, TextReport};
use policy::Model;
use policy::kernels::indexer_loss::Coverage;

use super::Run;
use super::prompts::Pool;
use super::sample::{Round, sample_groups, sampling};
use super::score::passes;
use super::state::{StageState, learning_work, sampling_work};
use crate::exit::{Code, Failure, OrFail};
use crate::say;
use crate::summary::{ContextScore, LayerScore, Score, TextScore};

/// Rows of a unit where sampled tokens are recomputed; it does not change a bit (INV-2).
pub const CHECK_TOKENS: usize = 4096;

/// Scores `model` on `domains`, adds what it used and saw to `state`, and returns the judged groups.
///
/// # Errors
/// As sampling.
pub fn evaluate(
    run: &Run,
    name: &str,
    model: &Model,
    version: u64,
    domains: &[String],
    state: &mut StageState,
) -> Result<Vec<ScoredGroup>, Failure> {
    let settings = &run.recipe.eval;
    let mut all = Vec::new();
    let mut scores = BTreeMap::new();
    for domain in domains {
        let prompts = Pool::open(&run.recipe, domain, Split::Eval)?.first(settings.n as u64)?;
        let keyed = prompts.into_iter().map(|p| (p.clone(), format!("eval/{name}/{}", p.id))).collect();
        let round = Round {
            model,
            version,
            group: settings.samples,
            temperature: settings.temperature,
            cut: false,
            record: false,
            record_experts: false,
            overlong_filter: false,
            normalize_std: false,
        };
        let groups = sample_groups(run, &round, keyed)?;
        scores.insert(domain.clone(), score(run, domain, &groups));
        state.ledger.add(&model.config, sampling_work(&model.config, &groups), 1.0);
        all.extend(groups);
    }
    let inverse_t = sampling(&run.recipe.sampling, &run.tokenizer, settings.temperature, false).inverse_temperature();
    if run.recipe.run.exact {
        check_exactness(model, version, &sampled(&all), inverse_t, state);
    }
    state.judged(&all);
    state.eval = scores;
    measure_texts(run, model, state)?;
    Ok(all)
}

/// Measures how `model` predicts held-out text, where the recipe names contexts.
fn measure_texts(run: &Run, model: &Model, state: &mut StageState) -> Result<(), Failure> {
    let settings = &run.recipe.eval;
    let Some(&longest) = settings.contexts.iter().max() else { return Ok(()) };
    let longest = longest.min(model.context());
    for domain in &settings.texts {
        let prompts = Pool::open(&run.recipe, domain, Split::Eval)?.first(settings.n as u64)?;
        let texts = prompts.iter().map(|p| text(run, p, longest + 1)).collect::<Result<Vec<_>, _>>()?;
        let wait = run.watchdog.wait("the evaluation", || format!("the text of domain {domain} to be predicted"));
        let found = learner::text::measure(model, &texts, &settings.contexts, CHECK_TOKENS);
        drop(wait);
        let forwards: &[bool] = if model.config.indexer.is_some() { &[false, true] } else { &[true] };
        for &dense in forwards {
            let work = learning_work(&model.config, dense, texts.iter().map(Vec::len));
            state.ledger.add(&model.config, work, 1.0);
        }
        state.texts.insert(domain.clone(), text_score(&found));
    }
    Ok(())
}

/// A prompt with its reference answer, as `pretrain` reads it, cut to so many tokens.
fn text(run: &Run, prompt: &Prompt, longest: usize) -> Result<Vec<u32>, Failure> {
    let learned = run.tokenizer.encode_to_learn(prompt).or_fail(Code::Data).map_err(|f| f.context(&prompt.id))?;
    let Some(whole) = learned.into_iter().next_back() else {
        return Err(Failure::new(Code::Data, format!("prompt {} has no answer, and so is no text", prompt.id))
            .hint("name the column that holds it in `columns.answer`, or leave the domain out of `eval.texts`"));
    };
    let mut tokens = whole.tokens;
    tokens.truncate(longest);
    Ok(tokens)
}

fn text_score(found: &TextReport) -> TextScore {
    let context = |c: &ContextLoss| ContextScore { context: c.context, perplexity: c.perplexity(), tokens: c.tokens };
    let layer = |c: &Coverage| LayerScore { recall: c.recall / c.rows as f64, mass: c.mass / c.rows as f64 };
    TextScore {
        contexts: found.contexts.iter().map(context).collect(),
        layers: found.coverage.iter().filter(|c| c.rows > 0).map(layer).collect(),
    }
}

/// Recomputes what `model`, the weights of `version`, sampled as the learner would (INV-1).
pub fn check_exactness(
    model: &Model,
    version: u64,
    trajectories: &[&Trajectory],
    inverse_temperature: f32,
    state: &mut StageState,
) {
    state.compared(learner::replay::check(model, version, trajectories, inverse_temperature, CHECK_TOKENS));
}

/// All that was sampled in groups.
pub fn sampled<'a>(groups: impl IntoIterator<Item = &'a ScoredGroup>) -> Vec<&'a Trajectory> {
    groups.into_iter().flat_map(|g| &g.samples).map(|s| &s.trajectory).collect()
}

/// pass@1: the mean over samples that could be judged.
fn score(run: &Run, domain: &str, groups: &[ScoredGroup]) -> Score {
    let rules = &run.recipe.domains[domain];
    let judged: Vec<bool> = groups.iter().flat_map(|g| &g.samples).filter_map(|s| passes(rules, &s.verdicts)).collect();
    let passed = judged.iter().filter(|&&p| p).count();
    let known = |g: &&ScoredGroup| g.samples.iter().any(|s| passes(rules, &s.verdicts).is_some());
    let n = groups.iter().filter(known).count();
    if n < groups.len() {
        say!(
            "warning: {} of {} prompts of {domain} could not be judged, and do not count",
            groups.len() - n,
            groups.len()
        );
    }
    Score { pass_at_1: passed as f64 / judged.len() as f64, n: n as u64 }
}
