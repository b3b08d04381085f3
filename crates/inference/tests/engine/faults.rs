use std::time::{Duration, Instant};

use futures::future::join_all;
use inference::{ContextConfig, Engine, EngineState, InferenceError, Priority};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{sleep, timeout};

use super::{engine, engine_with, long_request, request};

fn signal(engine: &Engine, signal: Signal) {
    let pid = engine.status().worker_pid.unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Theses decoded at the same time by default.
fn lanes() -> u32 {
    ContextConfig::default().lanes
}

async fn wait_for_active(engine: &Engine, active: u32) {
    let mut status = engine.watch();
    let reached = status.wait_for(|status| status.active == active);
    timeout(Duration::from_secs(20), reached).await.unwrap().unwrap();
}

/// The sum of a counter, of the samples with this outcome where one is named.
fn counter(snapshotter: &Snapshotter, name: &str, outcome: Option<&str>) -> u64 {
    let metrics = snapshotter.snapshot().into_vec();
    metrics
        .into_iter()
        .filter(|(key, ..)| key.key().name() == name)
        .filter(|(key, ..)| {
            outcome.is_none_or(|outcome| key.key().labels().any(|label| label.value() == outcome))
        })
        .map(|(_, _, _, value)| match value {
            DebugValue::Counter(n) => n,
            other => panic!("{name} is {other:?}"),
        })
        .sum()
}

#[tokio::test]
async fn a_killed_worker_is_replaced_and_its_requests_answered() {
    let engine = engine().await;
    for fault in [Signal::SIGKILL, Signal::SIGABRT] {
        let runs = join_all((0..12).map(|i| engine.generate(request(i))));
        let killer = async {
            wait_for_active(&engine, lanes()).await;
            let before = engine.status().worker_pid;
            signal(&engine, fault);
            let killed = Instant::now();
            let mut status = engine.watch();
            status
                .wait_for(|s| s.state == EngineState::Ready && s.worker_pid != before)
                .await
                .unwrap();
            killed.elapsed()
        };
        let (results, recovery) = tokio::join!(runs, killer);
        println!("{fault}: ready again after {} ms", recovery.as_millis());
        assert!(recovery < Duration::from_secs(5), "{recovery:?}");
        for result in results {
            result.unwrap();
        }
    }
    assert_eq!(engine.status().restarts, 2);
}

#[tokio::test]
async fn a_request_is_repeated_once_only() {
    let engine = engine().await;
    let run = engine.generate(long_request(1));
    let killer = async {
        for _ in 0..2 {
            wait_for_active(&engine, 1).await;
            signal(&engine, Signal::SIGKILL);
            wait_for_active(&engine, 0).await;
        }
    };
    let (result, ()) = tokio::join!(run, killer);
    assert_eq!(result, Err(InferenceError::WorkerLost));
    engine.generate(request(1)).await.unwrap();
}

#[tokio::test]
async fn a_silent_worker_is_killed() {
    let engine = engine_with(|config| config.watchdog = Duration::from_secs(1)).await;
    let run = engine.generate(long_request(1));
    let stopper = async {
        wait_for_active(&engine, 1).await;
        signal(&engine, Signal::SIGSTOP);
    };
    let (result, ()) = tokio::join!(run, stopper);
    result.unwrap();
    assert_eq!(engine.status().restarts, 1);
}

#[tokio::test]
async fn a_dropped_future_frees_its_sequence() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    let engine = engine().await;
    // While its output is decoded, and while its prompt is.
    let mut cancelled = 0;
    for delay in [400, 20] {
        let run = timeout(Duration::from_millis(delay), engine.generate(long_request(1)));
        assert!(run.await.is_err());
        let dropped = Instant::now();
        while cancelled == 0 {
            sleep(Duration::from_millis(1)).await;
            cancelled = counter(&snapshotter, "r2r_engine_requests_total", Some("cancelled"));
        }
        assert_eq!(cancelled, 1);
        cancelled = 0;
        wait_for_active(&engine, 0).await;
        println!("free after {} ms", dropped.elapsed().as_millis());
    }
    engine.generate(request(1)).await.unwrap();
    assert!(counter(&snapshotter, "r2r_tokens_total", None) > 100);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let engine = engine_with(|config| config.max_in_flight = 3).await;
    let started = Instant::now();
    let runs = join_all((0..3).map(|i| engine.generate(request(i))));
    let extra = async {
        sleep(Duration::from_millis(30)).await;
        let asked = Instant::now();
        (engine.generate(request(9)).await, asked.elapsed())
    };
    let (results, (refused, after)) = tokio::join!(runs, extra);
    let Err(InferenceError::Overloaded { retry_after }) = refused else {
        panic!("{refused:?}");
    };
    assert!(retry_after >= Duration::from_secs(1), "{retry_after:?}");
    assert!(after < started.elapsed());
    assert!(results.iter().all(Result::is_ok));
    engine.generate(request(9)).await.unwrap();
}

/// What would be answered too late is refused to a person at once; a batch waits.
#[tokio::test]
async fn a_late_answer_is_refused_to_people_only() {
    let engine = engine_with(|config| {
        config.context.lanes = 1;
        config.max_latency = Duration::from_millis(1_200);
    })
    .await;
    let person = async |i| {
        let admission = engine.admit(Priority::Interactive)?;
        engine.generate_telling(request(i), admission, None).await
    };
    // The first guess is 500 ms a thesis: one for a lane that is free as far as anybody
    // knows, one that waits for it; the third would have to wait for a second.
    let people = join_all((4..8).map(person));
    let batch = join_all((0..4).map(|i| engine.generate(request(i))));
    let (people, batch) = tokio::join!(people, batch);
    assert!(batch.iter().all(Result::is_ok));
    let refused = people.iter().filter(|result| {
        matches!(result, Err(InferenceError::Overloaded { retry_after }) if !retry_after.is_zero())
    });
    assert_eq!(refused.count(), 2, "{people:?}");
    assert_eq!(people.iter().filter(|result| result.is_ok()).count(), 2, "{people:?}");
    person(9).await.unwrap();
}

#[tokio::test]
async fn shutdown_waits_for_what_is_in_flight() {
    let engine = engine().await;
    let pid = engine.status().worker_pid.unwrap();
    let run = engine.generate(request(1));
    let stop = async {
        wait_for_active(&engine, 1).await;
        engine.shutdown().await;
    };
    let (result, ()) = tokio::join!(run, stop);
    result.unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn the_worker_ends_with_the_engine() {
    let engine = engine().await;
    let pid = engine.status().worker_pid.unwrap();
    drop(engine);
    for _ in 0..100 {
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("worker {pid} is still there");
}

#[tokio::test]
async fn memory_growth_recycles_an_idle_worker() {
    let engine = engine_with(|config| config.max_memory_growth_bytes = 4096).await;
    let before = engine.status().worker_pid;
    engine.generate(request(1)).await.unwrap();
    let mut status = engine.watch();
    let replaced = status.wait_for(|s| s.state == EngineState::Ready && s.worker_pid != before);
    timeout(Duration::from_secs(20), replaced).await.unwrap().unwrap();
    engine.generate(request(2)).await.unwrap();
}

/// Waits for a worker that stands by and is not this one.
async fn standby_other_than(engine: &Engine, before: Option<u32>) -> u32 {
    let mut status = engine.watch();
    let found = status.wait_for(|s| s.standby_pid.is_some() && s.standby_pid != before);
    timeout(Duration::from_secs(20), found).await.unwrap().unwrap().standby_pid.unwrap()
}

#[tokio::test]
async fn a_worker_that_stands_by_takes_over() {
    let engine = engine_with(|config| config.standby = true).await;
    let undisturbed = engine.generate(long_request(1)).await.unwrap();
    // It may be lost itself, which nobody else notices.
    let first = standby_other_than(&engine, None).await;
    kill(Pid::from_raw(first.cast_signed()), Signal::SIGKILL).unwrap();
    let second = standby_other_than(&engine, Some(first)).await;
    assert_eq!(engine.status().restarts, 0);

    let run = engine.generate(long_request(1));
    let killer = async {
        wait_for_active(&engine, 1).await;
        signal(&engine, Signal::SIGKILL);
        let mut status = engine.watch();
        let taken = status.wait_for(|s| s.worker_pid == Some(second));
        timeout(Duration::from_secs(20), taken).await.unwrap().unwrap().state
    };
    let (result, state) = tokio::join!(run, killer);
    assert_eq!(state, EngineState::Ready);
    let result = result.unwrap();
    assert_eq!((result.picks, result.code_logits), (undisturbed.picks, undisturbed.code_logits));
    assert_eq!(engine.status().restarts, 1);
    standby_other_than(&engine, Some(second)).await;
}

#[tokio::test]
async fn memory_growth_lets_the_standby_serve() {
    let engine = engine_with(|config| {
        config.standby = true;
        config.max_memory_growth_bytes = 4096;
    })
    .await;
    let standby = standby_other_than(&engine, None).await;
    engine.generate(request(1)).await.unwrap();
    let mut status = engine.watch();
    let replaced = status.wait_for(|s| s.worker_pid == Some(standby));
    timeout(Duration::from_secs(20), replaced).await.unwrap().unwrap();
    engine.generate(request(2)).await.unwrap();
}
