//! The books of portfolios, from outside the crate.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test may panic and print like the test"
)]

mod books;
mod look_ahead;
mod markets;
mod properties;
mod strategies;
