//! Log-probabilities on a GPU: `log_prob.cu`.

use std::ops::Range;

use native::cuda::{Arg, Grid, Source, launch};
use native::{custom_op, wants_grad};
use tch::Tensor;

use super::{MATH, empty_like, numbers};
use crate::kernels::log_prob::Targets;
use crate::kernels::plain;

pub(super) static SOURCE: Source = Source { name: "log_prob", text: &[MATH, include_str!("log_prob.cu")] };

/// Threads of a block, which takes a row: `THREADS` of the source.
const THREADS: usize = 256;

/// As the CPU's: log-probabilities `[rows]` with history and entropies `[rows]` without, of f32 `logits [rows, vocabulary]`, whose first row
/// is row `first` of `targets`.
pub(in crate::kernels) fn log_prob(logits: &Tensor, targets: &Targets, first: usize) -> (Tensor, Tensor) {
    let rows = logits.size()[0];
    let call = Call::new(plain(logits), targets, first..first + rows as usize);
    let [log_probs, entropies, lse] = [(); 3].map(|()| empty_like(logits, &[rows]));
    let mut args = call.args();
    args.extend([Arg::from(rows as usize), (&log_probs).into(), (&entropies).into(), (&lse).into()]);
    launch(logits.device(), &SOURCE, "log_prob_forward", Grid::line(rows as usize, THREADS), &args);
    drop(args);
    if !wants_grad(&[logits]) {
        return (log_probs, entropies);
    }
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None] };
        let (g, d_logits) = (plain(g), empty_like(&call.logits, &call.logits.size()));
        let mut args = call.args();
        args.extend([Arg::from(&lse), (&g).into(), (&d_logits).into()]);
        launch(g.device(), &SOURCE, "log_prob_backward", Grid::line(rows as usize, THREADS), &args);
        drop(args);
        vec![Some(d_logits)]
    };
    let attached = custom_op(&[logits], vec![log_probs], backward).pop().expect("one output");
    (attached, entropies)
}

/// Logits and their targets on the GPU.
struct Call {
    logits: Tensor,
    tokens: Tensor,
    /// Offsets and tokens of the kept sets, where some row was cut.
    kept: Option<[Tensor; 2]>,
    inverse_temperature: f32,
}

impl Call {
    fn new(logits: Tensor, targets: &Targets, rows: Range<usize>) -> Self {
        let vocabulary = logits.size()[1] as u32;
        let on_gpu = |tokens: &[u32]| {
            assert!(tokens.iter().all(|&token| token < vocabulary), "every token is of the vocabulary");
            numbers(tokens, logits.device())
        };
        let kept = (!targets.offsets.is_empty()).then(|| {
            let offsets = &targets.offsets[rows.start..=rows.end];
            let (begin, end) = (offsets[0], offsets[rows.len()]);
            let from_begin: Vec<u32> = offsets.iter().map(|at| at - begin).collect();
            [numbers(&from_begin, logits.device()), on_gpu(&targets.kept[begin as usize..end as usize])]
        });
        let (tokens, inverse_temperature) = (on_gpu(&targets.tokens[rows]), targets.inverse_temperature);
        Self { logits, tokens, kept, inverse_temperature }
    }

    fn args(&self) -> Vec<Arg<'_>> {
        let kept = |which: usize| self.kept.as_ref().map(|kept| &kept[which]).into();
        let vocabulary = self.logits.size()[1] as usize;
        let (logits, tokens) = (&self.logits, &self.tokens);
        vec![logits.into(), vocabulary.into(), tokens.into(), kept(0), kept(1), self.inverse_temperature.into()]
    }
}
