//! A parallel loop on libtorch's own OpenMP threads.
//!
//! A pool of our own would spin against libtorch's on a small machine. The number of threads is `tch::set_num_threads`'s. Which
//! thread runs a task is not fixed, so a task must write only what belongs to it: then the result does not depend on the number of
//! threads (INV-7).

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

unsafe extern "C" {
    fn temper_parallel_for(n_tasks: i64, closure: *mut c_void, task: extern "C" fn(*mut c_void, i64));
}

type PanicPayload = Box<dyn std::any::Any + Send>;

struct Call<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<PanicPayload>>,
}

extern "C" fn run_task(call: *mut c_void, task: i64) {
    // SAFETY: `parallel_for` passes a `Call` that outlives the loop, and only shares it.
    let call = unsafe { &*call.cast::<Call<'_>>() };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (call.body)(task as usize))) {
        let mut slot = call.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        slot.get_or_insert(panic);
    }
}

/// Runs `body(0) … body(n_tasks - 1)`, in any order and at once. Nested calls run in the caller's thread.
///
/// # Panics
/// With the first panic of a task, after all tasks ended.
pub fn parallel_for(n_tasks: usize, body: impl Fn(usize) + Sync) {
    let call = Call { body: &body, panic: Mutex::new(None) };
    // SAFETY: `call` outlives the loop, which returns only when every task did; `run_task` never unwinds.
    unsafe { temper_parallel_for(n_tasks as i64, std::ptr::from_ref(&call).cast_mut().cast(), run_task) };
    if let Some(panic) = call.panic.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        resume_unwind(panic);
    }
}

/// Splits `out` into chunks of `chunk` elements and runs `body(i, chunk_i)` for each, in parallel.
///
/// # Panics
/// If `chunk` is 0; and as [`parallel_for`].
pub fn parallel_chunks<T: Send>(out: &mut [T], chunk: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    assert!(chunk > 0, "a chunk must hold something");
    let (length, base) = (out.len(), Base(out.as_mut_ptr()));
    parallel_for(length.div_ceil(chunk), |i| {
        let start = i * chunk;
        // SAFETY: the ranges of different tasks do not overlap and lie inside `out`, which is borrowed mutably for the call.
        let part = unsafe { std::slice::from_raw_parts_mut(base.get().add(start), chunk.min(length - start)) };
        body(i, part);
    });
}

struct Base<T>(*mut T);

impl<T> Base<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: the pointer is only used for disjoint parts, each by one task.
unsafe impl<T: Send> Sync for Base<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        let mut out = vec![0u32; 1001];
        parallel_chunks(&mut out, 10, |i, part| part.iter_mut().for_each(|x| *x += i as u32 + 1));
        assert!(out.iter().enumerate().all(|(i, &x)| x == i as u32 / 10 + 1));
    }

    #[test]
    fn inv_10_a_panic_crosses_the_loop_as_a_panic() {
        let result = catch_unwind(|| parallel_for(8, |i| assert!(i != 3, "task three")));
        assert!(result.is_err());
    }
}
