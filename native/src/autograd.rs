//! An autograd node whose backward is a Rust closure.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;
use torch_sys::C_tensor;

/// A failure on the C++ side.
#[derive(Debug, thiserror::Error)]
#[error("libtorch: {0}")]
pub struct NativeError(String);

type Backward = Box<dyn FnOnce(&[Option<Tensor>]) -> Vec<Option<Tensor>> + Send>;

unsafe extern "C" {
    fn temper_last_error() -> *const c_char;
    fn temper_set_error(text: *const u8, length: usize);
    fn temper_version(tensor: *mut C_tensor) -> u64;
    fn temper_wants_grad(inputs: *const *mut C_tensor, n_inputs: c_int) -> c_int;
    fn temper_attach(
        inputs: *const *mut C_tensor,
        n_inputs: c_int,
        outputs: *const *mut C_tensor,
        n_outputs: c_int,
        closure: *mut c_void,
        backward: extern "C" fn(*mut c_void, *const *mut C_tensor, c_int, *mut *mut C_tensor, c_int) -> c_int,
        drop: extern "C" fn(*mut c_void),
        attached: *mut *mut C_tensor,
    ) -> c_int;
}

fn pointers(tensors: &[&Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(|t| t.as_ptr().cast_mut()).collect()
}

/// True when a gradient could be asked for: grad mode is on and one of `inputs` requires one. A kernel that keeps tensors for its
/// backward asks this first.
pub fn wants_grad(inputs: &[&Tensor]) -> bool {
    let pointers = pointers(inputs);
    // SAFETY: the pointers are live tensors for the length of the call, and the C side only reads them.
    unsafe { temper_wants_grad(pointers.as_ptr(), pointers.len() as c_int) != 0 }
}

/// The tensor's version: it moves with every in-place change of the tensor, of its views and of its detached handles.
pub fn version(tensor: &Tensor) -> u64 {
    // SAFETY: the pointer is a live tensor for the length of the call, and the C side only reads it.
    unsafe { temper_version(tensor.as_ptr().cast_mut()) }
}

/// Gives `outputs`, computed without grad from `inputs`, a history whose backward is `backward`.
///
/// `backward` gets one gradient an output (`None` where none flowed) and returns one an input (`None` for zero). It runs at most
/// once. Where no gradient can be asked for, `outputs` come back as they are and `backward` is dropped at once.
///
/// # Panics
/// If libtorch refuses the node: a caller's bug, such as an integer output.
pub fn custom_op(
    inputs: &[&Tensor],
    outputs: Vec<Tensor>,
    backward: impl FnOnce(&[Option<Tensor>]) -> Vec<Option<Tensor>> + Send + 'static,
) -> Vec<Tensor> {
    if !wants_grad(inputs) {
        return outputs;
    }
    let closure: Box<Backward> = Box::new(Box::new(backward));
    let inputs = pointers(inputs);
    let output_pointers = pointers(&outputs.iter().collect::<Vec<_>>());
    let mut attached = vec![std::ptr::null_mut(); outputs.len()];
    // SAFETY: all pointers are live for the call. The closure is leaked into the node, which gives it back exactly once: to
    // `run_backward` or to `drop_closure`. On failure the C side has destroyed the node, and the closure with it.
    let failed = unsafe {
        temper_attach(
            inputs.as_ptr(),
            inputs.len() as c_int,
            output_pointers.as_ptr(),
            output_pointers.len() as c_int,
            Box::into_raw(closure).cast(),
            run_backward,
            drop_closure,
            attached.as_mut_ptr(),
        )
    };
    assert!(failed == 0, "{}", last_error());
    // SAFETY: the C side allocated each tensor with `new`, and this takes the only pointer to it.
    attached.into_iter().map(|t| unsafe { Tensor::from_ptr(t) }).collect()
}

fn last_error() -> NativeError {
    // SAFETY: the C side returns a NUL-terminated string that lives until the next call on this thread.
    NativeError(unsafe { CStr::from_ptr(temper_last_error()) }.to_string_lossy().into_owned())
}

extern "C" fn drop_closure(closure: *mut c_void) {
    // SAFETY: the node hands over the pointer that `custom_op` leaked, once.
    let closure = unsafe { Box::from_raw(closure.cast::<Backward>()) };
    // A panic in a destructor has nowhere to go but across the boundary.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(closure)));
}

extern "C" fn run_backward(
    closure: *mut c_void,
    grads: *const *mut C_tensor,
    n_grads: c_int,
    out: *mut *mut C_tensor,
    n_out: c_int,
) -> c_int {
    // SAFETY: as in `drop_closure`.
    let closure = unsafe { Box::from_raw(closure.cast::<Backward>()) };
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the node passes `n_grads` pointers, null or live for this call; cloning takes a reference of our own.
        let grads: Vec<Option<Tensor>> = (0..n_grads as usize)
            .map(|i| unsafe { *grads.add(i) })
            .map(|p| (!p.is_null()).then(|| unsafe { Tensor::clone_from_ptr(p) }))
            .collect();
        // A guard and not `tch::no_grad`, which would leave the thread without gradients after a panic.
        let _guard = tch::no_grad_guard();
        let inputs = closure(&grads);
        assert_eq!(inputs.len(), n_out as usize, "a backward must return one gradient for each input");
        inputs
    }));
    match result {
        Ok(inputs) => {
            for (i, grad) in inputs.into_iter().enumerate().filter_map(|(i, g)| g.map(|g| (i, g))) {
                let mut grad = std::mem::ManuallyDrop::new(grad);
                // SAFETY: `out` has `n_out` slots; the C side takes the tensor over and deletes it, and Rust never drops it.
                unsafe { *out.add(i) = grad.as_mut_ptr() };
            }
            0
        }
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a backward closure panicked");
            // SAFETY: the C side copies `length` bytes.
            unsafe { temper_set_error(text.as_ptr(), text.len()) };
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    fn square(x: &Tensor) -> Tensor {
        let out = tch::no_grad(|| x * x);
        let saved = x.detach();
        custom_op(&[x], vec![out], move |grads| vec![grads[0].as_ref().map(|g| g * &saved * 2.0)])
            .pop()
            .expect("one output")
    }

    #[test]
    fn gradient_flows_through_a_rust_closure() {
        let x = Tensor::from_slice(&[1.0f32, -2.0, 3.0]).set_requires_grad(true);
        let y = square(&square(&x)).sum(Kind::Float);
        y.backward();
        assert_eq!(Vec::<f32>::try_from(x.grad()).expect("a vector"), [4.0, -32.0, 108.0]);
    }

    #[test]
    fn without_grad_nothing_is_attached() {
        let x = Tensor::from_slice(&[1.0f32]).set_requires_grad(true);
        assert!(!tch::no_grad(|| square(&x)).requires_grad());
        assert!(!square(&x.detach()).requires_grad());
    }

    #[test]
    fn an_input_changed_in_place_before_the_backward_is_refused() {
        let x = Tensor::from_slice(&[1.0f32, -2.0]).set_requires_grad(true);
        let mut middle = &x * 2.0;
        let y = square(&middle).sum(Kind::Float);
        tch::no_grad(|| middle += 1.0);
        let error = y.f_backward().expect_err("its backward would read other numbers");
        assert!(error.to_string().contains("changed in place"), "{error}");
    }

    #[test]
    fn inv_10_a_panic_in_a_backward_becomes_an_error() {
        let x = Tensor::from_slice(&[1.0f32]).set_requires_grad(true);
        let y = custom_op(&[&x], vec![x.detach()], |_| panic!("broken on purpose")).pop().expect("one output");
        let error = y.sum(Kind::Float).f_backward().expect_err("the panic must surface as an error");
        assert!(error.to_string().contains("broken on purpose"), "{error}");
        let x = Tensor::from_slice(&[1.0f32]).set_requires_grad(true);
        assert!((&x * 2.0).requires_grad(), "the thread still has gradients");
    }
}
