//! Corpora of real records and of the made-up market.

use std::fs;

use domain::Section;

use super::{testing::made_up, *};

/// Where `make test` has put the snapshot of R20.
fn data_dir() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join(std::env::var_os("R2R_DATA_DIR").unwrap_or_else(|| "data".into()))
}

async fn corpus(data_dir: &Path, out: &Path, sets: &[&str]) -> anyhow::Result<()> {
    corpus_in_place(data_dir, out, sets, false).await
}

async fn corpus_in_place(
    data_dir: &Path,
    out: &Path,
    sets: &[&str],
    replace: bool,
) -> anyhow::Result<()> {
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    let config = ConfigArgs { config: "default".to_owned(), sets };
    let loaded = config.load()?;
    let args =
        Args { config, data_dir: data_dir.to_owned(), out: out.to_owned(), distill: None, replace };
    build(&loaded, &args).await
}

const R20: &str = "data.sources=[{universe: R20, from: 2009-01-02, every: 150}]";
const SYN10: &str = "data.sources=[{universe: SYN10, every: 40}]";

fn examples(corpus: &Path, stage: Stage) -> Vec<(Part, Example)> {
    let corpus = Corpus::open(corpus).unwrap();
    let of = |part| corpus.examples(part, stage).unwrap().into_iter().map(move |e| (part, e));
    Part::ALL.into_iter().flat_map(of).collect()
}

/// What the contract reads from the same snapshot, the examples must have byte for byte,
/// and every free text must be one that serving could have written.
async fn check(data_dir: &Path, sets: &[&str], universe: &str) {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("corpus");
    corpus(data_dir, &out, sets).await.unwrap();
    let snapshot = lake::Snapshot::open_universe(data_dir, universe).await.unwrap();
    let mut acceptor = Acceptor::new().unwrap();
    let mixture = examples(&out, Stage::Mixture);
    assert!(mixture.len() > 60, "{}", mixture.len());
    let mut claims = 0;
    for (_, example) in &mixture {
        let read = snapshot.read(&example.ticker, example.as_of).await.unwrap();
        let plan = contract::plan(&read);
        assert_eq!((&example.day, &example.user), (&plan.day, &plan.user));
        assert_eq!(example.snapshot, snapshot.id());
        let picks: Vec<Vec<contract::Pick>> = plan
            .sections
            .iter()
            .map(|section| {
                let own = example.completions.iter().filter(|c| c.section == Some(section.section));
                let own: Vec<_> = own.map(|completion| pick(section, completion)).collect();
                // A silent section has one claim and nothing to learn.
                if own.is_empty() {
                    vec![contract::Pick { choice: 0, text: String::new() }]
                } else {
                    own
                }
            })
            .collect();
        acceptor.check(&plan, &picks).unwrap();
        let drafts = plan.claims(&picks).unwrap();
        let cited: BTreeSet<_> = drafts.iter().map(|draft| draft.evidence).collect();
        assert_eq!(cited.len(), drafts.len(), "no two claims cite the same");
        for draft in drafts {
            contract::verify(&read, &draft).unwrap();
            claims += 1;
        }
        let decision = example.completions.iter().find(|completion| completion.section.is_none());
        assert_eq!(decision.is_some(), example.label.is_some());
        if let Some((decision, label)) = decision.zip(example.label) {
            let text: String = decision.pieces.iter().map(|piece| piece.text.as_str()).collect();
            assert_eq!(text, format!("{}{}", plan.decision(&picks), label.code()));
        }
    }
    println!("{universe}: {} contexts, {claims} claims", mixture.len());
}

fn pick(section: &contract::SectionPlan, completion: &Completion) -> contract::Pick {
    let [open, code, rest @ ..] = &completion.pieces[..] else { panic!("{completion:?}") };
    assert_eq!(open.text, section.open());
    let is_code = |choice: &contract::Choice| choice.code.to_string() == code.text;
    let choice = section.choices.iter().position(is_code).unwrap();
    assert_eq!(completion.evidence, Some(section.choices[choice].evidence));
    contract::Pick { choice, text: rest.iter().map(|piece| piece.text.as_str()).collect() }
}

#[tokio::test]
async fn theses_on_real_records_are_what_serving_could_write() {
    check(&data_dir(), &[R20], "R20").await;
}

#[tokio::test]
async fn theses_on_the_made_up_market_are_what_serving_could_write() {
    check(made_up().path(), &[SYN10], "SYN10").await;
}

#[tokio::test]
async fn stages_share_contexts_and_differ_in_what_is_free() {
    let (data, temp) = (made_up(), tempfile::tempdir().unwrap());
    let out = temp.path().join("corpus");
    corpus(data.path(), &out, &[SYN10]).await.unwrap();
    let free = |example: &Example| -> Vec<Freedom> {
        let pieces = example.completions.iter().flat_map(|completion| &completion.pieces);
        pieces.filter(|piece| piece.is_free()).map(|piece| piece.freedom.clone()).collect()
    };
    let of = |stage| examples(&out, stage);
    for (_, example) in of(Stage::Structure) {
        assert!(
            free(&example).iter().all(|f| matches!(f, Freedom::Among(codes) if codes.len() > 1))
        );
    }
    for (_, example) in of(Stage::Claims) {
        assert!(free(&example).iter().all(|f| matches!(f, Freedom::Rule(_))));
    }
    for (_, example) in of(Stage::Decision) {
        assert_eq!(free(&example), [Freedom::Among(vec!['A', 'B', 'C', 'D', 'E'])]);
        assert!(example.z.is_some_and(|z| z.abs() <= 10.0));
    }
    let contexts = |stage| -> Vec<_> {
        of(stage).into_iter().map(|(part, e)| (part, e.ticker, e.as_of)).collect()
    };
    assert_eq!(contexts(Stage::Structure), contexts(Stage::Mixture));
    let unlabelled = of(Stage::Mixture).iter().filter(|(_, e)| e.label.is_none()).count();
    assert!(unlabelled > 0);
    assert_eq!(of(Stage::Decision).len() + unlabelled, of(Stage::Mixture).len());
    // Sections with texts cite one of them beside a number.
    let sections: BTreeSet<Section> = of(Stage::Structure)
        .iter()
        .flat_map(|(_, e)| e.completions.iter().filter_map(|completion| completion.section))
        .collect();
    assert!(sections.len() >= 5, "{sections:?}");
}

/// Dates of the parts do not overlap, and no label reaches the next part.
#[tokio::test]
async fn parts_are_apart_in_time() {
    let (data, temp) = (made_up(), tempfile::tempdir().unwrap());
    let out = temp.path().join("corpus");
    corpus(data.path(), &out, &["data.sources=[{universe: SYN10, every: 10}]"]).await.unwrap();
    let span = |part| {
        let examples = Corpus::open(&out).unwrap().examples(part, Stage::Mixture).unwrap();
        let dates = examples.iter().map(|example| example.as_of.date());
        (dates.clone().min().unwrap(), dates.max().unwrap())
    };
    let [train, validation, test] = Part::ALL.map(span);
    // 126 sessions are 176 days of business days or more.
    assert!((validation.0 - train.1).num_days() >= 170, "{train:?} {validation:?}");
    assert!((test.0 - validation.1).num_days() >= 170, "{validation:?} {test:?}");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() {
    let (data, temp) = (made_up(), tempfile::tempdir().unwrap());
    let manifest = async |name: &str, seed: &str| {
        let out = temp.path().join(name);
        corpus(data.path(), &out, &[SYN10, seed]).await.unwrap();
        fs::read_to_string(out.join("corpus.json")).unwrap()
    };
    let first = manifest("first", "seed=1").await;
    assert_eq!(first, manifest("again", "seed=1").await);
    assert_ne!(first, manifest("other", "seed=2").await);
}

#[tokio::test]
async fn reverse_distillation_cites_what_speaks_for_the_label() {
    let (data, temp) = (made_up(), tempfile::tempdir().unwrap());
    let agreeing = async |order: &str| {
        let out = temp.path().join(order);
        let set = format!("data.teacher={order}");
        corpus(data.path(), &out, &[SYN10, &set]).await.unwrap();
        let (mut agree, mut held_out) = (0, Vec::new());
        for (part, example) in examples(&out, Stage::Mixture) {
            if part != Part::Train {
                held_out.push(example);
                continue;
            }
            let suffix = match example.label.map(domain::Label::index) {
                Some(0 | 1) => "_DOWN",
                Some(3 | 4) => "_UP",
                _ => continue,
            };
            let pieces = example.completions.iter().flat_map(|completion| &completion.pieces);
            let is_agreeing =
                |f: &Freedom| matches!(f, Freedom::Rule(rule) if rule.ends_with(suffix));
            agree += pieces.filter(|piece| is_agreeing(&piece.freedom)).count();
        }
        (agree, held_out)
    };
    let (first, held_out) = agreeing("evidence_first").await;
    let (reverse, also_held_out) = agreeing("decision_first").await;
    assert!(reverse as f64 > 1.2 * first as f64, "{reverse} {first}");
    // Where a model is judged, citations know no label.
    assert!(!held_out.is_empty() && held_out == also_held_out);
}

#[tokio::test]
async fn a_corpus_is_there_whole_or_not_at_all() {
    let (data, temp) = (made_up(), tempfile::tempdir().unwrap());
    let out = temp.path().join("corpus");
    let begun = async {
        while fs::read_dir(temp.path()).unwrap().count() == 0 {
            tokio::task::yield_now().await;
        }
    };
    // Dropped once it has begun to write, as by Ctrl-C.
    tokio::select! {
        built = corpus(data.path(), &out, &[SYN10]) => panic!("it is done already: {built:?}"),
        () = begun => {}
    }
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    corpus(data.path(), &out, &[SYN10]).await.unwrap();
    let error = corpus(data.path(), &out, &[SYN10]).await.unwrap_err().to_string();
    assert!(error.contains("add --replace"), "{error}");
    // What is no corpus is not replaced.
    let other = temp.path().join("other");
    fs::create_dir(&other).unwrap();
    let replaced = corpus_in_place(data.path(), &other, &[SYN10], true).await;
    let error = replaced.unwrap_err().to_string();
    assert!(error.contains("is no corpus, which --replace would remove"), "{error}");
    fs::remove_dir(&other).unwrap();
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    let path = out.join("train/claims.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    text.truncate(text.len() - 2);
    fs::write(&path, text).unwrap();
    let corpus = Corpus::open(&out).unwrap();
    let error = corpus.examples(Part::Train, Stage::Claims).unwrap_err().to_string();
    assert!(error.contains("is not the file its manifest names"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let (data, temp) = (made_up(), tempfile::tempdir().unwrap());
    for (set, expected) in [
        ("data.sources=[{universe: R20}]", "cannot open universe R20"),
        (
            "data.sources=[{universe: SYN10, tickers: [IBM]}]",
            "has no ticker IBM: it has NVDA, AAPL",
        ),
        ("data.sources=[{universe: SYN10, from: 2024-01-02}]", "cannot divide the dates of SYN10"),
    ] {
        let error = corpus(data.path(), &temp.path().join("corpus"), &[set]).await.unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(expected), "{error}");
    }
}
