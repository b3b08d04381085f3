//! r2r-server as a process, over loopback, with the real model, snapshot and
//! worker.

mod bad_input;
mod client;
mod faults;
mod raw_socket;
mod server;
mod theses;
