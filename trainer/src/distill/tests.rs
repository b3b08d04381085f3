//! Theses as text on the made-up market.

use std::fmt::Write as _;

use lake::Snapshot;

use super::*;
use crate::{
    corpus::testing::made_up,
    teacher::{Salience, Teacher},
};

/// A context, and a thesis the teacher has written on it.
async fn context() -> (AsOfRead, Plan, Vec<Vec<Pick>>) {
    let data = made_up();
    let snapshot = Snapshot::open_universe(data.path(), "SYN10").await.unwrap();
    let ticker: Ticker = "AAPL".parse().unwrap();
    let as_of: AsOf = "2023-06-30".parse().unwrap();
    let read = snapshot.read(&ticker, as_of).await.unwrap();
    let salience = [("SYN10".to_owned(), Salience::fit([&read]))].into();
    let teacher = Teacher::new(salience, 1, crate::config::TeacherOrder::EvidenceFirst);
    let lesson = teacher.write("SYN10", &read, None).unwrap();
    (read, lesson.plan, lesson.picks)
}

/// The codes and phrases of a thesis, a line each.
fn coded(plan: &Plan, picks: &[Vec<Pick>]) -> String {
    let mut text = String::new();
    for (section, picks) in plan.sections.iter().zip(picks).filter(|(s, _)| !s.is_silent()) {
        for pick in picks {
            let code = section.choices[pick.choice].code;
            let _ = writeln!(text, "{}{code}{}", section.open(), pick.text);
        }
    }
    text + "decision:"
}

/// The sentences of a thesis, a line each.
fn sentences(plan: &Plan, picks: &[Vec<Pick>]) -> String {
    let claims = plan.claims(picks).unwrap();
    claims.iter().map(|claim| format!("{}: {}\n", claim.section, claim.text)).collect()
}

#[tokio::test]
async fn codes_and_sentences_map_to_the_same_picks() {
    let (read, plan, picks) = context().await;
    let mut acceptor = Acceptor::new().unwrap();
    let mut map = |text: &str| map::picks(&read, &plan, text, &mut acceptor).unwrap();
    let coded = coded(&plan, &picks);
    assert_eq!(map(&coded), Ok(picks.clone()));
    assert_eq!(map(&plan.decision(&picks)), Ok(picks.clone()));
    let sentences = sentences(&plan, &picks);
    assert_eq!(map(&sentences), Ok(picks.clone()));
    // As other models frame their answers, in any order.
    let reversed: Vec<String> = sentences.lines().rev().map(|line| format!("- {line}")).collect();
    let framed = format!("<think>market: up</think>\n\n{}\nDecision: Buy", reversed.join("\n"));
    let mut found = map(&framed).unwrap();
    let mut expected = picks;
    found.iter_mut().chain(&mut expected).for_each(|own| own.sort_by_key(|pick| pick.choice));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_serving_could_not_have_said_is_rejected_by_its_reason() {
    let (read, plan, picks) = context().await;
    let mut acceptor = Acceptor::new().unwrap();
    let mut check = |text: &str, expected| {
        let found = map::picks(&read, &plan, text, &mut acceptor).unwrap();
        assert_eq!(found, Err(expected), "{text}");
    };
    let coded = coded(&plan, &picks);
    let whole = sentences(&plan, &picks);
    let first = whole.lines().next().unwrap();
    let market = coded.lines().find(|line| line.starts_with("market:")).unwrap();
    let phrase = market.strip_prefix("market:").unwrap().get(1..).unwrap();
    check("The market rose", Rejection::Line);
    check(&format!("{coded}\nweather:1, fine."), Rejection::Line);
    check(&coded.replacen(market, "", 1), Rejection::Count);
    check(&coded.replacen(market, &format!("market:Z{phrase}"), 1), Rejection::Evidence);
    check(&coded.replacen(market, "market: Nobody knows.", 1), Rejection::Evidence);
    // The same evidence in both claims of the section.
    let own: Vec<&str> = coded.lines().filter(|line| line.starts_with("market:")).collect();
    assert_eq!(own.len(), 2);
    check(&coded.replacen(own[1], own[0], 1), Rejection::Repeated);
    check(&whole.replacen(first, &format!("{first} It is up 97.3 %."), 1), Rejection::Refuted);
    let free = format!("{} and there is more to say.", first.trim_end_matches('.'));
    check(&whole.replacen(first, &free, 1), Rejection::Grammar);
}

#[test]
fn counts_name_their_reasons() {
    let mut counts = Counts { kept: 3, ..Counts::default() };
    assert_eq!(counts.to_string(), "3 theses kept");
    counts.reject(Rejection::Grammar, 2);
    counts.reject(Rejection::Line, 1);
    counts.reject(Rejection::Count, 0);
    let expected = "3 theses kept; rejected: 1 for a line without a section, 2 for a claim \
                    serving could not write";
    assert_eq!(counts.to_string(), expected);
}
