//! Check digits and number ranges: what makes a run of digits a card, an account or a
//! social security number rather than a price, a CIK or an accession number.

/// IBAN lengths by country, from the IBAN registry (ISO 13616).
#[rustfmt::skip]
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24), ("AE", 23), ("AL", 28), ("AT", 20), ("AZ", 28), ("BA", 20), ("BE", 16), ("BG", 22),
    ("BH", 22), ("BR", 29), ("BY", 28), ("CH", 21), ("CR", 22), ("CY", 28), ("CZ", 24), ("DE", 22),
    ("DK", 18), ("DO", 28), ("EE", 20), ("EG", 29), ("ES", 24), ("FI", 18), ("FO", 18), ("FR", 27),
    ("GB", 22), ("GE", 22), ("GI", 23), ("GL", 18), ("GR", 27), ("GT", 28), ("HR", 21), ("HU", 28),
    ("IE", 22), ("IL", 23), ("IQ", 23), ("IS", 26), ("IT", 27), ("JO", 30), ("KW", 30), ("KZ", 20),
    ("LB", 28), ("LC", 32), ("LI", 21), ("LT", 20), ("LU", 20), ("LV", 21), ("LY", 25), ("MC", 27),
    ("MD", 24), ("ME", 22), ("MK", 19), ("MR", 27), ("MT", 31), ("MU", 30), ("NL", 18), ("NO", 15),
    ("PK", 24), ("PL", 28), ("PS", 29), ("PT", 25), ("QA", 29), ("RO", 24), ("RS", 22), ("SA", 24),
    ("SC", 31), ("SE", 24), ("SI", 19), ("SK", 24), ("SM", 27), ("ST", 25), ("SV", 28), ("TL", 23),
    ("TN", 24), ("TR", 26), ("UA", 29), ("VA", 22), ("VG", 24), ("XK", 20),
];

/// Returns the digits of a text.
pub(super) fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// Tells whether digits carry Luhn's check digit (ISO/IEC 7812).
pub(super) fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, &digit)| match (i % 2, digit * 2) {
            (0, _) => digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Tells whether digits are a payment card's: an issuer's range, its length, the check digit.
pub(super) fn is_card(digits: &[u32]) -> bool {
    let lead = |n: usize| digits.iter().take(n).fold(0, |number, digit| number * 10 + digit);
    let is_issued = match digits.len() {
        15 => matches!(lead(2), 34 | 37),
        16 => {
            lead(1) == 4
                || matches!(lead(2), 51..=55 | 65)
                || matches!(lead(3), 644..=649)
                || matches!(lead(4), 2221..=2720 | 3528..=3589 | 6011)
        }
        _ => false,
    };
    // One digit repeated is a placeholder.
    is_issued && luhn(digits) && digits.iter().any(|digit| digit != &digits[0])
}

/// Tells whether area, group and serial of a US social security number were ever given.
pub(super) fn is_ssn(digits: &[u32]) -> bool {
    let number = |digits: &[u32]| digits.iter().fold(0, |number, digit| number * 10 + digit);
    match digits {
        [area @ .., g1, g2, s1, s2, s3, s4] if area.len() == 3 => {
            let area = number(area);
            area != 0
                && area != 666
                && area < 900
                && number(&[*g1, *g2]) != 0
                && number(&[*s1, *s2, *s3, *s4]) != 0
        }
        _ => false,
    }
}

/// Returns the length in bytes of the IBAN a text begins with: a country's length, in
/// one piece or in groups of four, with the check digits of ISO 13616 (mod 97).
pub(super) fn iban(text: &str) -> Option<usize> {
    let country = text.get(..2)?;
    let (_, length) = IBAN_LENGTHS.iter().find(|(known, _)| *known == country)?;
    let is_grouped = text.as_bytes().get(4) == Some(&b' ');
    let (mut letters, mut end) = (Vec::new(), 0);
    for (i, c) in text.char_indices() {
        if letters.len() == *length {
            break;
        }
        let is_gap = is_grouped && c == ' ' && letters.len().is_multiple_of(4);
        if c.is_ascii_uppercase() || c.is_ascii_digit() {
            letters.push(c);
            end = i + 1;
        } else if !is_gap {
            return None;
        }
    }
    let goes_on = text[end..].starts_with(|c: char| c.is_alphanumeric());
    if letters.len() != *length || goes_on {
        return None;
    }
    letters.rotate_left(4);
    let rest = letters.iter().filter_map(|c| c.to_digit(36)).fold(0, |rest, value| {
        let shift = if value > 9 { 100 } else { 10 };
        (rest * shift + value) % 97
    });
    (rest == 1).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that issuers publish for tests.
    #[test]
    fn cards_have_an_issuer_and_a_check_digit() {
        for card in
            ["4111 1111 1111 1111", "5555555555554444", "378282246310005", "6011-1111-1111-1117"]
        {
            assert!(is_card(&digits(card)), "{card}");
        }
        for near in [
            "4111 1111 1111 1112", // check digit
            "9999999999999995",    // no issuer
            "20200806005800",      // a press release's number
            "411111111111",        // too short
            "0000000000000000",
        ] {
            assert!(!is_card(&digits(near)), "{near}");
        }
    }

    /// Examples of the IBAN registry.
    #[test]
    fn ibans_have_a_country_its_length_and_check_digits() {
        for iban_text in [
            "GB29 NWBK 6016 1331 9268 19",
            "DE89370400440532013000",
            "FR14 2004 1010 0505 0001 3M02 606",
            "NO9386011117947",
        ] {
            assert_eq!(iban(iban_text), Some(iban_text.len()), "{iban_text}");
            assert_eq!(iban(&format!("{iban_text}, by Friday")), Some(iban_text.len()));
        }
        for near in [
            "GB28 NWBK 6016 1331 9268 19",
            "US50077LAS51 4.000% Senior Notes",
            "IE00BF16M727 20,189,898.00 USD",
            "DE893704004405320130001",
            "FY20 FY20 FY21 FY21 Change",
        ] {
            assert_eq!(iban(near), None, "{near}");
        }
    }

    #[test]
    fn social_security_numbers_have_their_ranges() {
        assert!(is_ssn(&digits("219-09-9999")));
        for near in ["000-12-3456", "666-12-3456", "912-12-3456", "219-00-9999", "219-09-0000"] {
            assert!(!is_ssn(&digits(near)), "{near}");
        }
    }
}
