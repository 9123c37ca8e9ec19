//! When verdicts are seen in the `timed` schedule, without clock or IO: those that have come when the sampler looks, or, where a step is
//! in the log, those that were seen then.

use std::collections::VecDeque;

/// That a group's verdicts were there: after how many steps of the sampler since the last step of the learner, and which group.
pub type Seen = (u64, u64);

/// What is seen in one step of the learner.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// What the log says; it is decided again.
    logged: Option<VecDeque<Seen>>,
}

impl Sight {
    /// That of a step whose decisions are still to be taken.
    pub fn new() -> Self {
        Self::default()
    }

    /// That of a step that the log has, of whose decisions the first `taken` are behind it.
    pub fn logged(all: impl IntoIterator<Item = Seen>, taken: usize) -> Self {
        Self { logged: Some(all.into_iter().skip(taken).collect()) }
    }

    /// The groups to judge at `tick` among those that have `finished`: the logged ones, or those whose verdicts are there. Where the
    /// sampler is `idle`, the first of them is waited for.
    pub fn at(&mut self, tick: u64, finished: &[u64], idle: bool, is_there: impl Fn(u64) -> bool) -> Vec<u64> {
        if let Some(logged) = &mut self.logged {
            let now = logged.iter().take_while(|(at, id)| *at == tick && finished.contains(id)).count();
            return logged.drain(..now).map(|(_, id)| id).collect();
        }
        let mut now: Vec<u64> = finished.iter().copied().filter(|id| is_there(*id)).collect();
        if now.is_empty() && idle {
            now.extend(finished.first());
        }
        now
    }
}
