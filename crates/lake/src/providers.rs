//! Live providers: what is asked of whom, the archive of what they answered, and
//! the records in it.
//!
//! ```text
//! configs/providers.toml   ProviderList    who may be asked, how gently, on what terms
//! Adapter                  requests, follow-ups, judgement of an answer
//! parse                    answers to rows, pure
//! client                   one bounded, rate limited, retried GET
//! RawArchive               every answer, by digest               <data>/raw/<provider>/
//! fetch_provider           asks for what the archive lacks
//! parse_raw                archive to rows, without network
//! live                     archive to the feeds of a universe, whole or not at all
//! ```
//!
//! Fetching and parsing are apart: a parser that learns something new reads the
//! archive again, and a snapshot is built from the archive alone.

mod adapter;
mod client;
mod config;
mod edgar;
mod fetch;
mod fmp;
mod fred;
mod live;
mod news;
pub(crate) mod parse;
mod parsed;
mod raw;
mod retry;
mod stooq;
mod yahoo;

pub(crate) use self::live::{Live, check_feeds, read_live};
pub use self::{
    adapter::{Adapter, Ask},
    config::{Provider, ProviderList},
    fetch::{FetchOptions, FetchReport, fetch_provider, process_env},
    live::fetch_commands,
    parsed::{RawRows, parse_raw},
    raw::{RawArchive, RawReport},
    retry::RetryPolicy,
};
