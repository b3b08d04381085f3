//! The books of portfolios, from outside the crate.

mod books;
mod look_ahead;
mod markets;
mod properties;
mod strategies;
