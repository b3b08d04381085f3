//! Lists the SQL files of features and views, so that adding one is adding a
//! file.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let mut code = String::new();
    for (constant, dir) in [("FEATURE_FILES", "features"), ("VIEW_FILES", "views")] {
        let dir = Path::new(&root).join(dir);
        let mut files = Vec::new();
        list(&dir, &mut files)?;
        files.sort();
        let _ = writeln!(code, "pub(crate) const {constant}: &[(&str, &str)] = &[");
        for path in files {
            println!("cargo::rerun-if-changed={}", path.display());
            let name = path.strip_prefix(&dir).unwrap_or(&path);
            let _ = writeln!(code, "    ({name:?}, include_str!({path:?})),");
        }
        code.push_str("];\n");
    }
    fs::write(Path::new(&out).join("sql_files.rs"), code)
}

/// Adds the SQL files of a directory and of those below it.
fn list(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", dir.display());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "sql") {
            files.push(path);
        }
    }
    Ok(())
}
