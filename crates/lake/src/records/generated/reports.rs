//! Annual reports of the companies of the [synthetic market]: that they were filed,
//! their text and their facts.
//!
//! The balance sheet follows from revenue, gross profit and quality by fixed shares, and
//! cash flow from income and the balance sheet, so that accruals are the same measured
//! from either.
//!
//! [synthetic market]: crate::synthetic

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use domain::Digest;

use super::{Company, Generated};
use crate::{
    calendar,
    records::{Fact, Feed, Filing, FilingText, Head, Rows},
    source_map::SourceMap,
};

/// Days a fiscal year's filing comes after its end.
const FILING_LAG_DAYS: u64 = 51;
/// Days before its filing at which the cover of a report counts the shares.
const COVER_LEAD_DAYS: u64 = 7;
/// Shares of every company.
pub(super) const SHARES: f64 = 1e9;

/// An annual report.
pub(super) struct Report {
    pub(super) year: i32,
    pub(super) end: NaiveDate,
    filed: NaiveDate,
    accession: String,
    pub(super) revenue: f64,
    gross: f64,
    pub(super) income: f64,
    balance: Balance,
    /// Working capital other than cash and debt at the end of the year before.
    prior_working_capital: Option<f64>,
    known_at: DateTime<Utc>,
}

/// A balance sheet at the end of a fiscal year.
#[derive(Clone, Copy)]
struct Balance {
    assets: f64,
    assets_current: f64,
    cash: f64,
    liabilities_current: f64,
    debt_current: f64,
    debt_noncurrent: f64,
}

impl Balance {
    fn new(revenue: f64, gross: f64, quality: f64) -> Self {
        let assets = 1.2 * revenue + 0.5 * gross;
        Self {
            assets,
            assets_current: 0.4 * assets,
            cash: (0.15 + 0.1 * quality).clamp(0.02, 0.35) * assets,
            liabilities_current: 0.25 * assets,
            debt_current: 0.03 * assets,
            debt_noncurrent: (0.2 - 0.1 * quality).clamp(0.0, 0.5) * assets,
        }
    }

    fn liabilities(&self) -> f64 {
        self.liabilities_current + self.debt_noncurrent
    }

    /// Current assets and liabilities other than cash and debt.
    fn working_capital(&self) -> f64 {
        self.assets_current - self.cash - (self.liabilities_current - self.debt_current)
    }
}

impl Generated<'_> {
    /// The annual reports of a company: two before the market opens, so that growth is
    /// defined from its first day, then one a year.
    pub(super) fn reports(&self, company: &Company<'_>) -> Vec<Report> {
        let (Some(first), Some(last)) = (self.sessions.first(), self.sessions.last()) else {
            return Vec::new();
        };
        let (mut revenue, mut reports) = (20e9, Vec::<Report>::new());
        for year in first.year() - 2..=last.year() {
            let Some(end) = NaiveDate::from_ymd_opt(year, 12, 31) else { continue };
            let filed = end + Days::new(FILING_LAG_DAYS);
            let quality = self.session_at(end).map_or(0.0, |t| company.walks.quality[t]);
            revenue *= 1.06 + (0.5 * quality).clamp(-0.5, 0.5);
            let margin = (0.15 + 0.2 * quality).clamp(-0.3, 0.5);
            let accession = format!("8{:03}-{year}-1", company.n);
            let gross = revenue * (0.45 + 0.2 * quality).clamp(0.1, 0.9);
            let known_at = calendar::filing_known(filed);
            let before = reports.last().map(|report| report.balance.working_capital());
            reports.push(Report {
                year,
                end,
                filed,
                accession,
                revenue,
                gross,
                income: revenue * margin,
                balance: Balance::new(revenue, gross, quality),
                prior_working_capital: before,
                known_at,
            });
        }
        reports
    }

    pub(crate) fn filings(&self, feed: &Feed<'_>) -> Rows<Filing> {
        let rows = self.of_reports(feed, |company, report, head| {
            let filing = Filing {
                cik: company.cik,
                accession: report.accession.clone(),
                form: "10-K".to_owned(),
                filed: report.filed,
                period_end: Some(report.end),
                primary_document: "annual-report.txt".to_owned(),
            };
            vec![(head, filing)]
        });
        Rows { rows, members: self.members(), ..Rows::default() }
    }

    pub(crate) fn filing_texts(&self, feed: &Feed<'_>) -> Rows<FilingText> {
        let rows = self.of_reports(feed, |company, report, head| {
            let text = report.text(company.name);
            let text = FilingText {
                accession: report.accession.clone(),
                form: "10-K".to_owned(),
                item: "7".to_owned(),
                title: "Management's Discussion and Analysis".to_owned(),
                document_sha256: Digest::of(&text).to_string(),
                map: SourceMap::verbatim(0..text.len()),
                text,
            };
            vec![(Head { record_id: format!("{}:7", head.record_id), ..head }, text)]
        });
        Rows { rows, members: self.members(), ..Rows::default() }
    }

    pub(crate) fn facts(&self, feed: &Feed<'_>) -> Rows<Fact> {
        let rows = self.of_reports(feed, |company, report, head| {
            let fact = |value: Value| {
                let Value { concept, unit, period_start, period_end, value } = value;
                let fact = Fact {
                    cik: company.cik,
                    concept: concept.to_owned(),
                    unit: unit.to_owned(),
                    period_start,
                    period_end,
                    value: (value * 100.0).round() / 100.0,
                    accession: report.accession.clone(),
                    filing_fy: Some(report.year.into()),
                    filing_fp: Some("FY".to_owned()),
                    form: "10-K".to_owned(),
                    filed: report.filed,
                };
                (Head { record_id: format!("{}:{concept}", head.record_id), ..head.clone() }, fact)
            };
            report.values().into_iter().map(fact).collect()
        });
        Rows { rows, members: self.members(), ..Rows::default() }
    }

    fn of_reports<R>(
        &self,
        feed: &Feed<'_>,
        make: impl Fn(&Company<'_>, &Report, Head) -> Vec<(Head, R)>,
    ) -> Vec<(Head, R)> {
        let mut rows = Vec::new();
        for company in &self.companies {
            for report in self.reports(company) {
                let id = format!("{}:{}", company.ticker, report.accession);
                let event = calendar::midnight(report.end);
                let head = Head {
                    source: format!("SEC Form 10-K {}", report.accession),
                    ..self.head(feed, company.ticker, id, event, report.known_at)
                };
                rows.extend(make(company, &report, head));
            }
        }
        rows
    }
}

/// A figure of a report.
struct Value {
    concept: &'static str,
    unit: &'static str,
    /// None for a figure of a day.
    period_start: Option<NaiveDate>,
    period_end: NaiveDate,
    value: f64,
}

impl Report {
    fn values(&self) -> Vec<Value> {
        let Balance { assets, assets_current, cash, liabilities_current, .. } = self.balance;
        let Balance { debt_current, debt_noncurrent, .. } = self.balance;
        let interest = 0.04 * (debt_current + debt_noncurrent);
        let depreciation = 0.05 * self.revenue;
        let before = self.prior_working_capital.unwrap_or(self.balance.working_capital());
        let investment = self.balance.working_capital() - before;
        let liabilities = self.balance.liabilities();
        let flow = |concept, unit, value| {
            let period_start = NaiveDate::from_ymd_opt(self.year, 1, 1);
            Value { concept, unit, period_start, period_end: self.end, value }
        };
        let stock = |concept, value| {
            let (period_start, period_end) = (None, self.end);
            Value { concept, unit: "USD", period_start, period_end, value }
        };
        let shares = |concept, period_end| {
            let (unit, period_start) = ("shares", None);
            Value { concept, unit, period_start, period_end, value: SHARES }
        };
        vec![
            flow("us-gaap:Revenues", "USD", self.revenue),
            flow("us-gaap:GrossProfit", "USD", self.gross),
            flow("us-gaap:NetIncomeLoss", "USD", self.income),
            flow("us-gaap:EarningsPerShareDiluted", "USD/shares", self.income / SHARES),
            flow("us-gaap:OperatingIncomeLoss", "USD", self.income / 0.8 + interest),
            flow("us-gaap:InterestExpense", "USD", interest),
            flow("us-gaap:DepreciationDepletionAndAmortization", "USD", depreciation),
            flow(
                "us-gaap:NetCashProvidedByUsedInOperatingActivities",
                "USD",
                self.income + depreciation - investment,
            ),
            stock("us-gaap:Assets", assets),
            stock("us-gaap:AssetsCurrent", assets_current),
            stock("us-gaap:CashAndCashEquivalentsAtCarryingValue", cash),
            stock("us-gaap:Liabilities", liabilities),
            stock("us-gaap:LiabilitiesCurrent", liabilities_current),
            stock("us-gaap:LongTermDebtCurrent", debt_current),
            stock("us-gaap:LongTermDebtNoncurrent", debt_noncurrent),
            stock("us-gaap:StockholdersEquity", assets - liabilities),
            shares("us-gaap:CommonStockSharesOutstanding", self.end),
            shares(
                "dei:EntityCommonStockSharesOutstanding",
                self.filed - Days::new(COVER_LEAD_DAYS),
            ),
        ]
    }

    fn text(&self, name: &str) -> String {
        let billions = |value: f64| format!("${:.2} billion", value / 1e9);
        format!(
            "{name} reported revenue of {} for fiscal {}. Gross profit was {}. Net income was {}. \
             Demand, competition and supply may make future results differ.",
            billions(self.revenue),
            self.year,
            billions(self.gross),
            billions(self.income),
        )
    }
}
