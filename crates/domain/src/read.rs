//! The one carrier of what was known at a point in time.

use serde::Serialize;
use thiserror::Error;

use crate::{
    AsOf, Digest, EvidenceId, EvidenceItem, EvidenceKind, Feature, Section, Snippet, Ticker,
};

/// What a snapshot knew about a ticker at `as_of`: the feature frame and the
/// evidence catalogue made of it.
///
/// The fields are private and the only constructor refuses anything with
/// `known_at > as_of`, so code that holds a value of this type cannot look ahead.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AsOfRead {
    ticker: Ticker,
    company: String,
    as_of: AsOf,
    snapshot: Digest,
    frame: Vec<Feature>,
    catalogue: Vec<EvidenceItem>,
}

/// The parts of a read contradict its point in time or its shape.
#[derive(Debug, Error, PartialEq)]
pub enum ReadError {
    /// Something was not yet known.
    #[error("look-ahead: {what} was known at {known_at}, after {as_of}")]
    LookAhead {
        /// The feature or record.
        what: String,
        /// When it became known.
        known_at: String,
        /// The point in time of the read.
        as_of: AsOf,
    },
    /// A feature is NaN or infinite.
    #[error("feature {name} is {value}, not a finite number")]
    NotFinite {
        /// The feature.
        name: String,
        /// Its value.
        value: f64,
    },
    /// A section has neither evidence nor a coverage feature.
    #[error("section {0} has no evidence and no coverage feature that says so")]
    SilentSection(Section),
}

impl AsOfRead {
    /// Builds the catalogue from features and snippets in the order given:
    /// per section the numeric items, then the texts. A coverage feature
    /// becomes an item only in a section that has nothing else.
    ///
    /// # Errors
    /// Fails on anything with `known_at > as_of`, on a non-finite value and on
    /// a section nothing speaks to.
    pub fn new(
        ticker: Ticker,
        company: String,
        as_of: AsOf,
        snapshot: Digest,
        frame: Vec<Feature>,
        snippets: &[Snippet],
    ) -> Result<Self, ReadError> {
        let times = frame
            .iter()
            .map(|f| (f.name.as_str(), f.provenance.known_at))
            .chain(snippets.iter().map(|s| (s.record_id.as_str(), s.provenance.known_at)));
        for (what, known_at) in times {
            if !as_of.admits(known_at) {
                let (what, known_at) = (what.to_owned(), known_at.to_rfc3339());
                return Err(ReadError::LookAhead { what, known_at, as_of });
            }
        }
        if let Some(f) = frame.iter().find(|f| !f.value.is_finite()) {
            return Err(ReadError::NotFinite { name: f.name.clone(), value: f.value });
        }
        let catalogue = catalogue(&frame, snippets)?;
        Ok(Self { ticker, company, as_of, snapshot, frame, catalogue })
    }

    /// Returns the ticker.
    #[must_use]
    pub const fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// Returns the company's name.
    #[must_use]
    pub fn company(&self) -> &str {
        &self.company
    }

    /// Returns the point in time.
    #[must_use]
    pub const fn as_of(&self) -> AsOf {
        self.as_of
    }

    /// Returns the id of the snapshot that was read.
    #[must_use]
    pub const fn snapshot(&self) -> Digest {
        self.snapshot
    }

    /// Returns every feature, coverage features included.
    #[must_use]
    pub fn frame(&self) -> &[Feature] {
        &self.frame
    }

    /// Returns a feature's value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.frame.iter().find(|f| f.name == name).map(|f| f.value)
    }

    /// Returns all evidence, `E1` first.
    #[must_use]
    pub fn catalogue(&self) -> &[EvidenceItem] {
        &self.catalogue
    }

    /// Returns the evidence of one section, never empty.
    pub fn section(&self, section: Section) -> impl Iterator<Item = &EvidenceItem> {
        self.catalogue.iter().filter(move |item| item.section() == section)
    }

    /// Returns an item by its id.
    #[must_use]
    pub fn item(&self, id: EvidenceId) -> Option<&EvidenceItem> {
        self.catalogue.get(usize::from(id.0).checked_sub(1)?)
    }
}

fn catalogue(frame: &[Feature], snippets: &[Snippet]) -> Result<Vec<EvidenceItem>, ReadError> {
    let mut kinds = Vec::with_capacity(frame.len() + snippets.len());
    for section in Section::ALL {
        let before = kinds.len();
        let features = frame.iter().filter(|f| f.section == section);
        kinds.extend(features.clone().filter(|f| !f.coverage).cloned().map(EvidenceKind::Numeric));
        let texts = snippets.iter().filter(|s| s.section == section);
        kinds.extend(texts.cloned().map(EvidenceKind::Text));
        if kinds.len() == before {
            let coverage = features.clone().find(|f| f.coverage);
            let coverage = coverage.ok_or(ReadError::SilentSection(section))?;
            kinds.push(EvidenceKind::Numeric(coverage.clone()));
        }
    }
    let ids = (1u16..).map(EvidenceId);
    Ok(ids.zip(kinds).map(|(id, kind)| EvidenceItem { id, kind }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Polarity, Provenance, Unit};

    fn feature(name: &str, section: Section, coverage: bool, known_at: &str) -> Feature {
        let known_at = known_at.parse().unwrap();
        Feature {
            name: name.into(),
            title: name.into(),
            short: name.into(),
            section,
            unit: Unit::Count,
            polarity: Polarity::default(),
            window_days: None,
            value: 1.0,
            coverage,
            note: None,
            provenance: Provenance {
                source: "test".into(),
                url: "pkg:test".into(),
                event_time: known_at,
                known_at,
            },
        }
    }

    fn read(frame: Vec<Feature>) -> Result<AsOfRead, ReadError> {
        let ticker = "AAPL".parse().unwrap();
        let as_of = "2022-09-30".parse().unwrap();
        AsOfRead::new(ticker, "Apple".into(), as_of, Digest::of("s"), frame, &[])
    }

    fn coverage_everywhere() -> Vec<Feature> {
        Section::ALL.map(|s| feature(s.key(), s, true, "2022-09-30T20:00:00Z")).to_vec()
    }

    #[test]
    fn refuses_what_was_not_yet_known() {
        let mut frame = coverage_everywhere();
        frame.push(feature("late", Section::Market, false, "2022-10-01T00:00:00Z"));
        assert!(matches!(read(frame), Err(ReadError::LookAhead { .. })));
    }

    #[test]
    fn a_coverage_feature_speaks_only_where_nothing_else_does() {
        let mut frame = coverage_everywhere();
        frame.push(feature("vix", Section::Market, false, "2022-09-30T20:00:00Z"));
        let read = read(frame).unwrap();
        assert_eq!(read.section(Section::Market).count(), 1);
        assert!(!read.catalogue()[0].is_absence());
        assert!(read.section(Section::Insider).all(EvidenceItem::is_absence));
        assert_eq!(read.item(EvidenceId(2)).unwrap().id.to_string(), "E2");
        assert_eq!(read.item(EvidenceId(0)), None);
    }

    #[test]
    fn a_section_without_a_word_is_refused() {
        let mut frame = coverage_everywhere();
        frame.pop();
        assert_eq!(read(frame), Err(ReadError::SilentSection(Section::Risks)));
    }
}
