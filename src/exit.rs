//! Exit codes, and the failures that end the program. `docs/exit-codes.md` lists the codes for users.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::memory::{self, is_out_of_memory};
use crate::recipe::RecipeError;
use crate::say;

/// What the process answers its caller with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// All was done.
    Ok = 0,
    /// `temper explain` found other numbers than were logged.
    Differs = 1,
    /// The command line or the recipe is wrong. Nothing was started.
    Usage = 2,
    /// Data cannot be read or is malformed: a file, a row, a field, a prompt longer than the context.
    Data = 3,
    /// A checkpoint is missing, cut, or does not fit its config.
    Checkpoint = 4,
    /// A verifier cannot be set up, or too many of its verdicts are errors.
    Verifier = 5,
    /// A loss or a gradient is not finite. The step was not applied.
    Numeric = 6,
    /// The run's folder exists already, is in use by another process, or holds no run.
    RunFolder = 7,
    /// The disk is full or refuses to be written.
    Disk = 8,
    /// The device is missing or cannot do what the run needs, bit-for-bit exactness included.
    Device = 9,
    /// Something did not come by its deadline. The run's folder holds a dump of who waited for what.
    Stalled = 10,
    /// There is not enough memory. What was saved is intact.
    Memory = 11,
    /// A fault of Temper's own.
    Internal = 70,
    /// Stopped by Ctrl-C or SIGTERM. All is saved, and `temper resume` goes on.
    Interrupted = 75,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 14] = [
        Self::Ok,
        Self::Differs,
        Self::Usage,
        Self::Data,
        Self::Checkpoint,
        Self::Verifier,
        Self::Numeric,
        Self::RunFolder,
        Self::Disk,
        Self::Device,
        Self::Stalled,
        Self::Memory,
        Self::Internal,
        Self::Interrupted,
    ];
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why the program ends without having done what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What went wrong, where, with its causes.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure in words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// A failure from an error and its chain of causes. A full or read-only disk anywhere in the chain decides the
    /// code, and so does memory that libtorch did not find.
    pub fn from_error(code: Code, error: &(dyn Error + 'static)) -> Self {
        let io = || causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
        let message = chain(error);
        match io().find(|io| is_disk(io)) {
            Some(io) if io.kind() == io::ErrorKind::ReadOnlyFilesystem => Self::new(Code::Disk, message).hint(
                "the folder cannot be written: make it writable, or work in a copy of it; what was saved is intact",
            ),
            Some(_) => Self::new(Code::Disk, message)
                .hint("make room or choose another folder with `--set run.out=DIR`; what was saved is intact"),
            None if is_out_of_memory(&message) => Self::new(Code::Memory, message).hint(memory::HINT),
            None if io().any(is_open_files) => Self::new(code, message).hint("allow more open files: `ulimit -n 4096`"),
            None => Self::new(code, message),
        }
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was being done when it went wrong.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// Prints it for the user.
    pub fn print(&self) {
        say!("{self}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for Failure {}

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        Self::new(Code::Usage, error.to_string())
            .hint("docs/recipes.md lists every setting; --dry-run shows the resolved recipe")
    }
}

/// An error that nobody gave a code is our own fault, unless one in its chain has a code.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(failure) => return failure,
            Err(error) => error,
        };
        let error = match error.downcast::<RecipeError>() {
            Ok(recipe) => return recipe.into(),
            Err(error) => error,
        };
        Self::from_error(Code::Internal, error.as_ref())
    }
}

/// Gives the error of a result its exit code.
pub trait OrFail<T> {
    /// The failure has this code, and the error's chain as its message.
    ///
    /// # Errors
    /// The failure.
    fn or_fail(self, code: Code) -> Result<T, Failure>;
}

impl<T, E: Error + 'static> OrFail<T> for Result<T, E> {
    fn or_fail(self, code: Code) -> Result<T, Failure> {
        self.map_err(|error| Failure::from_error(code, &error))
    }
}

/// Has a file that outgrows the limit (`ulimit -f`) be an error of writing, with [`Code::Disk`], where the system would end the process. By a
/// handler, since programs that are started would inherit that the signal is ignored.
pub fn hear_of_large_files() {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler = nothing as extern "C" fn(libc::c_int);
    // SAFETY: the handler does nothing and lives as long as the program.
    unsafe { libc::signal(libc::SIGXFSZ, handler as libc::sighandler_t) };
}

/// Ends the process now, from any thread. `exit` would run the destructors of libraries whose threads are at work: a run that goes on
/// among what is left of libtorch computes other numbers, and can still write them down.
pub fn at_once(code: Code) -> ! {
    // SAFETY: `_exit` takes a number and does not return.
    unsafe { libc::_exit(code as i32) }
}

/// Runs the program and turns its outcome, a panic included, into an exit code.
pub fn run_main(program: impl FnOnce() -> Result<(), Failure> + std::panic::UnwindSafe) -> ExitCode {
    match std::panic::catch_unwind(program) {
        Ok(Ok(())) => Code::Ok.into(),
        Ok(Err(failure)) => {
            failure.print();
            failure.code.into()
        }
        // The panic's own message is on stderr already.
        Err(panic) => {
            let failure = of_panic(panic.downcast_ref::<String>().map_or("", String::as_str));
            failure.print();
            failure.code.into()
        }
    }
}

/// libtorch reports a lack of memory by a panic of its bindings; any other panic is a fault of ours.
fn of_panic(words: &str) -> Failure {
    if is_out_of_memory(words) {
        return Failure::new(Code::Memory, "out of memory (above)").hint(memory::HINT);
    }
    Failure::new(Code::Internal, "Temper broke one of its own rules (above)")
        .hint("please report it with the command and the recipe")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// `a: b: c`, leaving out a cause that the error before it has in its own message.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error).map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge)
}

/// The process, or the system, may open no file more.
fn is_open_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write `a.bin`")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_full_disk_in_the_chain_decides_the_code() {
        let full = Outer(io::Error::from_raw_os_error(libc::ENOSPC));
        let failure = Failure::from_error(Code::Checkpoint, &full);
        assert_eq!(failure.code, Code::Disk);
        assert!(failure.message.starts_with("cannot write `a.bin`: No space left"), "{failure}");
        let absent = Outer(io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(Failure::from_error(Code::Checkpoint, &absent).code, Code::Checkpoint);
    }

    #[test]
    fn too_many_open_files_have_a_hint() {
        let failure = Failure::from_error(Code::Data, &Outer(io::Error::from_raw_os_error(libc::EMFILE)));
        assert_eq!(failure.code, Code::Data);
        assert!(failure.hint.is_some_and(|hint| hint.contains("ulimit")));
    }

    #[test]
    fn memory_that_libtorch_lacks_in_the_chain_decides_the_code() {
        let asked = tch::Tensor::f_zeros([1 << 46], (tch::Kind::Float, tch::Device::Cpu)).expect_err("256 TiB");
        let failure = Failure::from_error(Code::Usage, &learner::optimizer::OptimizerError::Torch(asked));
        assert_eq!(failure.code, Code::Memory, "{failure}");
        assert!(failure.hint.is_some());
    }

    #[test]
    fn a_failure_keeps_its_code_through_anyhow() {
        let inner = Failure::new(Code::Numeric, "loss is NaN").hint("lower the learning rate");
        let outer: Failure = anyhow::Error::new(inner).context("step 7").into();
        assert_eq!(
            (outer.code, outer.to_string().as_str()),
            (Code::Numeric, "error: loss is NaN\nhint: lower the learning rate")
        );
        let stray: Failure = anyhow::anyhow!("odd").into();
        assert_eq!(stray.code, Code::Internal);
    }

    #[test]
    fn every_code_is_documented() {
        let docs = include_str!("../docs/exit-codes.md");
        for code in Code::ALL {
            let row = format!("| {} | `{code:?}` |", code as u8);
            assert!(docs.contains(&row), "docs/exit-codes.md lacks {row}");
        }
    }
}
