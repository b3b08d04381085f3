//! A small package with every kind of record, made on the spot.

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Write},
    path::Path,
};

use chrono::{Datelike, Days, NaiveDate, Weekday};
use domain::Digest;
use lake::{PackageCache, SourceList, Universe};
use zip::{ZipWriter, write::SimpleFileOptions};

/// Members of the synthetic wheel by path; a test may edit them.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

const UNIVERSE: &str = r#"
id = "SYN"
title = "synthetic"
bias = "made up"
[[feeds]]
kind = "bars"
source = "synth"
format = "wide_closes"
[[feeds]]
kind = "index"
source = "synth"
format = "wide_closes"
[[feeds]]
kind = "news"
source = "synth"
format = "nasdaq_news"
[[feeds]]
kind = "facts"
source = "synth"
format = "companyfacts"
[[feeds]]
kind = "insider"
source = "synth"
format = "form345"
[[macro]]
series = "VIX"
title = "volatility"
source = "synth"
member = "vix"
column = "vix"
period = "day"
lag_days = 0
known_time = "16:15"
[[names]]
ticker = "AAA"
company = "Alpha"
issuer_ciks = [1]
aliases = ["Alpha"]
symbols = { news = "AAA", facts = "aaa" }
[[names]]
ticker = "BBB"
company = "Beta"
issuer_ciks = [2]
aliases = ["Beta"]
"#;

/// Returns the members: two names, closes of every weekday of 2020-01-01 to
/// 2021-06-30, and the filings the rules are tested on.
pub(crate) fn files() -> Files {
    let first: NaiveDate = "2020-01-01".parse().unwrap();
    let days = (0..547).map(|n| first + Days::new(n));
    let sessions: Vec<NaiveDate> =
        days.filter(|d| !matches!(d.weekday(), Weekday::Sat | Weekday::Sun)).collect();
    let (mut bars, mut index) = ("Date,AAA,BBB\n".to_owned(), "Date,SP500\n".to_owned());
    let mut vix = "Date,vix\n".to_owned();
    for (i, day) in sessions.iter().enumerate() {
        let wave = (i as f64 * 0.7).sin();
        bars += &format!("{day},{:.3},{:.3}\n", 100.0 + wave, 50.0 - 2.0 * wave);
        index += &format!("{day},{:.2}\n", 3000.0 + 20.0 * wave);
        vix += &format!("{},{:.2}\n", day.format("%-m/%-d/%Y"), 20.0 + wave);
    }
    let news = r#"[
        {"publishedDate":"2020-03-02 09:30:00","title":"Alpha gains","text":"Alpha had a great day. It won.","site":"x.com","url":"https://x.com/1"},
        {"publishedDate":"2020-03-03 23:30:00","title":"Alpha loses","text":"A terrible, awful loss.","site":"y.com","url":"https://y.com/2"}
    ]"#;
    let mut files = Files::new();
    files.insert("bars.csv", bars.into());
    files.insert("index.csv", index.into());
    files.insert("vix.csv", vix.into());
    files.insert("news/AAA.json", news.into());
    files.insert("facts/aaa.json", facts().into());
    files.insert("insider.zip", insider(INSIDER_ROWS));
    files
}

/// Start, end, value, accession, form, filed.
type FactRow = (&'static str, &'static str, u32, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const REVENUE: &[FactRow] = &[
    ("2018-01-01", "2018-12-31", 100, "1-19-1", "10-K", "2019-02-01"),
    ("2018-01-01", "2018-12-31", 100, "1-20-1", "10-K", "2020-02-03"),
    ("2019-01-01", "2019-12-31", 120, "1-20-1", "10-K", "2020-02-03"),
    // One quarter inside the annual report: not annual.
    ("2019-10-01", "2019-12-31", 999, "1-20-1", "10-K", "2020-02-03"),
    // The old year is restated alone, then the new one.
    ("2018-01-01", "2018-12-31", 90, "1-20-2", "10-K/A", "2020-06-01"),
    ("2019-01-01", "2019-12-31", 126, "1-20-3", "10-K/A", "2020-08-03"),
];

const INCOME: &[FactRow] = &[("2019-01-01", "2019-12-31", 12, "1-20-1", "10-K", "2020-02-03")];

fn facts() -> String {
    let concept = |rows: &[FactRow]| {
        let rows = rows.iter().map(|(start, end, val, accn, form, filed)| {
            format!(
                r#"{{"start":"{start}","end":"{end}","val":{val},"accn":"{accn}","fy":2019,"fp":"FY","form":"{form}","filed":"{filed}"}}"#
            )
        });
        format!(r#"{{"units":{{"USD":[{}]}}}}"#, rows.collect::<Vec<_>>().join(","))
    };
    let (revenue, income) = (concept(REVENUE), concept(INCOME));
    format!(
        r#"{{"cik":1,"facts":{{"us-gaap":{{"Revenues":{revenue},"NetIncomeLoss":{income}}}}}}}"#
    )
}

/// Form, accession, filed, original filing date, code, shares, CIK of the issuer.
type InsiderRow = (&'static str, &'static str, &'static str, &'static str, &'static str, u32, u32);

const INSIDER_ROWS: &[InsiderRow] = &[
    ("4", "9-20-1", "02-MAR-2020", "", "S", 1000, 1),
    ("4/A", "9-20-2", "10-MAR-2020", "02-MAR-2020", "S", 400, 1),
    ("4", "9-20-3", "01-APR-2020", "", "P", 70, 1),
    ("5", "9-20-4", "01-APR-2020", "", "P", 5000, 1),
    ("4", "9-20-5", "01-APR-2020", "", "P", 5000, 77),
];

fn insider(rows: &[InsiderRow]) -> Vec<u8> {
    let mut submissions = "ACCESSION_NUMBER\tFILING_DATE\tPERIOD_OF_REPORT\tDATE_OF_ORIG_SUB\tDOCUMENT_TYPE\tISSUERCIK\tISSUERTRADINGSYMBOL\n".to_owned();
    let mut owners =
        "ACCESSION_NUMBER\tRPTOWNERCIK\tRPTOWNERNAME\tRPTOWNER_RELATIONSHIP\n".to_owned();
    let mut trades = "ACCESSION_NUMBER\tNONDERIV_TRANS_SK\tTRANS_DATE\tTRANS_CODE\tTRANS_SHARES\tTRANS_PRICEPERSHARE\tTRANS_ACQUIRED_DISP_CD\n".to_owned();
    for (key, (form, accession, filed, original, code, shares, cik)) in rows.iter().enumerate() {
        let side = if *code == "P" { "A" } else { "D" };
        submissions +=
            &format!("{accession}\t{filed}\t28-FEB-2020\t{original}\t{form}\t{cik:010}\t(AAA)\n");
        owners += &format!("{accession}\t7\tDOE JANE\tDirector\n");
        trades += &format!("{accession}\t{key}\t28-FEB-2020\t{code}\t{shares}.0\t\t{side}\n");
    }
    zip(&[
        ("SUBMISSION.tsv", submissions.as_bytes()),
        ("REPORTINGOWNER.tsv", owners.as_bytes()),
        ("NONDERIV_TRANS.tsv", trades.as_bytes()),
    ])
}

pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Puts the package into the cache under `data_dir`, as if fetched.
pub(crate) fn install(data_dir: &Path, files: &Files) -> (SourceList, Universe) {
    let members: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, &**bytes)).collect();
    let wheel = zip(&members);
    let sources =
        SourceList::parse("sources.toml", &allowlist(&Digest::of(&wheel).to_string())).unwrap();
    let path = PackageCache::new(data_dir.join("packages")).path(sources.get("synth").unwrap());
    // The name holds the digest. A test whose processes are killed installs before.
    if !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, wheel).unwrap();
    }
    (sources, Universe::parse("universe.toml", UNIVERSE).unwrap())
}

/// Returns the allowlist of the synthetic source with a digest of its archive.
pub(crate) fn allowlist(sha256: &str) -> String {
    format!(
        r#"
[synth]
package = "r2r-no-such-package"
version = "1"
archive = "wheel"
sha256 = "{sha256}"
licence = "Apache-2.0"
redistributable = true
entitlement = "public"
[synth.members]
bars = "bars.csv"
index = "index.csv"
vix = "vix.csv"
news = "news/{{symbol}}.json"
facts = "facts/{{symbol}}.json"
insider = "insider.zip"
"#
    )
}
