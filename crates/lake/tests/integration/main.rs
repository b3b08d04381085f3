//! Tests of the lake. Those on real data fetch the packages by name into the
//! cache (`$R2R_DATA_DIR/packages`, default `data/packages` in the repository);
//! those on synthetic packages need no network.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test may panic and print like the test"
)]

mod build;
mod catalogue;
mod gate;
mod kill;
mod leak;
mod lineage;
mod pit;
mod providers;
mod read;
mod research;
mod rules;
mod store;
mod support;
mod synthetic;
mod tables;
