//! Who may know the content of a source, and from when.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Who may know the content of a source. What a source does not say is refused: a
/// record that is material and not public cannot be told by its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entitlement {
    /// Anybody may have it: published, filed, or made up.
    Public,
    /// Whoever accepts its terms may have it; what is in it was published.
    Licensed,
    /// Some may not: expert calls, deal rooms, a desk's own notes. Refused.
    Restricted,
}

impl Entitlement {
    /// Tells why a source may not be ingested, with the remedy.
    pub(crate) fn check(entitlement: Option<Self>) -> Result<(), &'static str> {
        match entitlement {
            Some(Self::Public | Self::Licensed) => Ok(()),
            Some(Self::Restricted) => Err(
                "is restricted: it may hold material non-public information, and nothing of it is \
                 ingested; take its feeds out of the universe",
            ),
            None => Err(
                "states no entitlement: review who may know its content and set `entitlement` to \
                 \"public\" or \"licensed\", or remove it",
            ),
        }
    }
}

/// Until when nobody may know the records of a source.
///
/// An embargo moves `known_at` and nothing else, whenever a snapshot is built: a read
/// before its end does not see the record, one after it does, and the snapshot's id does
/// not depend on the day of the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "EmbargoConfig")]
pub struct Embargo {
    hours: i64,
    until: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbargoConfig {
    hours: Option<u32>,
    until: Option<DateTime<Utc>>,
}

impl TryFrom<EmbargoConfig> for Embargo {
    type Error = EmptyEmbargo;

    fn try_from(config: EmbargoConfig) -> Result<Self, EmptyEmbargo> {
        let EmbargoConfig { hours, until } = config;
        if hours.is_none() && until.is_none() {
            return Err(EmptyEmbargo);
        }
        Ok(Self { hours: hours.unwrap_or(0).into(), until })
    }
}

/// An embargo that says nothing.
#[derive(Debug)]
struct EmptyEmbargo;

impl fmt::Display for EmptyEmbargo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an embargo has `hours` after a record became known, or `until`, or both")
    }
}

impl Embargo {
    /// Returns when a record may first be known, both in microseconds since 1970 UTC.
    pub(crate) fn end(self, known_at: i64) -> i64 {
        let later = known_at.saturating_add(self.hours * 3_600_000_000);
        later.max(self.until.map_or(i64::MIN, |until| until.timestamp_micros()))
    }
}

/// What the gate has to know of a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) source_id: &'a str,
    pub(crate) embargo: Option<Embargo>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embargo(text: &str) -> Embargo {
        #[derive(Deserialize)]
        struct Config {
            embargo: Embargo,
        }
        toml::from_str::<Config>(text).unwrap().embargo
    }

    #[test]
    fn an_embargo_only_ever_delays() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap().timestamp_micros();
        let noon = at("2024-01-02T12:00:00Z");
        assert_eq!(embargo("embargo={hours=36}").end(noon), at("2024-01-04T00:00:00Z"));
        let until = embargo("embargo={until='2024-03-01T13:00:00Z'}");
        assert_eq!(until.end(noon), at("2024-03-01T13:00:00Z"));
        let later = at("2024-06-01T00:00:00Z");
        assert_eq!(until.end(later), later, "an embargo that is over moves nothing back");
        let both = embargo("embargo={hours=1,until='2024-03-01T13:00:00Z'}");
        assert_eq!(both.end(later), at("2024-06-01T01:00:00Z"));
    }
}
