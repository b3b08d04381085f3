//! Ranks documents for a query by their words, their meaning and their age.

use std::{borrow::Cow, fmt, sync::OnceLock};

use super::{
    bm25::{Bm25Index, Statistics, Terms},
    embed::{Embedder, dot},
    fuse::{fuse, order, places},
};
use crate::LakeError;

/// Documents in the order in which they became known: their words counted, their
/// vectors kept once they were needed. The texts themselves stay where they are.
pub struct Collection {
    index: Bm25Index,
    vectors: Vec<OnceLock<Vec<f32>>>,
}

/// A collection and how many of its documents, from the first, were known.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The collection.
    pub collection: &'a Collection,
    /// How many documents were known.
    pub known: usize,
}

/// A document that may be an answer.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Index of its collection in [`Search::parts`].
    pub part: usize,
    /// Its place in the collection, one of the known ones.
    pub document: u32,
    /// Microseconds since 1970 UTC.
    pub known_at: i64,
    /// Its text, the one the collection was made of.
    pub text: Cow<'a, str>,
}

/// A question, prepared once and asked at many points in time.
#[derive(Debug, Clone)]
pub struct Query {
    terms: Terms,
    vector: Option<Vec<f32>>,
}

/// Which rankings are fused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals {
    /// BM25.
    pub lexical: bool,
    /// How alike the vectors are, where the query has one.
    pub dense: bool,
    /// The latest first.
    pub recency: bool,
    /// Bound on the documents whose vectors are compared, the best by the other
    /// signals: a vector is dear the first time.
    pub dense_max: usize,
}

/// Documents a query is answered from. Rarity of words and mean length are those of
/// the known documents of all parts, not of the candidates alone.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    /// What was known.
    pub parts: Vec<Part<'a>>,
    /// What may be an answer; equal scores keep this order.
    pub candidates: Vec<Candidate<'a>>,
    /// What counts.
    pub signals: Signals,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Index into [`Search::candidates`].
    pub candidate: usize,
    /// Its BM25 score, 0 where it shares no word with the query.
    pub lexical: f64,
}

impl Signals {
    /// What reads of a snapshot use.
    pub const READ: Self = Self { lexical: true, dense: true, recency: true, dense_max: 64 };
}

impl Collection {
    /// Counts the words of documents, given in the order in which they became known.
    #[must_use]
    pub fn new(texts: impl IntoIterator<Item: AsRef<str>>) -> Self {
        let index = Bm25Index::new(texts);
        let vectors = (0..index.len()).map(|_| OnceLock::new()).collect();
        Self { index, vectors }
    }

    /// Returns the number of documents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn vector(
        &self,
        document: u32,
        text: &str,
        embedder: &dyn Embedder,
    ) -> Result<&[f32], LakeError> {
        let cell = &self.vectors[document as usize];
        if let Some(vector) = cell.get() {
            return Ok(vector);
        }
        let vector = embedder.embed(text)?;
        // Two readers may have made it at once: they made the same bits.
        Ok(cell.get_or_init(|| vector))
    }
}

impl Query {
    /// Prepares a question; without an embedder it is asked by its words alone.
    ///
    /// # Errors
    /// Fails when the tokenizer does not accept the text.
    pub fn new(text: &str, embedder: Option<&dyn Embedder>) -> Result<Self, LakeError> {
        let vector = embedder.map(|e| e.embed(text)).transpose()?;
        Ok(Self { terms: Terms::new(text), vector })
    }
}

impl Search<'_> {
    /// Ranks the candidates, the best first; the ones left out by
    /// [`Signals::dense_max`] are not in it. Costs some 100 us for 50 candidates
    /// whose vectors were needed before.
    ///
    /// # Errors
    /// Fails when the tokenizer does not accept a text.
    pub fn rank(
        &self,
        query: &Query,
        embedder: Option<&dyn Embedder>,
    ) -> Result<Vec<Hit>, LakeError> {
        let lexical = self.lexical(query);
        let mut kept: Vec<usize> = (0..self.candidates.len()).collect();
        let dense = query.vector.as_deref().zip(embedder).filter(|_| self.signals.dense);
        if dense.is_some() && kept.len() > self.signals.dense_max {
            kept = order(&fuse(&self.cheap(&lexical, &kept)));
            kept.truncate(self.signals.dense_max);
            kept.sort_unstable();
        }
        let mut rankings = self.cheap(&lexical, &kept);
        if let Some((vector, embedder)) = dense {
            let alike = kept.iter().map(|&candidate| {
                let Candidate { part, document, text, .. } = &self.candidates[candidate];
                let collection = self.parts[*part].collection;
                Ok(f64::from(dot(vector, collection.vector(*document, text, embedder)?)))
            });
            rankings.push(places(&alike.collect::<Result<Vec<_>, LakeError>>()?));
        }
        let hit = |position: usize| {
            let candidate = kept[position];
            Hit { candidate, lexical: lexical[candidate] }
        };
        Ok(order(&fuse(&rankings)).into_iter().map(hit).collect())
    }

    fn lexical(&self, query: &Query) -> Vec<f64> {
        let mut statistics = Statistics::default();
        for Part { collection, known } in &self.parts {
            collection.index.count(&query.terms, *known, &mut statistics);
        }
        let weigh = |part: &Part<'_>| part.collection.index.weigh(&query.terms, &statistics);
        let weights: Vec<_> = self.parts.iter().map(weigh).collect();
        let score = |Candidate { part, document, .. }: &Candidate<'_>| {
            self.parts[*part].collection.index.score(&weights[*part], *document)
        };
        self.candidates.iter().map(score).collect()
    }

    /// Returns the rankings that need no vectors.
    fn cheap(&self, lexical: &[f64], kept: &[usize]) -> Vec<Vec<usize>> {
        let mut rankings = Vec::new();
        if self.signals.lexical {
            rankings.push(places(&kept.iter().map(|&c| lexical[c]).collect::<Vec<_>>()));
        }
        if self.signals.recency {
            rankings.push(self.recency(kept));
        }
        rankings
    }

    /// Places by time; documents that became known together share one.
    fn recency(&self, kept: &[usize]) -> Vec<usize> {
        let mut times: Vec<i64> = kept.iter().map(|&c| self.candidates[c].known_at).collect();
        let of_each = times.clone();
        times.sort_unstable();
        times.dedup();
        of_each.iter().map(|time| times.len() - times.partition_point(|t| t < time)).collect()
    }
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("documents", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::retrieval::embed::{StaticEmbedder, tests::three_words};

    const TEXTS: [&str; 4] = ["up now", "down down", "up up down", "sideways"];

    fn search<'a>(
        collection: &'a Collection,
        texts: &'a [&'a str],
        signals: Signals,
    ) -> Search<'a> {
        let candidate = |(document, text): (usize, &&'a str)| Candidate {
            part: 0,
            document: document as u32,
            known_at: document as i64,
            text: Cow::Borrowed(*text),
        };
        Search {
            parts: vec![Part { collection, known: texts.len() }],
            // The latest first.
            candidates: texts.iter().enumerate().map(candidate).rev().collect(),
            signals,
        }
    }

    fn ranked(texts: &[&str], later: &[&str], query: &str, signals: Signals) -> Vec<u32> {
        let (weights, tokenizer) = three_words();
        let embedder = StaticEmbedder::new(&weights, &tokenizer).unwrap();
        let collection = Collection::new(texts.iter().chain(later));
        let search = search(&collection, texts, signals);
        let query = Query::new(query, Some(&embedder)).unwrap();
        let hits = search.rank(&query, Some(&embedder)).unwrap();
        hits.iter().map(|hit| search.candidates[hit.candidate].document).collect()
    }

    #[test]
    fn each_signal_ranks_on_its_own_and_together() {
        let none = Signals { lexical: false, dense: false, recency: false, dense_max: 64 };
        for (signals, expected) in [
            (Signals { lexical: true, ..none }, [1, 2, 3, 0]),
            (Signals { dense: true, ..none }, [1, 2, 3, 0]),
            (Signals { recency: true, ..none }, [3, 2, 1, 0]),
            // 1 is first, first and third; 2 second in all; 3 third, third and first.
            (Signals::READ, [1, 2, 3, 0]),
            // 3 and 1 are first and third: equal, so the later one leads.
            (Signals { lexical: true, recency: true, ..none }, [3, 1, 2, 0]),
        ] {
            assert_eq!(ranked(&TEXTS, &[], "down", signals), expected, "{signals:?}");
        }
    }

    #[test]
    fn only_the_best_by_words_and_age_are_compared_by_meaning() {
        let signals = Signals { dense_max: 2, ..Signals::READ };
        assert_eq!(ranked(&TEXTS, &[], "down", signals), [1, 3]);
    }

    #[test]
    fn what_became_known_together_is_equally_recent() {
        let collection = Collection::new(TEXTS);
        let mut search = search(&collection, &TEXTS, Signals::READ);
        for (candidate, known_at) in search.candidates.iter_mut().zip([9, 7, 7, 2]) {
            candidate.known_at = known_at;
        }
        assert_eq!(search.recency(&[0, 1, 2, 3]), [1, 2, 2, 3]);
    }

    proptest! {
        /// Documents that become known later, whatever they say, leave a ranking as it was.
        #[test]
        fn later_documents_do_not_move_a_ranking(
            known in prop::collection::vec("(up|down|now|then)( (up|down|now|then)){0,5}", 1..10),
            later in prop::collection::vec("(up|down|now|new)( (up|down|now|new)){0,9}", 0..10),
            query in "(up|down|now|new)( (up|down|now|new)){0,2}",
            dense_max in 1usize..12,
        ) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let later: Vec<&str> = later.iter().map(String::as_str).collect();
            let signals = Signals { dense_max, ..Signals::READ };
            prop_assert_eq!(
                ranked(&known, &[], &query, signals),
                ranked(&known, &later, &query, signals)
            );
        }
    }
}
