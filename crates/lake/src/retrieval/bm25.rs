//! BM25 over documents that become known one after the other.
//!
//! How rare a word is and how long a document is on average depend on the whole
//! collection, so a collection that holds the future would let it move a ranking
//! of the past. Here documents stand in the order in which they became known, and
//! every statistic is that of the first `known` of them: for a word a binary
//! search in the list of its documents, for the length a prefix sum. A ranking as of
//! a point in time costs the same as one over everything, and no index is built for it.

use std::collections::HashMap;

use super::words::words;

/// Saturation of repeated words; the value of Lucene and tantivy.
const K1: f64 = 1.2;
/// Weight of a document's length; the value of Lucene and tantivy.
const B: f64 = 0.75;

/// Documents in the order in which they became known, as counted words.
#[derive(Debug)]
pub(super) struct Bm25Index {
    /// Only ever looked up, never iterated: its order is not fixed.
    ids: HashMap<String, u32>,
    /// For each word the documents that hold it, ascending.
    holders: Lists<u32>,
    /// For each document its words and how often they occur, ascending by word.
    documents: Lists<(u32, u32)>,
    /// Number of words in the documents before each, and in all.
    words_before: Vec<u64>,
}

/// Lists of different lengths, one after the other in memory.
#[derive(Debug)]
struct Lists<T> {
    starts: Vec<usize>,
    items: Vec<T>,
}

/// The words of a query, each once, in the order of their first occurrence.
#[derive(Debug, Clone)]
pub(super) struct Terms(Vec<(String, u32)>);

/// What is known of a collection, as far as a query needs it. Collections may be
/// counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    documents: u64,
    words: u64,
    /// For each word of the query, how many documents hold it.
    holders: Vec<u64>,
}

/// A query's words that an index holds, with their weights.
#[derive(Debug)]
pub(super) struct Weights {
    words: Vec<(u32, f64)>,
    mean_words: f64,
}

impl Terms {
    pub(super) fn new(query: &str) -> Self {
        let mut terms = Vec::<(String, u32)>::new();
        for word in words(query) {
            match terms.iter_mut().find(|(known, _)| *known == word) {
                Some((_, count)) => *count += 1,
                None => terms.push((word, 1)),
            }
        }
        Self(terms)
    }
}

impl Bm25Index {
    /// Counts the words of documents, given in the order in which they became known.
    pub(super) fn new(texts: impl IntoIterator<Item: AsRef<str>>) -> Self {
        let mut ids = HashMap::<String, u32>::new();
        let mut documents = Lists { starts: vec![0], items: Vec::new() };
        let mut words_before = vec![0];
        let mut total = 0;
        let mut found = Vec::new();
        for text in texts {
            found.clear();
            for word in words(text.as_ref()) {
                let next = ids.len() as u32;
                found.push(*ids.entry(word).or_insert(next));
            }
            found.sort_unstable();
            total += found.len() as u64;
            words_before.push(total);
            for same in found.chunk_by(|a, b| a == b) {
                documents.items.push((same[0], same.len() as u32));
            }
            documents.starts.push(documents.items.len());
        }
        let holders = holders(&documents, ids.len());
        Self { ids, holders, documents, words_before }
    }

    /// Adds what the first `known` documents say about a query.
    pub(super) fn count(&self, terms: &Terms, known: usize, statistics: &mut Statistics) {
        statistics.documents += known as u64;
        statistics.words += self.words_before[known];
        statistics.holders.resize(terms.0.len(), 0);
        for (count, (word, _)) in statistics.holders.iter_mut().zip(&terms.0) {
            let holders = self.ids.get(word).map_or(&[][..], |id| self.holders.get(*id as usize));
            *count += holders.partition_point(|&document| (document as usize) < known) as u64;
        }
    }

    /// Weighs the words of a query by how rare they are in what was counted.
    pub(super) fn weigh(&self, terms: &Terms, statistics: &Statistics) -> Weights {
        let documents = statistics.documents as f64;
        let words = terms.0.iter().zip(&statistics.holders).filter_map(|((word, times), &n)| {
            let n = n as f64;
            let rarity = (1.0 + (documents - n + 0.5) / (n + 0.5)).ln();
            Some((*self.ids.get(word)?, f64::from(*times) * rarity))
        });
        Weights { words: words.collect(), mean_words: statistics.words as f64 / documents }
    }

    /// Returns the score of a document, zero where it holds no word of the query.
    pub(super) fn score(&self, weights: &Weights, document: u32) -> f64 {
        let document = document as usize;
        let length = self.words_before[document + 1] - self.words_before[document];
        let norm = K1 * (1.0 - B + B * length as f64 / weights.mean_words);
        let counted = self.documents.get(document);
        let score = |&(id, weight): &(u32, f64)| {
            let at = counted.binary_search_by_key(&id, |(word, _)| *word).ok()?;
            let times = f64::from(counted[at].1);
            Some(weight * times * (K1 + 1.0) / (times + norm))
        };
        // In the order of the query: a sum of floats depends on its order.
        weights.words.iter().filter_map(score).sum()
    }

    /// Returns the number of documents.
    pub(super) fn len(&self) -> usize {
        self.words_before.len() - 1
    }
}

impl<T> Lists<T> {
    fn get(&self, list: usize) -> &[T] {
        &self.items[self.starts[list]..self.starts[list + 1]]
    }
}

/// Turns words per document into documents per word.
fn holders(documents: &Lists<(u32, u32)>, words: usize) -> Lists<u32> {
    let mut starts = vec![0; words + 1];
    for (word, _) in &documents.items {
        starts[*word as usize + 1] += 1;
    }
    for word in 0..words {
        starts[word + 1] += starts[word];
    }
    let mut next = starts.clone();
    let mut items = vec![0; documents.items.len()];
    for document in 0..documents.starts.len() - 1 {
        for (word, _) in documents.get(document) {
            items[next[*word as usize]] = document as u32;
            next[*word as usize] += 1;
        }
    }
    Lists { starts, items }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(index: &Bm25Index, query: &str, known: usize) -> Vec<f64> {
        let (terms, mut statistics) = (Terms::new(query), Statistics::default());
        index.count(&terms, known, &mut statistics);
        let weights = index.weigh(&terms, &statistics);
        (0..known as u32).map(|document| index.score(&weights, document)).collect()
    }

    /// By hand: 3 documents of 2, 4 and 3 words, so 3 on average. `red` is in two of
    /// them: ln(1 + 1.5 / 2.5) = 0.470003629; `fox` in one: ln(1 + 2.5 / 1.5) =
    /// 0.980829253. Length norms 1.2 * (0.25 + 0.75 * {2, 4, 3} / 3) = 0.9, 1.5, 1.2.
    /// Second document: 0.470003629 * 2 * 2.2 / 3.5 + 0.980829253 * 2.2 / 2.5.
    #[test]
    fn scores_equal_those_computed_by_hand() {
        let index = Bm25Index::new(["red hen", "red red fox den", "one two ten"]);
        let found = scores(&index, "red fox", 3);
        let expected = [0.470_003_629 * 2.2 / 1.9, 0.590_861_705 + 0.863_129_743, 0.0];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-8, "{found}, expected {expected}");
        }
        // A word said twice counts twice.
        assert!((scores(&index, "fox fox", 3)[1] - 2.0 * 0.863_129_743).abs() < 1e-8);
    }

    /// As of the first two documents `red` is in both and the mean length is 3.
    #[test]
    fn statistics_are_those_of_the_known_documents() {
        let index = Bm25Index::new(["red hen", "red red fox den", "one two ten"]);
        let (terms, mut statistics) = (Terms::new("red fox ten"), Statistics::default());
        index.count(&terms, 2, &mut statistics);
        let expected = Statistics { documents: 2, words: 6, holders: vec![2, 1, 0] };
        assert_eq!(statistics, expected);
        // Two collections counted together are one collection.
        Bm25Index::new(["a red ten"]).count(&terms, 1, &mut statistics);
        let expected = Statistics { documents: 3, words: 9, holders: vec![3, 1, 1] };
        assert_eq!(statistics, expected);
    }

    proptest! {
        /// Whatever becomes known later, the scores as of before are the same bits.
        #[test]
        fn later_documents_change_nothing(
            known in prop::collection::vec("[a-d]( [a-d]){0,6}", 1..8),
            later in prop::collection::vec("[a-f]( [a-f]){0,9}", 0..8),
            query in "[a-f]( [a-f]){0,3}",
        ) {
            let before = Bm25Index::new(&known);
            let after = Bm25Index::new(known.iter().chain(&later));
            let bits = |index| -> Vec<u64> {
                scores(index, &query, known.len()).into_iter().map(f64::to_bits).collect()
            };
            prop_assert_eq!(bits(&before), bits(&after));
        }
    }
}
