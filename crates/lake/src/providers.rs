//! Live providers: what they send, made into records.

// Nothing fetches yet what is parsed here.
#[allow(dead_code, unused_imports, reason = "the client that calls the parsers comes next")]
pub(crate) mod parse;
