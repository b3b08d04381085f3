//! The connection to one worker process.

use std::{io, os::unix::net, process::Child, time::Instant};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::{
    net::{UnixStream, unix::OwnedReadHalf},
    sync::mpsc,
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::{
    process::WorkerCommand,
    protocol::{FromWorker, MAX_FRAME_BYTES, Progress, ToWorker, decode, encode},
};

/// A worker process and its socket. Dropping it kills the process.
pub(super) struct Link {
    child: Child,
    reader: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    /// Written by a task of its own, so that a worker that does not read
    /// cannot block its supervisor.
    outgoing: mpsc::UnboundedSender<Bytes>,
    pub(super) spawned: Instant,
    pub(super) last_heard: Instant,
    pub(super) ready: bool,
    pub(super) progress: Progress,
    /// Resident memory when the worker became ready, in bytes.
    pub(super) ready_memory: u64,
}

impl Link {
    /// Starts a process. Must be called within a runtime.
    pub(super) fn open(command: &WorkerCommand) -> io::Result<Self> {
        let (child, socket) = command.spawn()?;
        let now = Instant::now();
        let (reader, outgoing) = connect(socket)?;
        Ok(Self {
            child,
            reader,
            outgoing,
            spawned: now,
            last_heard: now,
            ready: false,
            progress: Progress::default(),
            ready_memory: 0,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Queues a message. Whether it arrives shows in the answers.
    pub(super) fn send(&self, message: &ToWorker) -> io::Result<()> {
        let bytes = encode(message)?;
        let _ = self.outgoing.send(Bytes::from(bytes));
        Ok(())
    }

    /// Waits for a message; `None` when the worker is gone or talks nonsense.
    pub(super) async fn receive(&mut self) -> Option<FromWorker> {
        let frame = self.reader.next().await?.ok()?;
        self.last_heard = Instant::now();
        decode(&frame).ok()
    }

    /// Resident memory of the worker in bytes, without pages of files.
    pub(super) fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // The child is not reaped yet, so the id is still its own.
            let _ = signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

type Reader = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;

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
