//! One thesis: plan, decode, verify, assemble, check. The only way from a read to
//! an answer, for the server and the command line alike.

use std::{
    collections::BTreeSet,
    error::Error as _,
    sync::Arc,
    time::{Duration, Instant},
};

use contract::{
    Claim, DraftClaim, PickError, Plan, Receipt, Thesis, VerdictKind, Writing,
    invariants::{self, Violation},
};
use domain::{AsOfRead, Calibration, Digest, LabelProbs, LabelProbsError};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::{
    engine::{
        Admission, Engine, EngineConfig, Generation, GenerationRequest, ModelInfo, Sampling,
        Written,
    },
    error::InferenceError,
    metrics,
    model::PreparedModel,
};

/// Time in which a new model must write its first thesis.
const GOLDEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Seed of that thesis.
const GOLDEN_SEED: u64 = 0;

/// The code that decides in which steps a plan is decoded, and with them the last
/// bits of its logits.
const DECODER: [&str; 8] = [
    include_str!("worker/branch.rs"),
    include_str!("worker/grammar.rs"),
    include_str!("worker/intake.rs"),
    include_str!("worker/lane.rs"),
    include_str!("worker/mod.rs"),
    include_str!("worker/prompt.rs"),
    include_str!("worker/sampler.rs"),
    include_str!("worker/thesis.rs"),
];

/// The versions of all libraries, and those that have a say in the bytes of an answer.
const LOCK: &str = include_str!("../../../Cargo.lock");
const LIBRARIES: [&str; 5] =
    ["llama-cpp-2", "llama-cpp-sys-2", "llguidance", "rand_chacha", "toktrie"];

/// Returns the version of the program, and a digest of everything about its decoder that
/// equal receipts must have in common.
fn code_version(chunk: u32) -> String {
    let is_of_decoder = |entry: &&str| {
        let name = entry.lines().find_map(|line| line.strip_prefix("name = "));
        name.is_some_and(|name| LIBRARIES.contains(&name.trim_matches('"')))
    };
    let libraries = LOCK.split("[[package]]").filter(is_of_decoder);
    let mut parts: Vec<&str> = DECODER.into_iter().chain(libraries).collect();
    let sizes = format!("chunk {chunk}, tokens {}", GenerationRequest::MAX_TOKENS);
    parts.push(&sizes);
    let digest = Digest::of(parts.join("\0")).to_string();
    format!("{}+{}", env!("CARGO_PKG_VERSION"), &digest[..12])
}

/// Writes theses with the model that serves.
#[derive(Clone)]
pub struct Writer {
    engine: Engine,
    edition: Edition,
    sampling: Sampling,
}

/// What all receipts of this program have in common.
#[derive(Debug, Clone)]
pub struct Edition {
    contract_digest: Digest,
    code_version: Arc<str>,
}

/// How a thesis is to be written.
#[derive(Debug)]
pub struct WriteRequest {
    /// Seed of the sampler.
    pub seed: u64,
    /// Its place in the engine.
    pub admission: Admission,
    /// Time after which the result is of no use.
    pub timeout: Duration,
    /// Gets each claim as soon as it is written.
    pub claims: Option<mpsc::UnboundedSender<Claim>>,
}

/// Why there is no thesis.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The engine did not decode it.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// What was decoded is not what was planned: a defect, never served.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// The decision's logits are not a distribution: a defect of the model.
    #[error("the decision is not a distribution")]
    Decision(#[from] LabelProbsError),
    /// The assembled answer breaks an invariant: a defect, never served.
    #[error("the assembled thesis breaks an invariant")]
    Invariant(#[from] Violation),
}

impl Writer {
    /// Sampling that keeps the text close to the most probable one and still
    /// gives different seeds different theses.
    pub const DEFAULT_SAMPLING: Sampling = Sampling { temperature: 0.4, min_p: 0.1 };

    /// Starts the engine.
    ///
    /// # Errors
    /// Fails when the worker cannot load the model.
    pub async fn start(config: EngineConfig, sampling: Sampling) -> Result<Self, InferenceError> {
        let edition = Edition::new(config.context.chunk);
        let engine = Engine::start(config).await?;
        Ok(Self { engine, edition, sampling })
    }

    /// Returns the engine, for its status and its shutdown.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the receipt that answers about a snapshot have from the model that serves.
    #[must_use]
    pub fn receipt(&self, snapshot: Digest, seed: u64) -> Receipt {
        self.edition.receipt(&self.engine.status().model, snapshot, seed, self.sampling)
    }

    /// Writes a thesis with the model its place is for. Dropping the future cancels
    /// the decode.
    ///
    /// # Errors
    /// Fails when the engine cannot decode it in time, and rather than return an
    /// answer that breaks an invariant.
    pub async fn write(&self, read: &AsOfRead, ask: WriteRequest) -> Result<Thesis, WriteError> {
        let WriteRequest { seed, admission, timeout, claims } = ask;
        let plan = contract::plan(read);
        let request = GenerationRequest::new(plan.clone(), seed, self.sampling, timeout);
        let receipt = self.edition.receipt(admission.model(), read.snapshot(), seed, self.sampling);
        let calibration = admission.model().calibration.clone();
        let generation = match claims {
            None => self.engine.generate_telling(request, admission, None).await?,
            Some(claims) => {
                let (sender, written) = mpsc::unbounded_channel();
                let generation = self.engine.generate_telling(request, admission, Some(sender));
                tokio::join!(generation, tell(read, &plan, written, claims)).0?
            }
        };
        let started = Instant::now();
        let thesis = compose(read, &plan, &generation, &calibration, receipt)?;
        metrics::verified(started.elapsed());
        for verdict in &thesis.verification {
            metrics::claim_verified(verdict.verdict);
        }
        Ok(thesis)
    }

    /// Replaces the model as [`Engine::swap`] does, if it writes a sound thesis
    /// about `read`.
    ///
    /// # Errors
    /// As [`Engine::swap`].
    pub async fn swap(
        &self,
        model: PreparedModel,
        read: Arc<AsOfRead>,
    ) -> Result<(), InferenceError> {
        let plan = contract::plan(&read);
        let golden =
            GenerationRequest::new(plan.clone(), GOLDEN_SEED, self.sampling, GOLDEN_TIMEOUT);
        let (edition, sampling) = (self.edition.clone(), self.sampling);
        let accept = move |model: &ModelInfo, generation: &Generation| {
            let [first, others @ ..] = generation.code_logits;
            if others.iter().all(|logit| logit.to_bits() == first.to_bits()) {
                return Err("its decision tells no label from another".to_owned());
            }
            let receipt = edition.receipt(model, read.snapshot(), GOLDEN_SEED, sampling);
            let thesis = compose(&read, &plan, generation, &model.calibration, receipt);
            thesis.map(drop).map_err(|error| {
                let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                format!("its first thesis is not sound: {error}{cause}")
            })
        };
        self.engine.swap(model, golden, accept).await
    }
}

impl Edition {
    /// Digests the code, for contexts whose calls of `llama_decode` take at most `chunk`
    /// tokens.
    #[must_use]
    pub fn new(chunk: u32) -> Self {
        let contract_digest = contract::contract_digest();
        Self { contract_digest, code_version: code_version(chunk).into() }
    }

    /// Returns the receipt of an answer: equal receipts name equal inputs.
    #[must_use]
    pub fn receipt(
        &self,
        model: &ModelInfo,
        snapshot: Digest,
        seed: u64,
        sampling: Sampling,
    ) -> Receipt {
        Receipt {
            model: model.name.clone(),
            model_digest: model.digest,
            snapshot_id: snapshot,
            contract_digest: self.contract_digest,
            seed,
            temperature: decimal(sampling.temperature),
            min_p: decimal(sampling.min_p),
            calibration: model.calibration.reference(),
            code_version: self.code_version.to_string(),
            build: model.build.clone(),
        }
    }
}

/// Makes the answer of what was decoded: each claim verified, the decision's probabilities
/// calibrated, the whole checked.
///
/// # Errors
/// Fails when what was decoded does not fit the plan, or the answer breaks an invariant.
pub fn compose(
    read: &AsOfRead,
    plan: &Plan,
    generation: &Generation,
    calibration: &Calibration,
    receipt: Receipt,
) -> Result<Thesis, WriteError> {
    let claims = plan.claims(&generation.picks)?;
    let claims = claims.into_iter().map(|claim| {
        let verdict = judge(read, &claim);
        if verdict == VerdictKind::Withheld {
            tracing::warn!(claim.text = %claim.text, "claim withheld");
        }
        (claim, verdict)
    });
    let probs = calibration.apply(&LabelProbs::softmax(generation.code_logits)?)?;
    let writing = Writing { claims: claims.collect(), probs };
    let thesis = contract::assemble(read, &writing, receipt);
    invariants::check(&thesis, read)?;
    Ok(thesis)
}

/// Passes claims on as they are written, verified and with what they cite.
async fn tell(
    read: &AsOfRead,
    plan: &Plan,
    mut written: mpsc::UnboundedReceiver<Written>,
    claims: mpsc::UnboundedSender<Claim>,
) {
    let mut told = BTreeSet::new();
    while let Some(Written { section, position, pick }) = written.recv().await {
        let Some(Ok(claim)) = plan.sections.get(section).map(|plan| plan.claim(&pick)) else {
            continue;
        };
        if told.insert((section, position)) {
            let verdict = judge(read, &claim);
            // Nobody listening any more is no reason to stop writing.
            let _ = claims.send(contract::cite(read, position, &claim, verdict));
        }
    }
}

/// Verifies a claim. The plan lets nothing be written that is refuted; should
/// it happen, the claim does not leave.
fn judge(read: &AsOfRead, claim: &DraftClaim) -> VerdictKind {
    match contract::verify(read, claim) {
        Ok(item) if item.is_absence() => VerdictKind::Abstained,
        Ok(_) => VerdictKind::Supported,
        Err(_) => VerdictKind::Withheld,
    }
}

/// Widens a setting without the noise of its binary form: 0.1, not 0.100000001.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_version_names_the_decoder() {
        let version = code_version(32);
        assert!(version.starts_with(concat!(env!("CARGO_PKG_VERSION"), "+")), "{version}");
        assert_ne!(version, code_version(64));
        for library in LIBRARIES {
            assert!(LOCK.contains(&format!("name = \"{library}\"\n")), "{library} is not locked");
        }
    }
}
