//! News feeds: RSS 2.0 and 1.0, Atom. Authors are not read.
//!
//! Read from the XML tree that the other parsers use: little of a feed is wanted, and
//! a feed library reads the authors first.

use chrono::{DateTime, Utc};
use roxmltree::Node;

use super::{
    Context,
    articles::{Item, article},
    xml,
};
use crate::{
    LakeError,
    records::{Article, Rows},
};

/// Reads the articles of a feed that was fetched at an instant.
///
/// # Errors
/// Fails when it is neither RSS nor Atom.
pub(crate) fn feed(
    context: &Context<'_>,
    bytes: &[u8],
    fetched_at: DateTime<Utc>,
) -> Result<Rows<Article>, LakeError> {
    let text = xml::decode(bytes.trim_ascii()).map_err(|e| context.format(e))?;
    let document = xml::parse(&text).map_err(|e| context.format(e))?;
    let root = document.root_element();
    let channel = xml::child(root, "channel");
    let (source, items, is_atom) = match (root.tag_name().name(), channel) {
        ("rss", Some(channel)) => (channel, xml::children(channel, "item"), false),
        ("RDF", Some(channel)) => (channel, xml::children(root, "item"), false),
        ("feed", _) => (root, xml::children(root, "entry"), true),
        (other, _) => {
            let reason = format!("it is neither RSS nor Atom: its root is {other:?}");
            return Err(context.format(reason));
        }
    };
    let site = xml::child_text(source, "title").unwrap_or_default();
    let mut found = Rows::default();
    for (i, node) in items.enumerate() {
        let item = if is_atom { entry(node, &site) } else { rss_item(node, &site) };
        match item.and_then(|item| article(context, &item, fetched_at)) {
            Ok(row) => found.rows.push(row),
            Err(reason) => {
                let title = xml::child_text(node, "title").unwrap_or_default();
                found.rejected.push(context.reject::<Article>(
                    &format!("item {i}"),
                    reason,
                    &title,
                ));
            }
        }
    }
    Ok(found)
}

fn rss_item(node: Node<'_, '_>, site: &str) -> Result<Item, &'static str> {
    let link = xml::child_text(node, "link").or_else(|| {
        let guid = xml::child(node, "guid")?;
        (guid.attribute("isPermaLink") != Some("false")).then(|| xml::text(guid))?
    });
    let published = xml::child_text(node, "pubDate").or_else(|| xml::child_text(node, "date"));
    Ok(Item {
        title: xml::child_text(node, "title").unwrap_or_default(),
        bodies: texts(node, &["description", "encoded"]),
        // A feed of feeds names the site of each item.
        site: xml::child_text(node, "source").unwrap_or_else(|| site.to_owned()),
        url: link.unwrap_or_default(),
        published: published.map(|text| instant(&text)).transpose()?,
    })
}

fn entry(node: Node<'_, '_>, site: &str) -> Result<Item, &'static str> {
    let is_page = |link: &Node<'_, '_>| matches!(link.attribute("rel"), None | Some("alternate"));
    let link = xml::children(node, "link").find(is_page).and_then(|link| link.attribute("href"));
    let published = xml::child_text(node, "published").or_else(|| xml::child_text(node, "updated"));
    let source = xml::child(node, "source").and_then(|source| xml::child_text(source, "title"));
    Ok(Item {
        title: xml::child_text(node, "title").unwrap_or_default(),
        bodies: texts(node, &["summary", "content"]),
        site: source.unwrap_or_else(|| site.to_owned()),
        url: link.unwrap_or_default().to_owned(),
        published: published.map(|text| instant(&text)).transpose()?,
    })
}

fn texts(node: Node<'_, '_>, names: &[&str]) -> Vec<String> {
    names.iter().filter_map(|name| xml::child_text(node, name)).collect()
}

/// Reads a time as feeds write it: RFC 3339, or RFC 2822 whose day of the week is
/// left aside since feeds get it wrong.
fn instant(text: &str) -> Result<DateTime<Utc>, &'static str> {
    let time = DateTime::parse_from_rfc3339(text).or_else(|_| {
        let date = text.split_once(", ").map_or(text, |(_, date)| date);
        let date = date.strip_suffix("UTC").map_or(date.to_owned(), |date| format!("{date}+0000"));
        DateTime::parse_from_rfc2822(&date)
    });
    time.map(|time| time.with_timezone(&Utc))
        .map_err(|_| "its time is neither RFC 3339 nor RFC 2822")
}
