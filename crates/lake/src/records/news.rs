//! News articles as nasdaq-news archives them, with their VADER tone.

use std::sync::LazyLock;

use chrono::NaiveDateTime;
use domain::Digest;
use serde_json::Value;
use vader_sentiment::SentimentIntensityAnalyzer;

use super::{Article, Feed, Head, Rows};
use crate::{LakeError, Universe, calendar};

/// Reads the articles of every name that has a news symbol.
///
/// The archive states a wall-clock time without zone. Read as New York it is
/// later than read as UTC: the conservative side.
pub(crate) fn read_news(feed: &Feed<'_>, universe: &Universe) -> Result<Rows<Article>, LakeError> {
    let mut found = Rows::default();
    for name in &universe.names {
        let Some(symbol) = name.symbols.get("news") else {
            continue;
        };
        let member = feed.source.member("news", Some(symbol))?;
        let bytes = feed.archive.read(&member)?;
        let items: Vec<Value> =
            serde_json::from_slice(&bytes).map_err(|e| feed.format(&member, e))?;
        for (i, item) in items.iter().enumerate() {
            match article(feed, name.ticker.as_str(), item) {
                Ok(row) => found.rows.push(row),
                Err(reason) => {
                    let place = format!("{member}[{i}]");
                    found.rejected.push(feed.reject(place, reason, &item.to_string()));
                }
            }
        }
        found.members.push(member);
    }
    Ok(found)
}

fn article(feed: &Feed<'_>, ticker: &str, item: &Value) -> Result<(Head, Article), String> {
    let text = |key: &str| {
        let text = item.get(key).and_then(Value::as_str).unwrap_or_default();
        if text.trim().is_empty() { Err(format!("it has no {key}")) } else { Ok(text.to_owned()) }
    };
    let published = text("publishedDate")?;
    let local = NaiveDateTime::parse_from_str(&published, "%Y-%m-%d %H:%M:%S")
        .map_err(|_| "its publishedDate is not YYYY-MM-DD HH:MM:SS".to_owned())?;
    let (title, body) = (text("title")?, text("text")?);
    let (site, url) = (text("site")?, text("url")?);
    let tone = tone(&title, &body);
    let time = calendar::new_york(local);
    let head = Head {
        record_id: article_id(ticker, &published, &url, &title, &body),
        ticker: ticker.to_owned(),
        source_id: feed.source.id.clone(),
        source: site.clone(),
        url,
        event_time: time,
        known_at: time,
    };
    Ok((head, Article { title, body, site, tone }))
}

/// Returns the id of an article: another text is another record.
pub(crate) fn article_id(
    ticker: &str,
    published: &str,
    url: &str,
    title: &str,
    body: &str,
) -> String {
    let digest = Digest::of(format!("{ticker}\n{published}\n{url}\n{title}\n{body}"));
    format!("{ticker}-{}", digest.short())
}

/// Returns VADER's compound score of title and body, -1 to 1, to four decimals
/// as the reference implementation gives it.
pub(crate) fn tone(title: &str, body: &str) -> f64 {
    static ANALYZER: LazyLock<SentimentIntensityAnalyzer<'_>> =
        LazyLock::new(SentimentIntensityAnalyzer::new);
    let scores = ANALYZER.polarity_scores(&format!("{title} {body}"));
    let compound = scores.get("compound").copied().unwrap_or(0.0);
    (compound * 1e4).round() / 1e4
}
