//! Numbers inside text: the one rule that grammar, verification and invariants share.

use std::{collections::BTreeSet, sync::LazyLock};

use regex_lite::Regex;

static NUMBER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\d+(?:,\d{3})*(?:\.\d+)?").expect("the pattern is constant"));

/// Words that state a number without a digit. A claim may not use them: they
/// could not be looked up in the evidence.
pub(crate) const NUMBER_WORDS: [&str; 42] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "hundred",
    "hundreds",
    "thousand",
    "thousands",
    "million",
    "millions",
    "billion",
    "billions",
    "trillion",
    "dozen",
    "half",
    "twice",
    "double",
    "triple",
];

/// Returns the numbers in `text` without sign, thousands separators or unit,
/// e.g. `500000` and `4.44` for `$500,000 or -4.44%`.
pub(crate) fn numbers(text: &str) -> BTreeSet<String> {
    NUMBER.find_iter(text).map(|m| m.as_str().replace(',', "")).collect()
}

/// Splits `text` into words that can stand in a claim: printable ASCII without
/// the characters JSON would escape, stripped of surrounding punctuation.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
        .map(|word| {
            let word = word.trim_start_matches(|c: char| "([{'\"*#".contains(c));
            word.trim_end_matches(|c: char| ".,;:!?)]}'\"*".contains(c))
        })
        .filter(|word| !word.is_empty() && word.len() <= 24)
        .filter(|word| {
            word.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\<>|{}[]()/".contains(&b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_numbers_whatever_surrounds_them() {
        let found = numbers("fell -4.44% to $68.93, from 500,000 (iPhone14) in 21-day");
        let expected = ["14", "21", "4.44", "500000", "68.93"];
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn words_keep_sign_and_unit_only() {
        let words: Vec<&str> = words("10-day return: -4.1%. (2022) \"$5,000\" a\\7").collect();
        assert_eq!(words, ["10-day", "return", "-4.1%", "2022", "$5,000"]);
    }
}
