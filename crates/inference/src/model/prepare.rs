//! From a file on disk to a model the engine may load.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, BufReader, Seek},
    path::{Path, PathBuf},
};

use chrono::NaiveDate;
use domain::{Calibration, Digest};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{
    AdapterRef, Architecture, ChatTemplate, GgufHeader, ModelError, ModelManifest, Quantization,
    read_header,
};
use crate::{
    process::WorkerCommand,
    protocol::{FromWorker, QuantizeJob, ToWorker},
};

/// A model file whose bytes were checked. The engine accepts nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedModel {
    path: PathBuf,
    name: String,
    digest: Digest,
    base_digest: Digest,
    size: u64,
    architecture: Architecture,
    context_length: u32,
    chat_template: ChatTemplate,
    quantization: Option<Quantization>,
    calibration: Calibration,
    trained_until: Option<BTreeMap<String, NaiveDate>>,
}

/// What is remembered about a converted file, beside it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversion {
    base_sha256: Digest,
    #[serde(rename = "type")]
    quantization: Quantization,
    /// Of the adapter that was merged, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter_sha256: Option<Digest>,
    size: u64,
    sha256: Digest,
}

/// What makes the file that serves of the published one.
#[derive(Clone, Copy)]
struct Change<'a> {
    quantization: Quantization,
    adapter: Option<&'a AdapterRef>,
}

impl<'a> Change<'a> {
    /// Returns what a manifest asks for; none where the published file serves.
    fn of(manifest: &'a ModelManifest) -> Option<Self> {
        let adapter = manifest.adapter.as_ref();
        let merged = adapter.map(|adapter| adapter.quantization);
        let converted = manifest.requantize.as_ref().map(|requantize| requantize.quantization);
        merged.or(converted).map(|quantization| Self { quantization, adapter })
    }

    fn adapter_digest(&self) -> Option<Digest> {
        self.adapter.map(|adapter| adapter.sha256)
    }

    /// Tells whether a file was made by this change.
    fn made(&self, record: &Conversion) -> bool {
        (record.quantization, record.adapter_sha256) == (self.quantization, self.adapter_digest())
    }

    /// Returns where the changed file lies; files of two adapters lie beside each other.
    fn path(&self, manifest: &ModelManifest, directory: &Path) -> PathBuf {
        let adapter = self.adapter_digest().map(|digest| format!(".{}", digest.short()));
        let quantization = self.quantization.name().to_lowercase();
        let name = &manifest.name;
        directory.join(format!("{name}{}.{quantization}.gguf", adapter.unwrap_or_default()))
    }
}

impl PreparedModel {
    /// File that was checked.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the manifest, or the file's stem for a file without one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the file at [`PreparedModel::path`].
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// SHA-256 of the published file this one was converted from, or its own.
    #[must_use]
    pub const fn base_digest(&self) -> Digest {
        self.base_digest
    }

    /// Size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Architecture.
    #[must_use]
    pub const fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Context length the model was trained for, in tokens.
    #[must_use]
    pub const fn context_length(&self) -> u32 {
        self.context_length
    }

    /// How a conversation is written for this model.
    #[must_use]
    pub const fn chat_template(&self) -> ChatTemplate {
        self.chat_template
    }

    /// Type this file was converted to after the download.
    #[must_use]
    pub const fn quantization(&self) -> Option<Quantization> {
        self.quantization
    }

    /// What is applied to its probabilities.
    #[must_use]
    pub const fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// What its manifest says of the days it was trained on; none for a file without one.
    #[must_use]
    pub const fn trained_until(&self) -> Option<&BTreeMap<String, NaiveDate>> {
        self.trained_until.as_ref()
    }

    /// Returns this model with the weights of a file that was made of its own, such as one
    /// with an adapter merged. A calibration of the old weights does not come along.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn with_weights(&self, path: &Path) -> Result<Self, ModelError> {
        let (size, digest) = digest(path)?;
        Ok(Self {
            path: path.to_owned(),
            digest,
            size,
            quantization: None,
            calibration: Calibration::default(),
            ..self.clone()
        })
    }

    fn of(manifest: &ModelManifest, path: &Path, digest: Digest, size: u64) -> Self {
        Self {
            path: path.to_owned(),
            name: manifest.name.clone(),
            digest,
            base_digest: manifest.sha256,
            size,
            architecture: manifest.architecture,
            context_length: manifest.context_length,
            chat_template: manifest.chat_template,
            quantization: None,
            calibration: manifest.calibration.clone(),
            trained_until: Some(manifest.trained_until.clone()),
        }
    }
}

/// Checks a file against its manifest: size, SHA-256, GGUF header. Costs about
/// 70 ms for 100 MB.
///
/// # Errors
/// Names the file, the field, what was expected and found, and the remedy.
pub fn verify(path: &Path, manifest: &ModelManifest) -> Result<PreparedModel, ModelError> {
    check_bytes(path, manifest.size, manifest.sha256)?;
    check_header(path, manifest)?;
    Ok(PreparedModel::of(manifest, path, manifest.sha256, manifest.size))
}

/// Opens a local GGUF file that has no manifest: its header is checked and its
/// digest computed.
///
/// # Errors
/// Fails when the header, the architecture or the chat template is not one
/// r2r serves.
pub fn open(path: &Path) -> Result<PreparedModel, ModelError> {
    if !path.exists() {
        let source = io::ErrorKind::NotFound.into();
        return Err(ModelError::Read { path: path.to_owned(), source });
    }
    let header = header(path)?;
    if !header.chat_template.contains("<|im_start|>") {
        return Err(ModelError::Unsuitable {
            path: path.to_owned(),
            field: "tokenizer.chat_template",
            expected: "chatml".to_owned(),
            found: "another one".to_owned(),
        });
    }
    let (size, digest) = digest(path)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(PreparedModel {
        path: path.to_owned(),
        name: stem.into_owned(),
        digest,
        base_digest: digest,
        size,
        architecture: header.architecture,
        context_length: u32::try_from(header.context_length).unwrap_or(u32::MAX),
        chat_template: ChatTemplate::Chatml,
        quantization: None,
        calibration: Calibration::default(),
        trained_until: None,
    })
}

/// Returns the model a user means, ready to serve: a `.gguf` file by path, or what
/// [`ModelManifest::find`] finds, its file in `directory`.
///
/// # Errors
/// As [`open`] and [`prepare`].
pub fn locate(
    choice: &str,
    directory: &Path,
    worker: &WorkerCommand,
) -> Result<PreparedModel, ModelError> {
    if choice.ends_with(".gguf") {
        return open(Path::new(choice));
    }
    prepare(&ModelManifest::find(choice)?, directory, worker)
}

/// Checks what [`locate`] would serve, and changes nothing: the published file
/// against its manifest, and its conversion against what was noted when it was made.
///
/// # Errors
/// As [`open`] and [`verify`].
pub fn inspect(choice: &str, directory: &Path) -> Result<PreparedModel, ModelError> {
    if choice.ends_with(".gguf") {
        return open(Path::new(choice));
    }
    let manifest = ModelManifest::find(choice)?;
    let base = verify(&directory.join(&manifest.file), &manifest)?;
    match Change::of(&manifest) {
        None => Ok(base),
        Some(change) => check_conversion(&manifest, directory, change),
    }
}

/// Checks a conversion against what was noted when it was made.
fn check_conversion(
    manifest: &ModelManifest,
    directory: &Path,
    change: Change<'_>,
) -> Result<PreparedModel, ModelError> {
    let path = change.path(manifest, directory);
    let is_of = |record: &Conversion| record.base_sha256 == manifest.sha256 && change.made(record);
    let Some(record) = conversion(&path).filter(is_of) else {
        let base = manifest.file.clone();
        let is_there = path.exists();
        return Err(if is_there {
            ModelError::Unnoted { path, base }
        } else {
            ModelError::Missing { path }
        });
    };
    check_bytes(&path, record.size, record.sha256)?;
    check_header(&path, manifest)?;
    Ok(PreparedModel {
        quantization: Some(change.quantization),
        ..PreparedModel::of(manifest, &path, record.sha256, record.size)
    })
}

/// Returns the model of a manifest ready to serve from `directory`: the
/// published file, or, when the manifest asks for it, its conversion, which is
/// made on the first call (seconds) and only verified afterwards.
///
/// # Errors
/// Fails when a file is missing or differs, or the conversion fails.
pub fn prepare(
    manifest: &ModelManifest,
    directory: &Path,
    worker: &WorkerCommand,
) -> Result<PreparedModel, ModelError> {
    let base = directory.join(&manifest.file);
    let Some(change) = Change::of(manifest) else {
        return verify(&base, manifest);
    };
    if let Ok(model) = check_conversion(manifest, directory, change) {
        return Ok(model);
    }
    // Two programs that start at the same time would convert the same file twice.
    let _lock = lock(directory)?;
    match check_conversion(manifest, directory, change) {
        Ok(model) => return Ok(model),
        Err(ModelError::Missing { .. }) => {}
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "{} is converted again",
            change.path(manifest, directory).display()
        ),
    }
    verify(&base, manifest)?;
    convert(manifest, directory, change, worker)
}

/// Takes the lock of a directory; it ends with the file or the process.
fn lock(directory: &Path) -> Result<File, ModelError> {
    let lock = || {
        let file = File::open(directory)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let directory = directory.display();
        tracing::warn!("another process converts a model in {directory}: waits until it has ended");
        file.lock().map(|()| file)
    };
    lock().map_err(ModelError::read(directory))
}

fn sidecar(path: &Path) -> PathBuf {
    path.with_extension("gguf.toml")
}

fn conversion(path: &Path) -> Option<Conversion> {
    toml::from_str(&fs::read_to_string(sidecar(path)).ok()?).ok()
}

/// Converts in a process of its own, because ggml aborts on what it dislikes, and in a
/// directory of its own; what a killed program left of one is removed. Call with the lock held.
fn convert(
    manifest: &ModelManifest,
    directory: &Path,
    change: Change<'_>,
    worker: &WorkerCommand,
) -> Result<PreparedModel, ModelError> {
    let base = directory.join(&manifest.file);
    let quantization = change.quantization;
    let failed = |detail: String| ModelError::Requantize {
        path: base.clone(),
        quantization: quantization.name(),
        detail,
    };
    let place = workplace(directory).map_err(ModelError::read(directory))?;
    let (made, note) = (place.path().join("model.gguf"), place.path().join("note.toml"));
    let job = ToWorker::Quantize(QuantizeJob {
        from: base.clone(),
        to: made.clone(),
        adapter: change.adapter.map(|adapter| adapter_file(adapter, place.path())).transpose()?,
        quantization,
    });
    let answer = worker.run_once(&job).map_err(|error| failed(error.to_string()))?;
    match answer {
        FromWorker::Quantized => {}
        FromWorker::StartFailed { detail } => return Err(failed(detail)),
        other => return Err(failed(format!("unexpected answer {other:?}"))),
    }
    check_header(&made, manifest)?;
    let (size, sha256) = digest(&made)?;
    let (base_sha256, adapter_sha256) = (manifest.sha256, change.adapter_digest());
    let record = Conversion { base_sha256, quantization, adapter_sha256, size, sha256 };
    let record = toml::to_string(&record).map_err(|error| failed(error.to_string()))?;
    let path = change.path(manifest, directory);
    let write = || {
        fs::write(&note, record)?;
        for (from, to) in [(&made, &path), (&note, &sidecar(&path))] {
            File::open(from)?.sync_all()?;
            fs::rename(from, to)?;
        }
        Ok(())
    };
    write().map_err(|error: io::Error| failed(error.to_string()))?;
    Ok(PreparedModel {
        quantization: Some(quantization),
        ..PreparedModel::of(manifest, &path, sha256, size)
    })
}

/// Returns an empty directory in which a file is made.
fn workplace(directory: &Path) -> io::Result<TempDir> {
    const PREFIX: &str = ".conversion-";
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // The worker of a killed program may still write there; a later start removes it.
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            let left = entry.path();
            tracing::warn!(%error, "cannot remove {}, which a killed program left", left.display());
        }
    }
    tempfile::Builder::new().prefix(PREFIX).tempdir_in(directory)
}

/// Returns the checked file of an adapter; one that is part of the program is written to `place`.
fn adapter_file(adapter: &AdapterRef, place: &Path) -> Result<PathBuf, ModelError> {
    let Some(bytes) = adapter.builtin() else {
        check_digest(&adapter.file, adapter.sha256)?;
        return Ok(adapter.file.clone());
    };
    let path = place.join("adapter.gguf");
    fs::write(&path, bytes).map_err(ModelError::read(&path))?;
    Ok(path)
}

fn check_bytes(path: &Path, size: u64, sha256: Digest) -> Result<(), ModelError> {
    let found = fs::metadata(path).map_err(ModelError::read(path))?.len();
    if found != size {
        let (expected, found) = (size.to_string(), found.to_string());
        return Err(ModelError::Mismatch { path: path.to_owned(), field: "size", expected, found });
    }
    check_digest(path, sha256)
}

fn check_digest(path: &Path, sha256: Digest) -> Result<(), ModelError> {
    let (_, found) = digest(path)?;
    if found == sha256 {
        return Ok(());
    }
    let (expected, found) = (sha256.to_string(), found.to_string());
    Err(ModelError::Mismatch { path: path.to_owned(), field: "sha256", expected, found })
}

/// Opens a regular file; another kind could block for ever.
fn open_file(path: &Path) -> Result<File, ModelError> {
    let open = || match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("not a regular file")),
    };
    open().map_err(ModelError::read(path))
}

fn digest(path: &Path) -> Result<(u64, Digest), ModelError> {
    let mut file = open_file(path)?;
    let digest = Digest::of_reader(&mut file).map_err(ModelError::read(path))?;
    let size = file.stream_position().map_err(ModelError::read(path))?;
    Ok((size, digest))
}

fn header(path: &Path) -> Result<GgufHeader, ModelError> {
    let file = open_file(path)?;
    let size = file.metadata().map_err(ModelError::read(path))?.len();
    read_header(BufReader::new(file), size)
        .map_err(|source| ModelError::Header { path: path.to_owned(), source })
}

fn check_header(path: &Path, manifest: &ModelManifest) -> Result<(), ModelError> {
    let header = header(path)?;
    let unsuitable = |field, expected: String, found: String| ModelError::Unsuitable {
        path: path.to_owned(),
        field,
        expected,
        found,
    };
    if header.architecture != manifest.architecture {
        let expected = manifest.architecture.name().to_owned();
        let found = header.architecture.name().to_owned();
        return Err(unsuitable("general.architecture", expected, found));
    }
    if header.context_length < u64::from(manifest.context_length) {
        let expected = format!("at least {}", manifest.context_length);
        let found = header.context_length.to_string();
        return Err(unsuitable("context_length", expected, found));
    }
    Ok(())
}
