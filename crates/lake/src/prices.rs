//! What a backtest is made of: prices as they were paid, what changed holdings, and what
//! became known when.

use std::{collections::HashMap, path::Path, sync::Arc};

use chrono::{DateTime, NaiveDate};
use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, Float64Array, RecordBatch, StringViewArray},
    datatypes::{DataType, Date32Type, Field, Float64Type, Schema, TimestampMicrosecondType},
};
use domain::{Label, Ticker};
use indicatif::ProgressBar;

use crate::{
    FeatureInfo, Kind, LabelConfig, LakeError, PanelOptions, Snapshot, research::column_error,
    targets::Target, write_table,
};

/// A session of a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PricedSession {
    /// Session.
    pub session: NaiveDate,
    /// Close as traded; adjusted for later splits and dividends where the source has no
    /// other.
    pub close: f64,
    /// Close as if there had been neither split nor dividend.
    pub adjusted: f64,
    /// Shares traded.
    pub volume: Option<f64>,
}

/// A split or dividend of a name whose closes are as traded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CorporateAction {
    /// New shares for each old one, from a day on.
    Split(NaiveDate, f64),
    /// Cash for each share, from a day on.
    Dividend(NaiveDate, f64),
}

/// Sessions and corporate actions of a name, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct PriceHistory {
    /// Name.
    pub ticker: Ticker,
    /// Sessions.
    pub sessions: Vec<PricedSession>,
    /// Whether closes are as traded.
    pub is_raw: bool,
    /// Splits and dividends; none where closes are adjusted for them.
    pub actions: Vec<CorporateAction>,
}

/// Something about a name with the day on which it became known, UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownValue<T> {
    /// Name.
    pub ticker: Ticker,
    /// Session it is about.
    pub session: NaiveDate,
    /// Day it became known.
    pub known: NaiveDate,
    /// What.
    pub value: T,
}

/// A column of a derived table.
#[derive(Debug, Clone)]
pub enum Column {
    /// Text.
    Text(Vec<String>),
    /// Dates.
    Date(Vec<NaiveDate>),
    /// Numbers; null where there is none.
    Number(Vec<Option<f64>>),
}

impl Snapshot {
    /// Returns the prices of all names in their latest versions, in order of tickers.
    ///
    /// # Errors
    /// Fails when the prices cannot be read.
    pub async fn prices(&self) -> Result<Vec<PriceHistory>, LakeError> {
        let mut histories = Vec::new();
        for closes in self.closes()? {
            let ticker = closes.ticker;
            let Some(bars) = self.latest_rows(Kind::Bars, &ticker)? else { continue };
            let days = column(&bars, "session", |c| c.as_primitive_opt::<Date32Type>())?;
            let traded = column(&bars, "close", |c| c.as_primitive_opt::<Float64Type>())?;
            let volumes = column(&bars, "volume", |c| c.as_primitive_opt::<Float64Type>())?;
            let basis = column(&bars, "price_basis", |c| c.as_string_view_opt())?;
            let mut sessions = Vec::with_capacity(bars.num_rows());
            for row in 0..bars.num_rows() {
                // Both are in order of sessions, which the query has sorted.
                let at = closes.sessions.binary_search(&days.value(row));
                let Some(adjusted) = at.ok().and_then(|at| closes.values.get(at)) else { continue };
                sessions.push(PricedSession {
                    session: Date32Type::to_naive_date_opt(days.value(row)).unwrap_or_default(),
                    close: traded.value(row),
                    adjusted: *adjusted,
                    volume: volumes.is_valid(row).then(|| volumes.value(row)),
                });
            }
            sessions.sort_by_key(|session| session.session);
            let is_raw = bars.num_rows() > 0 && basis.value(0) == "raw";
            let actions = if is_raw { self.actions(&ticker)? } else { Vec::new() };
            if !is_raw {
                sessions.iter_mut().for_each(|session| session.adjusted = session.close);
            }
            histories.push(PriceHistory { ticker, sessions, is_raw, actions });
        }
        Ok(histories)
    }

    fn actions(&self, ticker: &Ticker) -> Result<Vec<CorporateAction>, LakeError> {
        let Some(rows) = self.latest_rows(Kind::Actions, ticker)? else { return Ok(Vec::new()) };
        let days = column(&rows, "ex_date", |c| c.as_primitive_opt::<Date32Type>())?;
        let kinds = column(&rows, "action", |c| c.as_string_view_opt())?;
        let values = column(&rows, "value", |c| c.as_primitive_opt::<Float64Type>())?;
        let action = |row: usize| {
            let day = Date32Type::to_naive_date_opt(days.value(row)).unwrap_or_default();
            match kinds.value(row) {
                "split" => CorporateAction::Split(day, values.value(row)),
                _ => CorporateAction::Dividend(day, values.value(row)),
            }
        };
        Ok((0..rows.num_rows()).map(action).collect())
    }

    fn latest_rows(&self, kind: Kind, ticker: &Ticker) -> Result<Option<RecordBatch>, LakeError> {
        let last = self.range().map(|(_, last)| last).unwrap_or_default();
        let tables = self.tables.of_ticker(ticker, domain::AsOf::end_of(last))?;
        Ok(tables.get(kind).cloned())
    }

    /// Returns the label of every session that has one, known when the last price it rests
    /// on was.
    ///
    /// # Errors
    /// Fails when the prices cannot be read.
    pub async fn label_history(
        &self,
        config: &LabelConfig,
    ) -> Result<Vec<KnownValue<Label>>, LakeError> {
        let of_ticker = |(ticker, targets): (Ticker, Vec<Target>)| {
            targets.into_iter().filter_map(move |target| {
                let (known, value) = (target.known_at?.date_naive(), target.label?.label);
                Some(KnownValue { ticker: ticker.clone(), session: target.session, known, value })
            })
        };
        Ok(self.targets(config).await?.into_iter().flat_map(of_ticker).collect())
    }

    /// Returns a feature at every `every`th session of each name, where it is defined.
    ///
    /// # Errors
    /// As [`Snapshot::panel`].
    pub async fn feature_history(
        &self,
        feature: &FeatureInfo,
        every: usize,
        progress: &ProgressBar,
    ) -> Result<Vec<KnownValue<f64>>, LakeError> {
        let features = vec![feature.name.clone()];
        let options = PanelOptions { features, every, ..PanelOptions::default() };
        let batch = self.panel(&options, progress).await?.batch;
        let tickers = column(&batch, "ticker", |c| c.as_string_view_opt())?;
        let days = column(&batch, "session", |c| c.as_primitive_opt::<Date32Type>())?;
        let times =
            column(&batch, "known_at", |c| c.as_primitive_opt::<TimestampMicrosecondType>())?;
        let values = column(&batch, &feature.name, |c| c.as_primitive_opt::<Float64Type>())?;
        let mut found = Vec::new();
        for row in (0..batch.num_rows()).filter(|row| values.is_valid(*row)) {
            let ticker = tickers.value(row).parse().map_err(|_| column_error("ticker"))?;
            let session = Date32Type::to_naive_date_opt(days.value(row)).unwrap_or_default();
            let known = DateTime::from_timestamp_micros(times.value(row));
            let known = known.map_or(session, |time| time.date_naive()).max(session);
            found.push(KnownValue { ticker, session, known, value: values.value(row) });
        }
        Ok(found)
    }
}

/// Key of the metadata of a file's schema that says what the file is of.
const ABOUT: &str = "r2r";

/// Writes columns of one length as a Parquet file, whole or not at all. `about` goes into the
/// metadata of its schema, under `r2r`.
///
/// # Errors
/// Fails when the columns differ in length or the file cannot be written.
pub fn write_columns(
    path: &Path,
    columns: Vec<(&str, Column)>,
    about: &str,
) -> Result<(), LakeError> {
    let array = |column: Column| -> ArrayRef {
        match column {
            Column::Text(values) => Arc::new(StringViewArray::from_iter_values(values)),
            Column::Date(values) => {
                let days = values.into_iter().map(Date32Type::from_naive_date);
                Arc::new(Date32Array::from_iter_values(days))
            }
            Column::Number(values) => Arc::new(values.into_iter().collect::<Float64Array>()),
        }
    };
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (name, column) in columns {
        let array = array(column);
        let is_nullable = *array.data_type() == DataType::Float64;
        fields.push(Field::new(name, array.data_type().clone(), is_nullable));
        arrays.push(array);
    }
    let about = HashMap::from([(ABOUT.to_owned(), about.to_owned())]);
    let schema = Schema::new_with_metadata(fields, about);
    let batch = RecordBatch::try_new(Arc::new(schema), arrays)?;
    write_table(path, &batch)
}

fn column<'b, T: ?Sized>(
    batch: &'b RecordBatch,
    name: &str,
    read: impl Fn(&'b ArrayRef) -> Option<&'b T>,
) -> Result<&'b T, LakeError> {
    batch.column_by_name(name).and_then(read).ok_or_else(|| column_error(name))
}
