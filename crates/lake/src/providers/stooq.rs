//! Stooq CSV of daily prices.
//!
//! What is wrong comes as text with status 200: `No data` for an unknown symbol,
//! `Exceeded the daily hits limit` where the caller has had enough for today.

use chrono::NaiveDate;

use super::{
    RawRows,
    adapter::{Answer, Judgement, Part, Request, Window, excerpt, judge_status},
    yahoo,
};
use crate::{
    Kind, LakeError, calendar,
    records::{Bar, Head, IndexBar, PriceBasis},
};

/// Columns every answer has, in this order; `Volume` may follow.
const HEADER: [&str; 5] = ["Date", "Open", "High", "Low", "Close"];

pub(super) fn check_symbol(symbol: &str) -> Result<(), String> {
    yahoo::check_symbol(symbol)
}

pub(super) fn request(symbol: &str, window: &Window) -> Request {
    let day = |date: NaiveDate| date.format("%Y%m%d").to_string();
    let name = symbol.to_ascii_lowercase().replace('.', "-");
    let name = if yahoo::is_index(symbol) { name } else { format!("{name}.us") };
    let mut query = vec![("s", name), ("i", "d".to_owned())];
    query.extend(window.from.map(|from| ("d1", day(from))));
    query.push(("d2", day(window.to)));
    Request::new(Part::History, symbol, "/q/d/l/", query)
}

pub(super) fn judge(status: u16, body: &[u8]) -> Judgement {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let text = text.trim_start_matches('\u{feff}').trim();
    let lower = text.to_ascii_lowercase();
    if lower.contains("exceeded the daily hits limit") {
        let reason = "its daily limit is reached; what came is kept: go on tomorrow";
        return Judgement::Refused(reason.to_owned());
    }
    if status != 200 {
        return judge_status(status, body);
    }
    if lower.starts_with("no data") {
        return Judgement::Missing("No data".to_owned());
    }
    if lower.starts_with('<') {
        return Judgement::Refused(format!("it sent a web page instead of CSV: {}", excerpt(body)));
    }
    if !text.starts_with("Date,Open,High,Low,Close") {
        return Judgement::Broken(format!("its body is not CSV of prices: {}", excerpt(body)));
    }
    match text.lines().nth(1) {
        Some(_) => Judgement::Rows,
        None => Judgement::Missing("no sessions in the window".to_owned()),
    }
}

/// Reads bars of a ticker, or closes of an index. Prices are adjusted to a day the
/// provider does not name: only ratios within the answer mean anything.
pub(super) fn parse(answer: &Answer<'_>, rows: &mut RawRows) -> Result<(), LakeError> {
    let body = answer.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(answer.body);
    let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(body);
    let header = csv.headers().map_err(|e| answer.format(e))?;
    if !header.iter().map(str::trim).zip(HEADER).all(|(found, wanted)| found == wanted) {
        return Err(answer.format(format!("its header is {:?}", header.as_slice())));
    }
    let is_index = yahoo::is_index(&answer.record.subject);
    for (i, line) in csv.records().enumerate() {
        let place = format!("line {}", i + 2);
        let line = line.map_err(|e| answer.format(e))?;
        match bar(&line) {
            Ok(bar) if is_index => {
                let mut head = head(answer, bar.session);
                head.ticker.clear();
                let row = IndexBar { session: bar.session, close: bar.close };
                rows.index.rows.push((head, row));
            }
            Ok(bar) => rows.bars.rows.push((head(answer, bar.session), bar)),
            Err(reason) => {
                let kind = if is_index { Kind::Index } else { Kind::Bars };
                let note = answer.reject(kind, &place, reason, line.as_slice());
                rows.rejected_mut(kind).push(note);
            }
        }
    }
    Ok(())
}

fn bar(line: &csv::StringRecord) -> Result<Bar, &'static str> {
    let cell = |i: usize| line.get(i).map(str::trim).unwrap_or_default();
    let session = cell(0).parse::<NaiveDate>().map_err(|_| "its date is not YYYY-MM-DD")?;
    // A cell without a value is empty or N/D.
    let number = |i: usize| match cell(i) {
        "" | "N/D" => Ok(None),
        text => text.parse::<f64>().map(Some).map_err(|_| "a price or volume is not a number"),
    };
    Ok(Bar {
        session,
        open: number(1)?,
        high: number(2)?,
        low: number(3)?,
        close: number(4)?.ok_or("it has no close")?,
        volume: number(5)?,
        basis: PriceBasis::TotalReturnAdjusted,
    })
}

fn head(answer: &Answer<'_>, session: NaiveDate) -> Head {
    let close = calendar::session_close(session);
    Head {
        record_id: format!("{}-{session}", answer.name),
        ticker: answer.name.to_owned(),
        source_id: answer.provider.id.clone(),
        source: answer.provider.title.clone(),
        url: answer.record.url.clone(),
        event_time: close,
        known_at: close,
    }
}
