//! Feeds arbitrary bytes to the reader of the plugin protocol: `cargo +nightly fuzz run plugin` in `verifiers/fuzz`. The same
//! function runs on mutated answers in the ordinary tests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use verifiers::plugin::protocol::read_anything;

fuzz_target!(|bytes: &[u8]| read_anything(bytes));
