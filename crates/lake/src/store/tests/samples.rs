//! Small snapshots, and stores in memory that fail on request.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::{DateTime, Days, NaiveDate, Utc};
use datafusion::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use futures::stream::BoxStream;

use crate::{
    Kind, Rejected, ReleaseLog, RetrievalConfig, Source, SourceList, UniverseInfo,
    gate::Gate,
    records::{Head, IndexBar, Rows, finish},
    store::{Contents, FeedSource, SnapshotStore, files::Files, remote::RemoteFiles},
};

/// Returns the one source of the samples.
pub(super) fn source() -> Source {
    let text = format!(
        "[synth]\npackage='p'\nversion='1'\narchive='wheel'\nsha256='{}'\nlicence='MIT'\nredistributable=true\nentitlement='public'",
        "0".repeat(64)
    );
    SourceList::parse("sources.toml", &text).unwrap().get("synth").unwrap().clone()
}

/// Returns closes of every day from 2019-12-01 on, the close of day `changed` one
/// higher, and one rejected record.
pub(super) fn contents(source: &Source, days: u64, changed: Option<u64>) -> Contents<'static> {
    let first: NaiveDate = "2019-12-01".parse().unwrap();
    let row = |n: u64| {
        let session = first + Days::new(n);
        let known_at: DateTime<Utc> = session.and_hms_opt(21, 0, 0).unwrap().and_utc();
        let head = Head {
            record_id: format!("close {session}"),
            ticker: String::new(),
            source_id: "synth".to_owned(),
            source: "p 1".to_owned(),
            url: "pkg:pypi/p@1".to_owned(),
            event_time: known_at,
            known_at,
        };
        let close = 100.0 + n as f64 + if changed == Some(n) { 1.0 } else { 0.0 };
        (head, IndexBar { session, close })
    };
    let rejected = Rejected {
        source_id: "synth".to_owned(),
        kind: Kind::Index,
        place: "index.csv:1".to_owned(),
        reason: "it is a header".to_owned(),
        raw: "Date,Close".to_owned(),
    };
    let rows = Rows {
        rows: (0..days).map(row).collect(),
        rejected: vec![rejected],
        members: vec!["index.csv".to_owned()],
    };
    let universe = r#"{"id":"SYN","title":"synthetic","bias":"made up","names":[
        {"ticker":"AAA","company":"Alpha","issuer_ciks":[1],"aliases":[],"symbols":{}}]}"#;
    let universe: UniverseInfo = serde_json::from_str(universe).unwrap();
    let none = SourceList::parse("sources.toml", "").unwrap();
    let releases = ReleaseLog::open(std::path::Path::new("no such directory")).unwrap();
    let mut gate = Gate::new(&releases);
    let source = FeedSource::of_package(source, &rows.members);
    let mut parsed = finish(rows).unwrap();
    gate.pass(Kind::Index, &source.terms(), &mut parsed).unwrap();
    Contents {
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        git_commit: "unknown",
        universe,
        features: Vec::new(),
        retrieval: RetrievalConfig::default().reference(&none).unwrap(),
        passed: gate.into_passed(),
        kinds: vec![(Kind::Index, vec![(source, parsed)]), (Kind::News, vec![])],
        raw_answers: Vec::new(),
    }
}

/// Returns a store in an object store, under a prefix.
pub(super) fn remote(store: Arc<dyn ObjectStore>) -> SnapshotStore {
    let files = RemoteFiles::new(store, Path::from("lake/one"), "memory:///lake/one");
    SnapshotStore { files: Files::Remote(files) }
}

/// An object store whose client dies: the put number `dies_at` and everything
/// after it fails, that put after or before it took effect.
#[derive(Debug)]
pub(super) struct Dying {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) dies_at: usize,
    pub(super) answer_is_lost: bool,
    puts: AtomicUsize,
}

impl Dying {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, dies_at: usize, answer_is_lost: bool) -> Self {
        Self { inner, dies_at, answer_is_lost, puts: AtomicUsize::new(0) }
    }

    pub(super) fn puts(&self) -> usize {
        self.puts.load(Ordering::SeqCst)
    }

    fn is_dead(&self) -> Result<()> {
        if self.puts() > self.dies_at { Err(dead()) } else { Ok(()) }
    }
}

fn dead() -> Error {
    Error::Generic { store: "test", source: "the process died".into() }
}

impl fmt::Display for Dying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dying")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Dying {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let number = self.puts.fetch_add(1, Ordering::SeqCst);
        if number == self.dies_at && self.answer_is_lost {
            self.inner.put_opts(location, payload, options).await?;
            return Err(dead());
        }
        if number >= self.dies_at {
            return Err(dead());
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.is_dead()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.is_dead() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(e) => Box::pin(futures::stream::once(async { Err(e) })),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
