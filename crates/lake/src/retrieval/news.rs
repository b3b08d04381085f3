//! News: which articles a read quotes, and what of them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use domain::Snippet;

use super::{
    Asked,
    columns::Columns,
    search::{Candidate, Collection, Part, Search, Signals},
    sentences::sentence_range,
};
use crate::{Kind, LakeError, tables::Tables, universe::Name};

/// Of the articles quoted the best also lend the first sentences of their body.
const BODIES_MAX: usize = 2;
/// Share of common content words, of the shorter title, from which two titles
/// tell the same story; at least two words must be common.
const SAME_STORY: f64 = 0.35;
/// Words that say nothing about the story.
const EMPTY_WORDS: [&str; 20] = [
    "stock", "stocks", "share", "shares", "with", "from", "that", "this", "after", "will", "have",
    "what", "than", "into", "more", "today", "about", "here", "your", "inc",
];

/// All articles of a snapshot as one collection: a word is rare where the news of
/// all names hardly has it.
#[derive(Debug)]
pub(super) struct NewsIndex {
    collection: Collection,
    /// When each document became known, ascending.
    known_at: Vec<i64>,
    /// For each ticker its documents, in the order of its rows.
    documents: BTreeMap<String, Vec<u32>>,
}

struct Article<'a> {
    row: usize,
    title: &'a str,
    body: &'a str,
    site: &'a str,
    names_company: bool,
    words: BTreeSet<String>,
}

impl NewsIndex {
    pub(super) fn new(tables: &Tables) -> Result<Self, LakeError> {
        let (mut documents, mut found) = (BTreeMap::new(), Vec::new());
        for ticker in tables.tickers(Kind::News) {
            let Some(batch) = tables.rows(Kind::News, ticker) else {
                continue;
            };
            let columns = Columns::new(Kind::News, &batch)?;
            let (titles, bodies) = (columns.text("title")?, columns.text("body")?);
            for row in 0..batch.num_rows() {
                let time = columns.known_at(row);
                let text = text(titles.value(row), bodies.value(row));
                found.push((time, columns.record_id(row).to_owned(), ticker, row, text));
            }
            documents.insert(ticker.to_owned(), vec![0; batch.num_rows()]);
        }
        // What was known before stands before, whatever comes later.
        found.sort_unstable();
        for (document, (.., ticker, row, _)) in found.iter().enumerate() {
            if let Some(rows) = documents.get_mut(*ticker) {
                rows[*row] = document as u32;
            }
        }
        let known_at = found.iter().map(|(time, ..)| *time).collect();
        let collection = Collection::new(found.iter().map(|(.., text)| text));
        Ok(Self { collection, known_at, documents })
    }

    /// Returns the snippets of a read: the articles that answer best, those that
    /// name the company in the title before all others, from distinct sites where
    /// possible, no story twice.
    pub(super) fn snippets(&self, asked: &Asked<'_>) -> Result<Vec<Snippet>, LakeError> {
        let (Some(batch), Some(documents)) =
            (asked.tables.get(Kind::News), self.documents.get(asked.name.ticker.as_str()))
        else {
            return Ok(Vec::new());
        };
        let columns = Columns::new(Kind::News, batch)?;
        let articles = articles(&columns, asked)?;
        let candidate = |article: &Article<'_>| Candidate {
            part: 0,
            document: documents[article.row],
            known_at: columns.known_at(article.row),
            text: Cow::Owned(text(article.title, article.body)),
        };
        let last = asked.tables.as_of().instant().timestamp_micros();
        let known = self.known_at.partition_point(|&time| time <= last);
        let search = Search {
            parts: vec![Part { collection: &self.collection, known }],
            candidates: articles.iter().map(candidate).collect(),
            signals: Signals::READ,
        };
        let hits = search.rank(asked.prepared, asked.embedder)?;
        let mut ranked: Vec<&Article<'_>> = hits.iter().map(|h| &articles[h.candidate]).collect();
        ranked.sort_by_key(|article| !article.names_company);
        let mut snippets = Vec::new();
        for (rank, article) in choose(&ranked, asked.query.texts_max).into_iter().enumerate() {
            let fields = [("title", article.title), ("body", article.body)];
            for (column, field) in &fields[..if rank < BODIES_MAX { 2 } else { 1 }] {
                if let Some(range) = sentence_range(field) {
                    let place = (article.row, *column);
                    snippets.push(columns.snippet(asked.query.section, place, range)?);
                }
            }
        }
        Ok(snippets)
    }
}

/// What is ranked of an article.
fn text(title: &str, body: &str) -> String {
    format!("{title}\n{body}")
}

/// Returns the recent articles whose title can be quoted, the latest first.
fn articles<'a>(columns: &Columns<'a>, asked: &Asked<'_>) -> Result<Vec<Article<'a>>, LakeError> {
    let (titles, bodies) = (columns.text("title")?, columns.text("body")?);
    let sites = columns.text("site")?;
    let rows = columns.younger_than(asked.query.window_days)?;
    let articles = rows.into_iter().map(|row| {
        let title = titles.value(row);
        Article {
            row,
            title,
            body: bodies.value(row),
            site: sites.value(row),
            names_company: names_company(title, asked.name),
            words: content_words(title, asked.name),
        }
    });
    Ok(articles.filter(|a| sentence_range(a.title).is_some()).collect())
}

/// Takes the best articles: first one per site, then any.
fn choose<'a, 'b>(ranked: &[&'b Article<'a>], texts_max: usize) -> Vec<&'b Article<'a>> {
    let mut chosen: Vec<&Article<'_>> = Vec::new();
    for any_site in [false, true] {
        for &article in ranked {
            let clashes = |c: &&Article<'_>| {
                same_story(&c.words, &article.words) || (!any_site && c.site == article.site)
            };
            if chosen.len() < texts_max && !chosen.iter().any(clashes) {
                chosen.push(article);
            }
        }
    }
    chosen
}

fn names_company(title: &str, name: &Name) -> bool {
    let found = |needle: &str| {
        title.match_indices(needle).any(|(i, _)| {
            let is_word = |c: char| c.is_alphanumeric();
            !title[..i].ends_with(is_word) && !title[i + needle.len()..].starts_with(is_word)
        })
    };
    found(name.ticker.as_str()) || name.aliases.iter().any(|alias| found(alias))
}

/// Returns the words that make up the story: long ones and numbers, without
/// those all titles about the company share.
fn content_words(title: &str, name: &Name) -> BTreeSet<String> {
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words.map(str::to_lowercase).collect()
    };
    let mut story = words(title);
    story.retain(|word| word.len() >= 4 || word.bytes().any(|b| b.is_ascii_digit()));
    let company = name.aliases.iter().flat_map(|alias| words(alias));
    for word in company.chain(EMPTY_WORDS.map(str::to_owned)) {
        story.remove(&word);
    }
    story
}

fn same_story(a: &BTreeSet<String>, b: &BTreeSet<String>) -> bool {
    let common = a.intersection(b).count();
    a == b || (common >= 2 && common as f64 >= SAME_STORY * a.len().min(b.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_whole_names_and_stories() {
        let name = Name {
            ticker: "GE".parse().unwrap(),
            company: "General Electric".into(),
            issuer_ciks: vec![],
            aliases: vec!["General Electric".into()],
            symbols: Default::default(),
        };
        assert!(names_company("Why GE's stock fell", &name));
        assert!(!names_company("GEICO and Geely", &name));
        let same = |a, b| same_story(&content_words(a, &name), &content_words(b, &name));
        assert!(same("GE: engine demand falls", "General Electric engine demand falls!"));
        assert!(same(
            "A GE executive is leaving the company after being filmed in a viral TikTok video",
            "GE exec exits after coarse remarks in viral TikTok video: report"
        ));
        assert!(!same("General Electric falls", "Why Microsoft rose today"));
        assert!(!same("Engine orders grow at GE", "GE buys a maker of turbines"));
    }

    #[test]
    fn sites_and_stories_differ_as_far_as_there_are_any() {
        let article = |row, site, words: &[&str]| Article {
            row,
            title: "",
            body: "",
            site,
            names_company: true,
            words: words.iter().map(|&word| word.to_owned()).collect(),
        };
        let articles = [
            article(0, "x", &["engine", "orders"]),
            article(1, "x", &["pension", "plan"]),
            article(2, "y", &["engine", "orders", "grow"]),
            article(3, "z", &["strike", "ends"]),
            article(4, "x", &["chief", "leaves"]),
        ];
        let ranked: Vec<&Article<'_>> = articles.iter().collect();
        let rows = |max| choose(&ranked, max).iter().map(|a| a.row).collect::<Vec<_>>();
        assert_eq!(rows(1), [0]);
        assert_eq!(rows(2), [0, 3]);
        assert_eq!(rows(4), [0, 3, 1, 4]);
    }
}
