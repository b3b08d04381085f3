//! Cuts texts at the borders of sentences. What is cut is a byte range, so that a
//! quote stays the archive's own bytes.

/// Bound on the text of a snippet.
const BYTES_MAX: usize = 200;
/// A passage shorter than that is a heading or says nothing by itself.
const PASSAGE_BYTES_MIN: usize = 60;

/// Returns the byte range of the first sentences of a field that fit the bound;
/// none where the first sentence does not, or holds invisible characters.
pub(super) fn sentence_range(field: &str) -> Option<(usize, usize)> {
    let start = field.len() - field.trim_start().len();
    let whole_end = field.trim_end().len();
    let mut end = None;
    for candidate in sentence_ends(&field[start..whole_end]).map(|e| start + e) {
        if candidate - start > BYTES_MAX {
            break;
        }
        end = Some(candidate);
    }
    let range = (start, end?);
    (range.1 > range.0 && field[range.0..range.1].chars().all(is_visible)).then_some(range)
}

/// Returns the byte ranges of the passages of a long text: whole sentences that
/// follow each other and fit the bound together, none across the end of a line.
/// Headings, sentences too long to quote and rows of tables are in none.
pub(super) fn passages(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive(['\n', '\r']) {
        let mut rest = line_start;
        line_start += line.len();
        while let Some((start, end)) = next_passage(&text[..line_start], rest) {
            if is_prose(&text[start..end]) {
                found.push((start, end));
            }
            rest = end;
        }
    }
    found
}

/// Takes the sentences after `from` that fit the bound, or else the one that does not.
fn next_passage(text: &str, from: usize) -> Option<(usize, usize)> {
    let start = from + text[from..].len() - text[from..].trim_start().len();
    let whole = text[start..].trim_end();
    let mut ends = sentence_ends(whole).take_while(|&end| end > 0);
    let first = ends.next()?;
    let last = ends.take_while(|&end| end <= BYTES_MAX).last().unwrap_or(first);
    Some((start, start + last))
}

/// Tells sentences worth a quote from headings, tables and what is too long.
fn is_prose(passage: &str) -> bool {
    let letters = passage.chars().filter(|c| c.is_lowercase()).count();
    (PASSAGE_BYTES_MIN..=BYTES_MAX).contains(&passage.len())
        && passage.ends_with(['.', '!', '?', '"', '”', ')'])
        && 2 * letters > passage.chars().count()
        && passage.chars().all(is_visible)
}

/// Returns where sentences end: after `.`, `!` or `?` (and closing quotes)
/// before white space and a capital or digit, not after initials and common
/// abbreviations; and at the end.
fn sentence_ends(text: &str) -> impl Iterator<Item = usize> {
    let ends = text.char_indices().filter_map(move |(i, c)| {
        if !matches!(c, '.' | '!' | '?') {
            return None;
        }
        let after = &text[i + c.len_utf8()..];
        let rest = after.trim_start_matches(['"', '\'', '”', '’', ')']);
        let end = text.len() - rest.len();
        let next = rest.strip_prefix(' ')?.trim_start().chars().next()?;
        let starts =
            next.is_uppercase() || next.is_numeric() || matches!(next, '"' | '“' | '\'' | '‘');
        (starts && !(c == '.' && is_abbreviation(&text[..i]))).then_some(end)
    });
    ends.chain(std::iter::once(text.len()))
}

fn is_abbreviation(before: &str) -> bool {
    const COMMON: [&str; 16] = [
        "Inc", "Corp", "Co", "Ltd", "Mr", "Mrs", "Ms", "Dr", "Jr", "Sr", "vs", "No", "St", "Mfg",
        "Gen", "Bros",
    ];
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let initials = word.split('.').all(|part| part.chars().count() <= 1);
    COMMON.contains(&word) || initials
}

fn is_visible(c: char) -> bool {
    !c.is_control() && !is_invisible(c)
}

/// Zero-width and direction-changing characters: they would hide text from a reader.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cuts_at_sentence_borders_only() {
        let long = "X".repeat(201);
        for (field, cut) in [
            ("Apple rose 2.5% on Friday.", Some("Apple rose 2.5% on Friday.")),
            ("One. Two", Some("One. Two")),
            ("  One.  ", Some("One.")),
            (&format!("Apple Inc. fell. {long}"), Some("Apple Inc. fell.")),
            (&format!("\"It fell.\" {long}"), Some("\"It fell.\"")),
            (&format!("The U.S. fell. {long}"), Some("The U.S. fell.")),
            (&format!("Shares fell 4.4 {long}"), None),
            (&long, None),
            ("bad\u{0}byte", None),
            ("hidden\u{202e}text", None),
            ("", None),
        ] {
            let found = sentence_range(field).map(|(start, end)| &field[start..end]);
            assert_eq!(found, cut, "{field:?}");
        }
    }

    #[test]
    fn passages_are_whole_sentences_of_one_line() {
        let long = ["Too long a sentence"; 11].join(", ");
        let text = format!(
            "Item 7. Management's Discussion\n\
             Net sales rose 8 percent. Growth came from phones and from services sold with them.\n\
             {long}. But this sentence, which follows the long one, can be quoted by itself.\n\
             2022 2021 2020 394,328 365,817 274,515 8 33 6 99,803 94,680 57,411 5 65 4.\n\
             No."
        );
        let found: Vec<&str> = passages(&text).into_iter().map(|(a, b)| &text[a..b]).collect();
        let expected = [
            "Net sales rose 8 percent. Growth came from phones and from services sold with them.",
            "But this sentence, which follows the long one, can be quoted by itself.",
        ];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn passages_are_in_order_apart_and_in_bounds(text in "([A-Z][a-z ]{0,80}[.!?\n ]{1,2}|é“[0-9.]*” ){0,12}") {
            let mut last = 0;
            for (start, end) in passages(&text) {
                prop_assert!(last <= start && start < end && end - start <= BYTES_MAX);
                prop_assert_eq!(text[start..end].trim(), &text[start..end]);
                last = end;
            }
        }
    }
}
