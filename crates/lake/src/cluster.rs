//! Panels on a Ballista cluster.
//!
//! ```text
//! r2r features build --engine df://host:50050     client     plans, sends, sorts, writes
//! r2r scheduler                                   serve      cuts plans into stages and tasks
//! r2r executor                                    serve      node: reads its own store, answers
//! ```
//! The series of names are one physical plan, of the query that a process runs for each name,
//! whose leaves are asked of the executors; Ballista parts it by name. Values that need reads are computed
//! by the code of a read, on executors that hold the snapshot; Ballista deals out the rows.
//! Data never goes from the client to an executor, only a snapshot's id: who has it, has the
//! same bytes.

mod client;
mod codec;
mod held;
mod node;
mod serve;

pub use self::{
    client::Cluster,
    serve::{ExecutorOptions, run_executor, run_scheduler},
};

/// A plan or an answer of a scheduler may be as large, in bytes: rows that values are asked
/// for are a part of the plan.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
