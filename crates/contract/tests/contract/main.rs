//! Integration tests of the contract, without a model: grammars run over a
//! byte-level tokenizer, so every path the decoder could take is reachable.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod answer;
mod decoding;
mod sample;
mod texts;
