//! `temper doctor`: what this machine can do, and what it lacks.

use std::path::Path;

use policy::Precision;
use policy::config::ModelConfig;
use policy::doctor::{BLOCK, place_is_hidden};
use policy::model::product_shapes;
use policy::testing::tiny_config;
use toml::Table;
use verifiers::code::{CodeSettings, CodeVerifier};

use crate::cli::DoctorArgs;
use crate::exit::{Code, Failure, OrFail};
use crate::recipe::{Device, VerifierName};
use crate::run::device;
use crate::say::tell;
use crate::verifiers_by_name::build_verifier;

/// Prints one line a check.
///
/// # Errors
/// [`Code::Device`] where a product of the model is not row-invariant, so that exact mode would refuse to start.
pub fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
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
    products(device, args.precision, args.checkpoint.as_deref())
}

/// Whether a row's place in a block shows in a product of the device's library (INV-2).
fn products(device: tch::Device, precision: Precision, checkpoint: Option<&Path>) -> Result<(), Failure> {
    let config = match checkpoint {
        Some(folder) => ModelConfig::read(folder).or_fail(Code::Checkpoint)?,
        None => tiny_config(Some(16)),
    };
    if device == tch::Device::Cpu {
        return tell("products   our own: the same bits for any number of rows and threads");
    }
    let mut unsafe_shapes = 0;
    for shape in product_shapes(&config) {
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
