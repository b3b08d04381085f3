//! The worker process: it owns the model, and nothing else in the product does.
//!
//! The main thread owns model and context and runs the [`scheduler`]; one more
//! thread reads messages, tokenizes prompts and compiles grammars. The process
//! ends when the front's end of the socket closes, whatever closed it.

mod grammar;
mod intake;
mod prompt;
mod quantize;
mod sampler;
mod scheduler;
mod sequence;

use std::{
    ffi::CStr,
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use llama_cpp_2::{
    LogOptions,
    context::params::LlamaContextParams,
    llama_backend::LlamaBackend,
    model::{LlamaModel, params::LlamaModelParams},
};
use nix::sys::{prctl, signal::Signal};
use tracing::{error, info};

use self::{grammar::Grammars, intake::Intake, prompt::Prompts, scheduler::Scheduler};
use crate::{
    engine::{ContextConfig, ModelInfo},
    protocol::{FromWorker, Start, ToWorker, read_frame, write_frame},
};

/// The sending half of the socket, shared by the two threads of the worker.
#[derive(Clone)]
struct Outbox(Arc<Mutex<UnixStream>>);

impl Outbox {
    /// Sends a message. A failure means that the front is gone, which the
    /// intake thread notices and ends the process for.
    fn send(&self, message: &FromWorker) {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = write_frame(&mut *socket, message) {
            error!(error = &error as &dyn std::error::Error, "the front is gone");
        }
    }
}

/// Runs a worker that was started with its socket on standard input, and
/// returns when the socket closes. A binary calls this from its hidden
/// `worker` subcommand, after it has set up `tracing` on standard error.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(
                error = &error as &dyn std::error::Error,
                "standard input is not the socket of a front"
            );
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    // Closing the socket ends the worker too; this covers a front that dies
    // while the worker is stopped.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut reader = socket.try_clone()?;
    let outbox = Outbox(Arc::new(Mutex::new(socket)));
    llama_cpp_2::send_logs_to_tracing(LogOptions::default());
    let result = match read_frame(&mut reader)? {
        Some(ToWorker::Start(start)) => serve(&start, reader, &outbox),
        Some(ToWorker::Quantize(job)) => {
            quantize::run(&job).map(|()| outbox.send(&FromWorker::Quantized))
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    if let Err(detail) = result {
        outbox.send(&FromWorker::StartFailed { detail });
    }
    Ok(())
}

fn serve(start: &Start, reader: UnixStream, outbox: &Outbox) -> Result<(), String> {
    let backend = LlamaBackend::init().map_err(|error| error.to_string())?;
    let model = LlamaModel::load_from_file(&backend, &start.model, &LlamaModelParams::default())
        .map_err(|error| error.to_string())?;
    let model = Arc::new(model);
    let prompts = Prompts::new(Arc::clone(&model), start.chat_template)?;
    // Indexing the vocabulary takes as long as the context and the prefix.
    let grammars = {
        let (model, slices) = (Arc::clone(&model), start.mask_slices.clone());
        thread::spawn(move || Grammars::new(&model, slices))
    };
    let context = model
        .new_context(&backend, context_params(&start.context))
        .map_err(|error| error.to_string())?;
    let prefix = prompts.system(&start.system_prompt);
    let mut scheduler = Scheduler::new(&model, context, start.context, outbox.clone());
    scheduler.load_prefix(&prefix)?;
    let grammars = grammars.join().map_err(|_| "the vocabulary cannot be indexed".to_owned())??;

    let prefix_tokens = u32::try_from(prefix.len()).map_err(|error| error.to_string())?;
    let (sender, events) = mpsc::channel();
    let intake = Intake {
        prompts,
        grammars,
        prefix_tokens,
        sequence_tokens: start.context.sequence_tokens,
        events: sender,
        outbox: outbox.clone(),
    };
    thread::Builder::new()
        .name("intake".to_owned())
        .spawn(move || intake.run(reader))
        .map_err(|error| error.to_string())?;
    let info = describe(&model, start, prefix_tokens);
    info!(model.name = info.name, model.prefix_tokens = prefix_tokens, "worker ready");
    outbox.send(&FromWorker::Ready(info));
    scheduler.run(&events);
    Ok(())
}

fn context_params(config: &ContextConfig) -> LlamaContextParams {
    let threads = i32::try_from(config.threads).unwrap_or(1);
    let cells = config.max_sequences.saturating_mul(config.sequence_tokens);
    // One batch never exceeds a chunk, nor one token for each sequence.
    let batch = config.prefill_chunk.max(config.max_sequences);
    LlamaContextParams::default()
        .with_n_ctx(std::num::NonZero::new(cells))
        .with_n_batch(batch)
        .with_n_ubatch(batch)
        .with_n_seq_max(config.max_sequences)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        .with_kv_unified(config.kv_unified)
        // On a CPU the tiled kernel needs 64 rows; below that it is slower
        // than none, and it makes the output depend on the batch.
        .with_flash_attention_policy(llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_DISABLED)
        .with_no_perf(true)
}

fn describe(model: &LlamaModel, start: &Start, prefix_tokens: u32) -> ModelInfo {
    // SAFETY: the function takes nothing and returns a pointer to a static,
    // null-terminated string.
    let build = unsafe { CStr::from_ptr(llama_cpp_sys_2::llama_print_system_info()) };
    let title = model.meta_val_str("general.name").unwrap_or_default();
    ModelInfo {
        name: start.model_name.clone(),
        description: format!(
            "{title}, {} M weights, {} MB",
            model.n_params() / 1_000_000,
            model.size() / 1_000_000
        ),
        n_params: model.n_params(),
        n_vocab: model.n_vocab().unsigned_abs(),
        prefix_tokens,
        sequence_tokens: start.context.sequence_tokens,
        build: build.to_string_lossy().trim().to_owned(),
    }
}
