//! From a thesis as text to the picks of a plan, or the reason why not.

use std::collections::BTreeMap;

use contract::{DraftClaim, Pick, Plan, SectionPlan, verify};
use domain::{AsOfRead, Section};

use super::Rejection;
use crate::corpus::Acceptor;

/// The line of a decision, which is ignored.
const DECISION: &str = "decision";

/// What ends the thoughts of models that write them down first.
const THOUGHT_END: &str = "</think>";

/// A sentence whose beginning is that of no evidence for at least these bytes cites none.
const COMMON_MIN: usize = 8;

/// Maps a thesis.
///
/// # Errors
/// Fails where a rule of the plan does not compile; a thesis that cannot be kept is the
/// inner error.
pub(super) fn picks(
    read: &AsOfRead,
    plan: &Plan,
    text: &str,
    acceptor: &mut Acceptor,
) -> anyhow::Result<Result<Vec<Vec<Pick>>, Rejection>> {
    let claims = match lines(text) {
        Ok(claims) => claims,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut picks = Vec::new();
    for section in &plan.sections {
        if section.is_silent() {
            picks.push(vec![Pick { choice: 0, text: String::new() }]);
            continue;
        }
        let none = Vec::new();
        let claims = claims.get(&section.section).unwrap_or(&none);
        let own = match section_picks(read, section, claims) {
            Ok(own) => own,
            Err(reason) => return Ok(Err(reason)),
        };
        for pick in &own {
            let rule = section.choices[pick.choice].rule.as_deref();
            let is_accepted = match rule {
                None => pick.text.is_empty(),
                Some(rule) => acceptor.accepts(plan.grammar(rule), &pick.text)?,
            };
            if !is_accepted {
                return Ok(Err(Rejection::Grammar));
            }
        }
        picks.push(own);
    }
    Ok(Ok(picks))
}

/// The claims of each section. A line that names none and begins with a code goes on with the
/// section before it, as in [`Plan::decision`].
fn lines(text: &str) -> Result<BTreeMap<Section, Vec<&str>>, Rejection> {
    let text = text.rsplit_once(THOUGHT_END).map_or(text, |(_, answer)| answer);
    let mut claims: BTreeMap<Section, Vec<&str>> = BTreeMap::new();
    let mut open: Option<Section> = None;
    for line in text.lines() {
        let line = line.trim().trim_start_matches(['-', '*', '`']).trim();
        if line.is_empty() {
            continue;
        }
        let Some((name, claim)) = line.split_once(':') else {
            let goes_on = open.filter(|_| line.starts_with(|c: char| c.is_ascii_digit()));
            claims.entry(goes_on.ok_or(Rejection::Line)?).or_default().push(line);
            continue;
        };
        let name = name.trim();
        if name.eq_ignore_ascii_case(DECISION) {
            continue;
        }
        let mut known = Section::ALL.into_iter();
        let section = known.find(|section| section.key().eq_ignore_ascii_case(name));
        let section = section.ok_or(Rejection::Line)?;
        open = Some(section);
        claims.entry(section).or_default().push(claim.trim());
    }
    Ok(claims)
}

fn section_picks(
    read: &AsOfRead,
    section: &SectionPlan,
    claims: &[&str],
) -> Result<Vec<Pick>, Rejection> {
    if claims.len() != section.claims.len() {
        return Err(Rejection::Count);
    }
    let mut left = Vec::new();
    for claim in claims {
        let pick = pick(read, section, claim)?;
        if left.iter().any(|other: &Pick| other.choice == pick.choice) {
            return Err(Rejection::Repeated);
        }
        left.push(pick);
    }
    // A plan may want the text first, and a number then.
    let mut picks = Vec::new();
    for range in &section.claims {
        let place = left.iter().position(|pick| range.contains(&pick.choice));
        picks.push(left.remove(place.ok_or(Rejection::Evidence)?));
    }
    Ok(picks)
}

/// What a claim cites and adds to it, once it stands up to verification.
fn pick(read: &AsOfRead, section: &SectionPlan, claim: &str) -> Result<Pick, Rejection> {
    let (choice, text) = match coded(section, claim) {
        Some((choice, phrase)) => (choice, format!("{}{phrase}", section.choices[choice].lead)),
        None => (cited(section, claim).ok_or(Rejection::Evidence)?, claim.to_owned()),
    };
    let cited = &section.choices[choice];
    let draft = DraftClaim { section: section.section, evidence: cited.evidence, text };
    if verify(read, &draft).is_err() {
        return Err(Rejection::Refuted);
    }
    let phrase = draft.text.strip_prefix(&cited.lead).ok_or(Rejection::Grammar)?;
    Ok(Pick { choice, text: phrase.to_owned() })
}

/// A claim as our own model writes it: a code, and what follows.
fn coded<'c>(section: &SectionPlan, claim: &'c str) -> Option<(usize, &'c str)> {
    let code = claim.chars().next()?;
    let choice = section.choices.iter().position(|choice| choice.code == code)?;
    let phrase = claim.get(code.len_utf8()..)?;
    // A sentence may begin with a number.
    let is_sentence = phrase.starts_with(|c: char| c.is_alphanumeric() || "-.%".contains(c));
    (!is_sentence).then_some((choice, phrase))
}

/// The evidence a whole sentence begins like, the first of equals.
fn cited(section: &SectionPlan, claim: &str) -> Option<usize> {
    let common = |lead: &str| lead.bytes().zip(claim.bytes()).take_while(|(a, b)| a == b).count();
    let leads = section.choices.iter().map(|choice| common(&choice.lead));
    let best = leads.enumerate().max_by_key(|(i, common)| (*common, std::cmp::Reverse(*i)));
    best.filter(|(_, common)| *common >= COMMON_MIN).map(|(choice, _)| choice)
}
