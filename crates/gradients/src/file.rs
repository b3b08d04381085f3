//! Files that appear whole or not at all.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Writes a file, whole or not at all, also where the power goes. What a process that was
/// killed had half written ends in `.tmp-` and the process's number.
///
/// # Errors
/// Fails when it cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, |temporary| fs::write(temporary, bytes))
}

/// Has `write` make a file beside `path`, syncs it and renames it to its place. See
/// [`write_atomically`].
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let finish = || {
        write(&temporary)?;
        File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, path)?;
        // So that its new name survives a power loss.
        File::open(directory_of(path))?.sync_all()
    };
    finish().inspect_err(|_| {
        // Failing to remove it changes nothing but the space it takes.
        let _ = fs::remove_file(&temporary);
    })
}

/// Returns the directory a file is in, `.` where its path names none.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
