//! The values of features at given names and dates, which need not be sessions.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::arrow::{
    array::{ArrayRef, Date32Array, RecordBatch, StringViewArray},
    datatypes::{DataType, Date32Type, Field, Schema},
};
use domain::{AsOf, Ticker};
use indicatif::ProgressBar;

use super::{Panel, chosen, columns::Means};
use crate::{LakeError, Snapshot};

impl Snapshot {
    /// Computes features at names and dates, in their order: `ticker`, `as_of`, then a column
    /// for each feature, null where it has no value; all series where none is named. Each row
    /// is a read at the end of its date. `progress` is told of each.
    ///
    /// # Errors
    /// Fails on an unknown feature, on a ticker outside the universe or a date outside its
    /// data, and when a query fails.
    pub async fn panel_at_points(
        &self,
        points: &[(Ticker, AsOf)],
        features: &[String],
        progress: &ProgressBar,
    ) -> Result<Panel, LakeError> {
        let features = chosen(features)?;
        for (ticker, as_of) in points.iter().collect::<BTreeSet<_>>() {
            self.check_date(ticker, *as_of)?;
        }
        let tickers = points.iter().map(|(ticker, _)| ticker.as_str());
        let dates = points.iter().map(|(_, as_of)| Date32Type::from_naive_date(as_of.date()));
        let tickers: ArrayRef = Arc::new(StringViewArray::from_iter_values(tickers));
        let dates: ArrayRef = Arc::new(Date32Array::from_iter_values(dates));
        let rows = [("ticker", tickers.clone()), ("session", dates.clone())];
        let rows = RecordBatch::try_from_iter(rows)?;
        let values = self.records().columns(&features, Means::Reads, &rows, progress).await?;
        let named = features.iter().map(|feature| (feature.name.as_str(), DataType::Float64, true));
        let keys = [("ticker", DataType::Utf8View, false), ("as_of", DataType::Date32, false)];
        let fields = keys.into_iter().chain(named);
        let fields = fields.map(|(name, kind, nullable)| Field::new(name, kind, nullable));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let arrays = [tickers, dates].into_iter().chain(values).collect();
        Ok(Panel { batch: RecordBatch::try_new(Arc::new(schema), arrays)?, features })
    }
}
