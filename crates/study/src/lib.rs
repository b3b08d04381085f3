//! From a snapshot to what a backtest is made of: the market of its universe, labels,
//! estimates of analysts, and recommendations of models. One home for it, so that the
//! command line and the API answer the same question alike.

mod error;
mod kept;
mod recommendations;
mod study;

pub use error::StudyError;
pub use kept::KeptDecisions;
pub use recommendations::{Followed, Recommendation, Recommendations};
pub use study::{Study, disclaimer, span, warn};
