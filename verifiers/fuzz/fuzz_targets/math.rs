//! Feeds arbitrary bytes to the math verifier, as gold answer and completion: `cargo +nightly fuzz run math` in
//! `verifiers/fuzz`. The same function runs on mutated answers in the ordinary tests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use verifiers::math::judge::exercise;

fuzz_target!(|bytes: &[u8]| exercise(bytes));
