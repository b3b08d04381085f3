//! What git tracks, or would with the next `git add`.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};

/// Lists tracked files and new ones that are not ignored, relative to `root`.
pub(crate) fn list(root: &Path) -> Result<Vec<String>> {
    // A CI checkout often belongs to another user than the one who builds it.
    let safe = format!("safe.directory={}", root.display());
    let output = Command::new("git")
        .args(["-c", &safe, "-c", "core.fsmonitor=false", "ls-files", "-z"])
        .args(["--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot start git; install it")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git ls-files failed: {}", complaint.trim());
    let names = String::from_utf8(output.stdout).context("a tracked file has a non-UTF-8 name")?;
    let mut names: Vec<String> =
        names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}
