//! The head: logits of final hidden states, and what is made of them row by row, without the logits of all rows in memory at once.
//!
//! A vocabulary has a hundred thousand tokens and more, so that `[rows, vocabulary]` is larger than all else of a step. What a loss
//! needs of a row's logits is a few numbers. [`Head::rows`] takes rows in chunks of [`CHUNK`]: it computes a chunk's logits, asks for
//! its numbers and forgets the logits; its backward computes them again, chunk by chunk, and adds up what they give the weights in the
//! order of the chunks. Memory is that of one chunk, forward and backward, for one product more.
//!
//! A chunk's bounds depend on the unit's own rows alone, so neither threads nor shards show (INV-7); a row's logits do not depend on
//! the others (INV-2). `CHUNK` is the length of a block of our own products' sums ([`DEEP`]) and the number of rows that the library
//! is given ([`BLOCK`]), so that on the CPU the weights' gradient, too, has the bits of the product over all rows.

use std::ops::Range;
use std::sync::Arc;

use native::custom_op;
use tch::Tensor;

use super::Model;
use crate::doctor::BLOCK;
use crate::kernels::gemm::DEEP;
use crate::kernels::log_prob::{Targets, log_prob};
use crate::products::Products;

/// Rows whose logits are in memory at once.
pub const CHUNK: usize = DEEP;
const _: () = assert!(CHUNK == BLOCK as usize);

/// The last product of a model, apart from the model: a closure or a thread can take it.
#[derive(Debug)]
pub struct Head {
    /// `[vocabulary, hidden]`.
    weight: Tensor,
    products: Products,
}

impl Clone for Head {
    fn clone(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), products: self.products.clone() }
    }
}

/// Numbers of rows, `[rows]` each.
#[derive(Debug, Default)]
pub struct Columns {
    /// Functions of the logits that a loss may descend.
    pub learned: Vec<Tensor>,
    /// Those that are only looked at: they have no history.
    pub seen: Vec<Tensor>,
}

impl Head {
    /// Logits `[rows, vocabulary]` of `hidden [rows, hidden]`, all at once.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        self.products.precise(hidden, &self.weight)
    }

    /// What `of` makes of the logits of `hidden [rows, hidden]`, a chunk of rows at a time. `of` is given a chunk's logits and its rows, and
    /// answers with one number a row in each column; what it makes of a row must depend on no other row. For the backward it is asked again.
    ///
    /// # Panics
    /// If a column has not one number a row: a caller's bug.
    pub fn rows(&self, hidden: &Tensor, of: impl Fn(&Tensor, Range<usize>) -> Columns + Send + 'static) -> Columns {
        let chunks = chunks(hidden.size()[0] as usize);
        let plain = hidden.detach();
        let found: Vec<Columns> = tch::no_grad(|| {
            let ask = |rows: &Range<usize>| of(&self.logits(&part(&plain, rows)), rows.clone());
            chunks.iter().map(ask).collect()
        });
        let Columns { learned, seen } = joined(&chunks, &found);
        let head = self.clone();
        let backward = move |grads: &[Option<Tensor>]| head.backward(&plain, &chunks, grads, &of);
        Columns { learned: custom_op(&[hidden, &self.weight], learned, backward), seen }
    }

    /// Gradients of hidden states and weights, where they are wanted.
    fn backward(
        &self,
        hidden: &Tensor,
        chunks: &[Range<usize>],
        grads: &[Option<Tensor>],
        of: &impl Fn(&Tensor, Range<usize>) -> Columns,
    ) -> Vec<Option<Tensor>> {
        if grads.iter().all(Option::is_none) {
            return vec![None, None];
        }
        let learns = self.weight.requires_grad();
        let (mut d_hidden, mut d_weight): (Vec<Tensor>, Option<Tensor>) = (Vec::new(), None);
        for rows in chunks {
            let hidden = part(hidden, rows).set_requires_grad(true);
            let weight = self.weight.detach().set_requires_grad(learns);
            let columns = tch::with_grad(|| of(&self.products.precise(&hidden, &weight), rows.clone()));
            let mut found = gradients(&columns.learned, grads, rows, &[&hidden, &weight][..1 + usize::from(learns)]);
            if let Some(of_chunk) = found.get(1) {
                match &mut d_weight {
                    Some(sum) => drop(sum.g_add_(of_chunk)),
                    None => d_weight = Some(of_chunk.shallow_clone()),
                }
            }
            d_hidden.push(found.swap_remove(0));
        }
        vec![Some(Tensor::cat(&d_hidden, 0)), d_weight]
    }
}

impl Model {
    /// The model's head.
    pub fn head(&self) -> Head {
        let name = if self.config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
        Head { weight: self.params[name].shallow_clone(), products: self.products.clone() }
    }

    /// Log-probabilities `[rows]` with history, and entropies `[rows]` without, of the rows' targets: [`log_prob`] over chunks.
    ///
    /// # Panics
    /// If there is not one target a row.
    pub fn log_probs(&self, hidden: &Tensor, targets: &Arc<Targets>) -> (Tensor, Tensor) {
        assert_eq!(hidden.size()[0] as usize, targets.tokens.len(), "one target a row");
        let targets = Arc::clone(targets);
        let Columns { mut learned, mut seen } = self.head().rows(hidden, move |logits, rows| {
            let (log_probs, entropies) = log_prob(logits, &targets, rows.start);
            Columns { learned: vec![log_probs], seen: vec![entropies] }
        });
        (learned.swap_remove(0), seen.swap_remove(0))
    }
}

/// The chunks of so many rows; an empty one where there are none.
fn chunks(rows: usize) -> Vec<Range<usize>> {
    (0..rows.max(1)).step_by(CHUNK).map(|at| at..(at + CHUNK).min(rows)).collect()
}

/// A chunk's rows, without history.
fn part(hidden: &Tensor, rows: &Range<usize>) -> Tensor {
    hidden.narrow(0, rows.start as i64, rows.len() as i64).detach()
}

/// The columns of all chunks, one chunk after the other.
fn joined(chunks: &[Range<usize>], found: &[Columns]) -> Columns {
    let join = |of: fn(&Columns) -> &Vec<Tensor>| {
        let column = |i: usize| {
            let parts: Vec<&Tensor> = found.iter().map(|columns| &of(columns)[i]).collect();
            let whole = parts.iter().zip(chunks).all(|(part, rows)| part.size() == [rows.len() as i64]);
            assert!(whole, "a column has one number a row");
            Tensor::cat(&parts, 0)
        };
        (0..of(&found[0]).len()).map(column).collect()
    };
    Columns { learned: join(|columns| &columns.learned), seen: join(|columns| &columns.seen) }
}

/// Gradients of `inputs`, given those of the columns over all rows. The product with a column's gradient and its sum hand on exactly that.
fn gradients(columns: &[Tensor], grads: &[Option<Tensor>], rows: &Range<usize>, inputs: &[&Tensor]) -> Vec<Tensor> {
    tch::with_grad(|| {
        let terms = columns.iter().zip(grads).filter_map(|(column, grad)| {
            let grad = grad.as_ref()?.narrow(0, rows.start as i64, rows.len() as i64);
            Some((column * grad).sum(column.kind()))
        });
        let sum = terms.reduce(|sum, term| sum + term).expect("the caller has seen a gradient");
        Tensor::run_backward(&[sum], inputs, false, false)
    })
}
