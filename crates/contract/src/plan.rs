//! What the model may choose and write for one read.
//!
//! The sections of a thesis do not depend on each other, so each is decoded as
//! branches of the prompt: the model first answers with the code of the
//! evidence to cite, then reads it in words a grammar allows. What follows from
//! the citation (the name of a number, its value, the words of a text) is
//! spliced in and not decoded. No two claims cite the same item.

use std::{collections::BTreeSet, fmt::Write as _, ops::Range};

use domain::{AsOfRead, EvidenceId, EvidenceItem, EvidenceKind, Feature, Section, Snippet, Unit};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    phrases::{self, PHRASES},
    prompt::{Prompt, one_line, render},
};

/// What evidence is cited by: one token of the model each, so a section offers
/// at most nine items.
const CODES: [char; 9] = ['1', '2', '3', '4', '5', '6', '7', '8', '9'];

/// Claims of a section with that much evidence.
const CLAIMS_MAX: usize = 2;

/// Where the model has a choice in one thesis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The evidence every ticker has on that day, as the model reads it.
    pub day: String,
    /// The evidence about this ticker, which follows.
    pub user: String,
    /// The Lark rules (llguidance dialect) that [`Choice::rule`] names, a line each.
    pub rules: String,
    /// The sections in writing order.
    pub sections: Vec<SectionPlan>,
}

/// The choices of one section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionPlan {
    /// The section.
    pub section: Section,
    /// What may be cited.
    pub choices: Vec<Choice>,
    /// For each claim the choices it is limited to.
    pub claims: Vec<Range<usize>>,
}

/// One item that may be cited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The item.
    pub evidence: EvidenceId,
    /// What the model answers to cite it.
    pub code: char,
    /// How a claim on it begins.
    pub lead: String,
    /// Rule of what the model writes after that; none where nothing is left to say.
    pub rule: Option<String>,
}

/// What the model chose and wrote for one claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// Index into [`SectionPlan::choices`].
    pub choice: usize,
    /// What was written after the choice.
    pub text: String,
}

/// A claim before anything is spliced in around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftClaim {
    /// The section that makes the claim.
    pub section: Section,
    /// The evidence it cites.
    pub evidence: EvidenceId,
    /// The sentence.
    pub text: String,
}

/// The picks are not those of the plan: with a sound decoder that cannot happen.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("what was decoded for section {section} does not fit its plan")]
pub struct PickError {
    section: Section,
}

/// Plans the thesis of a read. The same read gives the same bytes.
#[must_use]
pub fn plan(read: &AsOfRead) -> Plan {
    let Prompt { day, user, .. } = render(read);
    let sections = Section::ALL.map(|section| section_plan(read, section)).to_vec();
    let choices = sections.iter().flat_map(|section| &section.choices);
    let named: BTreeSet<&String> = choices.filter_map(|choice| choice.rule.as_ref()).collect();
    let lines = named.into_iter().filter_map(|rule| phrases::line(PHRASES, rule));
    let rules = lines.map(|line| format!("{line}\n")).collect();
    Plan { day, user, rules, sections }
}

/// Returns the items of a section that may be cited, with their codes; prompt
/// and plan list the same.
pub(crate) fn offered(
    read: &AsOfRead,
    section: Section,
) -> impl Iterator<Item = (char, &EvidenceItem)> {
    CODES.into_iter().zip(read.section(section))
}

/// Two claims, or one where there is a single item. A section with texts and
/// numbers cites one of each, the text first.
fn section_plan(read: &AsOfRead, section: Section) -> SectionPlan {
    let choices: Vec<Choice> =
        offered(read, section).map(|(code, item)| choice(code, item)).collect();
    let is_text = |(_, item): &(char, &EvidenceItem)| matches!(item.kind, EvidenceKind::Text(_));
    let texts = offered(read, section).filter(is_text).count();
    let (n, numbers) = (choices.len(), choices.len() - texts);
    let claims = if texts > 0 && numbers > 0 {
        vec![numbers..n, 0..numbers]
    } else {
        vec![0..n; n.min(CLAIMS_MAX)]
    };
    SectionPlan { section, choices, claims }
}

fn choice(code: char, item: &EvidenceItem) -> Choice {
    let lead = match &item.kind {
        EvidenceKind::Numeric(feature) if feature.coverage => abstention(feature),
        EvidenceKind::Numeric(feature) => {
            let counts = if feature.unit == Unit::Count { "count of " } else { "" };
            let (title, verb) = (&feature.title, phrases::verb(feature));
            format!("The {counts}{title} {verb} {}", feature.rendered())
        }
        EvidenceKind::Text(snippet) => format!("Reported: \"{}\"", reported(snippet)),
    };
    Choice { evidence: item.id, code, lead, rule: phrases::rule(item) }
}

/// A text as a claim passes it on.
pub(crate) fn reported(snippet: &Snippet) -> String {
    let text = one_line(&snippet.text).replace('"', "'");
    text.trim_end_matches('.').to_owned()
}

/// The sentence of a section that has nothing to go on.
pub(crate) fn abstention(coverage: &Feature) -> String {
    let (title, count) = (&coverage.title, coverage.rendered());
    format!("This section abstains: the count of {title} is {count}{}.", coverage.remark())
}

impl Plan {
    /// Returns the grammar of one of [`Plan::rules`]. The same rule gives the same bytes in
    /// every plan, so that it compiles once.
    #[must_use]
    pub fn grammar(&self, rule: &str) -> String {
        phrases::grammar(rule, phrases::line(&self.rules, rule).unwrap_or_default())
    }

    /// Returns the claims that `picks`, in the order of the plan, amount to.
    ///
    /// # Errors
    /// Fails where the picks do not fit the plan.
    pub fn claims(&self, picks: &[Vec<Pick>]) -> Result<Vec<DraftClaim>, PickError> {
        let mut claims = Vec::new();
        for (i, plan) in self.sections.iter().enumerate() {
            let picks = picks.get(i).filter(|picks| picks.len() == plan.claims.len());
            let picks = picks.ok_or(PickError { section: plan.section })?;
            for pick in picks {
                claims.push(plan.claim(pick)?);
            }
        }
        Ok(claims)
    }

    /// Returns what the model reads before it decides: its own answer, and the
    /// opening of the decision. A section is opened once, as in the prompt; one that is silent
    /// has nothing of its own to read, and the prompt has said what is missing.
    #[must_use]
    pub fn decision(&self, picks: &[Vec<Pick>]) -> String {
        let mut text = String::new();
        let answered = self.sections.iter().zip(picks).filter(|(plan, _)| !plan.is_silent());
        for (plan, picks) in answered {
            text.push_str(&plan.open());
            for pick in picks {
                let code = plan.choices[pick.choice].code;
                let _ = writeln!(text, "{code}{}", pick.text);
            }
        }
        text.push_str("decision:");
        text
    }
}

impl SectionPlan {
    /// Returns the claim that a pick amounts to.
    ///
    /// # Errors
    /// Fails where the pick does not fit the plan.
    pub fn claim(&self, pick: &Pick) -> Result<DraftClaim, PickError> {
        let choice = self.choices.get(pick.choice).ok_or(PickError { section: self.section })?;
        let text = format!("{}{}", choice.lead, pick.text);
        Ok(DraftClaim { section: self.section, evidence: choice.evidence, text })
    }

    /// Returns what stands before the code of the evidence.
    #[must_use]
    pub fn open(&self) -> String {
        format!("{}:", self.section)
    }

    /// Tells whether the section leaves the model nothing to choose or write.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(&self.choices[..], [Choice { rule: None, .. }])
    }
}
