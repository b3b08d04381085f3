//! What each section asks for, `retrieval/queries.toml`.

use domain::{Digest, Section};
use serde::Deserialize;

use crate::{Kind, LakeError, universe::Name};

/// The file, whose digest a manifest holds.
const FILE: &str = include_str!("../../retrieval/queries.toml");
const ORIGIN: &str = "crates/lake/retrieval/queries.toml";

/// One question of one section to one kind of text.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SectionQuery {
    pub(super) section: Section,
    pub(super) kind: Kind,
    pub(super) window_days: u32,
    pub(super) texts_max: usize,
    text: String,
    /// Items of forms that are preferred.
    #[serde(default)]
    pub(super) items: Vec<String>,
    /// Items of forms that are left out.
    #[serde(default)]
    pub(super) not_items: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    query: Vec<SectionQuery>,
}

impl SectionQuery {
    /// Returns the query about a company: `{names}` becomes ticker, name and aliases.
    pub(super) fn about(&self, name: &Name) -> String {
        let mut names = vec![name.ticker.as_str(), &name.company];
        names.extend(name.aliases.iter().map(String::as_str).filter(|a| *a != name.company));
        self.text.replace("{names}", &names.join(" "))
    }
}

/// Returns the queries, in the order of the file.
pub(super) fn queries() -> Result<Vec<SectionQuery>, LakeError> {
    parse(FILE)
}

/// Returns the digest of the queries.
pub(super) fn queries_digest() -> Digest {
    Digest::of(FILE)
}

fn parse(text: &str) -> Result<Vec<SectionQuery>, LakeError> {
    let invalid = |reason| LakeError::Config { origin: ORIGIN.to_owned(), reason };
    let File { query } = toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
    for query in &query {
        let (section, kind) = (query.section, query.kind);
        if !matches!(kind, Kind::News | Kind::FilingTexts) {
            let kind = kind.key();
            return Err(invalid(format!(
                "{section}: {kind} holds no texts; use news or filing_texts"
            )));
        }
        if kind == Kind::News && !(query.items.is_empty() && query.not_items.is_empty()) {
            return Err(invalid(format!("{section}: news has no items")));
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_queries_are_valid_and_name_the_company() {
        let queries = queries().unwrap();
        let name = Name {
            ticker: "BAC".parse().unwrap(),
            company: "Bank of America".into(),
            issuer_ciks: vec![],
            aliases: vec!["Bank of America".into(), "BofA".into()],
            symbols: Default::default(),
        };
        let sentiment = queries.iter().find(|q| q.section == Section::Sentiment).unwrap();
        assert!(sentiment.about(&name).starts_with("BAC Bank of America BofA stock"));
        for section in [Section::Fundamentals, Section::Risks] {
            let query = queries.iter().find(|q| q.section == section).unwrap();
            assert_eq!((query.kind, query.texts_max), (Kind::FilingTexts, 1));
        }
    }

    #[test]
    fn a_query_that_cannot_be_asked_is_refused() {
        let query =
            "[[query]]\nsection='risks'\nkind='news'\nwindow_days=1\ntexts_max=1\ntext='x'\n";
        assert_eq!(parse(query).unwrap().len(), 1);
        for (bad, says) in [
            (query.replace("'news'", "'bars'"), "risks: bars holds no texts"),
            (format!("{query}items=['1A']\n"), "risks: news has no items"),
            (format!("{query}colour='red'\n"), "colour"),
        ] {
            let error = parse(&bad).unwrap_err().to_string();
            assert!(error.starts_with(ORIGIN) && error.contains(says), "{error}");
        }
    }
}
