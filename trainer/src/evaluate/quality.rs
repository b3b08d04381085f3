//! What one model's theses are like.

use std::collections::{BTreeMap, BTreeSet};

use contract::{DraftClaim, verify};
use domain::Section;
use serde::{Deserialize, Serialize};

use super::shares;
use crate::held_out::{Held, Scored};

/// The theses of one model over some contexts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quality {
    /// Mean over theses of each number that every one has: the parts of the reward, and the
    /// log-loss of the decision as the model has it.
    pub(crate) means: BTreeMap<String, f64>,
    pub(crate) claims: Claims,
    pub(crate) sections: Sections,
    pub(crate) phrases: Phrases,
    /// Shares of the labels decided on.
    pub(crate) decisions: BTreeMap<String, f64>,
}

/// Claims, by what verification says of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) made: u32,
    /// Of those made, claims that only say that there is no data.
    pub(crate) abstained: u32,
    /// Of those made, claims that stand up to their evidence.
    pub(crate) upheld: u32,
    /// Upheld of those made.
    pub(crate) correctness: f64,
}

/// Sections that make claims, and shares of those with a fault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sections {
    pub(crate) made: u32,
    /// Two claims cite the same evidence or have the same text.
    pub(crate) duplicate_share: f64,
    /// A claim has no text, or adds none to the evidence it should read.
    pub(crate) empty_share: f64,
}

/// Words the model adds to evidence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Phrases {
    /// Different ones.
    pub(crate) distinct: usize,
    /// Share of the most used phrase of a rule, mean over claims.
    pub(crate) most_used_share: f64,
    pub(crate) rules: BTreeMap<String, RulePhrases>,
}

/// Phrases of one rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RulePhrases {
    pub(crate) claims: u32,
    /// Phrases the rule allows.
    pub(crate) offered: usize,
    pub(crate) distinct: usize,
    pub(crate) most_used: String,
    pub(crate) most_used_share: f64,
}

impl Quality {
    /// Counts over theses, each of its context; `means` are taken over the same.
    pub(super) fn of(theses: &[(&Held, &Scored)], means: BTreeMap<String, f64>) -> Self {
        let labels = theses.iter().map(|(_, scored)| scored.probs.argmax());
        Self {
            means,
            claims: Claims::of(theses),
            sections: Sections::of(theses),
            phrases: Phrases::of(theses),
            decisions: shares(labels),
        }
    }
}

impl Claims {
    fn of(theses: &[(&Held, &Scored)]) -> Self {
        let mut counts = Self::default();
        for (held, scored) in theses {
            for claim in &scored.claims {
                let verdict = verify(&held.case.read, claim);
                counts.made += 1;
                counts.upheld += u32::from(verdict.is_ok());
                counts.abstained += u32::from(verdict.is_ok_and(|item| item.is_absence()));
            }
        }
        counts.correctness = share(counts.upheld, counts.made);
        counts
    }
}

impl Sections {
    fn of(theses: &[(&Held, &Scored)]) -> Self {
        let (mut made, mut duplicate, mut empty) = (0, 0, 0);
        for (held, scored) in theses {
            let own = held.case.plan.sections.iter().zip(&scored.generation.picks);
            for (plan, picks) in own {
                let claims: Vec<&DraftClaim> = of_section(&scored.claims, plan.section);
                let is_wordless = picks.iter().any(|pick| {
                    let rule =
                        plan.choices.get(pick.choice).and_then(|choice| choice.rule.as_ref());
                    rule.is_some() && pick.text.trim().is_empty()
                });
                let is_empty = claims.iter().any(|claim| claim.text.trim().is_empty());
                made += u32::from(!claims.is_empty());
                duplicate += u32::from(has_duplicate(&claims));
                empty += u32::from(is_empty || is_wordless);
            }
        }
        Self { made, duplicate_share: share(duplicate, made), empty_share: share(empty, made) }
    }
}

fn of_section(claims: &[DraftClaim], section: Section) -> Vec<&DraftClaim> {
    claims.iter().filter(|claim| claim.section == section).collect()
}

fn has_duplicate(claims: &[&DraftClaim]) -> bool {
    let evidence: BTreeSet<_> = claims.iter().map(|claim| claim.evidence).collect();
    let texts: BTreeSet<_> = claims.iter().map(|claim| claim.text.trim()).collect();
    evidence.len().min(texts.len()) < claims.len()
}

impl Phrases {
    fn of(theses: &[(&Held, &Scored)]) -> Self {
        let mut used: BTreeMap<&str, BTreeMap<&str, u32>> = BTreeMap::new();
        for (held, scored) in theses {
            for (plan, picks) in held.case.plan.sections.iter().zip(&scored.generation.picks) {
                for pick in picks {
                    let choice = plan.choices.get(pick.choice);
                    if let Some(rule) = choice.and_then(|choice| choice.rule.as_deref()) {
                        *used.entry(rule).or_default().entry(&pick.text).or_default() += 1;
                    }
                }
            }
        }
        let distinct: BTreeSet<&str> = used.values().flat_map(BTreeMap::keys).copied().collect();
        let rules: BTreeMap<String, RulePhrases> =
            used.iter().map(|(rule, texts)| ((*rule).to_owned(), rule_of(rule, texts))).collect();
        let claims: u32 = rules.values().map(|rule| rule.claims).sum();
        let weighted = rules.values().map(|rule| rule.most_used_share * f64::from(rule.claims));
        let most_used_share = weighted.sum::<f64>() / f64::from(claims.max(1));
        Self { distinct: distinct.len(), most_used_share, rules }
    }
}

fn rule_of(rule: &str, texts: &BTreeMap<&str, u32>) -> RulePhrases {
    let claims = texts.values().sum();
    // The first of equals.
    let most = texts.iter().rev().max_by_key(|(_, times)| **times);
    let (text, times) = most.map_or(("", 0), |(text, times)| (*text, *times));
    RulePhrases {
        claims,
        offered: contract::phrases(rule).len(),
        distinct: texts.len(),
        most_used: text.to_owned(),
        most_used_share: share(times, claims),
    }
}

fn share(part: u32, whole: u32) -> f64 {
    f64::from(part) / f64::from(whole.max(1))
}

#[cfg(test)]
mod tests {
    use domain::EvidenceId;

    use super::*;

    #[test]
    fn a_section_repeats_itself_in_evidence_or_in_text() {
        let claim = |evidence, text: &str| DraftClaim {
            section: Section::Market,
            evidence: EvidenceId(evidence),
            text: text.to_owned(),
        };
        for (first, second, expected) in [
            (claim(1, "up"), claim(2, "down"), false),
            (claim(1, "up"), claim(1, "down"), true),
            (claim(1, "up"), claim(2, "up "), true),
        ] {
            assert_eq!(has_duplicate(&[&first, &second]), expected, "{second:?}");
        }
    }

    #[test]
    fn the_most_used_phrase_is_the_first_of_equals() {
        let found = rule_of("INDEX_FLAT", &[("a", 2), ("b", 2), ("c", 1)].into());
        assert_eq!((found.most_used.as_str(), found.claims, found.distinct), ("a", 5, 3));
        assert_eq!((found.most_used_share, found.offered), (0.4, 3));
    }
}
