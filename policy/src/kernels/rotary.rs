//! Rotary position embedding (Su et al., 2021) in the two layouts that DeepSeek-V3.2 uses.
//!
//! A pair `(a, b)` at angle `θ` becomes `(a cos θ − b sin θ, a sin θ + b cos θ)`. MLA rotates neighbours, `(2i, 2i + 1)`; the indexer
//! rotates halves, `(i, i + d/2)`. Swapping the two is a bug that degrades softly, which is why a test holds them apart. The gradient
//! is the rotation by `−θ`.

use multiversion::multiversion;
use native::{custom_op, parallel_chunks};
use tch::{Kind, Tensor};

use super::cuda::{self, on_gpu};
use super::{ROWS_PER_TASK, away, empty, floats, floats_mut, plain, to_cpu, width};

/// Which elements form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `(2i, 2i + 1)`.
    Interleaved,
    /// `(i, i + d/2)`.
    Halves,
}

/// Cosines and sines of the rows of one forward: `cos, sin [rows, d/2]`.
#[derive(Debug)]
pub struct Angles {
    /// `[rows, d/2]`.
    pub cos: Tensor,
    /// `[rows, d/2]`.
    pub sin: Tensor,
}

/// Rotates the first `2·(d/2)` elements of every head of `x [rows, heads, width]` by the row's angles; further elements stay.
pub fn rotate(x: &Tensor, angles: &Angles, layout: Layout) -> Tensor {
    if x.kind() != Kind::Float {
        return reference(x, angles, layout);
    }
    if away(x) {
        let angles = Angles { cos: to_cpu(&angles.cos), sin: to_cpu(&angles.sin) };
        return rotate(&to_cpu(x), &angles, layout).to_device(x.device());
    }
    let (x_plain, cos, sin) = (plain(x), plain(&angles.cos), plain(&angles.sin));
    let turn = if on_gpu(x) { cuda::elementwise::rotate } else { rotate_plain };
    let out = turn(&x_plain, &cos, &sin, layout, false);
    let backward =
        move |grads: &[Option<Tensor>]| vec![grads[0].as_ref().map(|g| turn(&plain(g), &cos, &sin, layout, true))];
    custom_op(&[x], vec![out], backward).pop().expect("one output")
}

/// The plain-tensor form.
pub fn reference(x: &Tensor, angles: &Angles, layout: Layout) -> Tensor {
    let half = width(&angles.cos) as i64;
    let (turned, rest) = (x.narrow(-1, 0, 2 * half), x.narrow(-1, 2 * half, width(x) as i64 - 2 * half));
    let (cos, sin) = (angles.cos.unsqueeze(1), angles.sin.unsqueeze(1));
    let (a, b) = match layout {
        Layout::Interleaved => (turned.slice(-1, 0, None, 2), turned.slice(-1, 1, None, 2)),
        Layout::Halves => (turned.narrow(-1, 0, half), turned.narrow(-1, half, half)),
    };
    let (c, d) = (&a * &cos - &b * &sin, &a * &sin + &b * &cos);
    let turned = match layout {
        Layout::Interleaved => Tensor::stack(&[c, d], -1).flatten(-2, -1),
        Layout::Halves => Tensor::cat(&[c, d], -1),
    };
    Tensor::cat(&[turned, rest], -1)
}

fn rotate_plain(x: &Tensor, cos: &Tensor, sin: &Tensor, layout: Layout, back: bool) -> Tensor {
    let size = x.size();
    let (heads, head_width, half) = (size[1] as usize, size[2] as usize, width(cos));
    let row = heads * head_width;
    let mut out = empty(&size);
    let (x, cos, sin) = (floats(x), floats(cos), floats(sin));
    parallel_chunks(floats_mut(&mut out), ROWS_PER_TASK * row, |i, out| {
        out.copy_from_slice(&x[i * ROWS_PER_TASK * row..][..out.len()]);
        for (r, out) in out.chunks_exact_mut(row).enumerate() {
            let at = (i * ROWS_PER_TASK + r) * half;
            for head in out.chunks_exact_mut(head_width) {
                rotate_head(head, &cos[at..][..half], &sin[at..][..half], layout, back);
            }
        }
    });
    out
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn rotate_head(x: &mut [f32], cos: &[f32], sin: &[f32], layout: Layout, back: bool) {
    let half = cos.len();
    for i in 0..half {
        let (p, q) = match layout {
            Layout::Interleaved => (2 * i, 2 * i + 1),
            Layout::Halves => (i, i + half),
        };
        let s = if back { -sin[i] } else { sin[i] };
        (x[p], x[q]) = (x[p] * cos[i] - x[q] * s, x[p] * s + x[q] * cos[i]);
    }
}
