//! The front of r2r: HTTP, the API, caches, health, metrics. The only crate that
//! knows HTTP and wire types; it never touches llama.cpp, which lives in the
//! worker process behind [`inference`].
//!
//! A request's way: [`serve`] accepts and checks the head, the routes of `api`
//! read the body, [`theses::Theses`] answers from its caches or has the thesis
//! written, [`backtests::Backtests`] computes backtests, and errors become problems in
//! [`problem`].

mod api;
mod app;
pub mod backtests;
pub mod config;
mod fairness;
mod http;
pub mod metrics;
mod outcome;
pub mod problem;
pub mod theses;

pub use app::{App, StartError};
pub use http::{Rejection, serve};
