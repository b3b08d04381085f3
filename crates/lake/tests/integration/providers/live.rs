//! Universes whose feeds name live providers: from the archive to a snapshot and a read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use chrono::{Datelike as _, Days, NaiveDate, Weekday};
use datafusion::arrow::array::RecordBatch;
use domain::{EvidenceKind, FixedClock};
use indicatif::ProgressBar;
use lake::{
    Ask, BuildOptions, BuildReport, Kind, LakeError, ProviderList, Snapshot, SnapshotStore,
    SourceList, Universe, build_snapshot, fetch_commands,
};

use super::{Bench, NOW, Route, Step, body, contents, payload, provider, recorded, route, show};

/// When EDGAR is asked: after the filings in the recorded answers.
const LATER: &str = "2023-06-30T12:00:00Z";

/// The example universe, as the repository has it.
fn live() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/universes/live.toml");
    fs::read_to_string(path).unwrap()
}

fn universe(text: &str) -> Universe {
    Universe::parse("live.toml", text).unwrap()
}

fn build_with(
    data_dir: &Path,
    universe: &Universe,
    providers: &ProviderList,
) -> Result<BuildReport, LakeError> {
    build_snapshot(&BuildOptions {
        data_dir,
        universe,
        sources: &SourceList::builtin().unwrap(),
        providers,
        git_commit: "unknown",
        clock: &FixedClock("2026-01-01T00:00:00Z".parse().unwrap()),
        progress: &ProgressBar::hidden(),
    })
}

fn build(data_dir: &Path, universe: &Universe) -> Result<BuildReport, LakeError> {
    build_with(data_dir, universe, &ProviderList::builtin().unwrap())
}

fn commands(universe: &Universe) -> Vec<String> {
    fetch_commands(universe, &ProviderList::builtin().unwrap()).unwrap()
}

/// Does what a command says, as the command line does.
async fn run(bench: &mut Bench, command: &str) {
    let mut words = command.strip_prefix("r2r data fetch ").unwrap().split(' ');
    bench.provider = provider(words.next().unwrap());
    let is_edgar = bench.provider.id == "edgar";
    bench.now = if is_edgar { LATER } else { NOW }.to_owned();
    let mut ask = Ask { symbols: Vec::new(), from: None, to: None };
    while let Some(word) = words.next() {
        match word {
            "--from" => ask.from = words.next().map(|day| day.parse().unwrap()),
            symbol => ask.symbols.push(symbol.to_owned()),
        }
    }
    bench.ask(&ask).await.unwrap();
}

async fn fetched(universe: &Universe, routes: Vec<Route>) -> Bench {
    let mut bench = Bench::start("yahoo", routes).await;
    for command in commands(universe) {
        run(&mut bench, &command).await;
    }
    bench
}

async fn tables(data_dir: &Path, report: &BuildReport) -> BTreeMap<Kind, RecordBatch> {
    let store = SnapshotStore::local(data_dir);
    let manifest = store.manifest(report.id).await.unwrap();
    store.batches(&manifest).await.unwrap()
}

#[tokio::test]
async fn the_example_is_built_from_the_archive_of_its_commands() {
    let universe = universe(&live());
    assert_eq!(
        commands(&universe),
        [
            "r2r data fetch edgar AAPL=320193 --from 2022-01-01",
            "r2r data fetch fred GDP VIXCLS",
            "r2r data fetch yahoo AAPL ^GSPC",
            "r2r data fetch yahoo-news AAPL",
        ]
    );
    let bench = fetched(&universe, recorded()).await;
    let report = build(bench.dir.path(), &universe).unwrap();
    let tables = tables(bench.dir.path(), &report).await;
    let rows = |kind, columns: &[&str]| show(&tables[&kind], columns);

    // Prices as traded before the split, the split known when it took effect.
    let bars = rows(Kind::Bars, &["ticker", "session", "close", "price_basis", "known_at"]);
    assert_eq!(bars.len(), 5);
    assert_eq!(bars[2], "AAPL 2020-08-28 499.23 raw 2020-08-28T20:00:00Z");
    assert_eq!(bars[3], "AAPL 2020-08-31 129.04 raw 2020-08-31T20:00:00Z");
    let actions = rows(Kind::Actions, &["action", "value", "known_at"]);
    assert_eq!(actions, ["dividend 0.82 2020-08-07T13:30:00Z", "split 4.0 2020-08-31T13:30:00Z"]);
    assert_eq!(rows(Kind::Index, &["close"]), ["3500.31", "3526.65"]);
    // Vintages, under the name features know the series by.
    let vix: Vec<String> = rows(Kind::Macro, &["series", "value", "known_at", "record_id"]);
    assert!(vix.contains(&"GDP 28255.9 2024-05-31T02:00:00Z GDP-2024-03-31-2024-05-30".to_owned()));
    assert!(vix.contains(&"VIX 22.96 2020-09-01T02:00:00Z VIX-2020-08-28-2020-08-31".to_owned()));
    // Facts, texts and insiders are known when their filings are.
    assert_eq!(
        rows(Kind::Filings, &["form", "known_at"]),
        [
            "8-K 2015-07-21T20:30:00Z",
            "10-K 2022-10-28T10:00:00Z",
            "4 2023-05-12T22:30:25Z",
            "4/A 2023-05-16T22:30:25Z",
        ]
    );
    assert_eq!(rows(Kind::Facts, &["known_at"]), vec!["2022-10-28T10:00:00Z"; 3]);
    assert_eq!(
        rows(Kind::FilingTexts, &["item", "known_at"]),
        ["1 2022-10-28T10:00:00Z", "1A 2022-10-28T10:00:00Z", "7 2022-10-28T10:00:00Z"]
    );
    assert_eq!(
        rows(Kind::Insider, &["owner_name", "code", "shares", "known_at"])[0],
        "DOE JANE S 69996.0 2023-05-12T22:30:25Z"
    );
    assert!(!rows(Kind::News, &["title"]).is_empty());

    // What could not be read is in the quarantine, with what nobody has.
    let reasons: BTreeSet<&str> = report.rejected.iter().map(|r| &*r.reason).collect();
    for reason in [
        "it has no close (null)",
        "its session was not over when it was fetched",
        "no observation (.)",
        "it states no number of shares",
        "the provider has nothing for AAPL",
    ] {
        assert!(reasons.contains(reason), "{reason}: {reasons:?}");
    }
    let quarantine = fs::read_to_string(report.dir.join("quarantine.jsonl")).unwrap();
    assert_eq!(quarantine.lines().count(), report.rejected.len());
}

#[tokio::test]
async fn a_read_of_a_live_universe_and_its_manifest() {
    let universe = universe(&live());
    let bench = fetched(&universe, recorded()).await;
    let report = build(bench.dir.path(), &universe).unwrap();
    let snapshot = Snapshot::open_universe(bench.dir.path(), "LIVE").await.unwrap();
    assert_eq!(snapshot.id(), report.id);
    let read =
        snapshot.read(&"AAPL".parse().unwrap(), "2020-09-01".parse().unwrap()).await.unwrap();
    // The close of that day of the index is published the next day.
    assert_eq!(read.value("vix_level"), Some(22.96));
    let vix = read.frame().iter().find(|f| f.name == "vix_level").unwrap();
    assert_eq!(vix.provenance.source, "CBOE Volatility Index: VIX, FRED");
    assert_eq!(vix.provenance.known_at.to_rfc3339(), "2020-09-01T02:00:00+00:00");
    assert_eq!(read.value("net_margin"), None, "the report is of 2022");
    for item in read.catalogue() {
        assert!(item.provenance().known_at <= read.as_of().instant(), "{item:?}");
    }

    let manifest = snapshot.manifest();
    let providers: BTreeSet<&str> =
        manifest.raw_answers.iter().map(|answer| &*answer.provider).collect();
    assert_eq!(providers, ["edgar", "fred", "yahoo", "yahoo-news"].into());
    for answer in &manifest.raw_answers {
        let name = answer.sha256.to_string();
        let archive = bench.dir.path().join("raw").join(&answer.provider);
        let object = archive.join("objects").join(&name[..2]).join(format!("{name}.zst"));
        assert!(object.exists(), "{answer:?}");
        assert!(!answer.url.contains(super::KEY) && answer.url.starts_with(&bench.url));
    }
    let bars = manifest.source(Kind::Bars).unwrap();
    assert_eq!((&*bars.source_id, &*bars.package.version), ("yahoo", "2020-09-02"));
    assert_eq!(bars.members, ["chart"]);
    assert!(!bars.redistributable && bars.licence.contains("Yahoo"));
    let facts = manifest.source(Kind::Facts).unwrap();
    assert_eq!(facts.members, ["company_facts", "overflow", "submissions"]);
}

#[tokio::test]
async fn the_same_archive_gives_the_same_snapshot_and_a_newer_answer_another() {
    let universe = universe(&live());
    let mut routes = recorded();
    let chart = routes.iter_mut().find(|r| r.path.ends_with("/AAPL")).unwrap();
    let corrected = payload("yahoo_aapl.json").replace("151948100", "151948104");
    chart.steps.push(body(corrected));
    let mut bench = fetched(&universe, routes).await;
    let first = build(bench.dir.path(), &universe).unwrap();
    let again = build(bench.dir.path(), &universe).unwrap();
    assert!(!first.already_built && again.already_built);
    assert_eq!(again.id, first.id);

    // Elsewhere, from a copy of the archive.
    let elsewhere = tempfile::tempdir().unwrap();
    for (path, bytes) in contents(&bench.dir.path().join("raw")) {
        let path = elsewhere.path().join(path.strip_prefix(bench.dir.path()).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let copied = build(elsewhere.path(), &universe).unwrap();
    assert_eq!(copied.id, first.id);
    for dir in ["objects", "snapshots"] {
        let relative = |root: &Path| -> BTreeMap<_, _> {
            let files = contents(&root.join(dir)).into_iter();
            files.map(|(p, bytes)| (p.strip_prefix(root).unwrap().to_owned(), bytes)).collect()
        };
        assert_eq!(relative(bench.dir.path()), relative(elsewhere.path()), "{dir}");
    }

    bench.refresh = true;
    run(&mut bench, "r2r data fetch yahoo AAPL").await;
    let newer = build(bench.dir.path(), &universe).unwrap();
    assert_ne!(newer.id, first.id);
    let volumes = |tables: BTreeMap<Kind, RecordBatch>| show(&tables[&Kind::Bars], &["volume"]);
    let newest = volumes(tables(bench.dir.path(), &newer).await);
    assert_eq!(newest[4], "151948104.0");
    assert_eq!(volumes(tables(bench.dir.path(), &first).await)[4], "151948100.0");
    // A changed archive is no archive.
    let files = contents(&elsewhere.path().join("raw/yahoo/objects"));
    fs::write(files.keys().next().unwrap(), "changed").unwrap();
    let error = build(elsewhere.path(), &universe).unwrap_err();
    assert!(error.to_string().contains("fetch again"), "{error}");
}

#[tokio::test]
async fn what_the_archive_lacks_is_named_with_the_command_that_fetches_it() {
    let two = live().replace(
        "[[names]]",
        "[[names]]\nticker = \"GONE\"\ncompany = \"Gone & Co\"\nissuer_ciks = [5, 6]\naliases = []\n\n[[names]]",
    );
    let bench = Bench::start("yahoo", recorded()).await;
    let lacking = |feed: &str| {
        let error = build(bench.dir.path(), &universe(&format!("{}{feed}", header()))).unwrap_err();
        assert!(matches!(error, LakeError::NotArchived { .. }), "{error}");
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        text.replace("the raw archive has no answer for", "NONE")
    };
    let of = |feed: &str| format!("[[feeds]]\n{feed}\n{}", names(&two));
    let cases = [
        (
            "kind = \"index\"\nprovider = \"yahoo\"\nsymbols = [\"^GSPC\"]",
            "universe LIVE, feed index of yahoo: NONE ^GSPC: run `r2r data fetch yahoo ^GSPC`",
        ),
        (
            "kind = \"macro\"\nprovider = \"fred\"\nsymbols = [\"VIX=VIXCLS\"]",
            "universe LIVE, feed macro of fred: NONE VIX: run `r2r data fetch fred VIXCLS`",
        ),
        (
            "kind = \"facts\"\nprovider = \"edgar\"",
            "universe LIVE, feed facts of edgar: NONE GONE, AAPL: run `r2r data fetch edgar GONE=5 GONE=6 AAPL=320193`",
        ),
        (
            "kind = \"insider\"\nprovider = \"edgar\"\nfrom = \"2022-01-01\"",
            "universe LIVE, feed insider of edgar: NONE GONE, AAPL: run `r2r data fetch edgar GONE=5 GONE=6 AAPL=320193 --from 2022-01-01`",
        ),
        (
            "kind = \"news\"\nprovider = \"newsapi\"",
            "universe LIVE, feed news of newsapi: NONE GONE, AAPL: run `r2r data fetch newsapi 'GONE=Gone & Co' AAPL=Apple`",
        ),
        (
            "kind = \"estimates\"\nprovider = \"fmp\"",
            "universe LIVE, feed estimates of fmp: NONE GONE, AAPL: run `r2r data fetch fmp GONE AAPL`",
        ),
    ];
    for (feed, expected) in cases {
        assert_eq!(lacking(&of(feed)), expected);
    }
    // Each error is gone when its command was run, until the archive has all.
    let mut bench = Bench::start("yahoo", recorded()).await;
    let example = universe(&live());
    let mut ran = Vec::new();
    while let Err(error) = build(bench.dir.path(), &example) {
        let text = error.to_string();
        let (_, command) = text.split_once("run `").unwrap();
        let command = command.strip_suffix('`').unwrap();
        run(&mut bench, command).await;
        ran.push(command.to_owned());
    }
    assert_eq!(
        ran,
        [
            "r2r data fetch yahoo AAPL",
            "r2r data fetch yahoo ^GSPC",
            "r2r data fetch fred GDP VIXCLS",
            "r2r data fetch yahoo-news AAPL",
            "r2r data fetch edgar AAPL=320193 --from 2022-01-01",
        ]
    );
}

/// The example without its feeds and names.
fn header() -> String {
    live().split_once("# Prices as traded").unwrap().0.to_owned()
}

fn names(text: &str) -> &str {
    &text[text.find("[[names]]").unwrap()..]
}

#[tokio::test]
async fn a_fetch_that_was_stopped_or_of_another_window_is_not_taken_for_whole() {
    let example = universe(&live());
    let mut routes = recorded();
    let broken = Step { status: 500, ..Step::default() };
    let pages = routes.iter_mut().filter(|r| r.path.ends_with("/observations"));
    pages.for_each(|route| route.steps = vec![broken.clone()]);
    let mut bench = Bench::start("yahoo", routes).await;
    run(&mut bench, "r2r data fetch yahoo AAPL ^GSPC").await;
    run(&mut bench, "r2r data fetch fred GDP").await;
    let error = build(bench.dir.path(), &example).unwrap_err().to_string();
    assert_eq!(
        error,
        "universe LIVE, feed macro of fred: the raw archive has no answer for VIX, and only \
         some of the answers for GDP: run `r2r data fetch fred GDP VIXCLS`"
    );

    // Lists and facts alone, where texts are wanted.
    let text = format!(
        "{}[[feeds]]\nkind = \"facts\"\nprovider = \"edgar\"\n[[feeds]]\nkind = \"filing_texts\"\n\
         provider = \"edgar\"\nfrom = \"2015-01-01\"\n{}",
        header(),
        names(&live())
    );
    let mut bench = Bench::start("edgar", recorded()).await;
    for command in ["r2r data fetch edgar AAPL", "r2r data fetch edgar AAPL --from 2022-01-01"] {
        run(&mut bench, command).await;
        let error = build(bench.dir.path(), &universe(&text)).unwrap_err().to_string();
        assert_eq!(
            error,
            "universe LIVE, feed filing_texts of edgar: the raw archive has only some of the \
             answers for AAPL: run `r2r data fetch edgar AAPL=320193 --from 2015-01-01`",
            "{command}"
        );
    }
    run(&mut bench, "r2r data fetch edgar AAPL=320193 --from 2015-01-01").await;
    let report = build(bench.dir.path(), &universe(&text)).unwrap();
    let all = tables(bench.dir.path(), &report).await;
    let columns = ["form", "item", "known_at"];
    // Of an 8-K what the company says in its exhibit, with the clock of its header.
    assert_eq!(
        show(&all[&Kind::FilingTexts], &columns)[..2],
        ["8-K 2.02 2015-07-21T20:30:42Z", "8-K EX-99.1 2015-07-21T20:30:42Z"]
    );
    // What was fetched beside the window is not read.
    let narrow = text.replace("2015-01-01", "2022-06-01");
    let report = build(bench.dir.path(), &universe(&narrow)).unwrap();
    let all = tables(bench.dir.path(), &report).await;
    assert_eq!(show(&all[&Kind::FilingTexts], &["form"]), vec!["10-K"; 3]);
}

/// A chart of weekdays under another symbol than the ticker.
fn chart() -> Route {
    let first: NaiveDate = "2022-08-01".parse().unwrap();
    let days = (0..110).map(|n| first + Days::new(n));
    let days = days.filter(|day| !matches!(day.weekday(), Weekday::Sat | Weekday::Sun));
    let opens: Vec<String> = days
        .map(|day| day.and_hms_opt(13, 30, 0).unwrap().and_utc().timestamp().to_string())
        .collect();
    let closes: Vec<String> =
        (0..opens.len()).map(|i| format!("{:.2}", 150.0 + (i as f64 * 0.7).sin())).collect();
    let text = format!(
        r#"{{"chart":{{"result":[{{"meta":{{"exchangeTimezoneName":"America/New_York","dataGranularity":"1d"}},"timestamp":[{}],"indicators":{{"quote":[{{"close":[{}]}}]}}}}],"error":null}}}}"#,
        opens.join(","),
        closes.join(",")
    );
    route("/v8/finance/chart/APPLE", &[], vec![body(text)])
}

#[tokio::test]
async fn a_filing_is_read_from_the_moment_it_was_shown_on() {
    let text = format!("{}symbols = {{ bars = \"APPLE\" }}\n", live());
    let example = universe(&text);
    assert!(commands(&example).contains(&"r2r data fetch yahoo APPLE ^GSPC".to_owned()));
    let mut routes = recorded();
    routes.push(chart());
    let mut bench = Bench::start("yahoo", routes).await;
    for command in commands(&example) {
        run(&mut bench, &command).await;
        if command.contains("yahoo APPLE") {
            // Once more, when the sessions are over.
            bench.now = LATER.to_owned();
            bench.fetch(&["APPLE"]).await.unwrap();
        }
    }
    build(bench.dir.path(), &example).unwrap();
    let snapshot = Snapshot::open_universe(bench.dir.path(), "LIVE").await.unwrap();
    let (ticker, before) = ("AAPL".parse().unwrap(), "2022-10-27".parse().unwrap());
    let read = snapshot.read(&ticker, before).await.unwrap();
    assert!(read.value("vol_20d").is_some());
    assert_eq!(read.value("revenue_growth_yoy"), None, "accepted in the evening, shown at six");
    let read = snapshot.read(&ticker, "2022-10-28".parse().unwrap()).await.unwrap();
    assert_eq!(read.value("revenue_growth_yoy"), Some(394_328e6 / 365_817e6 - 1.0));
    let growth = read.frame().iter().find(|f| f.name == "revenue_growth_yoy").unwrap();
    assert_eq!(growth.provenance.known_at.to_rfc3339(), "2022-10-28T10:00:00+00:00");
    assert!(growth.provenance.url.contains("/320193/000032019322000108/"));
    let quotes: Vec<&str> = read
        .catalogue()
        .iter()
        .filter_map(|item| match &item.kind {
            EvidenceKind::Text(quote) if quote.file == "filing_texts.parquet" => Some(&*quote.text),
            _ => None,
        })
        .collect();
    assert!(quotes.iter().any(|quote| quote.contains("may fluctuate")), "{quotes:?}");
}

#[tokio::test]
async fn prices_of_which_none_can_be_read_stop_the_build() {
    let feeds = "[[feeds]]\nkind = \"bars\"\nprovider = \"yahoo\"\n\n\
                 [[feeds]]\nkind = \"actions\"\nprovider = \"yahoo\"\n\n";
    let text = format!("{}{feeds}{}symbols = {{ bars = \"APPLE\" }}\n", header(), names(&live()));
    let universe = universe(&text);
    // All of them were asked for too early.
    let bench = fetched(&universe, vec![chart()]).await;
    let error = build(bench.dir.path(), &universe).unwrap_err().to_string();
    assert!(error.contains("feed bars of yahoo is not valid: none of its "), "{error}");
}

#[tokio::test]
async fn every_provider_can_be_a_feed() {
    let text = format!(
        "{}{}{}",
        header(),
        "[[feeds]]\nkind = \"bars\"\nprovider = \"stooq\"\n\
         [[feeds]]\nkind = \"news\"\nprovider = \"newsapi\"\n\
         [[feeds]]\nkind = \"news\"\nprovider = \"yahoo-news\"\n\
         [[feeds]]\nkind = \"estimates\"\nprovider = \"fmp\"\n",
        names(&live())
    );
    let example = universe(&text);
    let bench = fetched(&example, recorded()).await;
    let report = build(bench.dir.path(), &example).unwrap();
    let all = tables(bench.dir.path(), &report).await;
    let counts: Vec<usize> =
        [Kind::Bars, Kind::News, Kind::Estimates].iter().map(|kind| all[kind].num_rows()).collect();
    assert_eq!(counts, [3, 5, 4]);
    // A broker's target is known since its day, a consensus since it was fetched.
    let known = show(&all[&Kind::Estimates], &["broker", "known_at"]);
    assert_eq!(known[0], "Broker 2020-08-26T13:13:00Z");
    assert!(known[1..].iter().all(|row| row == "consensus 2020-09-02T18:00:00Z"), "{known:?}");
    assert_eq!(build(bench.dir.path(), &example).unwrap().id, report.id);
}

#[test]
fn feeds_that_cannot_be_are_refused_with_the_remedy() {
    let refused = |feeds: &str| {
        let text = format!("{}{feeds}\n{}", header(), names(&live()));
        let dir = tempfile::tempdir().unwrap();
        let universe = Universe::parse("live.toml", &text);
        let error = universe.and_then(|universe| build(dir.path(), &universe)).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
        error.to_string()
    };
    let feed = |keys: &str| format!("[[feeds]]\n{}", keys.replace("; ", "\n"));
    for (keys, says) in [
        ("kind = \"bars\"; provider = \"yaho\"", "provider \"yaho\" is not on the list"),
        ("kind = \"bars\"; provider = \"yahoo\"", "add a feed with kind = \"actions\""),
        ("kind = \"news\"; provider = \"yahoo\"", "it has bars, actions, index"),
        ("kind = \"facts\"; provider = \"fred\"", "it has macro"),
        ("kind = \"index\"; provider = \"yahoo\"", "`symbols` goes with a provider"),
        ("kind = \"index\"; provider = \"yahoo\"; symbols = [\"SPY\"]", "SPY is no index"),
        ("kind = \"facts\"; provider = \"edgar\"; symbols = [\"A\"]", "`symbols` goes with"),
        ("kind = \"macro\"; provider = \"fred\"; symbols = [\"VIX=vix\"]", "not a FRED series id"),
        ("kind = \"macro\"; provider = \"fred\"; symbols = [\"A=B\", \"A=C\"]", "has A twice"),
        ("kind = \"filing_texts\"; provider = \"edgar\"", "`from`, the first filing date"),
        ("kind = \"facts\"; provider = \"edgar\"; from = \"2022-01-01\"", "`from`, the first"),
        ("kind = \"facts\"; provider = \"edgar\"; source = \"skfolio\"", "names either `source`"),
        ("kind = \"facts\"; source = \"skfolio\"", "names either `source` and `format`"),
        ("kind = \"facts\"; provider = \"edgar\"; parts = [\"a\"]", "go with a source"),
    ] {
        let error = refused(&feed(keys));
        assert!(error.contains(says), "{keys}: {error}");
    }
    let split = "[[splits]]\nticker = \"AAPL\"\nex_date = \"2020-08-31\"\nratio = 4.0\n";
    let stooq = feed("kind = \"index\"; provider = \"stooq\"; symbols = [\"^SPX\"]");
    assert!(refused(&format!("{split}{stooq}")).contains("[[splits]] go with prices of a source"));

    // A list of one's own in which the provider states no terms.
    let list = include_str!("../../../../../configs/providers.toml");
    let bare = list.replace("licence = \"Yahoo Terms of Service (personal use)\"", "");
    let providers = ProviderList::parse("mine.toml", &bare).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = build_with(dir.path(), &universe(&live()), &providers).unwrap_err();
    assert!(matches!(error, LakeError::UnlicensedProvider { .. }), "{error}");
    assert!(!dir.path().join("snapshots").exists());
}
