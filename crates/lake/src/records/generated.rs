//! What the [synthetic market] leaves behind in each kind of record: quality shows in
//! filings, sentiment in news, the insider walk in Form 4s, all some days later.
//!
//! [synthetic market]: crate::synthetic

mod consensus;
mod economy;
mod reports;

use chrono::{DateTime, Days, NaiveDate, Utc};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng as _;

use super::{Action, Article, Bar, Feed, Head, IndexBar, PriceBasis, Rows, Transaction, tone};
use crate::{
    LakeError, Universe, calendar,
    synthetic::{Market, Stream, Walks, normal, uniform},
};

/// Days a Form 4 comes after its trade.
const FORM4_LAG_DAYS: u64 = 2;
/// Who trades, and what they are to the company; the third is no insider of its offices.
const OWNERS: [(&str, &str); 3] =
    [("Director One", "Director"), ("Officer Two", "Officer"), ("Holder Three", "TenPercentOwner")];

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
        vec![format!("seed={seed}&signal={signal}&days={days}&first={first}")]
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
                let place = t / 15 % OWNERS.len();
                let (owner, relationship) = OWNERS[place];
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
                    owner_cik: (company.cik + 1_000 * (place as u64 + 1)).to_string(),
                    owner: owner.to_owned(),
                    relationship: relationship.to_owned(),
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
