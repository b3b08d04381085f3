//! One thesis: plan, decode, verify, assemble, check. The only way from a read to
//! an answer, for the server and the command line alike.

use std::{
    collections::BTreeSet,
    error::Error as _,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use contract::{
    Claim, DraftClaim, PickError, Plan, Receipt, Thesis, VerdictKind, Writing,
    invariants::{self, Violation},
};
use domain::{AsOfRead, Digest, Label, LabelProbs, LabelProbsError};
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

/// Bound on the tokens of one claim; the phrases end well below it.
const MAX_TOKENS: u32 = 32;

/// Time in which a new model must write its first thesis.
const GOLDEN_TIMEOUT: Duration = Duration::from_secs(60);

/// The code that decides in which steps a plan is decoded, and with them the last
/// bits of its logits.
const DECODER: [&str; 6] = [
    include_str!("worker/branch.rs"),
    include_str!("worker/grammar.rs"),
    include_str!("worker/lane.rs"),
    include_str!("worker/prompt.rs"),
    include_str!("worker/sampler.rs"),
    include_str!("worker/thesis.rs"),
];

/// Version of the program and of its decoder.
static CODE_VERSION: LazyLock<String> = LazyLock::new(|| {
    let decoder = Digest::of(DECODER.concat()).to_string();
    format!("{}+{}", env!("CARGO_PKG_VERSION"), &decoder[..12])
});

/// Writes theses with the model that serves.
#[derive(Clone)]
pub struct Writer {
    engine: Engine,
    contract_digest: Digest,
    sampling: Sampling,
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
        let contract_digest = contract::contract_digest();
        let engine = Engine::start(config).await?;
        Ok(Self { engine, contract_digest, sampling })
    }

    /// Returns the engine, for its status and its shutdown.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
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
        let request = self.request(&plan, seed, timeout);
        let receipt = receipt(admission.model(), read, self.contract_digest, &request);
        let generation = match claims {
            None => self.engine.generate_telling(request, admission, None).await?,
            Some(claims) => {
                let (sender, written) = mpsc::unbounded_channel();
                let generation = self.engine.generate_telling(request, admission, Some(sender));
                tokio::join!(generation, tell(read, &plan, written, claims)).0?
            }
        };
        let started = Instant::now();
        let thesis = compose(read, &plan, &generation, receipt)?;
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
        let golden = self.request(&plan, 0, GOLDEN_TIMEOUT);
        let (request, contract_digest) = (golden.clone(), self.contract_digest);
        let accept = move |model: &ModelInfo, generation: &Generation| {
            let receipt = receipt(model, &read, contract_digest, &request);
            compose(&read, &plan, generation, receipt).map(drop).map_err(|error| {
                let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                format!("its first thesis is not sound: {error}{cause}")
            })
        };
        self.engine.swap(model, golden, accept).await
    }

    fn request(&self, plan: &Plan, seed: u64, timeout: Duration) -> GenerationRequest {
        GenerationRequest {
            plan: plan.clone(),
            codes: Label::ALL.map(Label::code),
            seed,
            sampling: self.sampling,
            max_tokens: MAX_TOKENS,
            timeout,
        }
    }
}

/// Returns the receipt of an answer: equal receipts name equal inputs.
fn receipt(
    model: &ModelInfo,
    read: &AsOfRead,
    contract_digest: Digest,
    request: &GenerationRequest,
) -> Receipt {
    Receipt {
        model: model.name.clone(),
        model_digest: model.digest,
        snapshot_id: read.snapshot(),
        contract_digest,
        seed: request.seed,
        temperature: decimal(request.sampling.temperature),
        min_p: decimal(request.sampling.min_p),
        calibration: "identity",
        code_version: &CODE_VERSION,
        build: model.build.clone(),
    }
}

/// Makes the answer of what was decoded: each claim verified, the whole checked.
fn compose(
    read: &AsOfRead,
    plan: &Plan,
    generation: &Generation,
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
    let probs = LabelProbs::softmax(generation.code_logits)?;
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
