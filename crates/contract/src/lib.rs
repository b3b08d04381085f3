//! The contract between data and model, the same bytes in training and serving.
//!
//! The way of one thesis through this crate: [`render`] turns an
//! [`domain::AsOfRead`] into a prompt, [`plan()`] into the choices the model has,
//! [`Plan::claims`] reads what it chose and wrote, [`verify`] judges each claim
//! against its evidence, [`assemble`] splices quotes, sources and dates from the
//! catalogue, and [`invariants::check`] and [`Schema`] guard the exit. The model
//! never writes a quote, a date, a url or a number. [`rewards`] says what a thesis was
//! worth once the future is known.

mod assemble;
mod direction;
pub mod invariants;
mod numbers;
mod phrases;
mod plan;
mod prompt;
pub mod rewards;
mod schema;
mod sizing;
mod thesis;
mod verify;

pub use assemble::{Claim, Writing, assemble, cite};
pub use direction::Direction;
pub use phrases::{phrase_grammar, phrases};
pub use plan::{Choice, DraftClaim, Pick, PickError, Plan, SectionPlan, plan};
pub use prompt::{Prompt, render, system_prompt};
pub use schema::{Schema, SchemaError, contract_digest};
pub use thesis::{
    Controls, DISCLAIMER, Decision, Evidence, EvidenceDetail, Explain, HORIZONS_DAYS, Receipt,
    Sections, Thesis, Verdict, VerdictKind,
};
pub use verify::{Refutation, verify};
