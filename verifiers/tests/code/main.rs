//! The code verifier and its sandbox, from outside: programs that solve their task, and programs that try to pass without solving it, to
//! break out, or to break the machine.
//!
//! Names such as a04 are those of the attacks that the sandbox is held against: A are reward hacks, B exhaustion, C escapes, D the service.

mod api;
mod asserts;
mod awaiting;
mod classes;
mod escapes;
mod exhaustion;
mod forged_asserts;
mod honest;
mod identity;
mod iteration_ends;
mod languages;
mod limits;
mod objects;
mod reward_hacks;
mod service;
mod suites;
mod support;
