//! Facts of filings from packages that hold EDGAR's companyfacts.

use std::collections::BTreeMap;

use super::{Fact, Feed, Rows};
use crate::{
    LakeError, Universe,
    providers::parse::{Context, company_facts},
};

/// Reads the facts of every name that has a facts symbol. A package does not say
/// when filings were accepted: they are known at the end of their date.
pub(crate) fn read_facts(feed: &Feed<'_>, universe: &Universe) -> Result<Rows<Fact>, LakeError> {
    let mut found = Rows::default();
    for name in &universe.names {
        let Some(symbol) = name.symbols.get("facts") else {
            continue;
        };
        let member = feed.source.member("facts", Some(symbol))?;
        let bytes = feed.archive.read(&member)?;
        let context = Context {
            source_id: &feed.source.id,
            ticker: name.ticker.as_str(),
            issuer_ciks: &name.issuer_ciks,
            place: &member,
        };
        let company = company_facts(&context, &bytes, &BTreeMap::new())?;
        found.rows.extend(company.rows);
        found.rejected.extend(company.rejected);
        found.members.push(member);
    }
    Ok(found)
}

/// Returns the folder of a filing in EDGAR's archive.
pub(crate) fn filing_url(cik: u64, accession: &str) -> String {
    let folder = accession.replace('-', "");
    format!("https://www.sec.gov/Archives/edgar/data/{cik}/{folder}/")
}
