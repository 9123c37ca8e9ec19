//! One parameter's step, part by part, wherever its moments live.

use tch::{Device, Kind, TchError, Tensor};

use super::Slot;

/// Elements that are updated at once. A multiple of the length of a row of `norm`.
pub(super) const PART: i64 = 1 << 24;

/// The scalars of one group's update, in f64 until libtorch rounds each to f32.
pub(super) struct Scalars {
    pub(super) decay: f64,
    pub(super) beta1: f64,
    pub(super) beta2: f64,
    pub(super) first: f64,
    pub(super) second: f64,
    pub(super) inverse_root: f64,
    pub(super) epsilon: f64,
    pub(super) step_size: f64,
}

impl Slot {
    /// One step, `part` elements at a time.
    pub(super) fn update(&mut self, gradient: &Tensor, s: &Scalars, part: i64) -> Result<(), TchError> {
        let decays = self.parameter.dim() >= 2 && s.decay != 1.0;
        let flat = [&self.parameter, gradient, &self.exp_avg, &self.exp_avg_sq].map(|t| t.detach().f_reshape([-1]));
        let [parameter, gradient, exp_avg, exp_avg_sq] = flat;
        let (parameter, gradient, exp_avg, exp_avg_sq) = (parameter?, gradient?, exp_avg?, exp_avg_sq?);
        // A copy would be updated in its place.
        assert!(parameter.data_ptr() == self.parameter.data_ptr(), "{} is contiguous", self.name);
        let (elements, device) = (parameter.numel() as i64, parameter.device());
        for at in (0..elements).step_by(part as usize) {
            let cut = |t: &Tensor| t.f_narrow(0, at, part.min(elements - at));
            let (mut kept, mut kept_sq) = (cut(&exp_avg)?, cut(&exp_avg_sq)?);
            // Where they live on the parameter's device these are the moments themselves.
            let mut moments = [kept.f_to_device(device)?, kept_sq.f_to_device(device)?];
            update(cut(&parameter)?, &cut(&gradient)?, &mut moments, s, decays)?;
            if kept.device() != device {
                kept.f_copy_(&moments[0])?;
                kept_sq.f_copy_(&moments[1])?;
            }
        }
        Ok(())
    }
}

/// The recurrence of the module's documentation. The clip coefficient is folded into the moments' scalars.
fn update(
    mut parameter: Tensor,
    gradient: &Tensor,
    [exp_avg, exp_avg_sq]: &mut [Tensor; 2],
    s: &Scalars,
    decays: bool,
) -> Result<(), TchError> {
    if decays {
        let _ = parameter.f_mul_scalar_(s.decay)?;
    }
    let mut term = gradient.f_mul_scalar(s.first)?;
    let _ = exp_avg.f_mul_scalar_(s.beta1)?.f_add_(&term)?;
    term = gradient.f_mul(gradient)?;
    let _ = term.f_mul_scalar_(s.second)?;
    let _ = exp_avg_sq.f_mul_scalar_(s.beta2)?.f_add_(&term)?;

    let mut denominator = exp_avg_sq.f_sqrt()?;
    let _ = denominator.f_mul_scalar_(s.inverse_root)?.f_add_scalar_(s.epsilon)?;
    let mut change = exp_avg.f_div(&denominator)?;
    let _ = change.f_mul_scalar_(-s.step_size)?;
    let _ = parameter.f_add_(&change)?;
    Ok(())
}

/// Zeros of a parameter's shape on the host: in page-locked memory for one on a GPU, because copies from and to there are fast.
pub(super) fn zeros_on_host(parameter: &Tensor) -> Result<Tensor, TchError> {
    let zeros = Tensor::f_zeros(parameter.size(), (Kind::Float, Device::Cpu))?;
    match parameter.device() {
        Device::Cpu => Ok(zeros),
        device => zeros.f_internal_pin_memory(device),
    }
}
