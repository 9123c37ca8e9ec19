//! The step budget and the reasons an answer is not read. Work is counted, never timed, so a verdict does not depend
//! on the machine.

/// Why a text was not read as an answer, or a comparison not finished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is not mathematics in any notation: a dangling operator, an open bracket, a division by zero.
    #[error("not well formed: {0}")]
    Malformed(&'static str),
    /// It may well be mathematics, but in a notation that no rule here reads.
    #[error("no rule reads {0}")]
    Unsupported(String),
    /// It is over a limit of size, depth or steps.
    #[error("over the limit of {0}")]
    Limit(&'static str),
}

/// Steps that one item may still take. One step is some ten nanoseconds of arithmetic at most.
#[derive(Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// A budget of `steps`.
    pub fn new(steps: u64) -> Self {
        Self { left: steps }
    }

    /// Takes `steps`, before the work that they pay for.
    ///
    /// # Errors
    /// [`Unread::Limit`] when they are not there; the budget is then empty.
    pub fn spend(&mut self, steps: u64) -> Result<(), Unread> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Unread::Limit("steps"))
            }
        }
    }
}
