//! On-policy distillation: the student's own samples, each judged by its domain's teacher with the exact divergence over the whole
//! vocabulary, optionally with the task's reward beside it.
//!
//! A unit holds samples of one teacher. The teacher runs the same forward on the same rows; its logits never leave the unit.

use std::sync::Arc;

use policy::kernels::log_prob::log_prob;
use policy::model::Columns;
use policy::{Keys, Model, Task};
use tch::Tensor;

use crate::balance::balance;
use crate::grpo::{GrpoReport, GrpoSettings, Sample, surrogate};
use crate::language::add_coverage;
use crate::losses::aggregate::{GlobalCounts, token_weights};
use crate::losses::distill::{DistillStats, Divergence, distillation, divergence};
use crate::replay::{Exactness, recorded, to_host};
use crate::trainer::{StepError, Trainer};
use crate::unit::{Unit, cut};

/// The settings of a distillation step.
#[derive(Debug, Clone)]
pub struct DistillSettings {
    /// Which divergence.
    pub divergence: Divergence,
    /// Times the policy-gradient loss of the task's reward; 0 leaves it out.
    pub reward_coefficient: f64,
    /// Aggregation, temperature, units, and the surrogate of the task's reward.
    pub grpo: GrpoSettings,
    /// Times the indexer's loss; `None` leaves the indexer alone.
    pub indexer: Option<f64>,
}

/// What a distillation step reports.
#[derive(Debug, Clone, Default)]
pub struct DistillReport {
    /// The divergence to the teachers.
    pub divergence: DistillStats,
    /// The rest, as in a GRPO step.
    pub grpo: GrpoReport,
}

/// One step over samples of several teachers: `by_teacher` pairs each teacher with its domain's samples.
///
/// # Errors
/// [`StepError`]; nothing was applied.
pub fn distill_step(
    student: &Model,
    trainer: &mut Trainer,
    by_teacher: &[(&Model, Vec<Sample<'_>>)],
    settings: &DistillSettings,
    learning_rate: f64,
) -> Result<DistillReport, StepError> {
    let teachers: Vec<&Model> = by_teacher.iter().map(|(teacher, _)| *teacher).collect();
    let mut units: Vec<(usize, Unit, &[Sample<'_>])> = Vec::new();
    for (teacher, (_, samples)) in by_teacher.iter().enumerate() {
        let lengths: Vec<usize> = samples.iter().map(|s| s.trajectory.tokens.len()).collect();
        for range in cut(&lengths, settings.grpo.unit_tokens) {
            let part = &samples[range];
            let trajectories: Vec<_> = part.iter().map(|s| s.trajectory).collect();
            units.push((teacher, Unit::of_trajectories(&trajectories, settings.grpo.inverse_temperature), part));
        }
    }
    let counts = GlobalCounts::of(units.iter().map(|(_, unit, _)| &unit.layout));
    let rows: usize = units.iter().map(|(_, unit, _)| unit.rows_of_sequences()).sum();
    let stepped = trainer.step(student, &teachers, units.len(), learning_rate, |shard, i| {
        let (teacher, unit, samples) = &units[i];
        let weight_T = token_weights(settings.grpo.aggregation, counts, &unit.layout, shard.model.device())?;
        Ok(unit_loss(&shard.model, &shard.asked[*teacher], unit, samples, &weight_T, rows, settings))
    })?;
    let memory = stepped.memory.with_head(student, units.iter().map(|(_, unit, _)| unit));
    let (loss, groups) = (stepped.loss, stepped.groups);
    let grpo = GrpoReport { loss, rows, groups, memory, ..GrpoReport::default() };
    let mut report = DistillReport { grpo, ..DistillReport::default() };
    for unit in &stepped.reports {
        report.divergence.add(&unit.divergence);
        report.grpo.add(&unit.grpo);
    }
    balance(student, &report.grpo.load, settings.grpo.routing.balance);
    Ok(report)
}

fn unit_loss(
    student: &Model,
    teacher: &Model,
    unit: &Unit,
    samples: &[Sample<'_>],
    weight_T: &Tensor,
    all_rows: usize,
    settings: &DistillSettings,
) -> (Tensor, DistillReport) {
    let mut report = DistillReport::default();
    let device = student.device();
    let picked = unit.picked_on(device);
    let mut task = Task::plain(student);
    let trajectories: Vec<_> = samples.iter().map(|s| s.trajectory).collect();
    if settings.grpo.routing.replay {
        task.experts = unit.replay_experts(&trajectories, device);
    }
    task.indexer_weight = settings.indexer.map(|_| unit.row_weights(all_rows, device));
    let forward = student.forward(&unit.rows, Keys::Fresh, &task);
    report.grpo.load = forward.load;
    let asked = tch::no_grad(|| teacher.forward(&unit.rows, Keys::Fresh, &Task::plain(teacher)));
    let [hidden, of_teacher] = [forward.hidden, asked.hidden].map(|hidden| hidden.index_select(0, &picked));
    let [divergence_T, logp_T, entropy_T] = compared(student, &hidden, teacher, of_teacher, unit, settings);
    let (mut loss, stats) = distillation(&divergence_T, weight_T);
    report.divergence.add(&stats);

    let old = recorded(&trajectories);
    report.grpo.exactness.add(Exactness::compare(&to_host(&logp_T), &old));
    report.grpo.entropy_sum += to_host(&entropy_T).iter().map(|&e| f64::from(e)).sum::<f64>();
    if settings.reward_coefficient != 0.0 {
        let old_logp_T = Tensor::from_slice(&old).to_device(device);
        let reward = surrogate(&logp_T, &old_logp_T, unit, samples, weight_T, &settings.grpo, &mut report.grpo);
        loss += reward * settings.reward_coefficient;
    }
    if let (Some(indexer_loss), Some(coefficient)) = (forward.indexer_loss, settings.indexer) {
        report.grpo.indexer_kl += indexer_loss.double_value(&[]) / student.config.num_hidden_layers as f64;
        add_coverage(&mut report.grpo.coverage, &forward.coverage);
        let term = indexer_loss * coefficient;
        report.grpo.indexer_loss += term.double_value(&[]);
        loss += term;
    }
    (loss, report)
}

/// Of each trained row the divergence to the teacher and the log-probability of its token, with history, and its entropy, without: `[T]`
/// each. Both models' logits exist for a chunk of rows at a time.
fn compared(
    student: &Model,
    hidden: &Tensor,
    teacher: &Model,
    of_teacher: Tensor,
    unit: &Unit,
    settings: &DistillSettings,
) -> [Tensor; 3] {
    let (targets, teacher) = (Arc::clone(&unit.targets), teacher.head());
    let (inverse_t, form) = (f64::from(settings.grpo.inverse_temperature), settings.divergence);
    let Columns { learned, seen } = student.head().rows(hidden, move |student_TV, rows| {
        let own = of_teacher.narrow(0, rows.start as i64, rows.len() as i64);
        let teacher_TV = tch::no_grad(|| teacher.logits(&own) * inverse_t);
        let divergence_T = divergence(&(student_TV * inverse_t), &teacher_TV, form);
        let (logp_T, entropy_T) = log_prob(student_TV, &targets, rows.start);
        Columns { learned: vec![divergence_T, logp_T], seen: vec![entropy_T] }
    });
    let columns: Vec<Tensor> = learned.into_iter().chain(seen).collect();
    columns.try_into().expect("three columns")
}
