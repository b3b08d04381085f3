use super::*;
use crate::{
    providers::parse::html::{Rendered, check_quote, one_line, render},
    records::FilingText,
    source_map::SourceMap,
};

fn annual(bytes: &[u8]) -> Rows<FilingText> {
    let filing = filing("10-K", "2022-10-28", Some("2022-10-27T22:01:14Z"));
    let document = SubmittedDocument::main(&filing.1, bytes);
    filing_document(&context(), &filing, bytes, &document).unwrap()
}

/// Returns the bytes of the document that a quote stands for.
fn quoted<'d>(row: &FilingText, document: &'d [u8], quote: &str) -> &'d str {
    let start = row.text.find(quote).unwrap_or_else(|| panic!("{quote:?} in {:?}", row.text));
    let range = start..start + quote.len();
    let place = check_quote(&row.text, &row.map, document, range).unwrap();
    std::str::from_utf8(&document[place]).unwrap()
}

#[test]
fn reads_items_and_leads_quotes_back_to_the_document() {
    let bytes = payload!("annual.htm");
    let found = annual(bytes);
    assert_eq!(reasons(&found), Vec::<&str>::new());
    let items: Vec<_> = found.rows.iter().map(|(_, r)| (&*r.item, &*r.title)).collect();
    assert_eq!(
        items,
        [("1", "Business"), ("1A", "RISK FACTORS"), ("7", "Management’s Discussion")]
    );
    let (head, risks) = &found.rows[1];
    assert_eq!(head.record_id, "AAPL:0000320193-22-000108:annual.htm:1A");
    assert_eq!(head.source, "SEC Form 10-K 0000320193-22-000108, Item 1A");
    assert!(head.url.ends_with("/000032019322000108/annual.htm"), "{}", head.url);
    assert_eq!(
        risks.text,
        "The Company’s results may fluctuate, and demand for café devices may fall & rise.\n\
         Research & development costs were 26,251 million.\n\
         Item 1A, “Risk Factors,” goes on.\n\
         Example Inc. | 2022 Form 10-K | 5"
    );
    assert_eq!(risks.document_sha256, domain::Digest::of(bytes).to_string());
    // Inside a run the quote is a slice of the document.
    assert_eq!(quoted(risks, bytes, "results may fluctuate,"), "results may fluctuate,");
    // Across runs it is told by the markup between them.
    assert_eq!(quoted(risks, bytes, "Company’s results"), "Company&#8217;s results");
    assert_eq!(quoted(risks, bytes, "“Risk"), "&#8220;Risk");
    assert_eq!(quoted(risks, bytes, "fluctuate, and demand"), "fluctuate,\nand demand");
    assert!(quoted(risks, bytes, "were 26,251 million").contains("<ix:nonFraction"));
    assert_eq!(
        found.rows[0].1.text,
        "The Company designs and sells devices. It was founded in 1976."
    );
    assert_eq!(found.rows[2].1.text, "Net sales rose 8% to $394.3 billion.");
    let source = risks.map.source();
    let stored = SourceMap::parse(&risks.map.runs_text(), source).unwrap();
    assert_eq!(stored, risks.map);
    assert_eq!(finished(found).0, 3);
}

#[test]
fn a_quote_may_begin_and_end_among_references() {
    let document = b"<p>He said &#8220;yes.&#8221; &#8220;No,&#8221; said she.</p>";
    let Rendered { text, map } = render(document);
    for quote in ["He said “yes.”", "“No,” said", "“yes.” “No,”", "”", "” “"]
    {
        let start = text.find(quote).unwrap();
        let range = start..start + quote.len();
        check_quote(&text, &map, document, range.clone()).unwrap();
        let other = text.replace('“', "‘");
        let is_noticed = check_quote(&other, &map, document, range).is_err();
        assert_eq!(is_noticed, quote.contains('“'), "{quote}");
    }
}

#[test]
fn a_changed_document_or_quote_is_noticed() {
    let bytes = payload!("annual.htm");
    let (_, risks) = annual(bytes).rows.swap_remove(1);
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    for (from, to) in [
        ("may fluctuate", "MAY fluctuate"),
        ("Company&#8217;s r", "Company&#8216;s r"),
        ("caf", "c&f"),
    ] {
        let changed = text.replace(from, to);
        let all = 0..risks.text.len();
        assert!(check_quote(&risks.text, &risks.map, changed.as_bytes(), all).is_err(), "{from}");
    }
    let invented = risks.text.replace("fluctuate", "improve!!");
    let all = 0..invented.len();
    assert!(check_quote(&invented, &risks.map, bytes, all.clone()).is_err());
    // Without runs the place as a whole has to read so.
    let no_runs = SourceMap::new(risks.map.source());
    assert!(check_quote(&risks.text, &no_runs, bytes, 0..30).is_ok());
    assert!(check_quote(&invented, &no_runs, bytes, 0..40).is_err());
    assert!(check_quote(&risks.text, &risks.map, &bytes[..100], 0..30).is_err());
    for bad in [0..0, 0..100_000, risks.text.find('’').unwrap() + 1..30] {
        assert!(check_quote(&risks.text, &risks.map, bytes, bad).is_err());
    }
}

#[test]
fn a_document_inside_a_submission_keeps_the_offsets_of_the_file() {
    let mut bytes = b"<DOCUMENT>\n<TYPE>10-K\n<FILENAME>a.htm\n<TEXT>\n".to_vec();
    let start = bytes.len();
    bytes.extend_from_slice(payload!("annual.htm"));
    let filing = filing("10-K", "2022-10-28", None);
    let document = SubmittedDocument {
        kind: "10-K".to_owned(),
        name: "a.htm".to_owned(),
        range: start..bytes.len(),
    };
    let found = filing_document(&context(), &filing, &bytes, &document).unwrap();
    let alone = annual(payload!("annual.htm"));
    assert_eq!(found.rows[1].1.map, alone.rows[1].1.map.clone().shifted(start));
    assert_eq!(quoted(&found.rows[1].1, &bytes, "26,251"), "26,251");
    // At the end of the date, where the acceptance is not known.
    assert_eq!(found.rows[1].0.known_at, utc("2022-10-29T02:00:00Z"));
    let beyond = SubmittedDocument { range: 0..bytes.len() + 1, ..document };
    let error = filing_document(&context(), &filing, &bytes, &beyond);
    assert!(format_error(error).ends_with("after the file does"));
}

#[test]
fn exhibits_are_kept_whole_and_reports_without_items_rejected() {
    let filing = filing("8-K", "2022-10-27", None);
    let bytes = b"<html><body><p>Record&nbsp;quarter.</p><p>Sales&#151;up.</p></body></html>";
    let mut document = SubmittedDocument::main(&filing.1, bytes);
    document.kind = "EX-99.1".to_owned();
    let found = filing_document(&context(), &filing, bytes, &document).unwrap();
    let (_, row) = &found.rows[0];
    assert_eq!((&*row.item, &*row.text), ("EX-99.1", "Record quarter.\nSales—up."));
    document.kind = "8-K".to_owned();
    let none = filing_document(&context(), &filing, bytes, &document).unwrap();
    assert_eq!(reasons(&none), ["its text of 27 bytes has no heading of an item"]);
    document.kind = "EX-99.2".to_owned();
    document.range = 0..6;
    let empty = filing_document(&context(), &filing, bytes, &document).unwrap();
    assert_eq!(reasons(&empty), ["it has no text"]);
}

#[test]
fn reads_old_filings_in_plain_text_and_windows_1252() {
    let wrapped = "The company sells devices in many countries and has done so\nfor years.";
    let text = format!(
        "<PAGE>\n                    PART I\nITEM 1.  BUSINESS\n\n{wrapped}\n\nITEM 7.  DISCUSSION\n\
         Sales rose \u{93}8%\u{94} & more.\n\nSIGNATURES\n"
    );
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let found = annual(&bytes);
    let texts: Vec<_> = found.rows.iter().map(|(_, r)| &*r.text).collect();
    assert_eq!(texts, [&*wrapped.replace('\n', " "), "Sales rose “8%” & more."]);
    let place = found.rows[1].1.map.locate(0.."Sales rose “8%”".len());
    assert_eq!(&bytes[place], b"Sales rose \x938%\x94");
}

#[test]
fn renders_what_a_reader_sees() {
    for (html, text) in [
        ("a<b>b</b>c", "abc"),
        ("<p>a</p> <p>b</p>", "a b"),
        ("a<br/>b", "a b"),
        ("<td>1</td><td>2</td>", "1 2"),
        ("1 &lt; 2 < 3 &amp;amp; AT&T &unknown; &#x41;&#65", "1 < 2 < 3 &amp; AT&T &unknown; AA"),
        ("a\u{200b}b\u{ad}c\u{0}d", "abcd"),
        ("<div style='DISPLAY : NONE'>x<div>y</div>z</div>w", "w"),
        ("<script>if (a) { b }</script>c<style>d{}</style><title>t</title>", "c"),
        ("<span/>a<div/>b", "a b"),
        ("a <unfinished", "a"),
        ("a <!-- b -->c", "a c"),
        ("&copyright &notit;", "©right ¬it;"),
        ("<img style=\"display:none\">a", "a"),
        ("", ""),
    ] {
        assert_eq!(one_line(html), text, "{html}");
        let rendered = render(html.as_bytes());
        if !rendered.text.is_empty() {
            let all = 0..rendered.text.len();
            check_quote(&rendered.text, &rendered.map, html.as_bytes(), all).unwrap();
        }
    }
}
