//! The rows of each kind of record, whatever source they come from: what is in
//! them, when they are refused, and the columns they make.

use std::ops::RangeInclusive;

use chrono::NaiveDate;
use datafusion::arrow::array::ArrayRef;

use super::{Head, Kind, table};
use crate::source_map::SourceMap;

/// A row of one kind of record, without the [`Head`] all kinds share.
pub(crate) trait Record: Sized {
    /// Its kind.
    const KIND: Kind;

    /// Tells why a row cannot be used, whatever source it comes from.
    fn check(&self, _head: &Head) -> Result<(), &'static str> {
        Ok(())
    }

    /// Returns the columns after the common ones.
    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)>;
}

/// How a source's prices treat splits and dividends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PriceBasis {
    /// As traded; splits and dividends are [`Action`]s.
    Raw,
    /// Multiplied for later splits and dividends: only ratios within a name mean anything.
    TotalReturnAdjusted,
}

impl PriceBasis {
    const fn key(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::TotalReturnAdjusted => "total_return_adjusted",
        }
    }
}

/// A session of a name, prices in the currency of its listing, volume in shares.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) session: NaiveDate,
    pub(crate) open: Option<f64>,
    pub(crate) high: Option<f64>,
    pub(crate) low: Option<f64>,
    pub(crate) close: f64,
    pub(crate) volume: Option<f64>,
    pub(crate) basis: PriceBasis,
}

/// A session is known on its day at the earliest: exchanges close on the day of the session,
/// by UTC too.
fn known_in_time(head: &Head, session: NaiveDate) -> Result<(), &'static str> {
    if head.known_at.date_naive() < session {
        return Err("it is known before its session");
    }
    Ok(())
}

/// No price of anything is outside: what is has lost or won a unit, and would reach sums and
/// variances that are no numbers.
const PRICES: RangeInclusive<f64> = 1e-9..=1e12;
/// New shares for an old one, or cash for a share.
const ACTION_VALUES: RangeInclusive<f64> = 1e-6..=1e6;

fn check_close(close: f64) -> Result<(), &'static str> {
    match close {
        close if PRICES.contains(&close) => Ok(()),
        close if close.is_finite() && close > 0.0 => Err("its close is outside 1e-9 to 1e12"),
        _ => Err("its close is not a positive number"),
    }
}

impl Record for Bar {
    const KIND: Kind = Kind::Bars;

    fn check(&self, head: &Head) -> Result<(), &'static str> {
        known_in_time(head, self.session)?;
        check_close(self.close)?;
        let others = [self.open, self.high, self.low];
        if !others.iter().flatten().all(|price| PRICES.contains(price)) {
            return Err("a price is not a positive number, of 1e-9 to 1e12");
        }
        if self.volume.is_some_and(|volume| !volume.is_finite() || volume < 0.0) {
            return Err("its volume is not a number >= 0");
        }
        // Prices are rounded to a cent or finer on their own, so a high may miss
        // the close by that.
        let slack = 1.0 + 1e-6;
        let within = |price: f64| {
            self.high.is_none_or(|high| price <= high * slack + 0.005)
                && self.low.is_none_or(|low| price * slack + 0.005 >= low)
        };
        if !within(self.close) || !self.open.is_none_or(within) {
            return Err("its open or close is outside low to high");
        }
        Ok(())
    }

    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("session", table::dates(rows.iter().map(|(_, r)| r.session))),
            ("open", table::optional_floats(rows.iter().map(|(_, r)| r.open))),
            ("high", table::optional_floats(rows.iter().map(|(_, r)| r.high))),
            ("low", table::optional_floats(rows.iter().map(|(_, r)| r.low))),
            ("close", table::floats(rows.iter().map(|(_, r)| r.close))),
            ("volume", table::optional_floats(rows.iter().map(|(_, r)| r.volume))),
            ("price_basis", table::strings(rows.iter().map(|(_, r)| r.basis.key()))),
        ]
    }
}

/// What a corporate action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionType {
    /// `value` new shares for each old one.
    Split,
    /// `value` in cash for each share.
    Dividend,
}

/// A split or dividend; its knowledge time is the open of the session from which
/// on the price is without it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Action {
    pub(crate) ex_date: NaiveDate,
    pub(crate) action: ActionType,
    pub(crate) value: f64,
}

impl Record for Action {
    const KIND: Kind = Kind::Actions;

    fn check(&self, _: &Head) -> Result<(), &'static str> {
        let is_fine = ACTION_VALUES.contains(&self.value);
        if is_fine { Ok(()) } else { Err("its value is not a positive number, of 1e-6 to 1e6") }
    }

    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)> {
        let key = |action| match action {
            ActionType::Split => "split",
            ActionType::Dividend => "dividend",
        };
        vec![
            ("ex_date", table::dates(rows.iter().map(|(_, r)| r.ex_date))),
            ("action", table::strings(rows.iter().map(|(_, r)| key(r.action)))),
            ("value", table::floats(rows.iter().map(|(_, r)| r.value))),
        ]
    }
}

/// A session of the market index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IndexBar {
    pub(crate) session: NaiveDate,
    pub(crate) close: f64,
}

impl Record for IndexBar {
    const KIND: Kind = Kind::Index;

    fn check(&self, head: &Head) -> Result<(), &'static str> {
        known_in_time(head, self.session)?;
        check_close(self.close)
    }

    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("session", table::dates(rows.iter().map(|(_, r)| r.session))),
            ("close", table::floats(rows.iter().map(|(_, r)| r.close))),
        ]
    }
}

/// An observation of a macro series in one vintage: `known_at` is when this value
/// of the period was published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observation {
    pub(crate) series: String,
    pub(crate) period_end: NaiveDate,
    pub(crate) value: f64,
}

impl Record for Observation {
    const KIND: Kind = Kind::Macro;

    fn check(&self, _: &Head) -> Result<(), &'static str> {
        if self.value.is_finite() { Ok(()) } else { Err("its value is not a number") }
    }

    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("series", table::strings(rows.iter().map(|(_, r)| &*r.series))),
            ("period_end", table::dates(rows.iter().map(|(_, r)| r.period_end))),
            ("value", table::floats(rows.iter().map(|(_, r)| r.value))),
        ]
    }
}

/// A news article with its tone, -1 to 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Article {
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) site: String,
    pub(crate) tone: f64,
}

impl Record for Article {
    const KIND: Kind = Kind::News;

    fn check(&self, head: &Head) -> Result<(), &'static str> {
        if self.title.trim().is_empty() {
            return Err("it has no title");
        }
        if !head.url.starts_with("https://") && !head.url.starts_with("http://") {
            return Err("its url is not http(s)");
        }
        Ok(())
    }

    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("title", table::strings(rows.iter().map(|(_, r)| &*r.title))),
            ("body", table::strings(rows.iter().map(|(_, r)| &*r.body))),
            ("site", table::strings(rows.iter().map(|(_, r)| &*r.site))),
            ("tone", table::floats(rows.iter().map(|(_, r)| r.tone))),
        ]
    }
}

/// A fact of a filing. Every version is kept: a restatement is another record of
/// the same period with another accession.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fact {
    pub(crate) cik: u64,
    /// Taxonomy and concept, e.g. `us-gaap:Revenues`.
    pub(crate) concept: String,
    pub(crate) unit: String,
    /// None for an instant.
    pub(crate) period_start: Option<NaiveDate>,
    pub(crate) period_end: NaiveDate,
    pub(crate) value: f64,
    pub(crate) accession: String,
    /// Fiscal year and period of the filing, not of the fact.
    pub(crate) filing_fy: Option<i64>,
    pub(crate) filing_fp: Option<String>,
    pub(crate) form: String,
    pub(crate) filed: NaiveDate,
}

impl Record for Fact {
    const KIND: Kind = Kind::Facts;

    fn check(&self, _: &Head) -> Result<(), &'static str> {
        if self.period_end > self.filed {
            return Err("its period ends after it was filed");
        }
        if self.period_start.is_some_and(|start| start > self.period_end) {
            return Err("its period starts after it ends");
        }
        if self.value.is_finite() { Ok(()) } else { Err("its value is not a number") }
    }

    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)> {
        let fy = |r: &Self| r.filing_fy.unwrap_or(0) as f64;
        vec![
            ("cik", table::floats(rows.iter().map(|(_, r)| r.cik as f64))),
            ("concept", table::strings(rows.iter().map(|(_, r)| &*r.concept))),
            ("unit", table::strings(rows.iter().map(|(_, r)| &*r.unit))),
            ("period_start", table::optional_dates(rows.iter().map(|(_, r)| r.period_start))),
            ("period_end", table::dates(rows.iter().map(|(_, r)| r.period_end))),
            ("value", table::floats(rows.iter().map(|(_, r)| r.value))),
            ("accession", table::strings(rows.iter().map(|(_, r)| &*r.accession))),
            ("filing_fy", table::floats(rows.iter().map(|(_, r)| fy(r)))),
            (
                "filing_fp",
                table::strings(rows.iter().map(|(_, r)| r.filing_fp.as_deref().unwrap_or(""))),
            ),
            ("form", table::strings(rows.iter().map(|(_, r)| &*r.form))),
            ("filed", table::dates(rows.iter().map(|(_, r)| r.filed))),
        ]
    }
}

/// A section of a filing's text, as a reader sees it: a line per block, single
/// spaces. Its map says which bytes of the archived document each part stands for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FilingText {
    pub(crate) accession: String,
    pub(crate) form: String,
    /// Item of the form, e.g. `1A`, of a 10-Q with its part, `II.1A`; or the type of
    /// an exhibit, `EX-99.1`.
    pub(crate) item: String,
    pub(crate) title: String,
    pub(crate) text: String,
    /// Digest of the archived document.
    pub(crate) document_sha256: String,
    /// Where in it the section lies, and the runs that are verbatim.
    pub(crate) map: SourceMap,
}

impl Record for FilingText {
    const KIND: Kind = Kind::FilingTexts;

    fn check(&self, _: &Head) -> Result<(), &'static str> {
        if self.text.trim().is_empty() {
            return Err("it has no text");
        }
        if self.map.source().is_empty() {
            return Err("its place in the document is empty");
        }
        if !self.map.fits(self.text.len()) {
            return Err("a run of its map is outside its text");
        }
        Ok(())
    }

    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)> {
        let places = || rows.iter().map(|(_, r)| r.map.source());
        let runs: Vec<String> = rows.iter().map(|(_, r)| r.map.runs_text()).collect();
        vec![
            ("accession", table::strings(rows.iter().map(|(_, r)| &*r.accession))),
            ("form", table::strings(rows.iter().map(|(_, r)| &*r.form))),
            ("item", table::strings(rows.iter().map(|(_, r)| &*r.item))),
            ("title", table::strings(rows.iter().map(|(_, r)| &*r.title))),
            ("text", table::strings(rows.iter().map(|(_, r)| &*r.text))),
            ("document_sha256", table::strings(rows.iter().map(|(_, r)| &*r.document_sha256))),
            ("source_start", table::integers(places().map(|place| place.start as u64))),
            ("source_end", table::integers(places().map(|place| place.end as u64))),
            ("source_runs", table::strings(runs.iter().map(String::as_str))),
        ]
    }
}

/// A filing: that it was made, and when. Its facts and texts are kinds of their own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filing {
    pub(crate) cik: u64,
    pub(crate) accession: String,
    pub(crate) form: String,
    pub(crate) filed: NaiveDate,
    /// End of the period it reports on.
    pub(crate) period_end: Option<NaiveDate>,
    /// File name of the main document.
    pub(crate) primary_document: String,
}

impl Record for Filing {
    const KIND: Kind = Kind::Filings;

    fn check(&self, _: &Head) -> Result<(), &'static str> {
        if self.period_end.is_some_and(|end| end > self.filed) {
            return Err("its period ends after it was filed");
        }
        Ok(())
    }

    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("cik", table::floats(rows.iter().map(|(_, r)| r.cik as f64))),
            ("accession", table::strings(rows.iter().map(|(_, r)| &*r.accession))),
            ("form", table::strings(rows.iter().map(|(_, r)| &*r.form))),
            ("filed", table::dates(rows.iter().map(|(_, r)| r.filed))),
            ("period_end", table::optional_dates(rows.iter().map(|(_, r)| r.period_end))),
            ("primary_document", table::strings(rows.iter().map(|(_, r)| &*r.primary_document))),
        ]
    }
}

/// A transaction of an insider, Form 4 or 4/A.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transaction {
    pub(crate) accession: String,
    /// `4` or `4/A`.
    pub(crate) form: String,
    pub(crate) filed: NaiveDate,
    /// Period of report: the date of the earliest transaction.
    pub(crate) period: NaiveDate,
    /// For a 4/A, when the form it amends was filed.
    pub(crate) orig_filed: Option<NaiveDate>,
    pub(crate) owner_cik: String,
    pub(crate) owner: String,
    pub(crate) relationship: String,
    pub(crate) trade_date: NaiveDate,
    /// SEC transaction code, e.g. `P` purchase, `S` sale.
    pub(crate) code: String,
    /// `A` acquired or `D` disposed.
    pub(crate) acquired: String,
    pub(crate) shares: f64,
    pub(crate) price: Option<f64>,
    /// Whether the form says that a plan made earlier, under Rule 10b5-1, directed
    /// the trade; forms before 2023 do not say.
    pub(crate) plan_10b5_1: Option<bool>,
}

impl Record for Transaction {
    const KIND: Kind = Kind::Insider;

    fn check(&self, _: &Head) -> Result<(), &'static str> {
        let is_number = |value: f64| value.is_finite() && value >= 0.0;
        if !is_number(self.shares) {
            return Err("its number of shares is not a number >= 0");
        }
        if self.price.is_some_and(|price| !is_number(price)) {
            return Err("its price is not a number >= 0");
        }
        if !matches!(&*self.acquired, "A" | "D") {
            return Err("it neither acquires (A) nor disposes (D)");
        }
        if self.trade_date > self.filed {
            return Err("it happened after it was filed");
        }
        Ok(())
    }

    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("accession", table::strings(rows.iter().map(|(_, r)| &*r.accession))),
            ("form", table::strings(rows.iter().map(|(_, r)| &*r.form))),
            ("filed", table::dates(rows.iter().map(|(_, r)| r.filed))),
            ("period", table::dates(rows.iter().map(|(_, r)| r.period))),
            ("orig_filed", table::optional_dates(rows.iter().map(|(_, r)| r.orig_filed))),
            ("owner_cik", table::strings(rows.iter().map(|(_, r)| &*r.owner_cik))),
            ("owner_name", table::strings(rows.iter().map(|(_, r)| &*r.owner))),
            ("owner_relationship", table::strings(rows.iter().map(|(_, r)| &*r.relationship))),
            ("trade_date", table::dates(rows.iter().map(|(_, r)| r.trade_date))),
            ("code", table::strings(rows.iter().map(|(_, r)| &*r.code))),
            ("acquired_disposed", table::strings(rows.iter().map(|(_, r)| &*r.acquired))),
            ("shares", table::floats(rows.iter().map(|(_, r)| r.shares))),
            ("price", table::optional_floats(rows.iter().map(|(_, r)| r.price))),
            ("plan_10b5_1", table::optional_flags(rows.iter().map(|(_, r)| r.plan_10b5_1))),
        ]
    }
}

/// An estimate of a broker, or the consensus of several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Estimate {
    /// `eps`, `revenue` or `price_target`.
    pub(crate) metric: String,
    /// End of the period it is about; none for a price target.
    pub(crate) period_end: Option<NaiveDate>,
    /// Broker, or `consensus`.
    pub(crate) broker: String,
    pub(crate) mean: f64,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    /// Number of estimates in a consensus, 0 where it is not stated; 1 for a broker's own.
    pub(crate) analysts: u64,
}

impl Record for Estimate {
    const KIND: Kind = Kind::Estimates;

    fn check(&self, _: &Head) -> Result<(), &'static str> {
        if !matches!(&*self.metric, "eps" | "revenue" | "price_target") {
            return Err("its metric is neither eps, revenue nor price_target");
        }
        if !self.mean.is_finite() {
            return Err("its value is not a number");
        }
        if self.low.is_some_and(|low| low > self.mean) || self.high.is_some_and(|h| h < self.mean) {
            return Err("its mean is outside low to high");
        }
        Ok(())
    }

    fn columns(rows: &[(Head, Self)]) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("metric", table::strings(rows.iter().map(|(_, r)| &*r.metric))),
            ("period_end", table::optional_dates(rows.iter().map(|(_, r)| r.period_end))),
            ("broker", table::strings(rows.iter().map(|(_, r)| &*r.broker))),
            ("mean", table::floats(rows.iter().map(|(_, r)| r.mean))),
            ("low", table::optional_floats(rows.iter().map(|(_, r)| r.low))),
            ("high", table::optional_floats(rows.iter().map(|(_, r)| r.high))),
            ("analysts", table::integers(rows.iter().map(|(_, r)| r.analysts))),
        ]
    }
}
