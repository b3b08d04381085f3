//! What the benches work on: reads of the real snapshot, and claims about them
//! as a model writes them.

use std::{path::PathBuf, time::Duration};

use contract::{DraftClaim, Pick, Plan, Receipt, SectionPlan, VerdictKind, Writing};
use domain::{AsOf, AsOfRead, Digest, EvidenceItem, LabelProbs};
use inference::{
    EngineConfig, GenerationRequest, WorkerCommand, Writer,
    model::{ModelManifest, locate},
};
use lake::Snapshot;

/// As the programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longer than any bench waits for a thesis.
pub const PATIENT: Duration = Duration::from_secs(600);

/// Returns the data directory: `R2R_DATA_DIR`, or `data` of the repository.
#[must_use]
pub fn data_dir() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../data");
    std::env::var_os("R2R_DATA_DIR").map_or_else(|| default.into(), PathBuf::from)
}

/// Reads a name with every kind of record: AAPL on 2022-09-30.
///
/// # Panics
/// Without a snapshot; `make bench` builds one.
#[must_use]
pub fn read() -> AsOfRead {
    on_snapshot(async |snapshot| {
        let (ticker, as_of) = ("AAPL".parse().expect("a ticker"), date("2022-09-30"));
        snapshot.read(&ticker, as_of).await.expect("the snapshot has it")
    })
}

/// Reads `n` distinct pairs of a name and a date, at most 100.
///
/// # Panics
/// Without a snapshot; `make bench` builds one.
#[must_use]
pub fn reads(n: usize) -> Vec<AsOfRead> {
    const DATES: [&str; 5] = ["2006-03-31", "2010-06-30", "2014-09-30", "2018-12-31", "2022-09-30"];
    on_snapshot(async |snapshot| {
        let mut reads = Vec::with_capacity(n);
        for as_of in DATES.map(date) {
            for info in snapshot.tickers().iter().take(n - reads.len()) {
                let read = snapshot.read(&info.ticker, as_of).await;
                reads.push(read.expect("the snapshot has it"));
            }
        }
        reads
    })
}

fn date(text: &str) -> AsOf {
    text.parse().expect("a date")
}

fn on_snapshot<T>(work: impl AsyncFnOnce(Snapshot) -> T) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let snapshot = Snapshot::open_current(&data_dir()).await;
        work(snapshot.expect("a snapshot, which `r2r data build` makes")).await
    })
}

/// Returns the configuration of an engine with the default model, whose worker is this
/// program with the argument `worker`.
///
/// # Panics
/// Without a model; `r2r model fetch` makes one.
#[must_use]
pub fn engine_config() -> EngineConfig {
    let worker = WorkerCommand::current_exe().expect("the path of this program");
    let model = locate(ModelManifest::DEFAULT, &data_dir().join("models"), &worker);
    EngineConfig::new(model.expect("a model, which `r2r model fetch` makes"), worker)
}

/// Returns the request for the thesis of a read.
#[must_use]
pub fn request(read: &AsOfRead, seed: u64) -> GenerationRequest {
    GenerationRequest::new(contract::plan(read), seed, Writer::DEFAULT_SAMPLING, PATIENT)
}

/// Returns the first evidence a plan lets each claim cite, read neutrally.
#[must_use]
pub fn picks(plan: &Plan) -> Vec<Vec<Pick>> {
    let section = |section: &SectionPlan| {
        let claims = section.claims.iter().enumerate();
        let pick = |(k, range): (usize, &std::ops::Range<usize>)| {
            let choice = (range.start + k).min(range.end - 1);
            let reads = section.choices[choice].rule.is_some();
            Pick { choice, text: if reads { ", a level to watch." } else { "" }.to_owned() }
        };
        claims.map(pick).collect()
    };
    plan.sections.iter().map(section).collect()
}

/// Returns what the engine hands to assembly for [`picks`].
///
/// # Panics
/// Never: the logits are finite.
#[must_use]
pub fn writing(read: &AsOfRead) -> Writing {
    let verdict = |claim: DraftClaim| {
        let absent = read.item(claim.evidence).is_some_and(EvidenceItem::is_absence);
        (claim, if absent { VerdictKind::Abstained } else { VerdictKind::Supported })
    };
    let probs = LabelProbs::softmax([0.1, 0.4, 1.3, 0.9, -0.2]).expect("finite logits");
    let plan = contract::plan(read);
    let claims = plan.claims(&picks(&plan)).expect("picks of this plan");
    Writing { claims: claims.into_iter().map(verdict).collect(), probs }
}

/// Returns a receipt of this build.
#[must_use]
pub fn receipt(read: &AsOfRead) -> Receipt {
    Receipt {
        model: "bench".to_owned(),
        model_digest: Digest::of("model"),
        snapshot_id: read.snapshot(),
        contract_digest: Digest::of("contract"),
        seed: 7,
        temperature: 0.5,
        min_p: 0.1,
        calibration: "identity".to_owned(),
        code_version: "bench".to_owned(),
        build: "bench".to_owned(),
    }
}
