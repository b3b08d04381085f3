//! One thesis: render, decode, verify, decode refuted claims again, assemble,
//! check. The only way from a read to an answer, for the server and the command
//! line alike.

use std::time::{Duration, Instant};

use contract::{
    Draft, DraftClaim, DraftError, Receipt, Refutation, Thesis, VerdictKind, Writing,
    invariants::{self, Violation},
};
use domain::{AsOfRead, Digest, Label, LabelProbs, LabelProbsError};
use thiserror::Error;

use crate::{
    engine::{Engine, EngineConfig, FinishReason, Generation, GenerationRequest, Sampling},
    error::InferenceError,
    metrics,
};

/// Output bound of a whole thesis in tokens; the grammar ends well below it.
const MAX_TOKENS: u32 = 900;

/// Writes theses with one model.
#[derive(Clone)]
pub struct Writer {
    engine: Engine,
    model_name: String,
    model_digest: Digest,
    contract_digest: Digest,
    sampling: Sampling,
}

/// Why there is no thesis.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The engine did not decode it.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// What was decoded is not a draft: a defect, never served.
    #[error("the decoded text is not a draft")]
    Draft(#[from] DraftError),
    /// The grammar did not come to its end within the token bound: a defect.
    #[error("the decoded text ends before its grammar does")]
    Unfinished,
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

    /// Starts the engine; `config.system_prompt` is set to the contract's.
    ///
    /// # Errors
    /// Fails when the worker cannot load the model.
    pub async fn start(
        mut config: EngineConfig,
        sampling: Sampling,
    ) -> Result<Self, InferenceError> {
        contract::system_prompt().clone_into(&mut config.system_prompt);
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
    /// Fails when the engine cannot decode it within `timeout`, and rather than
    /// return an answer that breaks an invariant.
    pub async fn write(
        &self,
        read: &AsOfRead,
        seed: u64,
        timeout: Duration,
    ) -> Result<Thesis, WriteError> {
        let session = Session { writer: self, read, seed, ends_at: Instant::now() + timeout };
        let writing = session.write().await?;
        let thesis = contract::assemble(read, &writing, self.receipt(read, seed));
        invariants::check(&thesis, read)?;
        for verdict in &thesis.verification {
            metrics::claim_verified(verdict.verdict);
        }
        Ok(thesis)
    }
}

/// Widens a setting without the noise of its binary form: 0.1, not 0.100000001.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// The state of writing one thesis.
struct Session<'a> {
    writer: &'a Writer,
    read: &'a AsOfRead,
    seed: u64,
    ends_at: Instant,
}

impl Session<'_> {
    async fn write(&self) -> Result<Writing, WriteError> {
        let grammar = contract::grammar(self.read);
        let generation = self.generate(String::new(), grammar, true).await?;
        let Draft { mut claims } = contract::parse(&generation.text)?;
        let mut verdicts = Vec::with_capacity(claims.len());
        for position in 0..claims.len() {
            verdicts.push(self.judge(&mut claims, position).await?);
        }
        // A decision must rest on the claims that stand, not on refuted ones.
        let changed =
            verdicts.iter().any(|v| *v != VerdictKind::Supported && *v != VerdictKind::Abstained);
        let decided = if changed {
            let prefill = contract::decision_prefill(&claims);
            self.generate(prefill, contract::decision_grammar(), true).await?
        } else {
            generation
        };
        let logits = decided.code_logits.ok_or(WriteError::Unfinished)?;
        let probs = LabelProbs::softmax(logits)?;
        Ok(Writing { claims: claims.into_iter().zip(verdicts).collect(), probs })
    }

    /// Verifies the claim at `position`. A refuted one is decoded again, once,
    /// under a grammar without the directions it wrongly asserted.
    async fn judge(
        &self,
        claims: &mut [DraftClaim],
        position: usize,
    ) -> Result<VerdictKind, WriteError> {
        let claim = &claims[position];
        let refutation = match contract::verify(self.read, claim) {
            Ok(item) if item.is_absence() => return Ok(VerdictKind::Abstained),
            Ok(_) => return Ok(VerdictKind::Supported),
            Err(refutation) => refutation,
        };
        tracing::debug!(claim.text = %claim.text, %refutation, "claim refuted, decoding it again");
        let Refutation::Direction(without) = refutation else {
            // The grammar rules the other grounds out; a second try would not help.
            return Ok(VerdictKind::Withheld);
        };
        let Some(item) = self.read.item(claim.evidence) else {
            return Ok(VerdictKind::Withheld);
        };
        let grammar = contract::claim_grammar(item, &without);
        let prefill = contract::claim_prefill(claims, position);
        let again = self.generate(prefill, grammar, false).await?;
        claims[position] = contract::parse_claim(claim.section, &again.text)?;
        let stands = contract::verify(self.read, &claims[position]).is_ok();
        Ok(if stands { VerdictKind::Redecoded } else { VerdictKind::Withheld })
    }

    async fn generate(
        &self,
        prefill: String,
        grammar: String,
        decides: bool,
    ) -> Result<Generation, WriteError> {
        let timeout = self.ends_at.saturating_duration_since(Instant::now());
        let request = GenerationRequest {
            user: contract::render(self.read).user,
            prefill,
            grammar,
            codes: decides.then(|| Label::ALL.map(Label::code)),
            seed: self.seed,
            sampling: self.writer.sampling,
            max_tokens: MAX_TOKENS,
            timeout,
        };
        let generation = self.writer.engine.generate(request).await?;
        match generation.finish {
            FinishReason::Complete => Ok(generation),
            FinishReason::Length => Err(WriteError::Unfinished),
        }
    }
}
