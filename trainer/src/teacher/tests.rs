//! The teacher on a read with every kind of evidence.

use chrono::{DateTime, Utc};
use domain::{Feature, Polarity, Provenance, Section, Snippet, Unit};

use super::*;

fn provenance() -> Provenance {
    let at: DateTime<Utc> = "2022-09-30T20:00:00Z".parse().unwrap();
    Provenance { source: "test".into(), url: "pkg:test".into(), event_time: at, known_at: at }
}

fn feature(name: &str, title: &str, section: Section, unit: Unit, value: f64) -> Feature {
    Feature {
        name: name.into(),
        title: title.into(),
        short: title.into(),
        section,
        unit,
        polarity: Polarity::Good,
        window_days: None,
        value,
        coverage: false,
        note: None,
        provenance: provenance(),
    }
}

fn read(index_month: f64, vix: f64) -> AsOfRead {
    let mut frame: Vec<Feature> = Section::ALL
        .map(|section| Feature {
            coverage: true,
            ..feature(&format!("{section}_coverage"), "records known", section, Unit::Count, 0.0)
        })
        .into();
    frame.extend([
        feature(
            "index_ret_21d",
            "S&P 500 21-day return",
            Section::Market,
            Unit::Change,
            index_month,
        ),
        feature("index_ret_252d", "S&P 500 252-day return", Section::Market, Unit::Change, 0.12),
        feature("vix_level", "VIX level", Section::Market, Unit::Level, vix),
        feature("news_tone_7d", "mean news tone over 7 days", Section::Sentiment, Unit::Score, 0.3),
    ]);
    let text = "Apple lowers iPhone production";
    let snippets = [Snippet {
        section: Section::Sentiment,
        text: text.into(),
        file: "news.parquet".into(),
        record_id: "n1".into(),
        column: "title".into(),
        start: 0,
        end: u32::try_from(text.len()).unwrap(),
        provenance: provenance(),
    }];
    let (ticker, as_of) = ("AAPL".parse().unwrap(), "2022-09-30".parse().unwrap());
    AsOfRead::new(ticker, "Apple".into(), as_of, Digest::of("s"), frame, &snippets).unwrap()
}

fn teacher(seed: u64, order: TeacherOrder) -> Teacher {
    // Usually the index moves by 1 to 5 % and the VIX lies from 14 to 18.
    let usual: Vec<AsOfRead> =
        (0..5).map(|i| read(0.01 + 0.01 * f64::from(i), 14.0 + f64::from(i))).collect();
    Teacher::new([("T".to_owned(), Salience::fit(&usual))].into(), seed, order)
}

fn cited(lesson: &Lesson, section: usize) -> Vec<&str> {
    let plan = &lesson.plan.sections[section];
    lesson.picks[section].iter().map(|pick| plan.choices[pick.choice].lead.as_str()).collect()
}

#[test]
fn what_is_most_unusual_is_cited_first_and_another_kind_second() {
    let teacher = teacher(1, TeacherOrder::EvidenceFirst);
    let calm = teacher.write("T", &read(-0.093, 16.0), None).unwrap();
    assert_eq!(cited(&calm, 0)[0], "The S&P 500 21-day return is -9.3%");
    assert_eq!(cited(&calm, 0)[1], "The VIX level stands at 16.0", "not the index again");
    let tense = teacher.write("T", &read(0.03, 45.0), None).unwrap();
    assert_eq!(cited(&tense, 0)[0], "The VIX level stands at 45.0");
    assert_eq!(cited(&tense, 2).len(), 2, "a text and a number");
    assert!(cited(&tense, 1)[0].starts_with("This section abstains"));
}

#[test]
fn reverse_distillation_starts_from_the_label() {
    let teacher = teacher(1, TeacherOrder::DecisionFirst);
    let read = read(-0.093, 45.0);
    let buy = teacher.write("T", &read, Some(Label::Buy)).unwrap();
    assert_eq!(cited(&buy, 0)[0], "The S&P 500 252-day return is +12.0%");
    let sell = teacher.write("T", &read, Some(Label::SSell)).unwrap();
    assert_eq!(cited(&sell, 0)[0], "The S&P 500 21-day return is -9.3%");
    let hold = teacher.write("T", &read, Some(Label::Hold)).unwrap();
    assert_eq!(cited(&hold, 0)[0], "The VIX level stands at 45.0");
}

#[test]
fn wording_varies_with_the_seed_and_is_not_repeated() {
    let read = read(-0.093, 45.0);
    let write = |seed| teacher(seed, TeacherOrder::EvidenceFirst).write("T", &read, None).unwrap();
    assert_eq!(write(1), write(1));
    let mut phrases = BTreeSet::new();
    for seed in 0..40 {
        let lesson = write(seed);
        let texts: Vec<&String> =
            lesson.picks.iter().flatten().map(|p| &p.text).filter(|t| !t.is_empty()).collect();
        assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len(), "{texts:?}");
        phrases.insert(lesson.picks[0][0].text.clone());
    }
    assert!(phrases.len() >= 4, "{phrases:?}");
}
