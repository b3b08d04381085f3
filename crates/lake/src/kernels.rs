//! Pure functions over slices: what the window functions of features compute.
//!
//! A series is a slice of `f64` in order of time; NaN stands for "undefined". All
//! are causal: the value of a row depends on that row and earlier ones. The
//! [`rolling`] ones depend on the last `n` rows alone, summed in the same order
//! whatever came before, so a value does not change when a series is read from a
//! later start or extended.

pub(crate) mod indicators;
pub(crate) mod rolling;
