//! RMSNorm and LayerNorm over the last dimension.
//!
//! `rms(x)_i = w_i · x_i · r`, `r = (mean(x²) + ε)^−½` (Zhang and Sennrich, 2019); LayerNorm subtracts the mean first and adds a
//! bias (Ba et al., 2016). Both take `x [.., d]`, `w [d]` (and `b [d]`), all f32.
//!
//! Backward, with `x̂` the normalised row and `u = g · w`: `dx = r (u − x̂ mean(u x̂))` for RMSNorm, and `dx = r (u − mean(u) −
//! x̂ mean(u x̂))` for LayerNorm; `dw = Σ_rows g x̂`, `db = Σ_rows g`.

use multiversion::multiversion;
use native::{custom_op, parallel_chunks};
use tch::{Kind, Tensor};

use super::cuda::{self, on_gpu};
use super::math::{LANES, add_lanes, dot, sum};
use super::{ROWS_PER_TASK, away, empty, floats, floats_mut, plain, to_cpu, width};

/// RMSNorm of every row of `x [.., d]` with weight `w [d]`.
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Tensor {
    normalise(x, w, None, eps)
}

/// LayerNorm of every row of `x [.., d]` with weight `w [d]` and bias `b [d]`.
pub fn layer_norm(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Tensor {
    normalise(x, w, Some(b), eps)
}

/// The plain-tensor form of both: RMSNorm where `b` is `None`.
pub fn reference(x: &Tensor, w: &Tensor, b: Option<&Tensor>, eps: f64) -> Tensor {
    let mean = |t: &Tensor| t.mean_dim([-1i64].as_slice(), true, t.kind());
    let centred = if b.is_some() { x - mean(x) } else { x.shallow_clone() };
    let normal = &centred * (mean(&centred.square()) + eps).rsqrt();
    match b {
        Some(b) => normal * w + b,
        None => normal * w,
    }
}

fn normalise(x: &Tensor, w: &Tensor, b: Option<&Tensor>, eps: f64) -> Tensor {
    if x.kind() != Kind::Float {
        return reference(x, w, b, eps);
    }
    if away(x) {
        return normalise(&to_cpu(x), &to_cpu(w), b.map(to_cpu).as_ref(), eps).to_device(x.device());
    }
    let (x_plain, w_plain, b_plain) = (plain(x), plain(w), b.map(plain));
    let gpu = on_gpu(x);
    let out = if gpu {
        cuda::norm::forward(&x_plain, &w_plain, b_plain.as_ref(), eps as f32)
    } else {
        forward(&x_plain, &w_plain, b_plain.as_ref(), eps as f32)
    };
    let has_bias = b.is_some();
    let inputs: Vec<&Tensor> = [Some(x), Some(w), b].into_iter().flatten().collect();
    let backward = move |grads: &[Option<Tensor>]| {
        let count = if has_bias { 3 } else { 2 };
        let Some(g) = &grads[0] else { return (0..count).map(|_| None).collect() };
        let g = plain(g);
        let backward = if gpu { cuda::norm::backward } else { backward_all };
        let (dx, columns) = backward(&x_plain, &w_plain, &g, has_bias, eps as f32);
        let mut grads = vec![Some(dx)];
        grads.extend(columns.into_iter().map(Some));
        grads
    };
    custom_op(&inputs, vec![out], backward).pop().expect("one output")
}

fn forward(x: &Tensor, w: &Tensor, b: Option<&Tensor>, eps: f32) -> Tensor {
    let d = width(x);
    let mut out = empty(&x.size());
    let (x, w, b) = (floats(x), floats(w), b.map(floats));
    parallel_chunks(floats_mut(&mut out), ROWS_PER_TASK * d, |i, out| {
        forward_rows(&x[i * ROWS_PER_TASK * d..][..out.len()], w, b, eps, out)
    });
    out
}

/// The mean (0 for RMSNorm) and the reciprocal deviation of one row.
#[inline(always)]
fn moments(x: &[f32], centre: bool, eps: f32) -> (f32, f32) {
    let d = x.len() as f32;
    if !centre {
        return (0.0, 1.0 / (dot(x, x) / d + eps).sqrt());
    }
    let mean = sum(x) / d;
    let mut lanes = [0.0f32; LANES];
    for (i, x) in x.iter().enumerate() {
        lanes[i % LANES] += (x - mean) * (x - mean);
    }
    (mean, 1.0 / (add_lanes(lanes) / d + eps).sqrt())
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn forward_rows(x: &[f32], w: &[f32], b: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let d = w.len();
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        let (mean, r) = moments(x, b.is_some(), eps);
        for i in 0..d {
            out[i] = (x[i] - mean) * r * w[i];
        }
        if let Some(b) = b {
            for i in 0..d {
                out[i] += b[i];
            }
        }
    }
}

/// `dx`, then `[dw]` or `[dw, db]`. The column sums run over chunks of rows whose bounds depend on nothing but the row's number.
fn backward_all(x: &Tensor, w: &Tensor, g: &Tensor, has_bias: bool, eps: f32) -> (Tensor, Vec<Tensor>) {
    let d = width(x);
    let rows = x.numel() / d.max(1);
    let chunks = rows.div_ceil(ROWS_PER_TASK).max(1);
    let mut dx = empty(&x.size());
    let mut partial = vec![0.0f32; chunks * 2 * d];
    {
        let (x, w, g) = (floats(x), floats(w), floats(g));
        let partials = std::sync::Mutex::new(partial.chunks_exact_mut(2 * d).map(Some).collect::<Vec<_>>());
        parallel_chunks(floats_mut(&mut dx), ROWS_PER_TASK * d, |i, dx| {
            let sums = partials.lock().expect("no task panics while holding it")[i].take().expect("a chunk runs once");
            let at = i * ROWS_PER_TASK * d;
            backward_rows(&x[at..][..dx.len()], w, &g[at..][..dx.len()], has_bias, eps, dx, sums);
        });
    }
    let mut columns = vec![0.0f32; 2 * d];
    for chunk in partial.chunks_exact(2 * d) {
        columns.iter_mut().zip(chunk).for_each(|(c, p)| *c += p);
    }
    let mut grads = vec![Tensor::from_slice(&columns[..d])];
    if has_bias {
        grads.push(Tensor::from_slice(&columns[d..]));
    }
    (dx, grads)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn backward_rows(x: &[f32], w: &[f32], g: &[f32], centre: bool, eps: f32, dx: &mut [f32], sums: &mut [f32]) {
    let d = w.len();
    let (dw, db) = sums.split_at_mut(d);
    let mut normal = vec![0.0f32; d];
    let mut u = vec![0.0f32; d];
    for ((x, g), dx) in x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
        let (mean, r) = moments(x, centre, eps);
        for i in 0..d {
            normal[i] = (x[i] - mean) * r;
            u[i] = g[i] * w[i];
            dw[i] += g[i] * normal[i];
            db[i] += g[i];
        }
        let along = dot(&u, &normal) / d as f32;
        let offset = if centre { sum(&u) / d as f32 } else { 0.0 };
        for i in 0..d {
            dx[i] = r * (u[i] - offset - normal[i] * along);
        }
    }
}
