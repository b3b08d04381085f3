//! Where each answer is asked for: paths and queries below a provider's base URL.
//! API keys are no part of them: the client adds one as a header.

use chrono::NaiveDate;

/// A path below a base URL and the query, not yet encoded and without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
}

impl Location {
    fn path(path: String) -> Self {
        Self { path, query: Vec::new() }
    }
}

/// Filings of a registrant, below `https://data.sec.gov`.
pub(crate) fn submissions_at(cik: u64) -> Location {
    Location::path(format!("/submissions/CIK{cik:010}.json"))
}

/// Older filings, in a file that [`super::submissions`] named.
pub(crate) fn submissions_overflow_at(name: &str) -> Location {
    Location::path(format!("/submissions/{name}"))
}

/// Facts of a registrant, below `https://data.sec.gov`.
pub(crate) fn companyfacts_at(cik: u64) -> Location {
    Location::path(format!("/api/xbrl/companyfacts/CIK{cik:010}.json"))
}

/// A document of a filing, below `https://www.sec.gov`.
pub(crate) fn document_at(cik: u64, accession: &str, name: &str) -> Location {
    let folder = accession.replace('-', "");
    Location::path(format!("/Archives/edgar/data/{cik}/{folder}/{name}"))
}

/// All documents of a filing in one text file, below `https://www.sec.gov`.
pub(crate) fn full_submission_at(cik: u64, accession: &str) -> Location {
    document_at(cik, accession, &format!("{accession}.txt"))
}

/// Returns the XML behind the primary document of an ownership form: EDGAR names a
/// page it renders of it, `xslF345X05/form4.xml`.
pub(crate) fn ownership_document(primary_document: &str) -> &str {
    match primary_document.split_once('/') {
        Some((folder, name)) if folder.starts_with("xsl") => name,
        _ => primary_document,
    }
}

/// A page of articles with a phrase, below `https://newsapi.org`; the key is the
/// header `X-Api-Key`.
pub(crate) fn newsapi_at(phrase: &str, from: NaiveDate, to: NaiveDate, page: u32) -> Location {
    Location {
        path: "/v2/everything".to_owned(),
        query: vec![
            ("q", format!("\"{}\"", phrase.replace('"', ""))),
            ("from", from.to_string()),
            ("to", to.to_string()),
            ("language", "en".to_owned()),
            ("sortBy", "publishedAt".to_owned()),
            ("pageSize", "100".to_owned()),
            ("page", page.to_string()),
        ],
    }
}

/// Annual consensus, below `https://financialmodelingprep.com`; the key is the
/// header `apikey`. Quarters are not asked for: an estimate does not say what length
/// of period it is about, and the last quarter ends with the year.
pub(crate) fn analyst_estimates_at(symbol: &str) -> Location {
    Location {
        path: format!("/api/v3/analyst-estimates/{symbol}"),
        query: vec![("period", "annual".to_owned()), ("limit", "30".to_owned())],
    }
}

/// Dated price targets of brokers, below `https://financialmodelingprep.com`.
pub(crate) fn price_targets_at(symbol: &str) -> Location {
    Location { path: "/api/v4/price-target".to_owned(), query: vec![("symbol", symbol.to_owned())] }
}

/// The consensus of price targets, below `https://financialmodelingprep.com`.
pub(crate) fn price_target_consensus_at(symbol: &str) -> Location {
    Location {
        path: "/api/v4/price-target-consensus".to_owned(),
        query: vec![("symbol", symbol.to_owned())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_those_of_the_providers() {
        assert_eq!(submissions_at(320_193).path, "/submissions/CIK0000320193.json");
        assert_eq!(companyfacts_at(320_193).path, "/api/xbrl/companyfacts/CIK0000320193.json");
        let accession = "0000320193-22-000108";
        assert_eq!(
            full_submission_at(320_193, accession).path,
            "/Archives/edgar/data/320193/000032019322000108/0000320193-22-000108.txt"
        );
        assert_eq!(ownership_document("xslF345X05/wk-form4_1.xml"), "wk-form4_1.xml");
        assert_eq!(ownership_document("form4.xml"), "form4.xml");
        let day = |d| NaiveDate::from_ymd_opt(2024, 6, d).unwrap();
        let news = newsapi_at("Apple \"Inc\"", day(1), day(2), 1);
        assert_eq!(news.query[0], ("q", "\"Apple Inc\"".to_owned()));
        for location in [
            news,
            analyst_estimates_at("AAPL"),
            price_targets_at("AAPL"),
            price_target_consensus_at("AAPL"),
        ] {
            assert!(location.query.iter().all(|(name, _)| !name.to_lowercase().contains("key")));
        }
    }
}
