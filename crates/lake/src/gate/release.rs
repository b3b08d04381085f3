//! Reviewed releases, `<data>/releases.jsonl`: which quarantined records may come in, who
//! says so and why.
//!
//! The file is only ever appended to. Each line holds a digest of itself and of the line
//! before, so that one that was changed or put in between, or removed before others, shows
//! in the next build, which then lets nothing in. A release is for one content: a record
//! that changes afterwards is quarantined again.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use domain::{Clock, Digest};
use serde::{Deserialize, Serialize};

use super::quarantine::{QuarantineClass, Quarantined};
use crate::{Kind, LakeError, archive::sync_dir};

const FILE: &str = "releases.jsonl";
/// Bounds on what a reviewer writes, in bytes.
const REVIEWER_MAX: usize = 200;
const REASON_MAX: usize = 2_000;

/// A reviewer's decision that a record may come in. A snapshot's manifest holds those it
/// was built with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The record's id in the quarantine.
    pub id: Digest,
    /// Why it was there.
    pub class: QuarantineClass,
    /// Kind of record.
    pub kind: Kind,
    /// Source id.
    pub source_id: String,
    /// The record's own id.
    pub record_id: String,
    /// Digest of the content that was reviewed; no other comes in.
    pub digest: Digest,
    /// Who decided.
    pub reviewer: String,
    /// Why.
    pub reason: String,
    /// When.
    pub released_at: DateTime<Utc>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    release: Release,
    /// Digest of the seal of the line before, of nothing in the first, and the release.
    seal: Digest,
}

/// All releases of a data directory.
#[derive(Debug, Clone)]
pub struct ReleaseLog {
    path: PathBuf,
    releases: Vec<Release>,
    last: Digest,
}

impl ReleaseLog {
    /// Reads the releases of a data directory; none where nobody has released anything.
    ///
    /// # Errors
    /// Fails when the file cannot be read, or was changed.
    pub fn open(data_dir: &Path) -> Result<Self, LakeError> {
        let path = data_dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => return Err(LakeError::io("read", &path)(e)),
        };
        let mut log = Self { path, releases: Vec::new(), last: Digest::of("") };
        for (i, whole) in text.split_inclusive('\n').enumerate() {
            let bad = |reason: String| LakeError::BadReleases {
                path: log.path.clone(),
                line: i + 1,
                reason,
            };
            let line = whole.strip_suffix('\n');
            let line = line.ok_or_else(|| bad("the line is not whole".to_owned()))?;
            let parsed: Line = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
            let seal = seal(log.last, &parsed.release).map_err(|e| bad(e.to_string()))?;
            if parsed.seal != seal {
                let reason = "it was changed, or a line before it was removed or added";
                return Err(bad(reason.to_owned()));
            }
            log.last = seal;
            log.releases.push(parsed.release);
        }
        Ok(log)
    }

    /// Returns all releases, the oldest first.
    #[must_use]
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// Returns the release of a record, whatever content it is for; of several the last.
    #[must_use]
    pub fn of(&self, id: Digest) -> Option<&Release> {
        self.releases.iter().rfind(|release| release.id == id)
    }

    /// Returns the release of a record for this content.
    #[must_use]
    pub fn admits(&self, id: Digest, digest: Digest) -> Option<&Release> {
        self.releases.iter().find(|release| release.id == id && release.digest == digest)
    }
}

/// Releases records: appends a decision on each to the file, all or none. The next
/// build lets them in where their content is still the one that was reviewed.
///
/// # Errors
/// Refuses a record that could not be read, one that is released already, and a decision
/// without a name or a reason; fails when the file was changed or cannot be written.
pub fn release(
    data_dir: &Path,
    entries: &[&Quarantined],
    reviewer: &str,
    reason: &str,
    clock: &dyn Clock,
) -> Result<Vec<Release>, LakeError> {
    let (reviewer, reason) = (reviewer.trim(), reason.trim());
    check_words("reviewer", reviewer, REVIEWER_MAX)?;
    check_words("reason", reason, REASON_MAX)?;
    fs::create_dir_all(data_dir).map_err(LakeError::io("create", data_dir))?;
    let path = data_dir.join(FILE);
    let file = File::options().create(true).append(true).open(&path);
    let mut file = file.map_err(LakeError::io("open", &path))?;
    // Two reviewers at once: the second waits, and sees the first's lines.
    file.lock().map_err(LakeError::io("lock", &path))?;
    let log = ReleaseLog::open(data_dir)?;
    let (mut lines, mut last, mut made) = (String::new(), log.last, Vec::new());
    for entry in entries {
        let release = decide(entry, &log, reviewer, reason, clock.now())?;
        let unwritable = |e| LakeError::io("write", &path)(std::io::Error::other(e));
        last = seal(last, &release).map_err(unwritable)?;
        let line = Line { release, seal: last };
        lines += &serde_json::to_string(&line).map_err(unwritable)?;
        lines.push('\n');
        made.push(line.release);
    }
    let length = file.metadata().map_err(LakeError::io("read", &path))?.len();
    if let Err(error) = file.write_all(lines.as_bytes()).and_then(|()| file.sync_all()) {
        // All or none, as on a disk that is full.
        file.set_len(length).map_err(LakeError::io("restore", &path))?;
        return Err(LakeError::io("write", &path)(error));
    }
    sync_dir(data_dir)?;
    Ok(made)
}

fn seal(before: Digest, release: &Release) -> Result<Digest, serde_json::Error> {
    Ok(Digest::of(format!("{before}\n{}", serde_json::to_string(release)?)))
}

fn decide(
    entry: &Quarantined,
    log: &ReleaseLog,
    reviewer: &str,
    reason: &str,
    released_at: DateTime<Utc>,
) -> Result<Release, LakeError> {
    let refuse = |reason: String| LakeError::NotReleasable { id: entry.id.short(), reason };
    let Some(digest) = entry.digest else {
        return Err(refuse(format!(
            "it could not be read ({}), so there is nothing that could come in; repair the \
             source, or its feed in the universe",
            entry.reason
        )));
    };
    if let Some(before) = log.admits(entry.id, digest) {
        return Err(refuse(format!(
            "{} has released it at {}; run `r2r data build`",
            before.reviewer,
            before.released_at.format("%Y-%m-%dT%H:%MZ")
        )));
    }
    Ok(Release {
        id: entry.id,
        class: entry.class,
        kind: entry.kind,
        source_id: entry.source_id.clone(),
        record_id: entry.place.clone(),
        digest,
        reviewer: reviewer.to_owned(),
        reason: reason.to_owned(),
        released_at,
    })
}

fn check_words(what: &str, text: &str, max: usize) -> Result<(), LakeError> {
    if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
        return Err(LakeError::Config {
            origin: format!("the {what} {text:?}"),
            reason: format!("it takes one line of 1 to {max} bytes"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::FixedClock;

    use super::*;

    fn entry(n: u32, digest: Option<Digest>) -> Quarantined {
        Quarantined {
            id: Digest::of(n.to_string()),
            class: if digest.is_some() { QuarantineClass::Pii } else { QuarantineClass::Schema },
            source_id: "s".to_owned(),
            kind: Kind::News,
            place: format!("AAA-{n}"),
            reason: "its date is not YYYY-MM-DD".to_owned(),
            raw: String::new(),
            digest,
            findings: Vec::new(),
        }
    }

    fn try_release(dir: &Path, entries: &[Quarantined], who: &str) -> Result<usize, String> {
        let clock = FixedClock("2026-01-02T03:04:05Z".parse().unwrap());
        let entries: Vec<&Quarantined> = entries.iter().collect();
        let made = release(dir, &entries, who, "a contact the paper prints", &clock);
        made.map(|made| made.len()).map_err(|e| e.to_string())
    }

    #[test]
    fn releases_are_appended_and_found_by_content() {
        let dir = tempfile::tempdir().unwrap();
        let content = Digest::of("content");
        let entries = [entry(1, Some(content)), entry(2, Some(content))];
        assert_eq!(try_release(dir.path(), &entries[..1], "Jane Doe"), Ok(1));
        let first = fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(try_release(dir.path(), &entries[1..], "John Roe"), Ok(1));
        assert!(fs::read_to_string(dir.path().join(FILE)).unwrap().starts_with(&first));
        let log = ReleaseLog::open(dir.path()).unwrap();
        assert_eq!(log.releases().len(), 2);
        assert_eq!(log.admits(entries[0].id, content).unwrap().reviewer, "Jane Doe");
        assert!(log.admits(entries[0].id, Digest::of("other")).is_none());
        let again = try_release(dir.path(), &entries, "Jane Doe").unwrap_err();
        assert!(again.contains("Jane Doe has released it at 2026-01-02T03:04Z"), "{again}");
        assert_eq!(ReleaseLog::open(dir.path()).unwrap().releases().len(), 2, "all or none");
    }

    #[test]
    fn what_could_not_be_read_and_what_nobody_answers_for_stays() {
        let dir = tempfile::tempdir().unwrap();
        let error = try_release(dir.path(), &[entry(1, None)], "Jane Doe").unwrap_err();
        assert!(error.contains("could not be read (its date is not YYYY-MM-DD)"), "{error}");
        let entries = [entry(1, Some(Digest::of("content")))];
        for who in ["", "  ", "Jane\nDoe"] {
            let error = try_release(dir.path(), &entries, who).unwrap_err();
            assert!(error.contains("the reviewer"), "{error}");
        }
        assert!(ReleaseLog::open(dir.path()).unwrap().releases().is_empty());
    }

    #[test]
    fn a_changed_file_lets_nothing_in() {
        let dir = tempfile::tempdir().unwrap();
        let entries = [1, 2, 3].map(|n| entry(n, Some(Digest::of("content"))));
        try_release(dir.path(), &entries, "Jane Doe").unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        for (changed, line) in [
            (whole.replacen("Jane", "John", 1), 1),
            (whole.replace("AAA-3", "AAA-4"), 3),
            (format!("{}\n{}\n", lines[0], lines[2]), 2),
            (format!("{}\n", lines[1]), 1),
            (whole.trim_end().to_owned(), 3),
            (format!("{whole}{{}}\n"), 4),
        ] {
            fs::write(&path, &changed).unwrap();
            let error = ReleaseLog::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("releases.jsonl:{line}: ")), "{error}");
        }
    }
}
