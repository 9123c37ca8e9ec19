//! What happens where C++ finds no memory.

unsafe extern "C" {
    fn temper_on_out_of_memory(handler: extern "C" fn());
}

/// Has `handler` called where C++'s `new` finds no memory. It must end the process: were it to return, `new` would call it again.
///
/// Without one `new` throws, and what it throws on a thread of libtorch's own ends the process with an abort.
pub fn on_out_of_memory(handler: extern "C" fn()) {
    // SAFETY: the handler is a function, which lives as long as the program, and it cannot unwind.
    unsafe { temper_on_out_of_memory(handler) };
}
