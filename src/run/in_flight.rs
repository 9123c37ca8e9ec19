//! What is in flight when a checkpoint is written, kept beside the weights, so that a resumed stage goes on in the middle of every sample:
//! nothing unfinished is dropped, and long completions are not the ones that are lost.

use std::io::Write;
use std::path::Path;

use data::{Prompt, Trajectory};
use rollout::{Begun, FinishedGroup};
use serde::{Deserialize, Serialize};

use super::Run;
use super::ahead::{Ahead, Open, Progress};
use super::decisions::Seen;
use super::judge::Verdicts;
use super::prompts::{Cursor, Stream};
use super::sample::{Round, scored, send, text};
use crate::exit::{Code, Failure, OrFail};
use crate::schedule::{Limits, Window};

/// The file in a checkpoint's folder.
const IN_FLIGHT: &str = "in-flight.json";

/// What it holds.
#[derive(Serialize, Deserialize)]
struct InFlight {
    window: Window,
    cursor: Cursor,
    /// Where the sampler stands between two steps of the learner.
    tick: u64,
    seen: Vec<Seen>,
    /// Groups that are being sampled, in the engine's order, then those that wait for verdicts or for their step.
    groups: Vec<Kept>,
}

/// What is kept of an open group.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: u64,
    prompt: Prompt,
    key: String,
    version: u64,
    /// Samples that have begun, by number; none where the group waits to be admitted by the engine.
    samples: Vec<KeptSample>,
    /// What was said of them, once it counted.
    verdicts: Option<Verdicts>,
}

#[derive(Serialize, Deserialize)]
struct KeptSample {
    finished: bool,
    trajectory: Trajectory,
}

impl Ahead {
    /// Goes on as `checkpoint` left it, and moves `stream` to where it stood.
    ///
    /// # Errors
    /// [`Code::Checkpoint`] where what was in flight cannot be read.
    pub fn restore(
        mut self,
        run: &Run,
        round: &Round<'_>,
        stream: &mut Stream,
        checkpoint: &Path,
    ) -> Result<Self, Failure> {
        let path = checkpoint.join(IN_FLIGHT);
        let text = std::fs::read_to_string(&path).or_fail(Code::Checkpoint);
        let kept = text.and_then(|text| serde_json::from_str(&text).or_fail(Code::Checkpoint));
        let kept: InFlight = kept.map_err(|f| f.context(path.display()))?;
        self.same_limits(kept.window.limits()).map_err(|f| f.context(path.display()))?;
        (self.window, self.tick, self.seen) = (kept.window, kept.tick, kept.seen);
        stream.cursor = kept.cursor;
        kept.groups.into_iter().try_for_each(|group| self.go_on(run, round, group))?;
        Ok(self)
    }

    /// What is open was admitted under limits of its own: others, set in between, would not hold for it.
    fn same_limits(&self, kept: Limits) -> Result<(), Failure> {
        let (now, words) = (self.limits, |of: Limits| {
            format!("{} prompts a step, max_staleness {}, max_refill {}", of.prompts, of.max_staleness, of.max_refill)
        });
        if kept == now {
            return Ok(());
        }
        let message = format!("it was made with {}, and the recipe says {}", words(kept), words(now));
        Err(Failure::new(Code::Checkpoint, message).hint("set them in the run's resolved.toml as they were"))
    }

    /// Keeps all that is in flight in a checkpoint's folder. Sampling goes on as if it had not been asked.
    ///
    /// # Errors
    /// [`Code::Disk`].
    pub fn save(&mut self, stream: &Stream, folder: &Path) -> Result<(), Failure> {
        let requests = self.engine.drain();
        let mut groups: Vec<Kept> = requests.iter().map(|r| self.kept(r.id as u64, r.begun.clone())).collect();
        for (id, open) in self.open.iter().filter(|(_, open)| !matches!(open.progress, Progress::Sampling)) {
            let trajectories = open.progress.trajectories().into_iter().cloned();
            groups.push(self.kept(*id, trajectories.map(Begun::Finished).collect()));
        }
        for request in requests {
            self.engine.submit(request).or_fail(Code::Internal)?;
        }
        let (window, cursor, seen) = (self.window.clone(), stream.cursor.clone(), self.seen.clone());
        let file = InFlight { window, cursor, tick: self.tick, seen, groups };
        let text = serde_json::to_string(&file).expect("what is in flight is plain JSON");
        data::atomic::write_atomic(&folder.join(IN_FLIGHT), |f| f.write_all(text.as_bytes())).or_fail(Code::Disk)
    }

    fn kept(&self, id: u64, begun: Vec<Begun>) -> Kept {
        let open = &self.open[&id];
        let sample = |begun: Begun| match begun {
            Begun::Running(trajectory) => KeptSample { finished: false, trajectory },
            Begun::Finished(trajectory) => KeptSample { finished: true, trajectory },
        };
        let verdicts = match &open.progress {
            Progress::Judged(group) => Some(group.samples.iter().map(|s| s.verdicts.clone()).collect()),
            Progress::Sampling | Progress::Judging(_) => None,
        };
        Kept {
            id,
            prompt: open.prompt.clone(),
            key: open.key.clone(),
            version: open.version,
            samples: begun.into_iter().map(sample).collect(),
            verdicts,
        }
    }

    /// Puts a kept group back where it was.
    fn go_on(&mut self, run: &Run, round: &Round<'_>, kept: Kept) -> Result<(), Failure> {
        let Kept { id, prompt, key, version, samples, verdicts } = kept;
        if samples.is_empty() || samples.iter().any(|s| !s.finished) {
            let begun = |s: KeptSample| match s.finished {
                true => Begun::Finished(s.trajectory),
                false => Begun::Running(s.trajectory),
            };
            let begun = samples.into_iter().map(begun).collect();
            let open = Open { prompt, key, version, progress: Progress::Sampling };
            return self.submit(run, round, id, open, begun);
        }
        let trajectories: Vec<Trajectory> = samples.into_iter().map(|s| s.trajectory).collect();
        let progress = match verdicts {
            None => Progress::Judging(send(run, &prompt, FinishedGroup { id: id as usize, trajectories })?),
            Some(verdicts) => {
                let texts = trajectories.iter().map(|t| text(&run.tokenizer, t)).collect::<Result<_, _>>()?;
                let admitted = Round { version, ..*round };
                Progress::Judged(Box::new(scored(run, &admitted, prompt.clone(), trajectories, texts, verdicts)?))
            }
        };
        self.open.insert(id, Open { prompt, key, version, progress });
        Ok(())
    }
}
