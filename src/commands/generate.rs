//! `temper generate`: completes a prompt, or chats, with a checkpoint.

use std::io::{BufRead, IsTerminal};

use data::{Message, Tokenizer};
use policy::{Compute, Model, checkpoint};
use rollout::{Engine, EngineSettings, Request, Sampling};

use crate::cli::GenerateArgs;
use crate::exit::{Code, Failure, OrFail};
use crate::hub;
use crate::recipe::Device;
use crate::run::{device, preflight, sample};
use crate::say::{tell, tell_plain};

/// Positions of a cache page.
const PAGE: usize = 16;

/// Prints completions of the prompt, or answers the user's turns until end of input.
///
/// # Errors
/// The first failure.
pub fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let device = device::open(args.machine.device.unwrap_or(Device::Auto), args.machine.threads.unwrap_or(0))?;
    let folder = hub::local(&args.checkpoint)?;
    let config = preflight::known_checkpoint(&folder)?;
    let context = preflight::context_within(&config, args.context.unwrap_or(0))?;
    let compute = Compute { context: Some(context as i64), ..Compute::from(device) };
    let model = checkpoint::load_frozen(&folder, compute).or_fail(Code::Checkpoint)?;
    let tokenizer = Tokenizer::load(&folder).or_fail(Code::Checkpoint)?;
    if args.chat {
        return chat(args, &model, &tokenizer);
    }
    let prompt = args.prompt.as_deref().unwrap_or_default();
    let tokens = tokenizer.encode(prompt, true).or_fail(Code::Data)?;
    for text in complete(args, &model, &tokenizer, tokens, 0)? {
        tell(text)?;
    }
    Ok(())
}

fn chat(args: &GenerateArgs, model: &Model, tokenizer: &Tokenizer) -> Result<(), Failure> {
    let mut turns: Vec<Message> = Vec::new();
    let show_prompt = std::io::stdin().is_terminal();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if show_prompt {
            tell_plain("> ")?;
        }
        let Some(line) = lines.next() else { return Ok(()) };
        turns.push(Message::user(line.or_fail(Code::Data)?));
        let tokens = tokenizer.encode_prompt(&turns).or_fail(Code::Data)?;
        let answer = complete(args, model, tokenizer, tokens, turns.len())?.swap_remove(0);
        tell(&answer)?;
        turns.push(Message::assistant(answer));
    }
}

fn complete(
    args: &GenerateArgs,
    model: &Model,
    tokenizer: &Tokenizer,
    tokens: Vec<u32>,
    turn: usize,
) -> Result<Vec<String>, Failure> {
    let sampling = Sampling {
        temperature: args.temperature,
        top_p: args.top_p,
        top_k: args.top_k,
        max_new_tokens: args.max_new_tokens,
        stop_tokens: tokenizer.eos_ids().to_vec(),
    };
    let samples = args.n.max(1);
    let longest = (tokens.len() + args.max_new_tokens).min(model.context());
    let settings = EngineSettings {
        batch: samples,
        open: samples,
        page: PAGE,
        cache_positions: (longest + 2 * PAGE) * (samples + 1),
        record_selections: false,
        record_experts: false,
        seed: args.seed,
    };
    let mut engine = Engine::new(model, settings, sampling);
    let request = Request {
        id: 0,
        key: format!("generate/{turn}"),
        prompt_id: "generate".into(),
        tokens,
        samples,
        begun: Vec::new(),
    };
    engine.submit(request).or_fail(Code::Data)?;
    let mut texts = Vec::new();
    while !engine.idle() {
        for done in engine.step(model, 0) {
            for trajectory in &done.trajectories {
                texts.push(sample::text(tokenizer, trajectory)?);
            }
        }
    }
    Ok(texts)
}
