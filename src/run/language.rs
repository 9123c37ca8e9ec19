//! The stages that read text: `pretrain`, `sft`, `indexer-warmup`, `sparse`, and the second half of `distill-sft`.

use learner::balance::Unevenness;
use learner::language::{LanguageReport, LanguageTask, language_step};
use learner::unit::Sequence;
use policy::ModelConfig;
use policy::kernels::indexer_loss::Coverage;
use policy::model::Load;

use super::models::{indexer_coefficient, indexer_mode};
use super::prompts::Stream;
use super::stage::{Active, Body, Stepped, step_failure};
use super::state::learning_work;
use super::{Run, keep_batch};
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{IndexerMode, Kind};

/// Reads prompts with their reference answers.
pub struct Language {
    stream: Stream,
}

impl Language {
    /// The body of a stage that reads its domains' prompts.
    ///
    /// # Errors
    /// [`Code::Data`].
    pub fn new(active: &Active<'_>) -> Result<Self, Failure> {
        let (run, stage) = (active.run, active.stage);
        Ok(Self { stream: Stream::open(&run.recipe, &stage.name, &stage.mix, active.state.cursor.clone())? })
    }

    /// Sequences until the step's tokens are reached.
    fn batch(&mut self, active: &Active<'_>) -> Result<Vec<Sequence>, Failure> {
        let batch = active.stage.batch();
        // Of a text as long as the context and one token more every token is predicted.
        let longest = batch.sequence.min(active.model.context() + 1);
        let (mut sequences, mut tokens) = (Vec::new(), 0);
        while tokens < batch.tokens {
            let (prompt, _) = self.stream.next()?;
            for sequence in encode(active.run, active.stage.kind, &prompt, longest)? {
                check_length(active, &prompt.id, &sequence)?;
                tokens += sequence.tokens.len();
                sequences.push(sequence);
            }
        }
        Ok(sequences)
    }
}

impl Body for Language {
    fn step(&mut self, active: &mut Active<'_>) -> Result<Stepped, Failure> {
        let sequences = self.batch(active)?;
        let stepped = step(active, &sequences)?;
        active.state.cursor = self.stream.cursor.clone();
        Ok(stepped)
    }
}

/// One language-model step over `sequences`, as the stage's kind wants it.
pub fn step(active: &mut Active<'_>, sequences: &[Sequence]) -> Result<Stepped, Failure> {
    let warmup = active.stage.kind == Kind::IndexerWarmup;
    let dense = warmup || indexer_mode(active.stage, &active.model) == IndexerMode::None;
    let task = LanguageTask {
        sparse: !dense,
        language: !warmup,
        indexer: indexer_coefficient(active.stage, &active.model),
        balance: active.stage.routing().balance(),
        unit_tokens: active.stage.batch().unit_tokens,
    };
    let began = std::time::Instant::now();
    let rate = active.learning_rate();
    let (run, number) = (active.run, active.state.step + 1);
    let _wait = run.watchdog.wait("the stage", || format!("step {number} of the learner"));
    let report = language_step(&active.model, &mut active.trainer, sequences, &task, rate);
    let report = report.map_err(|error| {
        let kept = keep_batch(active, &sequences.iter().map(|s| s.tokens.as_slice()).collect::<Vec<_>>());
        step_failure(active, &error, &kept)
    })?;
    active.state.held(report.memory);
    let lengths = sequences.iter().map(|s| s.tokens.len());
    active.state.ledger.add(&active.model.config, learning_work(&active.model.config, dense, lengths), 3.0);
    let mut stepped = stepped(&report, rate, began.elapsed().as_secs_f64(), warmup);
    stepped.metrics.extend(routing_metrics(&active.model.config, &report.load, false));
    Ok(stepped)
}

fn stepped(report: &LanguageReport, rate: f64, seconds: f64, warmup: bool) -> Stepped {
    let mut metrics = vec![("actor/lr".to_owned(), rate), ("perf/throughput".to_owned(), report.rows as f64 / seconds)];
    if !warmup {
        metrics.push(("train/loss".into(), report.loss));
    }
    metrics.extend(group_metrics(&report.groups));
    metrics.extend(indexer_metrics(report.indexer_kl, report.indexer_loss, &report.coverage));
    let message = match warmup {
        true => format!("indexer KL {:.4}", report.indexer_kl),
        false => format!("loss {:.4}", report.loss),
    };
    Stepped { metrics, message }
}

/// Gradient norms by group.
pub fn group_metrics(groups: &[learner::optimizer::GroupStep]) -> Vec<(String, f64)> {
    let name =
        |group: &str| if group == "backbone" { "actor/grad_norm".to_owned() } else { format!("{group}/grad_norm") };
    groups.iter().map(|g| (name(&g.name), g.gradient_norm)).collect()
}

/// The indexer's divergence, loss and coverage, over layers and layer by layer. Nothing where it did not learn.
pub fn indexer_metrics(kl: f64, loss: f64, coverage: &[Coverage]) -> Vec<(String, f64)> {
    if coverage.is_empty() {
        return Vec::new();
    }
    let mut metrics = vec![("indexer/kl".to_owned(), kl), ("indexer/loss".into(), loss)];
    let rows: u64 = coverage.iter().map(|c| c.rows).sum();
    if rows > 0 {
        metrics.push(("indexer/recall".into(), coverage.iter().map(|c| c.recall).sum::<f64>() / rows as f64));
        metrics.push(("indexer/mass".into(), coverage.iter().map(|c| c.mass).sum::<f64>() / rows as f64));
    }
    for (layer, c) in coverage.iter().enumerate().filter(|(_, c)| c.rows > 0) {
        metrics.push((format!("indexer/recall/layer_{layer}"), c.recall / c.rows as f64));
        metrics.push((format!("indexer/mass/layer_{layer}"), c.mass / c.rows as f64));
    }
    metrics
}

/// How the experts were used, over the layers that have any and layer by layer; where choices were `replayed` also how many of them the
/// gates would not make now.
pub fn routing_metrics(config: &ModelConfig, load: &[Load], replayed: bool) -> Vec<(String, f64)> {
    let Some(experts) = config.experts.as_ref().filter(|_| !load.is_empty()) else { return Vec::new() };
    let found: Vec<Unevenness> = load.iter().map(|load| Unevenness::of(load, experts.gate.top_k as usize)).collect();
    let mean = |of: fn(&Unevenness) -> f64| found.iter().map(of).sum::<f64>() / found.len() as f64;
    let mut metrics = vec![
        ("routing/max_violation".to_owned(), mean(|u| u.violation)),
        ("routing/idle_experts".into(), mean(|u| u.idle)),
    ];
    if replayed {
        metrics.push(("routing/changed".into(), mean(|u| u.changed)));
    }
    let by_layer =
        load.iter().zip(&found).map(|(l, u)| (format!("routing/max_violation/layer_{}", l.layer), u.violation));
    metrics.extend(by_layer);
    metrics
}

/// A row as sequences: whole for fine-tuning, where only what the model says is learned; cut to `longest` for pre-training,
/// where all is.
fn encode(run: &Run, kind: Kind, prompt: &data::Prompt, longest: usize) -> Result<Vec<Sequence>, Failure> {
    let learned = run.tokenizer.encode_to_learn(prompt).or_fail(Code::Data).map_err(|f| f.context(&prompt.id))?;
    if learned.is_empty() {
        return Err(Failure::new(Code::Data, format!("prompt {} has no answer to learn from", prompt.id))
            .hint("name the column that holds it in `columns.answer`"));
    }
    if kind == Kind::Sft {
        return Ok(learned.into_iter().map(|l| Sequence { tokens: l.tokens, trained: l.trained }).collect());
    }
    // Sequences before the last are the same turns again, as they were when they were said.
    let tokens = learned.into_iter().next_back().expect("there is one").tokens;
    Ok(tokens.chunks(longest).map(|part| Sequence::text(part.to_vec())).collect())
}

/// Refuses a sequence that the model's context cannot hold.
pub fn check_length(active: &Active<'_>, prompt: &str, sequence: &Sequence) -> Result<(), Failure> {
    let context = active.model.context();
    if sequence.tokens.len() > context + 1 {
        let tokens = sequence.tokens.len();
        return Err(Failure::new(
            Code::Data,
            format!("prompt {prompt} with its answer is {tokens} tokens; the model's context is {context}"),
        )
        .hint("drop such prompts, or raise `run.context` as far as the model goes"));
    }
    Ok(())
}
