use futures::future::join_all;
use inference::{Engine, Generation, GenerationRequest};

use super::{engine, engine_with, request, sampled, unified};

/// What must not depend on anything but the request: text and logits, bit for bit.
fn identity(generation: &Generation) -> (String, Option<[u32; 5]>) {
    let bits = generation.code_logits.map(|logits| logits.map(f32::to_bits));
    (generation.text.clone(), bits)
}

async fn all(engine: &Engine, requests: &[GenerationRequest]) -> Vec<(String, Option<[u32; 5]>)> {
    let runs = requests.iter().map(|request| engine.generate(request.clone()));
    let generations = join_all(runs).await;
    generations.iter().map(|g| identity(g.as_ref().unwrap())).collect()
}

async fn alone(engine: &Engine, requests: &[GenerationRequest]) -> Vec<(String, Option<[u32; 5]>)> {
    let mut identities = Vec::new();
    for request in requests {
        identities.push(identity(&engine.generate(request.clone()).await.unwrap()));
    }
    identities
}

fn mixed() -> Vec<GenerationRequest> {
    (0..12).map(|i| if i % 2 == 0 { request(i) } else { sampled(i, u64::from(i)) }).collect()
}

#[tokio::test]
async fn a_request_gives_the_same_bytes_alone_and_among_others() {
    let engine = engine().await;
    let requests = mixed();
    let expected = alone(&engine, &requests).await;
    assert_eq!(alone(&engine, &requests[..3]).await, expected[..3], "repeated");
    assert_eq!(all(&engine, &requests[..2]).await, expected[..2], "two");
    assert_eq!(all(&engine, &requests[..8]).await, expected[..8], "eight");
    assert_eq!(all(&engine, &requests).await, expected, "twelve on eight sequences");
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(2));
    let threads = u32::try_from(threads).unwrap();
    let other = engine_with(|config| config.context.threads = threads).await;
    assert_eq!(all(&other, &requests[..4]).await, expected[..4], "another worker and threads");
    // A worker that outlives the test by a moment would count as a leak.
    other.shutdown().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn the_seed_matters() {
    let engine = engine().await;
    let requests: Vec<_> = (0..6).map(|seed| sampled(1, seed)).collect();
    let mut texts = all(&engine, &requests).await;
    texts.sort();
    texts.dedup();
    assert!(texts.len() > 1, "{texts:?}");
}

/// The other mode is held to the grammar only; how far it is from identical
/// is printed.
#[tokio::test]
async fn a_unified_cache_serves_too() {
    let engine = engine_with(|config| config.context = unified(config.context)).await;
    let requests = mixed();
    let expected = alone(&engine, &requests[..8]).await;
    assert_eq!(alone(&engine, &requests[..3]).await, expected[..3], "repeated");
    let together = all(&engine, &requests[..8]).await;
    let same = together.iter().zip(&expected).filter(|(a, b)| a == b).count();
    let same_text = together.iter().zip(&expected).filter(|(a, b)| a.0 == b.0).count();
    println!("unified: {same} of 8 identical, {same_text} of 8 with the same text");
}
