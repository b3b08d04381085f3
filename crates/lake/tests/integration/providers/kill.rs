//! A process that fetches is killed at random moments.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use domain::FixedClock;
use indicatif::ProgressBar;
use lake::{Ask, FetchOptions, Provider, ProviderList, RawArchive, RetryPolicy, fetch_provider};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Bench, NOW, Step, body, chart_of, route};

const ROUNDS: usize = 12;
const SYMBOLS: usize = 40;
/// Tell the child process where to fetch from and to.
const URL: &str = "R2R_TEST_FETCH_URL";
const DIR: &str = "R2R_TEST_FETCH_DIR";

fn symbols() -> Vec<String> {
    (0..SYMBOLS).map(|n| format!("T{n}")).collect()
}

fn provider() -> Provider {
    let mut provider = ProviderList::builtin().unwrap().get("yahoo").unwrap().clone();
    provider.requests_per_minute = 60_000.try_into().unwrap();
    provider.burst = 1000.try_into().unwrap();
    provider
}

async fn fetch(dir: &Path, url: &str) -> lake::FetchReport {
    let ask = Ask { symbols: symbols(), from: None, to: None };
    fetch_provider(&FetchOptions {
        data_dir: dir,
        provider: &provider(),
        ask: &ask,
        base_url: Some(url),
        refresh: false,
        contact: None,
        env: &|_| None,
        retry: RetryPolicy::default(),
        seed: 1,
        clock: &FixedClock(NOW.parse().unwrap()),
        progress: &ProgressBar::hidden(),
    })
    .await
    .unwrap()
}

#[tokio::test]
#[ignore = "the process that the other test kills"]
async fn the_child_that_fetches() {
    let (Ok(url), Ok(dir)) = (std::env::var(URL), std::env::var(DIR)) else {
        return;
    };
    fetch(Path::new(&dir), &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_the_archive_is_sound_and_the_next_fetch_completes_it() {
    let answer = |n: usize| vec![Step { delay_ms: 4, ..body(chart_of(&format!("T{n}"))) }];
    let routes = (0..SYMBOLS).map(|n| route(&format!("/v8/finance/chart/T{n}"), &[], answer(n)));
    let bench = Bench::start("yahoo", routes.collect()).await;
    let mut random = ChaCha8Rng::seed_from_u64(42);
    let mut midway = 0;
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "providers::kill::the_child_that_fetches", "--ignored"])
            .env(URL, &bench.url)
            .env(DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Moments are counted from the first request: a process takes its time to start.
        bench.seen();
        let mut waited = 0;
        while bench.replay.seen.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            waited += 1;
            assert!(waited < 30_000, "the child does not fetch");
        }
        tokio::time::sleep(Duration::from_micros(random.random_range(0..200_000))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let archive = RawArchive::new(dir.path(), "yahoo");
        let verified = archive.verify().unwrap();
        assert_eq!(verified.problems, [], "round {round}");
        midway += usize::from((1..SYMBOLS).contains(&verified.requests));
        let report = fetch(dir.path(), &bench.url).await;
        assert_eq!(report.kept, verified.requests, "round {round}: what was there is kept");
        assert_eq!(report.kept + report.fetched, SYMBOLS, "round {round}");
        let verified = archive.verify().unwrap();
        assert_eq!((verified.problems.len(), verified.requests), (0, SYMBOLS), "round {round}");
    }
    println!("{midway} of {ROUNDS} kills came midway");
    assert!(midway > 0, "no kill came midway");
}
