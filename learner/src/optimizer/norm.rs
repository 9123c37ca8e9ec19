//! Sums of squares in f64, in an order that is the same for every number of threads.

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::PART;

const _: () = assert!(PART % ROW == 0);
/// Elements of a row that one thread sums; the rows' sums are then added in order on the host.
pub(super) const ROW: i64 = 1024;

/// `Σ g²` of each tensor.
///
/// libtorch cuts the reduction of a whole tensor to one number by threads, which shows in the last bits; it never
/// cuts a row of a reduction over the last dimension. So each tensor is summed by rows of fixed length (the tail by
/// itself, shorter than what libtorch cuts), and one copy brings the partial sums of all tensors to the host.
pub(super) fn square_sums(gradients: &[Tensor]) -> Result<Vec<f64>, TchError> {
    let (mut partials, mut counts) = (Vec::new(), Vec::new());
    no_grad(|| {
        for gradient in gradients {
            let pieces = partial_sums(gradient)?;
            counts.push(pieces.iter().map(Tensor::numel).sum::<usize>());
            partials.extend(pieces);
        }
        Ok::<(), TchError>(())
    })?;
    if partials.is_empty() {
        return Ok(vec![0.0; gradients.len()]);
    }
    let host = Tensor::f_cat(&partials, 0)?.f_to_device(Device::Cpu)?;
    let mut values = vec![0.0; host.numel()];
    host.f_copy_data(&mut values, host.numel())?;
    let mut rest = values.as_slice();
    Ok(counts
        .into_iter()
        .map(|count| {
            let (own, after) = rest.split_at(count);
            rest = after;
            own.iter().sum()
        })
        .collect())
}

fn partial_sums(gradient: &Tensor) -> Result<Vec<Tensor>, TchError> {
    let flat = gradient.f_reshape([-1])?;
    let total = flat.numel() as i64;
    let whole = total / ROW * ROW;
    let squares = |at: i64, elements: i64| {
        let part = flat.f_narrow(0, at, elements)?.f_to_kind(Kind::Double)?;
        part.f_mul(&part)
    };
    let mut pieces = Vec::new();
    // As doubles a large gradient would be twice its size; a part begins where a row does, so the parts do not show.
    for at in (0..whole).step_by(PART as usize) {
        let rows = squares(at, PART.min(whole - at))?.f_view([-1, ROW])?;
        pieces.push(rows.f_sum_dim_intlist(1, false, Kind::Double)?);
    }
    if whole < total {
        pieces.push(squares(whole, total - whole)?.f_sum_dim_intlist(0, true, Kind::Double)?);
    }
    Ok(pieces)
}
