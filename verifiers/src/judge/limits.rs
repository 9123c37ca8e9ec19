//! How fast a judge may be asked: token buckets for requests and for tokens a minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A bucket that fills at a rate and never holds more than two seconds' worth, so that a minute's allowance is not spent in
/// a burst.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    level: f64,
}

impl Bucket {
    fn new(per_minute: usize) -> Option<Self> {
        let per_second = per_minute as f64 / 60.0;
        (per_minute > 0).then(|| Self { per_second, level: Self::capacity(per_second) })
    }

    fn capacity(per_second: f64) -> f64 {
        (2.0 * per_second).max(1.0)
    }

    /// Takes `amount` and says how long to wait until it is there. A level below 0 is what others wait for already.
    fn take(&mut self, amount: f64) -> Duration {
        self.level -= amount;
        Duration::from_secs_f64((-self.level / self.per_second).max(0.0))
    }

    fn fill(&mut self, seconds: f64) {
        self.level = (self.level + seconds * self.per_second).min(Self::capacity(self.per_second));
    }
}

/// Both buckets.
#[derive(Debug)]
pub struct Pace {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    filled: Instant,
}

impl Pace {
    /// A pace of so many a minute; 0: no limit.
    pub fn new(requests_per_minute: usize, tokens_per_minute: usize) -> Self {
        let (requests, tokens) = (Bucket::new(requests_per_minute), Bucket::new(tokens_per_minute));
        Self { state: Mutex::new(State { requests, tokens, filled: Instant::now() }) }
    }

    /// Reserves one request of `tokens` at the time `now`: how long to wait before it is sent.
    pub fn reserve(&self, tokens: usize, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = now.saturating_duration_since(state.filled).as_secs_f64();
        state.filled = state.filled.max(now);
        let mut wait = Duration::ZERO;
        let State { requests, tokens: of_tokens, .. } = &mut *state;
        for (bucket, amount) in [(requests, 1.0), (of_tokens, tokens as f64)] {
            if let Some(bucket) = bucket {
                bucket.fill(seconds);
                wait = wait.max(bucket.take(amount));
            }
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spread_over_the_minute() {
        let pace = Pace::new(60, 0);
        let start = Instant::now();
        let waits: Vec<f64> = (0..5).map(|_| pace.reserve(10, start).as_secs_f64()).collect();
        // Two seconds' worth at once, then one a second.
        assert_eq!(waits, [0.0, 0.0, 1.0, 2.0, 3.0]);
        let later = start + Duration::from_secs(4);
        assert_eq!(pace.reserve(10, later).as_secs_f64(), 0.0);
        assert_eq!(pace.reserve(10, later).as_secs_f64(), 1.0);
    }

    #[test]
    fn tokens_are_limited_too_and_no_limit_never_waits() {
        let pace = Pace::new(0, 6_000);
        let start = Instant::now();
        assert_eq!(pace.reserve(200, start), Duration::ZERO);
        assert_eq!(pace.reserve(100, start), Duration::from_secs(1));
        let free = Pace::new(0, 0);
        assert!((0..1_000).all(|_| free.reserve(1_000_000, start).is_zero()));
    }
}
