//! Texts to the words the lexical index counts.

use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

/// Returns the words of a text in order: lower case, reduced to their English stem,
/// so that `upgrades` finds `upgraded` and `Apple's` finds `Apple`.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    let stemmer = Stemmer::create(Algorithm::English);
    text.unicode_words().map(move |word| {
        // The stemmer knows the possessive with the straight apostrophe only.
        let word = word.to_lowercase().replace('’', "'");
        stemmer.stem(&word).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_stems() {
        for (text, expected) in [
            ("Apple's shares upgraded", "appl share upgrad"),
            ("Apple’s Q3: revenue +8.5%", "appl q3 revenu 8.5"),
            ("the U.S. antitrust lawsuits", "the u. antitrust lawsuit"),
            ("— … !", ""),
        ] {
            assert_eq!(words(text).collect::<Vec<_>>().join(" "), expected, "{text}");
        }
    }
}
