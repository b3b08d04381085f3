//! The thread that reads messages and prepares requests off the hot path.

use std::{
    collections::BTreeMap,
    os::unix::net::UnixStream,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use contract::{Plan, SectionPlan};
use llama_cpp_2::token::LlamaToken;
use llguidance::Matcher;
use nix::sys::signal::{self, Signal};
use tracing::error;

use super::{
    AbortOnPanic, Outbox,
    board::Board,
    grammar::Grammars,
    prompt::Prompts,
    thesis::{Prepared, PreparedSection},
};
use crate::{
    engine::GenerationRequest,
    error::InferenceError,
    protocol::{FromWorker, Job, ToWorker, count, read_frame},
};

/// Everything the thread needs.
pub(super) struct Intake {
    pub(super) prompts: Arc<Prompts>,
    pub(super) grammars: Grammars,
    pub(super) prefix_tokens: u32,
    pub(super) context_tokens: u32,
    pub(super) board: Arc<Board>,
    pub(super) outbox: Outbox,
}

/// How long a decode may go on after the front is gone.
const GRACE: Duration = Duration::from_secs(2);

impl Intake {
    pub(super) fn run(mut self, mut socket: UnixStream) {
        let _guard = AbortOnPanic;
        loop {
            match read_frame(&mut socket) {
                Ok(Some(ToWorker::Generate(job))) => {
                    self.board.prepare();
                    let prepared = self.prepare(*job).map_err(|(id, error)| {
                        self.outbox.send(&FromWorker::Failed { id, error });
                    });
                    self.board.admit(prepared.ok());
                }
                Ok(Some(ToWorker::Cancel(id))) => self.board.cancel(id),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "unreadable message");
                    break;
                }
            }
        }
        // The lanes end the process; a hung decode must not keep it.
        self.board.close();
        thread::sleep(GRACE);
        let _ = signal::raise(Signal::SIGKILL);
    }

    fn prepare(&mut self, job: Job) -> Result<Prepared, (u64, InferenceError)> {
        let received = Instant::now();
        let Job { id, request, priority } = job;
        let refuse = |error| (id, error);
        let prompt = self.prompts.turns(&request.plan.day, &request.plan.user);
        self.check_room(&request.plan.sections, prompt.tokens.len(), request.max_tokens)
            .map_err(refuse)?;
        let mut codes = [LlamaToken(0); 5];
        for (token, code) in codes.iter_mut().zip(request.codes) {
            *token = self.code(code).map_err(refuse)?;
        }
        let sections = request.plan.sections.iter().map(|plan| {
            let codes = plan.choices.iter().map(|choice| self.code(choice.code));
            Ok(PreparedSection {
                codes: codes.collect::<Result<_, _>>()?,
                open: self.prompts.text(&plan.open()),
                claims: plan.claims.clone(),
                is_silent: plan.is_silent(),
            })
        });
        let sections = sections.collect::<Result<_, _>>().map_err(refuse)?;
        let matchers = self.matchers(&request.plan).map_err(refuse)?;
        Ok(Prepared {
            id,
            prompt,
            sections,
            matchers,
            codes,
            plan: request.plan,
            seed: request.seed,
            sampling: request.sampling,
            max_tokens: request.max_tokens,
            priority,
            received,
            deadline: received + request.timeout,
            cancelled: Arc::new(AtomicBool::new(false)),
        })
    }

    fn check_room(
        &self,
        sections: &[SectionPlan],
        prompt: usize,
        max_tokens: u32,
    ) -> Result<(), InferenceError> {
        let claims: usize = sections.iter().map(|section| section.claims.len()).sum();
        let answer_tokens = GenerationRequest::answer_tokens(count(claims), max_tokens);
        let prompt_tokens = count(prompt).saturating_add(self.prefix_tokens);
        let limit = self.context_tokens;
        if prompt_tokens.saturating_add(answer_tokens) > limit {
            return Err(InferenceError::PromptTooLong { prompt_tokens, answer_tokens, limit });
        }
        Ok(())
    }

    /// Compiles each rule the plan names.
    fn matchers(&mut self, plan: &Plan) -> Result<BTreeMap<String, Matcher>, InferenceError> {
        let mut matchers = BTreeMap::new();
        let choices = plan.sections.iter().flat_map(|section| &section.choices);
        for rule in choices.filter_map(|choice| choice.rule.as_ref()) {
            if !matchers.contains_key(rule) {
                let matcher = self.grammars.matcher(&plan.grammar(rule))?;
                matchers.insert(rule.clone(), matcher);
            }
        }
        Ok(matchers)
    }

    fn code(&self, code: char) -> Result<LlamaToken, InferenceError> {
        self.prompts.code(code).ok_or_else(|| InferenceError::Parameter {
            field: "codes".to_owned(),
            expected: "characters of one token".to_owned(),
            found: format!("{code:?}"),
        })
    }
}
