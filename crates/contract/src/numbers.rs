//! Numbers inside text: the one rule that verification and invariants share.

use std::{collections::BTreeSet, sync::LazyLock};

use regex_lite::Regex;

static NUMBER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\d+(?:,\d{3})*(?:\.\d+)?").expect("the pattern is constant"));

/// Words that state a number without a digit. A claim may use them only where its
/// evidence does.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_numbers_whatever_surrounds_them() {
        let found = numbers("fell -4.44% to $68.93, from 500,000 (iPhone14) in 21-day");
        let expected = ["14", "21", "4.44", "500000", "68.93"];
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
