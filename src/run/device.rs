//! The device that a run computes on.

use policy::Compute;
use tch::Device;

use crate::exit::{Code, Failure};
use crate::recipe::{self, RunSettings};

/// Finds the device and sets the number of threads (0: one a core).
///
/// # Errors
/// [`Code::Device`] where a GPU was asked for and cannot be used.
pub fn open(device: recipe::Device, threads: usize) -> Result<Device, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tch::set_num_threads(if threads == 0 { cores } else { threads } as i32);
    find(device)
}

/// Opens the device of a run, and says in which numbers it computes there.
///
/// # Errors
/// As [`open`].
pub fn compute(settings: &RunSettings) -> Result<Compute, Failure> {
    let device = open(settings.device, settings.threads)?;
    let RunSettings { precision, recompute, exact, .. } = *settings;
    Ok(Compute { device, precision, recompute, exact })
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
