//! Runs an order of the API: compiles it once, and runs it on each input.

use std::{collections::BTreeMap, os::fd::AsFd, time::Instant};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    SandboxError,
    api::{Order, Step, StepStatus},
    cell::Purpose,
    command::{Command, End, Finished},
    compile::{Made, Ready, make},
    files::{nonce, sealed, sink, written},
    languages::Language,
    outcome::over_time,
    shop::Shop,
    zygote::Reply,
};

/// The language that has a warm interpreter.
const WARM: &str = "python";

/// How an order is run.
enum Runner {
    Warm,
    Command(Ready),
}

/// Runs an order on every input, and hands over each step with what was fetched. Stops where `go_on` says so.
pub(super) fn run(
    shop: &mut Shop,
    order: &Order,
    stdins: &[&str],
    mut each: impl FnMut(Step, BTreeMap<String, String>) -> bool,
) -> Result<Option<Step>, SandboxError> {
    let (runner, compiled) = match prepare(shop, order)? {
        (Some(runner), compiled) => (runner, compiled),
        (None, compiled) => return Ok(compiled),
    };
    for stdin in stdins {
        let (step, fetched) = match &runner {
            Runner::Warm => (warm(shop, order, stdin)?, BTreeMap::new()),
            Runner::Command(ready) => command(shop, order, ready, stdin)?,
        };
        if !each(step, fetched) || shop.is_cancelled() {
            break;
        }
    }
    Ok(compiled)
}

/// Compiles where there is something to compile. No runner: the compiler refused.
fn prepare(shop: &mut Shop, order: &Order) -> Result<(Option<Runner>, Option<Step>), SandboxError> {
    let languages = &shop.plans.languages;
    let unknown =
        || SandboxError::Untestable(format!("unknown language `{}`; there are {}", order.language, languages.names()));
    let (name, language) = languages.find(&order.language).ok_or_else(unknown)?;
    if name == WARM && order.files.is_empty() && order.fetch.is_empty() {
        return Ok((Some(Runner::Warm), None));
    }
    let language: Language = language.clone();
    Ok(match make(shop, &language, &order.code, &order.files, &order.compile)? {
        Made::Ready(ready) if language.compile.is_empty() => (Some(Runner::Command(ready)), None),
        Made::Ready(ready) => {
            let step = Step {
                status: StepStatus::Finished,
                execution_time: Some(ready.spent.wall_s),
                return_code: Some(0),
                stdout: String::new(),
                stderr: String::new(),
                cpu_time: ready.spent.cpu_s,
                peak_memory_mb: ready.spent.peak_memory_mb,
                stdout_bytes: 0,
                limit: None,
            };
            (Some(Runner::Command(ready)), Some(step))
        }
        Made::Refused(finished) => (None, Some(step(&finished))),
    })
}

fn command(
    shop: &mut Shop,
    order: &Order,
    ready: &Ready,
    stdin: &str,
) -> Result<(Step, BTreeMap<String, String>), SandboxError> {
    let limits = ready.limits(order.run);
    let finished = shop.command(&Command {
        argv: ready.run.clone(),
        files: ready.files.clone(),
        stdin: stdin.as_bytes(),
        fetch: order.fetch.clone(),
        fetch_limit: limits.output(),
        limits,
        limit_addresses: !ready.reserves_memory,
    })?;
    let fetched = order.fetch.iter().zip(&finished.fetched);
    let files = fetched.filter_map(|(name, data)| Some((name.clone(), STANDARD.encode(data.as_ref()?)))).collect();
    Ok((step(&finished), files))
}

fn step(finished: &Finished) -> Step {
    let (status, return_code, limit) = match finished.end {
        End::Exit(code) => (StepStatus::Finished, Some(code), None),
        End::Signal(signal) => (StepStatus::Finished, Some(-signal), None),
        End::Late => (StepStatus::TimeLimitExceeded, None, Some("TLE")),
        End::TooLarge => (StepStatus::Finished, Some(-libc::SIGKILL), Some("MLE")),
        End::TooLong => (StepStatus::Finished, Some(-libc::SIGXFSZ), Some("OLE")),
    };
    Step {
        status,
        execution_time: Some(finished.wall_s),
        return_code,
        stdout: String::from_utf8_lossy(&finished.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&finished.stderr).into_owned(),
        cpu_time: finished.cpu_s,
        peak_memory_mb: finished.peak_memory_mb,
        stdout_bytes: finished.output_bytes,
        limit: limit.map(str::to_owned),
    }
}

/// Runs Python in the warm interpreter.
fn warm(shop: &mut Shop, order: &Order, input: &str) -> Result<Step, SandboxError> {
    let limits = &order.run;
    let (stdin, stdout, stderr) = (sealed(input.as_bytes())?, sink()?, sink()?);
    let nonce = nonce();
    let cell = shop.warm()?;
    let mut run = cell.start(Purpose::Warm, limits, 1, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
    run.ready()?;
    // Only now, so that the program has not begun when the clock does.
    let (mut clock, started) = (run.clock(limits), Instant::now());
    run.send(&[&nonce, b"R", &[0, 0], order.code.as_bytes()]);
    let reply = run.receive(&mut clock, 1024)?;
    let wall_s = started.elapsed().as_secs_f64();
    let exit = cell.end(run, reply == Reply::Closed)?;
    let (output, output_bytes) = written(&stdout, limits.output())?;
    let (errors, error_bytes) = written(&stderr, limits.output())?;
    let end = match reply {
        _ if exit.out_of_memory => End::TooLarge,
        Reply::TooLarge => End::TooLarge,
        Reply::Late => End::Late,
        _ if over_time(exit.cpu_s, limits) => End::Late,
        _ if output_bytes.max(error_bytes) >= limits.output() => End::TooLong,
        // The program closed its channel, or wrote to it; its process had to be ended, and it has no exit code.
        _ if exit.killed => End::Signal(libc::SIGKILL),
        _ => match exit.code {
            Ok(code) => End::Exit(code),
            Err(libc::SIGKILL) if exit.machine_killed => {
                return Err(SandboxError::Lost(
                    "the kernel killed a program, most likely for want of memory on this machine".into(),
                ));
            }
            Err(signal) => End::Signal(signal),
        },
    };
    Ok(step(&Finished {
        end,
        cpu_s: exit.cpu_s,
        wall_s,
        peak_memory_mb: exit.peak_memory_mb,
        stdout: output,
        stderr: errors,
        output_bytes,
        fetched: Vec::new(),
    }))
}
