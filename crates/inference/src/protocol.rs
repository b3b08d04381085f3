//! Messages between the front and a worker: a length of four big-endian bytes,
//! then the message in postcard.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use domain::Digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    engine::{ContextConfig, Generation, GenerationRequest, ModelInfo, Priority, Written},
    error::InferenceError,
    model::{ChatTemplate, Quantization},
};

/// Longest message in bytes; a prompt is bounded well below it.
pub(crate) const MAX_FRAME_BYTES: usize = 16 << 20;

/// From the front to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// First message of a serving worker.
    Start(Start),
    /// First and only message of a converting worker.
    Quantize(QuantizeJob),
    /// Decode this.
    Generate(Box<Job>),
    /// Forget this request and free its lane.
    Cancel(u64),
}

/// What a serving worker loads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) model: PathBuf,
    pub(crate) model_name: String,
    pub(crate) model_digest: Digest,
    pub(crate) chat_template: ChatTemplate,
    pub(crate) system_prompt: String,
    pub(crate) context: ContextConfig,
}

/// What a converting worker does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct QuantizeJob {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    /// Merged into the file, if any.
    pub(crate) adapter: Option<PathBuf>,
    pub(crate) quantization: Quantization,
}

/// One request; `request.timeout` is what is left of it when it is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) request: GenerationRequest,
    pub(crate) priority: Priority,
}

/// From the worker to the front.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// The model is loaded and the system prompt decoded.
    Ready(Box<ModelInfo>),
    /// The worker cannot serve and ends.
    StartFailed { detail: String },
    /// The conversion succeeded.
    Quantized,
    /// Sign of life.
    Progress(Progress),
    /// A claim of a request is written.
    Written { id: u64, claim: Written },
    /// A request is done.
    Finished { id: u64, generation: Generation },
    /// A request failed.
    Failed { id: u64, error: InferenceError },
}

/// A lane at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BusyLane {
    /// Whose thesis it decodes.
    pub(crate) priority: Priority,
    /// For how long.
    pub(crate) busy_ms: u32,
}

/// State of the worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The lanes at work.
    pub(crate) running: Vec<BusyLane>,
    /// Requests waiting for a lane.
    pub(crate) queued: u32,
    /// Longest time a busy thread has been in its present step.
    pub(crate) stalled_ms: u32,
    /// Tokens decoded since the start.
    pub(crate) batch_tokens: u64,
    /// Calls of `llama_decode` since the start.
    pub(crate) batches: u64,
}

/// Narrows a number of things for a message.
pub(crate) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Encodes a message without its length.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(message).map_err(io::Error::other)
}

/// Decodes a message without its length.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes one message.
pub(crate) fn write_frame(writer: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let bytes = encode(message)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(4 + bytes.len());
    frame.extend(length.to_be_bytes());
    frame.extend(bytes);
    writer.write_all(&frame)
}

/// Reads one message, or `None` when the other side has closed.
pub(crate) fn read_frame<T: DeserializeOwned>(reader: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        let detail = format!("message of {length} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    decode(&bytes).map(Some)
}
