//! The contract between data and model, the same bytes in training and serving.
//!
//! The way of one thesis through this crate: [`render`] turns an
//! [`domain::AsOfRead`] into a prompt, [`grammar`] into the Lark grammar of what
//! may be answered, [`parse`] reads the answer back, [`verify`] judges each
//! claim against its evidence, [`assemble`] splices quotes, sources and dates
//! from the catalogue, and [`invariants::check`] and [`Schema`] guard the exit.
//! The model never writes a quote, a date, a url or a number of its own.

mod assemble;
mod direction;
mod draft;
mod grammar;
pub mod invariants;
mod numbers;
mod prompt;
mod schema;
mod thesis;
mod verify;

pub use assemble::{Writing, assemble};
pub use direction::Direction;
pub use draft::{Draft, DraftClaim, DraftError, parse, parse_claim};
pub use grammar::{claim_grammar, decision_grammar, grammar};
pub use prompt::{Prompt, claim_prefill, decision_prefill, render, system_prompt};
pub use schema::{Schema, SchemaError, contract_digest};
pub use thesis::{
    Controls, DISCLAIMER, Decision, Evidence, EvidenceDetail, Explain, HORIZONS_DAYS, Receipt,
    Sections, Thesis, Verdict, VerdictKind,
};
pub use verify::{Refutation, verify};
