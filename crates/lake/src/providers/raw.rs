//! The raw archive: every answer of a provider as it came, by the digest of its
//! body, and beside it what was asked and when.
//!
//! ```text
//! <data>/raw/<provider>/
//!   requests/<digest of the URL>.json   what was asked, every answer to it
//!   objects/ab/<digest of body>.zst     bodies, each once
//!   tmp/                                files under way; emptied by the next writer
//!   .lock                               one writer at a time; readers need none
//! ```
//!
//! A file appears under its name only when it is whole and on disk, an object
//! before the request that names it. A process that is killed leaves at most an
//! object nobody names and files in `tmp/`.

mod object;

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use domain::Digest;
use serde::{Deserialize, Serialize};

use super::adapter::{Part, Request};
use crate::{
    LakeError,
    archive::{readable_temp_file, sync_dir},
};

/// Version of the files' form.
const VERSION: u32 = 1;
const REMEDY: &str = "remove the file and fetch again";

/// What an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It holds what was asked for.
    Rows,
    /// The provider has nothing of the kind.
    Missing,
    /// The provider refused; kept to show what it said, never parsed.
    Refused,
}

/// An answer as it is archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Response {
    /// When the body came.
    pub(super) fetched_at: DateTime<Utc>,
    /// When the provider last said that this is still its answer.
    pub(super) checked_at: DateTime<Utc>,
    pub(super) status: u16,
    pub(super) outcome: Outcome,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) content_type: Option<String>,
    /// Digest of the body without its transfer compression.
    pub(super) sha256: Digest,
    pub(super) bytes: u64,
}

/// A request and all different answers to it, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    /// Without the API key.
    pub(super) url: String,
    pub(super) part: Part,
    pub(super) subject: String,
    /// What a parser has to know that is not in the body.
    pub(super) context: BTreeMap<String, String>,
    pub(super) responses: Vec<Response>,
    /// Digest of the record with this field empty.
    sha256: String,
}

impl Record {
    /// Returns the last answer that was no refusal.
    pub(super) fn newest(&self) -> Option<&Response> {
        self.responses.iter().rfind(|r| r.outcome != Outcome::Refused)
    }

    fn sealed(mut self) -> Result<(Self, Vec<u8>), serde_json::Error> {
        self.sha256.clear();
        self.sha256 = Digest::of(serde_json::to_vec(&self)?).to_string();
        let mut bytes = serde_json::to_vec_pretty(&self)?;
        bytes.push(b'\n');
        Ok((self, bytes))
    }
}

/// What [`RawArchive::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawReport {
    /// Number of requests.
    pub requests: usize,
    /// Number of answers to them.
    pub responses: usize,
    /// Number of bodies.
    pub objects: usize,
    /// Bodies no request names: left by a killed process, harmless.
    pub unreferenced: usize,
    /// Files that are not what was written, and why.
    pub problems: Vec<(PathBuf, String)>,
}

/// The archive of one provider.
#[derive(Debug, Clone)]
pub struct RawArchive {
    dir: PathBuf,
}

impl RawArchive {
    /// Returns the archive of a provider under a data directory; it is created
    /// when something is fetched.
    #[must_use]
    pub fn new(data_dir: &Path, provider_id: &str) -> Self {
        Self { dir: data_dir.join("raw").join(provider_id) }
    }

    /// Reads every file and compares it with what was written.
    ///
    /// # Errors
    /// Fails when a directory cannot be listed; damage is in the report.
    pub fn verify(&self) -> Result<RawReport, LakeError> {
        let mut report = RawReport::default();
        let mut named = BTreeMap::new();
        for path in files(&self.dir.join("requests"))? {
            report.requests += 1;
            match read_record(&path) {
                Ok(record) => named.extend(record.responses.iter().map(|r| {
                    report.responses += 1;
                    (r.sha256, r.bytes)
                })),
                Err(error) => report.problems.push((path, described(&error))),
            }
        }
        let mut lengths = BTreeMap::new();
        for dir in files(&self.dir.join("objects"))? {
            for path in files(&dir)? {
                report.objects += 1;
                match read_object(&path) {
                    Ok((digest, bytes)) => drop(lengths.insert(digest, bytes)),
                    Err(error) => report.problems.push((path, described(&error))),
                }
            }
        }
        report.unreferenced = lengths.keys().filter(|d| !named.contains_key(*d)).count();
        for (digest, bytes) in named {
            let path = self.object_path(digest);
            let reason = match lengths.get(&digest) {
                Some(found) if *found == bytes => continue,
                Some(found) => format!("it has {found} bytes, a request says {bytes}"),
                None if path.exists() => continue,
                None => "a request names it, and it is not there".to_owned(),
            };
            report.problems.push((path, reason));
        }
        Ok(report)
    }

    /// Returns all requests in the order of their file names.
    pub(super) fn records(&self) -> Result<Vec<Record>, LakeError> {
        files(&self.dir.join("requests"))?.iter().map(|path| read_record(path)).collect()
    }

    /// Returns what is known of a request.
    pub(super) fn record(&self, url: &str) -> Result<Option<Record>, LakeError> {
        let path = self.record_path(url);
        if path.exists() { read_record(&path).map(Some) } else { Ok(None) }
    }

    /// Returns the body of an answer.
    pub(super) fn body(&self, response: &Response) -> Result<Vec<u8>, LakeError> {
        object::read(&self.object_path(response.sha256), response.sha256)
    }

    /// Takes the archive for writing, unless another process has it.
    pub(super) fn try_lock(&self) -> Result<Option<RawWriter<'_>>, LakeError> {
        ensure_dir(&self.dir)?;
        let path = self.dir.join(".lock");
        let mut open = File::options();
        let file = open.create(true).append(true).open(&path);
        let file = file.map_err(LakeError::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(LakeError::io("lock", &path)(error)),
        }
        let temp = self.dir.join("tmp");
        if temp.exists() {
            fs::remove_dir_all(&temp).map_err(LakeError::io("remove", &temp))?;
        }
        fs::create_dir(&temp).map_err(LakeError::io("create", &temp))?;
        Ok(Some(RawWriter { archive: self, _lock: file }))
    }

    fn record_path(&self, url: &str) -> PathBuf {
        self.dir.join("requests").join(format!("{}.json", Digest::of(url)))
    }

    fn object_path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.dir.join("objects").join(&name[..2]).join(format!("{name}.zst"))
    }

    /// Puts a file in place whole: a reader sees the old bytes or the new ones.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), LakeError> {
        let dir = path.parent().unwrap_or(&self.dir);
        ensure_dir(dir)?;
        let temp = self.dir.join("tmp");
        let mut file = readable_temp_file(&temp).map_err(LakeError::io("create in", &temp))?;
        file.write_all(bytes).map_err(LakeError::io("write", path))?;
        file.as_file().sync_all().map_err(LakeError::io("sync", path))?;
        file.persist(path).map_err(|e| LakeError::io("write", path)(e.error))?;
        sync_dir(dir)
    }
}

/// An archive that is locked for writing, until this is dropped or the process ends.
#[derive(Debug)]
pub(super) struct RawWriter<'a> {
    archive: &'a RawArchive,
    _lock: File,
}

impl RawWriter<'_> {
    /// Archives an answer with its body. The same body again only moves
    /// `checked_at`.
    pub(super) fn store(
        &self,
        url: &str,
        request: &Request,
        response: Response,
        body: &[u8],
    ) -> Result<(), LakeError> {
        let path = self.archive.object_path(response.sha256);
        if object::read(&path, response.sha256).is_err() {
            let packed = object::pack(body).map_err(LakeError::io("pack", &path))?;
            self.archive.write(&path, &packed)?;
        }
        let mut responses = self.archive.record(url)?.map(|r| r.responses).unwrap_or_default();
        let same = |r: &Response| r.sha256 == response.sha256 && r.outcome == response.outcome;
        match responses.last_mut().filter(|last| same(last)) {
            Some(last) => *last = Response { fetched_at: last.fetched_at, ..response },
            None => responses.push(response),
        }
        self.write_record(url, request, responses)
    }

    /// Notes that the newest answer is still the provider's.
    pub(super) fn touch(
        &self,
        url: &str,
        request: &Request,
        now: DateTime<Utc>,
    ) -> Result<(), LakeError> {
        let Some(mut record) = self.archive.record(url)? else {
            return Ok(());
        };
        let newest = record.responses.iter_mut().rfind(|r| r.outcome != Outcome::Refused);
        if let Some(newest) = newest {
            newest.checked_at = now;
        }
        self.write_record(url, request, record.responses)
    }

    fn write_record(
        &self,
        url: &str,
        request: &Request,
        responses: Vec<Response>,
    ) -> Result<(), LakeError> {
        let record = Record {
            version: VERSION,
            url: url.to_owned(),
            part: request.part,
            subject: request.subject.clone(),
            context: request.context.clone(),
            responses,
            sha256: String::new(),
        };
        let path = self.archive.record_path(url);
        let (_, bytes) = record.sealed().map_err(|e| bad(&path, e.to_string()))?;
        self.archive.write(&path, &bytes)
    }
}

fn read_record(path: &Path) -> Result<Record, LakeError> {
    let bytes = fs::read(path).map_err(LakeError::io("read", path))?;
    let record: Record = serde_json::from_slice(&bytes).map_err(|e| bad(path, e.to_string()))?;
    if record.version != VERSION {
        let reason = format!("it has version {}, this program reads {VERSION}", record.version);
        return Err(bad(path, reason));
    }
    // Byte for byte, white space too: what was not written here is not trusted.
    let (_, sealed) = record.clone().sealed().map_err(|e| bad(path, e.to_string()))?;
    let is_named = path.file_stem().is_some_and(|n| *n == *Digest::of(&record.url).to_string());
    if sealed != bytes || !is_named {
        return Err(bad(path, "it was changed after it was written".to_owned()));
    }
    Ok(record)
}

/// Reads an object by the digest in its name.
fn read_object(path: &Path) -> Result<(Digest, u64), LakeError> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let digest = name.parse().map_err(|_| bad(path, "its name is no digest".to_owned()))?;
    Ok((digest, object::read(path, digest)?.len() as u64))
}

fn bad(path: &Path, reason: String) -> LakeError {
    LakeError::RawArchive { path: path.to_owned(), reason: format!("{reason}; {REMEDY}") }
}

/// An error in one line, with its cause.
fn described(error: &LakeError) -> String {
    let cause = std::error::Error::source(error).map(|c| format!(": {c}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// Returns what is in a directory, sorted; nothing where there is none.
fn files(dir: &Path) -> Result<Vec<PathBuf>, LakeError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).map_err(LakeError::io("list", dir))?;
    let paths = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(LakeError::io("list", dir))?;
    paths.sort();
    Ok(paths)
}

/// Makes a directory whose name survives a loss of power.
fn ensure_dir(dir: &Path) -> Result<(), LakeError> {
    if dir.exists() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(LakeError::io("create", dir))?;
    dir.parent().map_or(Ok(()), sync_dir)
}
