//! One thesis: plan, decode, verify, assemble, check. The only way from a read to
//! an answer, for the server and the command line alike.

use std::{
    collections::BTreeSet,
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
    engine::{Admission, Engine, EngineConfig, GenerationRequest, Sampling, Written},
    error::InferenceError,
    metrics,
};

/// Bound on the tokens of one claim; the phrases end well below it.
const MAX_TOKENS: u32 = 32;

/// Writes theses with one model.
#[derive(Clone)]
pub struct Writer {
    engine: Engine,
    model_name: String,
    model_digest: Digest,
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
        let model_name = config.model.name().to_owned();
        let model_digest = config.model.digest();
        let contract_digest = contract::contract_digest();
        let engine = Engine::start(config).await?;
        Ok(Self { engine, model_name, model_digest, contract_digest, sampling })
    }

    /// Returns the engine, for its status and its shutdown.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the receipt of an answer to `read` with `seed`: equal receipts
    /// name equal inputs, so it also serves as the key of an answer cache.
    #[must_use]
    pub fn receipt(&self, read: &AsOfRead, seed: u64) -> Receipt {
        let build = self.engine.status().model.map(|model| model.build);
        Receipt {
            model: self.model_name.clone(),
            model_digest: self.model_digest,
            snapshot_id: read.snapshot(),
            contract_digest: self.contract_digest,
            seed,
            temperature: decimal(self.sampling.temperature),
            min_p: decimal(self.sampling.min_p),
            calibration: "identity",
            code_version: env!("CARGO_PKG_VERSION"),
            build: build.unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    /// Writes a thesis. Dropping the future cancels the decode.
    ///
    /// # Errors
    /// Fails when the engine cannot decode it in time, and rather than return an
    /// answer that breaks an invariant.
    pub async fn write(&self, read: &AsOfRead, ask: WriteRequest) -> Result<Thesis, WriteError> {
        let plan = contract::plan(read);
        let WriteRequest { seed, admission, timeout, claims } = ask;
        let request = GenerationRequest {
            plan: plan.clone(),
            codes: Label::ALL.map(Label::code),
            seed,
            sampling: self.sampling,
            max_tokens: MAX_TOKENS,
            timeout,
        };
        let generation = match claims {
            None => self.engine.generate_telling(request, admission, None).await?,
            Some(claims) => {
                let (sender, written) = mpsc::unbounded_channel();
                let generation = self.engine.generate_telling(request, admission, Some(sender));
                tokio::join!(generation, tell(read, &plan, written, claims)).0?
            }
        };
        let started = Instant::now();
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
        let thesis = contract::assemble(read, &writing, self.receipt(read, seed));
        invariants::check(&thesis, read)?;
        metrics::verified(started.elapsed());
        for verdict in &thesis.verification {
            metrics::claim_verified(verdict.verdict);
        }
        Ok(thesis)
    }
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
