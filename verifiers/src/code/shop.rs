//! What one worker has: its cells, each launched when it is first needed, and launched anew when it was lost or has served long.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    SandboxError,
    cell::{Cell, Plan},
    command::{Command, Finished},
    compile::Cache,
    languages::Languages,
    settings::CodeSettings,
};

/// Runs after which a cell is launched anew, so that nothing that the kernel or the interpreter gathers can grow for ever.
const CELL_RUNS: u32 = 20_000;

/// What all workers share.
#[derive(Debug)]
pub(super) struct Plans {
    pub settings: Arc<CodeSettings>,
    pub warm: Plan,
    /// Absent where there are no namespaces: a program that may execute needs its own tree of files and processes.
    pub tools: Option<Plan>,
    pub languages: Languages,
    pub cache: Cache,
}

/// A worker's own.
#[derive(Debug)]
pub(super) struct Shop {
    pub plans: Arc<Plans>,
    pub core: Option<usize>,
    warm: Slot,
    /// Runs tests that are code, while the program runs in `warm`.
    examiner: Slot,
    tools: Slot,
    cancel: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Slot {
    cell: Option<Cell>,
    runs: u32,
}

impl Slot {
    fn ready(&mut self, plan: &Plan, core: Option<usize>, cancel: &Arc<AtomicBool>) -> Result<&mut Cell, SandboxError> {
        self.runs += 1;
        if self.runs > CELL_RUNS {
            *self = Self::default();
        }
        let cell = match self.cell.take() {
            Some(cell) => cell,
            None => plan.launch(core)?,
        };
        let cell = self.cell.insert(cell);
        cell.cancel = Arc::clone(cancel);
        Ok(cell)
    }
}

impl Shop {
    pub fn new(plans: Arc<Plans>, core: Option<usize>) -> Self {
        Self {
            plans,
            core,
            warm: Slot::default(),
            examiner: Slot::default(),
            tools: Slot::default(),
            cancel: Arc::default(),
        }
    }

    /// Launches the cell that nearly every program needs, ahead of the first. What is wrong with it, that program will be told.
    pub fn warm_up(&mut self) {
        let _ = self.warm.ready(&self.plans.warm, self.core, &self.cancel);
    }

    /// From now on runs end when `cancel` is set.
    pub fn cancelled_by(&mut self, cancel: Arc<AtomicBool>) {
        self.cancel = cancel;
    }

    /// True when nobody waits for the work in hand any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    pub fn warm(&mut self) -> Result<&mut Cell, SandboxError> {
        self.warm.ready(&self.plans.warm, self.core, &self.cancel)
    }

    /// The cell for the program, and one for its tests.
    pub fn pair(&mut self) -> Result<(&mut Cell, &mut Cell), SandboxError> {
        let program = self.warm.ready(&self.plans.warm, self.core, &self.cancel)?;
        let examiner = self.examiner.ready(&self.plans.warm, self.core, &self.cancel)?;
        Ok((program, examiner))
    }

    /// Runs a command in the cell with tools.
    pub fn command(&mut self, command: &Command<'_>) -> Result<Finished, SandboxError> {
        let plans = Arc::clone(&self.plans);
        let plan = plans.tools.as_ref().ok_or_else(|| {
            SandboxError::Untestable("languages other than Python need namespaces, which this machine refuses".into())
        })?;
        command.run(self.tools.ready(plan, self.core, &self.cancel)?, plan)
    }

    /// Gives up all cells: after a failure it is not known which is to blame.
    pub fn reset(&mut self) {
        self.warm = Slot::default();
        self.examiner = Slot::default();
        self.tools = Slot::default();
    }
}
