//! One product of two f32 matrices on the calling thread, by the BLAS that libtorch brings along.
//!
//! A BLAS that cuts a product among threads picks other kernels for other cuts, and with them other bits. On one thread it sees the whole.

unsafe extern "C" {
    fn temper_sgemm(
        m: i32,
        n: i32,
        k: i32,
        a: *const f32,
        a_row: i32,
        a_transposed: i32,
        b: *const f32,
        b_row: i32,
        b_transposed: i32,
        c: *mut f32,
        c_row: i32,
    );
}

/// A matrix that is read: row by row from `data`, rows `row` elements apart.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    /// Its first element.
    pub data: *const f32,
    /// Elements from one row to the next.
    pub row: usize,
    /// The factor is its transpose.
    pub transposed: bool,
}

/// `c = a b` for `a [m, k]`, `b [k, n]` (as they are after their transposition) and `c [m, n]`, whose rows are `c_row` elements apart. All
/// of it runs on the calling thread.
///
/// # Safety
/// All elements of `a` and `b` can be read, and all of `c` written, and nobody else writes the former or touches the latter meanwhile.
///
/// # Panics
/// If a size is beyond 2³¹.
pub unsafe fn sgemm((m, n, k): (usize, usize, usize), a: Matrix, b: Matrix, c: *mut f32, c_row: usize) {
    let size = |n: usize| i32::try_from(n).expect("a BLAS counts in 32 bits");
    let (a_row, b_row) = (size(a.row), size(b.row));
    // SAFETY: the caller's promise.
    unsafe {
        temper_sgemm(
            size(m),
            size(n),
            size(k),
            a.data,
            a_row,
            i32::from(a.transposed),
            b.data,
            b_row,
            i32::from(b.transposed),
            c,
            size(c_row),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_and_strides_are_as_described() {
        // a = [1 2; 3 4; 5 6] in rows of 3, b = [1 0 2; 0 1 1].
        let a = [1.0f32, 2.0, 9.0, 3.0, 4.0, 9.0, 5.0, 6.0, 9.0];
        let a_t = [1.0f32, 3.0, 5.0, 2.0, 4.0, 6.0];
        let b = [1.0f32, 0.0, 2.0, 0.0, 1.0, 1.0];
        let wanted = [1.0, 2.0, 4.0, -1.0, 3.0, 4.0, 10.0, -1.0, 5.0, 6.0, 16.0, -1.0];
        let b = Matrix { data: b.as_ptr(), row: 3, transposed: false };
        for a in [
            Matrix { data: a.as_ptr(), row: 3, transposed: false },
            Matrix { data: a_t.as_ptr(), row: 3, transposed: true },
        ] {
            let mut c = [-1.0f32; 12];
            // SAFETY: the matrices above hold what is read, and `c` three rows of four.
            unsafe { sgemm((3, 3, 2), a, b, c.as_mut_ptr(), 4) };
            assert_eq!(c, wanted);
        }
    }
}
