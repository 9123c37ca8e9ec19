//! Which groups are sampled, and which of them make the learner's next step, when sampling runs ahead of learning.
//!
//! ```text
//!            admit                 finish               judge                    take
//! prompts ─────────> being sampled ──────> to be judged ──────> with a signal ────────> the step
//!            (a free slot)                                └───> without one ──(with the step, to be logged)
//! ```
//!
//! No clock and no IO: what happens next is a function of what was told before, in that order, so that two runs which are told the same
//! do the same, and a simulator can drive it.
//!
//! **Staleness** is counted in versions of the weights: those of the step that learns from a token less those that sampled it. It is
//! bounded by construction. There are `(max_staleness + 1) · prompts` slots; a group holds its slot from admission until the weights
//! that learned from it are published; and a group that was admitted `max_staleness` versions ago must be in the next step, which waits
//! for it. All other groups are taken in the order in which they finish, so that a long one does not hold up a step.

use serde::{Deserialize, Serialize};

/// How far sampling may run ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Groups with a signal that make a step.
    pub prompts: usize,
    /// Most versions between the weights that sample a token and the step that learns from it.
    pub max_staleness: u64,
    /// How many times `prompts` groups without a signal a step replaces.
    pub max_refill: usize,
}

impl Limits {
    /// Groups that may be open besides those without a signal that others replace.
    pub fn slots(self) -> usize {
        (self.max_staleness as usize + 1) * self.prompts
    }

    /// Groups without a signal that others replace.
    fn replaced(self) -> usize {
        self.max_refill * self.prompts
    }
}

/// A group's way through the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Progress {
    Sampled,
    Finished,
    Judged { signal: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    id: u64,
    /// The version at admission: none of its tokens is older.
    admitted: u64,
    progress: Progress,
}

/// The groups of one step, each in the order in which they finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// To learn from.
    pub learned: Vec<u64>,
    /// Without a signal: logged, not learned from.
    pub idle: Vec<u64>,
}

/// The open groups of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    limits: Limits,
    /// The weights that sample now.
    version: u64,
    next: u64,
    /// Finished groups in the order of finishing, then the sampled ones in the order of admission.
    open: Vec<Open>,
}

impl Window {
    /// An empty window over weights of version 0.
    pub fn new(limits: Limits) -> Self {
        Self { limits, version: 0, next: 0, open: Vec::new() }
    }

    /// What it was made for.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The version of the weights that sample now.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The groups to start now: as many as there are free slots. As the stage ends, fewer are needed: `steps_left` of it are to come.
    pub fn admit(&mut self, steps_left: u64) -> std::ops::Range<u64> {
        let ahead = self.limits.max_staleness.min(steps_left.saturating_sub(1));
        let slots = (ahead as usize + 1) * self.limits.prompts;
        // Those beyond the refills hold their slots: the step ends with what it has.
        let held = self.open.len() - self.idle().min(self.limits.replaced());
        let first = self.next;
        self.next += slots.saturating_sub(held) as u64;
        let admitted = self.version;
        self.open.extend((first..self.next).map(|id| Open { id, admitted, progress: Progress::Sampled }));
        first..self.next
    }

    /// All samples of a group have ended.
    ///
    /// # Panics
    /// If the group is not being sampled.
    pub fn finish(&mut self, id: u64) {
        let at = self.place(id, Progress::Sampled);
        let mut group = self.open.remove(at);
        group.progress = Progress::Finished;
        let end = self.open.iter().take_while(|g| g.progress != Progress::Sampled).count();
        self.open.insert(end, group);
    }

    /// The finished groups whose verdicts decide whether the step can be taken; empty where it cannot be, whatever they are. So a
    /// verifier is waited for only where nothing else is left to do, and which groups wait for it depends on no clock.
    pub fn to_judge(&self) -> Vec<u64> {
        let finished = self.finished();
        let enough = self.enough(self.signals() + finished.len(), self.idle());
        if enough && self.overdue().all(|g| g.progress != Progress::Sampled) { finished } else { Vec::new() }
    }

    /// The finished groups that are not judged, in the order in which they finished.
    pub fn finished(&self) -> Vec<u64> {
        self.open.iter().filter(|g| g.progress == Progress::Finished).map(|g| g.id).collect()
    }

    /// A group's verdicts are there.
    ///
    /// # Panics
    /// If the group does not wait for them.
    pub fn judge(&mut self, id: u64, signal: bool) {
        let at = self.place(id, Progress::Finished);
        self.open[at].progress = Progress::Judged { signal };
    }

    /// True for an open group whose verdicts are there.
    pub fn is_judged(&self, id: u64) -> bool {
        self.open.iter().any(|g| g.id == id && matches!(g.progress, Progress::Judged { .. }))
    }

    /// True when the next step can be taken.
    pub fn ready(&self) -> bool {
        self.enough(self.signals(), self.idle())
            && self.overdue().all(|g| matches!(g.progress, Progress::Judged { .. }))
    }

    /// Takes the next step's groups out of the window.
    ///
    /// # Panics
    /// If the step is not ready.
    pub fn take(&mut self) -> Taken {
        assert!(self.ready(), "a step is taken when it is ready");
        let mut taken = Taken::default();
        let (limits, version) = (self.limits, self.version);
        let musts = self.open.iter().filter(|g| signals(g) && overdue(g, version, limits)).count();
        let mut others = limits.prompts.saturating_sub(musts);
        self.open.retain(|group| {
            if group.progress == (Progress::Judged { signal: false }) {
                taken.idle.push(group.id);
                return false;
            }
            let must = overdue(group, version, limits);
            if !signals(group) || !must && others == 0 {
                return true;
            }
            others -= usize::from(!must);
            taken.learned.push(group.id);
            false
        });
        taken
    }

    /// The step's weights are published: they sample from now on.
    pub fn publish(&mut self) {
        self.version += 1;
    }

    fn place(&self, id: u64, progress: Progress) -> usize {
        let place = self.open.iter().position(|g| g.id == id && g.progress == progress);
        place.unwrap_or_else(|| panic!("group {id} is not {progress:?}"))
    }

    fn signals(&self) -> usize {
        self.open.iter().filter(|g| signals(g)).count()
    }

    fn idle(&self) -> usize {
        self.open.iter().filter(|g| g.progress == Progress::Judged { signal: false }).count()
    }

    /// A step is full, or its refills are used up.
    fn enough(&self, signals: usize, idle: usize) -> bool {
        signals >= self.limits.prompts || signals + idle >= self.limits.prompts + self.limits.replaced()
    }

    fn overdue(&self) -> impl Iterator<Item = &Open> {
        self.open.iter().filter(|g| overdue(g, self.version, self.limits))
    }
}

/// True for a group that must be in the next step, or its oldest tokens would be too old for the one after.
fn overdue(group: &Open, version: u64, limits: Limits) -> bool {
    version - group.admitted >= limits.max_staleness
}

fn signals(group: &Open) -> bool {
    group.progress == Progress::Judged { signal: true }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use data::CounterRng;

    use super::*;

    /// A sampler whose groups take a random number of ticks, a few of them very long, and verdicts that come when they like. In a tick the
    /// oldest groups, as many as are in flight, go one token further, in the turns that the engine takes for its batch.
    struct Simulator {
        rng: CounterRng,
        in_flight: usize,
        batch: usize,
        window: Window,
        /// Ticks left and the version of each group's newest token.
        sampled: BTreeMap<u64, u64>,
        /// The version at admission.
        oldest: BTreeMap<u64, u64>,
    }

    impl Simulator {
        fn new(seed: u64, limits: Limits, batch: usize) -> Self {
            let rng = CounterRng::new(seed, "schedule");
            let in_flight = 1 + (rng.uniform_at(u64::MAX) * limits.slots() as f64) as usize;
            let (sampled, oldest) = (BTreeMap::new(), BTreeMap::new());
            Self { rng, in_flight, batch, window: Window::new(limits), sampled, oldest }
        }

        /// A property of a group, as its prompt would decide it.
        fn draw(&self, id: u64, what: u64) -> f64 {
            self.rng.uniform_at(id * 8 + what)
        }

        fn ticks(&self, id: u64) -> u64 {
            let long = if self.draw(id, 0) < 0.1 { 60.0 } else { 6.0 };
            1 + (self.draw(id, 1) * long) as u64
        }

        fn signal(&self, id: u64) -> bool {
            self.draw(id, 2) < 0.6
        }

        /// Runs to the next step and returns its groups. Checks what holds at every moment.
        fn step(&mut self, limits: Limits, left: u64) -> Taken {
            for _ in 0..100_000 {
                for id in self.window.admit(left) {
                    let ticks = self.ticks(id);
                    self.sampled.insert(id, ticks);
                    self.oldest.insert(id, self.window.version());
                }
                assert!(self.window.open.len() <= limits.slots() + limits.replaced(), "slots bound the open groups");
                for id in self.window.to_judge() {
                    self.window.judge(id, self.signal(id));
                }
                if self.window.ready() {
                    return self.window.take();
                }
                self.tick();
            }
            panic!("no step is ever ready: {:?}", self.window);
        }

        fn tick(&mut self) {
            let open: Vec<u64> = self.sampled.keys().copied().take(self.in_flight).collect();
            let samples: Vec<usize> = open.iter().map(|id| 1 + (self.draw(*id, 3) * 4.0) as usize).collect();
            for turn in rollout::turns(&samples, self.batch) {
                open[turn].iter().for_each(|id| *self.sampled.get_mut(id).expect("it is open") -= 1);
            }
            let done: Vec<u64> = self.sampled.iter().filter(|(_, left)| **left == 0).map(|(id, _)| *id).collect();
            for id in done {
                self.sampled.remove(&id);
                self.window.finish(id);
            }
        }
    }

    fn cases() -> impl Iterator<Item = (u64, Limits)> {
        (0..400).map(|seed| {
            let rng = CounterRng::new(seed, "limits");
            let draw = |at, most: f64| (rng.uniform_at(at) * most) as usize;
            let limits =
                Limits { prompts: 1 + draw(0, 8.0), max_staleness: draw(1, 4.0) as u64, max_refill: draw(2, 3.0) };
            (seed, limits)
        })
    }

    /// Steps of a seed; after those that `crash` names everything is lost but what was saved when the step before was published.
    fn steps(seed: u64, limits: Limits, batch: usize, count: usize, crash: impl Fn(usize) -> bool) -> Vec<Taken> {
        let mut sim = Simulator::new(seed, limits, batch);
        let mut all = Vec::new();
        for step in 0..count {
            let saved = serde_json::to_string(&(&sim.window, &sim.sampled, &sim.oldest)).expect("it is plain");
            let left = (count - step) as u64;
            if crash(step) {
                sim.step(limits, left);
                let (window, sampled, oldest) = serde_json::from_str(&saved).expect("as it was written");
                sim = Simulator { window, sampled, oldest, ..Simulator::new(seed, limits, batch) };
            }
            let taken = sim.step(limits, left);
            for id in taken.learned.iter().chain(&taken.idle) {
                let staleness = sim.window.version() - sim.oldest[id];
                assert!(staleness <= limits.max_staleness, "seed {seed}: group {id} is {staleness} versions old");
            }
            sim.window.publish();
            all.push(taken);
        }
        all
    }

    #[test]
    fn inv_9_every_step_comes_and_no_token_is_older_than_the_bound() {
        for (seed, limits) in cases() {
            let all = steps(seed, limits, 64, 30, |_| false);
            for taken in &all {
                let full = taken.learned.len() >= limits.prompts;
                let used_up = taken.learned.len() + taken.idle.len() >= limits.prompts + limits.replaced();
                assert!(full || used_up, "seed {seed}: {taken:?}");
            }
            let mut ids: Vec<u64> = all.iter().flat_map(|t| t.learned.iter().chain(&t.idle)).copied().collect();
            let taken = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), taken, "seed {seed}: a group is taken once");
        }
    }

    #[test]
    fn inv_6_a_crash_at_any_step_changes_nothing() {
        for (seed, limits) in cases().take(100) {
            let whole = steps(seed, limits, 64, 12, |_| false);
            assert_eq!(steps(seed, limits, 64, 12, |step| step % 3 == 1), whole, "seed {seed}");
        }
    }

    #[test]
    fn inv_2_the_sampler_s_batch_does_not_show_in_the_schedule() {
        for (seed, limits) in cases().take(100) {
            let whole = steps(seed, limits, 64, 12, |_| false);
            for batch in [1, 3, 16] {
                assert_eq!(steps(seed, limits, batch, 12, |step| step % 4 == 2), whole, "seed {seed}, batch {batch}");
            }
        }
    }

    #[test]
    fn long_groups_do_not_hold_up_a_step_while_they_are_young() {
        let limits = Limits { prompts: 2, max_staleness: 1, max_refill: 0 };
        let mut window = Window::new(limits);
        assert_eq!(window.admit(9), 0..4);
        for id in [3, 1] {
            window.finish(id);
        }
        assert_eq!(window.to_judge(), [3, 1]);
        for id in [3, 1] {
            window.judge(id, true);
        }
        assert_eq!(window.take(), Taken { learned: vec![3, 1], idle: vec![] });
        window.publish();
        assert_eq!(window.admit(9), 4..6);
        for id in [4, 5] {
            window.finish(id);
        }
        assert_eq!(window.to_judge(), [0u64; 0], "groups 0 and 2 are due");
        for id in [2, 0] {
            window.finish(id);
        }
        assert_eq!(window.to_judge(), [4, 5, 2, 0]);
        for id in [4, 5, 2, 0] {
            window.judge(id, true);
        }
        assert_eq!(window.take(), Taken { learned: vec![2, 0], idle: vec![] });
    }

    #[test]
    fn groups_without_a_signal_are_replaced_until_the_refills_are_used_up() {
        let limits = Limits { prompts: 2, max_staleness: 0, max_refill: 1 };
        let mut window = Window::new(limits);
        let mut admitted = Vec::new();
        for signal in [false, false, true] {
            let ids = window.admit(9);
            admitted.push(ids.clone().count());
            ids.clone().for_each(|id| window.finish(id));
            assert_eq!(window.to_judge(), ids.clone().collect::<Vec<_>>());
            ids.for_each(|id| window.judge(id, signal && id % 2 == 0));
            if window.ready() {
                break;
            }
        }
        assert_eq!(admitted, [2, 2], "one round is replaced, and then the step ends with what it has");
        assert_eq!(window.take(), Taken { learned: vec![], idle: vec![0, 1, 2, 3] });
    }
}
