//! Transposition on a CPU. The copy of ggml moves one number at a time, each with a call of
//! `memmove`: a fifth of the time of a pass.

use std::{
    ffi::{c_int, c_void},
    slice,
};

use llama_cpp_sys_2 as sys;

/// Columns and rows that are moved together; their lines stay in the first cache.
const BLOCK: usize = 16;

/// What a custom node computes: its source `[n, m, k]` transposed, `[m, n, k]`, by thread
/// `thread` of `threads`.
///
/// # Safety
/// Source and result are alive, contiguous and of 32-bit floating point, with room for the
/// same count of numbers, and no other thread has the same number.
pub(super) unsafe extern "C" fn transpose(
    result: *mut sys::ggml_tensor,
    thread: c_int,
    threads: c_int,
    _: *mut c_void,
) {
    let number = |n: c_int| usize::try_from(n).unwrap_or(0);
    // SAFETY: the caller's promise. Parts of the result that threads write are disjoint.
    unsafe {
        let source = (*result).src[0];
        let [n, m, k] = [0, 1, 2].map(|i| usize::try_from((*source).ne[i]).unwrap_or(0));
        let numbers = slice::from_raw_parts((*source).data.cast::<f32>(), n * m * k);
        let part = (n * k).div_ceil(number(threads).max(1));
        let first = (number(thread) * part).min(n * k);
        let rows = part.min(n * k - first);
        let out = (*result).data.cast::<f32>().add(first * m);
        write_rows(numbers, [n, m], first, slice::from_raw_parts_mut(out, rows * m));
    }
}

/// Writes the rows of the result from number `first`, counted through all matrices.
fn write_rows(numbers: &[f32], [n, m]: [usize; 2], first: usize, out: &mut [f32]) {
    let (mut row, mut rest) = (first, out);
    while !rest.is_empty() {
        let (matrix, column) = (row / n, row % n);
        let columns = BLOCK.min(n - column).min(rest.len() / m);
        let (now, later) = rest.split_at_mut(columns * m);
        write_columns(&numbers[matrix * n * m..][..n * m], n, column, now, m);
        (row, rest) = (row + columns, later);
    }
}

/// Writes some columns, from `column`, of a matrix with rows of `n` as rows of `m`.
fn write_columns(matrix: &[f32], n: usize, column: usize, out: &mut [f32], m: usize) {
    for (block, rows) in matrix.chunks(BLOCK * n).enumerate() {
        for (c, line) in out.chunks_exact_mut(m).enumerate() {
            let from = rows[column + c..].iter().step_by(n);
            for (to, from) in line[block * BLOCK..].iter_mut().zip(from) {
                *to = *from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_rows_whatever_the_shape_and_the_parts() {
        for [n, m, k] in
            [[1_usize, 1, 1], [3, 5, 2], [16, 32, 1], [37, 17, 3], [5, 64, 2], [64, 1, 2]]
        {
            let numbers: Vec<f32> = (0..n * m * k).map(|i| i as f32).collect();
            for parts in 1..4 {
                let part = (n * k).div_ceil(parts);
                let mut found = vec![-1.0; n * m * k];
                for (i, out) in found.chunks_mut(part * m).enumerate() {
                    write_rows(&numbers, [n, m], i * part, out);
                }
                for (i, number) in found.iter().enumerate() {
                    let (matrix, column, row) = (i / (n * m), i % (n * m) / m, i % m);
                    assert_eq!(*number, numbers[matrix * n * m + row * n + column], "{n} {m} {k}");
                }
            }
        }
    }
}
