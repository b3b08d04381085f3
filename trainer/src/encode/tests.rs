//! Batches of a tiny random model whose tokens are bytes.

use gradients::{
    AdapterConfig, Architecture, Engine, EngineConfig, Model, RandomWeights, Weights,
    ggml::{Device, DeviceKind, Kind},
    tiny,
};
use serde_json::{Value, json};

use super::*;

const RULE: &str = "INDEX_UP";
const DAY: &str = "The index rose 4 %.\n";
const USER: &str = "AAPL fell 2 %.\n";

struct Fixture {
    encoder: Encoder,
    engine: Engine,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("base.gguf");
        let weights = RandomWeights { shape: tiny(Architecture::Qwen3), kind: Kind::F32, seed: 4 };
        weights.write_gguf(&path).unwrap();
        let encoder = Encoder::load(&path, ChatTemplate::Chatml, 4_096).unwrap();
        let backend = Device::first(DeviceKind::Cpu).unwrap().open(1).unwrap();
        let config = AdapterConfig { rank: 2, alpha: 2.0, seed: 5 };
        let model = Model::load(&backend, &Weights::Random(weights), config, false).unwrap();
        let config = EngineConfig { is_checkpointed: true, head_rows: 32 };
        Self { encoder, engine: Engine::new(model, config).unwrap() }
    }

    fn trace(&mut self, written: &[Written<'_>]) -> anyhow::Result<Traced> {
        self.encoder.trace(DAY, USER, written)
    }

    /// What is asked, and the log-probability of each.
    fn evaluate(&mut self, traced: &Traced) -> (Vec<Asked>, Vec<f32>) {
        let Encoded { batch, asked } = traced.batch(|_, _| Weight::default()).unwrap();
        (asked, self.engine.evaluate(&batch).unwrap().log_probs)
    }
}

fn completion(section: Option<&str>, pieces: Value) -> Completion {
    let evidence = section.map(|_| 1);
    serde_json::from_value(json!({ "section": section, "evidence": evidence, "pieces": pieces }))
        .unwrap()
}

fn claim(text: &str) -> Completion {
    let pieces = json!([
        { "text": "market:", "freedom": "forced" },
        { "text": "1", "freedom": { "among": ["1", "2"] } },
        { "text": text, "freedom": { "rule": RULE } },
    ]);
    completion(Some("market"), pieces)
}

fn decision(letter: &str) -> Completion {
    let pieces = json!([
        { "text": "market:1, up.\ndecision:", "freedom": "forced" },
        { "text": letter, "freedom": { "among": ["A", "B", "C", "D", "E"] } },
    ]);
    completion(None, pieces)
}

const fn written<'a>(completion: &'a Completion, phrase: &'a [u32]) -> Written<'a> {
    Written { sample: 0, completion, phrase, alternative: None }
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-4, "{found:?} {expected:?}");
    }
}

#[test]
fn a_phrase_is_followed_in_the_tokens_it_was_written_in() {
    let mut fixture = Fixture::new();
    let phrases = contract::phrases(RULE);
    let claim = claim(&phrases[0]);
    let by_text = fixture.encoder.steps(&claim, None).unwrap();
    // The opening, the code, the phrase.
    let opening = fixture.encoder.prompts.text("market:").len();
    let tokens: Vec<u32> = by_text.iter().skip(opening + 1).map(|step| step.token).collect();
    let traced = fixture.trace(&[written(&claim, &tokens)]).unwrap();
    let (asked, found) = fixture.evaluate(&traced);
    assert_eq!(asked[0].kind, ChoiceKind::Evidence);
    assert!(asked.len() > 1 && asked[1..].iter().all(|asked| asked.kind == ChoiceKind::Phrase));
    assert_eq!(traced.choices(0), asked.len());
    let own = Branch::new(0, by_text, None).into_iter().collect();
    let own = fixture.encoder.traced(DAY, USER, own).unwrap();
    assert_near(&found, &fixture.evaluate(&own).1);
    assert!(found.iter().all(|log_prob| *log_prob < 0.0));

    let refused = |tokens: &[u32], fixture: &mut Fixture| {
        let error = fixture.trace(&[written(&claim, tokens)]).unwrap_err().to_string();
        assert!(error.contains("does not accept the phrase by rule INDEX_UP"), "{error}");
    };
    refused(&tokens[..tokens.len() - 2], &mut fixture);
    refused(&[&tokens[..], &tokens[..1]].concat(), &mut fixture);
    let mut other = tokens.clone();
    other[1] += 1;
    refused(&other, &mut fixture);
}

#[test]
fn an_alternative_is_asked_for_in_the_same_place() {
    let mut fixture = Fixture::new();
    let claim = claim(&contract::phrases(RULE)[1]);
    let letters = ["A", "C", "E"].map(decision);
    let alone: Vec<f32> = letters
        .iter()
        .map(|letter| {
            let traced = fixture.trace(&[written(letter, &[])]).unwrap();
            let (asked, found) = fixture.evaluate(&traced);
            assert_eq!((asked.len(), asked[0].kind), (1, ChoiceKind::Decision));
            found[0]
        })
        .collect();
    // Two samples, a claim between them, and the realised label beside each.
    let steps = fixture.encoder.steps(&claim, None).unwrap();
    let opening = fixture.encoder.prompts.text("market:").len();
    let tokens: Vec<u32> = steps.iter().skip(opening + 1).map(|step| step.token).collect();
    let beside =
        |sample, completion| Written { sample, alternative: Some('E'), ..written(completion, &[]) };
    let claimed = Written { sample: 1, ..written(&claim, &tokens) };
    let all = [beside(0, &letters[0]), claimed, beside(1, &letters[1])];
    let traced = fixture.trace(&all).unwrap();
    assert_eq!(traced.choices(0), 1);
    assert!(traced.choices(1) > 2);
    let (asked, found) = fixture.evaluate(&traced);
    let of = |sample, is_alternative| -> Vec<f32> {
        let is_it = |asked: &Asked| {
            let Asked { kind, .. } = *asked;
            (asked.sample, kind, asked.is_alternative)
                == (sample, ChoiceKind::Decision, is_alternative)
        };
        asked.iter().zip(&found).filter(|(asked, _)| is_it(asked)).map(|(_, p)| *p).collect()
    };
    assert_near(&of(0, false), &alone[..1]);
    assert_near(&of(1, false), &alone[1..2]);
    for sample in 0..2 {
        assert_near(&of(sample, true), &alone[2..]);
    }
    // Each target is weighed by its number.
    let mut numbers = Vec::new();
    traced
        .batch(|k, asked| {
            numbers.push((k, asked));
            Weight::default()
        })
        .unwrap();
    let expected: Vec<(usize, Asked)> = asked.into_iter().enumerate().collect();
    assert_eq!(numbers, expected);
}
