//! Items of a 10-K, 10-Q or 8-K in its rendered text.
//!
//! A heading is a line of its own that begins with `Item` and a number, in any
//! capitals. The table of contents has the same lines: there headings follow each
//! other closely and all come again later. A reference inside a sentence is told by
//! what follows the number; of headings that still repeat, the longest section counts.

use std::{collections::BTreeMap, fmt, ops::Range};

/// A longer line is no heading.
const HEADING_BYTES_MAX: usize = 250;
/// A longer line does not name a part.
const PART_BYTES_MAX: usize = 100;
/// Less text than this between headings: a table of contents.
const CONTENTS_BYTES_MAX: usize = 200;
const CONTENTS_HEADINGS_MIN: usize = 3;

/// Forms whose items are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Annual,
    Quarterly,
    Current,
}

impl Family {
    /// Returns the family of a document type, e.g. `10-K405/A`.
    pub(super) fn of(kind: &str) -> Option<Self> {
        match kind.get(..4) {
            Some("10-K") => Some(Self::Annual),
            Some("10-Q") => Some(Self::Quarterly),
            _ => kind.starts_with("8-K").then_some(Self::Current),
        }
    }
}

/// A part of a form, `I` to `IV`.
#[allow(clippy::upper_case_acronyms, reason = "they are Roman numerals")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    I,
    II,
    III,
    IV,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A section of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// `1A`; of a 10-Q, whose numbers repeat, `II.1A`; of an 8-K `2.02`.
    pub(super) item: String,
    /// The heading's words, empty where it has none.
    pub(super) title: String,
    /// The text after the heading, without white space around it.
    pub(super) text: Range<usize>,
}

/// A line that begins a section; a new part and the signatures begin one that is not
/// kept.
#[derive(Debug, Clone)]
struct Heading {
    line: Range<usize>,
    /// None for a part and the signatures.
    item: Option<String>,
    title: String,
}

/// Finds the sections, in the order of the text.
pub(super) fn sections(text: &str, family: Family) -> Vec<Section> {
    let mut headings = headings(text, family);
    drop_contents(&mut headings);
    // A section that goes on over pages repeats its heading.
    headings.dedup_by(|next, first| next.item == first.item);
    keep_longest(&mut headings, text.len());
    let ends = headings.iter().skip(1).map(|h| h.line.start).chain([text.len()]);
    let ends: Vec<usize> = ends.collect();
    let section = |(heading, end): (Heading, usize)| {
        let mut section = Section {
            item: heading.item?,
            title: heading.title,
            text: trimmed(text, heading.line.end..end),
        };
        if section.title.is_empty() {
            take_title(text, &mut section);
        }
        (!section.text.is_empty()).then_some(section)
    };
    headings.into_iter().zip(ends).filter_map(section).collect()
}

fn headings(text: &str, family: Family) -> Vec<Heading> {
    let mut found = Vec::new();
    let (mut part, mut start, mut last_number) = (None, 0, 0);
    for piece in text.split_inclusive('\n') {
        let range = start..start + piece.len();
        start = range.end;
        let mut line = piece.trim();
        if let Some((named, rest)) = part_heading(line) {
            // On top of every page the same part is named again.
            let is_new = part.replace(named) != Some(named);
            line = rest;
            if is_new && item_heading(line).is_none() {
                found.push(Heading { line: range, item: None, title: String::new() });
                continue;
            }
        }
        let plain = without_page(line);
        if plain.eq_ignore_ascii_case("signature") || plain.eq_ignore_ascii_case("signatures") {
            found.push(Heading { line: range, item: None, title: String::new() });
            continue;
        }
        let Some((number, title)) = item_heading(line) else {
            continue;
        };
        if number.contains('.') && family != Family::Current {
            continue;
        }
        let item = if family == Family::Quarterly {
            // Without headings of parts the numbers tell: they begin again.
            let leading = leading_number(&number);
            let guessed = if leading < last_number { Part::II } else { Part::I };
            last_number = leading;
            format!("{}.{number}", part.unwrap_or(guessed))
        } else {
            number
        };
        found.push(Heading { line: range, item: Some(item), title: title.to_owned() });
    }
    found
}

/// Reads `PART II. OTHER INFORMATION`, or `Part II, Item 1A. ...`: the part, and
/// from the item on.
fn part_heading(line: &str) -> Option<(Part, &str)> {
    let rest = strip_word(line, "part").filter(|_| line.len() <= PART_BYTES_MAX)?;
    let rest = rest.trim_start();
    let numeral = rest.split(|c: char| !c.is_ascii_alphabetic()).next()?;
    let part = match numeral.to_ascii_uppercase().as_str() {
        "I" => Part::I,
        "II" => Part::II,
        "III" => Part::III,
        "IV" => Part::IV,
        _ => return None,
    };
    let rest = rest[numeral.len()..].trim_start_matches(|c| c == ',' || is_separator(c));
    let is_title = rest.is_empty() || rest.starts_with(|c: char| c.is_uppercase());
    is_title.then_some((part, rest))
}

/// Reads `Item 1A. Risk Factors`: the number and the title.
fn item_heading(line: &str) -> Option<(String, &str)> {
    if line.len() > HEADING_BYTES_MAX {
        return None;
    }
    let rest = strip_word(line, "items").or_else(|| strip_word(line, "item"))?.trim_start();
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=2).contains(&len) {
        return None;
    }
    let mut number = rest[..len].to_owned();
    let mut rest = &rest[len..];
    // `Item 2.02` of an 8-K.
    let decimals =
        rest.strip_prefix('.').filter(|r| r.bytes().take_while(u8::is_ascii_digit).count() == 2);
    if let Some(decimals) = decimals {
        number.push('.');
        number.push_str(&decimals[..2]);
        rest = &decimals[2..];
    } else if let Some(letter) = rest.chars().next().filter(|c| matches!(c, 'A'..='C' | 'a'..='c'))
    {
        number.push(letter.to_ascii_uppercase());
        rest = &rest[1..];
    }
    // `Item 9A(T)`, and `Items 1 and 2`: the first number stands for both.
    let rest = rest.strip_prefix("(T)").unwrap_or(rest);
    let rest = second_number(rest).unwrap_or(rest);
    let title = rest.trim_start_matches(is_separator);
    let is_heading = rest.is_empty() || rest.starts_with(is_separator);
    let is_title = title.is_empty() || title.starts_with(|c: char| c.is_uppercase());
    (is_heading && is_title).then(|| (number, without_page(title)))
}

/// Strips ` and 2` or ` & 2A`.
fn second_number(rest: &str) -> Option<&str> {
    let rest = rest.trim_start();
    let rest = strip_word(rest, "and").or_else(|| rest.strip_prefix('&'))?.trim_start();
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    (len > 0).then(|| rest[len..].trim_start_matches(['A', 'B', 'C']))
}

/// Strips the number of a page from the end of a line of the table of contents.
fn without_page(title: &str) -> &str {
    let cut = title.trim_end_matches(|c: char| c.is_ascii_digit());
    if cut.len() < title.len() && cut.ends_with(' ') { cut.trim_end() } else { title }
}

/// Strips a word in any capitals where no letter follows.
fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    let is_word = head.eq_ignore_ascii_case(word);
    (is_word && !rest.starts_with(|c: char| c.is_alphabetic())).then_some(rest)
}

/// What may stand between number and title; a comma would go on a sentence.
fn is_separator(c: char) -> bool {
    matches!(c, '.' | ':' | '-' | '–' | '—' | '|') || c.is_whitespace()
}

fn leading_number(number: &str) -> u32 {
    let digits = number.trim_end_matches(|c: char| !c.is_ascii_digit());
    digits.parse().unwrap_or(0)
}

/// Drops tables of contents: runs of items close to each other, most of which come
/// again later. An item that does not come again is kept.
fn drop_contents(headings: &mut Vec<Heading>) {
    let is_close = |a: &Heading, b: &Heading| b.line.start - a.line.end < CONTENTS_BYTES_MAX;
    let mut last = BTreeMap::new();
    for (i, heading) in headings.iter().enumerate() {
        last.insert(heading.item.clone(), i);
    }
    let mut kept = Vec::new();
    let mut start = 0;
    for run in headings.chunk_by(is_close) {
        start += run.len();
        let comes_again = |heading: &Heading| last.get(&heading.item).is_some_and(|i| *i >= start);
        let items = run.iter().filter(|heading| heading.item.is_some());
        let again = items.clone().filter(|heading| comes_again(heading)).count();
        let items = items.count();
        let is_contents = items >= CONTENTS_HEADINGS_MIN && again * 2 > items;
        kept.extend(run.iter().filter(|heading| !is_contents || !comes_again(heading)).cloned());
    }
    *headings = kept;
}

/// Keeps, of headings of the same item, the one with the most text before the next
/// heading; the first of equals.
fn keep_longest(headings: &mut Vec<Heading>, end: usize) {
    let mut best = BTreeMap::<Option<String>, (usize, usize)>::new();
    for (i, heading) in headings.iter().enumerate() {
        let next = headings.get(i + 1).map_or(end, |next| next.line.start);
        let len = next - heading.line.end;
        let longest = best.entry(heading.item.clone()).or_insert((i, len));
        if len > longest.1 {
            *longest = (i, len);
        }
    }
    let mut i = 0;
    headings.retain(|heading| {
        i += 1;
        heading.item.is_none() || best.get(&heading.item).is_some_and(|(kept, _)| kept + 1 == i)
    });
}

/// Takes a short first line for the title of a heading that has none.
fn take_title(text: &str, section: &mut Section) {
    let body = &text[section.text.clone()];
    if let Some((line, _)) = body
        .split_once('\n')
        .filter(|(line, _)| line.len() <= PART_BYTES_MAX && !line.ends_with(['.', ';', ',']))
    {
        section.title = line.to_owned();
        section.text = trimmed(text, section.text.start + line.len()..section.text.end);
    }
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..(start + part.trim().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, family: Family, expected: &[(&str, &str, &str)]) {
        let found = sections(text, family);
        let found: Vec<_> =
            found.iter().map(|s| (&*s.item, &*s.title, &text[s.text.clone()])).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn reads_headings_in_any_spelling() {
        for (line, expected) in [
            ("Item 1A. Risk Factors", Some(("1A", "Risk Factors"))),
            ("ITEM 7 — MANAGEMENT’S DISCUSSION", Some(("7", "MANAGEMENT’S DISCUSSION"))),
            ("item 9a(T). Controls and Procedures", Some(("9A", "Controls and Procedures"))),
            ("Items 1 and 2. Business and Properties", Some(("1", "Business and Properties"))),
            ("Item 2.02 Results of Operations", Some(("2.02", "Results of Operations"))),
            ("Item 1B", Some(("1B", ""))),
            ("Item 5. Market for Registrant 27", Some(("5", "Market for Registrant"))),
            ("Item 1A of this report describes risks.", None),
            ("Item 7, “Management’s Discussion”, describes", None),
            ("Items sold fell.", None),
            ("Item 123. Nothing", None),
            ("Itemized costs", None),
            ("Item", None),
            ("", None),
        ] {
            let expected = expected.map(|(number, title)| (number.to_owned(), title));
            assert_eq!(item_heading(line), expected, "{line}");
        }
    }

    #[test]
    fn a_table_of_contents_and_references_are_no_sections() {
        let risks = "Our business may suffer. ".repeat(20);
        let text = format!(
            "10-K\nPART I\nItem 1. Business 1\nItem 1A. Risk Factors 5\nItem 7. Discussion 20\n\
             Signatures 90\nForward-looking statements follow.\n{risks}\nPART I\nItem 1. Business\n\
             We sell.\nITEM 1A.\nRISK FACTORS\nSee below.\n{risks}\nItem 1A. Risk Factors \
             (continued)\nMore.\nItem 7. Discussion\nSales rose.\nItem 7. Discussion\nSIGNATURES\nJ."
        );
        let whole = format!("See below.\n{risks}\nItem 1A. Risk Factors (continued)\nMore.");
        let expected = [
            ("1", "Business", "We sell."),
            ("1A", "RISK FACTORS", &*whole),
            ("7", "Discussion", "Sales rose.\nItem 7. Discussion"),
        ];
        check(&text.replace("  ", " "), Family::Annual, &expected);
    }

    #[test]
    fn a_quarterly_report_has_two_parts() {
        let text = "PART I. FINANCIAL INFORMATION\nItem 1. Financial Statements\nTables.\n\
                    Item 2. Discussion\nFlat.\nPART II — OTHER INFORMATION\nItem 1A. Risk Factors\n\
                    None.\nPart II, Item 2. Unregistered Sales\nNone at all.";
        let expected = [
            ("I.1", "Financial Statements", "Tables."),
            ("I.2", "Discussion", "Flat."),
            ("II.1A", "Risk Factors", "None."),
            ("II.2", "Unregistered Sales", "None at all."),
        ];
        check(text, Family::Quarterly, &expected);
        let bare = "Item 1. Statements\nTables.\nItem 2. Discussion\nFlat.\nItem 1. Legal\nNone.";
        let expected = [
            ("I.1", "Statements", "Tables."),
            ("I.2", "Discussion", "Flat."),
            ("II.1", "Legal", "None."),
        ];
        check(bare, Family::Quarterly, &expected);
    }

    #[test]
    fn parts_on_top_of_pages_and_in_sentences_cut_nothing() {
        for (line, expected) in [
            ("PART I", Some((Part::I, ""))),
            ("Part II. Other Information", Some((Part::II, "Other Information"))),
            ("PART IV, Item 15. Exhibits", Some((Part::IV, "Item 15. Exhibits"))),
            ("Part I of this report", None),
            ("Part of it", None),
            ("Parts I and II", None),
        ] {
            assert_eq!(part_heading(line), expected, "{line}");
        }
        let text = "PART I\nItem 1A. Risk Factors\nOne.\nPART I\nItem 1A. Risk Factors\nTwo.\n\
                    PART II\nItem 5. Market\nThree.";
        let expected = [
            ("1A", "Risk Factors", "One.\nPART I\nItem 1A. Risk Factors\nTwo."),
            ("5", "Market", "Three."),
        ];
        check(text, Family::Annual, &expected);
    }

    #[test]
    fn a_current_report_has_numbers_with_two_decimals() {
        let text = "Item 2.02 Results of Operations and Financial Condition.\nOn May 1 we said so.\n\
                    Item 9.01. Exhibits\n99.1 Press release\nSIGNATURE\nSigned.";
        let expected = [
            ("2.02", "Results of Operations and Financial Condition.", "On May 1 we said so."),
            ("9.01", "Exhibits", "99.1 Press release"),
        ];
        check(text, Family::Current, &expected);
    }
}
