//! HTTP/1.1 over hyper, with what hyper leaves open closed: checked heads,
//! bounds on size, time and number of connections, and a drain.

mod body;
mod chunks;
mod guard;
mod head;
mod request_id;
mod serve;

pub(crate) use body::{Body, full, read, stream};
pub use head::Rejection;
pub(crate) use request_id::{X_REQUEST_ID, request_id};
pub use serve::serve;
