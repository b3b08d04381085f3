//! Work on several cores whose results do not depend on how many there are.

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

/// Works on all items on as many threads as there are cores; the results are in
/// order. Blocks. The threads live on: what they have allocated serves the next call.
pub(crate) fn in_parallel<T: Send, R: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> R + Send + Sync,
) -> Vec<R> {
    items.into_par_iter().map(work).collect()
}
