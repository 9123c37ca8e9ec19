//! Rows to their experts and back.
//!
//! [`dispatch`] lays out the rows of `x` expert by expert, each row once for each of its `k` experts: `y_p = x_row(p)`. [`combine`] adds
//! up what came of them: `o_r = Σ_j w_rj y_place(r, j)`, over the row's experts in ascending order, so that the bits of a row do not
//! depend on the batch (INV-2).
//!
//! Backward: of [`dispatch`], `dx_r = Σ_j g_place(r, j)`; of [`combine`], `dy_place(r, j) = w_rj g_r` and `dw_rj = g_r · y_place(r, j)`.
//! Every place belongs to one row, so each is written once.

use std::sync::{Arc, Mutex};

use multiversion::multiversion;
use native::{custom_op, parallel_chunks, wants_grad};
use tch::{Device, Kind, Tensor};

use super::cuda::experts::Places;
use super::cuda::on_gpu;
use super::math::{add_scaled, dot};
use super::{ROWS_PER_TASK, away, empty, floats, floats_mut, plain, to_cpu, width};

/// Which row lies where, when rows are laid out expert by expert.
#[derive(Debug, Clone)]
pub struct Plan {
    k: usize,
    /// For each place its row.
    row: Arc<Vec<u32>>,
    /// For each row and each of its experts, the place.
    place: Arc<Vec<u32>>,
    used: Vec<usize>,
    sizes: Vec<i64>,
    on_gpu: Uploaded,
}

/// The lists on a GPU, once they were asked for.
#[derive(Debug, Clone, Default)]
struct Uploaded(Arc<Mutex<Option<Places>>>);

impl Plan {
    /// The lists on the device.
    fn places(&self, device: Device) -> Places {
        let mut places = self.on_gpu.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        places.get_or_insert_with(|| Places::new(&self.row, &self.place, self.k, device)).shallow_clone()
    }

    /// The plan of a choice of `k` experts a row, out of `count`. Within an expert rows keep their order.
    ///
    /// # Panics
    /// If an expert does not exist: a caller's bug.
    pub fn new(chosen: &[i32], k: usize, count: usize) -> Self {
        let mut starts = vec![0u32; count + 1];
        chosen.iter().for_each(|&e| starts[e as usize + 1] += 1);
        let sizes: Vec<i64> = starts[1..].iter().map(|&n| i64::from(n)).collect();
        for e in 0..count {
            starts[e + 1] += starts[e];
        }
        let mut row = vec![0u32; chosen.len()];
        let mut place = vec![0u32; chosen.len()];
        for (i, &e) in chosen.iter().enumerate() {
            let at = &mut starts[e as usize];
            (row[*at as usize], place[i]) = ((i / k) as u32, *at);
            *at += 1;
        }
        let used = (0..count).filter(|&e| sizes[e] > 0).collect();
        let sizes = sizes.into_iter().filter(|&n| n > 0).collect();
        Self { k, row: Arc::new(row), place: Arc::new(place), used, sizes, on_gpu: Uploaded::default() }
    }

    /// The experts that have rows, ascending.
    pub fn used(&self) -> impl Iterator<Item = usize> + '_ {
        self.used.iter().copied()
    }

    /// How many rows each expert has.
    pub fn load(&self, count: usize) -> Vec<u64> {
        let mut load = vec![0; count];
        self.used.iter().zip(&self.sizes).for_each(|(&expert, &rows)| load[expert] = rows as u64);
        load
    }

    /// How many rows each of [`Plan::used`] has.
    pub fn sizes(&self) -> &[i64] {
        &self.sizes
    }
}

/// `x [rows, d]` to `[rows · k, d]`, expert by expert.
pub fn dispatch(x: &Tensor, plan: &Plan) -> Tensor {
    if x.kind() != Kind::Float {
        return x.index_select(0, &indices(&plan.row, x.device()));
    }
    if away(x) {
        return dispatch(&to_cpu(x), plan).to_device(x.device());
    }
    if on_gpu(x) {
        let places = plan.places(x.device());
        let out = places.dispatch(&plain(x));
        let backward = move |grads: &[Option<Tensor>]| vec![grads[0].as_ref().map(|g| places.add(&plain(g), None))];
        return custom_op(&[x], vec![out], backward).pop().expect("one output");
    }
    let d = width(x);
    let mut out = empty(&[plan.row.len() as i64, d as i64]);
    {
        let x_plain = plain(x);
        let x = floats(&x_plain);
        parallel_chunks(floats_mut(&mut out), ROWS_PER_TASK * d, |task, out| {
            for (i, out) in out.chunks_exact_mut(d).enumerate() {
                let row = plan.row[task * ROWS_PER_TASK + i] as usize;
                out.copy_from_slice(&x[row * d..][..d]);
            }
        });
    }
    let (place, k) = (Arc::clone(&plan.place), plan.k);
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None] };
        let ones = vec![1.0f32; place.len()];
        vec![Some(add_places(&plain(g), &ones, &place, k))]
    };
    custom_op(&[x], vec![out], backward).pop().expect("one output")
}

/// `y [rows · k, d]`, laid out by `plan`, and `weights [rows, k]` to `[rows, d]`.
pub fn combine(y: &Tensor, weights: &Tensor, plan: &Plan) -> Tensor {
    if y.kind() != Kind::Float {
        let places = y.index_select(0, &indices(&plan.place, y.device()));
        let places = places.view([-1, plan.k as i64, width(y) as i64]);
        return (places * weights.unsqueeze(-1)).sum_dim_intlist([1i64].as_slice(), false, y.kind());
    }
    if away(y) {
        return combine(&to_cpu(y), &to_cpu(weights), plan).to_device(y.device());
    }
    let (y_plain, w_plain) = (plain(y), plain(weights));
    let places = on_gpu(y).then(|| plan.places(y.device()));
    let out = match &places {
        Some(places) => places.add(&y_plain, Some(&w_plain)),
        None => add_places(&y_plain, floats(&w_plain), &plan.place, plan.k),
    };
    if !wants_grad(&[y, weights]) {
        return out;
    }
    let plan = plan.clone();
    let backward = move |grads: &[Option<Tensor>]| {
        let Some(g) = &grads[0] else { return vec![None, None] };
        let (dy, dw) = match &places {
            Some(places) => places.backward(&plain(g), &y_plain, &w_plain),
            None => combine_backward(&plain(g), &y_plain, &w_plain, &plan),
        };
        vec![Some(dy), Some(dw)]
    };
    custom_op(&[y, weights], vec![out], backward).pop().expect("one output")
}

/// `Σ_j w_rj y_place(r, j)` for each row.
fn add_places(y: &Tensor, weights: &[f32], place: &[u32], k: usize) -> Tensor {
    let d = width(y);
    let mut out = empty(&[(place.len() / k) as i64, d as i64]);
    let y = floats(y);
    parallel_chunks(floats_mut(&mut out), ROWS_PER_TASK * d, |task, out| {
        for (i, out) in out.chunks_exact_mut(d).enumerate() {
            let at = (task * ROWS_PER_TASK + i) * k;
            add_row(y, &weights[at..][..k], &place[at..][..k], out);
        }
    });
    out
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn add_row(y: &[f32], weights: &[f32], place: &[u32], out: &mut [f32]) {
    let d = out.len();
    out.fill(0.0);
    for (&w, &p) in weights.iter().zip(place) {
        add_scaled(out, w, &y[p as usize * d..][..d]);
    }
}

fn combine_backward(g: &Tensor, y: &Tensor, weights: &Tensor, plan: &Plan) -> (Tensor, Tensor) {
    let (d, k) = (width(y), plan.k);
    let (mut dy, mut dw) = (empty(&y.size()), empty(&weights.size()));
    let (g, y, weights) = (floats(g), floats(y), floats(weights));
    parallel_chunks(floats_mut(&mut dw), ROWS_PER_TASK * k, |task, dw| {
        for (i, dw) in dw.iter_mut().enumerate() {
            let at = task * ROWS_PER_TASK * k + i;
            *dw = dot_of(&g[at / k * d..][..d], &y[plan.place[at] as usize * d..][..d]);
        }
    });
    // Which of its row's experts a place is.
    let mut slot = vec![0u32; plan.place.len()];
    plan.place.iter().enumerate().for_each(|(at, &place)| slot[place as usize] = at as u32);
    parallel_chunks(floats_mut(&mut dy), ROWS_PER_TASK * d, |task, dy| {
        for (i, dy) in dy.chunks_exact_mut(d).enumerate() {
            let at = slot[task * ROWS_PER_TASK + i] as usize;
            let g = &g[at / k * d..][..d];
            dy.iter_mut().zip(g).for_each(|(dy, g)| *dy = weights[at] * g);
        }
    });
    (dy, dw)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn dot_of(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b)
}

fn indices(of: &[u32], device: Device) -> Tensor {
    Tensor::from_slice(&of.iter().map(|&i| i64::from(i)).collect::<Vec<_>>()).to_device(device)
}
