//! The phrases in which claims read their evidence, and which of them an item allows.
//!
//! `grammars/claims.lark` holds a rule, one line, for each kind of fact and what the fact
//! says. A signed number says what its sign and polarity mean for the stock, a text what
//! it speaks of: UP, DOWN or FLAT. A level has no direction; it is read by where it lies
//! between borders that are common practice and no forecast (Wilder's 30 and 70 of the
//! RSI; quartiles of the records for the others, rounded).

use domain::{EvidenceItem, EvidenceKind, Feature, Unit};

use crate::direction::{Direction, reading};

/// The rules, in the dialect of llguidance.
pub(crate) const PHRASES: &str = include_str!("../../../grammars/claims.lark");

/// What decides between the rules of a kind of fact.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// Sign and polarity: UP, DOWN, or FLAT below a size that says nothing yet.
    Signed(f64),
    /// The first border the value lies below, else the last name.
    Level(&'static [(f64, &'static str)], &'static str),
}

use Reading::{Level, Signed};

const MARKET_VOL: Reading = Level(&[(0.12, "CALM"), (0.22, "USUAL")], "TENSE");
const STOCK_VOL: Reading = Level(&[(0.20, "CALM"), (0.40, "USUAL")], "TENSE");
const PURCHASES: Reading = Level(&[(0.5, "NONE")], "SOME");

/// Kinds of facts by the name of the feature.
const KINDS: [(&str, &str, Reading); 31] = [
    ("index_ret_21d", "INDEX", Signed(0.003)),
    ("index_ret_252d", "INDEX", Signed(0.03)),
    ("vix_change_21d", "FEAR", Signed(0.02)),
    ("vix_level", "VIX", Level(&[(15.0, "CALM"), (25.0, "USUAL")], "TENSE")),
    ("index_vol_20d", "INDEX_VOL", MARKET_VOL),
    ("wti_ret_21d", "OIL", Signed(0.0)),
    ("baa_aaa_spread", "CREDIT", Level(&[(0.008, "CALM"), (0.012, "USUAL")], "TENSE")),
    ("revenue_growth_yoy", "GROWTH", Signed(0.01)),
    ("eps_growth_yoy", "GROWTH", Signed(0.01)),
    ("net_income_growth_yoy", "GROWTH", Signed(0.01)),
    ("gross_margin", "MARGIN", Level(&[(0.0, "BELOW_ZERO"), (0.2, "THIN"), (0.5, "FAIR")], "RICH")),
    ("net_margin", "MARGIN", Level(&[(0.0, "BELOW_ZERO"), (0.05, "THIN"), (0.2, "FAIR")], "RICH")),
    ("net_margin_change_yoy", "MARGIN_CHANGE", Signed(0.002)),
    ("debt_to_equity", "LEVERAGE", Level(&[(0.5, "LIGHT"), (1.5, "FAIR")], "HEAVY")),
    ("eps_surprise", "SURPRISE", Signed(0.01)),
    ("news_tone_7d", "TONE", Signed(0.05)),
    ("news_tone_30d", "TONE", Signed(0.05)),
    ("news_count_7d", "ATTENTION", Level(&[(2.5, "QUIET"), (10.5, "USUAL")], "BUSY")),
    ("news_count_30d", "ATTENTION", Level(&[(5.5, "QUIET"), (40.5, "USUAL")], "BUSY")),
    ("ret_10d", "RETURN", Signed(0.002)),
    ("mom_30d", "MOMENTUM", Signed(0.005)),
    ("mom_252_21", "MOMENTUM", Signed(0.01)),
    ("px_vs_sma50", "AVERAGE", Signed(0.002)),
    ("dist_52w_high", "PEAK", Level(&[(-0.2, "FAR"), (-0.05, "MIDWAY")], "NEAR")),
    ("rsi_14", "RSI", Level(&[(30.0, "OVERSOLD"), (70.0, "MIDDLE")], "OVERBOUGHT")),
    ("insider_net_shares_90d", "NET_SHARES", Signed(0.0)),
    ("insider_buyers_90d", "PURCHASES", PURCHASES),
    ("insider_buys_90d", "PURCHASES", PURCHASES),
    ("insider_sells_90d", "SALES", PURCHASES),
    ("max_drawdown_252d", "DRAWDOWN", Signed(0.0)),
    ("beta_252d", "BETA", Level(&[(0.8, "DEFENSIVE"), (1.2, "MARKET")], "AGGRESSIVE")),
];

/// Volatilities share a kind whatever their window.
const VOLATILITIES: [&str; 2] = ["vol_20d", "vol_60d"];

/// Returns the rule of what may be written about an item; none where it only says that
/// there is no data.
pub(crate) fn rule(item: &EvidenceItem) -> Option<String> {
    if item.is_absence() {
        return None;
    }
    let direction = match reading(item) {
        Some(Direction::Up) => "UP",
        Some(Direction::Down) => "DOWN",
        None => "FLAT",
    };
    let of_section = || format!("{}_{direction}", item.section().key().to_uppercase());
    Some(match &item.kind {
        EvidenceKind::Text(_) if item.section() == domain::Section::Sentiment => {
            format!("HEADLINE_{direction}")
        }
        EvidenceKind::Text(_) => of_section(),
        EvidenceKind::Numeric(feature) => match kind(feature) {
            Some((kind, Signed(least))) if feature.value.abs() < least => format!("{kind}_FLAT"),
            Some((kind, Signed(_))) => format!("{kind}_{direction}"),
            Some((kind, Level(borders, last))) => {
                let below = borders.iter().find(|(border, _)| feature.value < *border);
                format!("{kind}_{}", below.map_or(last, |(_, name)| name))
            }
            None => of_section(),
        },
    })
}

/// Returns how a claim says what a number is: a level stands, a result comes in.
pub(crate) fn verb(feature: &Feature) -> &'static str {
    match kind(feature) {
        Some(("GROWTH" | "SURPRISE" | "MARGIN_CHANGE", _)) => "came in at",
        Some((_, Level(..))) if feature.unit != Unit::Count => "stands at",
        _ => "is",
    }
}

fn kind(feature: &Feature) -> Option<(&'static str, Reading)> {
    if VOLATILITIES.contains(&feature.name.as_str()) {
        return Some(("VOL", STOCK_VOL));
    }
    let known = KINDS.iter().find(|(name, ..)| *name == feature.name);
    known.map(|(_, kind, reading)| (*kind, *reading))
}

/// Returns the line of `rules` that defines a rule.
pub(crate) fn line<'r>(rules: &'r str, rule: &str) -> Option<&'r str> {
    let is_rule = |line: &&str| line.strip_prefix(rule).is_some_and(|rest| rest.starts_with(':'));
    rules.lines().find(is_rule)
}

/// Returns the grammar of a rule of [`PHRASES`], the same as [`crate::Plan::grammar`] of
/// any plan; none of an unknown rule.
#[must_use]
pub fn phrase_grammar(rule: &str) -> Option<String> {
    line(PHRASES, rule).map(|line| grammar(rule, line))
}

/// A grammar that is one rule, defined by its line.
pub(crate) fn grammar(rule: &str, line: &str) -> String {
    format!("start: {rule}\n{line}\n")
}

/// Returns every text of a rule of [`PHRASES`], in its order; none of an unknown rule.
#[must_use]
pub fn phrases(rule: &str) -> Vec<String> {
    let Some((_, body)) = line(PHRASES, rule).and_then(|line| line.split_once(':')) else {
        return Vec::new();
    };
    // A sequence of quoted texts and of alternatives in parentheses: even parts of a
    // split at quotes are what stands between them.
    let mut texts = vec![String::new()];
    let mut alternatives: Option<Vec<&str>> = None;
    for (i, part) in body.split('"').enumerate() {
        if i % 2 == 1 {
            match &mut alternatives {
                Some(alternatives) => alternatives.push(part),
                None => texts.iter_mut().for_each(|text| text.push_str(part)),
            }
            continue;
        }
        if part.contains(')')
            && let Some(alternatives) = alternatives.take()
        {
            let longer = |text: &String| -> Vec<String> {
                alternatives.iter().map(|other| format!("{text}{other}")).collect()
            };
            texts = texts.iter().flat_map(longer).collect();
        }
        if part.contains('(') {
            alternatives = Some(Vec::new());
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::direction::asserted;

    fn rules() -> Vec<&'static str> {
        let rules = PHRASES.lines().filter(|line| !line.starts_with("//"));
        rules.filter_map(|line| line.split_once(':')).map(|(rule, _)| rule).collect()
    }

    #[test]
    fn the_texts_of_a_rule_are_those_of_its_line() {
        let texts = phrases("INDEX_FLAT");
        assert_eq!(
            texts,
            [
                ", so the index says little.",
                ", a market without a trend.",
                ", which frames the market the stock trades in."
            ]
        );
        assert!(phrases("INDEX").is_empty() && phrases("NO_SUCH").is_empty());
        let all: usize = rules().into_iter().map(|rule| phrases(rule).len()).sum();
        assert!(all > 280, "{all}");
    }

    /// Verification must be able to refute a phrase of the wrong rule.
    #[test]
    fn each_phrase_asserts_the_direction_of_its_rule() {
        for rule in rules() {
            let expected: BTreeSet<Direction> = match rule.rsplit_once('_') {
                Some((_, "UP")) => [Direction::Up].into(),
                Some((_, "DOWN")) => [Direction::Down].into(),
                _ => BTreeSet::new(),
            };
            let texts = phrases(rule);
            assert!(texts.len() > 1, "{rule}");
            for text in &texts {
                assert_eq!(asserted(text), expected, "{rule}: {text}");
                assert!(crate::verify::check_numbers(text, "").is_ok(), "{rule}: {text}");
                // A claim is bounded to 32 tokens; a token of English has 4 bytes.
                assert!(text.len() <= 56, "{rule}: {text}");
            }
            assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len(), "{rule}");
        }
    }

    fn rule_of(name: &str, unit: Unit, value: f64) -> String {
        let at = "2022-09-30T20:00:00Z".parse().unwrap();
        let provenance = domain::Provenance {
            source: "test".into(),
            url: "pkg:test".into(),
            event_time: at,
            known_at: at,
        };
        let feature = Feature {
            name: name.into(),
            title: name.into(),
            short: name.into(),
            section: domain::Section::Technicals,
            unit,
            polarity: domain::Polarity::Good,
            window_days: None,
            value,
            coverage: false,
            note: None,
            provenance,
        };
        let kind = EvidenceKind::Numeric(feature);
        rule(&EvidenceItem { id: domain::EvidenceId(1), kind }).unwrap()
    }

    #[test]
    fn a_fact_is_read_by_its_sign_or_by_where_it_lies() {
        for (name, unit, value, expected) in [
            ("ret_10d", Unit::Change, 0.04, "RETURN_UP"),
            ("ret_10d", Unit::Change, -0.04, "RETURN_DOWN"),
            // It shows as -0.1%, but says nothing yet.
            ("ret_10d", Unit::Change, -0.001, "RETURN_FLAT"),
            ("rsi_14", Unit::Level, 29.9, "RSI_OVERSOLD"),
            ("rsi_14", Unit::Level, 30.0, "RSI_MIDDLE"),
            ("rsi_14", Unit::Level, 70.0, "RSI_OVERBOUGHT"),
            ("net_margin", Unit::Share, -0.01, "MARGIN_BELOW_ZERO"),
            ("vol_60d", Unit::Share, 0.5, "VOL_TENSE"),
            ("insider_sells_90d", Unit::Count, 0.0, "SALES_NONE"),
            ("something_new", Unit::Change, 0.1, "TECHNICALS_UP"),
        ] {
            assert_eq!(rule_of(name, unit, value), expected, "{name} {value}");
        }
    }

    /// Each rule a kind can name is there, and none that no item can name.
    #[test]
    fn rules_are_those_of_the_kinds() {
        let mut named: BTreeSet<String> = BTreeSet::new();
        let signed = |kind: &str| ["UP", "DOWN", "FLAT"].map(|way| format!("{kind}_{way}"));
        let volatility = ("VOL", STOCK_VOL);
        for (kind, reading) in KINDS.iter().map(|(_, k, r)| (*k, *r)).chain([volatility]) {
            match reading {
                // A neutral polarity is always flat.
                Signed(_) if kind == "OIL" => named.extend(["OIL_FLAT".to_owned()]),
                Signed(_) => named.extend(signed(kind)),
                Level(borders, last) => {
                    assert!(borders.windows(2).all(|pair| pair[0].0 < pair[1].0), "{kind}");
                    let names = borders.iter().map(|(_, name)| *name).chain([last]);
                    named.extend(names.map(|name| format!("{kind}_{name}")));
                }
            }
        }
        named.extend(signed("HEADLINE"));
        for section in domain::Section::ALL {
            named.extend(signed(&section.key().to_uppercase()));
        }
        let there: BTreeSet<String> = rules().into_iter().map(str::to_owned).collect();
        assert_eq!(named, there);
    }
}
