//! Routing on a GPU: `routing.cu`.

use native::cuda::{Grid, Source, launch};
use tch::{Kind, Tensor};

use super::{MATH, empty_like};
use crate::config::{Gate, Scores};
use crate::kernels::width;

pub(super) static SOURCE: Source = Source { name: "routing", text: &[MATH, include_str!("routing.cu")] };

/// Rows of a block, each a warp: `WARPS` of the source.
const WARPS: usize = 4;

fn grid(rows: usize, words: usize) -> Grid {
    Grid { shared: WARPS * 4 * words, ..Grid::line(rows.div_ceil(WARPS), 32 * WARPS) }
}

fn is_softmax(gate: &Gate) -> bool {
    gate.scores == Scores::Softmax
}

/// Scores `[rows, experts]` and the gate's own choice `[rows, k]` i32, of contiguous `logits`.
pub(in crate::kernels) fn choose(logits: &Tensor, bias: Option<&Tensor>, gate: &Gate) -> (Tensor, Tensor) {
    let (rows, experts, k) = (logits.size()[0], width(logits), gate.top_k as usize);
    let (groups, kept) = (gate.groups as usize, gate.top_groups as usize);
    let scores = empty_like(logits, &logits.size());
    let chosen = Tensor::empty([rows, gate.top_k], (Kind::Int, logits.device()));
    #[rustfmt::skip]
    let args = [
        logits.into(), bias.into(), (rows as usize).into(), experts.into(), is_softmax(gate).into(), k.into(), groups.into(), kept.into(),
        (&scores).into(), (&chosen).into(),
    ];
    // A warp's list of the best holds experts, or groups.
    launch(logits.device(), &SOURCE, "choose", grid(rows as usize, experts + groups + k.max(kept)), &args);
    (scores, chosen)
}

/// The weights `[rows, k]` of the `chosen` experts.
pub(in crate::kernels) fn weigh(scores: &Tensor, chosen: &Tensor, gate: &Gate) -> Tensor {
    let (rows, k) = (scores.size()[0] as usize, gate.top_k as usize);
    let weights = empty_like(scores, &chosen.size());
    #[rustfmt::skip]
    let args = [
        scores.into(), chosen.into(), rows.into(), width(scores).into(), k.into(), gate.normalise.into(), (gate.scale as f32).into(),
        (&weights).into(),
    ];
    launch(scores.device(), &SOURCE, "weigh", grid(rows, 0), &args);
    weights
}

/// The gradient of the logits by that of the weights, `g [rows, k]`.
pub(in crate::kernels) fn backward(g: &Tensor, scores: &Tensor, chosen: &Tensor, gate: &Gate) -> Tensor {
    let (rows, experts, k) = (scores.size()[0] as usize, width(scores), gate.top_k as usize);
    let out = empty_like(scores, &scores.size());
    #[rustfmt::skip]
    let args = [
        g.into(), scores.into(), chosen.into(), rows.into(), experts.into(), is_softmax(gate).into(), k.into(), gate.normalise.into(),
        (gate.scale as f32).into(), (&out).into(),
    ];
    launch(scores.device(), &SOURCE, "route_backward", grid(rows, experts), &args);
    out
}
