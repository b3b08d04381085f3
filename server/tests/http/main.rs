//! r2r-server as a process, over loopback, with the real model, snapshot and
//! worker.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it measured"
)]

mod backtests;
mod bad_input;
mod client;
mod faults;
mod raw_socket;
mod reload;
mod server;
mod theses;
