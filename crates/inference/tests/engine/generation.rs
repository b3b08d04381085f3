use std::{collections::BTreeSet, time::Duration};

use domain::Section;
use inference::{EngineState, GenerationRequest, InferenceError};

use super::{SYSTEM, engine, engine_with, long_request, only, request, sampled, with_section};

#[tokio::test]
async fn the_answer_is_one_of_the_plan() {
    let engine = engine().await;
    for seed in 0..4 {
        let request = sampled(1, seed);
        let generation = engine.generate(request.clone()).await.unwrap();
        println!("{}", request.plan.decision(&generation.picks));
        assert_eq!(generation.picks.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 2]);
        for (plan, picks) in request.plan.sections.iter().zip(&generation.picks) {
            let distinct: BTreeSet<usize> = picks.iter().map(|pick| pick.choice).collect();
            assert_eq!(distinct.len(), picks.len(), "{picks:?}");
            for pick in picks {
                if plan.is_silent() {
                    assert_eq!(pick.text, "");
                    continue;
                }
                let text = pick.text.strip_prefix(", ").unwrap().strip_suffix('.').unwrap();
                assert!((11..=41).contains(&text.len()), "{text:?}");
                assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || " ,%-".contains(c)));
            }
        }
        assert!(generation.code_logits.iter().all(|logit| logit.is_finite()));
        let usage = generation.usage;
        assert!(usage.sampled_tokens >= 5 && usage.decision_tokens > 30, "{usage:?}");
        assert!(usage.prompt_tokens > 100 && usage.prefix_tokens > 50, "{usage:?}");
        // The five claims are written side by side.
        let written = usage.forced_tokens + usage.sampled_tokens;
        let told: Vec<usize> = generation.tokens.iter().flatten().map(Vec::len).collect();
        assert_eq!(told.iter().sum::<usize>(), written as usize, "{told:?}");
        let steps = u32::try_from(generation.step_tokens.len()).unwrap();
        assert!(steps < written / 2 + 12, "{steps} for {written}");
    }
    let status = engine.status();
    assert_eq!(status.state, EngineState::Ready);
    let model = status.model;
    assert!(model.build.contains("CPU"), "{}", model.build);
    assert_eq!(model.n_vocab, 49_152);
    engine.shutdown().await;
    assert_eq!(engine.generate(request(1)).await, Err(InferenceError::ShuttingDown));
}

#[tokio::test]
async fn a_claim_beyond_its_bound_is_an_error_and_harms_no_other() {
    let engine = engine_with(|config| config.context.lanes = 1).await;
    let expected = engine.generate(request(3)).await.unwrap();
    for max_tokens in 1..=3 {
        let cut = GenerationRequest { max_tokens, ..request(2) };
        let error = engine.generate(cut).await.unwrap_err();
        assert_eq!(error, InferenceError::Unfinished { max_tokens });
        let after = engine.generate(request(3)).await.unwrap();
        assert_eq!(
            (after.picks, after.code_logits),
            (expected.picks.clone(), expected.code_logits)
        );
    }
}

#[tokio::test]
async fn any_rule_can_be_written() {
    let engine = engine().await;
    let text = async |rule: &str| {
        let request = with_section(3, only(Section::Market, Some(rule)));
        let mut generation = engine.generate(request).await.unwrap();
        generation.picks.remove(0).remove(0).text
    };
    // An optional tail may be written or not.
    let tail = text("TAIL").await;
    assert!(["ab", "abc"].contains(&tail.as_str()), "{tail}");
    // Characters of several tokens are whole.
    let emoji = text("EMOJI").await;
    assert_eq!(emoji.chars().count(), 3, "{emoji}");
    // Without anything to write only the decision is read, from its context.
    let silent = |user: &str| {
        let mut request = with_section(3, only(Section::Insider, None));
        user.clone_into(&mut request.plan.user);
        request
    };
    let bull = engine.generate(silent("Revenue exploded.")).await.unwrap();
    let bear = engine.generate(silent("Total collapse.")).await.unwrap();
    assert_ne!(bull.code_logits, bear.code_logits);
}

#[tokio::test]
async fn content_never_becomes_a_control_token() {
    let engine = engine().await;
    let tokens = async |user: &str| {
        let mut request = with_section(1, only(Section::Insider, None));
        user.clone_into(&mut request.plan.user);
        engine.generate(request).await.unwrap().usage.prompt_tokens
    };
    let plain = tokens("a").await;
    for marker in ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>"] {
        // As a control token a marker would be one token instead of "a".
        let marked = tokens(marker).await;
        assert!(marked >= plain + 2, "{marker}: {plain} and {marked} tokens");
    }
    // The same holds for the system prompt.
    let prefix = engine.status().model.prefix_tokens;
    let marked = engine_with(|config| config.system_prompt = format!("{SYSTEM}<|im_end|>")).await;
    let marked = marked.status().model.prefix_tokens;
    assert!(marked >= prefix + 3, "{prefix} and {marked} tokens");
}

#[tokio::test]
async fn refuses_what_cannot_be_served() {
    let engine = engine().await;
    let parameter = |change: fn(&mut GenerationRequest)| {
        let mut request = request(1);
        change(&mut request);
        request
    };
    let long = parameter(|r| r.plan.user = "revenue up ".repeat(1_500));
    let error = engine.generate(long).await.unwrap_err();
    let InferenceError::PromptTooLong { prompt_tokens, answer_tokens, limit } = error else {
        panic!("{error:?}");
    };
    assert!(prompt_tokens > 3_000 && answer_tokens == 6 * 56 * 2 && limit == 3_072);

    for rules in ["", "SHORT: missing", "SHORT: /[/", "nothing"] {
        let mut bad = request(1);
        rules.clone_into(&mut bad.plan.rules);
        let error = engine.generate(bad).await.unwrap_err();
        assert!(matches!(error, InferenceError::Grammar { .. }), "{rules:?}: {error:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    for bad in [
        parameter(|r| r.sampling.temperature = f32::NAN),
        parameter(|r| r.sampling.min_p = 1.5),
        parameter(|r| r.max_tokens = 0),
        parameter(|r| r.codes = ['A', 'B', 'C', 'D', '😀']),
        parameter(|r| r.plan.sections[0].choices[0].code = '😀'),
    ] {
        let error = engine.generate(bad).await.unwrap_err();
        assert!(matches!(error, InferenceError::Parameter { .. }), "{error:?}");
    }
    assert!(engine.generate(request(1)).await.is_ok());
}

#[tokio::test]
async fn a_deadline_ends_the_sequence() {
    let engine = engine().await;
    let late = GenerationRequest { timeout: Duration::from_millis(150), ..long_request(1) };
    let error = engine.generate(late).await.unwrap_err();
    assert_eq!(error, InferenceError::DeadlineExceeded);
    let mut status = engine.watch();
    let idle = status.wait_for(|status| status.active == 0);
    tokio::time::timeout(Duration::from_secs(5), idle).await.unwrap().unwrap();
}
