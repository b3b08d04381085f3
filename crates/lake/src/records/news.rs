//! News articles as nasdaq-news archives them, with their VADER tone.

use chrono::NaiveDateTime;
use domain::Digest;
use serde_json::Value;
use vader_sentiment::SentimentIntensityAnalyzer;

use super::{Feed, Head, Parsed, table};
use crate::{LakeError, Universe, calendar};

struct Article {
    title: String,
    body: String,
    site: String,
    tone: f64,
}

/// Reads the articles of every name that has a news symbol.
///
/// The archive states a wall-clock time without zone. Read as New York it is
/// later than read as UTC: the conservative side.
pub(crate) fn read_news(feed: &Feed<'_>, universe: &Universe) -> Result<Parsed, LakeError> {
    let analyzer = SentimentIntensityAnalyzer::new();
    let (mut members, mut rows, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for name in &universe.names {
        let Some(symbol) = name.symbols.get("news") else {
            continue;
        };
        let member = feed.source.member("news", Some(symbol))?;
        let bytes = feed.archive.read(&member)?;
        let items: Vec<Value> =
            serde_json::from_slice(&bytes).map_err(|e| feed.format(&member, e))?;
        for (i, item) in items.iter().enumerate() {
            match article(feed, name.ticker.as_str(), item, &analyzer) {
                Ok(row) => rows.push(row),
                Err(reason) => {
                    let place = format!("{member}[{i}]");
                    rejected.push(feed.reject(place, reason, &item.to_string()));
                }
            }
        }
        members.push(member);
    }
    table::finish(feed, members, rows, rejected, |rows| {
        vec![
            ("title", table::strings(rows.iter().map(|(_, a)| &*a.title))),
            ("body", table::strings(rows.iter().map(|(_, a)| &*a.body))),
            ("site", table::strings(rows.iter().map(|(_, a)| &*a.site))),
            ("tone", table::floats(rows.iter().map(|(_, a)| a.tone))),
        ]
    })
}

fn article(
    feed: &Feed<'_>,
    ticker: &str,
    item: &Value,
    analyzer: &SentimentIntensityAnalyzer<'_>,
) -> Result<(Head, Article), String> {
    let text = |key: &str| {
        let text = item.get(key).and_then(Value::as_str).unwrap_or_default();
        if text.trim().is_empty() { Err(format!("it has no {key}")) } else { Ok(text.to_owned()) }
    };
    let published = text("publishedDate")?;
    let local = NaiveDateTime::parse_from_str(&published, "%Y-%m-%d %H:%M:%S")
        .map_err(|_| "its publishedDate is not YYYY-MM-DD HH:MM:SS".to_owned())?;
    let (title, body) = (text("title")?, text("text")?);
    let (site, url) = (text("site")?, text("url")?);
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err("its url is not http(s)".to_owned());
    }
    let tone = tone(analyzer, &title, &body);
    let time = calendar::new_york(local);
    let digest = Digest::of(format!("{ticker}\n{published}\n{url}\n{title}\n{body}"));
    let head = Head {
        record_id: format!("{ticker}-{}", digest.short()),
        ticker: ticker.to_owned(),
        source_id: feed.source.id.clone(),
        source: site.clone(),
        url,
        event_time: time,
        known_at: time,
    };
    Ok((head, Article { title, body, site, tone }))
}

/// Returns VADER's compound score of title and body, -1 to 1, to four decimals
/// as the reference implementation gives it.
fn tone(analyzer: &SentimentIntensityAnalyzer<'_>, title: &str, body: &str) -> f64 {
    let scores = analyzer.polarity_scores(&format!("{title} {body}"));
    let compound = scores.get("compound").copied().unwrap_or(0.0);
    (compound * 1e4).round() / 1e4
}
