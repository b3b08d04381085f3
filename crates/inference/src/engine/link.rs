//! The connection to one worker process.

use std::{io, os::unix::net, process::Child, sync::Arc};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::{
    net::{UnixStream, unix::OwnedReadHalf},
    sync::mpsc,
    time::timeout,
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use tracing::{info, warn};

use super::{EngineConfig, ModelInfo, start_error};
use crate::{
    error::InferenceError,
    protocol::{FromWorker, MAX_FRAME_BYTES, Progress, Start, ToWorker, decode, encode},
};

/// Ticks in which a worker that has CPU time says something: six times as long as
/// the pause between two of its signs of life.
const SILENT_TICKS_MAX: u32 = 6;
/// Ticks in which one does that other programs leave hardly any.
const STARVED_TICKS_MAX: u32 = 100;

/// A worker that has loaded its model, and its socket.
pub(super) struct Link {
    process: Process,
    reader: Reader,
    /// Written by a task of its own, so that a worker that does not read
    /// cannot block its supervisor.
    outgoing: mpsc::UnboundedSender<Bytes>,
    pub(super) model: Arc<ModelInfo>,
    /// Ticks of the supervisor since the last message. Counted, not timed: when
    /// the front itself was stopped, the worker is not to blame.
    pub(super) silent_ticks: u32,
    pub(super) progress: Progress,
    /// Resident memory when the worker became ready, in bytes.
    pub(super) ready_memory: u64,
}

/// A child process, killed when this is dropped.
struct Process(Child);

type Reader = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;

impl Link {
    /// Starts a worker and waits until its model is loaded. Dropping the future
    /// kills the process.
    ///
    /// # Errors
    /// [`InferenceError::Model`] when trying again would not help, else
    /// [`InferenceError::WorkerLost`].
    pub(super) async fn start(config: &EngineConfig) -> Result<Self, InferenceError> {
        let (child, socket) = config.worker.spawn().map_err(|error| start_error(&error))?;
        let process = Process(child);
        let pid = process.id();
        info!(worker.pid = pid, model.name = config.model.name(), "worker started");
        let (mut reader, outgoing) = connect(socket).map_err(|error| start_error(&error))?;
        send(&outgoing, &ToWorker::Start(start_message(config)))
            .map_err(|error| start_error(&error))?;
        let ready = timeout(config.start_timeout, async {
            loop {
                match receive(&mut reader).await {
                    Some(FromWorker::Ready(model)) => return Ok(*model),
                    Some(FromWorker::StartFailed { detail }) => {
                        return Err(InferenceError::Model { detail });
                    }
                    Some(_) => {}
                    None => {
                        warn!(worker.pid = pid, "worker died before it was ready");
                        return Err(InferenceError::WorkerLost);
                    }
                }
            }
        });
        let mut model = ready.await.unwrap_or_else(|_| {
            warn!(worker.pid = pid, "worker did not become ready");
            Err(InferenceError::WorkerLost)
        })?;
        model.calibration = config.model.calibration().clone();
        model.trained_until = config.model.trained_until().cloned();
        Ok(Self {
            ready_memory: process.memory().unwrap_or(0),
            process,
            reader,
            outgoing,
            model: Arc::new(model),
            silent_ticks: 0,
            progress: Progress::default(),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Queues a message. Whether it arrives shows in the answers.
    pub(super) fn send(&self, message: &ToWorker) -> io::Result<()> {
        send(&self.outgoing, message)
    }

    /// Waits for a message; `None` when the worker is gone or talks nonsense.
    pub(super) async fn receive(&mut self) -> Option<FromWorker> {
        let message = receive(&mut self.reader).await;
        self.silent_ticks = 0;
        message
    }

    /// Resident memory of the worker in bytes, without pages of files.
    pub(super) fn memory(&self) -> Option<u64> {
        self.process.memory()
    }

    /// Tells whether the process is stopped by a signal, or silent for longer than one
    /// that is just short of CPU time.
    pub(super) fn is_silent(&self) -> bool {
        self.silent_ticks > STARVED_TICKS_MAX
            || self.silent_ticks > SILENT_TICKS_MAX && self.process.is_stopped()
    }
}

impl Process {
    fn id(&self) -> u32 {
        self.0.id()
    }

    fn memory(&self) -> Option<u64> {
        let kib: u64 = self.status("RssAnon:")?.strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    }

    fn is_stopped(&self) -> bool {
        self.status("State:").is_some_and(|state| state.starts_with(['T', 't']))
    }

    /// Returns what the kernel says of the process under a name.
    fn status(&self, name: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.id()) {
            // The child is not reaped yet, so the id is still its own.
            let _ = signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

fn start_message(config: &EngineConfig) -> Start {
    Start {
        model: config.model.path().to_owned(),
        model_name: config.model.name().to_owned(),
        model_digest: config.model.digest(),
        chat_template: config.model.chat_template(),
        system_prompt: config.system_prompt.clone(),
        context: config.context,
    }
}

fn connect(socket: net::UnixStream) -> io::Result<(Reader, mpsc::UnboundedSender<Bytes>)> {
    socket.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(socket)?.into_split();
    let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME_BYTES).new_codec();
    let reader = FramedRead::new(reader, codec.clone());
    let mut writer = FramedWrite::new(writer, codec);
    let (outgoing, mut queue) = mpsc::unbounded_channel::<Bytes>();
    tokio::spawn(async move {
        while let Some(frame) = queue.recv().await {
            if writer.send(frame).await.is_err() {
                break;
            }
        }
    });
    Ok((reader, outgoing))
}

fn send(outgoing: &mpsc::UnboundedSender<Bytes>, message: &ToWorker) -> io::Result<()> {
    let _ = outgoing.send(Bytes::from(encode(message)?));
    Ok(())
}

async fn receive(reader: &mut Reader) -> Option<FromWorker> {
    let frame = reader.next().await?.ok()?;
    decode(&frame).ok()
}
