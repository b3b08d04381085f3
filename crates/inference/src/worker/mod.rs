//! The worker process: it owns the model, and nothing else in the product does.
//!
//! It shares the weights among lanes: threads that own a context each and decode
//! one thesis at a time. One more thread reads messages, tokenizes prompts and
//! compiles grammars, another gives signs of life. The process ends when the
//! front's end of the socket closes, whatever closed it.

mod board;
mod branch;
pub(crate) mod grammar;
mod intake;
mod lane;
pub(crate) mod prompt;
mod quantize;
mod sampler;
mod states;
mod thesis;
mod threads;

use std::{
    cell::RefCell,
    ffi::CStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use llama_cpp_2::{
    LogOptions,
    llama_backend::LlamaBackend,
    model::{LlamaModel, params::LlamaModelParams},
};
use nix::sys::{
    prctl,
    signal::{SigSet, Signal},
};
use tracing::{error, info};

use domain::{Calibration, Digest};

use self::{
    board::Board,
    grammar::Grammars,
    intake::Intake,
    lane::{Lane, Prefix},
    prompt::Prompts,
    states::Kept,
    thesis::{Prepared, Session},
    threads::{WIDE_LANE, Width},
};
use crate::{
    engine::ModelInfo,
    error::InferenceError,
    protocol::{FromWorker, Start, ToWorker, count, read_frame, write_frame},
};

/// The sending half of the socket, shared by the threads of the worker.
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
    // These are for the front, which drains its workers; a terminal and `pkill` send
    // them to both. Threads started from here on inherit this.
    SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]).thread_block()?;
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
    let model = Arc::new(load(&backend, start)?);
    let prompts = Arc::new(Prompts::new(Arc::clone(&model), start.chat_template)?);
    let prefix = prompts.system(&start.system_prompt);
    // Indexing the vocabulary takes as long as the prefix.
    let grammars = {
        let model = Arc::clone(&model);
        thread::spawn(move || Grammars::new(&model))
    };
    let kept = Kept::new(start.context.prompt_cache_bytes);
    let context = &start.context;
    let is_wide = |lane| context.threads == 1 && lane == WIDE_LANE;
    let mut lanes = (0..context.lanes as usize).map(|lane| {
        let threads = if is_wide(lane) { context.lanes } else { context.threads };
        Lane::open(&backend, &model, context, threads, kept.clone())
    });
    // This thread is the first lane's from here on.
    let mut first = lanes.next().ok_or("there is no lane")??;
    let others = lanes.collect::<Result<Vec<_>, _>>()?;
    let mut width = Width::new();
    let prefix = first
        .decode_prefix(&prefix, |tokens| width.choose(tokens, is_wide(WIDE_LANE)))
        .map_err(|error| format!("the system prompt: {error}"))?;
    let grammars = grammars.join().map_err(|_| "the vocabulary cannot be indexed".to_owned())??;

    let prefix_tokens = prefix.tokens;
    let board = Arc::new(Board::new(1 + others.len(), outbox.clone()));
    let intake = Intake {
        prompts: Arc::clone(&prompts),
        grammars,
        prefix_tokens,
        context_tokens: start.context.tokens,
        board: Arc::clone(&board),
        outbox: outbox.clone(),
    };
    thread::Builder::new()
        .name("intake".to_owned())
        .spawn(move || intake.run(reader))
        .map_err(|error| error.to_string())?;
    let heart = Arc::clone(&board);
    thread::Builder::new()
        .name("heartbeat".to_owned())
        .spawn(move || heart.beat())
        .map_err(|error| error.to_string())?;
    let info = describe(&model, start, prefix_tokens);
    info!(model.name = info.name, model.prefix_tokens = prefix_tokens, "worker ready");
    outbox.send(&FromWorker::Ready(Box::new(info)));
    let work = |index, width| Work {
        model: &model,
        prompts: &prompts,
        prefix: &prefix,
        board: &board,
        index,
        width: RefCell::new(width),
    };
    thread::scope(|scope| {
        for (lane, index) in others.into_iter().zip(1..) {
            let work = work(index, None);
            scope.spawn(move || work.run(lane));
        }
        work(WIDE_LANE, is_wide(WIDE_LANE).then_some(width)).run(first);
    });
    Ok(())
}

fn load(backend: &LlamaBackend, start: &Start) -> Result<LlamaModel, String> {
    let file = checked_file(start)?;
    // The file that was checked, whatever has its name by now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    LlamaModel::load_from_file(backend, path, &LlamaModelParams::default())
        .map_err(|error| error.to_string())
}

/// Opens the model file and checks that it is still the one whose digest receipts will
/// name. Costs about 60 ms for 100 MB.
fn checked_file(start: &Start) -> Result<File, String> {
    let path = start.model.display();
    let unreadable = |error: io::Error| format!("{path} cannot be read: {error}");
    let mut file = File::open(&start.model).map_err(unreadable)?;
    let digest = Digest::of_reader(&mut file).map_err(unreadable)?;
    if digest != start.model_digest {
        return Err(format!(
            "{path} has changed since it was checked: its sha256 was {} and is {digest}; \
             put the file back, or let the server read engine.model again (SIGHUP)",
            start.model_digest
        ));
    }
    Ok(file)
}

/// What a lane's thread needs.
struct Work<'a, 'model> {
    model: &'model LlamaModel,
    prompts: &'a Prompts,
    prefix: &'a Prefix,
    board: &'a Board,
    index: usize,
    /// Of a lane that uses the threads of the others while they are idle.
    width: RefCell<Option<Width>>,
}

impl<'model> Work<'_, 'model> {
    /// Returns the position after the prompt of a request.
    fn prompt_end(&self, request: &Prepared) -> u32 {
        self.prefix.tokens + count(request.prompt.tokens.len())
    }

    /// Decodes requests until the worker ends.
    fn run(self, mut lane: Lane<'model>) {
        let _guard = AbortOnPanic;
        while let Some(request) = self.board.take(self.index, lane.held()) {
            let id = request.id;
            let outcome = Session::new(&self, &mut lane, &request).run();
            let is_poisoned = matches!(outcome, Err(InferenceError::NotFinite));
            let poisoned = is_poisoned.then_some(&request.prompt);
            let reset = lane.reset(self.prompt_end(&request), poisoned);
            let outcome = match outcome {
                Ok(generation) => FromWorker::Finished { id, generation },
                Err(error) => FromWorker::Failed { id, error },
            };
            self.board.finish(self.index, &outcome);
            if let Err(error) = reset {
                // It would mix two requests.
                error!(error = &error as &dyn std::error::Error, "a lane cannot be reset");
                std::process::abort();
            }
        }
    }
}

/// A thread that is gone must not leave requests waiting: the front starts
/// another worker instead.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

fn describe(model: &LlamaModel, start: &Start, prefix_tokens: u32) -> ModelInfo {
    // SAFETY: the function takes nothing and returns a pointer to a static,
    // null-terminated string.
    let build = unsafe { CStr::from_ptr(llama_cpp_sys_2::llama_print_system_info()) };
    let title = model.meta_val_str("general.name").unwrap_or_default();
    ModelInfo {
        name: start.model_name.clone(),
        digest: start.model_digest,
        description: format!(
            "{title}, {} M weights, {} MB",
            model.n_params() / 1_000_000,
            model.size() / 1_000_000
        ),
        n_params: model.n_params(),
        n_vocab: model.n_vocab().unsigned_abs(),
        prefix_tokens,
        context_tokens: start.context.tokens,
        build: build.to_string_lossy().trim().to_owned(),
        calibration: Calibration::default(),
        trained_until: None,
    }
}
