//! Chooses the headlines and sentences a thesis may quote. Every snippet is a
//! byte range of a stored field, unchanged.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use datafusion::arrow::{
    array::{AsArray, RecordBatch, StringViewArray},
    datatypes::{Float64Type, TimestampMicrosecondType},
};
use domain::{Provenance, Section, Snippet};

use crate::{Kind, tables::AsOfTables, universe::Name};

/// Bound on the text of a snippet.
const BYTES_MAX: usize = 200;
/// Bound on the articles quoted in one read.
const ARTICLES_MAX: usize = 3;
/// Of these the best also lend the first sentences of their body.
const BODIES_MAX: usize = 2;
const WINDOW_DAYS: f64 = 30.0;
/// Share of common content words, of the shorter title, from which two titles
/// tell the same story; at least two words must be common.
const SAME_STORY: f64 = 0.35;
/// Words that say nothing about the story.
const EMPTY_WORDS: [&str; 20] = [
    "stock", "stocks", "share", "shares", "with", "from", "that", "this", "after", "will", "have",
    "what", "than", "into", "more", "today", "about", "here", "your", "inc",
];

struct Article<'a> {
    record_id: &'a str,
    title: &'a str,
    body: &'a str,
    site: &'a str,
    provenance: Provenance,
    names_company: bool,
    words: BTreeSet<String>,
}

/// Returns the snippets of a read: up to three recent articles, those that name
/// the company in the title first, then the newest, from distinct sites where
/// possible, no story twice.
pub(crate) fn news_snippets(tables: &AsOfTables, name: &Name) -> Vec<Snippet> {
    let Some(batch) = tables.get(Kind::News) else {
        return Vec::new();
    };
    let mut articles = articles(batch, name).unwrap_or_default();
    articles.sort_by(|a, b| {
        let key = |x: &Article<'_>| (!x.names_company, std::cmp::Reverse(x.provenance.known_at));
        (key(a), a.record_id).cmp(&(key(b), b.record_id))
    });
    let mut snippets = Vec::new();
    for (rank, article) in choose(&articles).into_iter().enumerate() {
        snippets.extend(article.snippet("title", article.title));
        if rank < BODIES_MAX {
            snippets.extend(article.snippet("body", article.body));
        }
    }
    snippets
}

fn articles<'a>(batch: &'a RecordBatch, name: &Name) -> Option<Vec<Article<'a>>> {
    let text = |column: &str| -> Option<&'a StringViewArray> {
        Some(batch.column_by_name(column)?.as_string_view())
    };
    let time = |column: &str| {
        Some(batch.column_by_name(column)?.as_primitive::<TimestampMicrosecondType>().values())
    };
    let ages = batch.column_by_name("age_days")?.as_primitive::<Float64Type>().values();
    let (ids, titles, bodies) = (text("record_id")?, text("title")?, text("body")?);
    let (sites, urls) = (text("site")?, text("url")?);
    let (event_times, known_ats) = (time("event_time")?, time("known_at")?);
    let recent = (0..batch.num_rows()).filter(|&row| ages[row] < WINDOW_DAYS);
    let articles = recent.filter_map(|row| {
        Some(Article {
            record_id: ids.value(row),
            title: titles.value(row),
            body: bodies.value(row),
            site: sites.value(row),
            provenance: Provenance {
                source: sites.value(row).to_owned(),
                url: urls.value(row).to_owned(),
                event_time: DateTime::<Utc>::from_timestamp_micros(event_times[row])?,
                known_at: DateTime::<Utc>::from_timestamp_micros(known_ats[row])?,
            },
            names_company: names_company(titles.value(row), name),
            words: content_words(titles.value(row), name),
        })
    });
    Some(articles.filter(|a| sentence_range(a.title).is_some()).collect())
}

/// Takes the best articles: first one per site, then any.
fn choose<'a, 'b>(articles: &'b [Article<'a>]) -> Vec<&'b Article<'a>> {
    let mut chosen: Vec<&Article<'_>> = Vec::new();
    for any_site in [false, true] {
        for article in articles {
            let clashes = |c: &&Article<'_>| {
                same_story(&c.words, &article.words) || (!any_site && c.site == article.site)
            };
            if chosen.len() < ARTICLES_MAX && !chosen.iter().any(clashes) {
                chosen.push(article);
            }
        }
    }
    chosen
}

impl Article<'_> {
    fn snippet(&self, column: &str, field: &str) -> Option<Snippet> {
        let (start, end) = sentence_range(field)?;
        Some(Snippet {
            section: Section::Sentiment,
            text: field[start..end].to_owned(),
            file: Kind::News.file(),
            record_id: self.record_id.to_owned(),
            column: column.to_owned(),
            start: u32::try_from(start).ok()?,
            end: u32::try_from(end).ok()?,
            provenance: self.provenance.clone(),
        })
    }
}

/// Returns the byte range of the first sentences of a field that fit the bound;
/// none where the first sentence does not, or holds invisible characters.
fn sentence_range(field: &str) -> Option<(usize, usize)> {
    let start = field.len() - field.trim_start().len();
    let whole_end = field.trim_end().len();
    let mut end = None;
    for candidate in sentence_ends(&field[start..whole_end]).map(|e| start + e) {
        if candidate - start > BYTES_MAX {
            break;
        }
        end = Some(candidate);
    }
    let range = (start, end?);
    let visible = |c: char| !c.is_control() && !is_invisible(c);
    (range.1 > range.0 && field[range.0..range.1].chars().all(visible)).then_some(range)
}

/// Returns where sentences end: after `.`, `!` or `?` (and closing quotes)
/// before white space and a capital or digit, not after initials and common
/// abbreviations; and at the end.
fn sentence_ends(text: &str) -> impl Iterator<Item = usize> {
    let ends = text.char_indices().filter_map(move |(i, c)| {
        if !matches!(c, '.' | '!' | '?') {
            return None;
        }
        let after = &text[i + c.len_utf8()..];
        let rest = after.trim_start_matches(['"', '\'', '”', '’', ')']);
        let end = text.len() - rest.len();
        let next = rest.strip_prefix(' ')?.trim_start().chars().next()?;
        let starts =
            next.is_uppercase() || next.is_numeric() || matches!(next, '"' | '“' | '\'' | '‘');
        (starts && !(c == '.' && is_abbreviation(&text[..i]))).then_some(end)
    });
    ends.chain(std::iter::once(text.len()))
}

fn is_abbreviation(before: &str) -> bool {
    const COMMON: [&str; 16] = [
        "Inc", "Corp", "Co", "Ltd", "Mr", "Mrs", "Ms", "Dr", "Jr", "Sr", "vs", "No", "St", "Mfg",
        "Gen", "Bros",
    ];
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let initials = word.split('.').all(|part| part.chars().count() <= 1);
    COMMON.contains(&word) || initials
}

/// Zero-width and direction-changing characters: they would hide text from a reader.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}')
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
    fn cuts_at_sentence_borders_only() {
        let long = "X".repeat(201);
        for (field, cut) in [
            ("Apple rose 2.5% on Friday.", Some("Apple rose 2.5% on Friday.")),
            ("One. Two", Some("One. Two")),
            ("  One.  ", Some("One.")),
            (&format!("Apple Inc. fell. {long}"), Some("Apple Inc. fell.")),
            (&format!("\"It fell.\" {long}"), Some("\"It fell.\"")),
            (&format!("The U.S. fell. {long}"), Some("The U.S. fell.")),
            (&format!("Shares fell 4.4 {long}"), None),
            (&long, None),
            ("bad\u{0}byte", None),
            ("hidden\u{202e}text", None),
            ("", None),
        ] {
            let found = sentence_range(field).map(|(start, end)| &field[start..end]);
            assert_eq!(found, cut, "{field:?}");
        }
    }

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
}
