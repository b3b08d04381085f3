//! Work on several cores whose results do not depend on how many there are.

use futures::executor::block_on;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use tokio::task::coop::unconstrained;

/// Works on all items on as many threads as there are cores; the results are in
/// order. Blocks. The threads live on: what they have allocated serves the next call.
pub(crate) fn in_parallel<T: Send, R: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> R + Send + Sync,
) -> Vec<R> {
    items.into_par_iter().map(work).collect()
}

/// Runs a future that waits for nothing but the processor: the planning of a query, or its
/// run over tables in memory. A single item is worked on by the thread that asks, which may
/// be one of tokio's; without budgets no task of it has to yield to nobody.
pub(crate) fn run_now<F: Future>(work: F) -> F::Output {
    block_on(unconstrained(work))
}
