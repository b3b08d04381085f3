use std::time::Duration;

use inference::{EngineState, FinishReason, GenerationRequest, InferenceError};

use super::{CLAIM, SYSTEM, engine, engine_with, long_request, request, sampled};

#[tokio::test]
async fn the_output_is_a_sentence_of_the_grammar() {
    let engine = engine().await;
    for seed in 0..4 {
        let generation = engine.generate(sampled(1, seed)).await.unwrap();
        println!("{}", generation.text);
        assert_eq!(generation.finish, FinishReason::Complete);
        let rest = generation.text.strip_prefix(r#"{"e":"E"#).unwrap();
        let (digit, rest) = rest.split_at(1);
        assert!(('1'..='8').contains(&digit.chars().next().unwrap()));
        let text = rest.strip_prefix(r#"","c":""#).unwrap();
        let text = text.strip_suffix(r#".","d":""#).unwrap();
        assert!((21..=91).contains(&text.len()), "{text:?}");
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || " ,%-".contains(c)));
        let logits = generation.code_logits.unwrap();
        assert!(logits.iter().all(|logit| logit.is_finite()));
        let usage = generation.usage;
        assert!(usage.forced_tokens >= 5, "{usage:?}");
        assert!(usage.prompt_tokens > 150 && usage.prefix_tokens > 50, "{usage:?}");
        // Forced runs share a step with the token before them.
        assert!(generation.steps < usage.forced_tokens + usage.sampled_tokens + 4);
    }
    let status = engine.status();
    assert_eq!(status.state, EngineState::Ready);
    let model = status.model.unwrap();
    assert!(model.build.contains("CPU"), "{}", model.build);
    assert_eq!(model.n_vocab, 49_152);
    engine.shutdown().await;
    assert_eq!(engine.generate(request(1)).await, Err(InferenceError::ShuttingDown));
}

#[tokio::test]
async fn a_bound_on_tokens_cuts_the_text() {
    let engine = engine().await;
    let cut = GenerationRequest { max_tokens: 12, ..request(2) };
    let generation = engine.generate(cut).await.unwrap();
    assert_eq!(generation.finish, FinishReason::Length);
    assert_eq!(generation.code_logits, None);
    let usage = generation.usage;
    assert!(usage.forced_tokens + usage.sampled_tokens <= 12, "{usage:?}");
}

#[tokio::test]
async fn the_prefill_counts_as_written() {
    let engine = engine().await;
    let after = |prefill: &str, grammar: &str| GenerationRequest {
        prefill: prefill.to_owned(),
        grammar: grammar.to_owned(),
        ..request(3)
    };
    // Nothing to write: only the decision is read, from different contexts.
    let bull = engine.generate(after("Revenue exploded. Label: ", "start: \"\"")).await.unwrap();
    let bear = engine.generate(after("Total collapse. Label: ", "start: \"\"")).await.unwrap();
    assert_eq!(bull.text, "");
    assert_ne!(bull.code_logits.unwrap(), bear.code_logits.unwrap());
    // An optional tail may be written or not.
    let tail = engine.generate(after("", "start: \"ab\" (\"c\")?")).await.unwrap();
    assert!(["ab", "abc"].contains(&tail.text.as_str()), "{}", tail.text);
    assert!(tail.code_logits.is_some());
    // Characters of several tokens are whole.
    let emoji = engine.generate(after("", "start: /[😀-😏]{3}/")).await.unwrap();
    assert_eq!(emoji.text.chars().count(), 3, "{}", emoji.text);
}

#[tokio::test]
async fn content_never_becomes_a_control_token() {
    let engine = engine().await;
    let tokens = |user: &'static str, prefill: &'static str| {
        let engine = engine.clone();
        async move {
            let request = GenerationRequest {
                user: user.to_owned(),
                prefill: prefill.to_owned(),
                ..request(1)
            };
            engine.generate(request).await.unwrap().usage.prompt_tokens
        }
    };
    let plain = tokens("a", "").await;
    for marker in ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>"] {
        // As a control token a marker would be one token instead of "a".
        let marked = tokens(marker, "").await;
        assert!(marked >= plain + 2, "{marker}: {plain} and {marked} tokens");
        let marked = tokens("a", marker).await;
        assert!(marked >= plain + 2, "{marker}: {plain} and {marked} tokens");
    }
    // The same holds for the system prompt.
    let prefix = engine.status().model.unwrap().prefix_tokens;
    let marked = engine_with(|config| config.system_prompt = format!("{SYSTEM}<|im_end|>")).await;
    let marked = marked.status().model.unwrap().prefix_tokens;
    assert!(marked >= prefix + 3, "{prefix} and {marked} tokens");
}

#[tokio::test]
async fn refuses_what_cannot_be_served() {
    let engine = engine().await;
    let long = GenerationRequest { user: "revenue up ".repeat(1_500), ..request(1) };
    let error = engine.generate(long).await.unwrap_err();
    let InferenceError::PromptTooLong { prompt_tokens, max_tokens, limit } = error else {
        panic!("{error:?}");
    };
    assert!(prompt_tokens > 2_304 && max_tokens == 128 && limit == 2_304);

    let grammar = |text: &str| GenerationRequest { grammar: text.to_owned(), ..request(1) };
    for bad in ["", "start: missing", "start: /[/", "nothing"] {
        let error = engine.generate(grammar(bad)).await.unwrap_err();
        assert!(matches!(error, InferenceError::Grammar { .. }), "{bad:?}: {error:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let parameter = |change: fn(&mut GenerationRequest)| {
        let mut request = request(1);
        change(&mut request);
        request
    };
    for bad in [
        parameter(|r| r.sampling.temperature = f32::NAN),
        parameter(|r| r.sampling.min_p = 1.5),
        parameter(|r| r.max_tokens = 0),
        parameter(|r| r.codes = Some(['A', 'B', 'C', 'D', '😀'])),
    ] {
        let error = engine.generate(bad).await.unwrap_err();
        assert!(matches!(error, InferenceError::Parameter { .. }), "{error:?}");
    }
    assert!(engine.generate(grammar(CLAIM)).await.is_ok());
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
