//! Sampling groups and judging them: the engine decodes on this thread while finished groups are judged on others.

use std::sync::Arc;

use data::{Finish, Item, Prompt, ScoredGroup, ScoredSample, Tokenizer, Trajectory};
use policy::Model;
use rollout::{Engine, EngineSettings, FinishedGroup, Request, Sampling};

use super::Run;
use super::judge::{Pending, Verdicts};
use super::score::{advantages, rewards};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe;

/// How one round of groups is sampled.
pub struct Round<'a> {
    /// The weights.
    pub model: &'a Model,
    /// Their version.
    pub version: u64,
    /// Completions a prompt.
    pub group: usize,
    /// Sampling temperature.
    pub temperature: f64,
    /// Cut to the likeliest tokens as the recipe says; evaluation does not.
    pub cut: bool,
    /// Record the indexer's selections for replay.
    pub record: bool,
    /// Record the experts for replay.
    pub record_experts: bool,
    /// Truncated samples leave the loss.
    pub overlong_filter: bool,
    /// Divide advantages by the group's deviation.
    pub normalize_std: bool,
}

/// A finished group whose verdicts are on their way.
pub(super) struct Waiting {
    pub(super) trajectories: Vec<Trajectory>,
    pub(super) texts: Vec<String>,
    pub(super) pending: Pending,
}

/// Samples and judges `round.group` completions of each prompt. The second of a pair keys the random numbers (INV-4).
///
/// # Errors
/// [`Code::Data`] for a prompt that does not fit, [`Code::Interrupted`] after Ctrl-C.
pub fn sample_groups(
    run: &Run,
    round: &Round<'_>,
    prompts: Vec<(Prompt, String)>,
) -> Result<Vec<ScoredGroup>, Failure> {
    let tokens: Vec<Vec<u32>> = prompts
        .iter()
        .map(|(p, _)| run.tokenizer.encode_asked(p).or_fail(Code::Data).map_err(|f| f.context(&p.id)))
        .collect::<Result<_, _>>()?;
    let longest = tokens.iter().map(Vec::len).max().unwrap_or(0);
    let mut engine = engine(run, round, longest, run.recipe.sampling.batch);
    for (id, ((prompt, key), tokens)) in prompts.iter().zip(tokens).enumerate() {
        let request = Request {
            id,
            key: key.clone(),
            prompt_id: prompt.id.clone(),
            tokens,
            samples: round.group,
            begun: Vec::new(),
        };
        engine.submit(request).or_fail(Code::Data)?;
    }
    let mut waiting: Vec<Option<Waiting>> = prompts.iter().map(|_| None).collect();
    while !engine.idle() {
        run.check_interrupt()?;
        let _wait = run.watchdog.wait("the stage", || "a step of the sampler".to_owned());
        for done in engine.step(round.model, round.version) {
            let id = done.id;
            waiting[id] = Some(send(run, &prompts[id].0, done)?);
        }
    }
    let judged = prompts.into_iter().zip(waiting).map(|((prompt, _), waiting)| {
        let waiting = waiting.expect("an idle engine has finished every group");
        let verdicts = run.wait_for_verdicts(&prompt, waiting.pending)?;
        scored(run, round, prompt, waiting.trajectories, waiting.texts, verdicts)
    });
    judged.collect()
}

/// The recipe's sampling settings at a temperature.
pub fn sampling(settings: &recipe::Sampling, tokenizer: &Tokenizer, temperature: f64, cut: bool) -> Sampling {
    Sampling {
        temperature,
        top_p: if cut { settings.top_p } else { 1.0 },
        top_k: if cut { settings.top_k } else { 0 },
        max_new_tokens: settings.max_new_tokens,
        stop_tokens: tokenizer.eos_ids().to_vec(),
    }
}

/// `1 / T` of what the stages sample, evaluations left out.
pub fn inverse_temperature(run: &Run) -> f32 {
    let settings = &run.recipe.sampling;
    sampling(settings, &run.tokenizer, settings.temperature, true).inverse_temperature()
}

/// An engine whose cache holds `open` samples at their longest, of prompts of up to `longest` tokens.
pub(super) fn engine(run: &Run, round: &Round<'_>, longest: usize, open: usize) -> Engine {
    let settings = &run.recipe.sampling;
    let context = round.model.context();
    let sequence = (longest + settings.max_new_tokens).min(context) + 2 * settings.page;
    let engine_settings = EngineSettings {
        batch: settings.batch,
        open,
        page: settings.page,
        cache_positions: sequence * open.max(round.group + 1),
        record_selections: round.record,
        record_experts: round.record_experts,
        seed: run.recipe.run.seed,
    };
    let mut engine =
        Engine::new(round.model, engine_settings, sampling(settings, &run.tokenizer, round.temperature, round.cut));
    run.cache.set(run.cache.get().max(engine.cache_bytes()));
    if !settings.stop.is_empty() {
        let (stops, tokenizer) = (settings.stop.clone(), Arc::clone(&run.tokenizer));
        engine.stop_when(move |completion| {
            tokenizer.decode(completion, false).is_ok_and(|text| stops.iter().any(|stop| text.contains(stop.as_str())))
        });
    }
    engine
}

/// Sends a finished group to its verifiers.
pub(super) fn send(run: &Run, prompt: &Prompt, done: FinishedGroup) -> Result<Waiting, Failure> {
    let texts: Vec<String> =
        done.trajectories.iter().map(|t| text(&run.tokenizer, t)).collect::<Result<_, Failure>>()?;
    let items = done.trajectories.iter().zip(&texts).map(|(t, text)| item(prompt, t, text)).collect();
    Ok(Waiting { pending: run.judge.send(&prompt.domain, items), trajectories: done.trajectories, texts })
}

/// The completion as text, without the token that ended it.
pub fn text(tokenizer: &Tokenizer, trajectory: &Trajectory) -> Result<String, Failure> {
    let mut ids = trajectory.completion();
    if let [rest @ .., last] = ids
        && tokenizer.eos_ids().contains(last)
    {
        ids = rest;
    }
    tokenizer.decode(ids, false).or_fail(Code::Data)
}

fn item(prompt: &Prompt, trajectory: &Trajectory, text: &str) -> Item {
    Item {
        id: format!("{}#{}", prompt.id, trajectory.sample),
        prompt: prompt.messages.last().map(|m| m.content.clone()),
        completion: text.to_owned(),
        ground_truth: prompt.ground_truth.clone(),
        data_source: Some(prompt.data_source.clone()),
        extra_info: prompt.extra_info.clone(),
        token_count: Some(trajectory.completion_len()),
        truncated: trajectory.finish == Finish::Length,
    }
}

/// A judged group with its rewards and advantages.
pub(super) fn scored(
    run: &Run,
    round: &Round<'_>,
    prompt: Prompt,
    trajectories: Vec<Trajectory>,
    texts: Vec<String>,
    verdicts: Verdicts,
) -> Result<ScoredGroup, Failure> {
    let domain = &run.recipe.domains[&prompt.domain];
    let finishes: Vec<Finish> = trajectories.iter().map(|t| t.finish).collect();
    let rewards = rewards(domain, &verdicts, &finishes, round.overlong_filter);
    let advantages = advantages(&rewards, round.normalize_std)?;
    let samples = trajectories
        .into_iter()
        .zip(texts)
        .zip(verdicts)
        .zip(rewards.iter().zip(advantages))
        .map(|(((trajectory, text), verdicts), (reward, advantage))| ScoredSample {
            trajectory,
            text,
            verdicts,
            reward: reward.value,
            advantage,
            mask: reward.mask,
        })
        .collect();
    Ok(ScoredGroup { prompt, version: round.version, samples })
}
