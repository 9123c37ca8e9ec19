//! The device that a run computes on.

use std::io;
use std::sync::Mutex;
use std::thread;

use policy::Compute;
use tch::Device;

use crate::exit::{Code, Failure};
use crate::recipe::{self, RunSettings};

/// The stack that libgomp gives its threads, where `ulimit -s` is what it mostly is.
const STACK: usize = 8 << 20;

/// Finds the device and sets the number of threads (0: one a core).
///
/// # Errors
/// [`Code::Device`] where a GPU was asked for and cannot be used, [`Code::Memory`] where there is no room for the threads.
pub fn open(device: recipe::Device, threads: usize) -> Result<Device, Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = if threads == 0 { cores } else { threads };
    // Asked before libtorch is: where it cannot start a thread it waits for ever, or ends the process.
    try_threads(threads).map_err(|error| {
        Failure::new(Code::Memory, format!("{threads} threads cannot be started: {error}")).hint(
            "ask for fewer with --threads, or raise the limits of memory and processes (`ulimit -v`, `ulimit -u`)",
        )
    })?;
    tch::set_num_threads(threads as i32);
    find(device)
}

/// Starts so many threads at once and ends them again.
fn try_threads(threads: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let _closed = gate.lock();
        let start = |_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || drop(gate.lock())).map(drop);
        (0..threads).try_for_each(start)
    })
}

/// Opens the device of a run, and says in which numbers it computes there.
///
/// # Errors
/// As [`open`].
pub fn compute(settings: &RunSettings) -> Result<Compute, Failure> {
    let device = open(settings.device, settings.threads)?;
    let RunSettings { precision, recompute, exact, .. } = *settings;
    let context = (settings.context > 0).then_some(settings.context as i64);
    Ok(Compute { device, precision, recompute, exact, context })
}

/// Finds a device.
///
/// # Errors
/// As [`open`].
pub fn find(device: recipe::Device) -> Result<Device, Failure> {
    let no_gpu = |reason: String| {
        Failure::new(Code::Device, reason)
            .hint("set TEMPER_LIBTORCH to a PyTorch 2.11 installation with CUDA and run scripts/setup again, or use --device cpu")
    };
    match device {
        recipe::Device::Cpu => Ok(Device::Cpu),
        recipe::Device::Auto => Ok(native::cuda::load().map_or(Device::Cpu, |_| Device::Cuda(0))),
        recipe::Device::Cuda(index) => {
            let devices = native::cuda::load().map_err(|e| no_gpu(e.to_string()))?;
            if index as i64 >= devices {
                return Err(no_gpu(format!("there is no cuda:{index}; libtorch sees {devices} GPUs")));
            }
            Ok(Device::Cuda(index))
        }
    }
}
