//! The same tests on every kind of store, and every point a process can die at.

mod conformance;
mod crashes;
mod s3;
mod samples;
