//! The `temper` binary: reads the command line and hands over.

use std::process::ExitCode;

use clap::Parser;
use temper::cli::{Cli, Command};
use temper::exit::{Failure, run_main};
use temper::memory::{self, OrExit};
use temper::{commands, verify};

#[global_allocator]
static ALLOCATOR: OrExit = OrExit;

fn main() -> ExitCode {
    commands::settle_libraries();
    let cli = Cli::parse();
    memory::name_what_libraries_lack();
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
