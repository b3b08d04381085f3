//! HTML to text that still knows its place in the document.
//!
//! The tokenizer says where tags lie; what is between two of them is read here, from
//! the document's own bytes, so that every run of the map is verbatim by
//! construction. Old plain-text filings go through the same code.

use std::ops::Range;

use encoding_rs::WINDOWS_1252;
use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};

use crate::{
    retrieval::is_invisible,
    source_map::{Run, SourceMap},
};

/// Longer than any named character reference.
const REFERENCE_BYTES_MAX: usize = 40;
/// A line of plain text shorter than this was not wrapped: it ends a paragraph.
const WRAPPED_BYTES_MIN: usize = 55;
/// Elements that begin and end a line.
const BLOCKS: [&str; 35] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "br",
    "caption",
    "center",
    "dd",
    "div",
    "dl",
    "dt",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "html",
    "li",
    "ol",
    "p",
    "page",
    "pre",
    "section",
    "table",
    "tbody",
    "thead",
    "title",
    "tr",
    "ul",
];
/// Elements whose content a reader does not see.
const HIDDEN: [&str; 5] = ["ix:header", "ix:hidden", "script", "style", "title"];
/// Elements without content.
const VOID: [&str; 8] = ["br", "col", "hr", "img", "input", "link", "meta", "wbr"];
/// Elements that only HTML has: without them white space is layout.
const ONLY_HTML: [&str; 5] = ["html", "body", "p", "div", "br"];

/// Text as a reader sees it: one line per block, single spaces, no invisible
/// characters; and where it comes from.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    pub(crate) map: SourceMap,
}

/// Renders a document. Bytes that are not UTF-8 are read as Windows-1252. Anything
/// renders: what is not HTML is text.
pub(crate) fn render(document: &[u8]) -> Rendered {
    render_as(document, std::str::from_utf8(document).is_ok())
}

fn render_as(document: &[u8], is_utf8: bool) -> Rendered {
    let mut writer = Writer::new(document, is_utf8);
    let emitter = DefaultEmitter::<usize>::new_with_span();
    let mut hidden = None;
    let (mut markup_end, mut text_end) = (0, 0);
    for Ok(token) in Tokenizer::new_with_emitter(document, emitter) {
        let span = match &token {
            Token::StartTag(tag) => tag.span,
            Token::EndTag(tag) => tag.span,
            Token::Comment(comment) => comment.span,
            Token::Doctype(doctype) => doctype.span,
            Token::String(text) => {
                text_end = text.span.end;
                continue;
            }
            Token::Error(_) => continue,
        };
        if hidden.is_none() {
            writer.text_between(markup_end..span.start);
        }
        markup_end = span.end;
        match token {
            Token::StartTag(tag) => {
                hidden = open(hidden, &tag);
                writer.tag(&tag.name);
            }
            Token::EndTag(tag) => {
                hidden = close(hidden, &tag.name);
                writer.tag(&tag.name);
            }
            _ => {}
        }
    }
    if hidden.is_none() {
        // A tag that is cut off at the end is no text.
        writer.text_between(markup_end..text_end);
    }
    Rendered { text: writer.text, map: writer.map }
}

/// Renders a fragment to one line.
pub(crate) fn one_line(fragment: &str) -> String {
    render(fragment.as_bytes()).text.replace('\n', " ")
}

/// Checks that a part of a text is what the document says at the place its map
/// names. Returns that place.
pub(crate) fn check_quote(
    text: &str,
    map: &SourceMap,
    document: &[u8],
    quote: Range<usize>,
) -> Result<Range<usize>, &'static str> {
    if text.get(quote.clone()).is_none_or(str::is_empty) {
        return Err("the quote is not a part of the text");
    }
    let place = map.locate(quote.clone());
    let (mut text_at, mut source_at) = (quote.start, place.start);
    let end = Run { text: quote.end, source: place.end, len: 0 };
    for run in map.runs(quote.clone()).chain([end]) {
        let gap = document.get(source_at..run.source).ok_or("its place is not in the document")?;
        // At its ends a quote may take a part of what lies between two runs.
        let (is_first, is_last) = (text_at == quote.start, run.text == quote.end);
        let fits: fn(&str, &str) -> bool = match (is_first, is_last) {
            (true, true) => |gap, text| gap.contains(text),
            (true, false) => |gap, text| gap.ends_with(text),
            (false, true) => |gap, text| gap.starts_with(text),
            (false, false) => |gap, text| gap == text,
        };
        if !reads_as(gap, &text[text_at..run.text], fits) {
            return Err("between two runs the document reads differently");
        }
        let source = document.get(run.source..run.source_end());
        if source != text.as_bytes().get(run.text..run.text_end()) {
            return Err("a run is not in the document");
        }
        (text_at, source_at) = (run.text_end(), run.source_end());
    }
    Ok(place)
}

/// Tells whether markup reads as a text, white space aside: as it is, or as
/// Windows-1252 where the document is that though these few bytes do not show it.
fn reads_as(markup: &[u8], text: &str, fits: fn(&str, &str) -> bool) -> bool {
    let visible = |text: &str| text.split_whitespace().collect::<String>();
    let expected = visible(text);
    let is_expected = |rendered: Rendered| fits(&visible(&rendered.text), &expected);
    if markup.trim_ascii().is_empty() {
        return expected.is_empty();
    }
    is_expected(render(markup)) || (!markup.is_ascii() && is_expected(render_as(markup, false)))
}

/// An element whose content is not shown, and how many of its name are open.
type Hidden = Option<(Vec<u8>, usize)>;

fn open(hidden: Hidden, tag: &StartTag<usize>) -> Hidden {
    match hidden {
        Some((name, depth)) if name == **tag.name && !tag.self_closing => Some((name, depth + 1)),
        None if hides(tag) => Some((tag.name.to_vec(), 1)),
        other => other,
    }
}

fn close(hidden: Hidden, tag: &[u8]) -> Hidden {
    match hidden {
        Some((name, depth)) if name == tag => (depth > 1).then(|| (name, depth - 1)),
        other => other,
    }
}

fn hides(tag: &StartTag<usize>) -> bool {
    let is_one_of = |names: &[&str]| names.iter().any(|name| name.as_bytes() == &**tag.name);
    if tag.self_closing || is_one_of(&VOID) {
        return false;
    }
    let style = tag.attributes.get(&b"style"[..]);
    let no_display = style.is_some_and(|style| {
        let style = String::from_utf8_lossy(style).to_ascii_lowercase();
        style.split_whitespace().collect::<String>().contains("display:none")
    });
    no_display || is_one_of(&HIDDEN)
}

/// White space that is written once text follows it.
#[derive(Debug, Clone, Copy)]
enum Gap {
    /// A space, and where it is one in the document.
    Space(Option<usize>),
    Line,
}

struct Writer<'d> {
    document: &'d [u8],
    is_utf8: bool,
    is_plain: bool,
    line_start: usize,
    text: String,
    map: SourceMap,
    gap: Option<Gap>,
}

impl<'d> Writer<'d> {
    fn new(document: &'d [u8], is_utf8: bool) -> Self {
        Self {
            document,
            is_utf8,
            is_plain: is_plain(document),
            line_start: 0,
            text: String::new(),
            map: SourceMap::new(0..document.len()),
            gap: None,
        }
    }

    fn tag(&mut self, name: &[u8]) {
        if BLOCKS.iter().any(|block| block.as_bytes() == name) {
            self.gap = Some(Gap::Line);
        } else if matches!(name, b"td" | b"th") {
            self.space(None);
        }
    }

    fn space(&mut self, at: Option<usize>) {
        self.gap = self.gap.or(Some(Gap::Space(at)));
    }

    /// Writes the text between two pieces of markup.
    fn text_between(&mut self, range: Range<usize>) {
        let mut at = range.start;
        while let Some(rest) = self.document.get(at..range.end).filter(|rest| !rest.is_empty()) {
            at += match rest[0] {
                b'&' => self.reference(at, rest),
                b if b.is_ascii_whitespace() => self.white_space(at, rest),
                _ => self.word(at, rest),
            };
        }
    }

    fn white_space(&mut self, at: usize, rest: &[u8]) -> usize {
        let len = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let newlines = rest[..len].iter().filter(|b| **b == b'\n').count();
        let ends_short = newlines > 0 && at.saturating_sub(self.line_start) < WRAPPED_BYTES_MIN;
        if self.is_plain && (newlines > 1 || ends_short) {
            self.gap = Some(Gap::Line);
        } else {
            self.space((rest[0] == b' ').then_some(at));
        }
        if let Some(last) = rest[..len].iter().rposition(|b| *b == b'\n') {
            self.line_start = at + last + 1;
        }
        len
    }

    /// Writes what a character reference stands for, or the `&` that begins none.
    fn reference(&mut self, at: usize, rest: &[u8]) -> usize {
        let is_name = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'#';
        let name = rest[1..].iter().take(REFERENCE_BYTES_MAX).take_while(is_name).count();
        let len = 1 + name + usize::from(rest.get(1 + name) == Some(&b';'));
        let mut decoded = Vec::new();
        for Ok(token) in Tokenizer::new(&rest[..len]) {
            if let Token::String(text) = token {
                decoded.extend_from_slice(&text);
            }
        }
        if decoded == rest[..len] {
            self.write("&", Some(at));
            return 1;
        }
        self.visible(&String::from_utf8_lossy(&decoded), None);
        len
    }

    /// Writes the bytes up to the next white space or reference.
    fn word(&mut self, at: usize, rest: &[u8]) -> usize {
        let is_word = |b: &&u8| **b != b'&' && !b.is_ascii_whitespace();
        let len = rest.iter().take_while(is_word).count();
        match std::str::from_utf8(&rest[..len]) {
            Ok(word) if self.is_utf8 || word.is_ascii() => self.visible(word, Some(at)),
            _ => {
                for (i, byte) in rest[..len].iter().enumerate() {
                    let byte = std::slice::from_ref(byte);
                    let char = WINDOWS_1252.decode_without_bom_handling(byte).0;
                    self.visible(&char, byte.is_ascii().then_some(at + i));
                }
            }
        }
        len
    }

    /// Writes the visible characters of a text that may lie in the document.
    fn visible(&mut self, text: &str, at: Option<usize>) {
        let mut start = 0;
        for (i, c) in text.char_indices() {
            if c.is_whitespace() || c.is_control() || is_invisible(c) {
                self.write(&text[start..i], at.map(|at| at + start));
                start = i + c.len_utf8();
                if c.is_whitespace() {
                    self.space(None);
                }
            }
        }
        self.write(&text[start..], at.map(|at| at + start));
    }

    fn write(&mut self, text: &str, at: Option<usize>) {
        if text.is_empty() {
            return;
        }
        let gap = self.gap.take().filter(|_| !self.text.is_empty());
        if let Some(Gap::Space(Some(source))) = gap {
            self.map.push(Run { text: self.text.len(), source, len: 1 });
        }
        match gap {
            Some(Gap::Line) => self.text.push('\n'),
            Some(Gap::Space(_)) => self.text.push(' '),
            None => {}
        }
        if let Some(source) = at {
            self.map.push(Run { text: self.text.len(), source, len: text.len() });
        }
        self.text.push_str(text);
    }
}

fn is_plain(document: &[u8]) -> bool {
    let is_tag = |name: &str, rest: &[u8]| {
        let found = rest.get(..name.len()).is_some_and(|r| r.eq_ignore_ascii_case(name.as_bytes()));
        found && rest.get(name.len()).is_none_or(|b| !b.is_ascii_alphanumeric())
    };
    let mut opens = document.iter().enumerate().filter(|(_, b)| **b == b'<');
    !opens.any(|(i, _)| ONLY_HTML.iter().any(|name| is_tag(name, &document[i + 1..])))
}
