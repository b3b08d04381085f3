//! What lies where in a store. Paths are relative to its root, with `/`.

use domain::Digest;

/// Directory of the Parquet files.
pub(super) const OBJECTS: &str = "objects";
/// Directory of the snapshots, one directory each.
pub(super) const SNAPSHOTS: &str = "snapshots";
/// Directory of the names that move.
pub(super) const REFS: &str = "refs";
/// What version 1 had instead of `refs/CURRENT`; for other universes their name
/// stands behind a dash.
pub(super) const OLD_CURRENT: &str = "snapshots/CURRENT";

const MANIFEST: &str = "/manifest.json";
const QUARANTINE: &str = "/quarantine.jsonl";
/// Bound on the length of a reference's name.
const REF_BYTES_MAX: usize = 64;

/// Returns where the Parquet file with a digest lies.
pub(super) fn object(digest: Digest) -> String {
    format!("{OBJECTS}/{digest}.parquet")
}

/// Returns the digest that a path promises, where it is a Parquet file's.
pub(super) fn object_digest(path: &str) -> Option<Digest> {
    let name = path.strip_prefix(OBJECTS)?.strip_prefix('/')?.strip_suffix(".parquet")?;
    let digest: Digest = name.parse().ok()?;
    // Upper-case digits would be another file with the same promise.
    (digest.to_string() == name).then_some(digest)
}

/// Returns the directory of a snapshot.
pub(super) fn snapshot(id: impl std::fmt::Display) -> String {
    format!("{SNAPSHOTS}/{id}")
}

/// Returns where a snapshot's manifest lies: the snapshot exists when it does.
pub(super) fn manifest(id: impl std::fmt::Display) -> String {
    snapshot(id) + MANIFEST
}

/// Returns where a snapshot's rejected records lie.
pub(super) fn quarantine(id: impl std::fmt::Display) -> String {
    snapshot(id) + QUARANTINE
}

/// Returns the directory's name where a path is a snapshot's manifest.
pub(super) fn manifest_owner(path: &str) -> Option<&str> {
    let owner = path.strip_prefix(SNAPSHOTS)?.strip_prefix('/')?.strip_suffix(MANIFEST)?;
    (!owner.contains('/')).then_some(owner)
}

/// Returns where a reference lies; none where the name cannot be one.
pub(super) fn reference(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_name = starts_well && name.len() <= REF_BYTES_MAX && name.chars().all(plain);
    // A name that is an id would hide the snapshot with that id.
    (is_name && name.parse::<Digest>().is_err()).then(|| format!("{REFS}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_agree() {
        let digest = Digest::of("abc");
        assert_eq!(object_digest(&object(digest)), Some(digest));
        let upper = object(digest).replace('a', "A");
        for other in [upper.as_str(), "objects/x.parquet", "object.parquet", "objects"] {
            assert_eq!(object_digest(other), None, "{other}");
        }
        let id = digest.to_string();
        assert_eq!(manifest_owner(&manifest(digest)), Some(id.as_str()));
        assert_eq!(manifest_owner("snapshots/a/b/manifest.json"), None);
        assert_eq!(reference("CURRENT").as_deref(), Some("refs/CURRENT"));
        for bad in ["", "a/b", "..", "-x", "R 20", id.as_str(), &"x".repeat(65)] {
            assert_eq!(reference(bad), None, "{bad}");
        }
    }
}
