//! Language-model steps: pre-training, supervised fine-tuning, the indexer's warm-up and the sparse stage.

use policy::kernels::indexer_loss::Coverage;
use policy::model::Load;
use policy::{Attend, Keys, Model, Task};
use tch::{Device, Kind, Tensor};

use crate::balance::{add_load, balance};
use crate::losses::aggregate::{Aggregation, GlobalCounts, token_weights};
use crate::losses::cross_entropy::cross_entropy;
use crate::optimizer::GroupStep;
use crate::replay::picked_log_probs;
use crate::trainer::{StepError, Trainer};
use crate::unit::{Sequence, Unit, cut};

/// What a language-model step does.
#[derive(Debug, Clone, Copy)]
pub struct LanguageTask {
    /// Attention over the selected keys, or over all.
    pub sparse: bool,
    /// The backbone learns from the language-model loss.
    pub language: bool,
    /// Times the indexer's loss; `None` leaves the indexer alone.
    pub indexer: Option<f64>,
    /// `γ` of [`balance`]; 0 leaves the gates' selection bias alone.
    pub balance: f64,
    /// Rows of a unit.
    pub unit_tokens: usize,
}

/// What a language-model step reports.
#[derive(Debug, Clone, Default)]
pub struct LanguageReport {
    /// Mean negative log-likelihood of a trained token, in nats.
    pub loss: f64,
    /// Mean divergence of the indexer a row and layer; 0 where it is left alone.
    pub indexer_kl: f64,
    /// The indexer's coverage of the attention, by layer.
    pub coverage: Vec<Coverage>,
    /// What the experts were given, by layer that has any.
    pub load: Vec<Load>,
    /// Rows fed.
    pub rows: usize,
    /// Trained tokens.
    pub tokens: usize,
    /// What the optimiser did.
    pub groups: Vec<GroupStep>,
}

/// One step over `sequences`.
///
/// # Errors
/// [`StepError`]; nothing was applied.
pub fn language_step(
    model: &Model,
    trainer: &mut Trainer,
    sequences: &[Sequence],
    task: &LanguageTask,
    learning_rate: f64,
) -> Result<LanguageReport, StepError> {
    let lengths: Vec<usize> = sequences.iter().map(|s| s.tokens.len()).collect();
    let units: Vec<Unit> =
        cut(&lengths, task.unit_tokens).into_iter().map(|range| Unit::of_sequences(&sequences[range])).collect();
    let counts = GlobalCounts::of(units.iter().map(|u| &u.layout));
    let rows: usize = units.iter().map(Unit::len).sum();
    let stepped = trainer.step(model, &[], units.len(), learning_rate, |shard, i| {
        let (model, unit) = (&shard.model, &units[i]);
        let mut report = LanguageReport::default();
        let forward = model.forward(&unit.rows, Keys::Fresh, &forward_task(model, task, unit.len(), rows));
        let mut total = Tensor::zeros([], (Kind::Float, model.device()));
        if task.language {
            let (logp_T, _) = picked_log_probs(model, unit, &forward);
            let weight_T = token_weights(Aggregation::TokenMean, counts, &unit.layout, model.device())?;
            let loss = cross_entropy(&logp_T, &weight_T);
            report.loss = loss.double_value(&[]);
            total += loss;
        }
        if let (Some(loss), Some(coefficient)) = (forward.indexer_loss, task.indexer) {
            report.indexer_kl = loss.double_value(&[]) / model.config.num_hidden_layers as f64;
            total += loss * coefficient;
        }
        (report.coverage, report.load) = (forward.coverage, forward.load);
        Ok((total, report))
    })?;
    let mut report =
        LanguageReport { rows, tokens: counts.tokens, groups: stepped.groups, ..LanguageReport::default() };
    stepped.reports.iter().for_each(|unit| report.add(unit));
    balance(model, &report.load, task.balance);
    Ok(report)
}

impl LanguageReport {
    /// Adds what another unit of the same batch found.
    fn add(&mut self, unit: &Self) {
        self.loss += unit.loss;
        self.indexer_kl += unit.indexer_kl;
        add_coverage(&mut self.coverage, &unit.coverage);
        add_load(&mut self.load, &unit.load);
    }
}

fn forward_task(model: &Model, task: &LanguageTask, rows: usize, all_rows: usize) -> Task {
    Task {
        attend: if task.sparse { Attend::Sparse } else { Attend::Dense },
        indexer_weight: task.indexer.map(|_| row_weights(rows, all_rows, model.device())),
        ..Task::dense()
    }
}

/// `1 / all_rows` for each row: the mean over the batch's rows.
pub(crate) fn row_weights(rows: usize, all_rows: usize, device: Device) -> Tensor {
    Tensor::full([rows as i64], 1.0 / all_rows as f64, (Kind::Float, device))
}

/// Adds layer by layer.
pub(crate) fn add_coverage(sums: &mut Vec<Coverage>, found: &[Coverage]) {
    sums.resize(sums.len().max(found.len()), Coverage::default());
    sums.iter_mut().zip(found).for_each(|(sum, coverage)| sum.add(*coverage));
}
