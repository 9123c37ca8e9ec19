//! The `temper` binary: reads the command line and hands over.

use std::process::ExitCode;

use clap::Parser;
use temper::cli::{Cli, Command};
use temper::exit::{self, Failure, run_main};
use temper::memory::{self, OrExit};
use temper::{commands, verify};

#[global_allocator]
static ALLOCATOR: OrExit = OrExit;

/// Runs before the libraries' own constructors do, which need some memory too.
///
/// The loader has linked everything by then and calls what stands in this section of the executable, and of the executable alone.
#[used]
// SAFETY: the section is an array of functions called once each, with arguments that this one does not read; it is of the C convention, and
// touches nothing but the handler of C++'s `new`, which is a constant-initialised pointer.
#[unsafe(link_section = ".preinit_array")]
static BEFORE_LIBRARIES: extern "C" fn() = memory::name_what_loading_lacks;

fn main() -> ExitCode {
    commands::settle_libraries();
    let cli = Cli::parse();
    memory::name_what_libraries_lack();
    exit::hear_of_large_files();
    native::count_tensors();
    let code = run_main(move || dispatch(cli.command));
    memory::is_ending();
    code
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => commands::run(&args),
        Command::Resume(args) => commands::resume(&args),
        Command::Eval(args) => commands::eval(&args),
        Command::Sparsify(args) => commands::sparsify(&args),
        Command::Generate(args) => commands::generate(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Sandbox(args) => commands::sandbox(&args.command),
        Command::Bench(args) => commands::bench(&args),
        Command::Report(args) => commands::report(&args),
        Command::Explain(args) => commands::explain(&args),
        Command::Doctor(args) => commands::doctor(&args),
    }
}
