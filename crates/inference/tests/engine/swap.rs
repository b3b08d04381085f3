use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use domain::Digest;
use futures::future::join_all;
use inference::{
    Engine, EngineStatus, Generation, GenerationRequest, InferenceError, ModelInfo, Priority,
    model::{self, PreparedModel},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::sleep;

use super::{engine, engine_with, long_request, manifest, model, models, request};

/// The published file, which the default model is converted from.
fn other() -> PreparedModel {
    model::verify(&models().join(manifest().file), &manifest()).unwrap()
}

fn fine(_: &ModelInfo, _: &Generation) -> Result<(), String> {
    Ok(())
}

/// Decodes, again where the model was replaced meanwhile; returns whose it is.
async fn decode(engine: &Engine, request: GenerationRequest) -> (Digest, Generation) {
    loop {
        let admission = engine.admit(Priority::Batch).unwrap();
        let digest = admission.model().digest;
        match engine.generate_telling(request.clone(), admission, None).await {
            Ok(generation) => return (digest, generation),
            Err(InferenceError::ModelReplaced) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_model_is_replaced_under_load_without_a_failed_or_mixed_answer() {
    let engine = engine().await;
    let (first, second) = (model(), other());
    let digests = [first.digest(), second.digest()];
    // What each model says to each request, the first time.
    let said = RefCell::new(BTreeMap::new());
    let swapping = Cell::new(true);
    let load = async |client: u32| {
        for i in (0..).map(|n| (client + n) % 5) {
            let (digest, generation) = decode(&engine, request(i)).await;
            assert!(digests.contains(&digest));
            let found = (generation.picks, generation.code_logits);
            let mut said = said.borrow_mut();
            assert_eq!(said.entry((digest, i)).or_insert_with(|| found.clone()), &found);
            if !swapping.get() {
                return;
            }
        }
    };
    let swaps = async {
        for model in [&second, &first, &second, &first] {
            let before = engine.status().worker_pid.unwrap();
            sleep(Duration::from_millis(700)).await;
            engine.swap(model.clone(), request(9), fine).await.unwrap();
            assert_eq!(engine.status().model.digest, model.digest());
            assert!(!std::path::Path::new(&format!("/proc/{before}")).exists());
        }
        swapping.set(false);
    };
    tokio::join!(join_all((0..4).map(load)), swaps);
    for digest in digests {
        assert!(said.borrow().keys().filter(|(found, _)| *found == digest).count() > 2);
    }
    assert_eq!(engine.status().restarts, 0);
}

#[tokio::test]
async fn a_model_that_does_not_prove_itself_does_not_serve() {
    let engine = engine().await;
    let before = engine.status();
    let mut broken = request(1);
    broken.plan.rules = "SHORT: (".to_owned();
    let judge = |_: &ModelInfo, _: &Generation| Err("it is no good".to_owned());
    let refused = engine.swap(other(), request(1), judge).await.unwrap_err();
    assert!(refused.to_string().ends_with("it is no good"), "{refused}");
    let refused = engine.swap(other(), broken, fine).await.unwrap_err();
    assert!(matches!(refused, InferenceError::Grammar { .. }), "{refused}");
    let (one, two) = tokio::join!(
        engine.swap(other(), request(1), judge),
        engine.swap(other(), request(1), fine)
    );
    assert!(matches!(one, Err(InferenceError::Model { .. })), "{one:?}");
    assert_eq!(two, Err(InferenceError::Swapping));
    assert_eq!(engine.status(), before);
    engine.generate(request(1)).await.unwrap();
}

/// A worker of the old model that dies with requests in it costs none of them.
#[tokio::test]
async fn the_old_worker_may_die_while_it_retires() {
    let engine = engine().await;
    let old = engine.status().worker_pid.unwrap();
    let swap = async {
        let mut status = engine.watch();
        status.wait_for(|status| status.active > 0).await.unwrap();
        let watch = async {
            status.wait_for(|status| status.worker_pid != Some(old)).await.unwrap();
            kill(Pid::from_raw(old.try_into().unwrap()), Signal::SIGKILL).unwrap();
        };
        // A swap that fails ends the test; the watch would wait for ever.
        let swapped = async { engine.swap(other(), request(1), fine).await.unwrap() };
        tokio::join!(swapped, watch);
    };
    // Long enough to be there when the other model serves.
    let runs = join_all((0..8).map(|i| decode(&engine, long_request(i))));
    let (results, ()) = tokio::join!(runs, swap);
    assert!(results.iter().any(|(digest, _)| *digest == other().digest()));
}

/// Who stands by after a swap stands by for the new model.
#[tokio::test]
async fn the_standby_follows_the_model() {
    let engine = engine_with(|config| config.standby = true).await;
    let mut status = engine.watch();
    let before = status.wait_for(|s| s.standby_pid.is_some()).await.unwrap().standby_pid;
    engine.swap(other(), request(1), fine).await.unwrap();
    let after = status.wait_for(|s| s.standby_pid.is_some_and(|pid| Some(pid) != before));
    let EngineStatus { worker_pid, standby_pid, .. } = after.await.unwrap().clone();
    kill(Pid::from_raw(worker_pid.unwrap().cast_signed()), Signal::SIGKILL).unwrap();
    status.wait_for(|s| s.worker_pid == standby_pid).await.unwrap();
    let (digest, _) = decode(&engine, request(2)).await;
    assert_eq!(digest, other().digest());
}
