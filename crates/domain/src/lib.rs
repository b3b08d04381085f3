//! Value types every other crate speaks: tickers, points in time, digests,
//! features, evidence and labels. Pure values: no I/O and no runtime.
//!
//! The one invariant that lives here rather than in a caller: an [`AsOfRead`]
//! holding anything not yet known at its `as_of` cannot be constructed.

mod calibration;
mod clock;
mod digest;
mod evidence;
mod label;
mod read;
mod section;
mod ticker;
mod time;

pub use calibration::{Calibration, CalibrationError};
pub use clock::{Clock, FixedClock, SystemClock};
pub use digest::{Digest, DigestError};
pub use evidence::{
    EvidenceId, EvidenceItem, EvidenceKind, Feature, Polarity, Provenance, Snippet, Unit,
};
pub use label::{Label, LabelProbs, LabelProbsError};
pub use read::{AsOfRead, ReadError};
pub use section::Section;
pub use ticker::{Ticker, TickerError};
pub use time::{AsOf, AsOfError};
