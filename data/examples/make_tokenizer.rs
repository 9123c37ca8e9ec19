//! Writes the tokenizer of the generated tasks into a folder, and prints how long the tasks are in its tokens.
//!
//! `cargo run --release -p data --example make_tokenizer configs/base`

use std::path::PathBuf;

use data::Tokenizer;
use data::tasks::arithmetic::Arithmetic;
use data::tasks::functions::Functions;
use data::tasks::retrieval::Retrieval;
use data::tasks::{Split, Task, vocabulary};

const SAMPLES: u64 = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: make_tokenizer FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    for (name, text) in vocabulary::files() {
        std::fs::write(folder.join(name), text)?;
    }
    let tokenizer = Tokenizer::load(&folder)?;
    println!("{} tokens in {}", tokenizer.vocab_size(), folder.display());
    println!("{:12}{:>24}{:>24}", "task", "prompt mean/max", "answer mean/max");
    for task in [
        Task::Arithmetic(Arithmetic::default()),
        Task::Functions(Functions::default()),
        Task::Retrieval(Retrieval::default()),
    ] {
        let (mut prompts, mut answers) = (Vec::new(), Vec::new());
        for prompt in task.items("lengths", 0, Split::Train, 0..SAMPLES)? {
            prompts.push(tokenizer.encode_prompt(&prompt.messages)?.len());
            // The end token is part of what a model has to write.
            answers.push(tokenizer.encode(prompt.answer.as_deref().unwrap_or_default(), false)?.len() + 1);
        }
        println!("{:12}{:>24}{:>24}", task.kind(), mean_and_max(&prompts), mean_and_max(&answers));
    }
    Ok(())
}

fn mean_and_max(lengths: &[usize]) -> String {
    let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
    format!("{mean:.1} / {}", lengths.iter().max().copied().unwrap_or(0))
}
