//! No bytes make a parser panic, whatever they are.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::providers::parse::{html, items};

const PAYLOADS: [&[u8]; 6] = [
    payload!("submissions.json"),
    payload!("annual.htm"),
    payload!("form4.xml"),
    payload!("rss.xml"),
    payload!("atom.xml"),
    payload!("newsapi.json"),
];

/// Gives bytes to every parser. What comes out is of no interest here, but every
/// text has to lead back to its document.
fn read_all(bytes: &[u8]) {
    let (context, now) = (context(), utc("2022-09-30T12:00:00Z"));
    let filing = filing("10-K", "2022-10-28", None);
    let _ = submissions(&context, CIK, bytes);
    let _ = company_facts(&context, bytes, &BTreeMap::new());
    let _ = full_submission(&context, CIK, bytes);
    let _ = form4(&context, &filing, bytes);
    let _ = feed(&context, bytes, now);
    let _ = newsapi(&context, bytes, now);
    let _ = analyst_estimates(&context, bytes, now);
    let _ = price_targets(&context, bytes);
    let _ = price_target_consensus(&context, bytes, now);
    for kind in ["10-K", "10-Q", "8-K", "EX-99"] {
        let mut document = SubmittedDocument::main(&filing.1, bytes);
        document.kind = kind.to_owned();
        let found = filing_document(&context, &filing, bytes, &document).unwrap();
        let unmapped =
            |r: &&crate::Rejected| r.reason.contains("run") || r.reason.contains("place");
        assert_eq!(found.rejected.iter().find(unmapped), None, "{kind}");
    }
}

/// Pieces that are near to what the parsers look for.
fn markup() -> impl Strategy<Value = String> {
    let pieces = [
        "<p>",
        "</p>",
        "<div style=\"display:none\">",
        "</div>",
        "<td>",
        "<br/>",
        "<!-- c -->",
        "<ix:header>",
        "</ix:header>",
        "&#8217;",
        "&amp;",
        "&",
        "&#",
        "&nbsp;",
        "&lt;",
        "<",
        ">",
        "\n",
        "\r\n",
        "  ",
        "Item 1A. Risk Factors",
        "ITEM 7",
        "PART II",
        "SIGNATURES",
        "é",
        "’",
        "\u{a0}",
        "\u{200b}",
        "text",
        "A & B",
        "<![CDATA[",
        "]]>",
        "<a b='c",
        "<script>",
        "\0",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..60)
        .prop_map(|pieces| pieces.concat())
}

#[test]
fn deep_and_odd_documents_are_read() {
    let deep = "<a>".repeat(100_000);
    let closed = format!("{deep}{}", "</a>".repeat(100_000));
    let items = "Item 1. A\nItem 2. B\n".repeat(20_000);
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [&deep, &closed, &items, &nested, "\u{feff}", "{", "<", "<?xml", "null", "[null]"] {
        read_all(text.as_bytes());
    }
}

#[test]
fn an_element_of_half_a_million_attributes_is_refused_at_once() {
    let attributes: String = (0..500_000).map(|i| format!(" a{i}='>'")).collect();
    let text = format!("<rss><channel{attributes}/></rss>");
    let error = feed(&context(), text.as_bytes(), utc("2022-09-30T12:00:00Z")).unwrap_err();
    assert!(error.to_string().contains("more than 256 attributes"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
    }

    #[test]
    fn random_markup(text in markup(), tail in prop::collection::vec(any::<u8>(), 0..3)) {
        let mut bytes = text.into_bytes();
        bytes.extend(tail);
        read_all(&bytes);
    }

    #[test]
    fn truncated_and_damaged_payloads(
        which in 0..PAYLOADS.len(),
        cut in any::<Index>(),
        at in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = PAYLOADS[which].to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read_all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read_all(&bytes);
    }

    #[test]
    fn runs_are_verbatim_and_sections_are_in_order(text in markup()) {
        let rendered = html::render(text.as_bytes());
        for run in rendered.map.runs(0..rendered.text.len()) {
            let source = &text.as_bytes()[run.source..run.source_end()];
            prop_assert_eq!(source, &rendered.text.as_bytes()[run.text..run.text_end()]);
        }
        let mut end = 0;
        for section in items::sections(&rendered.text, items::Family::Quarterly) {
            prop_assert!(section.text.start >= end && !section.text.is_empty());
            end = section.text.end;
        }
    }
}
