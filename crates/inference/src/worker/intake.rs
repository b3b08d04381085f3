//! The thread that reads messages and prepares requests off the hot path.

use std::{
    os::unix::net::UnixStream,
    sync::mpsc::Sender,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{self, Signal};
use tracing::error;

use super::{Outbox, grammar::Grammars, prompt::Prompts, sampler::Sampler, sequence::Prepared};
use crate::{
    error::InferenceError,
    protocol::{FromWorker, Job, ToWorker, read_frame},
};

/// What the decoding thread is told.
pub(super) enum Event {
    Admit(Box<Prepared>),
    Cancel(u64),
    Closed,
}

/// Everything the thread needs.
pub(super) struct Intake {
    pub(super) prompts: Prompts,
    pub(super) grammars: Grammars,
    pub(super) prefix_tokens: u32,
    pub(super) sequence_tokens: u32,
    pub(super) events: Sender<Event>,
    pub(super) outbox: Outbox,
}

/// How long a decode may go on after the front is gone.
const GRACE: Duration = Duration::from_secs(2);

impl Intake {
    pub(super) fn run(mut self, mut socket: UnixStream) {
        loop {
            let event = match read_frame(&mut socket) {
                Ok(Some(ToWorker::Generate(job))) => match self.prepare(*job) {
                    Ok(prepared) => Event::Admit(Box::new(prepared)),
                    Err((id, error)) => {
                        self.outbox.send(&FromWorker::Failed { id, error });
                        continue;
                    }
                },
                Ok(Some(ToWorker::Cancel(id))) => Event::Cancel(id),
                Ok(Some(_)) => continue,
                Ok(None) => break,
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "unreadable message");
                    break;
                }
            };
            if self.events.send(event).is_err() {
                return;
            }
        }
        // The decoding thread ends the process; a hung decode must not keep it.
        let _ = self.events.send(Event::Closed);
        thread::sleep(GRACE);
        let _ = signal::raise(Signal::SIGKILL);
    }

    fn prepare(&mut self, job: Job) -> Result<Prepared, (u64, InferenceError)> {
        let received = Instant::now();
        let Job { id, request } = job;
        let prompt = self.prompts.turns(&request.user, &request.prefill);
        let refuse = |error| (id, error);
        let prompt_tokens = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        let prompt_tokens = prompt_tokens.saturating_add(self.prefix_tokens);
        if prompt_tokens.saturating_add(request.max_tokens) > self.sequence_tokens {
            return Err(refuse(InferenceError::PromptTooLong {
                prompt_tokens,
                max_tokens: request.max_tokens,
                limit: self.sequence_tokens,
            }));
        }
        let codes = request.codes.map(|codes| self.codes(codes)).transpose().map_err(refuse)?;
        let matcher = self.grammars.matcher(&request.grammar).map_err(refuse)?;
        Ok(Prepared {
            id,
            prompt,
            matcher,
            codes,
            sampler: Sampler::new(request.seed, request.sampling),
            max_tokens: request.max_tokens,
            received,
            deadline: received + request.timeout,
        })
    }

    fn codes(
        &self,
        codes: [char; 5],
    ) -> Result<[llama_cpp_2::token::LlamaToken; 5], InferenceError> {
        let mut tokens = [llama_cpp_2::token::LlamaToken(0); 5];
        for (token, code) in tokens.iter_mut().zip(codes) {
            *token = self.prompts.code(code).ok_or_else(|| InferenceError::Parameter {
                field: "codes".to_owned(),
                expected: "characters of one token".to_owned(),
                found: format!("{code:?}"),
            })?;
        }
        Ok(tokens)
    }
}
