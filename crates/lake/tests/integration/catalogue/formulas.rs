//! Features once more, from their definitions, by plain loops over raw records.

use std::collections::{BTreeMap, BTreeSet};

use super::raw::{Estimate, Fact, Row, World};

/// Values by name; none where a value is undefined.
pub(super) type Values = BTreeMap<&'static str, Option<f64>>;

const REVENUE: [&str; 3] = [
    "us-gaap:RevenueFromContractWithCustomerExcludingAssessedTax",
    "us-gaap:Revenues",
    "us-gaap:SalesRevenueNet",
];
const EPS: [&str; 1] = ["us-gaap:EarningsPerShareDiluted"];
const SHARES: [&str; 1] = ["us-gaap:CommonStockSharesOutstanding"];
const EQUITY: [&str; 2] = [
    "us-gaap:StockholdersEquity",
    "us-gaap:StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest",
];

fn is_year(fact: &Fact) -> bool {
    fact.is_annual && fact.start.is_some_and(|start| (350..=380).contains(&(fact.end - start)))
}

impl World {
    /// Computes every feature of this file.
    pub(super) fn expected(&self) -> Values {
        let mut values = self.fundamentals();
        values.extend(self.valuation());
        values.extend(self.surprises());
        values.extend(self.consensus());
        values.extend(self.targets());
        values.extend(self.sentiment());
        values.extend(self.insiders());
        values.extend(self.economy());
        values
    }

    /// A figure of the fiscal year that ended on a day, in its latest version; of the
    /// concepts in one filing the first.
    fn version(&self, concepts: &[&str], end: i32, is_flow: bool) -> Option<&Fact> {
        let rank = |fact: &Fact| concepts.iter().position(|concept| *concept == fact.concept);
        let fits = |fact: &Fact| {
            if is_flow { is_year(fact) } else { fact.is_annual && fact.start.is_none() }
        };
        let facts = self.facts.iter().filter(|row| row.of.end == end && fits(&row.of));
        let ranked = facts.filter_map(|row| Some((row, rank(&row.of)?)));
        let key = |(row, rank): &(&Row<Fact>, usize)| {
            (row.known, row.of.accession.clone(), concepts.len() - rank)
        };
        ranked.max_by_key(key).map(|(row, _)| &row.of)
    }

    fn flow(&self, concepts: &[&str], end: i32) -> Option<f64> {
        self.version(concepts, end, true).map(|fact| fact.value)
    }

    fn stock(&self, concepts: &[&str], end: i32) -> Option<f64> {
        self.version(concepts, end, false).map(|fact| fact.value)
    }

    fn assets(&self, end: i32) -> Option<f64> {
        self.stock(&["us-gaap:Assets"], end)
    }

    fn net_income(&self, end: i32) -> Option<f64> {
        self.flow(&["us-gaap:NetIncomeLoss"], end)
    }

    fn revenue(&self, end: i32) -> Option<f64> {
        self.flow(&REVENUE, end)
    }

    fn debt_current(&self, end: i32) -> f64 {
        self.stock(&["us-gaap:DebtCurrent"], end).unwrap_or_else(|| {
            let parts = [
                [
                    "us-gaap:LongTermDebtCurrent",
                    "us-gaap:LongTermDebtAndCapitalLeaseObligationsCurrent",
                ],
                ["us-gaap:ShortTermBorrowings", "us-gaap:CommercialPaper"],
            ];
            parts.iter().filter_map(|concepts| self.stock(concepts, end)).sum()
        })
    }

    /// The latest fiscal year that is not too old, and the one before.
    fn years(&self) -> Option<(i32, Option<i32>)> {
        let is_stated = |end: &i32| {
            self.assets(*end).or(self.net_income(*end)).or(self.revenue(*end)).is_some()
        };
        let ends: BTreeSet<i32> = self.facts.iter().map(|row| row.of.end).collect();
        let ends: Vec<i32> = ends.into_iter().filter(is_stated).collect();
        let now = *ends.last()?;
        let prior = ends.iter().copied().find(|end| (350..=380).contains(&(now - end)));
        (self.today() - now <= 500).then_some((now, prior))
    }

    fn fundamentals(&self) -> Values {
        let years = self.years();
        let now = years.map(|(now, _)| now);
        let both = years.and_then(|(now, prior)| Some((now, prior?)));
        let share = |part: Option<f64>, whole: Option<f64>| {
            Some(part? / whole.filter(|whole| *whole > 0.0)?)
        };
        let of = |value: &dyn Fn(i32) -> Option<f64>| now.and_then(value);
        let change = |value: &dyn Fn(i32, i32) -> Option<f64>| both.and_then(|(y, x)| value(y, x));
        let mean_assets = |y, x| Some(f64::midpoint(self.assets(y)?, self.assets(x)?));
        let operating = |y| self.flow(&["us-gaap:OperatingIncomeLoss"], y);
        let cash_flow = |y| self.flow(&["us-gaap:NetCashProvidedByUsedInOperatingActivities"], y);
        let equity = |y| self.stock(&EQUITY, y);
        let current = |y| {
            let assets = self.stock(&["us-gaap:AssetsCurrent"], y);
            (assets, self.stock(&["us-gaap:LiabilitiesCurrent"], y))
        };
        let interest = ["us-gaap:InterestExpense", "us-gaap:InterestExpenseNonoperating"];
        let debt =
            ["us-gaap:LongTermDebtNoncurrent", "us-gaap:LongTermDebtAndCapitalLeaseObligations"];
        let liabilities = |y| {
            let tagged = self.stock(&["us-gaap:Liabilities"], y);
            tagged.or_else(|| Some(self.assets(y)? - equity(y)?))
        };
        BTreeMap::from([
            ("operating_margin", of(&|y| share(operating(y), self.revenue(y)))),
            ("operating_cash_flow_margin", of(&|y| share(cash_flow(y), self.revenue(y)))),
            ("current_ratio", of(&|y| share(current(y).0, current(y).1))),
            (
                "debt_to_equity",
                of(&|y| share(Some(self.stock(&debt, y)? + self.debt_current(y)), equity(y))),
            ),
            ("liabilities_to_assets", of(&|y| share(liabilities(y), self.assets(y)))),
            ("interest_coverage", of(&|y| share(operating(y), self.flow(&interest, y)))),
            (
                "gross_profitability",
                of(&|y| share(self.flow(&["us-gaap:GrossProfit"], y), self.assets(y))),
            ),
            (
                "return_on_equity",
                change(&|y, x| {
                    share(self.net_income(y), Some(f64::midpoint(equity(y)?, equity(x)?)))
                }),
            ),
            ("return_on_assets", change(&|y, x| share(self.net_income(y), mean_assets(y, x)))),
            ("asset_growth_yoy", change(&|y, x| Some(self.assets(y)? / self.assets(x)? - 1.0))),
            ("accruals", change(&|y, x| self.accruals(y, x))),
            (
                "cash_flow_accruals",
                change(&|y, x| Some((self.net_income(y)? - cash_flow(y)?) / mean_assets(y, x)?)),
            ),
            ("share_count_change_yoy", self.share_count_change()),
        ])
    }

    /// The change of non-cash working capital without debt and taxes, less depreciation.
    fn accruals(&self, now: i32, prior: i32) -> Option<f64> {
        let taxes = ["us-gaap:AccruedIncomeTaxesCurrent", "us-gaap:TaxesPayableCurrent"];
        let depreciation = [
            "us-gaap:DepreciationDepletionAndAmortization",
            "us-gaap:DepreciationAndAmortization",
            "us-gaap:Depreciation",
        ];
        let working_capital = |y: i32| {
            let cash = self.stock(&["us-gaap:CashAndCashEquivalentsAtCarryingValue"], y)?;
            let owed = self.stock(&["us-gaap:LiabilitiesCurrent"], y)?
                - self.debt_current(y)
                - self.stock(&taxes, y).unwrap_or(0.0);
            Some(self.stock(&["us-gaap:AssetsCurrent"], y)? - cash - owed)
        };
        let change = working_capital(now)? - working_capital(prior)?;
        let assets = f64::midpoint(self.assets(now)?, self.assets(prior)?);
        Some((change - self.flow(&depreciation, now)?) / assets)
    }

    /// Each count is on the shares of the report that states it.
    fn share_count_change(&self) -> Option<f64> {
        let ends: BTreeSet<i32> = self.facts.iter().map(|row| row.of.end).collect();
        let counts = ends.into_iter().filter_map(|end| self.version(&SHARES, end, false));
        let counts: Vec<&Fact> = counts.collect();
        let now = counts.last().filter(|now| self.today() - now.end <= 500)?;
        let prior = counts.iter().find(|prior| (350..=380).contains(&(now.end - prior.end)))?;
        let ratio = self.splits_between(prior.filed, now.filed);
        Some(now.value / (prior.value * ratio) - 1.0)
    }

    /// The splits after one day until another.
    fn splits_between(&self, after: i32, until: i32) -> f64 {
        let splits = self.splits.iter().map(|row| &row.of);
        splits.filter(|s| s.ex_date > after && s.ex_date <= until).map(|s| s.ratio).product()
    }

    fn last_close(&self) -> Option<(i32, f64)> {
        let last = self.bars.iter().map(|row| &row.of).max_by_key(|bar| bar.session)?;
        last.is_raw.then_some((last.session, last.close))
    }

    fn market_cap(&self) -> Option<f64> {
        let (session, close) = self.last_close()?;
        let cover = "dei:EntityCommonStockSharesOutstanding";
        let is_count = |row: &&Row<Fact>| {
            self.age(row) < 500.0
                && row.of.start.is_none()
                && (row.of.concept == cover || row.of.concept == SHARES[0])
        };
        let key = |row: &&Row<Fact>| {
            (row.of.end, row.known, row.of.concept == cover, row.of.accession.clone())
        };
        let counted = &self.facts.iter().filter(is_count).max_by_key(key)?.of;
        let basis = if counted.concept == cover { counted.end } else { counted.filed };
        Some(counted.value * self.splits_between(basis, session) * close)
    }

    fn valuation(&self) -> Values {
        let now = self.years().map(|(now, _)| now);
        let yields = |value: &dyn Fn(i32) -> Option<f64>| Some(value(now?)? / self.market_cap()?);
        BTreeMap::from([
            ("earnings_yield", yields(&|y| self.net_income(y))),
            ("book_to_price", yields(&|y| self.stock(&EQUITY, y))),
            ("sales_yield", yields(&|y| self.revenue(y))),
        ])
    }

    /// Estimates of a metric on the shares of the last session.
    fn estimates(&self, metric: &str, is_consensus: bool) -> Vec<Row<Estimate>> {
        let session = self.bars.iter().map(|row| row.of.session).max().unwrap_or(0);
        let fits = |row: &&Row<Estimate>| {
            row.of.metric == metric && (row.of.broker == "consensus") == is_consensus
        };
        let mut rows: Vec<Row<Estimate>> = self.estimates.iter().filter(fits).cloned().collect();
        for row in rows.iter_mut().filter(|_| metric != "revenue") {
            let day = i32::try_from(row.known.div_euclid(86_400_000_000)).unwrap();
            row.of.mean /= self.splits_between(day, session);
            row.of.range = row.of.range.map(|range| range / self.splits_between(day, session));
        }
        rows.sort_by(|a, b| (a.known, &a.id).cmp(&(b.known, &b.id)));
        rows
    }

    fn surprise(&self, metric: &str, concepts: &[&str]) -> Option<f64> {
        let session = self.bars.iter().map(|row| row.of.session).max()?;
        let is_report = |row: &&Row<Fact>| concepts.contains(&&*row.of.concept) && is_year(&row.of);
        let end = self.facts.iter().filter(is_report).map(|row| row.of.end).max()?;
        let of_year = self.facts.iter().filter(is_report).filter(|row| row.of.end == end);
        let first = of_year.min_by_key(|row| (row.known, row.of.accession.clone()))?;
        let before = |row: &Row<Estimate>| {
            row.known < first.known && row.of.end.is_some_and(|e| (e - end).abs() <= 10)
        };
        let forecasts = self.estimates(metric, true);
        let forecast = forecasts.into_iter().rfind(before)?.of.mean;
        let is_per_share = metric == "eps";
        let splits = if is_per_share { self.splits_between(first.of.filed, session) } else { 1.0 };
        let is_fresh = self.today() - end <= 400;
        is_fresh.then(|| (first.of.value / splits - forecast) / forecast.abs())
    }

    fn surprises(&self) -> Values {
        BTreeMap::from([
            ("eps_surprise", self.surprise("eps", &EPS)),
            ("revenue_surprise", self.surprise("revenue", &REVENUE)),
        ])
    }

    fn consensus(&self) -> Values {
        let facts = self.facts.iter().filter(|row| EPS.contains(&&*row.of.concept));
        let reported = facts.filter(|row| is_year(&row.of)).map(|row| row.of.end).max();
        let mut rows = self.estimates("eps", true);
        rows.retain(|row| reported.is_none_or(|end| row.of.end > Some(end + 10)));
        let ends = rows.iter().filter_map(|row| row.of.end);
        let next = ends.filter(|end| *end > self.today() - 200).min();
        rows.retain(|row| row.of.end == next);
        let now = rows.last().filter(|row| self.age(row) <= 200.0);
        let past = rows.iter().rfind(|row| self.age(row) >= 90.0);
        BTreeMap::from([
            (
                "eps_revision_90d",
                now.zip(past).map(|(n, p)| (n.of.mean - p.of.mean) / p.of.mean.abs()),
            ),
            ("eps_analysts", now.map(|row| row.of.analysts as f64)),
            ("eps_dispersion", now.and_then(|row| Some(row.of.range? / row.of.mean.abs()))),
        ])
    }

    fn targets(&self) -> Values {
        let mut of_brokers = BTreeMap::new();
        for row in self.estimates("price_target", false) {
            if self.age(&row) < 180.0 {
                of_brokers.insert(row.of.broker.clone(), row.of.mean);
            }
        }
        let targets: Vec<f64> = of_brokers.into_values().collect();
        let mean = targets.iter().sum::<f64>() / targets.len() as f64;
        let squares: f64 = targets.iter().map(|t| (t - mean).powi(2)).sum();
        let deviation = (squares / (targets.len() as f64 - 1.0)).sqrt();
        let close = self.last_close().filter(|_| !targets.is_empty());
        BTreeMap::from([
            ("target_price_upside", close.map(|(_, close)| mean / close - 1.0)),
            ("target_dispersion", (targets.len() > 1).then(|| deviation / mean.abs())),
        ])
    }

    fn sentiment(&self) -> Values {
        let tones = |days: f64| -> Vec<f64> {
            self.news.iter().filter(|row| self.age(row) < days).map(|row| row.of).collect()
        };
        let mean = |tones: &[f64]| tones.iter().sum::<f64>() / tones.len() as f64;
        let (week, month, quarter) = (tones(7.0), tones(30.0), tones(90.0));
        let is_old = self.news.iter().any(|row| self.age(row) >= 90.0);
        let usual = quarter.len() as f64 * 7.0 / 90.0;
        let is_defined = is_old && !quarter.is_empty();
        BTreeMap::from([
            ("news_attention_7d", is_defined.then(|| week.len() as f64 / usual - 1.0)),
            ("news_tone_change", (!week.is_empty()).then(|| mean(&week) - mean(&month))),
        ])
    }

    fn insiders(&self) -> Values {
        let recent: Vec<_> =
            self.trades.iter().filter(|row| self.age(row) < 90.0).map(|row| &row.of).collect();
        let buys = || recent.iter().filter(|trade| trade.code == "P");
        let sells = || recent.iter().filter(|trade| trade.code == "S");
        let n = buys().count() as f64 + sells().count() as f64;
        let owners: BTreeSet<&str> = buys().map(|trade| &*trade.owner).collect();
        let inside =
            buys().filter(|t| t.relationship == "Director" || t.relationship == "Officer").count();
        let value = |trade: &&&super::raw::Trade| trade.shares * trade.price.unwrap();
        let net = buys().map(|t| value(&t)).sum::<f64>() - sells().map(|t| value(&t)).sum::<f64>();
        let some = |value: f64| (!recent.is_empty()).then_some(value);
        let traded = |value: f64| (n > 0.0).then_some(value);
        BTreeMap::from([
            ("insider_buyers_90d", some(owners.len() as f64)),
            ("insider_officer_buys_90d", some(inside as f64)),
            (
                "insider_purchase_ratio_90d",
                traded((buys().count() as f64 - sells().count() as f64) / n),
            ),
            ("insider_net_value_90d", self.market_cap().and_then(|cap| traded(net / cap))),
        ])
    }

    /// A series by period, in the latest vintage known.
    fn series(&self, name: &str) -> BTreeMap<i32, f64> {
        let mut rows: Vec<_> = self.macros.iter().filter(|row| row.of.series == name).collect();
        rows.sort_by(|a, b| (a.known, &a.id).cmp(&(b.known, &b.id)));
        rows.into_iter().map(|row| (row.of.end, row.of.value)).collect()
    }

    fn economy(&self) -> Values {
        let vix: Vec<(i32, f64)> = self.series("VIX").into_iter().collect();
        let is_fresh = |end: i32, days: i32| self.today() - end <= days;
        let year = vix.len().checked_sub(252).map(|from| &vix[from..]);
        let score = year.filter(|year| is_fresh(year[251].0, 10)).map(|year| {
            let mean = year.iter().map(|(_, v)| v).sum::<f64>() / 252.0;
            let squares: f64 = year.iter().map(|(_, v)| (v - mean).powi(2)).sum();
            (year[251].1 - mean) / (squares / 251.0).sqrt()
        });
        let (baa, aaa) = (self.series("BAA"), self.series("AAA"));
        let spreads: Vec<(i32, f64)> =
            baa.iter().filter_map(|(end, b)| Some((*end, (b - aaa.get(end)?) / 100.0))).collect();
        let spread_change = spreads.last_chunk::<2>().and_then(|[past, now]| {
            let is_month = (20..=40).contains(&(now.0 - past.0)) && is_fresh(now.0, 75);
            is_month.then_some(now.1 - past.1)
        });
        let (ten, two) = (self.series("DGS10"), self.series("DGS2"));
        let of_day = |(end, t): (&i32, &f64)| Some((*end, (t - two.get(end)?) / 100.0));
        let slope = ten.iter().rev().find_map(of_day).filter(|(end, _)| is_fresh(*end, 10));
        let output = self.series("GDP");
        let growth = output.iter().rev().find_map(|(end, now)| {
            let past = output.range(end - 380..=end - 350).next()?.1;
            Some((*end, now / past - 1.0))
        });
        let growth = growth.filter(|(end, _)| is_fresh(*end, 220));
        BTreeMap::from([
            ("vix_zscore_252d", score),
            ("baa_aaa_spread_change", spread_change),
            ("yield_slope_10y_2y", slope.map(|(_, slope)| slope)),
            ("gdp_growth_yoy", growth.map(|(_, growth)| growth)),
        ])
    }
}
