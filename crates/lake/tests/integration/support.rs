//! The data the tests share.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use domain::{Digest, FixedClock};
use indicatif::ProgressBar;
use lake::{
    BuildOptions, BuildReport, LakeError, ProviderList, Snapshot, SourceList, Universe,
    build_snapshot,
};

/// Returns the data directory of the tests, in which they build snapshots as of a day of their
/// own; its packages are those of the user's (`R2R_DATA_DIR`, relative to the repository root as
/// the Makefile sets it, or `data` there).
pub(crate) fn data_dir() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let user = root.join(std::env::var_os("R2R_DATA_DIR").unwrap_or_else(|| "data".into()));
    let packages = user.join("packages");
    std::fs::create_dir_all(&packages).unwrap();
    let packages = packages.canonicalize().unwrap();
    let place = Digest::of(packages.as_os_str().as_encoded_bytes()).short();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lake-{place}"));
    std::fs::create_dir_all(&dir).unwrap();
    match std::os::unix::fs::symlink(packages, dir.join("packages")) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{error}"),
        _ => dir,
    }
}

/// Builds the universe R20 with given configuration.
pub(crate) fn build(
    data_dir: &Path,
    sources: &SourceList,
    universe: &Universe,
    created_at: &str,
) -> Result<BuildReport, LakeError> {
    build_snapshot(&BuildOptions {
        data_dir,
        universe,
        sources,
        providers: &ProviderList::builtin().unwrap(),
        git_commit: "unknown",
        clock: &FixedClock(created_at.parse().unwrap()),
        progress: &ProgressBar::hidden(),
    })
}

/// Builds and opens the snapshot of R20.
pub(crate) async fn snapshot() -> Snapshot {
    let (sources, universe) = (SourceList::builtin().unwrap(), Universe::r20().unwrap());
    let start = Instant::now();
    let report = build(&data_dir(), &sources, &universe, "2026-01-01T00:00:00Z").unwrap();
    let built = start.elapsed();
    let snapshot = Snapshot::open(&report.dir).await.unwrap();
    println!("built in {built:?}, opened in {:?}", start.elapsed() - built);
    snapshot
}

/// A small generator, so that a failing seed can be replayed anywhere (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}
