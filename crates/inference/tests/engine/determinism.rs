use std::time::Duration;

use contract::Pick;
use futures::future::join_all;
use inference::{Engine, Generation, GenerationRequest};
use tokio::time::timeout;

use super::{engine, engine_with, request, sampled};

/// What must not depend on anything but the request: choices, texts and the
/// decision's logits, bit for bit.
type Identity = (Vec<Vec<Pick>>, [u32; 5]);

fn identity(generation: &Generation) -> Identity {
    (generation.picks.clone(), generation.code_logits.map(f32::to_bits))
}

async fn all(engine: &Engine, requests: &[GenerationRequest]) -> Vec<Identity> {
    let runs = requests.iter().map(|request| engine.generate(request.clone()));
    let generations = join_all(runs).await;
    generations.iter().map(|g| identity(g.as_ref().unwrap())).collect()
}

async fn alone(engine: &Engine, requests: &[GenerationRequest]) -> Vec<Identity> {
    let mut identities = Vec::new();
    for request in requests {
        identities.push(identity(&engine.generate(request.clone()).await.unwrap()));
    }
    identities
}

#[tokio::test]
async fn a_request_gives_the_same_bytes_whatever_surrounds_it() {
    // No prompt is kept, so that each is decoded where it is asked. Alone it is decoded
    // with the threads of all lanes.
    let engine = engine_with(|config| config.context.prompt_cache_bytes = 0).await;
    let requests: Vec<_> =
        (0..10).map(|i| if i % 2 == 0 { request(i) } else { sampled(i, u64::from(i)) }).collect();
    let expected = alone(&engine, &requests).await;
    assert_eq!(all(&engine, &requests[..2]).await, expected[..2], "two");
    assert_eq!(all(&engine, &requests[..7]).await, expected[..7], "seven");
    let (mut shuffled, mut reordered) = (requests.clone(), expected.clone());
    shuffled.reverse();
    reordered.reverse();
    assert_eq!(all(&engine, &shuffled).await, reordered, "ten in another order");
    // One that its caller gave up leaves nothing behind, wherever it was.
    for (i, delay) in [5, 40, 90, 150, 250, 400].into_iter().enumerate() {
        let given_up = engine.generate(request(40 + 4 * u32::try_from(i).unwrap()));
        let _ = timeout(Duration::from_millis(delay), given_up).await;
        let after = alone(&engine, &requests[i..=i]).await;
        assert_eq!(after, expected[i..=i], "given up after {delay} ms");
    }
    engine.shutdown().await;
    // Prefix, days and prompts with one thread, and with two.
    for threads in 1..=std::thread::available_parallelism().map_or(1, |n| n.get().min(2)) {
        let other = engine_with(|config| {
            config.context.lanes = 1;
            config.context.threads = u32::try_from(threads).unwrap();
        })
        .await;
        assert_eq!(all(&other, &requests).await, expected, "another worker, {threads} threads");
        // A worker that outlives the test by a moment would count as a leak.
        other.shutdown().await;
    }
}

/// A prompt that is asked again is not decoded again, and that shows nowhere
/// but in the count.
#[tokio::test]
async fn the_state_of_a_prompt_is_used_again() {
    let engine = engine_with(|config| config.context.lanes = 1).await;
    let first = engine.generate(sampled(1, 1)).await.unwrap();
    assert_eq!(first.usage.cached_tokens, 0);
    let other_seed = engine.generate(sampled(1, 2)).await.unwrap();
    assert_eq!(other_seed.usage.cached_tokens, first.usage.prompt_tokens);
    let again = engine.generate(sampled(1, 1)).await.unwrap();
    assert_eq!(again.usage.cached_tokens, first.usage.prompt_tokens);
    assert_eq!(identity(&again), identity(&first));
    // From memory, after another prompt of the same day was in the lane.
    let same_day = engine.generate(sampled(2, 1)).await.unwrap();
    let day = same_day.usage.cached_tokens;
    assert!(0 < day && day < same_day.usage.prompt_tokens, "{day}");
    let restored = engine.generate(sampled(1, 2)).await.unwrap();
    assert_eq!(restored.usage.cached_tokens, first.usage.prompt_tokens);
    assert_eq!(identity(&restored), identity(&other_seed));
    engine.shutdown().await;
    // Decoded once more, where nothing is kept.
    let engine = engine_with(|config| {
        config.context.lanes = 1;
        config.context.prompt_cache_bytes = 0;
    })
    .await;
    let decoded = engine.generate(sampled(2, 1)).await.unwrap();
    assert_eq!(decoded.usage.cached_tokens, 0);
    assert_eq!(identity(&decoded), identity(&same_day));
    let decoded = engine.generate(sampled(1, 2)).await.unwrap();
    assert_eq!(decoded.usage.cached_tokens, day);
    assert_eq!(identity(&decoded), identity(&restored));
    let other_day = engine.generate(sampled(5, 2)).await.unwrap();
    assert_eq!(other_day.usage.cached_tokens, 0);
    engine.shutdown().await;
}

#[tokio::test]
async fn the_seed_matters() {
    let engine = engine().await;
    let requests: Vec<_> = (0..6).map(|seed| sampled(1, seed)).collect();
    let mut answers = all(&engine, &requests).await;
    answers.sort_by_key(|answer| format!("{answer:?}"));
    answers.dedup();
    assert!(answers.len() > 1, "{answers:?}");
}
