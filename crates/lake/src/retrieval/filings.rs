//! Texts of filings: which passages a read quotes.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use domain::Snippet;

use super::{
    Asked,
    columns::Columns,
    search::{Candidate, Collection, Part, Search, Signals},
    sentences::passages,
};
use crate::{Kind, LakeError, tables::Tables};

/// The passages of every record, made when it is first read: an annual report has
/// about a thousand, and most reports of a snapshot are superseded in every read.
#[derive(Debug)]
pub(super) struct FilingIndex(BTreeMap<String, Vec<OnceLock<Passages>>>);

/// The passages of one item of a filing, in their order, as a collection of their own.
#[derive(Debug)]
struct Passages {
    ranges: Vec<(usize, usize)>,
    collection: Collection,
}

impl FilingIndex {
    pub(super) fn new(tables: &Tables) -> Self {
        let tickers = tables.tickers(Kind::FilingTexts).into_iter();
        Self(
            tickers
                .map(|ticker| {
                    let rows =
                        tables.rows(Kind::FilingTexts, ticker).map_or(0, |batch| batch.num_rows());
                    (ticker.to_owned(), (0..rows).map(|_| OnceLock::new()).collect())
                })
                .collect(),
        )
    }

    /// Returns the passages that answer best, of the latest known version of each
    /// item: those of preferred items first, none that shares no word with the
    /// query, none that is in `taken`.
    ///
    /// What is rare is so among the passages of these items alone: they are one
    /// company's words of one year, and nothing later is among them.
    pub(super) fn snippets(
        &self,
        asked: &Asked<'_>,
        taken: &[Snippet],
    ) -> Result<Vec<Snippet>, LakeError> {
        let (Some(batch), Some(records)) =
            (asked.tables.get(Kind::FilingTexts), self.0.get(asked.name.ticker.as_str()))
        else {
            return Ok(Vec::new());
        };
        let columns = Columns::new(Kind::FilingTexts, batch)?;
        let (texts, items) = (columns.text("text")?, columns.text("item")?);
        let rows = latest_items(&columns, asked)?;
        let of_row = |row: &usize| {
            let text = texts.value(*row);
            (records[*row].get_or_init(|| Passages::new(text)), *row, text)
        };
        let found: Vec<(&Passages, usize, &str)> = rows.iter().map(of_row).collect();
        let mut search = Search { parts: vec![], candidates: vec![], signals: Signals::READ };
        let mut places = Vec::new();
        for (part, (passages, row, text)) in found.into_iter().enumerate() {
            let known = passages.ranges.len();
            search.parts.push(Part { collection: &passages.collection, known });
            let known_at = columns.known_at(row);
            for (document, &(start, end)) in (0..).zip(&passages.ranges) {
                let text = Cow::Borrowed(&text[start..end]);
                search.candidates.push(Candidate { part, document, known_at, text });
                places.push((row, (start, end)));
            }
        }
        let mut hits = search.rank(asked.prepared, asked.embedder)?;
        hits.retain(|hit| hit.lexical > 0.0);
        hits.sort_by_key(|hit| {
            !is_one_of(&asked.query.items, items.value(places[hit.candidate].0))
        });
        let is_free = |(row, (start, _)): &(usize, (usize, usize))| {
            let id = columns.record_id(*row);
            !taken.iter().any(|s| s.record_id == id && s.start as usize == *start)
        };
        let best = hits.iter().map(|hit| places[hit.candidate]).filter(is_free);
        best.take(asked.query.texts_max)
            .map(|(row, range)| columns.snippet(asked.query.section, (row, "text"), range))
            .collect()
    }
}

impl Passages {
    fn new(text: &str) -> Self {
        let ranges = passages(text);
        let collection = Collection::new(ranges.iter().map(|&(start, end)| &text[start..end]));
        Self { ranges, collection }
    }
}

/// Returns the rows of the latest version of each item that may be quoted, an
/// amendment counting as its form.
fn latest_items(columns: &Columns<'_>, asked: &Asked<'_>) -> Result<Vec<usize>, LakeError> {
    let (forms, items) = (columns.text("form")?, columns.text("item")?);
    let mut seen = BTreeSet::new();
    let mut rows = columns.younger_than(asked.query.window_days)?;
    rows.retain(|&row| {
        let (form, item) = (forms.value(row), items.value(row));
        let form = form.strip_suffix("/A").unwrap_or(form);
        !is_one_of(&asked.query.not_items, item) && seen.insert((form, item))
    });
    Ok(rows)
}

fn is_one_of(items: &[String], item: &str) -> bool {
    items.iter().any(|known| known.eq_ignore_ascii_case(item.trim()))
}
