//! A store in S3: moto's, on loopback, which scripts/moto.sh installs and starts.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    conformance,
    samples::{contents, source},
};
use crate::{
    LakeError, SnapshotStore,
    store::{CURRENT, names},
};

/// The first start installs Python packages.
const START_MAX: Duration = Duration::from_secs(300);
/// Tells the child its port.
const CHILD: &str = "R2R_TEST_S3_PORT";
/// Numbers of closes of the snapshots the child publishes in turn.
const VERSIONS: [u64; 3] = [60, 90, 120];
/// Moments of a publication, in milliseconds, spread over more than its length.
const DEATHS_MS: [u64; 15] = [0, 3, 7, 12, 19, 27, 36, 48, 61, 79, 98, 121, 150, 190, 240];

struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/moto.sh");
        let mut command = Command::new(script);
        command.arg(port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut moto = Self { process: command.spawn().unwrap(), port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(moto.process.try_wait().unwrap().is_none(), "scripts/moto.sh ended");
            assert!(start.elapsed() < START_MAX, "scripts/moto.sh does not serve");
            thread::sleep(Duration::from_millis(50));
        }
        moto.make_bucket();
        moto
    }

    fn make_bucket(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = "PUT /lake HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn store(port: u16, prefix: &str) -> SnapshotStore {
    let options = [
        ("aws_endpoint", format!("http://127.0.0.1:{port}")),
        ("aws_allow_http", "true".to_owned()),
        ("aws_access_key_id", "test".to_owned()),
        ("aws_secret_access_key", "test".to_owned()),
        ("aws_region", "us-east-1".to_owned()),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value));
    SnapshotStore::open_with(&format!("s3://lake/{prefix}"), options).unwrap()
}

#[tokio::test]
async fn a_store_in_s3_conforms() {
    let moto = Moto::start();
    conformance::check(&store(moto.port, "a/b")).await;
    conformance::check(&store(moto.port, "")).await;
    let store = store(moto.port, "c");
    let source = source();
    let id = store.publish(&contents(&source, 60, None), &[CURRENT]).await.unwrap().id;
    let manifest = store.manifest(id).await.unwrap();
    let object = &manifest.data_sources[0];
    store.files.replace(&object.file_path, "damaged".into()).await.unwrap();
    store.files.remove(&manifest.data_sources[1].file_path).await.unwrap();
    let report = store.verify(None).await.unwrap();
    let texts: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let has = |part: &str| texts.iter().any(|text| text.contains(part));
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(has(&format!("s3://lake/c/{} has SHA-256", object.file_path)), "{texts:?}");
    assert!(has("is missing"), "{texts:?}");
    // The next publication repairs both.
    store.publish(&contents(&source, 60, None), &[CURRENT]).await.unwrap();
    assert!(store.verify(None).await.unwrap().is_sound());
    store.files.replace(&names::manifest(id), "{}".into()).await.unwrap();
    let error = store.manifest(id).await.unwrap_err();
    assert!(matches!(error, LakeError::BadSnapshot { .. }), "{error}");
}

/// A process that publishes is killed at many moments; whatever it has written,
/// the store stays sound, and the next process completes the work.
#[tokio::test]
async fn kill_9_leaves_no_half_snapshot_in_s3() {
    let moto = Moto::start();
    let (source, store) = (source(), store(moto.port, "killed"));
    let undisturbed = self::store(moto.port, "undisturbed");
    for (n, ms) in DEATHS_MS.into_iter().enumerate() {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::tests::s3::publishes_until_killed", "--nocapture"])
            .env(CHILD, moto.port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("publishes")), "the child did not start");
        thread::sleep(Duration::from_millis(ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let report = store.verify(None).await.unwrap();
        assert!(report.is_sound(), "killed after {ms} ms: {report:?}");
        let contents = contents(&source, VERSIONS[n % VERSIONS.len()], Some(n as u64));
        let next = store.publish(&contents, &["SYN", CURRENT]).await.unwrap().id;
        assert_eq!(next, undisturbed.publish(&contents, &[]).await.unwrap().id);
        assert_eq!(store.resolve(CURRENT).await.unwrap(), next);
        assert!(store.verify(None).await.unwrap().is_sound());
    }
}

/// The child of the test above; alone it does nothing.
#[tokio::test]
async fn publishes_until_killed() {
    let Some(port) = env::var(CHILD).ok().and_then(|port| port.parse().ok()) else {
        return;
    };
    let (source, store) = (source(), store(port, "killed"));
    println!("publishes");
    for n in (0..).map(|n: u64| n + u64::from(std::process::id())) {
        let contents = contents(&source, VERSIONS[n as usize % VERSIONS.len()], Some(n % 50));
        // A reference that the next process moves meanwhile is no failure.
        drop(store.publish(&contents, &["SYN", CURRENT]).await);
    }
}
