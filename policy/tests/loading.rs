//! Reading a checkpoint holds the model and not the file beside it.
//!
//! Each measurement is a process of its own, because the most that a process has held at once (`VmHWM`) never falls: the test starts
//! this test binary anew to read one file.

use std::path::Path;
use std::process::Command;

use policy::checkpoint::{self, Storage};
use policy::params::{Params, shapes};
use policy::testing::tiny_grouped;
use policy::{Model, ModelConfig};
use tch::{Device, Kind, Tensor};

/// What a child process is to read.
const FILE: &str = "TEMPER_LOADING_FILE";
const MIB: usize = 1 << 20;

fn held_at_most() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).expect("it is there");
    let kib: usize = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024
}

/// Run by the other tests, in a process of its own: reads a file, or a folder for a model that does not learn.
#[test]
fn child_reads() {
    let Ok(path) = std::env::var(FILE) else { return };
    // First small tensors on all threads, so that what libtorch sets up once is not counted.
    let small = || Tensor::zeros([16, 16], (Kind::BFloat16, Device::Cpu)).to_kind(Kind::Float);
    native::parallel_for(256, |_| drop(small()));
    let (path, before) = (Path::new(&path), held_at_most());
    let tensors = match path.is_dir() {
        true => {
            let params = checkpoint::load_frozen(path, Device::Cpu).expect("it reads").params;
            let stays = |p: &Tensor| (p.kind() == Kind::BFloat16) == (p.dim() == 2);
            assert!(params.values().all(stays), "matrices stay bf16, and nothing else");
            params
        }
        false => checkpoint::load_tensors(path).expect("it reads"),
    };
    let sum: f64 = tensors.values().map(|t| t.get(0).sum(Kind::Double).double_value(&[])).sum();
    println!("held {} {sum}", held_at_most() - before);
}

fn held_reading(file: &Path) -> usize {
    let own = std::env::current_exe().expect("a test binary");
    let output = Command::new(own)
        .args(["--exact", "child_reads", "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .env_remove("GLIBC_TUNABLES")
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let held = text.split_whitespace().skip_while(|&word| word != "held").nth(1);
    held.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn reading_holds_at_most_a_tenth_more_than_the_weights() {
    // 40 matrices of 8 MiB: what is read at once, and what the system adds by itself (some 20 MiB on a busy machine), is small beside the whole.
    let matrix = |i: i64| Tensor::full([1024, 2048], i as f64, (Kind::Float, Device::Cpu));
    let tensors: Params = (0..40).map(|i| (format!("m{i:02}"), matrix(i))).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.safetensors");
    checkpoint::save_tensors(&tensors, &file).expect("it saves");
    let (held, weights) = (held_reading(&file), 320 * MIB);
    eprintln!("{} MiB held for {} MiB of weights", held / MIB, weights / MIB);
    assert!(held >= weights * 9 / 10, "the measurement sees the weights: {held}");
    assert!(held <= weights * 11 / 10, "{held} bytes held for {weights} of weights");
}

#[test]
fn a_model_that_does_not_learn_holds_at_most_a_tenth_more_than_its_file_of_bf16() {
    let config = ModelConfig {
        hidden_size: 1024,
        intermediate_size: 4096,
        num_hidden_layers: 20,
        vocab_size: 8192,
        ..tiny_grouped(None)
    };
    let full = |(name, shape): (String, Vec<i64>)| (name, Tensor::full(shape, 0.5, (Kind::Float, Device::Cpu)));
    let model =
        Model::new(config.clone(), shapes(&config).into_iter().map(full).collect(), Device::Cpu).expect("exact");
    let folder = tempfile::tempdir().expect("a folder");
    checkpoint::save_as(&model, folder.path(), Storage::Bf16).expect("it saves");
    let file = std::fs::metadata(folder.path().join(checkpoint::WEIGHTS)).expect("it was written").len() as usize;
    let held = held_reading(folder.path());
    eprintln!("{} MiB held for a file of {} MiB", held / MIB, file / MIB);
    assert!(file > 64 * MIB && held >= file * 9 / 10, "the measurement sees the weights: {held}");
    assert!(held <= file * 11 / 10, "{held} bytes held for a file of {file}");
}
