//! News in the form of NewsAPI. Authors are not read.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Context,
    articles::{Item, article},
};
use crate::{
    LakeError,
    records::{Article, Rows},
};

/// Title of an article that its publisher withdrew.
const REMOVED: &str = "[Removed]";

#[derive(Deserialize)]
struct Answer {
    status: String,
    code: Option<String>,
    message: Option<String>,
    articles: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Listed {
    source: Option<Source>,
    title: Option<String>,
    description: Option<String>,
    url: Option<String>,
    #[serde(rename = "publishedAt")]
    published_at: Option<String>,
    content: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    name: Option<String>,
}

/// Reads the articles of an answer that was fetched at an instant.
///
/// # Errors
/// Fails when the provider answers with an error, or in another form.
pub(crate) fn newsapi(
    context: &Context<'_>,
    bytes: &[u8],
    fetched_at: DateTime<Utc>,
) -> Result<Rows<Article>, LakeError> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|e| context.format(e))?;
    if answer.status != "ok" {
        let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        let (code, message) = (part(&answer.code), part(&answer.message));
        let status = answer.status;
        let reason = format!("the provider answers {status:?}, code {code}: {message}");
        return Err(context.format(reason));
    }
    let articles = answer.articles.ok_or_else(|| context.format("it has no articles"))?;
    let mut found = Rows::default();
    for (i, value) in articles.iter().enumerate() {
        let row = listed(value).and_then(|item| Ok(article(context, &item, fetched_at)?));
        match row {
            Ok(row) => found.rows.push(row),
            Err(reason) => {
                // Not the record itself: it names the author.
                let url = value.get("url").and_then(Value::as_str).unwrap_or_default();
                let place = format!("articles[{i}]");
                found.rejected.push(context.reject::<Article>(&place, reason, url));
            }
        }
    }
    Ok(found)
}

fn listed(value: &Value) -> Result<Item, String> {
    let listed = Listed::deserialize(value).map_err(|e| e.to_string())?;
    let title = listed.title.unwrap_or_default();
    if title == REMOVED {
        return Err("its publisher withdrew it".to_owned());
    }
    let published = listed.published_at.ok_or("it has no publishedAt")?;
    let published = DateTime::parse_from_rfc3339(&published)
        .map_err(|_| format!("its publishedAt {published:?} is not RFC 3339"))?;
    let content = listed.content.as_deref().and_then(untruncated).map(str::to_owned);
    Ok(Item {
        title,
        bodies: listed.description.into_iter().chain(content).collect(),
        site: listed.source.and_then(|source| source.name).unwrap_or_default(),
        url: listed.url.unwrap_or_default(),
        published: Some(published.with_timezone(&Utc)),
    })
}

/// Returns content up to its last whole sentence where the provider cut it, and put
/// `[+1234 chars]` in place of the rest.
fn untruncated(content: &str) -> Option<&str> {
    let content = content.trim_end();
    let Some(start) = content.strip_suffix(" chars]").and_then(|_| content.rfind("[+")) else {
        return Some(content);
    };
    let left = &content[..start];
    let end = left
        .rmatch_indices(['.', '!', '?'])
        .find(|(i, mark)| left[i + mark.len()..].starts_with(char::is_whitespace))?;
    Some(&left[..end.0 + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_content_ends_with_a_whole_sentence() {
        for (content, kept) in [
            ("Sales rose. Profit fell by 2.5 perc… [+1234 chars]", Some("Sales rose.")),
            ("Sales rose.\r\nProfit fell … [+9 chars]", Some("Sales rose.")),
            ("Sales rose [+9 chars]", None),
            ("Whole. ", Some("Whole.")),
            ("[+9 chars]", None),
            ("Items [+9 chars] in the text", Some("Items [+9 chars] in the text")),
        ] {
            assert_eq!(untruncated(content), kept, "{content}");
        }
    }
}
