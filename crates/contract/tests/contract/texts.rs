//! Snapshots of what the model reads, chooses from and decides on.

use contract::{Pick, plan, render};

use crate::sample;

#[test]
fn prompt() {
    let prompt = render(&sample::read());
    insta::assert_snapshot!("system", prompt.system);
    insta::assert_snapshot!("user", format!("{}{}", prompt.day, prompt.user));
}

#[test]
fn the_decision_rests_on_the_answer() {
    let plan = plan(&sample::read());
    let picks: Vec<Vec<Pick>> = plan
        .sections
        .iter()
        .map(|section| {
            let pick = |claim: &std::ops::Range<usize>| {
                let written = section.choices[claim.start].rule.as_ref().map(|_| ", as read.");
                Pick { choice: claim.start, text: written.unwrap_or_default().to_owned() }
            };
            section.claims.iter().map(pick).collect()
        })
        .collect();
    insta::assert_snapshot!("decision", plan.decision(&picks));
}
