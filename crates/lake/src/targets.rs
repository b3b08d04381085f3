//! Labels as typed values, for programs that train and test on them.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use datafusion::arrow::datatypes::Date32Type;
use domain::Ticker;

use crate::{HORIZONS, LabelConfig, LabelRow, LakeError, Snapshot, label_rows};

/// A session of a ticker and what the price did after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The session.
    pub session: NaiveDate,
    /// The label; none where the past or the future is not complete.
    pub label: Option<LabelRow>,
    /// When the last price the label rests on became known; none without a label. It may
    /// be a target of training only for decisions after that.
    pub known_at: Option<DateTime<Utc>>,
}

impl Snapshot {
    /// Labels every session, oldest first, of every ticker: the rows of
    /// [`Snapshot::labels`].
    ///
    /// # Errors
    /// Fails when the prices cannot be read.
    pub async fn targets(
        &self,
        config: &LabelConfig,
    ) -> Result<BTreeMap<Ticker, Vec<Target>>, LakeError> {
        let mut found = BTreeMap::new();
        for closes in self.closes()? {
            let thresholds = config.thresholds(&closes.ticker);
            let rows = label_rows(&closes.values, config.scheme, thresholds);
            let target = |(i, label): (usize, Option<LabelRow>)| {
                let last = closes.known_at.get(i + HORIZONS[HORIZONS.len() - 1]);
                let known_at = last.filter(|_| label.is_some());
                Some(Target {
                    session: Date32Type::to_naive_date_opt(*closes.sessions.get(i)?)?,
                    label,
                    known_at: known_at.and_then(|at| DateTime::from_timestamp_micros(*at)),
                })
            };
            let targets = rows.into_iter().enumerate().filter_map(target).collect();
            found.insert(closes.ticker.clone(), targets);
        }
        Ok(found)
    }
}
