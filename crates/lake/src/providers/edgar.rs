//! EDGAR: the filings of registrants, their facts, texts and insider forms.
//!
//! ```text
//! company_tickers.json      ticker -> registrant of today
//! submissions/CIK.json      filings -> files of older filings
//! companyfacts/CIK.json     facts
//! Archives/edgar/data/...   documents of filings since the first day of the ask, of an
//!                           8-K with its exhibits
//! ```
//!
//! The list of tickers knows today's only. A company that is gone, or a ticker that
//! was another's, is asked for as `TICKER=CIK`.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use domain::Ticker;
use serde::Deserialize;

use super::{
    RawRows,
    adapter::{Answer, Host, Judgement, Next, Part, Request, Window, judge_status},
    parse::{self, Context, Location, SubmittedDocument},
};
use crate::{
    LakeError,
    records::{Filing, Head},
};

/// Keys of a request's context.
const CIK: &str = "cik";
const FROM: &str = "from";
const TO: &str = "to";
const ACCESSION: &str = "accession";
/// After every filing.
const LAST_DAY: &str = "9999-12-31";
/// Symbols whose registrant has to be looked up.
const SYMBOLS: &str = "symbols";
/// Forms whose text is read.
const TEXT_FORMS: [&str; 6] = ["10-K", "10-K/A", "10-Q", "10-Q/A", "8-K", "8-K/A"];

#[derive(Debug, Deserialize)]
struct Listed {
    cik_str: u64,
    ticker: String,
}

pub(super) fn check_symbol(symbol: &str) -> Result<(), String> {
    let (ticker, cik) = match symbol.split_once('=') {
        Some((ticker, cik)) => (ticker, Some(cik)),
        None => (symbol, None),
    };
    ticker.parse::<Ticker>().map_err(|e| e.to_string())?;
    let is_cik = |cik: &str| cik.len() <= 10 && cik.parse::<u64>().is_ok_and(|n| n > 0);
    match cik {
        Some(cik) if !is_cik(cik) => {
            Err(format!("{cik:?} is not a CIK: expected TICKER=CIK, as in AAPL=320193"))
        }
        _ => Ok(()),
    }
}

/// Returns one question for the registrants of all symbols that do not name theirs,
/// and the first of each that does.
pub(super) fn requests(symbols: &[String], window: &Window) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut unknown: Vec<&str> = Vec::new();
    for symbol in symbols {
        match symbol.split_once('=').map(|(ticker, cik)| (ticker, cik.parse())) {
            Some((ticker, Ok(cik))) => requests.push(submissions(ticker, cik, window)),
            _ => unknown.push(symbol),
        }
    }
    if !unknown.is_empty() {
        let mut context = window_context(window);
        context.insert(SYMBOLS.to_owned(), unknown.join(" "));
        let location = Location { path: "/files/company_tickers.json".to_owned(), query: vec![] };
        requests.push(request(Part::Tickers, "tickers", Host::Files, location, context));
    }
    requests
}

fn window_context(window: &Window) -> BTreeMap<String, String> {
    let from = window.from.map(|from| (FROM.to_owned(), from.to_string()));
    from.into_iter().chain([(TO.to_owned(), window.to.to_string())]).collect()
}

/// Makes a request's answer lead to the documents of filings since a day, or to none.
pub(super) fn rewindow(context: &mut BTreeMap<String, String>, from: Option<NaiveDate>) {
    match from {
        Some(from) => context.insert(FROM.to_owned(), from.to_string()),
        None => context.remove(FROM),
    };
    context.insert(TO.to_owned(), LAST_DAY.to_owned());
}

fn submissions(ticker: &str, cik: u64, window: &Window) -> Request {
    let mut context = window_context(window);
    context.insert(CIK.to_owned(), cik.to_string());
    request(Part::Submissions, ticker, Host::Base, parse::submissions_at(cik), context)
}

fn request(
    part: Part,
    subject: &str,
    host: Host,
    location: Location,
    context: BTreeMap<String, String>,
) -> Request {
    let Location { path, query } = location;
    Request { host, context, ..Request::new(part, subject, &path, query) }
}

pub(super) fn judge(part: Part, status: u16, body: &[u8]) -> Judgement {
    if status != 200 {
        return judge_status(status, body);
    }
    match part {
        // A document is whatever it is; that it is whole, its length says.
        part if part.is_final() && body.is_empty() => {
            Judgement::Broken("the document is empty".to_owned())
        }
        part if part.is_final() => Judgement::Rows,
        _ => match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            Ok(_) => Judgement::Rows,
            Err(error) => Judgement::Broken(format!("its body is not JSON ({error})")),
        },
    }
}

/// Returns what follows from an answer: the registrants of the tickers, and of a list
/// of filings the older ones, the facts, and the documents of those in the window.
pub(super) fn follow(request: &Request, body: &[u8]) -> Result<Next, String> {
    match request.part {
        Part::Tickers => registrants(request, body),
        Part::Submissions | Part::Overflow => after_filings(request, body),
        _ => Ok(Next::default()),
    }
}

fn registrants(request: &Request, body: &[u8]) -> Result<Next, String> {
    let listed: BTreeMap<String, Listed> =
        serde_json::from_slice(body).map_err(|e| format!("it is not the list of tickers ({e})"))?;
    let ciks: BTreeMap<&str, u64> =
        listed.values().map(|listed| (&*listed.ticker, listed.cik_str)).collect();
    let mut next = Next::default();
    for ticker in request.context.get(SYMBOLS).map(String::as_str).unwrap_or_default().split(' ') {
        // EDGAR writes the class of a share with a dash.
        match ciks.get(&*ticker.replace('.', "-")) {
            Some(cik) => {
                let mut context = request.context.clone();
                context.remove(SYMBOLS);
                context.insert(CIK.to_owned(), cik.to_string());
                let at = parse::submissions_at(*cik);
                next.requests.push(self::request(
                    Part::Submissions,
                    ticker,
                    Host::Base,
                    at,
                    context,
                ));
            }
            None => {
                let said =
                    format!("EDGAR lists no such ticker today; name its registrant: {ticker}=CIK");
                next.missing.push((ticker.to_owned(), said));
            }
        }
    }
    Ok(next)
}

fn after_filings(request: &Request, body: &[u8]) -> Result<Next, String> {
    let (ticker, context) = (&*request.subject, &request.context);
    let cik = cik(context).ok_or("its request names no CIK")?;
    let told = Context { source_id: "edgar", ticker, issuer_ciks: &[cik], place: &request.path };
    let found = parse::submissions(&told, cik, body).map_err(|e| e.to_string())?;
    let mut next = Next::default();
    if request.part == Part::Submissions {
        for name in &found.overflow {
            let at = parse::submissions_overflow_at(name);
            next.requests.push(self::request(
                Part::Overflow,
                ticker,
                Host::Base,
                at,
                context.clone(),
            ));
        }
        let at = parse::companyfacts_at(cik);
        next.requests.push(self::request(
            Part::CompanyFacts,
            ticker,
            Host::Base,
            at,
            context.clone(),
        ));
    }
    next.requests.extend(found.filings.rows.iter().filter_map(|(_, f)| document(request, cik, f)));
    Ok(next)
}

/// The document of a filing in the window; without a first day none is in it.
fn document(request: &Request, cik: u64, filing: &Filing) -> Option<Request> {
    let day = |key: &str| request.context.get(key).and_then(|d| d.parse::<NaiveDate>().ok());
    if filing.filed < day(FROM)? || filing.filed > day(TO)? {
        return None;
    }
    // A name comes from outside and becomes a path.
    let named = |name: &str| {
        parse::is_file_name(name).then(|| parse::document_at(cik, &filing.accession, name))
    };
    let (part, at) = match &*filing.form {
        // What an 8-K reports, its exhibits say; its document often only names them.
        "8-K" | "8-K/A" => {
            (Part::FullSubmission, parse::full_submission_at(cik, &filing.accession))
        }
        "4" | "4/A" => (Part::Form4, named(parse::ownership_document(&filing.primary_document))?),
        form if TEXT_FORMS.contains(&form) => (Part::Document, named(&filing.primary_document)?),
        _ => return None,
    };
    let mut context = request.context.clone();
    context.insert(ACCESSION.to_owned(), filing.accession.clone());
    Some(self::request(part, &request.subject, Host::Files, at, context))
}

fn cik(context: &BTreeMap<String, String>) -> Option<u64> {
    context.get(CIK)?.parse().ok()
}

/// Reads filings, then what belongs to them: the archive is read in the order of
/// the parts, so that filings are there.
pub(super) fn parse(
    answer: &Answer<'_>,
    all: &RawRows,
    rows: &mut RawRows,
) -> Result<(), LakeError> {
    let record = answer.record;
    let Some(cik) = cik(&record.context) else { return Ok(()) };
    let ciks = [cik];
    let context = answer.context(&ciks);
    match record.part {
        Part::Submissions | Part::Overflow => {
            rows.filings = parse::submissions(&context, cik, answer.body)?.filings;
        }
        Part::CompanyFacts => {
            let known = parse::known_times(&all.filings.rows);
            rows.facts = parse::company_facts(&context, answer.body, &known)?;
        }
        Part::Document | Part::Form4 => {
            let Some(filing) = filing(answer, all) else {
                return Err(
                    answer.format("the archive has no list with its filing; fetch it again")
                );
            };
            if record.part == Part::Form4 {
                rows.insider = parse::form4(&context, filing, answer.body)?;
            } else {
                let document = SubmittedDocument::main(&filing.1, answer.body);
                rows.texts = parse::filing_document(&context, filing, answer.body, &document)?;
            }
        }
        Part::FullSubmission => {
            let submitted = parse::full_submission(&context, cik, answer.body)?;
            if record.context.get(ACCESSION) != Some(&submitted.filing.1.accession) {
                return Err(answer.format("it is another filing than was asked for"));
            }
            for document in submitted.documents.iter().filter(|document| is_read(document)) {
                let found =
                    parse::filing_document(&context, &submitted.filing, answer.body, document)?;
                rows.texts.rows.extend(found.rows);
                rows.texts.rejected.extend(found.rejected);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Tells whether a document of a submission is read: the form, and what a company
/// attaches of its own, such as its press release. Others are contracts and data.
fn is_read(document: &SubmittedDocument) -> bool {
    let SubmittedDocument { kind, name, .. } = document;
    let name = name.to_ascii_lowercase();
    (TEXT_FORMS.contains(&&**kind) || kind.starts_with("EX-99"))
        && [".htm", ".html", ".txt"].iter().any(|end| name.ends_with(end))
}

fn filing<'a>(answer: &Answer<'_>, all: &'a RawRows) -> Option<&'a (Head, Filing)> {
    let accession = answer.record.context.get(ACCESSION)?;
    let is_it =
        |(head, f): &&(Head, Filing)| f.accession == *accession && head.ticker == answer.name;
    all.filings.rows.iter().find(is_it)
}
