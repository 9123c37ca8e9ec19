//! AdamW over named parameters, in groups that do not touch each other.
//!
//! For each parameter `p` with gradient `g`, at step `n = 1, 2, …` (Loshchilov and Hutter, arXiv 1711.05101; the same
//! recurrence as `torch.optim.AdamW`):
//!
//! ```text
//! c  = min(1, max_norm / (‖g‖_group + 1e-6))        g' = c·g
//! p ← (1 − lr·λ)·p                                  only where p has two dimensions or more
//! m ← β1·m + (1 − β1)·g'
//! v ← β2·v + (1 − β2)·g'²
//! p ← p − lr/(1 − β1ⁿ) · m / (√v / √(1 − β2ⁿ) + ε)
//! ```
//!
//! `lr` is the step's rate times the group's scale. Backbone and indexer are separate groups: a global norm over both
//! would couple gradients that V3.2 keeps disjoint. A frozen group has no state and does not decay either.
//!
//! Same bits everywhere: each tensor operation of the update rounds once (products, sums, root and quotient by
//! themselves, no fused forms whose vector body and scalar tail differ), so neither threads nor vector width show.
//! Norms are summed in f64 in the order of names.
//!
//! A parameter is updated part by part, so that a step needs little memory beside the state, whatever a parameter's size. The moments of
//! parameters on a GPU can live in the host's memory ([`AdamW::offloaded`]): a part of them is brought to the GPU, updated there by the
//! same operations and brought back, so where they live does not show in a bit.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor, no_grad};

mod norm;
mod state_file;
#[cfg(test)]
mod tests;
mod update;

pub use state_file::StateError;
use update::{PART, Scalars, zeros_on_host};

/// Added to the norm before dividing, as `torch.nn.utils.clip_grad_norm_` does.
const CLIP_EPSILON: f64 = 1e-6;

/// The numbers of the recurrence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// Decay of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// `ε`, positive.
    pub epsilon: f64,
    /// `λ`, decoupled; on matrices only, since gains and biases have no scale to lose.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// What large language models are trained with: 0.9, 0.95, 1e-8, 0.1.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 }
    }
}

/// A set of parameters that is clipped together and has its own rate.
pub struct ParameterGroup {
    /// What errors and metrics call it, such as `backbone` or `indexer`.
    pub name: String,
    /// Whether it owns the parameter of this name. Of several groups the first that says yes has it.
    pub owns: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Times the step's learning rate.
    pub learning_rate_scale: f64,
    /// Bound on the norm of the group's whole gradient; `None` does not clip.
    pub max_norm: Option<f64>,
    /// Nothing of it moves, and it needs no gradients.
    pub frozen: bool,
}

impl ParameterGroup {
    /// A group that learns at the step's rate and is not clipped.
    pub fn new(name: impl Into<String>, owns: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { name: name.into(), owns: Box::new(owns), learning_rate_scale: 1.0, max_norm: None, frozen: false }
    }
}

/// What an optimiser step refuses. Nothing has been applied, [`OptimizerError::Torch`] apart.
#[derive(Debug, thiserror::Error)]
pub enum OptimizerError {
    /// A number of the configuration is out of range.
    #[error("{what} is {value}, which must be {must}")]
    Config {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Its range.
        must: &'static str,
    },
    /// No group owns the parameter.
    #[error("no parameter group owns `{name}`: add a group for it, frozen if it must not learn")]
    Unowned {
        /// The parameter.
        name: String,
    },
    /// Parameters and gradients are f32.
    #[error("{what} `{name}` is {found:?}: the optimiser works on f32")]
    Kind {
        /// Parameter or gradient.
        what: &'static str,
        /// Which.
        name: String,
        /// What it is.
        found: Kind,
    },
    /// A parameter that learns got no gradient.
    #[error("`{name}` of group `{group}` has no gradient: freeze the group if it takes no part in this stage")]
    MissingGradient {
        /// The parameter.
        name: String,
        /// Its group.
        group: String,
    },
    /// A gradient belongs to no parameter.
    #[error("there is a gradient for `{name}`, which is no parameter")]
    UnknownGradient {
        /// Its name.
        name: String,
    },
    /// A gradient has not its parameter's shape.
    #[error("the gradient of `{name}` has the shape {found:?}, its parameter {expected:?}")]
    Shape {
        /// The parameter.
        name: String,
        /// Its shape.
        expected: Vec<i64>,
        /// The gradient's.
        found: Vec<i64>,
    },
    /// A gradient holds a NaN or an infinity.
    #[error("the gradient of `{name}` is not finite at optimiser step {step}: the step was not applied")]
    NonFinite {
        /// The first such parameter by name.
        name: String,
        /// The step that was refused, from 1.
        step: u64,
    },
    /// libtorch refused an operation (out of memory, say). Parameters may be half updated: go back to the last
    /// checkpoint.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// What a step did to one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupStep {
    /// The group's name.
    pub name: String,
    /// Norm of its gradient before clipping.
    pub gradient_norm: f64,
    /// What the gradient was multiplied by; 1 without clipping.
    pub clip: f64,
    /// Learning rate, the group's scale included.
    pub learning_rate: f64,
}

/// A parameter that learns, and its moments.
#[derive(Debug)]
struct Slot {
    name: String,
    group: usize,
    parameter: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
}

/// The optimiser. It holds handles to the parameters and updates them in place.
pub struct AdamW {
    config: AdamWConfig,
    groups: Vec<ParameterGroup>,
    slots: Vec<Slot>,
    frozen: Vec<String>,
    step: u64,
    /// As [`PART`].
    part: i64,
}

/// Where the moments live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bytes {
    /// In the host's memory.
    pub host: u64,
    /// On the parameters' device, where that is another.
    pub device: u64,
}

impl AdamW {
    /// An optimiser at step 0 with zero moments.
    ///
    /// # Errors
    /// [`OptimizerError`] if a number is out of range, a parameter is not f32 or no group owns it.
    pub fn new(
        config: AdamWConfig,
        groups: Vec<ParameterGroup>,
        parameters: &BTreeMap<String, Tensor>,
    ) -> Result<Self, OptimizerError> {
        Self::with(config, groups, parameters, |parameter| parameter.detach().f_zeros_like())
    }

    /// As [`AdamW::new`], with the moments of parameters on a GPU in the host's memory. Those of parameters on the CPU are there anyway.
    ///
    /// # Errors
    /// As [`AdamW::new`]; [`OptimizerError::Torch`] where the host has no room.
    pub fn offloaded(
        config: AdamWConfig,
        groups: Vec<ParameterGroup>,
        parameters: &BTreeMap<String, Tensor>,
    ) -> Result<Self, OptimizerError> {
        Self::with(config, groups, parameters, zeros_on_host)
    }

    fn with(
        config: AdamWConfig,
        groups: Vec<ParameterGroup>,
        parameters: &BTreeMap<String, Tensor>,
        zeros: impl Fn(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Self, OptimizerError> {
        check_config(&config, &groups)?;
        let (mut slots, mut frozen) = (Vec::new(), Vec::new());
        for (name, parameter) in parameters {
            let group = groups.iter().position(|group| (group.owns)(name));
            let group = group.ok_or_else(|| OptimizerError::Unowned { name: name.clone() })?;
            if groups[group].frozen {
                frozen.push(name.clone());
                continue;
            }
            check_kind("parameter", name, parameter)?;
            slots.push(Slot {
                name: name.clone(),
                group,
                parameter: parameter.shallow_clone(),
                exp_avg: zeros(parameter)?,
                exp_avg_sq: zeros(parameter)?,
            });
        }
        Ok(Self { config, groups, slots, frozen, step: 0, part: PART })
    }

    /// Bytes of the moments, on the host and on the parameters' device where that is another.
    pub fn bytes(&self) -> Bytes {
        let moments = self.slots.iter().flat_map(|slot| [&slot.exp_avg, &slot.exp_avg_sq]);
        moments.fold(Bytes::default(), |sum, moment| {
            let own = moment.numel() as u64 * moment.kind().elt_size_in_bytes() as u64;
            match moment.device() {
                Device::Cpu => Bytes { host: sum.host + own, ..sum },
                _ => Bytes { device: sum.device + own, ..sum },
            }
        })
    }

    /// The parameters that learn, in the order of names: those for which [`Self::step`] needs a gradient.
    pub fn trained_names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    /// Steps applied so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Applies one step. `gradients` holds one f32 tensor for each parameter that learns; those of frozen ones are
    /// ignored.
    ///
    /// # Errors
    /// [`OptimizerError`]: a gradient that is missing, unknown, misshapen or not finite, or a learning rate that is
    /// not a finite number from 0 up. Neither parameters nor state have changed, unless libtorch itself failed.
    pub fn step(
        &mut self,
        learning_rate: f64,
        gradients: &BTreeMap<String, Tensor>,
    ) -> Result<Vec<GroupStep>, OptimizerError> {
        check_range("the learning rate", learning_rate, "finite and not negative", |lr| lr >= 0.0)?;
        let gradients = self.match_gradients(gradients)?;
        let reports = self.measure(learning_rate, &gradients)?;
        self.step += 1;
        let scalars: Vec<Scalars> = reports.iter().map(|report| self.scalars(report)).collect();
        no_grad(|| {
            for (slot, gradient) in self.slots.iter_mut().zip(&gradients) {
                slot.update(gradient, &scalars[slot.group], self.part)?;
            }
            Ok::<(), OptimizerError>(())
        })?;
        Ok(reports)
    }

    /// The gradients in the order of slots, each checked against its parameter.
    fn match_gradients(&self, gradients: &BTreeMap<String, Tensor>) -> Result<Vec<Tensor>, OptimizerError> {
        for name in gradients.keys() {
            let known = self.slots.binary_search_by(|slot| slot.name.cmp(name)).is_ok();
            if !known && self.frozen.binary_search(name).is_err() {
                return Err(OptimizerError::UnknownGradient { name: name.clone() });
            }
        }
        let checked = |slot: &Slot| {
            let gradient = gradients.get(&slot.name).ok_or_else(|| OptimizerError::MissingGradient {
                name: slot.name.clone(),
                group: self.groups[slot.group].name.clone(),
            })?;
            check_kind("gradient of", &slot.name, gradient)?;
            let (expected, found) = (slot.parameter.size(), gradient.size());
            if expected != found {
                return Err(OptimizerError::Shape { name: slot.name.clone(), expected, found });
            }
            Ok(gradient.detach())
        };
        self.slots.iter().map(checked).collect()
    }

    /// Each group's norm and clip coefficient.
    fn measure(&self, learning_rate: f64, gradients: &[Tensor]) -> Result<Vec<GroupStep>, OptimizerError> {
        let mut squares = vec![0.0; self.groups.len()];
        for (slot, square) in self.slots.iter().zip(norm::square_sums(gradients)?) {
            // The square of the largest f32 is far below the largest f64, so the sum is finite if and only if the
            // gradient is.
            if !square.is_finite() {
                return Err(OptimizerError::NonFinite { name: slot.name.clone(), step: self.step + 1 });
            }
            squares[slot.group] += square;
        }
        let report = |(group, square): (&ParameterGroup, f64)| {
            let gradient_norm = square.sqrt();
            let clip = group.max_norm.map_or(1.0, |max_norm| (max_norm / (gradient_norm + CLIP_EPSILON)).min(1.0));
            let learning_rate = learning_rate * group.learning_rate_scale;
            GroupStep { name: group.name.clone(), gradient_norm, clip, learning_rate }
        };
        Ok(self.groups.iter().zip(squares).map(report).collect())
    }

    fn scalars(&self, report: &GroupStep) -> Scalars {
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = self.config;
        // i32 holds more steps than any run has; powi multiplies, so no platform's `pow` shows in the bits.
        let steps = self.step as i32;
        Scalars {
            decay: 1.0 - report.learning_rate * weight_decay,
            beta1,
            beta2,
            first: (1.0 - beta1) * report.clip,
            second: (1.0 - beta2) * report.clip * report.clip,
            inverse_root: 1.0 / (1.0 - beta2.powi(steps)).sqrt(),
            epsilon,
            step_size: report.learning_rate / (1.0 - beta1.powi(steps)),
        }
    }
}

fn check_config(config: &AdamWConfig, groups: &[ParameterGroup]) -> Result<(), OptimizerError> {
    check_range("beta1", config.beta1, "in [0, 1)", |beta| (0.0..1.0).contains(&beta))?;
    check_range("beta2", config.beta2, "in [0, 1)", |beta| (0.0..1.0).contains(&beta))?;
    check_range("epsilon", config.epsilon, "positive", |epsilon| epsilon > 0.0)?;
    check_range("weight_decay", config.weight_decay, "not negative", |decay| decay >= 0.0)?;
    for group in groups {
        check_range("learning_rate_scale", group.learning_rate_scale, "not negative", |scale| scale >= 0.0)?;
        check_range("max_norm", group.max_norm.unwrap_or(1.0), "positive", |max_norm| max_norm > 0.0)?;
    }
    Ok(())
}

fn check_range(
    what: &'static str,
    value: f64,
    must: &'static str,
    holds: impl Fn(f64) -> bool,
) -> Result<(), OptimizerError> {
    if value.is_finite() && holds(value) { Ok(()) } else { Err(OptimizerError::Config { what, value, must }) }
}

fn check_kind(what: &'static str, name: &str, tensor: &Tensor) -> Result<(), OptimizerError> {
    match tensor.kind() {
        Kind::Float => Ok(()),
        found => Err(OptimizerError::Kind { what, name: name.to_owned(), found }),
    }
}
