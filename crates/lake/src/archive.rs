//! Reading members of a wheel (zip) or sdist (tar.gz).

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Component, Path, PathBuf},
};

use flate2::read::{GzDecoder, MultiGzDecoder};

use crate::{ArchiveKind, LakeError};

/// Bound on a member that is read into memory.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Bound on a member that is streamed to a file.
const FILE_BYTES_MAX: u64 = 16 << 30;

/// A verified archive in the cache.
#[derive(Debug, Clone)]
pub struct Archive {
    path: PathBuf,
    kind: ArchiveKind,
}

impl Archive {
    /// Wraps an archive file. The caller has checked its digest.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, kind: ArchiveKind) -> Self {
        Self { path: path.into(), kind }
    }

    /// Returns where the archive lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a member into memory, unpacked where its name ends in `.gz`.
    ///
    /// # Errors
    /// Fails when the archive is damaged, lacks the member, or the member is
    /// larger than 256 MiB.
    pub fn read(&self, member: &str) -> Result<Vec<u8>, LakeError> {
        let mut bytes = Vec::new();
        self.copy(member, &mut bytes, MEMORY_BYTES_MAX)?;
        if !member.ends_with(".gz") {
            return Ok(bytes);
        }
        // Several may follow each other, as `cat` and bgzip write them.
        let plain = MultiGzDecoder::new(bytes.as_slice());
        read_whole(plain).map_err(|e| self.bad(format!("{member} does not unpack: {e}")))
    }

    /// Streams a member to `target`, which appears only when it is complete.
    ///
    /// # Errors
    /// Fails when the archive is damaged or lacks the member, or `target`
    /// cannot be written.
    pub fn extract(&self, member: &str, target: &Path) -> Result<(), LakeError> {
        let dir = target.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(LakeError::io("create", dir))?;
        let mut file = readable_temp_file(dir).map_err(LakeError::io("create a file in", dir))?;
        self.copy(member, file.as_file_mut(), FILE_BYTES_MAX)?;
        file.as_file().sync_all().map_err(LakeError::io("sync", target))?;
        file.persist(target).map_err(|e| LakeError::io("write", target)(e.error))?;
        Ok(())
    }

    fn copy(&self, member: &str, out: &mut dyn Write, bytes_max: u64) -> Result<(), LakeError> {
        // Members are only ever looked up by an exact name and never written
        // under a name the archive chose; a path that climbs is refused anyway.
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
        if !Path::new(member).components().all(plain) {
            return Err(self.bad(format!("{member:?} is not a plain relative path")));
        }
        let file = File::open(&self.path).map_err(LakeError::io("open", &self.path))?;
        match self.kind {
            ArchiveKind::Wheel => self.copy_zip(file, member, out, bytes_max),
            ArchiveKind::Sdist => self.copy_tar(file, member, out, bytes_max),
            // A single file: the member's name tells its form alone.
            ArchiveKind::File => self.copy_bounded(member, file, out, bytes_max),
            ArchiveKind::Generated => Err(self.bad("it has no members".to_owned())),
        }
    }

    fn copy_zip(
        &self,
        file: File,
        member: &str,
        out: &mut dyn Write,
        max: u64,
    ) -> Result<(), LakeError> {
        let mut zip =
            zip::ZipArchive::new(BufReader::new(file)).map_err(|e| self.bad(e.to_string()))?;
        let entry = zip.by_name(member).map_err(|e| self.bad(format!("{member}: {e}")))?;
        self.copy_bounded(member, entry, out, max)
    }

    fn copy_tar(
        &self,
        file: File,
        member: &str,
        out: &mut dyn Write,
        max: u64,
    ) -> Result<(), LakeError> {
        let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
        for entry in tar.entries().map_err(|e| self.bad(e.to_string()))? {
            let entry = entry.map_err(|e| self.bad(e.to_string()))?;
            let is_member = entry.path().is_ok_and(|p| p == Path::new(member));
            if is_member && entry.header().entry_type().is_file() {
                return self.copy_bounded(member, entry, out, max);
            }
        }
        Err(self.bad(format!("it has no member {member}")))
    }

    fn copy_bounded(
        &self,
        member: &str,
        from: impl Read,
        out: &mut dyn Write,
        max: u64,
    ) -> Result<(), LakeError> {
        let copied = io::copy(&mut from.take(max + 1), out)
            .map_err(|e| self.bad(format!("{member} cannot be copied: {e}")))?;
        if copied > max {
            return Err(self.bad(format!("{member} is larger than {max} bytes")));
        }
        Ok(())
    }

    fn bad(&self, reason: String) -> LakeError {
        LakeError::Archive { path: self.path.clone(), reason }
    }
}

/// Makes a temporary file that others may read once it is in place: the server
/// may run as another user than the builder.
pub(crate) fn readable_temp_file(dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o644);
    tempfile::Builder::new().permissions(mode).tempfile_in(dir)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), LakeError> {
    let file = File::open(dir).map_err(LakeError::io("open", dir))?;
    file.sync_all().map_err(LakeError::io("sync", dir))
}

/// Reads a member of a zip file that lies in memory.
pub(crate) fn read_inner_zip(bytes: &[u8], member: &str) -> Result<Vec<u8>, String> {
    let mut zip = zip::ZipArchive::new(io::Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let entry = zip.by_name(member).map_err(|e| format!("{member}: {e}"))?;
    read_whole(entry).map_err(|e| format!("{member}: {e}"))
}

/// Reads what fits into memory, and refuses what is larger: a part would look like the whole.
fn read_whole(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    reader.take(MEMORY_BYTES_MAX + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > MEMORY_BYTES_MAX {
        let mebibytes = MEMORY_BYTES_MAX >> 20;
        return Err(io::Error::other(format!("it is larger than {mebibytes} MiB: split it")));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_formats_and_refuses_climbing_paths() {
        let dir = tempfile::tempdir().unwrap();
        let whl = dir.path().join("a.whl");
        let mut zip = zip::ZipWriter::new(File::create(&whl).unwrap());
        zip.start_file("a/b.txt", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"wheel").unwrap();
        zip.finish().unwrap();
        let sdist = dir.path().join("a.tar.gz");
        let gz = flate2::write::GzEncoder::new(
            File::create(&sdist).unwrap(),
            flate2::Compression::fast(),
        );
        let mut tar = tar::Builder::new(gz);
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        tar.append_data(&mut header, "a/b.txt", &b"sdist"[..]).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        for (path, kind, text) in
            [(whl, ArchiveKind::Wheel, "wheel"), (sdist, ArchiveKind::Sdist, "sdist")]
        {
            let archive = Archive::new(path, kind);
            assert_eq!(archive.read("a/b.txt").unwrap(), text.as_bytes());
            let target = dir.path().join("out/b.txt");
            archive.extract("a/b.txt", &target).unwrap();
            assert_eq!(std::fs::read_to_string(target).unwrap(), text);
            for bad in ["../a/b.txt", "/a/b.txt", "a/../../b", "a/c.txt"] {
                assert!(matches!(archive.read(bad), Err(LakeError::Archive { .. })), "{bad}");
            }
        }
    }
}
