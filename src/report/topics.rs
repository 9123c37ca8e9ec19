//! Which metrics share a chart, and what the chart is called. A metric that no topic names gets a chart of its own, so that
//! nothing a stage reports is lost.

use std::collections::BTreeSet;

use super::input::MetricRow;

/// One chart's worth of metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The heading.
    pub title: String,
    /// What the numbers are, in a few words.
    pub unit: &'static str,
    /// True where zero belongs on the axis: amounts, of which twice as high should mean twice as much.
    pub from_zero: bool,
    /// The metrics, the main one first.
    pub metrics: Vec<String>,
}

/// Title, unit, zero on the axis, metric names; `*` stands for one path segment.
type Rule = (&'static str, &'static str, bool, &'static [&'static str]);

/// In the order in which one looks at a run.
const RULES: &[Rule] = &[
    ("Reward", "mean over samples", false, &["critic/score/mean", "critic/rewards/mean", "critic/score/*/mean"]),
    ("Loss", "nats a token", false, &["train/loss", "eval/loss", "actor/loss", "actor/pg_loss"]),
    ("Distillation", "KL, nats", false, &["distill/divergence", "distill/divergence/*", "distill/kl", "distill/kl/*"]),
    ("KL to the reference", "nats", true, &["actor/kl_loss", "actor/kl_loss/*"]),
    ("Policy change", "KL, nats", false, &["actor/ppo_kl"]),
    ("Entropy", "nats a token", true, &["actor/entropy"]),
    ("Clipped tokens", "share", true, &["actor/pg_clipfrac", "actor/pg_clipfrac_lower", "actor/pg_clipfrac_dual"]),
    ("New over old probability", "ratio", false, &["actor/ratio_mean", "actor/ratio_max"]),
    ("Tokens of sequences too far off-policy", "share", true, &["actor/off_policy_masked"]),
    ("Response length", "tokens", true, &["response_length/mean", "response_length/max", "response_length/*/mean"]),
    ("Truncated", "share of responses", true, &["response_length/clip_ratio"]),
    ("Indexer loss", "nats, over layers", true, &["indexer/loss"]),
    ("Indexer KL", "to the attention, nats", true, &["indexer/kl", "indexer/kl/*"]),
    ("Indexer selection", "share", false, &["indexer/recall", "indexer/mass"]),
    ("Indexer recall by layer", "share", false, &["indexer/recall/*"]),
    ("Attention mass on the selection, by layer", "share", false, &["indexer/mass/*"]),
    ("Expert load", "most over mean, − 1", true, &["routing/max_violation"]),
    ("Expert load by layer", "most over mean, − 1", true, &["routing/max_violation/*"]),
    ("Idle experts", "share", true, &["routing/idle_experts"]),
    ("Rerouted tokens", "share", true, &["routing/changed"]),
    ("Masked samples", "share", true, &["training/masked_share"]),
    ("Gradient norm", "before clipping", true, &["actor/grad_norm", "train/grad_norm", "indexer/grad_norm"]),
    ("Learning rate", "", true, &["actor/lr", "train/lr", "indexer/lr"]),
    (
        "Sampler − learner",
        "max. difference",
        true,
        &["training/rollout_probs_diff_max", "training/rollout_logprobs_diff_max"],
    ),
    ("Memory", "GiB", true, &["perf/max_memory_allocated_gb", "perf/cpu_memory_used_gb"]),
    ("Throughput", "tokens a second", true, &["perf/throughput"]),
    (
        "Time of a step",
        "seconds",
        true,
        &["timing_s/step", "timing_s/gen", "timing_s/verify", "timing_s/update", "timing_s/*"],
    ),
];

/// The charts of one stage: the known topics that it has metrics for, then the metrics that none of them names.
pub fn topics_of(rows: &[&MetricRow]) -> (Vec<Topic>, Vec<Topic>) {
    let mut left: BTreeSet<&str> = rows.iter().flat_map(|row| row.metrics.keys().map(String::as_str)).collect();
    let mut known = Vec::new();
    for &(title, unit, from_zero, patterns) in RULES {
        let mut metrics = Vec::new();
        for pattern in patterns {
            let found: Vec<&str> = left.iter().copied().filter(|name| matches(pattern, name)).collect();
            for name in found {
                left.remove(name);
                metrics.push(name.to_owned());
            }
        }
        if !metrics.is_empty() {
            known.push(Topic { title: title.to_owned(), unit, from_zero, metrics });
        }
    }
    let other = left.into_iter().map(|name| Topic {
        title: name.to_owned(),
        unit: "",
        from_zero: false,
        metrics: vec![name.to_owned()],
    });
    (known, other.collect())
}

fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.split('/'), name.split('/'));
    loop {
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some(p), Some(n)) if p == "*" || p == n => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_lands_in_exactly_one_chart() {
        let names =
            ["critic/score/mean", "critic/score/math/mean", "critic/score/max", "timing_s/gen", "own/thing", "<b>"];
        let row = MetricRow {
            stage: "s".into(),
            kind: "rl".into(),
            step: 0,
            time_s: 0.0,
            metrics: names.iter().map(|name| ((*name).to_owned(), 1.0)).collect(),
        };
        let (known, other) = topics_of(&[&row]);
        assert_eq!(known[0].metrics, ["critic/score/mean", "critic/score/math/mean"]);
        assert_eq!(known[1].title, "Time of a step");
        let other: Vec<&str> = other.iter().map(|topic| topic.title.as_str()).collect();
        assert_eq!(other, ["<b>", "critic/score/max", "own/thing"]);
    }
}
