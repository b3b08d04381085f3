//! What the XML parsers share: bytes to text, and elements by local name.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use roxmltree::{Document, Node, ParsingOptions};

/// Bound on elements, texts and comments of a document.
const NODES_MAX: u32 = 4_000_000;
/// Bound on attributes of an element: the parser compares each with all before it.
const ATTRIBUTES_MAX: usize = 256;
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
    let mut tags = text.split('<').filter(|tag| !tag.starts_with(['!', '?']));
    if tags.any(|tag| attributes(tag) > ATTRIBUTES_MAX) {
        return Err(format!("an element has more than {ATTRIBUTES_MAX} attributes"));
    }
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|e| e.to_string())
}

/// Counts the attributes of an element, given what follows its `<`.
fn attributes(tag: &str) -> usize {
    let mut quote = None;
    let outside = tag.bytes().filter(|&byte| match quote {
        Some(open) => {
            quote = quote.filter(|_| byte != open);
            false
        }
        None => {
            quote = Some(byte).filter(|byte| matches!(byte, b'"' | b'\''));
            quote.is_none()
        }
    });
    outside.take_while(|byte| *byte != b'>').filter(|byte| *byte == b'=').count()
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

fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARATION_BYTES_MAX)]);
    let declaration = head.trim_start().strip_prefix("<?xml")?.split("?>").next()?;
    let value = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    Encoding::for_label(value[1..].split(quote).next()?.as_bytes())
}
