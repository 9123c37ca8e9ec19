//! Held-out evaluation: the first prompts of each domain's `eval` sources, always the same.

use std::collections::BTreeMap;

use data::ScoredGroup;
use data::tasks::Split;
use policy::Model;

use super::Run;
use super::prompts::Pool;
use super::sample::{Round, sample_groups, sampling};
use super::score::passes;
use super::state::{StageState, sampling_work};
use crate::exit::Failure;
use crate::summary::Score;

/// Rows of a unit where sampled tokens are recomputed; it does not change a bit (INV-2).
const CHECK_TOKENS: usize = 4096;

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
        check_exactness(model, version, &all.iter().collect::<Vec<_>>(), inverse_t, state);
    }
    state.judged(&all);
    state.eval = scores;
    Ok(all)
}

/// Recomputes what `model`, the weights of `version`, sampled in `groups` as the learner would (INV-1).
pub fn check_exactness(
    model: &Model,
    version: u64,
    groups: &[&ScoredGroup],
    inverse_temperature: f32,
    state: &mut StageState,
) {
    let trajectories: Vec<_> = groups.iter().flat_map(|g| &g.samples).map(|s| &s.trajectory).collect();
    state.compared(learner::replay::check(model, version, &trajectories, inverse_temperature, CHECK_TOKENS));
}

/// pass@1: the mean over samples that could be judged.
fn score(run: &Run, domain: &str, groups: &[ScoredGroup]) -> Score {
    let rules = &run.recipe.domains[domain];
    let judged: Vec<bool> = groups.iter().flat_map(|g| &g.samples).filter_map(|s| passes(rules, &s.verdicts)).collect();
    let passed = judged.iter().filter(|&&p| p).count();
    Score { pass_at_1: passed as f64 / judged.len() as f64, n: groups.len() as u64 }
}
