//! What all sources of news have in common.

use chrono::{DateTime, Utc};

use super::{Context, html};
use crate::records::{Article, Head, article_id, tone};

/// An item of a feed, as its parser found it.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) title: String,
    /// Text or HTML of the same story, of which the longest is taken.
    pub(super) bodies: Vec<String>,
    pub(super) site: String,
    pub(super) url: String,
    /// None where the source does not say.
    pub(super) published: Option<DateTime<Utc>>,
}

/// Makes the article of an item that was fetched at an instant.
///
/// It is known when it was published, but not before it was seen: a source may list
/// an article hours after the time it bears, and change it without a word.
pub(super) fn article(
    context: &Context<'_>,
    item: &Item,
    fetched_at: DateTime<Utc>,
) -> Result<(Head, Article), &'static str> {
    let title = html::one_line(&item.title);
    if title.is_empty() {
        return Err("it has no title");
    }
    let url = item.url.trim();
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err("its url is not http(s)");
    }
    let bodies = item.bodies.iter().map(|body| html::one_line(body));
    let body = bodies.max_by_key(String::len).unwrap_or_default();
    let published = item.published.unwrap_or(fetched_at);
    let ticker = context.ticker;
    let site = match html::one_line(&item.site) {
        site if site.is_empty() => host(url).to_owned(),
        site => site,
    };
    let head = Head {
        record_id: article_id(ticker, &published.to_rfc3339(), url, &title, &body),
        ticker: ticker.to_owned(),
        source_id: context.source_id.to_owned(),
        source: site.clone(),
        url: url.to_owned(),
        event_time: published,
        known_at: published.max(fetched_at),
    };
    let tone = tone(&title, &body);
    Ok((head, Article { title, body, site, tone }))
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}
