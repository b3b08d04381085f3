//! Markings of what is not public. Nothing tells material non-public information by its
//! content, so sources are refused unless they state an [entitlement](super::Entitlement);
//! these patterns catch a document that came in by mistake and says so itself.
//!
//! A marking is more than a word: news speak of confidential filings, and press releases
//! are "not for distribution to US newswire services". Where a phrase is both, the form
//! decides - a line of its own, capitals, an order to the reader, a document about itself.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

/// How far behind "not for distribution" the country may stand, in bytes.
const PLACE_BYTES: usize = 120;

/// A marking by its name in files and messages.
struct Marking {
    key: &'static str,
    pattern: Regex,
    /// What follows where the phrase is something else.
    unless: Option<Regex>,
}

#[rustfmt::skip]
const PATTERNS: [(&str, &str, Option<&str>); 7] = [
    (
        "marked_confidential",
        r"(?m)^[\s\[(*#>]*(?:(?:STRICTLY|HIGHLY|COMPANY) |PRIVATE (?:AND|&) )?CONFIDENTIAL[\])*]*[ \t]*(?:$|[-–—:|/])",
        None,
    ),
    (
        "marked_confidential",
        r"\b(?:Strictly|STRICTLY|Highly|HIGHLY|(?:Private|PRIVATE|Privileged|PRIVILEGED) (?:and|AND|&)) (?:Confidential|CONFIDENTIAL)\b",
        None,
    ),
    (
        "says_non_public",
        r"(?i)\bth(?:is|ese) (?:documents?|messages?|e-?mails?|notes?|memos?|memorandums?|reports?|presentations?|materials?|communications?)\b[^.]{0,80}\bnon-?public\b",
        None,
    ),
    ("says_non_public", r"(?m)^[\s\[(*#>]*(?:MNPI|MATERIAL,? NON-?PUBLIC(?: INFORMATION)?)\b", None),
    (
        "not_for_distribution",
        r"(?i)\bnot (?:for|to be) (?:further |public |external |onward )?(?:distribut(?:ion|ed)|redistribut(?:ion|ed)|circulat(?:ion|ed)|disseminat(?:ion|ed)|release)\b|(?m)(?:^|[-–—:;.!(\[*]|\bdraft|\bplease)\s*do not (?:distribute|circulate|disseminate|forward|cite)\b",
        Some(r"(?i)\b(?:united states|u\.?s\.?|usa|canada|australia|japan|newswire|jurisdictions?)\b"),
    ),
    ("internal_only", r"(?i)\bfor internal (?:use|distribution|purposes) only\b|\bINTERNAL USE ONLY\b", None),
    (
        "embargoed",
        r"(?i)\bembargoed (?:until|till|for release)\b|\bunder (?:strict )?embargo (?:until|till)\b|(?m)^\W*embargo:",
        None,
    ),
];

static MARKINGS: LazyLock<Vec<Marking>> = LazyLock::new(|| {
    let marking = |(key, pattern, unless): (&'static str, &str, Option<&str>)| Marking {
        key,
        pattern: super::pii::pattern(pattern),
        unless: unless.map(super::pii::pattern),
    };
    PATTERNS.into_iter().map(marking).collect()
});

/// Finds markings, in order.
pub(super) fn find(text: &str) -> Vec<(&'static str, Range<usize>)> {
    let mut found = Vec::new();
    for marking in MARKINGS.iter() {
        let is_meant = |range: &Range<usize>| {
            let Some(unless) = &marking.unless else { return true };
            let mut end = text.len().min(range.end + PLACE_BYTES);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            !unless.is_match(&text[range.end..end])
        };
        let ranges = marking.pattern.find_iter(text).map(|m| m.range());
        found.extend(ranges.filter(is_meant).map(|range| (marking.key, range)));
    }
    found.sort_by_key(|(_, range)| (range.start, range.end));
    // Two patterns of one name may see the same words.
    found.dedup_by(|later, found| found.0 == later.0 && later.1.start < found.1.end);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_document_says_of_itself() {
        for (text, key) in [
            ("CONFIDENTIAL\nProject Falcon", "marked_confidential"),
            ("[STRICTLY CONFIDENTIAL] - deal terms", "marked_confidential"),
            ("Deal terms (Private & Confidential)", "marked_confidential"),
            ("This memo contains material non-public information.", "says_non_public"),
            ("These materials may include nonpublic data of the issuer", "says_non_public"),
            ("MNPI - wall-crossed persons only", "says_non_public"),
            ("Earnings preview. Not for distribution.", "not_for_distribution"),
            ("Draft - do not distribute", "not_for_distribution"),
            ("Please do not forward this", "not_for_distribution"),
            ("Deck for internal use only", "internal_only"),
            ("EMBARGOED UNTIL 12 March 8:00 ET", "embargoed"),
            ("Embargo: 12 March", "embargoed"),
        ] {
            let keys: Vec<&str> = find(text).iter().map(|(key, _)| *key).collect();
            assert_eq!(keys, [key], "{text}");
        }
    }

    #[test]
    fn leaves_words_of_news_and_filings_alone() {
        for text in [
            "Alpha confidentially filed for an IPO",
            "Google sues Texas to protect confidential information in antitrust probe",
            "Confidential treatment has been requested for portions of this exhibit",
            "the statement said participation would be strictly confidential and voluntary",
            "AMD expands Confidential Computing",
            "uses its website as a means of disclosing material non-public information",
            "charged with trading on material nonpublic information",
            "NOT FOR DISTRIBUTION TO U.S. NEWSWIRE SERVICES OR FOR DISSEMINATION IN THE UNITED STATES",
            "Not for release, publication or distribution, directly or indirectly, in the United States",
            "funds that do not distribute income",
            "we do not forward orders",
            "the oil embargo until 1974",
            "proud and privileged to support Moderna",
            "Whistleblowers: persons with non-public information regarding Amgen should consider",
        ] {
            assert_eq!(find(text), [], "{text}");
        }
    }
}
