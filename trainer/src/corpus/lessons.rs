//! From a reference thesis to the examples of each stage.

use contract::{Pick, Plan, SectionPlan};
use domain::{AsOfRead, Label};

use super::{
    contexts::ContextRef,
    example::{Completion, Example, Freedom, Piece, Stage},
};
use crate::teacher::Lesson;

/// Returns the example of a stage; none where it has nothing to teach: the decision stage
/// without a label, the others where no section has data.
pub(crate) fn example(
    stage: Stage,
    universe: &str,
    context: &ContextRef,
    read: &AsOfRead,
    lesson: &Lesson,
) -> Option<Example> {
    let Lesson { plan, picks } = lesson;
    let label = context.label.map(|(label, _)| label);
    let mut completions = match stage {
        Stage::Decision => Vec::new(),
        Stage::Structure | Stage::Claims | Stage::Mixture => claims(stage, plan, picks),
    };
    match stage {
        Stage::Decision => completions.push(decision(plan, picks, label?)),
        Stage::Mixture => completions.extend(label.map(|label| decision(plan, picks, label))),
        Stage::Structure | Stage::Claims => {}
    }
    if completions.is_empty() {
        return None;
    }
    Some(Example {
        stage,
        ticker: read.ticker().clone(),
        as_of: read.as_of(),
        universe: universe.to_owned(),
        snapshot: read.snapshot(),
        day: plan.day.clone(),
        user: plan.user.clone(),
        completions,
        label,
        z: context.label.map(|(_, z)| z),
    })
}

/// A branch for each claim with something to choose or write in this stage.
fn claims(stage: Stage, plan: &Plan, picks: &[Vec<Pick>]) -> Vec<Completion> {
    let mut completions = Vec::new();
    for (section, picks) in plan.sections.iter().zip(picks).filter(|(s, _)| !s.is_silent()) {
        for (i, pick) in picks.iter().enumerate() {
            let completion = claim(stage, section, &picks[..i], pick, i);
            completions.extend(completion.pieces.iter().any(Piece::is_free).then_some(completion));
        }
    }
    completions
}

/// The branch of a section's claim number `i`: the opening, the code, the phrase. A code
/// stands to choice among those that its claim is limited to and that no claim before
/// it has taken, as serving samples them.
pub(crate) fn claim(
    stage: Stage,
    section: &SectionPlan,
    before: &[Pick],
    pick: &Pick,
    i: usize,
) -> Completion {
    let choice = &section.choices[pick.choice];
    let code = Piece {
        text: choice.code.to_string(),
        freedom: match stage {
            Stage::Claims | Stage::Decision => Freedom::Forced,
            Stage::Structure | Stage::Mixture => {
                let is_free = |k: &usize| before.iter().all(|pick| pick.choice != *k);
                let free = section.claims[i].clone().filter(is_free);
                let codes: Vec<char> = free.map(|k| section.choices[k].code).collect();
                if codes.len() > 1 { Freedom::Among(codes) } else { Freedom::Forced }
            }
        },
    };
    let mut pieces = vec![Piece::forced(section.open()), code];
    let rule = choice.rule.clone().filter(|_| stage != Stage::Structure);
    pieces.extend(rule.map(|rule| Piece { text: pick.text.clone(), freedom: Freedom::Rule(rule) }));
    Completion { section: Some(section.section), evidence: Some(choice.evidence), pieces }
}

/// The branch of the decision: the whole answer, then the letter of the label.
pub(crate) fn decision(plan: &Plan, picks: &[Vec<Pick>], label: Label) -> Completion {
    let letter = Piece {
        text: label.code().to_string(),
        freedom: Freedom::Among(Label::ALL.map(Label::code).into()),
    };
    let pieces = vec![Piece::forced(plan.decision(picks)), letter];
    Completion { section: None, evidence: None, pieces }
}
