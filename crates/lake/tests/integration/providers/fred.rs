//! Quirks of FRED and ALFRED.

use std::fmt::Write as _;

use chrono::{Days, NaiveDate};
use lake::Kind;

use super::{Bench, KEY, Route, Step, body, payload, reasons, recorded, route, show};

const COLUMNS: [&str; 4] = ["series", "period_end", "value", "known_at"];

fn series(frequency: &str) -> Route {
    let text = payload("fred_series.json").replace("\"Q\"", &format!("\"{frequency}\""));
    route("/fred/series", &[], vec![body(text)])
}

fn vintages(dates: &[NaiveDate], from: usize, limit: usize) -> String {
    let page = &dates[from..dates.len().min(from + limit)];
    let page: Vec<String> = page.iter().map(|d| format!("\"{d}\"")).collect();
    format!(
        r#"{{"count":{},"offset":{from},"limit":{limit},"vintage_dates":[{}]}}"#,
        dates.len(),
        page.join(",")
    )
}

/// A page of observations; `rows` are realtime_start, date and value.
fn observations(from: &str, rows: &[(&str, &str, &str)], more: &str) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|(start, date, value)| {
            format!(r#"{{"realtime_start":"{start}","realtime_end":"9999-12-31","date":"{date}","value":"{value}"}}"#)
        })
        .collect();
    let default = format!(r#""count":{},"offset":0,"limit":100000"#, rows.len());
    let more = if more.is_empty() { default } else { more.to_owned() };
    format!(
        r#"{{"realtime_start":"{from}","realtime_end":"9999-12-31","output_type":1,{more},"observations":[{}]}}"#,
        rows.join(",")
    )
}

async fn with_observations(frequency: &str, text: String) -> Bench {
    let vintages =
        route("/fred/series/vintagedates", &[], vec![body(payload("fred_vintages.json"))]);
    let page = route("/fred/series/observations", &[], vec![body(text)]);
    let bench = Bench::start("fred", vec![series(frequency), vintages, page]).await;
    bench.fetch(&["GDP"]).await.unwrap();
    bench
}

#[tokio::test]
async fn every_vintage_is_a_record_known_from_its_start_on() {
    let bench = Bench::start("fred", recorded()).await;
    let report = bench.fetch(&["GDP"]).await.unwrap();
    assert_eq!((report.fetched, report.missing.len()), (3, 0));
    let targets: Vec<String> = bench.seen().into_iter().map(|s| s.target).collect();
    let begin = "series_id=GDP&file_type=json";
    let key = format!("api_key={KEY}");
    assert_eq!(
        targets,
        [
            format!("/fred/series?{begin}&{key}"),
            format!("/fred/series/vintagedates?{begin}&limit=10000&offset=0&{key}"),
            format!(
                "/fred/series/observations?{begin}&realtime_start=1776-07-04&realtime_end=9999-12-31&limit=100000&{key}"
            ),
        ]
    );
    let (batch, rejected) = bench.table(Kind::Macro);
    // The quarter ends at its end, and a vintage is known that evening in New York.
    assert_eq!(
        show(&batch, &COLUMNS),
        [
            "GDP 1946-03-31 199.7 1992-12-23T03:00:00Z",
            "GDP 2024-03-31 28284.5 2024-04-26T02:00:00Z",
            "GDP 2024-03-31 28255.9 2024-05-31T02:00:00Z",
            "GDP 2024-06-30 28629.2 2024-07-26T02:00:00Z",
        ]
    );
    assert_eq!(
        show(&batch, &["record_id", "source"])[1],
        "GDP-2024-03-31-2024-04-25 Gross Domestic Product, FRED"
    );
    assert_eq!(reasons(&rejected), ["no observation (.)"]);
}

#[tokio::test]
async fn a_period_ends_where_its_frequency_says() {
    for (frequency, end) in [
        ("D", "2024-01-01"),
        ("W", "2024-01-01"),
        ("BW", "2024-01-01"),
        ("M", "2024-01-31"),
        ("Q", "2024-03-31"),
        ("SA", "2024-06-30"),
        ("A", "2024-12-31"),
    ] {
        let text = observations("1776-07-04", &[("2024-02-01", "2024-01-01", "1.5")], "");
        let bench = with_observations(frequency, text).await;
        let (batch, _) = bench.table(Kind::Macro);
        assert_eq!(show(&batch, &["period_end", "value"]), [format!("{end} 1.5")]);
    }
    let text = observations("1776-07-04", &[("2024-02-01", "2024-01-01", "1.5")], "");
    let (batch, rejected) = with_observations("5Y", text).await.table(Kind::Macro);
    assert_eq!(
        (batch.num_rows(), reasons(&rejected)),
        (0, vec!["its series has no known frequency"])
    );
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_set_aside() {
    let rows = [
        ("2024-02-01", "2024-01-01", "."),
        ("2024-02-01", "2024-01-02", ""),
        ("2024-02-01", "2024-01-03", "n/a"),
        ("2024-02-01", "2024-01-04", "inf"),
        ("2024-02-01", "04.01.2024", "1"),
        ("1776-07-04", "2024-01-05", "1"),
        ("2024-02-01", "2024-01-08", "-0.5"),
    ];
    let bench = with_observations("D", observations("1776-07-04", &rows, "")).await;
    let (batch, rejected) = bench.table(Kind::Macro);
    assert_eq!(show(&batch, &["period_end", "value"]), ["2024-01-08 -0.5"]);
    assert_eq!(
        reasons(&rejected),
        [
            "no observation (.)",
            "no observation (.)",
            "its value is not a number",
            "its value is not a number",
            "its date is not YYYY-MM-DD",
            "the day it was published is unknown",
        ]
    );
}

/// A question over more than 2,000 vintages is refused, and one that begins later
/// cuts the start of what was known before: the parts overlap in one vintage.
#[tokio::test]
async fn many_vintages_are_asked_for_in_parts_without_a_false_start() {
    let first: NaiveDate = "2010-01-01".parse().unwrap();
    let dates: Vec<NaiveDate> = (0..2500).map(|n| first + Days::new(n)).collect();
    let seam = dates[1998].to_string();
    let parts = [
        observations(
            "1776-07-04",
            &[
                ("2010-01-01", "2009-12-31", "1"),
                (&seam, "2009-12-31", "2"),
                (&seam, "2015-06-21", "3"),
            ],
            "",
        ),
        observations(
            &seam,
            // The first two rows are cut or known; the third is new.
            &[
                (&seam, "2009-12-31", "2"),
                (&seam, "2015-06-21", "3"),
                ("2016-01-01", "2015-12-31", "4"),
            ],
            "",
        ),
    ];
    let steps = |text: &str| vec![body(text)];
    let path = "/fred/series/observations";
    let routes = vec![
        series("D"),
        route("/fred/series/vintagedates", &[], steps(&vintages(&dates, 0, 10_000))),
        route(path, &[("realtime_start", "1776-07-04"), ("realtime_end", &seam)], steps(&parts[0])),
        route(path, &[("realtime_start", &seam), ("realtime_end", "9999-12-31")], steps(&parts[1])),
    ];
    let bench = Bench::start("fred", routes).await;
    let report = bench.fetch(&["GDP"]).await.unwrap();
    assert_eq!((report.fetched, report.failed.len()), (4, 0));
    let (batch, rejected) = bench.table(Kind::Macro);
    assert_eq!(
        show(&batch, &["period_end", "value", "known_at"]),
        [
            "2009-12-31 1.0 2010-01-02T03:00:00Z".to_owned(),
            format!("2009-12-31 2.0 {}", known(&seam)),
            format!("2015-06-21 3.0 {}", known(&seam)),
            "2015-12-31 4.0 2016-01-02T03:00:00Z".to_owned(),
        ]
    );
    assert_eq!(reasons(&rejected), Vec::<&str>::new());
}

/// 22:00 in New York of a summer day, in UTC.
fn known(day: &str) -> String {
    let next = day.parse::<NaiveDate>().unwrap() + Days::new(1);
    format!("{next}T02:00:00Z")
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let dates: Vec<NaiveDate> =
        ["2024-02-01", "2024-03-01", "2024-04-01"].map(|d| d.parse().unwrap()).to_vec();
    let path = "/fred/series/vintagedates";
    let page = |offset: usize| {
        let row = [("2024-02-01", ["2024-01-01", "2024-01-02", "2024-01-03"][offset], "1")];
        body(observations("1776-07-04", &row, &format!(r#""count":3,"offset":{offset},"limit":1"#)))
    };
    let rows = "/fred/series/observations";
    let routes = vec![
        series("D"),
        route(path, &[("offset", "0")], vec![body(vintages(&dates, 0, 2))]),
        route(path, &[("offset", "2")], vec![body(vintages(&dates, 2, 2))]),
        route(
            rows,
            &[("realtime_start", "2024-03-01")],
            vec![body(observations("2024-03-01", &[], ""))],
        ),
        route(rows, &[("offset", "1")], vec![page(1)]),
        route(rows, &[("offset", "2")], vec![page(2)]),
        route(rows, &[("realtime_end", "2024-03-01")], vec![page(0)]),
    ];
    let bench = Bench::start("fred", routes).await;
    let report = bench.fetch(&["GDP"]).await.unwrap();
    assert_eq!((report.failed.len(), report.fetched), (0, 7), "{report:?}");
    let (batch, _) = bench.table(Kind::Macro);
    assert_eq!(show(&batch, &["period_end"]), ["2024-01-01", "2024-01-02", "2024-01-03"]);
}

#[tokio::test]
async fn a_page_with_fewer_rows_than_it_says_is_asked_for_again() {
    let rows = [("2024-02-01", "2024-01-01", "1.5")];
    let short = observations("1776-07-04", &rows, r#""count":2,"offset":0,"limit":100000"#);
    let whole = observations("1776-07-04", &rows, "");
    let mut routes = recorded();
    let page = routes.iter_mut().find(|r| r.path == "/fred/series/observations").unwrap();
    page.steps = vec![body(short), body(whole)];
    let bench = Bench::start("fred", routes).await;
    assert_eq!(bench.fetch(&["GDP"]).await.unwrap().fetched, 3);
    assert_eq!((bench.seen().len(), bench.verify().objects), (4, 3));
}

#[tokio::test]
async fn other_output_types_are_read_too() {
    let initial =
        payload("fred_observations.json").replace("\"output_type\":1", "\"output_type\":4");
    let (batch, _) = with_observations("Q", initial).await.table(Kind::Macro);
    assert_eq!(batch.num_rows(), 4);
    for output_type in [2, 3] {
        let mut text = format!(
            r#"{{"realtime_start":"1776-07-04","output_type":{output_type},"count":2,"offset":0,"limit":100000,"observations":["#
        );
        let _ = write!(
            text,
            r#"{{"date":"2024-01-01","GDP_20240425":"1.0","GDP_20240530":"1.0","GDP_20240725":"2.0"}},"#
        );
        let _ =
            write!(text, r#"{{"date":"2024-04-01","GDP_20240530":".","GDP_20240725":"3.0"}}]}}"#);
        let (batch, rejected) = with_observations("Q", text).await.table(Kind::Macro);
        assert_eq!(
            show(&batch, &["period_end", "value", "known_at"]),
            [
                "2024-03-31 1.0 2024-04-26T02:00:00Z",
                "2024-03-31 2.0 2024-07-26T02:00:00Z",
                "2024-06-30 3.0 2024-07-26T02:00:00Z",
            ]
        );
        assert_eq!(reasons(&rejected), ["no observation (.)"]);
    }
    let text =
        observations("1776-07-04", &[], "").replace("\"output_type\":1", "\"output_type\":9");
    let bench = with_observations("Q", text).await;
    let (_, rejected) = bench.table(Kind::Macro);
    assert_eq!(reasons(&rejected), ["its output_type is 9"]);
}

#[tokio::test]
async fn errors_are_told_apart_by_what_they_say() {
    let bench = Bench::start("fred", recorded()).await;
    let report = bench.fetch(&["NOSUCH", "GDP"]).await.unwrap();
    assert_eq!((report.missing.len(), report.failed.len()), (1, 0));
    assert!(report.missing[0].1.contains("does not exist"), "{:?}", report.missing);

    let text = r#"{"error_code":400,"error_message":"Bad Request.  The value for variable api_key is not registered."}"#;
    let step = Step { status: 400, ..body(text) };
    let bench = Bench::start("fred", vec![route("/fred/series", &[], vec![step])]).await;
    let error = bench.fetch(&["GDP", "UNRATE"]).await.unwrap_err().to_string();
    assert!(error.contains("API key is missing or not accepted"), "{error}");
    assert!(bench.rows().kinds().is_empty());
}
