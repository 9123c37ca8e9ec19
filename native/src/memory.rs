//! What tensors hold, and what happens where C++ finds no memory.

use std::ffi::c_int;

use tch::Device;

unsafe extern "C" {
    fn temper_count_tensors();
    fn temper_held(gpu: c_int, now: *mut i64, most: *mut i64) -> c_int;
    fn temper_forget_most(gpu: c_int) -> c_int;
    fn temper_on_out_of_memory(handler: extern "C" fn());
}

/// Has `handler` called where C++'s `new` finds no memory. It must end the process: were it to return, `new` would call it again.
///
/// Without one `new` throws, and what it throws on a thread of libtorch's own ends the process with an abort.
pub fn on_out_of_memory(handler: extern "C" fn()) {
    // SAFETY: the handler is a function, which lives as long as the program, and it cannot unwind.
    unsafe { temper_on_out_of_memory(handler) };
}

/// Bytes of tensors on a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Now.
    pub now: u64,
    /// At most, since [`forget_most`].
    pub most: u64,
}

/// Has the CPU's tensors counted that are made from now on. To be called while one thread alone makes tensors. Those of a GPU are counted by
/// libtorch.
pub fn count_tensors() {
    // SAFETY: the allocator that is put in place lives as long as the program, and hands every call on to the one before.
    unsafe { temper_count_tensors() };
}

/// What tensors hold on `device`; nothing where they are not counted, or where there is no such device.
pub fn held(device: Device) -> Held {
    let (mut now, mut most) = (0, 0);
    // SAFETY: the call writes to the two numbers alone.
    let failed = unsafe { temper_held(number(device), &raw mut now, &raw mut most) } != 0;
    let bytes = |n: i64| u64::try_from(n).unwrap_or(0);
    if failed { Held::default() } else { Held { now: bytes(now), most: bytes(most) } }
}

/// Begins anew to look for the most that tensors hold on `device`.
pub fn forget_most(device: Device) {
    // SAFETY: the call touches counters alone. Where there is no such device there are none.
    let _ = unsafe { temper_forget_most(number(device)) };
}

fn number(device: Device) -> c_int {
    match device {
        Device::Cuda(number) => number as c_int,
        _ => -1,
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    /// Other tests of this binary make tensors too, none so large.
    const LARGE: i64 = 1 << 24;

    #[test]
    fn tensors_are_counted_while_they_live_and_their_most_is_kept() {
        let ones = |n: i64| Tensor::ones([n], (Kind::Float, Device::Cpu));
        let before = ones(LARGE);
        count_tensors();
        count_tensors();
        forget_most(Device::Cpu);
        drop(before);
        let empty = held(Device::Cpu);
        assert!(empty.now < LARGE as u64, "what was made before is not counted: {empty:?}");
        let one = ones(LARGE);
        let two = &one + 1.0;
        let both = held(Device::Cpu);
        let bytes = 4 * LARGE as u64;
        assert!((2 * bytes..2 * bytes + bytes / 4).contains(&(both.now - empty.now)), "{empty:?} {both:?}");
        drop(two);
        let left = held(Device::Cpu);
        assert!(left.most >= both.now && left.now < both.now - bytes / 2, "{both:?} {left:?}");
        forget_most(Device::Cpu);
        assert!(held(Device::Cpu).most < both.now);
        drop(one);
        assert_eq!(held(Device::Cuda(7)), Held::default(), "there is no such device");
    }
}
