//! `temper sandbox serve`: the code sandbox as a service that speaks SandboxFusion's `POST /run_code`.

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use verifiers::code::{CodeSettings, Sandbox, ServeSettings, serve_on};

use crate::cli::{SandboxCommand, SandboxServeArgs};
use crate::exit::{Code, Failure, OrFail};
use crate::say;
use crate::verifiers_by_name::{code_settings, start_sandbox};
use crate::verify::settings;

/// The most memory of a program where nothing else is set: what trainers that speak SandboxFusion's protocol ask for by default. A request may ask
/// for less.
const MEMORY_MB: u64 = 1024;

/// Runs a subcommand of `temper sandbox`.
///
/// # Errors
/// Usage for wrong settings or an address that cannot be listened on; verifier where the sandbox cannot be set up.
pub fn sandbox(command: &SandboxCommand) -> Result<(), Failure> {
    match command {
        SandboxCommand::Serve(args) => serve(args),
    }
}

fn serve(args: &SandboxServeArgs) -> Result<(), Failure> {
    let set = settings(&args.set)?;
    let mut settings = code_settings(&set)?;
    settings.strict |= args.strict;
    if !set.contains_key("memory_mb") {
        settings.memory_mb = MEMORY_MB;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().or_fail(Code::Internal)?;
    match runtime.block_on(until_told(args, settings))? {
        // The cells end with the last of the requests.
        Ended::Answered => drop(runtime),
        // What still runs is given up: the cells die with this process.
        Ended::AtOnce => runtime.shutdown_background(),
    }
    Ok(())
}

/// How the service ended.
enum Ended {
    /// Every request in hand has its answer.
    Answered,
    /// Some may not.
    AtOnce,
}

async fn until_told(args: &SandboxServeArgs, settings: CodeSettings) -> Result<Ended, Failure> {
    let service = ServeSettings { listen: args.address, queue: args.queue, body_mb: args.body_mb };
    // Before the cells are made, so that a port that is taken is said at once.
    let cannot = |error| Failure::new(Code::Usage, format!("--address {}: {error}", args.address));
    let listener = TcpListener::bind(service.listen).await.map_err(cannot)?;
    let address = listener.local_addr().or_fail(Code::Internal)?;
    let sandbox = start_sandbox(settings)?;
    let (asked, told) = oneshot::channel();
    let stop = signals(asked)?;
    say!("{}", in_force(&sandbox, &service).trim_end());
    say!("listening on http://{address}; routes: /run_code /run_batch /judge /v1/ping; Ctrl-C ends it");
    let served = serve_on(listener, sandbox, &service, async {
        // An error is that the sender is gone, which is so once `stop` is done.
        let _ = told.await;
    });
    tokio::select! {
        served = served => served.or_fail(Code::Internal).map(|()| Ended::Answered),
        () = stop => Ok(Ended::AtOnce),
    }
}

/// Waits for Ctrl-C or SIGTERM and says so; is done at the second one, when nothing more is waited for.
fn signals(asked: oneshot::Sender<()>) -> Result<impl Future<Output = ()>, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).or_fail(Code::Internal)?;
    let mut terminate = signal(SignalKind::terminate()).or_fail(Code::Internal)?;
    Ok(async move {
        let mut any = async || tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () };
        any().await;
        say!("ending: requests in hand are answered first; once more ends at once");
        let _ = asked.send(());
        any().await;
    })
}

/// What stands between a program and this machine, a line each.
fn in_force(sandbox: &Sandbox, service: &ServeSettings) -> String {
    let s = sandbox.settings();
    let user = if sandbox.isolation().other_user { format!("user id {}", s.uid) } else { "your own user id".into() };
    format!(
        "sandbox    {}\n\
         limits     {} MiB of memory, {} processes, {} KiB of output, {} MiB of scratch; {user}; time as the request says, {} s for /judge\n\
         compilers  {} MiB of memory; time as the request says\n\
         service    {} programs at once, {} requests in hand, {} MiB a request\n",
        sandbox.isolation(),
        s.memory_mb,
        s.processes,
        s.output_kb,
        s.scratch_mb,
        s.time_limit_s,
        s.compile_memory_mb,
        sandbox.workers(),
        service.queue,
        service.body_mb
    )
}
