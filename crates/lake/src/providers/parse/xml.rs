//! What the XML parsers share: bytes to text, elements by local name, and character
//! data with its place.

use std::{borrow::Cow, ops::Range};

use encoding_rs::{Encoding, UTF_8};
use roxmltree::{Document, Node, ParsingOptions};

use crate::source_map::{Run, SourceMap};

/// Bound on elements, texts and comments of a document.
const NODES_MAX: u32 = 4_000_000;
/// Where an XML declaration ends at the latest.
const DECLARATION_BYTES_MAX: usize = 200;

/// Decodes a document by its byte order mark, its declaration, or as UTF-8.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    let (encoding, bom_len) = match Encoding::for_bom(bytes) {
        Some((encoding, len)) => (encoding, len),
        None => (declared(bytes).unwrap_or(UTF_8), 0),
    };
    let text = encoding.decode_without_bom_handling_and_without_replacement(&bytes[bom_len..]);
    text.ok_or_else(|| format!("it is not {}", encoding.name()))
}

/// Parses a document. Namespaces are checked and then left aside: elements are found
/// by local name. Entities of the document's own are refused.
pub(super) fn parse(text: &str) -> Result<Document<'_>, String> {
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|e| e.to_string())
}

/// Returns the first child element of a local name.
pub(super) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    children(node, name).next()
}

/// Returns the child elements of a local name.
pub(super) fn children<'a, 'i, 'n>(
    node: Node<'a, 'i>,
    name: &'n str,
) -> impl Iterator<Item = Node<'a, 'i>> + use<'a, 'i, 'n> {
    node.children().filter(move |c| c.is_element() && c.tag_name().name() == name)
}

/// Returns all text inside an element, trimmed; none where it is empty.
pub(super) fn text(node: Node<'_, '_>) -> Option<String> {
    let text: String =
        node.descendants().filter(Node::is_text).filter_map(|part| part.text()).collect();
    Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Returns the text of the first child element of a local name.
pub(super) fn child_text(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name).and_then(text)
}

/// Returns where the content of an element lies in the text it was parsed from.
pub(super) fn content_range(node: Node<'_, '_>, document: &str) -> Range<usize> {
    let element = node.range();
    let tag = node.attributes().next_back().map_or(element.start, |last| last.range().end);
    let start = document[tag..element.end].find('>').map_or(element.end, |i| tag + i + 1);
    let end = document[element.clone()].rfind('<').map_or(element.end, |i| element.start + i);
    start..end.max(start)
}

/// Resolves the character references of XML character data. Returns the text and
/// its map to the data. What is no reference stays.
pub(super) fn unescape(data: &[u8]) -> (String, SourceMap) {
    const CDATA: (&[u8], &[u8]) = (b"<![CDATA[", b"]]>");
    let mut text = String::with_capacity(data.len());
    let mut map = SourceMap::new(0..data.len());
    let mut at = 0;
    while at < data.len() {
        let rest = &data[at..];
        if let Some((c, len)) = reference(rest) {
            text.push(c);
            at += len;
        } else if rest.starts_with(CDATA.0) {
            at += CDATA.0.len();
            let inside = &data[at..];
            let len = inside.windows(CDATA.1.len()).position(|w| w == CDATA.1);
            verbatim(&mut text, &mut map, at, &inside[..len.unwrap_or(inside.len())]);
            at += len.map_or(inside.len(), |len| len + CDATA.1.len());
        } else {
            let next = rest[1..].iter().position(|b| matches!(b, b'&' | b'<'));
            let len = next.map_or(rest.len(), |i| i + 1);
            verbatim(&mut text, &mut map, at, &rest[..len]);
            at += len;
        }
    }
    (text, map)
}

fn verbatim(text: &mut String, map: &mut SourceMap, at: usize, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok("") => {}
        Ok(same) => {
            map.push(Run { text: text.len(), source: at, len: same.len() });
            text.push_str(same);
        }
        Err(_) => text.push_str(&String::from_utf8_lossy(bytes)),
    }
}

/// Returns the character of the reference that data begins with, and its length.
fn reference(data: &[u8]) -> Option<(char, usize)> {
    let end = data.iter().take(12).position(|b| *b == b';')?;
    let name = std::str::from_utf8(data.strip_prefix(b"&")?.get(..end.checked_sub(1)?)?).ok()?;
    let c = match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((c, end + 1))
}

fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARATION_BYTES_MAX)]);
    let declaration = head.trim_start().strip_prefix("<?xml")?.split("?>").next()?;
    let value = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    Encoding::for_label(value[1..].split(quote).next()?.as_bytes())
}
