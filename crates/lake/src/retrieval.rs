//! Retrieval: which texts a read quotes as evidence, per ticker, date and section.
//!
//! ```text
//! queries.toml   what each section asks    -> Query      words, and a vector
//! news, filings  what was known and recent -> Candidate
//! Search         BM25 + vectors + age, fused by reciprocal rank
//! news, filings  no story twice, distinct sites -> Snippet, cut at sentence borders
//! ```
//!
//! A ranking as of a date is the same whatever becomes known later: candidates come
//! from tables that were cut before, the statistics of words from the documents
//! known then, and the vector of a text from that text alone. It is the same on every
//! run: ties go to the later document, then to the smaller record id; nothing is
//! summed by several threads or in the order of a hash map.

mod bm25;
mod columns;
mod embed;
mod filings;
mod fuse;
mod method;
#[cfg(feature = "minilm")]
mod minilm;
mod news;
mod queries;
mod search;
mod sentences;
#[cfg(test)]
mod tests;
mod words;

use std::{collections::HashMap, panic::resume_unwind, sync::OnceLock, thread};

use domain::{Snippet, Ticker};

pub(crate) use self::sentences::is_invisible;
pub use self::{
    embed::Embedder,
    method::{RetrievalConfig, RetrievalMethod, RetrievalRef, Retriever, WeightsRef},
    search::{Candidate, Collection, Hit, Part, Query, Search, Signals},
};
use self::{
    filings::FilingIndex,
    news::NewsIndex,
    queries::{SectionQuery, queries},
};
use crate::{
    Kind, LakeError, Manifest,
    tables::{AsOfTables, Tables},
    universe::Name,
};

/// Finds the texts of reads of one snapshot.
#[derive(Debug)]
pub(crate) struct Evidence {
    retriever: Retriever,
    queries: Vec<SectionQuery>,
    /// For each name its queries, prepared when first asked.
    prepared: HashMap<Ticker, Vec<OnceLock<Query>>>,
    /// Made by the first read.
    news: OnceLock<NewsIndex>,
    filings: FilingIndex,
}

/// One query of one read.
struct Asked<'a> {
    tables: &'a AsOfTables,
    name: &'a Name,
    query: &'a SectionQuery,
    prepared: &'a Query,
    embedder: Option<&'a dyn Embedder>,
}

impl Evidence {
    pub(crate) fn new(
        manifest: &Manifest,
        tables: &Tables,
        retriever: Retriever,
    ) -> Result<Self, LakeError> {
        let queries = queries()?;
        let unasked = || queries.iter().map(|_| OnceLock::new()).collect();
        let names = manifest.universe.names.iter();
        Ok(Self {
            prepared: names.map(|name| (name.ticker.clone(), unasked())).collect(),
            news: OnceLock::new(),
            filings: FilingIndex::new(tables),
            retriever,
            queries,
        })
    }

    /// Counts the words of the news, some 20 ms for 1,000 articles, while another thread
    /// loads what makes vectors; once.
    fn prepare(&self, tables: &Tables) -> Result<&NewsIndex, LakeError> {
        if let Some(news) = self.news.get() {
            return Ok(news);
        }
        thread::scope(|scope| {
            let weights = scope.spawn(|| self.retriever.embedder().map(|_| ()));
            let news = NewsIndex::new(tables)?;
            weights.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            Ok(self.news.get_or_init(|| news))
        })
    }

    pub(crate) fn retriever(&self) -> &Retriever {
        &self.retriever
    }

    /// Returns the snippets of a read, in the order of the queries, of what `tables`, cut
    /// from `all`, hold. Some 200 us where the same texts were read before, else up to
    /// 0.2 ms more for each new text; the first read of all takes as long as it takes to
    /// load the weights.
    pub(crate) fn snippets(
        &self,
        all: &Tables,
        tables: &AsOfTables,
        name: &Name,
    ) -> Result<Vec<Snippet>, LakeError> {
        let mut snippets = Vec::new();
        let Some(prepared) = self.prepared.get(&name.ticker) else {
            return Ok(snippets);
        };
        let news = self.prepare(all)?;
        let embedder = self.retriever.embedder()?;
        for (query, cell) in self.queries.iter().zip(prepared) {
            let prepared = match cell.get() {
                Some(prepared) => prepared,
                None => {
                    let made = Query::new(&query.about(name), embedder)?;
                    cell.get_or_init(|| made)
                }
            };
            let asked = Asked { tables, name, query, prepared, embedder };
            let found = match query.kind {
                Kind::News => news.snippets(&asked)?,
                _ => self.filings.snippets(&asked, &snippets)?,
            };
            snippets.extend(found);
        }
        Ok(snippets)
    }
}
