//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use policy::Precision;

use crate::recipe::{Device, VerifierName};

/// From a base checkpoint to a sparse-attention reasoning model.
#[derive(Debug, Parser)]
#[command(name = "temper", version, after_help = "Exit codes: docs/exit-codes.md. Recipes: docs/recipes.md.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a recipe, all of its stages
    Run(RunArgs),
    /// Go on with a run that was stopped
    Resume(ResumeArgs),
    /// Evaluate a checkpoint on a recipe's held-out prompts
    Eval(EvalArgs),
    /// Give a dense checkpoint an indexer, for `indexer-warmup` and `sparse` to train
    Sparsify(SparsifyArgs),
    /// Complete a prompt, or chat, with a checkpoint
    Generate(GenerateArgs),
    /// Judge completions: JSON lines on stdin, verdicts on stdout in the same order
    Verify(VerifyArgs),
    /// The sandbox of the `code` verifier on its own
    Sandbox(SandboxArgs),
    /// Measure the speed of sampling, training and verifying on this machine
    Bench(BenchArgs),
    /// Write report.html and print the table of a run
    Report(ReportArgs),
    /// Compute a step of a run again from its log and compare, number by number
    Explain(ExplainArgs),
    /// Say what this machine can do: devices, exactness, sandbox
    Doctor(DoctorArgs),
}

/// `temper run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The recipe, a TOML file
    pub recipe: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would replace the help of the flattened arguments")]
    pub overrides: Overrides,
    /// Name of the run and of its folder [default: run.name of the recipe]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Check the recipe, print it with every default filled in, and stop
    #[arg(long)]
    pub dry_run: bool,
}

impl RunArgs {
    /// All overrides of the recipe, in the order in which they are applied.
    pub fn sets(&self) -> Vec<String> {
        let mut sets = self.overrides.sets();
        sets.extend(self.name.iter().map(|name| format!("run.name={}", toml::Value::from(name.as_str()))));
        sets
    }
}

/// Overrides that every command with a recipe takes.
#[derive(Debug, Args)]
pub struct Overrides {
    /// Override a setting: `--set stages.math-rl.rl.group=16`. May be repeated; the last wins
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// auto, cpu, cuda or cuda:N [default: run.device of the recipe]
    #[arg(long)]
    pub device: Option<Device>,
    /// CPU threads; 0: one a core [default: run.threads of the recipe]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

impl Overrides {
    /// As `--set` arguments; `--device` and `--threads` come last and win.
    pub fn sets(&self) -> Vec<String> {
        let mut sets = self.set.clone();
        sets.extend(self.device.map(|device| format!("run.device=\"{device}\"")));
        sets.extend(self.threads.map(|threads| format!("run.threads={threads}")));
        sets
    }
}

/// `temper resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run's folder, or its name under runs/
    pub run: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would replace the help of the flattened arguments")]
    pub machine: Machine,
}

/// Where a command without a recipe runs.
#[derive(Debug, Args)]
pub struct Machine {
    /// auto, cpu, cuda or cuda:N
    #[arg(long)]
    pub device: Option<Device>,
    /// CPU threads; 0: one a core
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// `temper eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Checkpoint folder in HF layout, or hf://OWNER/NAME
    pub checkpoint: PathBuf,
    /// The recipe that names domains, verifiers and sampling
    pub recipe: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would replace the help of the flattened arguments")]
    pub overrides: Overrides,
}

/// `temper sparsify`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "The indexer is fresh: it selects nothing of use before the stages `indexer-warmup` and `sparse` have \
    trained it (docs/sparsify.md)."
)]
pub struct SparsifyArgs {
    /// Dense checkpoint folder in HF layout, or hf://OWNER/NAME
    pub source: PathBuf,
    /// Folder to write, which must not be there yet
    pub out: PathBuf,
    /// Keys that a token attends to
    #[arg(long, value_name = "K", value_parser = at_least_one)]
    pub topk: usize,
    /// Query heads of the indexer; with few, many scores are 0, and programs break such ties in their own ways
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one)]
    pub heads: usize,
    /// Width of those heads and of the index key, at least the rotated width of the model's keys [default: that, or 32]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub head_dim: Option<usize>,
    /// Layers that share one indexer: the first of every so many has it, the others take its selection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub share_every: usize,
    /// Seed of the indexer's weights
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `temper generate`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("input").required(true).args(["prompt", "chat"]))]
pub struct GenerateArgs {
    /// Checkpoint folder in HF layout, or hf://OWNER/NAME
    #[arg(long, value_name = "DIR")]
    pub checkpoint: PathBuf,
    /// Complete this text as it stands, without the chat template
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Converse: one turn a line on stdin
    #[arg(long)]
    pub chat: bool,
    /// Divides the logits; 0: always the most likely token
    #[arg(long, default_value_t = 1.0, value_parser = temperature)]
    pub temperature: f64,
    /// Keep the smallest set of tokens whose probability reaches this
    #[arg(long, default_value_t = 1.0, value_parser = top_p)]
    pub top_p: f64,
    /// Keep this many of the most likely tokens; 0: all
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Tokens to sample at most
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    pub max_new_tokens: usize,
    /// Positions that no sequence passes, where that is fewer than the model has; under LongRoPE it decides which frequencies hold
    #[arg(long, value_parser = at_least_one)]
    pub context: Option<usize>,
    /// Seed of the sampler
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Completions of the prompt
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub n: usize,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would replace the help of the flattened arguments")]
    pub machine: Machine,
}

fn temperature(typed: &str) -> Result<f64, String> {
    number(typed, "0 or above", |t| t >= 0.0)
}

fn top_p(typed: &str) -> Result<f64, String> {
    number(typed, "above 0 and at most 1", |p| p > 0.0 && p <= 1.0)
}

/// A finite number that satisfies `ok`, which `what` puts in words.
fn number(typed: &str, what: &str, ok: impl Fn(f64) -> bool) -> Result<f64, String> {
    let fits = |value: &f64| value.is_finite() && ok(*value);
    typed.parse().ok().filter(fits).ok_or_else(|| format!("must be a number, {what}"))
}

fn at_least_one(typed: &str) -> Result<usize, String> {
    typed.parse().ok().filter(|&n| n >= 1).ok_or_else(|| "must be a whole number, 1 or more".to_owned())
}

/// `temper verify`.
#[derive(Debug, Args)]
#[command(after_help = "A line in: {\"id\", \"completion\", \"ground_truth\", ...}. \
    A line out: {\"id\", \"status\", \"reward\", \"reason\", ...}; status is pass, fail, undecided or error.")]
pub struct VerifyArgs {
    /// Which verifier
    #[arg(long, value_name = "NAME")]
    pub verifier: VerifierName,
    /// One of the verifier's settings. May be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Serve over HTTP instead of reading stdin: `127.0.0.1:8900`; port 0: any that is free
    #[arg(long, value_name = "ADDRESS")]
    pub serve: Option<std::net::SocketAddr>,
}

/// `temper sandbox`.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: SandboxCommand,
}

/// What to do with the sandbox.
#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// Run programs for others over HTTP: SandboxFusion's POST /run_code, and a batch of inputs for one program
    Serve(SandboxServeArgs),
}

/// `temper sandbox serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "There is no authentication: serve on a private network. Routes and settings: docs/verifiers-code.md."
)]
pub struct SandboxServeArgs {
    /// Where to listen; port 0: any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub address: std::net::SocketAddr,
    /// Refuse to start with less than namespaces, Landlock and a cgroup
    #[arg(long)]
    pub strict: bool,
    /// One of the settings of the `code` verifier: `--set memory_mb=512`. May be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Requests in hand at once, those that run included; one more hears 429
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub queue: usize,
    /// MiB that the body of a request may have
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = at_least_one)]
    pub body_mb: usize,
}

/// `temper bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Checkpoint folder to measure with [default: a small model with fresh weights]
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,
    /// A config.json in Hugging Face's form: measure with fresh weights of that shape
    #[arg(long, value_name = "FILE", conflicts_with = "checkpoint")]
    pub config: Option<PathBuf>,
    /// Checkpoint folder whose loading is measured instead: speed beside a plain read of its files, and memory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["checkpoint", "config"])]
    pub load: Option<PathBuf>,
    /// Prompts that are sampled at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub prompts: usize,
    /// Completions of each
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub samples: usize,
    /// Tokens of a prompt
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub prompt_tokens: usize,
    /// Tokens of a completion
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub completion_tokens: usize,
    /// f32 or bf16: the numbers that products multiply
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would replace the help of the flattened arguments")]
    pub machine: Machine,
}

/// `temper report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run's folder, or its name under runs/
    pub run: PathBuf,
}

/// `temper explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 0: every number is what was logged, bit for bit; 1: one differs. More: docs/explain.md."
)]
pub struct ExplainArgs {
    /// The run's folder, or its name under runs/. Nothing in it is changed
    pub run: PathBuf,
    /// Which step of the stage, from 1
    #[arg(long, value_name = "N")]
    pub step: u64,
    /// Which stage, of kind `rl` [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
    /// A token to show: number of the sample in the step, and place in its completion, from 0. May be repeated
    #[arg(long, value_name = "SAMPLE:POSITION", value_parser = place)]
    pub token: Vec<(usize, usize)>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would replace the help of the flattened arguments")]
    pub machine: Machine,
}

fn place(typed: &str) -> Result<(usize, usize), String> {
    let parsed = typed.split_once(':').and_then(|(sample, at)| Some((sample.parse().ok()?, at.parse().ok()?)));
    parsed.ok_or_else(|| "must be two whole numbers, such as 3:17".to_owned())
}

/// `temper doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A run's folder whose log, checkpoints and states are read and held against their checksums, instead of the machine
    #[arg(long, value_name = "RUN")]
    pub run: Option<PathBuf>,
    /// Checkpoint folder whose shapes are measured too
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,
    /// f32 or bf16: the numbers that products multiply
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a comment here would replace the help of the flattened arguments")]
    pub machine: Machine,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_overrides_that_win() {
        let cli = Cli::try_parse_from([
            "temper",
            "run",
            "a.toml",
            "--set",
            "run.device=cpu",
            "--device",
            "cuda:1",
            "--threads",
            "2",
            "--name",
            "true",
        ])
        .expect("valid");
        let Command::Run(run) = cli.command else { panic!("not run: {cli:?}") };
        assert_eq!(run.sets(), ["run.device=cpu", "run.device=\"cuda:1\"", "run.threads=2", "run.name=\"true\""]);
    }

    #[test]
    fn generate_needs_exactly_one_input() {
        let parse = |more: &[&str]| {
            let args = ["temper", "generate", "--checkpoint", "d"].iter().chain(more);
            Cli::try_parse_from(args).is_ok()
        };
        assert!(parse(&["--prompt", "1+1="]) && parse(&["--chat"]));
        assert!(!parse(&[]) && !parse(&["--prompt", "x", "--chat"]));
        for wrong in ["--temperature=-1", "--temperature=nan", "--top-p=0", "--n=0", "--max-new-tokens=0"] {
            assert!(!parse(&["--chat", wrong]), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_device_or_verifier_is_refused() {
        for args in [["run", "a.toml", "--device", "gpu"], ["verify", "--verifier", "maths", "--set=a=1"]] {
            assert!(Cli::try_parse_from(["temper"].iter().chain(&args)).is_err(), "{args:?}");
        }
    }
}
