//! Temper.
fn main() {}
