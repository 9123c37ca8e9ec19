//! Reading a checkpoint holds the model and not the file beside it.
//!
//! Each measurement is a process of its own, because the most that a process has held at once (`VmHWM`) never falls: the test starts
//! this test binary anew to read one file.

use std::path::Path;
use std::process::Command;

use policy::checkpoint;
use policy::params::Params;
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

/// Run by the other test, in a process of its own.
#[test]
fn child_reads() {
    let Ok(file) = std::env::var(FILE) else { return };
    // A first small tensor, so that what libtorch sets up once is not counted.
    drop(Tensor::zeros([16, 16], (Kind::BFloat16, Device::Cpu)).to_kind(Kind::Float));
    let before = held_at_most();
    let tensors = checkpoint::load_tensors(Path::new(&file)).expect("it reads");
    let sum: f64 = tensors.values().map(|t| t.get(0).sum(Kind::Double).double_value(&[])).sum();
    println!("held {} {sum}", held_at_most() - before);
}

fn held_reading(file: &Path) -> usize {
    let own = std::env::current_exe().expect("a test binary");
    let output = Command::new(own)
        .args(["--exact", "child_reads", "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let held = text.split_whitespace().skip_while(|&word| word != "held").nth(1);
    held.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn reading_holds_at_most_a_tenth_more_than_the_weights() {
    // 12 matrices of 8 MiB: what is read at once is small beside the whole.
    let matrix = |i: i64| Tensor::full([1024, 2048], i as f64, (Kind::Float, Device::Cpu));
    let tensors: Params = (0..12).map(|i| (format!("m{i:02}"), matrix(i))).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.safetensors");
    checkpoint::save_tensors(&tensors, &file).expect("it saves");
    let (held, weights) = (held_reading(&file), 96 * MIB);
    eprintln!("{} MiB held for {} MiB of weights", held / MIB, weights / MIB);
    assert!(held >= weights * 9 / 10, "the measurement sees the weights: {held}");
    assert!(held <= weights * 11 / 10, "{held} bytes held for {weights} of weights");
}
