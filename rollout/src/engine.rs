//! Continuous batching: each step takes every open sequence one token further, by forwards over the new prompts' rows and one row of each
//! running sequence.
//!
//! ```text
//! submit ──> waiting ──admit──> prompt prefilled once ──> its samples run ──> finished group
//!             (bounded by        (pages shared by all      (own pages, freed      (in the order
//!              the caller)        samples)                  when a sample ends)     groups complete)
//! ```
//!
//! A group is admitted when its samples may be open and its pages, at their longest, fit in the cache; so a running sequence never waits
//! for memory. Where more sequences are open than a forward takes, they take turns within the step. What a row computes does not depend on
//! its neighbours (INV-2), so the batch decides speed and nothing else: neither what is sampled nor after how many steps.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use data::{Author, CounterRng, Finish, KeptSets, Trajectory};
use policy::cache::Page;
use policy::{KeyIndex, Keys, Model, PagedCache, Rows, Task};
use tch::{Device, Kind, Tensor};

use crate::recorded::{Recorded, Trace};
use crate::request::{Begun, EngineError, FinishedGroup, Request};
use crate::sampler::Sampling;

/// How the engine is sized.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Most sequences of a forward. What a step does, and which groups end with it, does not depend on it.
    pub batch: usize,
    /// Most sequences that are open: begun and not ended, each with its part of the cache.
    pub open: usize,
    /// Positions of a cache page.
    pub page: usize,
    /// Positions that the cache holds. A group that could not fit even alone is refused.
    pub cache_positions: usize,
    /// Record the indexer's selections.
    pub record_selections: bool,
    /// Record the experts that rows go through.
    pub record_experts: bool,
    /// The run's seed, which keys sampling.
    pub seed: u64,
}

/// The sampling engine.
#[derive(Debug)]
pub struct Engine {
    settings: EngineSettings,
    sampling: Sampling,
    context: usize,
    vocabulary: usize,
    cache: PagedCache,
    pages: usize,
    /// Pages promised to admitted groups and not yet taken.
    promised: usize,
    waiting: VecDeque<Request>,
    groups: Vec<Group>,
    running: Vec<Sequence>,
    stop_check: Option<StopCheck>,
    /// Tokens that went through the forward, prompts included.
    pub rows_computed: u64,
    /// Tokens sampled.
    pub tokens_sampled: u64,
}

type CompletionTest = dyn Fn(&[u32]) -> bool + Send;

struct StopCheck(Box<CompletionTest>);

impl std::fmt::Debug for StopCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StopCheck")
    }
}

#[derive(Debug)]
struct Group {
    request: Request,
    pages: Vec<Page>,
    slots: Vec<u32>,
    trace: Trace,
    finished: Vec<Option<Trajectory>>,
    left: usize,
    /// Between admission and the forward that follows it: the samples that go on.
    begun: Vec<Sequence>,
}

#[derive(Debug)]
struct Sequence {
    /// The group's [`Request::id`].
    group: usize,
    rng: CounterRng,
    slots: Vec<u32>,
    pages: Vec<Page>,
    /// Pages still promised to it.
    promised: usize,
    trace: Trace,
    trajectory: Trajectory,
}

/// The rows of one step, as they are gathered.
#[derive(Default)]
struct Step {
    tokens: Vec<i64>,
    index: KeyIndex,
    /// Rows whose logits are wanted.
    wanted: Vec<i64>,
}

impl Step {
    fn push(&mut self, sequence: usize, position: usize, token: u32) -> usize {
        self.tokens.push(i64::from(token));
        self.index.sequence.push(sequence as u32);
        self.index.position.push(position as u32);
        self.tokens.len() - 1
    }

    /// All the rows of a sequence that goes on, the shared prompt's apart.
    fn push_own(&mut self, sequence: &Sequence) {
        let number = self.index.slots.len();
        self.index.slots.push(sequence.slots.clone());
        let t = &sequence.trajectory;
        let rows = (t.prompt_len..t.tokens.len()).map(|position| self.push(number, position, t.tokens[position]));
        let last = rows.last().expect("a sample that has begun has a token");
        self.wanted.push(last as i64);
    }
}

impl Engine {
    /// An engine for models of `model`'s shape.
    pub fn new(model: &Model, settings: EngineSettings, sampling: Sampling) -> Self {
        let pages = settings.cache_positions.div_ceil(settings.page).max(1);
        Self {
            context: model.context(),
            vocabulary: model.config.vocab_size as usize,
            cache: PagedCache::new(&model.config, pages, settings.page, model.device()),
            pages,
            settings,
            sampling,
            promised: 0,
            waiting: VecDeque::new(),
            groups: Vec::new(),
            running: Vec::new(),
            stop_check: None,
            rows_computed: 0,
            tokens_sampled: 0,
        }
    }

    /// Queues a group.
    ///
    /// # Errors
    /// [`EngineError`] for a group that could never run.
    pub fn submit(&mut self, request: Request) -> Result<(), EngineError> {
        let prompt_id = request.prompt_id.clone();
        if request.tokens.is_empty() {
            return Err(EngineError::EmptyPrompt { prompt_id });
        }
        if request.tokens.len() >= self.context {
            return Err(EngineError::PromptTooLong { prompt_id, tokens: request.tokens.len(), context: self.context });
        }
        if let Some(&token) = request.tokens.iter().find(|&&t| t as usize >= self.vocabulary) {
            return Err(EngineError::UnknownToken { prompt_id, token, vocabulary: self.vocabulary });
        }
        let needed = self.pages_needed(&request);
        if needed > self.pages {
            return Err(EngineError::CacheTooSmall { prompt_id, needed, pages: self.pages });
        }
        self.waiting.push_back(request);
        Ok(())
    }

    /// Ends a completion also where `check` says so of its tokens: for stop strings, which need a tokenizer.
    pub fn stop_when(&mut self, check: impl Fn(&[u32]) -> bool + Send + 'static) {
        self.stop_check = Some(StopCheck(Box::new(check)));
    }

    /// Takes out every group that waits or runs, in the order of admission. Submitted again in that order, here or in another process,
    /// each goes on after the tokens that it has, and ends in the step in which it would have ended.
    pub fn drain(&mut self) -> Vec<Request> {
        let mut running: Vec<Option<Sequence>> = std::mem::take(&mut self.running).into_iter().map(Some).collect();
        let groups = std::mem::take(&mut self.groups);
        let mut requests = Vec::with_capacity(groups.len() + self.waiting.len());
        for group in groups {
            let finished = group.finished.into_iter().map(|t| t.map(Begun::Finished));
            let mut begun: Vec<Option<Begun>> = finished.collect();
            for sequence in running.iter_mut().filter(|s| s.as_ref().is_some_and(|s| s.group == group.request.id)) {
                let sequence = sequence.take().expect("the filter saw one");
                self.promised -= sequence.promised;
                sequence.pages.iter().for_each(|&page| self.cache.release(page));
                let sample = sequence.trajectory.sample as usize;
                begun[sample] = Some(Begun::Running(sequence.trajectory));
            }
            group.pages.iter().for_each(|&page| self.cache.release(page));
            let begun = begun.into_iter().map(|b| b.expect("a sample runs or is finished")).collect();
            requests.push(Request { begun, ..group.request });
        }
        requests.extend(std::mem::take(&mut self.waiting));
        requests
    }

    /// The samples that have begun, of all groups that wait or run.
    pub fn begun(&self) -> impl Iterator<Item = &Trajectory> {
        let waiting = self.waiting.iter().flat_map(|request| &request.begun).map(|begun| match begun {
            Begun::Running(t) | Begun::Finished(t) => t,
        });
        let finished = self.groups.iter().flat_map(|group| group.finished.iter().flatten());
        waiting.chain(finished).chain(self.running.iter().map(|sequence| &sequence.trajectory))
    }

    /// Forgets what the cache holds; the next step computes it anew from the tokens. Call it where the weights change, so that all that
    /// a token attends to comes from the weights that sample it. Without it the old keys and values stay in use.
    pub fn recompute(&mut self) {
        self.waiting = self.drain().into();
    }

    /// Bytes of its cache of keys.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// True when nothing waits or runs.
    pub fn idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Admits what fits, samples one token for every open sequence, and returns the groups that ended with it, in the order of admission.
    ///
    /// `version` is recorded as the weights version of the tokens sampled in this step.
    pub fn step(&mut self, model: &Model, version: u64) -> Vec<FinishedGroup> {
        tch::no_grad(|| {
            let admitted = self.admit();
            let mut running = std::mem::take(&mut self.running);
            let live = admitted.iter().map(|&g| self.groups[g].left).chain(running.iter().map(|_| 1));
            let mut started = Vec::new();
            for turn in turns(&live.collect::<Vec<_>>(), self.settings.batch) {
                let new = turn.start.min(admitted.len())..turn.end.min(admitted.len());
                let old =
                    turn.start.max(admitted.len()) - admitted.len()..turn.end.max(admitted.len()) - admitted.len();
                started.extend(self.turn(model, version, &admitted[new], &mut running[old]));
            }
            running.extend(started);
            self.running = running;
            self.collect()
        })
    }

    /// One forward: a token for the samples of the groups `admitted` and for each of `running`. Answers with the former.
    fn turn(&mut self, model: &Model, version: u64, admitted: &[usize], running: &mut [Sequence]) -> Vec<Sequence> {
        let step = self.gather(admitted, running);
        self.rows_computed += step.tokens.len() as u64;
        let rows = Rows { tokens: step.tokens, index: Arc::new(step.index) };
        let (record, record_experts) = (self.settings.record_selections, self.settings.record_experts);
        let task = Task { record, record_experts, ..Task::plain(model) };
        let forward = model.forward(&rows, Keys::Cached(&mut self.cache), &task);
        let flat = logits(model, &forward.hidden, &step.wanted);
        self.advance(admitted, running, &flat, version, &Recorded::of(&forward))
    }

    /// Most new tokens that a prompt of this length can get.
    fn most_new(&self, prompt: usize) -> usize {
        self.sampling.max_new_tokens.min(self.context - prompt)
    }

    /// Pages of a group at its longest: the shared prompt's, and each sample's own. The last token is never fed.
    fn pages_needed(&self, request: &Request) -> usize {
        let own = self.most_new(request.tokens.len()).saturating_sub(1).div_ceil(self.settings.page);
        request.tokens.len().div_ceil(self.settings.page) + request.live() * own
    }

    fn admit(&mut self) -> Vec<usize> {
        let mut admitted = Vec::new();
        let mut sequences = self.running.len();
        while let Some(next) = self.waiting.front() {
            let fits = sequences == 0 || sequences + next.live() <= self.settings.open;
            let needed = self.pages_needed(next);
            if !fits || needed + self.promised > self.cache.free_pages() {
                break;
            }
            sequences += next.live();
            let request = self.waiting.pop_front().expect("it is in front");
            admitted.push(self.groups.len());
            self.open(request, needed);
        }
        admitted
    }

    /// Takes the prompt's pages and promises the samples'.
    fn open(&mut self, mut request: Request, needed: usize) {
        let page = self.cache.page();
        let pages: Vec<Page> = (0..request.tokens.len().div_ceil(page))
            .map(|_| self.cache.take().expect("admission counted it"))
            .collect();
        let slots = (0..request.tokens.len()).map(|p| self.cache.slot(pages[p / page], p % page)).collect();
        self.promised += needed - pages.len();
        let (mut finished, left) = (vec![None; request.samples], request.live());
        let mut begun = Vec::new();
        for sample in std::mem::take(&mut request.begun) {
            match sample {
                Begun::Running(t) => begun.push(t),
                Begun::Finished(t) => {
                    let number = t.sample as usize;
                    finished[number] = Some(t);
                }
            }
        }
        let trace = Trace::default();
        let mut group = Group { request, pages, slots, trace, finished, left, begun: Vec::new() };
        group.begun = begun.into_iter().map(|trajectory| self.go_on(&group, trajectory)).collect();
        self.groups.push(group);
    }

    /// A sequence that has tokens already, with room in the cache for them.
    fn go_on(&mut self, group: &Group, trajectory: Trajectory) -> Sequence {
        let mut sequence = self.start(group, trajectory.sample as usize);
        for _ in trajectory.completion() {
            self.extend(&mut sequence);
        }
        sequence.trajectory = trajectory;
        sequence
    }

    /// Gives a sequence one more position of the cache.
    fn extend(&mut self, sequence: &mut Sequence) {
        let offset = (sequence.slots.len() - sequence.trajectory.prompt_len) % self.settings.page;
        if offset == 0 {
            sequence.pages.push(self.cache.take().expect("admission promised it"));
            sequence.promised -= 1;
            self.promised -= 1;
        }
        let page = *sequence.pages.last().expect("its first position opened one");
        sequence.slots.push(self.cache.slot(page, offset));
    }

    fn gather(&mut self, admitted: &[usize], running: &mut [Sequence]) -> Step {
        let mut step = Step::default();
        for &g in admitted {
            let group = &self.groups[g];
            let sequence = step.index.slots.len();
            step.index.slots.push(group.slots.clone());
            let last = group.request.tokens.iter().enumerate().map(|(p, &t)| step.push(sequence, p, t)).last();
            if group.begun.is_empty() {
                step.wanted.push(last.expect("a prompt has tokens") as i64);
            }
            for begun in &group.begun {
                step.push_own(begun);
            }
        }
        for sequence in running {
            self.extend(sequence);
            let position = sequence.trajectory.tokens.len() - 1;
            let number = step.index.slots.len();
            step.index.slots.push(sequence.slots.clone());
            let token = *sequence.trajectory.tokens.last().expect("it has a prompt");
            let row = step.push(number, position, token);
            step.wanted.push(row as i64);
        }
        step
    }

    /// Samples from the logits, rows of the admitted prompts first, then the running sequences'.
    fn advance(
        &mut self,
        admitted: &[usize],
        running: &mut [Sequence],
        logits: &[f32],
        version: u64,
        recorded: &Recorded,
    ) -> Vec<Sequence> {
        let mut rows = logits.chunks_exact(self.vocabulary);
        let mut fed = 0;
        let mut started = Vec::new();
        for &g in admitted {
            let prompt = self.groups[g].request.tokens.len();
            recorded.append(fed..fed + prompt, &mut self.groups[g].trace);
            fed += prompt;
            let begun = std::mem::take(&mut self.groups[g].begun);
            if begun.is_empty() {
                let row = rows.next().expect("one row of logits a prompt");
                for sample in 0..self.groups[g].request.samples {
                    let mut sequence = self.start(&self.groups[g], sample);
                    self.sample(&mut sequence, row, version);
                    started.push(sequence);
                }
            }
            for mut sequence in begun {
                let own = sequence.trajectory.completion_len();
                sequence.trace.clone_from(&self.groups[g].trace);
                recorded.append(fed..fed + own, &mut sequence.trace);
                fed += own;
                self.sample(&mut sequence, rows.next().expect("one row of logits a sample"), version);
                started.push(sequence);
            }
        }
        for sequence in running {
            recorded.append(fed..fed + 1, &mut sequence.trace);
            fed += 1;
            self.sample(sequence, rows.next().expect("one row of logits a sequence"), version);
        }
        started
    }

    fn start(&self, group: &Group, sample: usize) -> Sequence {
        let request = &group.request;
        let prompt_len = request.tokens.len();
        Sequence {
            group: request.id,
            rng: CounterRng::new(self.settings.seed, &format!("sample/{}/{sample}", request.key)),
            slots: group.slots.clone(),
            pages: Vec::new(),
            promised: self.most_new(prompt_len).saturating_sub(1).div_ceil(self.settings.page),
            trace: group.trace.clone(),
            trajectory: Trajectory {
                prompt_id: request.prompt_id.clone(),
                sample: sample as u32,
                tokens: request.tokens.clone(),
                authors: vec![Author::Prompt; prompt_len],
                prompt_len,
                logprobs: Vec::new(),
                versions: Vec::new(),
                kept: KeptSets::default(),
                selections: None,
                routing: None,
                finish: Finish::Length,
            },
        }
    }

    fn sample(&mut self, sequence: &mut Sequence, logits: &[f32], version: u64) {
        let t = &mut sequence.trajectory;
        let choice = self.sampling.choose(logits, sequence.rng.uniform_at(t.tokens.len() as u64));
        t.tokens.push(choice.token);
        t.authors.push(Author::Policy);
        t.logprobs.push(choice.log_prob);
        t.versions.push(version);
        if let Some(kept) = choice.kept {
            t.kept.push(&kept);
        }
        self.tokens_sampled += 1;
    }

    /// Takes out the sequences that ended, and the groups that ended with them.
    fn collect(&mut self) -> Vec<FinishedGroup> {
        let running = std::mem::take(&mut self.running);
        for mut sequence in running {
            let t = &mut sequence.trajectory;
            let stopped = t.tokens.last().is_some_and(|last| self.sampling.stop_tokens.contains(last))
                || self.stop_check.as_ref().is_some_and(|check| check.0(t.completion()));
            if !stopped && t.completion_len() < self.most_new(t.prompt_len) {
                self.running.push(sequence);
                continue;
            }
            t.finish = if stopped { Finish::Stop } else { Finish::Length };
            self.close(sequence);
        }
        let mut done = Vec::new();
        self.groups.retain_mut(|group| {
            if group.left > 0 {
                return true;
            }
            group.pages.drain(..).for_each(|page| self.cache.release(page));
            let trajectories = group.finished.drain(..).map(|t| t.expect("none is left")).collect();
            done.push(FinishedGroup { id: group.request.id, trajectories });
            false
        });
        done
    }

    fn close(&mut self, sequence: Sequence) {
        self.promised -= sequence.promised;
        sequence.pages.iter().for_each(|&page| self.cache.release(page));
        let group = self.groups.iter_mut().find(|g| g.request.id == sequence.group).expect("a sequence has a group");
        let mut trajectory = sequence.trajectory;
        (trajectory.selections, trajectory.routing) = sequence.trace.finish(trajectory.tokens.len() - 1);
        let sample = trajectory.sample as usize;
        group.finished[sample] = Some(trajectory);
        group.left -= 1;
    }
}

/// Cuts what takes `live` sequences each into turns of at most `batch` of them, about equally many a turn. What takes more by itself has
/// a turn of its own.
pub fn turns(live: &[usize], batch: usize) -> Vec<Range<usize>> {
    let all: usize = live.iter().sum();
    let most = all.div_ceil(all.div_ceil(batch.max(1)).max(1));
    let (mut turns, mut start, mut sequences) = (Vec::new(), 0, 0);
    for (i, &live) in live.iter().enumerate() {
        if i > start && sequences + live > most {
            turns.push(start..i);
            (start, sequences) = (i, 0);
        }
        sequences += live;
    }
    if start < live.len() {
        turns.push(start..live.len());
    }
    turns
}

/// The logits of the wanted rows, one after the other, on the host.
fn logits(model: &Model, hidden: &Tensor, wanted: &[i64]) -> Vec<f32> {
    let wanted = Tensor::from_slice(wanted).to_device(model.device());
    let logits = model.logits(&hidden.index_select(0, &wanted)).to_device(Device::Cpu).to_kind(Kind::Float);
    Vec::<f32>::try_from(logits.flatten(0, 1)).expect("logits are f32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one turn is a list of one range")]
    fn turns_are_even_and_take_all_in_order() {
        assert_eq!(turns(&[1; 65], 64), [0..33, 33..65]);
        assert_eq!(turns(&[4, 4, 1, 1, 1], 64), [0..5]);
        assert_eq!(turns(&[4, 4, 1, 1, 1], 3), [0..1, 1..2, 2..5], "a group stays together");
        assert_eq!(turns(&[2, 2, 2, 2], 4), [0..2, 2..4]);
        assert_eq!(turns(&[], 4), [0..0; 0]);
    }
}
