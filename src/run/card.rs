//! The model card of an export: what the run's stages did, what the model scored, and whether sampler and learner agreed. Nothing that the
//! clock decides is in it, so that the same run writes the same bytes.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use policy::ModelConfig;
use policy::config::{Attention, Scaling};

use crate::hub;
use crate::recipe::{ExportKind, ExportSettings, ModelSource, Recipe};
use crate::summary::{StageSummary, Summary};

/// `README.md` of the export of the checkpoint that stage `from` left.
pub fn card(summary: &Summary, recipe: &Recipe, from: &str, config: &ModelConfig, export: &ExportSettings) -> String {
    let mut out = String::from("---\nlibrary_name: transformers\npipeline_tag: text-generation\n");
    out.push_str("tags:\n- temper\n- reinforcement-learning\n---\n\n");
    // A String takes whatever is written to it.
    let _ = writeln!(out, "# {}\n", plain(&summary.run));
    let _ = writeln!(
        out,
        "Trained with Temper, from {}. The weights are those of stage `{}`.\n",
        base(recipe),
        plain(from)
    );
    adapters(&mut out, recipe, from);
    model(&mut out, recipe, config, export);
    stages(&mut out, summary);
    texts(&mut out, summary);
    data(&mut out, summary);
    exactness(&mut out, summary);
    out
}

fn base(recipe: &Recipe) -> String {
    match &recipe.model {
        ModelSource::Checkpoint { path } => {
            let folder = Path::new(path);
            let name = || folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!("the checkpoint `{}`", plain(&hub::repository(folder).map_or_else(name, |(name, _)| name)))
        }
        ModelSource::Fresh { .. } => "fresh weights".to_owned(),
    }
}

fn adapters(out: &mut String, recipe: &Recipe, from: &str) {
    let Some((stage, lora)) = recipe.stage(from).and_then(|stage| Some((stage, stage.lora.as_ref()?))) else { return };
    let _ = writeln!(
        out,
        "That stage trained low-rank adapters (rank {}, α {}) beside the weights of `{}`: they are merged here, and in `adapter/` they are by \
         themselves, in PEFT's layout.\n",
        lora.rank,
        lora.alpha,
        plain(&stage.from)
    );
}

fn model(out: &mut String, recipe: &Recipe, config: &ModelConfig, export: &ExportSettings) {
    let numbers = match export.dtype {
        ExportKind::F32 => "f32",
        ExportKind::Bf16 => "bf16",
        ExportKind::Fp8 => "FP8 (e4m3 in blocks of 128 × 128, `weight_scale_inv`), the rest bf16",
    };
    let attention = match (&config.attention, &config.indexer) {
        (Attention::Mla(_), None) => "latent".to_owned(),
        (Attention::Gqa(_), None) => "grouped-query".to_owned(),
        (Attention::Mla(_), Some(i)) => format!("latent, sparse: {} keys a token", i.top_k),
        (Attention::Gqa(_), Some(i)) => format!("grouped-query, sparse: {} keys a token", i.top_k),
    };
    let rows = [
        ("family", config.family.model_type().to_owned()),
        ("parameters", config.parameters().to_string()),
        ("attention", attention),
        (
            "experts",
            config.experts.as_ref().map_or("none".into(), |e| format!("{} of {} a token", e.gate.top_k, e.count)),
        ),
        ("context", context(recipe, config)),
        ("weights", numbers.to_owned()),
    ];
    out.push_str("| | |\n| --- | --- |\n");
    for (name, value) in rows {
        let _ = writeln!(out, "| {name} | {value} |");
    }
    out.push('\n');
}

/// What the model has, and what it was used with where that is less. Under LongRoPE the two can have other frequencies.
fn context(recipe: &Recipe, config: &ModelConfig) -> String {
    let (used, most) = (recipe.run.context as i64, config.max_position_embeddings);
    if used == 0 || used >= most {
        return most.to_string();
    }
    let frequencies = match &config.rope.scaling {
        Scaling::LongRope(longrope) if longrope.factors(used) != longrope.factors(most) => {
            "; LongRoPE's short factors held: other programs take them where their own context is no longer than that"
        }
        _ => "",
    };
    format!("{most}, of which {used} were used in training{frequencies}")
}

fn stages(out: &mut String, summary: &Summary) {
    out.push_str("## Stages\n\n");
    let domains = summary.domains();
    if !domains.is_empty() {
        out.push_str("Pass@1 on held-out prompts, with the 95 % interval (Wilson) over the prompts.\n\n");
    }
    let mut header = String::from("| stage | kind | tokens | FLOPs |");
    let mut rule = String::from("| --- | --- | --- | --- |");
    for domain in &domains {
        let _ = write!(header, " {} |", plain(domain));
        rule.push_str(" --- |");
    }
    let _ = writeln!(out, "{header}\n{rule}");
    for stage in &summary.stages {
        let _ = write!(out, "| {} | {} | {} | {:.3e} |", plain(&stage.name), stage.kind, stage.tokens, stage.flops);
        for domain in &domains {
            let _ = write!(out, " {} |", score(stage, domain));
        }
        out.push('\n');
    }
    out.push('\n');
}

/// How held-out text is predicted, where the recipe asks for it.
fn texts(out: &mut String, summary: &Summary) {
    let scores =
        || summary.stages.iter().flat_map(|stage| stage.texts.iter().map(move |(domain, text)| (stage, domain, text)));
    let contexts: BTreeSet<usize> = scores().flat_map(|(_, _, text)| text.contexts.iter().map(|c| c.context)).collect();
    if contexts.is_empty() {
        return;
    }
    out.push_str("Perplexity of held-out text, over tokens with at most so many before them and more than half as many.\n\n| stage | domain |");
    for context in &contexts {
        let _ = write!(out, " {context} |");
    }
    let _ = writeln!(out, "\n| --- | --- |{}", " --- |".repeat(contexts.len()));
    for (stage, domain, text) in scores() {
        let _ = write!(out, "| {} | {} |", plain(&stage.name), plain(domain));
        for context in &contexts {
            let score = text.contexts.iter().find(|c| c.context == *context && c.perplexity.is_finite());
            let _ = write!(out, " {} |", score.map_or("–".to_owned(), |score| format!("{:.4}", score.perplexity)));
        }
        out.push('\n');
    }
    out.push('\n');
}

/// Rows of the run's files that no stage saw.
fn data(out: &mut String, summary: &Summary) {
    for (path, rows) in &summary.skipped_rows {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(out, "Rows of `{}` left out: {rows}.\n", plain(&name));
    }
}

fn score(stage: &StageSummary, domain: &str) -> String {
    let Some(score) = stage.eval.get(domain) else { return "–".to_owned() };
    match score.interval() {
        Some((low, high)) => format!("{:.3} ({low:.3}–{high:.3}, n = {})", score.pass_at_1, score.n),
        None => "not judged".to_owned(),
    }
}

fn exactness(out: &mut String, summary: &Summary) {
    let e = summary.exactness;
    out.push_str("## Sampler and learner\n\n");
    let claim = match (e.tokens_compared, e.max_abs_logprob_diff) {
        (n, diff) if e.waived => {
            format!("Not exact, by the recipe: up to {diff:e} nats apart over {n} sampled tokens.")
        }
        (0, _) => "No token was compared.".to_owned(),
        (n, 0.0) => format!("Equal bit for bit over {n} sampled tokens that the learner recomputed."),
        (n, diff) => format!("Up to {diff:e} nats apart over {n} sampled tokens."),
    };
    let v = summary.verdicts;
    let _ = writeln!(out, "{claim}\n");
    let _ = writeln!(
        out,
        "Verdicts: {} pass, {} fail, {} undecided, {} error (their samples were masked).",
        v.pass, v.fail, v.undecided, v.error
    );
}

/// A name without what Markdown or a table would take for its own.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() || "|`<>[]*\\".contains(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::{ContextScore, Exactness, Score, TextScore};

    #[test]
    fn a_card_holds_the_numbers_of_the_run_and_no_cell_is_broken() {
        let text = "[model]\ncheckpoint = \"/x/base\"\n[domains.d]\ntrain = [{ path = \"x.jsonl\" }]\n[[stages]]\nname = \"rl\"\n\
                    kind = \"sft\"\nsteps = 1\noptimizer.lr = 1.0\nlora.rank = 4\n[[stages]]\nname = \"export\"\nkind = \"export\"\n";
        let recipe = Recipe::parse(text, "r.toml", &[]).expect("it is sound");
        let config = policy::testing::tiny_config(Some(8));
        let at = |context, perplexity| ContextScore { context, perplexity, tokens: 10 };
        let text = TextScore { contexts: vec![at(128, 2.75), at(512, f64::NAN)], layers: Vec::new() };
        let stage = StageSummary {
            name: "rl|x".into(),
            kind: "rl".into(),
            tokens: 1234,
            flops: 5e9,
            eval: [("math".to_owned(), Score { pass_at_1: 0.5, n: 100 })].into(),
            texts: [("math".to_owned(), text)].into(),
            ..StageSummary::default()
        };
        let summary = Summary {
            run: "r".into(),
            stages: vec![stage, StageSummary { name: "sft".into(), ..StageSummary::default() }],
            exactness: Exactness { max_abs_logprob_diff: 0.0, tokens_compared: 42, waived: false },
            skipped_rows: [("/x/a.jsonl".to_owned(), 3)].into(),
            ..Summary::default()
        };
        let card = card(&summary, &recipe, "rl", &config, &ExportSettings::default());
        assert!(card.contains("| rl x | rl | 1234 | 5.000e9 | 0.500 (0.404–0.596, n = 100) |"), "{card}");
        assert!(card.contains("| sft |  | 0 | 0.000e0 | – |"), "{card}");
        assert!(card.contains("Equal bit for bit over 42 sampled tokens"), "{card}");
        assert!(card.contains("| attention | latent, sparse: 8 keys a token |"), "{card}");
        assert!(card.contains("from the checkpoint `base`"), "{card}");
        assert!(
            card.contains("| stage | domain | 128 | 512 |\n| --- | --- | --- | --- |\n| rl x | math | 2.7500 | – |\n"),
            "{card}"
        );
        assert!(card.contains("Rows of `a.jsonl` left out: 3."), "{card}");
        assert!(card.contains("adapters (rank 4, α 32) beside the weights of `model`"), "{card}");
    }
}
