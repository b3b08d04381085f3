//! What the benches work on: reads of the real snapshot, and claims about them
//! as a model writes them.

use std::path::PathBuf;

use contract::{DraftClaim, Receipt, VerdictKind, Writing};
use domain::{AsOfRead, Digest, EvidenceItem, EvidenceKind, LabelProbs, Section};
use lake::Snapshot;

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
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let snapshot = Snapshot::open_current(&data_dir()).await;
        let snapshot = snapshot.expect("a snapshot, which `r2r data build` makes");
        let ticker = "AAPL".parse().expect("a ticker");
        let as_of = "2022-09-30".parse().expect("a date");
        snapshot.read(&ticker, as_of).await.expect("the snapshot has it")
    })
}

/// Returns two claims a section, one where there is a single item, as the
/// grammar makes the model write them.
#[must_use]
pub fn claims(read: &AsOfRead) -> Vec<DraftClaim> {
    let both = Section::ALL.into_iter().flat_map(|section| read.section(section).take(2));
    both.map(claim).collect()
}

fn claim(item: &EvidenceItem) -> DraftClaim {
    let text = match &item.kind {
        EvidenceKind::Numeric(feature) if feature.coverage => {
            let (title, count) = (&feature.title, feature.rendered());
            format!("This section abstains: the count of {title} is {count}.")
        }
        EvidenceKind::Numeric(feature) => {
            let (title, value) = (&feature.title, feature.rendered());
            format!("The {title} is {value}, a level to watch.")
        }
        EvidenceKind::Text(snippet) => {
            let words: Vec<&str> = snippet.text.split_whitespace().take(6).collect();
            format!("Reported: {}.", words.join(" "))
        }
    };
    DraftClaim { section: item.section(), evidence: item.id, text }
}

/// Returns what the engine hands to assembly for [`claims`].
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
    Writing { claims: claims(read).into_iter().map(verdict).collect(), probs }
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
        calibration: "identity",
        code_version: env!("CARGO_PKG_VERSION"),
        build: "bench".to_owned(),
    }
}
