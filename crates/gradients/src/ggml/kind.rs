//! Number formats of tensors.

use std::fmt;

use llama_cpp_sys_2 as sys;

use super::device::text;

/// A number format of ggml: how a row of weights lies in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub(super) sys::ggml_type);

impl Kind {
    /// 32-bit floating point.
    pub const F32: Self = Self(sys::GGML_TYPE_F32);
    /// 16-bit floating point with 8 bits of mantissa.
    pub const BF16: Self = Self(sys::GGML_TYPE_BF16);
    /// 16-bit floating point with 11 bits of mantissa.
    pub const F16: Self = Self(sys::GGML_TYPE_F16);
    /// 8 bits a weight and a scale for each 32.
    pub const Q8_0: Self = Self(sys::GGML_TYPE_Q8_0);
    /// 32-bit integers: token ids, positions, indices of rows.
    pub const I32: Self = Self(sys::GGML_TYPE_I32);

    /// The formats a base model or a merged one can be in.
    pub const WEIGHTS: [Self; 11] = [
        Self::F32,
        Self::BF16,
        Self::F16,
        Self::Q8_0,
        Self(sys::GGML_TYPE_Q6_K),
        Self(sys::GGML_TYPE_Q5_K),
        Self(sys::GGML_TYPE_Q4_K),
        Self(sys::GGML_TYPE_Q5_1),
        Self(sys::GGML_TYPE_Q5_0),
        Self(sys::GGML_TYPE_Q4_1),
        Self(sys::GGML_TYPE_Q4_0),
    ];

    /// Returns the weight format of a name such as `bf16`, `Q8_0` or `q4_K`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::WEIGHTS.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Returns ggml's name.
    pub fn name(self) -> String {
        // SAFETY: every `Kind` came from ggml; names are static.
        unsafe { text(sys::ggml_type_name(self.0)) }
    }

    /// Returns how many weights share a block; rows are multiples of it.
    pub fn block(self) -> usize {
        // SAFETY: as in `name`.
        let block = unsafe { sys::ggml_blck_size(self.0) };
        usize::try_from(block).unwrap_or(1)
    }

    /// Returns the bytes of a row of `n` weights, a multiple of [`Kind::block`].
    pub fn row_bytes(self, n: usize) -> usize {
        debug_assert!(n.is_multiple_of(self.block()));
        // SAFETY: as in `name`.
        unsafe { sys::ggml_row_size(self.0, n as i64) }
    }

    /// Converts rows of this format to numbers.
    ///
    /// # Panics
    /// Panics when `bytes` is not whole rows of `row` weights.
    pub fn to_f32(self, bytes: &[u8], row: usize) -> Vec<f32> {
        let row_bytes = self.row_bytes(row);
        assert!(bytes.len().is_multiple_of(row_bytes), "whole rows of {row} weights");
        let n = bytes.len() / row_bytes * row;
        if self == Self::F32 {
            return bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        }
        let mut numbers = vec![0.0; n];
        // SAFETY: the traits of a type are static; the function reads whole rows,
        // whose bytes were counted, and writes `n` numbers.
        unsafe {
            let traits = sys::ggml_get_type_traits(self.0);
            if let Some(to_float) = (*traits).to_float {
                to_float(bytes.as_ptr().cast(), numbers.as_mut_ptr(), n as i64);
            }
        }
        numbers
    }

    /// Rounds rows of numbers to this format.
    ///
    /// # Panics
    /// Panics when `numbers` is not whole rows of `row` weights.
    pub fn from_f32(self, numbers: &[f32], row: usize) -> Vec<u8> {
        assert!(numbers.len().is_multiple_of(row), "whole rows of {row} weights");
        let rows = numbers.len() / row;
        if self == Self::F32 {
            return numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        }
        let mut bytes = vec![0; self.row_bytes(row) * rows];
        // SAFETY: the function reads `rows * row` numbers and writes as many bytes as
        // `row_bytes` counts for them; these formats need no importance matrix.
        unsafe {
            sys::ggml_quantize_chunk(
                self.0,
                numbers.as_ptr(),
                bytes.as_mut_ptr().cast(),
                0,
                rows as i64,
                row as i64,
                std::ptr::null(),
            );
        }
        bytes
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}
