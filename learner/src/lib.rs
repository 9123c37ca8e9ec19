//! The learner: losses, advantages, gradient sums and the optimiser that turn scored groups into the next weights version.
//!
//! A unit of work is a few packed sequences ([`mod@unit`]). Its loss is a plain weighted sum over its rows ([`losses::aggregate`] makes the
//! weights from the counts of the whole batch), so units add; their gradients are added in one fixed order
//! ([`grad_tree`], INV-7) whichever of the [`shards`] made them, and [`optimizer::AdamW`] applies the result. [`trainer`] is that loop;
//! [`language`], [`grpo`] and [`on_policy`] are the three losses that run in it.
#![expect(non_snake_case, reason = "a tensor's name carries its shape: `logp_T` is `[T]`, `logits_TV` is `[T, V]`")]

pub mod advantage;
pub mod balance;
pub mod grad_tree;
pub mod grpo;
pub mod language;
pub mod losses;
pub mod memory;
pub mod on_policy;
pub mod optimizer;
pub mod replay;
pub mod schedule;
pub mod selection;
pub mod shards;
pub mod text;
pub mod trainer;
pub mod unit;
