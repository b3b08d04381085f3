//! `kill -9` at random moments of a build, a copy and a fetch: afterwards the lake
//! verifies, and the next run completes with the result of an undisturbed one.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use domain::Digest;
use indicatif::ProgressBar;
use lake::{GcOptions, PackageCache, Snapshot, SnapshotStore, SourceList};

use crate::{
    store::built,
    support::Random,
    synthetic::{self, Files},
};

/// Tells the child what to do, and where.
const WORK: &str = "R2R_TEST_KILL_WORK";
const DIR: &str = "R2R_TEST_KILL_DIR";
const SEED: u64 = 20;
const KILLS: usize = 50;
const FETCHES: usize = 12;
/// pip needs about a second to start, fetch and check.
const FETCH_MS_MAX: usize = 1500;

/// Returns the data of the builds the child makes in turn.
fn versions() -> Vec<Files> {
    let version = |closes: &[u8]| {
        let mut files = synthetic::files();
        files.get_mut("index.csv").unwrap().extend_from_slice(closes);
        files
    };
    vec![version(b""), version(b"2021-07-01,3100\n"), version(b"2022-01-03,3200\n")]
}

/// Starts the child and kills it `ms` after it began to work.
fn kill_after(ms: usize, work: &str, dir: &Path) {
    let mut child = child(work, dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("works")), "the child did not start");
    thread::sleep(Duration::from_millis(ms as u64));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn child(work: &str, dir: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "kill::child_works_until_killed", "--nocapture"]);
    command.env(WORK, work).env(DIR, dir);
    // Packages come from a directory, not from the network.
    command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", dir.join("index"));
    command
}

/// The child of the tests below; alone it does nothing.
#[tokio::test]
async fn child_works_until_killed() {
    let (Ok(work), Some(dir)) = (env::var(WORK), env::var_os(DIR).map(PathBuf::from)) else {
        return;
    };
    println!("works");
    match work.as_str() {
        "build" => loop {
            for files in versions() {
                let id = built(&dir, &files).id;
                copy(&dir, id).await;
            }
        },
        "fetch" => {
            let cache = PackageCache::new(dir.join("packages"));
            cache.fetch(&package(&dir), &ProgressBar::hidden()).unwrap();
        }
        other => panic!("{other}"),
    }
}

async fn copy(dir: &Path, id: Digest) {
    let copies = SnapshotStore::local(&dir.join("copies"));
    SnapshotStore::local(dir).copy_to(id, &copies, &["SYN"]).await.unwrap();
}

#[tokio::test]
async fn kill_9_during_build_and_snapshot() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let versions = versions();
    let mut undisturbed = Vec::new();
    let start = Instant::now();
    for files in &versions {
        // The packages are there before; only the work on them is killed.
        synthetic::install(dir.path(), files);
        let id = built(elsewhere.path(), files).id;
        copy(elsewhere.path(), id).await;
        undisturbed.push(id);
    }
    // The child's moments: a little longer than all its work takes on this machine.
    let ms_max = start.elapsed().as_millis() as usize * 5 / 4 + 5;
    let mut random = Random(SEED);
    let (mut half_done, mut orphans) = (0, 0);
    for n in 0..KILLS {
        let ms = random.below(ms_max);
        kill_after(ms, "build", dir.path());
        let copies = dir.path().join("copies");
        for root in [dir.path(), &copies] {
            let report = SnapshotStore::local(root).verify(None).await.unwrap();
            assert!(report.is_sound(), "kill {n} after {ms} ms: {report:?}");
            half_done += usize::from(!report.orphans.is_empty());
            orphans += report.orphans.len();
        }
        if dir.path().join("refs/SYN").exists() {
            Snapshot::open_universe(dir.path(), "SYN").await.unwrap();
        }
        // Every other time the next run starts from what is left after a removal.
        if n % 2 == 0 {
            SnapshotStore::local(dir.path()).gc(GcOptions::default()).await.unwrap();
        }
        let report = built(dir.path(), &versions[n % versions.len()]);
        assert_eq!(report.id, undisturbed[n % versions.len()], "kill {n} after {ms} ms");
        copy(dir.path(), report.id).await;
        for root in [dir.path(), &copies] {
            let current = SnapshotStore::local(root).resolve("SYN").await.unwrap();
            assert_eq!(current, report.id);
        }
        // The next kill mostly finds a store that all is to be written to.
        if n % 4 != 3 {
            for gone in ["objects", "snapshots", "refs", "copies"] {
                fs::remove_dir_all(dir.path().join(gone)).unwrap();
            }
        }
    }
    println!(
        "{KILLS} kills within {ms_max} ms: {half_done} stores with {orphans} files nobody needs"
    );
    assert!(half_done > 0, "no kill met a write");
}

/// Returns the source of a wheel that pip accepts, and puts it where pip looks.
fn package(dir: &Path) -> lake::Source {
    const NAME: &str = "r2r_test_package";
    let info = format!("{NAME}-1.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {NAME}\nVersion: 1\n");
    let tags = "Wheel-Version: 1.0\nGenerator: r2r\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    // Not compressible, so that there is something to copy.
    let mut random = Random(1);
    let data: Vec<u8> = (0..4 << 20).map(|_| random.below(256) as u8).collect();
    let wheel = synthetic::zip(&[
        ("data.bin", &data),
        (&format!("{info}/METADATA"), metadata.as_bytes()),
        (&format!("{info}/WHEEL"), tags.as_bytes()),
        (&format!("{info}/RECORD"), b""),
    ]);
    let path = dir.join("index").join(format!("{NAME}-1-py3-none-any.whl"));
    if !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &wheel).unwrap();
    }
    let list = format!(
        "[test]\npackage='r2r-test-package'\nversion='1'\narchive='wheel'\nsha256='{}'\nlicence='MIT'\nredistributable=true\nentitlement='public'",
        Digest::of(&wheel)
    );
    SourceList::parse("sources.toml", &list).unwrap().get("test").unwrap().clone()
}

#[test]
fn kill_9_during_fetch() {
    let dir = tempfile::tempdir().unwrap();
    let cache = PackageCache::new(dir.path().join("packages"));
    let source = package(dir.path());
    let archive = cache.path(&source);
    let mut random = Random(SEED);
    for n in 0..FETCHES {
        let ms = random.below(FETCH_MS_MAX);
        kill_after(ms, "fetch", dir.path());
        // There is the whole archive or none.
        if archive.exists() {
            assert_eq!(Digest::of(fs::read(&archive).unwrap()), source.sha256, "kill {n}");
        }
        let next = child("fetch", dir.path()).stdout(Stdio::null()).status().unwrap();
        assert!(next.success(), "kill {n} after {ms} ms: the next fetch fails");
        assert_eq!(Digest::of(fs::read(&archive).unwrap()), source.sha256);
        fs::remove_file(&archive).unwrap();
    }
}
