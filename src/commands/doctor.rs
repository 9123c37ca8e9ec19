//! `temper doctor`: what this machine can do, and what it lacks.

use std::path::Path;

use policy::Precision;
use policy::config::ModelConfig;
use policy::doctor::{BLOCK, place_is_hidden};
use policy::kernels::cuda::left_to_cpu;
use policy::model::product_shapes;
use policy::testing::tiny_config;
use policy::twins::twins;
use toml::Table;
use verifiers::code::{CodeSettings, CodeVerifier};

use crate::cli::DoctorArgs;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{Device, VerifierName};
use crate::run::{audit, device};
use crate::say::tell;
use crate::verifiers_by_name::build_verifier;

/// Prints one line a check.
///
/// # Errors
/// [`Code::Device`] where a kernel on the GPU does not compute what the CPU does, or, where our kernels do not run, a product of the model
/// is not row-invariant, so that exact mode would refuse to start; and [`Code::Data`] where a file of a run is damaged.
pub fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    if let Some(root) = &args.run {
        return of_run(root);
    }
    let device = device::open(args.machine.device.unwrap_or(Device::Auto), args.machine.threads.unwrap_or(0))?;
    tell(format_args!("device     {device:?}, {} threads", tch::get_num_threads()))?;
    match native::cuda::load() {
        Ok(devices) => tell(format_args!("cuda       {devices} devices"))?,
        Err(error) => tell(format_args!("cuda       none ({error})"))?,
    }
    match CodeVerifier::new(CodeSettings::default()) {
        Ok(verifier) => tell(format_args!("sandbox    {}", verifier.isolation()))?,
        Err(error) => tell(format_args!("sandbox    none: {error}"))?,
    }
    build_verifier(VerifierName::Math, &Table::new())?;
    tell("math       ready")?;
    let config = match args.checkpoint.as_deref() {
        Some(folder) => ModelConfig::read(folder).or_fail(Code::Checkpoint)?,
        None => tiny_config(Some(16)),
    };
    if device == tch::Device::Cpu {
        return tell("products   our own: the same bits for any number of rows and threads");
    }
    match native::cuda::usable(device) {
        Ok(()) => kernels(device, &config, args.precision),
        Err(error) => {
            tell(format_args!("kernels    on the CPU: {error}"))?;
            products(device, &config, args.precision)
        }
    }
}

/// Whether the files of a run are what was written.
fn of_run(root: &Path) -> Result<(), Failure> {
    let found = audit::audit(root)?;
    tell(format_args!("sound      {} files of the log and of states, and checkpoints", found.sound))?;
    for damage in &found.damaged {
        tell(format_args!("damaged    {damage}"))?;
    }
    match found.damaged.len() {
        0 => Ok(()),
        n => Err(Failure::new(Code::Data, format!("{n} files or checkpoints of {} are damaged", root.display()))
            .hint("restore them from a copy; docs/reliability.md says what `temper resume` makes anew")),
    }
}

/// Rows of the comparison.
const ROWS: i64 = 300;

/// Whether our kernels on the GPU give the CPU's bits, and how long they take (INV-2).
fn kernels(device: tch::Device, config: &ModelConfig, precision: Precision) -> Result<(), Failure> {
    let mut wrong = 0;
    for twin in twins(config, precision, ROWS) {
        let found = twin.compare(device);
        let right = if twin.same_bits { found.same } else { found.apart < NEAR };
        let words = match (found.same, right) {
            (true, _) => "the CPU's bits".to_owned(),
            (false, true) => format!("near the CPU's ({:.1e})", found.apart),
            (false, false) => format!("DIFFERS from the CPU's ({:.1e})", found.apart),
        };
        let time = found.time.as_secs_f64() * 1e6;
        tell(format_args!("kernel     {:<44} {words}, {time:.0} us forward and backward", twin.name))?;
        wrong += usize::from(!right);
    }
    if let Some(slow) = left_to_cpu(config, device) {
        tell(format_args!("note       {slow}"))?;
    }
    match wrong {
        0 => Ok(()),
        n => Err(Failure::new(Code::Device, format!("{n} kernels on {device:?} do not compute what the CPU does"))),
    }
}

/// How far results that the tensor cores round may be from the CPU's, as a share of the largest: two units in bf16's last place.
const NEAR: f64 = 1.0 / 64.0;

/// Whether a row's place in a block shows in a product of the device's library (INV-2).
fn products(device: tch::Device, config: &ModelConfig, precision: Precision) -> Result<(), Failure> {
    let mut unsafe_shapes = 0;
    for shape in product_shapes(config) {
        let hidden = place_is_hidden(device, shape.kind(precision), shape);
        let words = if hidden { "a row's place does not show" } else { "a row's place SHOWS in its bits" };
        let kind = if shape.precise { Precision::F32 } else { precision };
        tell(format_args!(
            "product    {} x [{BLOCK}, {}] x [{}, {}], {kind}: {words}",
            shape.batch, shape.k, shape.k, shape.n
        ))?;
        unsafe_shapes += usize::from(!hidden);
    }
    match unsafe_shapes {
        0 => Ok(()),
        n => Err(Failure::new(Code::Device, format!("{n} products are not row-invariant on {device:?}"))),
    }
}
