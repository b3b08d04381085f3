//! How many threads a decode has: those of its lane, or all of the worker while
//! no other lane is at work. The bytes of an answer do not depend on it.

use std::ffi::c_int;

/// The lane that decodes with all threads while it is alone. It is one, because
/// OpenMP keeps a team of threads for each thread that ever had one, and lets
/// them sleep at every barrier, which makes a decode slow, once all teams
/// together have more threads than there are CPUs.
pub(super) const WIDE_LANE: usize = 0;

unsafe extern "C" {
    /// Bounds how deep parallel regions of the calling thread may nest. At 0 none
    /// is parallel: OpenMP then gives llama.cpp one thread, however many it asks for.
    safe fn omp_set_max_active_levels(levels: c_int);
}

/// Lets the decodes of the calling thread use all threads of their context, or
/// one.
pub(super) fn use_all(all: bool) {
    omp_set_max_active_levels(all.into());
}
