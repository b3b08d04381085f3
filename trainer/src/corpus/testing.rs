//! What tests of several modules build on.

use domain::FixedClock;
use indicatif::ProgressBar;
use lake::{BuildOptions, ProviderList, SourceList, Universe, build_snapshot};

/// A data directory with the made-up market.
pub(crate) fn made_up() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let universe = Universe::builtin("SYN10").unwrap();
    build_snapshot(&BuildOptions {
        data_dir: dir.path(),
        universe: &universe,
        sources: &SourceList::builtin().unwrap(),
        providers: &ProviderList::builtin().unwrap(),
        git_commit: "unknown",
        clock: &FixedClock("2026-01-01T00:00:00Z".parse().unwrap()),
        progress: &ProgressBar::hidden(),
    })
    .unwrap();
    dir
}
