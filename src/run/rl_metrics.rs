//! What a step of reinforcement learning tells: the numbers of its groups and of its mini-steps.

use data::{Mask, ScoredGroup};
use learner::grpo::GrpoReport;

use super::language::{group_metrics, indexer_metrics, routing_metrics};
use super::stage::Active;

/// The numbers of a step that are a function of the weights and its groups.
pub(super) fn step_metrics(
    active: &Active<'_>,
    groups: &[ScoredGroup],
    idle: usize,
    reports: &[GrpoReport],
    measured: Vec<(String, f64)>,
) -> Vec<(String, f64)> {
    let mut metrics = group_stats(groups);
    metrics.push(("training/groups_without_signal".into(), idle as f64));
    metrics.extend(report_metrics(reports));
    metrics.extend(measured);
    metrics.extend(report_routing(active, reports));
    metrics.push(("actor/lr".into(), active.learning_rate()));
    metrics
}

/// The experts' load in the first mini-step, on the weights that sampled; and what the gates would choose now.
pub fn report_routing(active: &Active<'_>, reports: &[GrpoReport]) -> Vec<(String, f64)> {
    let replayed = active.stage.routing().replay;
    reports.first().map_or_else(Vec::new, |first| routing_metrics(&active.model.config, &first.load, replayed))
}

/// Scores, lengths and masks of a batch.
pub fn group_stats(groups: &[ScoredGroup]) -> Vec<(String, f64)> {
    let all: Vec<_> = groups.iter().flat_map(|g| g.samples.iter().map(move |s| (&g.prompt.domain, s))).collect();
    let score = |domain: Option<&str>| {
        mean(all.iter().filter(|(d, _)| domain.is_none_or(|domain| *d == domain)).filter_map(|(_, s)| s.reward))
    };
    let mut metrics = vec![("critic/score/mean".to_owned(), score(None))];
    let mut domains: Vec<&str> = all.iter().map(|(d, _)| d.as_str()).collect();
    domains.sort_unstable();
    domains.dedup();
    metrics.extend(domains.iter().map(|d| (format!("critic/score/{d}/mean"), score(Some(d)))));
    let share = |of: &dyn Fn(&data::ScoredSample) -> bool| mean(all.iter().map(|(_, s)| f64::from(u8::from(of(s)))));
    metrics.push(("response_length/mean".into(), mean(all.iter().map(|(_, s)| s.trajectory.completion_len() as f64))));
    metrics.push(("response_length/clip_ratio".into(), share(&|s| s.trajectory.finish == data::Finish::Length)));
    metrics.push(("training/masked_share".into(), share(&|s| s.mask != Mask::None)));
    metrics
}

/// What the learner reports over the mini-steps of a batch.
pub fn report_metrics(reports: &[GrpoReport]) -> Vec<(String, f64)> {
    let Some(first) = reports.first() else { return Vec::new() };
    let mut policy = first.policy;
    reports[1..].iter().for_each(|r| policy.add(&r.policy));
    let tokens: f64 = policy.tokens.max(1.0);
    let mut metrics = vec![
        ("actor/loss".to_owned(), mean(reports.iter().map(|r| r.loss))),
        ("actor/entropy".into(), reports.iter().map(|r| r.entropy_sum).sum::<f64>() / tokens),
        ("actor/ppo_kl".into(), policy.kl_old_new()),
        ("actor/pg_clipfrac".into(), policy.clip_fraction_high()),
        ("actor/pg_clipfrac_lower".into(), policy.clip_fraction_low()),
        ("actor/pg_clipfrac_dual".into(), policy.clip_fraction_dual()),
        ("actor/off_policy_masked".into(), policy.masked_fraction()),
        ("actor/ratio_mean".into(), policy.ratio_mean()),
        ("actor/ratio_max".into(), policy.ratio_max),
        ("actor/kl_loss".into(), mean(reports.iter().map(|r| r.kl.mean()))),
        ("training/rollout_probs_diff_max".into(), first.exactness.max_abs_logprob_diff),
    ];
    // Distillation without the task's reward has no surrogate.
    if reports.iter().any(|r| !r.tokens.kept.is_empty()) {
        metrics.push(("actor/pg_loss".into(), mean(reports.iter().map(|r| r.surrogate))));
    }
    metrics.extend(group_metrics(&first.groups));
    metrics.extend(indexer_metrics(first.indexer_kl, first.indexer_loss, &first.coverage));
    metrics
}

/// The mean; NaN of nothing.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), v| (sum + v, n + 1));
    sum / n as f64
}
