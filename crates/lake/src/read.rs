//! The as-of read: the only way from a snapshot to features and evidence.

use chrono::{DateTime, NaiveDate, Utc};
use domain::{AsOf, AsOfRead, Feature, Provenance, Ticker};

use crate::{
    FeatureInfo, LakeError, Manifest, Snapshot, TickerInfo, calendar, engine::FeatureRow,
    tables::AsOfTables,
};

/// Similar tickers offered where one is unknown.
const NEAR_MAX: usize = 3;
const NEAR_MIN: f64 = 0.6;

impl Snapshot {
    /// Returns what was known about a ticker at the end of `as_of`: the feature
    /// frame and the evidence catalogue. Takes 4 to 5 ms of one core; the first read of a
    /// snapshot loads what ranks texts.
    ///
    /// # Errors
    /// Fails on a ticker outside the universe and on a date outside the span
    /// of its closes.
    pub async fn read(&self, ticker: &Ticker, as_of: AsOf) -> Result<AsOfRead, LakeError> {
        let info = self.check_date(ticker, as_of)?;
        let tables = self.tables.cut(ticker, as_of)?;
        let frame = self.frame(&tables).await?;
        let snippets = match self.names.get(ticker) {
            Some(name) => self.evidence.snippets(&self.tables, &tables, name)?,
            None => Vec::new(),
        };
        let company = info.company.clone();
        Ok(AsOfRead::new(ticker.clone(), company, as_of, self.id(), frame, &snippets)?)
    }

    /// Returns the features a thesis may cite, of tables that were cut.
    pub(crate) async fn frame(&self, tables: &AsOfTables) -> Result<Vec<Feature>, LakeError> {
        let rows = self.engine.run(tables.by_name()).await?;
        let found = self.features().iter().zip(rows);
        Ok(found.filter_map(|(info, row)| self.feature(info, row?, tables)).collect())
    }

    /// Returns what is known of a ticker.
    pub(crate) fn check_ticker(&self, ticker: &Ticker) -> Result<&TickerInfo, LakeError> {
        let info = self.tickers.iter().find(|info| info.ticker == *ticker);
        info.ok_or_else(|| LakeError::UnknownTicker {
            ticker: ticker.clone(),
            near: self.near(ticker),
        })
    }

    /// Checks that the data of a ticker reaches to a date.
    ///
    /// # Errors
    /// Fails on a ticker outside the universe and on a date outside its data.
    pub fn check_date(&self, ticker: &Ticker, as_of: AsOf) -> Result<&TickerInfo, LakeError> {
        let info = self.check_ticker(ticker)?;
        if as_of.date() < info.first || as_of.date() > info.last {
            let (first, last) = (info.first, info.last);
            return Err(LakeError::OutOfRange { as_of, first, last });
        }
        Ok(info)
    }

    /// Returns the feature a query's row makes, unless it is too old to be used.
    pub(crate) fn feature(
        &self,
        info: &FeatureInfo,
        row: FeatureRow,
        tables: &AsOfTables,
    ) -> Option<Feature> {
        let provenance = provenance(&self.manifest, info, &row, tables.as_of())?;
        Some(Feature {
            name: info.name.clone(),
            title: info.title.clone(),
            short: info.short.clone(),
            section: info.section,
            unit: info.unit,
            polarity: info.polarity,
            window_days: info.window_days,
            value: row.value,
            coverage: info.coverage,
            note: self.note(info, row.value, tables),
            provenance,
        })
    }

    /// Returns why a count of nothing does not mean that nothing happened: there is no archive,
    /// or as far as was known then it had ended, or had no record of the company at all.
    fn note(&self, info: &FeatureInfo, count: f64, tables: &AsOfTables) -> Option<String> {
        if !info.coverage || count > 0.0 {
            return None;
        }
        let as_of = tables.as_of();
        let last = self.tables.last_known(info.kind, as_of);
        let last = last.and_then(DateTime::from_timestamp_micros).map(calendar::new_york_date);
        let is_over = |last: &NaiveDate| {
            let age_days = (as_of.date() - *last).num_days();
            info.window_days.is_some_and(|window| age_days > window.into())
        };
        if let Some(last) = last.filter(is_over) {
            return Some(format!("the archive ends {last}"));
        }
        if self.manifest.source(info.kind).is_none() {
            return Some("the universe has no source of them".to_owned());
        }
        let is_known = tables.get(info.kind).is_some_and(|records| records.num_rows() > 0);
        let of = if info.kind.has_ticker() { " of this company" } else { "" };
        (!is_known).then(|| format!("the archive has none{of}"))
    }

    fn near(&self, ticker: &Ticker) -> Vec<Ticker> {
        let score = |other: &Ticker| strsim::jaro_winkler(ticker.as_str(), other.as_str());
        let mut near: Vec<(f64, &Ticker)> =
            self.tickers.iter().map(|t| (score(&t.ticker), &t.ticker)).collect();
        near.retain(|(score, _)| *score >= NEAR_MIN);
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        near.into_iter().take(NEAR_MAX).map(|(_, ticker)| ticker.clone()).collect()
    }
}

/// Returns where what a row says comes from; none where it is too old to be used, or rests on
/// a kind of record that no source of the manifest has and is more than that there is none.
pub(crate) fn provenance(
    manifest: &Manifest,
    info: &FeatureInfo,
    row: &FeatureRow,
    as_of: AsOf,
) -> Option<Provenance> {
    let (event_time, known_at) = times(info, row, as_of)?;
    let (source, url) = match &row.source {
        Some(pair) => pair.clone(),
        None => match manifest.source(info.kind) {
            Some(source) => (source.title.clone(), source.url.clone()),
            // That there is nothing is told by the snapshot itself.
            None if info.coverage => {
                let (universe, hash) = (&manifest.universe.id, manifest.hash);
                (format!("universe {universe}"), format!("pkg:generic/{universe}@{hash}"))
            }
            None => return None,
        },
    };
    Some(Provenance { source, url, event_time, known_at })
}

/// Returns when what a row rests on happened and became known; none where that is too long
/// ago to be used.
pub(crate) fn times(
    info: &FeatureInfo,
    row: &FeatureRow,
    as_of: AsOf,
) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let time = |micros: Option<i64>| micros.and_then(DateTime::<Utc>::from_timestamp_micros);
    // A count of nothing is known at the time of the read itself.
    let event_time = time(row.event_time).or(info.coverage.then(|| as_of.instant()))?;
    let known_at = time(row.known_at).or(info.coverage.then(|| as_of.instant()))?;
    // A query may say anything of its value; what it says is known later is not known yet.
    if known_at > as_of.instant() {
        return None;
    }
    let age_days = (as_of.date() - event_time.date_naive()).num_days();
    let is_old = info.ttl_days.is_some_and(|ttl| age_days > ttl.into());
    (!is_old).then_some((event_time, known_at))
}
