//! What the [synthetic market] leaves behind in each kind of record: quality shows in
//! filings, sentiment in news, the insider walk in Form 4s, all some days later.
//!
//! [synthetic market]: crate::synthetic

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use domain::Digest;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng as _;

use super::{
    Action, Article, Bar, Estimate, Fact, Feed, Filing, FilingText, Head, IndexBar, Observation,
    PriceBasis, Rows, Transaction, tone,
};
use crate::{
    LakeError, Universe, calendar,
    source_map::SourceMap,
    synthetic::{Market, Stream, Walks, normal, uniform},
};

/// Sessions a fiscal year's filing comes after its end.
const FILING_LAG_DAYS: u64 = 51;
/// Days a Form 4 comes after its trade.
const FORM4_LAG_DAYS: u64 = 2;
/// Shares of every company.
const SHARES: f64 = 1e9;

/// A company of the market and all that happens to it.
struct Company<'u> {
    n: usize,
    ticker: &'u str,
    name: &'u str,
    cik: u64,
    walks: Walks,
}

/// The market of a universe.
pub(crate) struct Generated<'u> {
    market: Market,
    sessions: Vec<NaiveDate>,
    companies: Vec<Company<'u>>,
}

impl<'u> Generated<'u> {
    pub(crate) fn new(universe: &'u Universe) -> Result<Self, LakeError> {
        let market = universe.synthetic.ok_or_else(|| LakeError::Config {
            origin: format!("universe {}", universe.id),
            reason: "a synthetic feed needs a [synthetic] table".to_owned(),
        })?;
        let company = |(n, name): (usize, &'u crate::Name)| Company {
            n,
            ticker: name.ticker.as_str(),
            name: &name.company,
            cik: name.issuer_ciks.first().copied().unwrap_or(9_000_000 + n as u64),
            walks: market.walks(n),
        };
        let companies = universe.names.iter().enumerate().map(company).collect();
        Ok(Self { market, sessions: market.sessions(), companies })
    }

    /// Returns the index of the last session that is not after a date; none before all.
    fn session_at(&self, date: NaiveDate) -> Option<usize> {
        self.sessions.partition_point(|session| *session <= date).checked_sub(1)
    }

    /// What stands for the files of the source.
    fn members(&self) -> Vec<String> {
        let Market { seed, signal, days, first } = self.market;
        vec![format!("seed {seed}, signal {signal}, {days} days from {first}")]
    }

    fn head(
        &self,
        feed: &Feed<'_>,
        ticker: &str,
        id: String,
        event_time: DateTime<Utc>,
        known_at: DateTime<Utc>,
    ) -> Head {
        Head {
            record_id: id,
            ticker: ticker.to_owned(),
            source_id: feed.source.id.clone(),
            source: "synthetic market".to_owned(),
            url: feed.source.package_url(),
            event_time,
            known_at,
        }
    }

    pub(crate) fn bars(&self, feed: &Feed<'_>) -> Rows<Bar> {
        let mut rows = Vec::new();
        for company in &self.companies {
            let mut random = self.market.random(company.n, Stream::Bars);
            let mut before = 100.0;
            for (session, &close) in self.sessions.iter().zip(&company.walks.price) {
                let open = before * (0.004 * normal(&mut random)).exp();
                let reach = |random: &mut ChaCha20Rng| (0.006 * normal(random).abs()).exp();
                let high = f64::max(open, close) * reach(&mut random);
                let low = f64::min(open, close) / reach(&mut random);
                let busy = (close / before).ln().abs() * 20.0 + 0.3 * normal(&mut random);
                let bar = Bar {
                    session: *session,
                    open: Some(open),
                    high: Some(high),
                    low: Some(low),
                    close,
                    volume: Some((5e6 * busy.exp()).round()),
                    basis: PriceBasis::Raw,
                };
                let known = calendar::session_close(*session);
                let id = format!("{}-{session}", company.ticker);
                rows.push((self.head(feed, company.ticker, id, known, known), bar));
                before = close;
            }
        }
        Rows { rows, members: self.members(), ..Rows::default() }
    }

    /// The mean of the names' prices, times 10.
    fn level(&self, t: usize) -> f64 {
        let prices = self.companies.iter().map(|company| company.walks.price[t]);
        10.0 * prices.sum::<f64>() / self.companies.len().max(1) as f64
    }

    /// No company of the market splits its shares or pays a dividend.
    pub(crate) fn actions(&self) -> Rows<Action> {
        Rows { members: self.members(), ..Rows::default() }
    }

    pub(crate) fn index(&self, feed: &Feed<'_>) -> Rows<IndexBar> {
        let row = |(t, session): (usize, &NaiveDate)| {
            let known = calendar::session_close(*session);
            let head = self.head(feed, "", format!("index-{session}"), known, known);
            (head, IndexBar { session: *session, close: self.level(t) })
        };
        Rows {
            rows: self.sessions.iter().enumerate().map(row).collect(),
            members: self.members(),
            ..Rows::default()
        }
    }

    /// The series that features ask for: a volatility index and the price of oil by day,
    /// two bond yields by month.
    pub(crate) fn macros(&self, feed: &Feed<'_>) -> Rows<Observation> {
        let mut random = self.market.random(0, Stream::Macro);
        let (mut oil, mut spread, mut rows) = (70.0_f64, 1.0_f64, Vec::new());
        let mut push = |series: &str, day: NaiveDate, value: f64, known: DateTime<Utc>| {
            let id = format!("{series}-{day}");
            let head = self.head(feed, "", id, calendar::midnight(day), known);
            rows.push((head, Observation { series: series.to_owned(), period_end: day, value }));
        };
        for (t, session) in self.sessions.iter().enumerate() {
            let window = t.saturating_sub(20)..t;
            let moves: Vec<f64> =
                window.map(|i| (self.level(i + 1) / self.level(i)).ln()).collect();
            let square = moves.iter().map(|r| r * r).sum::<f64>() / moves.len().max(1) as f64;
            let vix = 10.0 + 100.0 * (252.0 * square).sqrt();
            push("VIX", *session, vix, calendar::new_york_at(*session, (16, 15)));
            oil *= (0.02 * normal(&mut random)).exp();
            let published = *session + Days::new(8);
            push("WTI", *session, oil, calendar::new_york_at(published, (22, 0)));
            spread = (spread + 0.01 * normal(&mut random)).clamp(0.3, 3.0);
            let is_month_end =
                session.succ_opt().is_some_and(|next| next.month() != session.month());
            if is_month_end {
                let known = calendar::new_york_at(*session + Days::new(7), (22, 0));
                push("AAA", *session, 4.5, known);
                push("BAA", *session, 4.5 + spread, known);
            }
        }
        Rows { rows, members: self.members(), ..Rows::default() }
    }

    pub(crate) fn news(&self, feed: &Feed<'_>) -> Rows<Article> {
        let mut rows = Vec::new();
        for company in &self.companies {
            let mut random = self.market.random(company.n, Stream::News);
            for t in (0..self.sessions.len()).step_by(3) {
                let mood = company.walks.sentiment[t] + 0.15 * normal(&mut random);
                let site = SITES[pick(&mut random, SITES.len())];
                let (title, body) = story(company.name, mood, &mut random);
                let minute = pick(&mut random, 360) as u32;
                let local = (10 + minute / 60, minute % 60);
                let known = calendar::new_york_at(self.sessions[t], local);
                let id = format!("{}-news-{t}", company.ticker);
                let url = format!("https://{site}/{}/{t}", company.ticker.to_lowercase());
                let head = Head {
                    url,
                    source: site.to_owned(),
                    ..self.head(feed, company.ticker, id, known, known)
                };
                let article =
                    Article { tone: tone(&title, &body), title, body, site: site.to_owned() };
                rows.push((head, article));
            }
        }
        Rows { rows, members: self.members(), ..Rows::default() }
    }

    pub(crate) fn insider(&self, feed: &Feed<'_>) -> Rows<Transaction> {
        let mut rows = Vec::new();
        for company in &self.companies {
            let mut random = self.market.random(company.n, Stream::Insider);
            for t in (0..self.sessions.len()).step_by(15) {
                let leaning = 8.0 * company.walks.insider[t];
                let buys = uniform(&mut random) < 1.0 / (1.0 + (-leaning).exp());
                let shares = 1_000.0 + 100.0 * pick(&mut random, 400) as f64;
                let trade_date = self.sessions[t];
                let filed = trade_date + Days::new(FORM4_LAG_DAYS);
                let accession = format!("9{:03}-{t:05}", company.n);
                let known = calendar::filing_known(filed);
                let head = Head {
                    source: format!("SEC Form 4 {accession}"),
                    ..self.head(
                        feed,
                        company.ticker,
                        format!("{accession}-0"),
                        calendar::midnight(trade_date),
                        known,
                    )
                };
                let transaction = Transaction {
                    accession,
                    form: "4".to_owned(),
                    filed,
                    period: trade_date,
                    orig_filed: None,
                    owner_cik: (company.cik + 1_000).to_string(),
                    owner: "Director One".to_owned(),
                    relationship: "Director".to_owned(),
                    trade_date,
                    code: if buys { "P" } else { "S" }.to_owned(),
                    acquired: if buys { "A" } else { "D" }.to_owned(),
                    shares,
                    price: Some(company.walks.price[t]),
                    plan_10b5_1: None,
                };
                rows.push((head, transaction));
            }
        }
        Rows { rows, members: self.members(), ..Rows::default() }
    }

    /// The annual reports of a company: two before the market opens, so that growth is
    /// defined from its first day, then one a year.
    fn reports(&self, company: &Company<'_>) -> Vec<Report> {
        let (Some(first), Some(last)) = (self.sessions.first(), self.sessions.last()) else {
            return Vec::new();
        };
        let (mut revenue, mut reports) = (20e9, Vec::new());
        for year in first.year() - 2..=last.year() {
            let Some(end) = NaiveDate::from_ymd_opt(year, 12, 31) else { continue };
            let filed = end + Days::new(FILING_LAG_DAYS);
            let quality = self.session_at(end).map_or(0.0, |t| company.walks.quality[t]);
            revenue *= 1.06 + (0.5 * quality).clamp(-0.5, 0.5);
            let margin = (0.15 + 0.2 * quality).clamp(-0.3, 0.5);
            let accession = format!("8{:03}-{year}-1", company.n);
            let gross = revenue * (0.45 + 0.2 * quality).clamp(0.1, 0.9);
            let known_at = calendar::filing_known(filed);
            reports.push(Report {
                year,
                end,
                filed,
                accession,
                revenue,
                gross,
                income: revenue * margin,
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
            let values = [
                ("us-gaap:Revenues", "USD", report.revenue),
                ("us-gaap:GrossProfit", "USD", report.gross),
                ("us-gaap:NetIncomeLoss", "USD", report.income),
                ("us-gaap:EarningsPerShareDiluted", "USD/shares", report.income / SHARES),
            ];
            let fact = |(concept, unit, value): (&str, &str, f64)| {
                let fact = Fact {
                    cik: company.cik,
                    concept: concept.to_owned(),
                    unit: unit.to_owned(),
                    period_start: NaiveDate::from_ymd_opt(report.year, 1, 1),
                    period_end: report.end,
                    value: (value * 100.0).round() / 100.0,
                    accession: report.accession.clone(),
                    filing_fy: Some(report.year.into()),
                    filing_fp: Some("FY".to_owned()),
                    form: "10-K".to_owned(),
                    filed: report.filed,
                };
                (Head { record_id: format!("{}:{concept}", head.record_id), ..head.clone() }, fact)
            };
            values.map(fact).to_vec()
        });
        Rows { rows, members: self.members(), ..Rows::default() }
    }

    /// Consensus of the year's earnings per share, each quarter from what quality shows.
    pub(crate) fn estimates(&self, feed: &Feed<'_>) -> Rows<Estimate> {
        let mut rows = Vec::new();
        for company in &self.companies {
            let mut random = self.market.random(company.n, Stream::Estimates);
            for report in self.reports(company) {
                for (quarter, month) in [2, 5, 8, 11].into_iter().enumerate() {
                    let noise = 0.12 - 0.025 * quarter as f64;
                    let mean = report.income / SHARES * (1.0 + noise * normal(&mut random));
                    let Some(day) = NaiveDate::from_ymd_opt(report.year, month, 15) else {
                        continue;
                    };
                    let known = calendar::new_york_at(day, (18, 0));
                    let id = format!("{}-eps-{}-{quarter}", company.ticker, report.year);
                    let head = self.head(feed, company.ticker, id, known, known);
                    let width = 0.1 * mean.abs() + 0.01;
                    let estimate = Estimate {
                        metric: "eps".to_owned(),
                        period_end: Some(report.end),
                        broker: "consensus".to_owned(),
                        mean,
                        low: Some(mean - width),
                        high: Some(mean + width),
                        analysts: 12,
                    };
                    rows.push((head, estimate));
                }
            }
        }
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

/// An annual report.
struct Report {
    year: i32,
    end: NaiveDate,
    filed: NaiveDate,
    accession: String,
    revenue: f64,
    gross: f64,
    income: f64,
    known_at: DateTime<Utc>,
}

impl Report {
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

const SITES: [&str; 4] =
    ["ledger.example", "dailytape.example", "marketwire.example", "streetnote.example"];

/// What happened, by mood, and what is said about it.
const GOOD: [(&str, &str); 4] = [
    ("wins a large order", "Analysts praised the strong demand and the excellent margins."),
    ("raises its outlook", "Management was confident and expects great growth."),
    ("beats expectations", "The impressive result pleased investors."),
    ("launches a well received product", "Customers love it, and reviews are very good."),
];
const FLAT: [(&str, &str); 3] = [
    ("holds its annual meeting", "Shareholders voted on the usual items."),
    ("names a new head of operations", "The change takes effect next month."),
    ("opens an office", "It will house two hundred people."),
];
const BAD: [(&str, &str); 4] = [
    ("loses a large customer", "The bad news worried investors, and the loss hurts margins."),
    ("cuts its outlook", "Management warned of weak demand and a terrible quarter."),
    ("misses expectations", "The poor result disappointed analysts."),
    ("recalls a product", "Customers complained of dangerous failures."),
];

fn story(name: &str, mood: f64, random: &mut ChaCha20Rng) -> (String, String) {
    let (what, comment) = if mood > 0.1 {
        GOOD[pick(random, GOOD.len())]
    } else if mood < -0.1 {
        BAD[pick(random, BAD.len())]
    } else {
        FLAT[pick(random, FLAT.len())]
    };
    (format!("{name} {what}"), format!("{name} {what}. {comment}"))
}

fn pick(random: &mut ChaCha20Rng, n: usize) -> usize {
    (random.next_u64() % n as u64) as usize
}
