//! The budget of one test: CPU time, and time by the clock in which the program could have run.
//!
//! Out of the time by the clock are taken: waits for a processor, the program's and those of its supervisor when the program had said
//! something; another's turn; and times in which everything stood still, as when the machine was suspended or all of it stopped. A reward must
//! not depend on what else the machine does. Who computes on several cores at once has, beside other work, less than by an idle machine's clock.

use std::time::{Duration, Instant};

use super::waits::SLOW;

/// So many times its limit by the clock may a test take with all that it waited for a processor.
const PATIENCE: f64 = 4.0;
/// A supervisor that looks again so much later than it meant to was stopped, or the machine was.
const STOOD_STILL: Duration = Duration::from_secs(1);
/// How often a clock is looked at while little of the budget is left.
const MIN_WAIT: Duration = Duration::from_millis(2);

/// The budget of one test.
#[derive(Debug)]
pub(super) struct Clock {
    cpu_began: Duration,
    cpu_end: Duration,
    /// Time in which the program could run.
    limit: Duration,
    /// Time with waits for a processor.
    patience: Duration,
    started: Instant,
    /// What the run had waited before.
    waited_before: Duration,
    /// Waits of the supervisor itself.
    lag: Duration,
    /// Time that is nobody's here.
    stood: Duration,
}

/// What is left of a budget.
#[derive(Debug, PartialEq)]
pub(super) enum Left {
    /// Look again after so long.
    For(Duration),
    Nothing,
    /// The program could have gone on, and was kept waiting so long that nobody waits any more.
    Patience(Duration),
}

impl Clock {
    /// A budget that starts now, of a run that has used `cpu` and `waited` so far.
    pub fn new(time_s: f64, wall_s: f64, cpu: Duration, waited: Duration) -> Self {
        Self {
            cpu_began: cpu,
            cpu_end: cpu + Duration::from_secs_f64(time_s),
            limit: Duration::from_secs_f64(wall_s),
            patience: Duration::from_secs_f64(wall_s * PATIENCE),
            started: Instant::now(),
            waited_before: waited,
            lag: Duration::ZERO,
            stood: Duration::ZERO,
        }
    }

    /// One for what is no program's work: any CPU time, and no more by the clock than `limit`, whoever waited.
    pub fn of_setup(limit: Duration) -> Self {
        let clock = Self::new(0.0, limit.as_secs_f64(), Duration::ZERO, Duration::ZERO);
        Self { cpu_began: Duration::MAX, cpu_end: Duration::MAX, patience: limit, ..clock }
    }

    /// Takes out the time by the clock since then: it was another's turn.
    pub fn stood_since(&mut self, turn: Instant) {
        self.stood += turn.elapsed();
    }

    /// True where it pays to ask how long somebody waited.
    pub fn is_slow(&self) -> bool {
        self.started.elapsed() >= SLOW
    }

    /// Tells of one sleep of the supervisor: how long it should have been at most, how long it was, what of it the run is known to have waited
    /// for a processor, and what the supervisor itself did after the program had said something.
    pub fn slept(&mut self, meant: Duration, slept: Duration, waited: Duration, lag: Duration) {
        let beyond = slept.saturating_sub(meant);
        if beyond > STOOD_STILL {
            self.stood += beyond.saturating_sub(waited);
        } else {
            self.lag += lag.min(slept);
        }
    }

    /// What is left for a run that has used `cpu` and has `waited`, both since its start.
    pub fn left(&self, cpu: Duration, waited: Duration) -> Left {
        self.left_after(self.started.elapsed(), cpu, waited)
    }

    fn left_after(&self, elapsed: Duration, cpu: Duration, waited: Duration) -> Left {
        let by_clock = elapsed.saturating_sub(self.stood);
        let waited = waited.saturating_sub(self.waited_before) + self.lag;
        let wall = self.limit.saturating_sub(by_clock.saturating_sub(waited));
        // Who has computed for as long as its limit by the clock would have passed it on an idle machine too.
        let computed = by_clock.min(cpu.saturating_sub(self.cpu_began));
        let cpu = self.cpu_end.saturating_sub(cpu);
        if wall.is_zero() || cpu.is_zero() || computed >= self.limit {
            Left::Nothing
        } else if by_clock >= self.patience {
            Left::Patience(waited)
        } else {
            Left::For(wall.min(cpu).max(MIN_WAIT))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn fresh() -> Clock {
        Clock::new(100.0, 10.0, s(1), s(5))
    }

    #[test]
    fn waits_for_a_processor_are_taken_out_up_to_a_limit() {
        let left = |elapsed, cpu, waited| fresh().left_after(s(elapsed), s(cpu), s(waited));
        assert_eq!(left(9, 1, 5), Left::For(s(1)));
        assert_eq!(left(10, 1, 5), Left::Nothing);
        assert_eq!(left(10, 1, 14), Left::For(s(9)));
        assert_eq!(left(30, 1, 26), Left::For(s(1)));
        assert_eq!(left(31, 1, 26), Left::Nothing);
        // What it has computed is no wait.
        assert_eq!(left(20, 10, 24), Left::For(s(9)));
        assert_eq!(left(20, 11, 24), Left::Nothing);
        // CPU time is CPU time, however long it took; and what slept is late, even then.
        assert_eq!(left(39, 101, 44), Left::Nothing);
        assert_eq!(left(40, 2, 44), Left::Patience(s(39)));
        assert_eq!(left(40, 2, 34), Left::Nothing);
    }

    #[test]
    fn a_standstill_is_nobodys_time() {
        let mut clock = fresh();
        clock.slept(Duration::from_millis(25), s(3600), Duration::ZERO, Duration::ZERO);
        assert!(matches!(clock.left_after(s(3605), s(1), s(5)), Left::For(_)));
        assert_eq!(clock.left_after(s(3611), s(1), s(5)), Left::Nothing);
        // What was waited meanwhile is not taken out twice.
        let mut clock = fresh();
        clock.slept(s(0), s(20), s(15), s(2));
        assert_eq!(clock.left_after(s(24), s(1), s(20)), Left::For(s(6)));
        // A look that is only a little late is none.
        let mut clock = fresh();
        (0..100).for_each(|_| clock.slept(Duration::from_millis(25), Duration::from_millis(500), s(0), s(0)));
        assert_eq!(clock.left_after(s(50), s(1), s(5)), Left::Nothing);
    }
}
