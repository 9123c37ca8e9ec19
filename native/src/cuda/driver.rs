//! A GPU through its driver: libtorch's context on it, modules and functions of ours, launches.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Mutex, OnceLock};

use cudarc::driver::result::{DriverError, ctx, function, launch_kernel, module, primary_ctx};
use cudarc::driver::{result, sys};
use sys::CUdevice_attribute_enum as Attribute;
use sys::CUfunction_attribute_enum as FunctionAttribute;

use super::launch::{Grid, Source};
use super::{CudaError, nvrtc};

/// GPUs that one process may use.
const MOST_GPUS: usize = 64;

/// A GPU on which kernels can run.
pub(super) struct Gpu {
    context: sys::CUcontext,
    architecture: String,
    pub(super) processors: usize,
    /// Bytes that a block may have, static and dynamic together.
    pub(super) shared: i32,
    functions: Mutex<HashMap<(&'static str, &'static str), Function>>,
}

#[derive(Clone, Copy)]
struct Function(sys::CUfunction);

// SAFETY: contexts and functions are handles that the driver lets any thread use.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Send for Gpu {}
// SAFETY: as above; what changes is behind a mutex.
unsafe impl Sync for Gpu {}

fn failed(what: &'static str) -> impl Fn(DriverError) -> CudaError {
    move |error| CudaError::Driver { what, reason: error.to_string() }
}

/// The GPU of this number, opened once.
pub(super) fn gpu(ordinal: usize) -> Result<&'static Gpu, &'static CudaError> {
    static GPUS: [OnceLock<Result<Gpu, CudaError>>; MOST_GPUS] = [const { OnceLock::new() }; MOST_GPUS];
    GPUS[ordinal].get_or_init(|| Gpu::open(ordinal)).as_ref()
}

impl Gpu {
    fn open(ordinal: usize) -> Result<Self, CudaError> {
        super::load()?;
        nvrtc::find()?;
        // SAFETY: it opens the library by its usual names.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::Driver { what: "libcuda.so", reason: "it could not be loaded".into() });
        }
        result::init().map_err(failed("starting the driver"))?;
        let device = result::device::get(ordinal as i32).map_err(failed("opening the device"))?;
        // SAFETY: the device exists.
        let ask = |attribute| unsafe { result::device::get_attribute(device, attribute) };
        let (major, minor, processors, shared) = (|| {
            Ok((
                ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
                ask(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
                ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            ))
        })()
        .map_err(failed("asking what the device is"))?;
        // SAFETY: the device exists; the context, which libtorch uses too, is kept to the end of the process.
        let context = unsafe { primary_ctx::retain(device) }.map_err(failed("opening the device's context"))?;
        let architecture = format!("sm_{major}{minor}");
        Ok(Self { context, architecture, processors: processors as usize, shared, functions: Mutex::default() })
    }

    /// The kernel, whose source is compiled and loaded with the first one that is asked for.
    fn function(&self, source: &'static Source, kernel: &'static str) -> Result<Function, CudaError> {
        let mut functions = self.functions.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(&function) = functions.get(&(source.name, kernel)) {
            return Ok(function);
        }
        let code = nvrtc::compiled(source, &self.architecture)?;
        // SAFETY: `code` is a whole module; it is never unloaded, so its functions live on.
        let module = unsafe { module::load_data(code.as_ptr().cast()) }.map_err(failed("loading a module"))?;
        for kernel in exports(source.text) {
            let name = CString::new(kernel).expect("a name holds no NUL");
            // SAFETY: the module is loaded.
            let found = unsafe { module::get_function(module, name) }.map_err(failed("finding a kernel"))?;
            self.allow_shared(found)?;
            functions.insert((source.name, kernel), Function(found));
        }
        let function = functions.get(&(source.name, kernel)).copied();
        Ok(function.unwrap_or_else(|| panic!("{} exports no {kernel}", source.name)))
    }

    /// Lets a kernel have all the shared memory that there is.
    fn allow_shared(&self, found: sys::CUfunction) -> Result<(), CudaError> {
        let own = FunctionAttribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        let most = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function was found in a loaded module.
        unsafe {
            let own = function::get_function_attribute(found, own).map_err(failed("asking a kernel's size"))?;
            function::set_function_attribute(found, most, self.shared - own).map_err(failed("giving shared memory"))
        }
    }
}

/// The kernels that a source exports.
fn exports(text: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    text.iter().flat_map(|part| part.lines()).filter_map(|line| line.strip_prefix("EXPORT(")?.strip_suffix(')'))
}

/// Puts a kernel on the default stream, which is libtorch's current one.
pub(super) fn launch(
    ordinal: usize,
    source: &'static Source,
    kernel: &'static str,
    grid: Grid,
    args: &mut [*mut c_void],
) {
    let gpu = gpu(ordinal).unwrap_or_else(|error| panic!("{error}"));
    let launched = in_context(gpu.context, || {
        let function = gpu.function(source, kernel)?;
        let [x, y, z] = grid.blocks.map(|n| u32::try_from(n).expect("a grid's size fits"));
        let (threads, shared) = ((grid.threads as u32, 1, 1), grid.shared as u32);
        // SAFETY: `args` point to live words, one a parameter; what they mean is the caller's promise.
        unsafe { launch_kernel(function.0, (x, y, z), threads, shared, std::ptr::null_mut(), args) }
            .map_err(failed("launching a kernel"))
    });
    launched.unwrap_or_else(|error| panic!("{kernel} of {}: {error}", source.name));
}

/// Runs `body` with the context current on this thread, and puts back what was.
fn in_context<T>(context: sys::CUcontext, body: impl FnOnce() -> Result<T, CudaError>) -> Result<T, CudaError> {
    let what = "switching contexts";
    let before = ctx::get_current().map_err(failed(what))?;
    if before == Some(context) {
        return body();
    }
    // SAFETY: both contexts are live to the end of the process.
    unsafe { ctx::set_current(context) }.map_err(failed(what))?;
    let result = body();
    if let Some(before) = before {
        // SAFETY: as above.
        unsafe { ctx::set_current(before) }.map_err(failed(what))?;
    }
    result
}
