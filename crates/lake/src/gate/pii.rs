//! Personal data in texts: e-mail addresses, telephone numbers, US social security numbers,
//! payment cards, IBANs and home addresses.
//!
//! Patterns find candidates; check digits, number ranges and what stands around them
//! decide. The texts are full of numbers - figures in tables, CIKs, accession numbers,
//! press release ids in URLs - and a false alarm costs the whole record, so a pattern that
//! cannot tell is left out.
//!
//! What a text gives so that readers use it is not private: role mailboxes
//! (`investors@`), toll-free numbers, and the contact of a press release, an attorney or
//! a conference call. That is an e-mail address or number within 200 bytes after a word
//! that asks readers to use it, such as "contact" or "dial"; a mailbox at a provider for
//! consumers is private all the same.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::checks::{digits, iban, is_card, is_ssn};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Email,
    Phone,
    Ssn,
    Card,
    Iban,
    HomeAddress,
}

impl Rule {
    /// Returns the name in files and messages.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ssn => "us_ssn",
            Self::Card => "payment_card",
            Self::Iban => "iban",
            Self::HomeAddress => "home_address",
        }
    }
}

/// How far before an address or number the word may stand that publishes it, in bytes.
const CONTACT_BYTES: usize = 200;
/// How far before a number the words "social security" may stand, in bytes.
const SSN_CUE_BYTES: usize = 40;

/// Area codes that nobody's home has.
const TOLL_FREE: [u32; 7] = [800, 833, 844, 855, 866, 877, 888];

/// Words of mailboxes that belong to a function.
const ROLES: [&str; 38] = [
    "admin",
    "advertising",
    "careers",
    "compliance",
    "contact",
    "customerservice",
    "editor",
    "enquiries",
    "events",
    "feedback",
    "help",
    "hello",
    "info",
    "inquiries",
    "investigations",
    "investor",
    "investorrelations",
    "investors",
    "ir",
    "jobs",
    "legal",
    "marketing",
    "media",
    "mediarelations",
    "news",
    "newsroom",
    "noreply",
    "office",
    "pr",
    "press",
    "privacy",
    "publicrelations",
    "relations",
    "reply",
    "sales",
    "service",
    "support",
    "webmaster",
];

/// Providers of mailboxes for consumers, without their top-level domain.
const CONSUMER_MAIL: [&str; 14] = [
    "aol",
    "comcast",
    "gmail",
    "gmx",
    "googlemail",
    "hotmail",
    "icloud",
    "live",
    "mail",
    "me",
    "outlook",
    "proton",
    "protonmail",
    "yahoo",
];

/// Compiles a pattern. Its word boundaries are those of ASCII: with Unicode's a search leaves
/// the fast path at the first curly quote, and texts are full of them.
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(&text.replace(r"\b", r"(?-u:\b)")).expect("the pattern is constant")
}

static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i-u)\b[a-z0-9][a-z0-9._%+'-]{0,63}@(?:[a-z0-9-]{1,63}\.){1,6}[a-z]{2,24}\b")
});

/// With the area code in brackets or between dashes or points: figures in a table stand
/// between spaces.
static US_PHONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x-u)
        \+1[\ .-]?\(?[2-9][0-9]{2}\)?[\ .-]?[2-9][0-9]{2}[\ .-]?[0-9]{4}
        | (?:1[\ .-])? (?: \([2-9][0-9]{2}\)\ ?[2-9][0-9]{2}[\ .-][0-9]{4}
                         | [2-9][0-9]{2}[.-][2-9][0-9]{2}[.-][0-9]{4} )",
    )
});

static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?-u)\+[2-9][0-9]{0,2}[ .-]?(?:\([0-9]{1,4}\)|[0-9]{1,4})(?:[ .-]?[0-9]{2,4}){2,4}")
});

static SSN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?-u)[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{3} [0-9]{2} [0-9]{4}"));

static SSN_CUE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bssn\b|social security"));

static CARD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x-u) [0-9]{15,16} | [0-9]{4}(?:-[0-9]{4}){3} | [0-9]{4}(?:\ [0-9]{4}){3}
        | 3[47][0-9]{2}(?:-[0-9]{6}-|\ [0-9]{6}\ )[0-9]{5}",
    )
});

static IBAN: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?-u)\b[A-Z]{2}[0-9]{2}"));

/// A street address of the US down to the postal code, behind words that make it somebody's
/// home: that of a company stands on every filing.
static HOME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix) \b(?:resid(?:es|ed|ing|ence)|lives|lived|living|home\ address|home\ is)\b
        [^.\n]{0,40}? \b[0-9]{1,6}\ (?:[\w'.-]+\ ){1,4}
        (?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|court|ct|boulevard|blvd|way|place|pl|terrace)\b
        [^\n]{0,60}? \b[A-Z]{2}\ [0-9]{5}(?:-[0-9]{4})?\b",
    )
});

/// Asks readers to use what follows, in the languages press releases are translated into; a
/// toll-free number does, too, whatever stands around it.
static CONTACT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix)\b(?: contact(?:s|ed|ing|o|e|ez|er|ar)? | call(?:ing|ers)? | dial(?:ing|-in|\ in|led)?
        | reach(?:ed)? | e-?mail\ us | by\ (?:tele)?phone\ at | hotline | replay | reservations? | rsvp
        | attention | advertisement | inquiries | enquiries
        | (?:investor|media|public|press)\ (?:affairs|relations) | (?:media|press)\ office
        | (?:more|further|additional)\ information | toll-?\ ?free
        | llam(?:e|ar|ando) | appel(?:er|ez) | chiam(?:are|ate|ando) | rufnummer | bel\ naar )\b
        | contatt | kontakt | tel[ée]fon | 电话 | 電話 | 邮件 | 郵件
        | \b(?:1[-.\ ]|\()8(?:00|33|44|55|66|77|88)[)\ .-]",
    )
});

/// Finds personal data that the text does not publish as a contact, in order.
pub(super) fn find(text: &str) -> Vec<(Rule, Range<usize>)> {
    let mut found = candidates(text);
    found.retain(|(rule, range)| !is_published(text, *rule, range));
    found
}

/// Replaces letters and digits of everything that looks like personal data, published or
/// not, but the first of each.
pub(crate) fn mask(text: &str) -> String {
    let ranges = candidates(text);
    let is_hidden = |i: usize| ranges.iter().any(|(_, range)| range.start < i && i < range.end);
    let shown = |(i, c): (usize, char)| if c.is_alphanumeric() && is_hidden(i) { '*' } else { c };
    text.char_indices().map(shown).collect()
}

fn candidates(text: &str) -> Vec<(Rule, Range<usize>)> {
    let mut found = Vec::new();
    let mut add = |rule, range: Range<usize>| found.push((rule, range));
    if text.contains('@') {
        EMAIL.find_iter(text).for_each(|m| add(Rule::Email, m.range()));
    }
    for m in US_PHONE.find_iter(text).filter(|m| stands_alone(text, &m.range())) {
        add(Rule::Phone, m.range());
    }
    if text.contains('+') {
        let is_number =
            |m: &regex::Match<'_>| stands_alone(text, &m.range()) && is_international(m.as_str());
        PHONE.find_iter(text).filter(is_number).for_each(|m| add(Rule::Phone, m.range()));
    }
    for m in SSN.find_iter(text).filter(|m| stands_alone(text, &m.range())) {
        let is_marked = || SSN_CUE.is_match(before(text, m.start(), SSN_CUE_BYTES));
        if is_ssn(&digits(m.as_str())) && (m.as_str().contains('-') || is_marked()) {
            add(Rule::Ssn, m.range());
        }
    }
    for m in CARD.find_iter(text).filter(|m| stands_alone(text, &m.range())) {
        let is_column = m.as_str().contains(' ') && is_among_figures(text, &m.range());
        if is_card(&digits(m.as_str())) && !is_column {
            add(Rule::Card, m.range());
        }
    }
    for m in IBAN.find_iter(text) {
        if let Some(length) = iban(&text[m.start()..]) {
            add(Rule::Iban, m.start()..m.start() + length);
        }
    }
    HOME.find_iter(text).for_each(|m| add(Rule::HomeAddress, m.range()));
    found.sort_by_key(|(_, range)| (range.start, range.end));
    found
}

/// Tells whether a text gives an address or number so that readers use it.
fn is_published(text: &str, rule: Rule, range: &Range<usize>) -> bool {
    let value = &text[range.clone()];
    let is_contact = || CONTACT.is_match(before(text, range.start, CONTACT_BYTES));
    match rule {
        Rule::Email => {
            let (mailbox, domain) = value.split_once('@').unwrap_or((value, ""));
            let domain = domain.to_ascii_lowercase();
            let provider = domain.split('.').next().unwrap_or_default();
            let mut words = mailbox.split(['.', '_', '-', '+']);
            let is_role = words.any(|w| ROLES.contains(&w.to_ascii_lowercase().as_str()));
            !CONSUMER_MAIL.contains(&provider) && (is_role || is_contact())
        }
        Rule::Phone => {
            let digits = digits(value);
            let digits = digits.strip_prefix(&[1]).unwrap_or(&digits);
            let area = digits.iter().take(3).fold(0, |number, digit| number * 10 + digit);
            (digits.len() == 10 && TOLL_FREE.contains(&area)) || is_contact()
        }
        Rule::Ssn | Rule::Card | Rule::Iban | Rule::HomeAddress => false,
    }
}

/// Returns up to `bytes` of the text before a place.
fn before(text: &str, place: usize, bytes: usize) -> &str {
    let mut start = place.saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..place]
}

/// Tells whether a number is one of its own: no part of a longer one, an amount, a name or
/// a URL.
fn stands_alone(text: &str, range: &Range<usize>) -> bool {
    let part_of = |c: char| c.is_alphanumeric() || "$€£%#=&/_.,-+@".contains(c);
    let mut rest = text[range.end..].chars();
    let (next, after) = (rest.next(), rest.next());
    let goes_on = match next {
        Some(c) if c.is_alphanumeric() || "_/%=@".contains(c) => true,
        Some('-' | '.' | ',') => after.is_some_and(|c| c.is_ascii_digit()),
        _ => false,
    };
    !text[..range.start].ends_with(part_of) && !goes_on
}

/// Tells whether other figures stand right beside: a row of a table.
fn is_among_figures(text: &str, range: &Range<usize>) -> bool {
    let figure = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit() || "$(-".contains(c));
    let mut rest = text[range.end..].chars();
    let mut head = text[..range.start].chars().rev();
    (rest.next() == Some(' ') && figure(rest.next()))
        || (head.next() == Some(' ') && head.next().is_some_and(|c| c.is_ascii_digit() || c == ')'))
}

/// Tells whether an international number has the length of one, and no group that is
/// rather a year.
fn is_international(number: &str) -> bool {
    let is_year = |group: &str| group.len() == 4 && matches!(&group[..2], "19" | "20");
    (9..=15).contains(&digits(number).len())
        && !number.split(|c: char| !c.is_ascii_digit()).any(is_year)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<&'static str> {
        find(text).iter().map(|(rule, _)| rule.key()).collect()
    }

    #[test]
    fn finds_what_is_private() {
        for (text, rule) in [
            ("The file names Jane Roe, jane.roe@alpha.example, as the source.", "email"),
            ("For more information contact jane.roe@gmail.com.", "email"),
            ("Jane Roe (415) 555-2671 was on the list.", "phone"),
            ("Her number, 415-555-2671, was on the list.", "phone"),
            ("Her number, 415.555.2671, was on the list.", "phone"),
            ("Her number is +1 415 555 2671", "phone"),
            ("His number is +44 20 7946 0958.", "phone"),
            ("His number is +49 (30) 901820-12", "phone"),
            ("Roe, born 1970, 219-09-9999", "us_ssn"),
            ("His SSN is 219 09 9999.", "us_ssn"),
            ("charged to 4111 1111 1111 1111 in May", "payment_card"),
            ("charged to 4111-1111-1111-1111, it said", "payment_card"),
            ("(378282246310005)", "payment_card"),
            ("wired to GB29 NWBK 6016 1331 9268 19 in May", "iban"),
            ("wired to DE89370400440532013000.", "iban"),
            (
                "Mr Roe, who lives at 1204 Elm Street, Apt 4, Springfield, IL 62704, said",
                "home_address",
            ),
            ("He resides at 7 Old Mill Rd, Salem MA 01970-1234.", "home_address"),
        ] {
            assert_eq!(rules(text), [rule], "{text}");
        }
    }

    /// Lines as they stand in real news and filings.
    #[test]
    fn leaves_contacts_and_figures_alone() {
        for text in [
            "Such investors are advised to contact Danielle Peyton at newaction@pomlaw.example or \
             646-581-9980, ext. 7980.",
            "Please contact Melissa F. by email at investigations@bespc.example, or telephone at \
             (212) 355-4648",
            "To participate in the call, dial 1-833-397-0851 (domestic) or 516-575-8759 \
             (international).",
            "Investor Relations Contact:\nNancy Paxton\nApple\n(408) 974-5420\npaxton1@apple.example",
            "tips go to newsroom@alpha.example",
            "the line (866) 393-4306 was busy",
            "au 1-800-ALPHA-5 ou au 1-650-555-3000. Le texte",
            "Have questions? Email us at answers@alpha.example!",
            "o llamando al Departamento de relaciones con los inversores al 408-555-5697",
            "CIK 0000320193, accession 0000320193-21-000105, filed 2021-10-29",
            "IRS No. 94-2404110; Commission File Number 001-36743",
            "282 580 869 768 1,151 1,348 185 0.63 61 37",
            "$ 617 282 1209 869 1826 1151",
            "2020 2019 2020 2019 Net revenue 4111 1111 1111 1111 5,000",
            "https://www.businesswire.com/news/home/20200806005800/en/",
            "https://www.oversightboard.com/news/4111111111111111-announcing",
            "https://doi.org/10.1177/1352458520907901",
            "growth of +12.5 -3.4 and +250 356 1,096; up +90 2021 2020 1234",
            "ISIN US50077LAS51 and IE00BF16M727 20,189,898.00",
            "Apple's office is at One Apple Park Way, Cupertino, CA 95014.",
            "1204 Elm Street, Springfield, IL 62704",
            "follow @alpha on medium.com/@jane.roe; 5 shares @ 12.50",
            "between 2010-2020 and 1-800-FLOWERS",
            "SKU 123-456-78901 and 1.415.555.26710",
            "support level 4,150.25; VIX 21.5 - 22.75",
        ] {
            assert_eq!(rules(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn masks_keep_the_shape() {
        assert_eq!(
            mask("Roé: roe@alpha.example, 415-555-2671; CIK 0000320193"),
            "Roé: r**@*****.*******, 4**-***-****; CIK 0000320193"
        );
        assert_eq!(mask("contact press@alpha.example"), "contact p****@*****.*******");
    }
}
