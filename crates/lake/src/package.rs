//! Fetching archives by package name with the ordinary client, into a cache
//! that holds only files with the promised digest.

use std::{
    fs::{self, File, TryLockError},
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use domain::Digest;
use indicatif::ProgressBar;

use crate::{Archive, ArchiveKind, LakeError, PackageRef, Source};

/// Prefix of directories a download is made in; one left over is removed.
const PARTIAL: &str = ".partial-";

/// A directory of verified archives.
#[derive(Debug, Clone)]
pub struct PackageCache {
    dir: PathBuf,
}

impl PackageCache {
    /// Uses `dir`, which is created when something is fetched.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Returns where a source's archive lies or will lie.
    #[must_use]
    pub fn path(&self, source: &Source) -> PathBuf {
        let Source { package, version, sha256, archive, .. } = source;
        match suffix(*archive) {
            Some(suffix) => self.file(package, version, *sha256, suffix),
            None => source.path.clone().unwrap_or_default(),
        }
    }

    fn file(&self, package: &str, version: &str, sha256: Digest, suffix: &str) -> PathBuf {
        self.dir.join(format!("{package}-{version}-{}.{suffix}", sha256.short()))
    }

    /// Returns the archive of a package that was fetched before.
    ///
    /// # Errors
    /// Fails when it is not there or not the promised one.
    pub fn cached(&self, package: &PackageRef, archive: ArchiveKind) -> Result<Archive, LakeError> {
        let PackageRef { name, version, sha256 } = package;
        let path = self.file(name, version, *sha256, suffix(archive).unwrap_or_default());
        if !path.exists() {
            let package = format!("{name} {version}");
            return Err(LakeError::NotFetched { package, path });
        }
        verify(&path, *sha256, "remove the file and run `r2r data fetch`")?;
        Ok(Archive::new(path, archive))
    }

    /// Returns the archive of a source, without network where it is cached.
    ///
    /// `pip` refuses a wrong digest before it runs anything; the digest is
    /// checked here again, each time. A failed or killed download leaves
    /// nothing that would be taken for an archive. Blocks; `progress` gets a
    /// message, and pip's own bar goes to stderr where that is a terminal.
    ///
    /// # Errors
    /// Fails when the package cannot be fetched or is not the promised one.
    pub fn fetch(&self, source: &Source, progress: &ProgressBar) -> Result<Archive, LakeError> {
        let path = self.path(source);
        if source.archive == ArchiveKind::Generated {
            return Ok(Archive::new(path, source.archive));
        }
        if source.archive == ArchiveKind::File {
            let remedy = "the file changed since it was listed: review it and update its sha256";
            verify(&path, source.sha256, remedy)?;
            return Ok(Archive::new(path, source.archive));
        }
        if path.exists() {
            progress.set_message(format!("checking {}", source.title()));
            verify(&path, source.sha256, "remove the file and fetch again")?;
            return Ok(Archive::new(path, source.archive));
        }
        fs::create_dir_all(&self.dir).map_err(LakeError::io("create", &self.dir))?;
        let _lock = lock_dir(&self.dir)?;
        remove_leftovers(&self.dir, PARTIAL)?;
        if !path.exists() {
            progress.set_message(format!("fetching {}", source.title()));
            tracing::info!(package = source.package, version = source.version, "fetching package");
            self.download(source, &path, progress)?;
        }
        Ok(Archive::new(path, source.archive))
    }

    fn download(
        &self,
        source: &Source,
        path: &Path,
        progress: &ProgressBar,
    ) -> Result<(), LakeError> {
        let dir = tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempdir_in(&self.dir)
            .map_err(LakeError::io("create a directory in", &self.dir))?;
        progress.suspend(|| run_pip(source, dir.path()))?;
        let file = downloaded_file(source, dir.path())?;
        let remedy = "the package is not the listed one: do not use it; if a new version was meant, \
                      review it and update configs/sources.toml";
        verify(&file, source.sha256, remedy)?;
        let opened = File::open(&file).map_err(LakeError::io("open", &file))?;
        opened.sync_all().map_err(LakeError::io("sync", &file))?;
        fs::rename(&file, path).map_err(LakeError::io("move an archive to", path))
    }
}

/// How the name of a fetched archive ends.
const fn suffix(archive: ArchiveKind) -> Option<&'static str> {
    match archive {
        ArchiveKind::Wheel => Some("whl"),
        ArchiveKind::Sdist => Some("tar.gz"),
        ArchiveKind::File | ArchiveKind::Generated => None,
    }
}

/// Checks a file against its promised digest.
fn verify(path: &Path, expected: Digest, remedy: &'static str) -> Result<(), LakeError> {
    // A device or a pipe may have no end.
    if !fs::metadata(path).map_err(LakeError::io("find", path))?.is_file() {
        return Err(LakeError::io("read", path)(io::Error::other("it is no regular file")));
    }
    let file = File::open(path).map_err(LakeError::io("open", path))?;
    let found = Digest::of_reader(file).map_err(LakeError::io("read", path))?;
    if found == expected {
        Ok(())
    } else {
        Err(LakeError::WrongDigest { path: path.to_owned(), expected, found, remedy })
    }
}

/// Takes the exclusive lock of a directory; it ends when the file is dropped
/// or the process dies.
pub(crate) fn lock_dir(dir: &Path) -> Result<File, LakeError> {
    let path = dir.join(".lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(LakeError::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            tracing::warn!("another process works in {}: waits until it has ended", dir.display());
        }
        Err(TryLockError::Error(error)) => return Err(LakeError::io("lock", &path)(error)),
    }
    file.lock().map_err(LakeError::io("lock", &path))?;
    Ok(file)
}

/// Removes what a killed process left behind. Call with the lock held.
fn remove_leftovers(dir: &Path, prefix: &str) -> Result<(), LakeError> {
    for entry in fs::read_dir(dir).map_err(LakeError::io("list", dir))? {
        let entry = entry.map_err(LakeError::io("list", dir))?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        // The client of a killed process may still write there; a later run removes it.
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(dir = %entry.path().display(), %error, "cannot remove what a killed process left behind");
        }
    }
    Ok(())
}

fn pip_command(source: &Source, dir: &Path, requirements: &Path) -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]);
    pip.args(["--disable-pip-version-check", "--dest"]).arg(dir).arg("-r").arg(requirements);
    match source.archive {
        ArchiveKind::Wheel => pip.arg("--only-binary=:all:"),
        ArchiveKind::File | ArchiveKind::Generated => &mut pip,
        // Only this package: `:all:` would build its build tools from source, too.
        ArchiveKind::Sdist => pip.arg(format!("--no-binary={}", source.package)),
    };
    if let Some(tag) = &source.wheel {
        pip.args(["--platform", &tag.platform, "--python-version", &tag.python]);
        pip.args(["--implementation", "cp", "--abi", &tag.abi]);
    }
    pip
}

fn run_pip(source: &Source, dir: &Path) -> Result<(), LakeError> {
    let failed = |reason: String| LakeError::Fetch {
        package: source.package.clone(),
        version: source.version.clone(),
        reason,
    };
    let requirements = dir.join("requirements.txt");
    let Source { package, version, sha256, .. } = source;
    fs::write(&requirements, format!("{package}=={version} --hash=sha256:{sha256}\n"))
        .map_err(LakeError::io("write", &requirements))?;
    let mut pip = pip_command(source, dir, &requirements);
    pip.stdin(Stdio::null());
    let start = |e| failed(format!("cannot start python3 -m pip ({e}); install python3 and pip"));
    if io::stderr().is_terminal() {
        let status = pip.stdout(io::stderr()).status().map_err(start)?;
        return if status.success() {
            Ok(())
        } else {
            Err(failed(format!("pip ended with {status}; see its message above")))
        };
    }
    let output = pip.args(["--quiet", "--progress-bar", "off"]).output().map_err(start)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(6)..].join(" | ");
    Err(failed(format!("pip ended with {}: {tail}", output.status)))
}

fn downloaded_file(source: &Source, dir: &Path) -> Result<PathBuf, LakeError> {
    let suffix = match source.archive {
        ArchiveKind::Wheel => ".whl",
        ArchiveKind::Sdist => ".tar.gz",
        ArchiveKind::File | ArchiveKind::Generated => "",
    };
    let entries = fs::read_dir(dir).map_err(LakeError::io("list", dir))?;
    let mut files = entries.filter_map(Result::ok).map(|e| e.path());
    files.find(|p| p.to_string_lossy().ends_with(suffix)).ok_or_else(|| LakeError::Fetch {
        package: source.package.clone(),
        version: source.version.clone(),
        reason: format!("pip downloaded no {suffix} file"),
    })
}
