//! Runs views and features over the tables of one point in time, or of all.
//!
//! Plans are made once, against tables without data. A read binds them to the tables
//! of its point in time, so a query cannot reach any other record.

mod causal;
mod planning;
#[cfg(feature = "ballista")]
mod travel;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{Array, AsArray, RecordBatch},
        compute::{cast, concat_batches},
        datatypes::{DataType, Float64Type, TimestampMicrosecondType},
    },
    execution::{SessionState, TaskContext},
    physical_plan::{collect, execution_plan::reset_plan_states},
};
use tokio::sync::OnceCell;

use self::planning::{Planned, check_columns, plan, plan_series, plan_views, register_views};
pub(crate) use self::planning::{config, context};
#[cfg(feature = "ballista")]
pub(crate) use self::travel::plan_history;
use crate::{
    FeatureInfo, Kind, LakeError,
    parallel::{in_parallel, run_now},
    records::time_type,
    scan::{Reads, UnboundTable, bound_to, reads},
    tables::Tables,
};

/// What a feature's query has returned for a point in time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeatureRow {
    pub(crate) value: f64,
    /// Microseconds since 1970 UTC, of the latest record used.
    pub(crate) event_time: Option<i64>,
    pub(crate) known_at: Option<i64>,
    /// Source and url, where the query gives them.
    pub(crate) source: Option<(String, String)>,
}

/// Planned queries.
#[derive(Debug)]
pub(crate) struct Engine {
    state: SessionState,
    /// Views that several queries read: run once and then tables of their own, in order of
    /// their files' names. A view may use the tables and earlier views. Those that the
    /// features read are here.
    views: Vec<(String, Planned)>,
    /// The sessions of names, with their adjusted closes; planned when first asked for.
    closes: OnceCell<Planned>,
    features: Vec<FeatureInfo>,
    /// One query for all series of a kind, and the features that are its columns.
    series: Vec<(Planned, Vec<usize>)>,
    /// A query of its own for each other feature.
    queries: Vec<(Planned, usize)>,
    /// How many of the latest sessions of a name and of the market are looked at; all
    /// where none is said.
    sessions: Option<usize>,
}

const CLOSES: &str =
    "SELECT ticker, session, event_time, known_at, close FROM sessions ORDER BY ticker, session";

/// Sessions that are looked back on at least: smoothing has forgotten what was before.
const SESSIONS_MIN: usize = 600;
/// As many of the longest window of a feature, at least.
const WINDOWS_MIN: usize = 2;

/// A query to be planned.
enum Ask {
    /// All series of a kind, by the places of their features.
    Series(Kind, Vec<usize>),
    /// The feature at this place.
    Query(usize),
}

/// Returns the queries that give these features, the longest first.
fn asked(features: &[FeatureInfo]) -> Vec<Ask> {
    let of_kind = |kind: Kind| {
        let is_of_kind = |i: &usize| features[*i].is_series() && features[*i].kind == kind;
        let columns: Vec<usize> = (0..features.len()).filter(is_of_kind).collect();
        (!columns.is_empty()).then_some(Ask::Series(kind, columns))
    };
    let series = [Kind::Bars, Kind::Index].into_iter().filter_map(of_kind);
    let queries = (0..features.len()).filter(|i| !features[*i].is_series());
    series.chain(queries.map(Ask::Query)).collect()
}

impl Engine {
    /// Plans all views and the given features for tables of these schemas.
    pub(crate) async fn new(
        tables: &Tables,
        features: Vec<FeatureInfo>,
    ) -> Result<Self, LakeError> {
        let context = context(config());
        for (kind, schema) in tables.schemas() {
            let name = kind.table();
            context.register_table(name, UnboundTable::new(name, schema))?;
        }
        let views = register_views(&context, &features).await?;
        let state = context.state();
        let (mut series, mut queries) = (Vec::new(), Vec::new());
        let planned = in_parallel(asked(&features), |ask| {
            // Planning waits for nothing.
            run_now(async {
                let planned = match &ask {
                    Ask::Series(kind, columns) => {
                        let infos: Vec<_> = columns.iter().map(|i| &features[*i]).collect();
                        plan_series(&state, *kind, &infos).await?
                    }
                    Ask::Query(i) => {
                        let FeatureInfo { file, sql, .. } = &features[*i];
                        let planned = plan(&state, file, sql).await?;
                        check_columns(file, &planned.schema)?;
                        planned
                    }
                };
                Ok::<_, LakeError>((ask, planned))
            })
        });
        for planned in planned {
            match planned? {
                (Ask::Series(_, columns), planned) => series.push((planned, columns)),
                (Ask::Query(i), planned) => queries.push((planned, i)),
            }
        }
        let plans = series.iter().map(|(planned, _)| planned);
        let plans = plans.chain(queries.iter().map(|(planned, _)| planned));
        let needed = plans.flat_map(|planned| planned.reads.iter().cloned()).collect();
        let views = plan_views(&state, views, needed).await?;
        series.iter_mut().for_each(|(planned, _)| planned.read_through(&views));
        queries.iter_mut().for_each(|(planned, _)| planned.read_through(&views));
        let closes = OnceCell::new();
        Ok(Self { state, views, closes, features, series, queries, sessions: None })
    }

    /// Looks back on 600 sessions, or on twice the longest window if that is more: a read
    /// then takes a fraction of the time. What a feature says does not depend
    /// on it but for the rounding of the last digit, unless it accumulates without end.
    pub(crate) fn with_recent_sessions(mut self) -> Self {
        let windows = self.features.iter().filter_map(|feature| feature.window_days);
        let longest = windows.max().map_or(0, |window| window as usize);
        self.sessions = Some(SESSIONS_MIN.max(WINDOWS_MIN * longest));
        self
    }

    /// Returns the features in the order of their results.
    pub(crate) fn features(&self) -> &[FeatureInfo] {
        &self.features
    }

    /// Returns the kinds of record whose arrival alone changes what a feature says; none
    /// where it changes as time passes, as what rests on sessions does.
    pub(crate) fn events_of(&self, feature: &str) -> Option<BTreeSet<Kind>> {
        let is_of = |(_, i): &&(Planned, usize)| self.features[*i].name == feature;
        let (planned, _) = self.queries.iter().find(is_of)?;
        let is_read = |kind: &Kind| planned.reads.contains(kind.table());
        let kinds: BTreeSet<Kind> = Kind::ALL.into_iter().filter(is_read).collect();
        let has_sessions = kinds.contains(&Kind::Bars) || kinds.contains(&Kind::Index);
        (!planned.ages && !has_sessions).then_some(kinds)
    }

    /// Runs all features over tables that were cut to a ticker and a point in time;
    /// none where a query returns no row or no value.
    pub(crate) async fn run(
        &self,
        tables: BTreeMap<&str, RecordBatch>,
    ) -> Result<Vec<Option<FeatureRow>>, LakeError> {
        let tables = match self.sessions {
            Some(sessions) => recent(tables, sessions),
            None => tables,
        };
        let tables = self.with_views(tables, |_| true).await?;
        let mut rows = vec![None; self.features.len()];
        let context = self.bind(&tables);
        for (planned, columns) in &self.series {
            let batch = execute(planned, &context).await?;
            let Some(last) = batch.num_rows().checked_sub(1) else { continue };
            let last = batch.slice(last, 1);
            for &i in columns {
                let name = &self.features[i].name;
                rows[i] = feature_row(&self.features[i].file, &last, name)?;
            }
        }
        for (planned, i) in &self.queries {
            let batch = execute(planned, &context).await?;
            rows[*i] = feature_row(&self.features[*i].file, &batch, "value")?;
        }
        Ok(rows)
    }

    /// Runs the series of a kind over tables of all times: one row per session (and
    /// ticker), one column per feature after `ticker`, `session`, `event_time` and
    /// `known_at`. None where no feature is a series of the kind.
    pub(crate) async fn run_series(
        &self,
        kind: Kind,
        tables: BTreeMap<&str, RecordBatch>,
    ) -> Result<Option<RecordBatch>, LakeError> {
        let is_of_kind = |(_, columns): &&(Planned, Vec<usize>)| {
            columns.first().is_some_and(|i| self.features[*i].kind == kind)
        };
        let Some((planned, _)) = self.series.iter().find(is_of_kind) else { return Ok(None) };
        let tables = self.with_views(tables, |view| planned.reads.contains(view)).await?;
        Ok(Some(execute(planned, &self.bind(&tables)).await?))
    }

    /// Returns the sessions of names in tables of all times, in order of ticker and session:
    /// `ticker`, `session`, `event_time`, `known_at` and the adjusted `close`.
    pub(crate) async fn run_closes(
        &self,
        tables: BTreeMap<&str, RecordBatch>,
    ) -> Result<RecordBatch, LakeError> {
        let plan = || plan(&self.state, "sessions.sql", CLOSES);
        let planned = self.closes.get_or_try_init(plan).await?;
        execute(planned, &self.bind(&tables)).await
    }

    /// Returns which tables and views the plan of a feature reads, and which of their columns.
    /// The views it names must be among those that the engine's features name.
    pub(crate) async fn reads(&self, feature: &FeatureInfo) -> Result<Reads, LakeError> {
        let planned = if feature.is_series() {
            plan_series(&self.state, feature.kind, &[feature]).await?
        } else {
            plan(&self.state, &feature.file, &feature.sql).await?
        };
        Ok(reads(&planned.plan)?)
    }

    /// Returns the same of each view.
    pub(crate) fn view_reads(&self) -> Result<BTreeMap<&str, Reads>, LakeError> {
        self.views.iter().map(|(name, view)| Ok((name.as_str(), reads(&view.plan)?))).collect()
    }

    /// Adds views to the tables. Others are not computed: most features are for research,
    /// and a read need not pay for their views.
    async fn with_views<'t>(
        &'t self,
        mut tables: BTreeMap<&'t str, RecordBatch>,
        is_needed: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<&'t str, RecordBatch>, LakeError> {
        for (name, planned) in self.views.iter().filter(|(name, _)| is_needed(name)) {
            let batch = execute(planned, &self.bind(&tables)).await?;
            tables.insert(name, batch);
        }
        Ok(tables)
    }

    fn bind(&self, tables: &BTreeMap<&str, RecordBatch>) -> Arc<TaskContext> {
        bound_to(tables, self.state.config().clone(), self.state.runtime_env().clone())
    }
}

/// Runs a plan. Each run has states of its own: joins remember what they built.
async fn execute(planned: &Planned, context: &Arc<TaskContext>) -> Result<RecordBatch, LakeError> {
    let plan = reset_plan_states(planned.plan.clone())?;
    let schema = plan.schema();
    let batches = collect(plan, context.clone()).await?;
    let columns = concat_batches(&schema, &batches)?.columns().to_vec();
    Ok(RecordBatch::try_new(planned.schema.clone(), columns)?)
}

/// Leaves the latest sessions of the name and of the market, which were cut to one name.
fn recent(mut tables: BTreeMap<&str, RecordBatch>, sessions: usize) -> BTreeMap<&str, RecordBatch> {
    for kind in [Kind::Bars, Kind::Index] {
        if let Some(batch) = tables.get_mut(kind.table()) {
            let first = batch.num_rows().saturating_sub(sessions);
            *batch = batch.slice(first, batch.num_rows() - first);
        }
    }
    tables
}

fn feature_row(
    file: &str,
    batch: &RecordBatch,
    value_column: &str,
) -> Result<Option<FeatureRow>, LakeError> {
    match batch.num_rows() {
        0 => return Ok(None),
        1 => {}
        n => return Err(LakeError::feature(file, format!("its query returned {n} rows, not one"))),
    }
    let column = |name: &str, to: &DataType| {
        let column = batch.column_by_name(name);
        column.map(|c| cast(c, to)).transpose()
    };
    let Some(values) = column(value_column, &DataType::Float64)? else {
        return Ok(None);
    };
    let value = values.as_primitive::<Float64Type>().iter().next().flatten();
    let Some(value) = value.filter(|v| v.is_finite()) else {
        return Ok(None);
    };
    let time = |name: &str| -> Result<Option<i64>, LakeError> {
        let times = column(name, &time_type())?;
        Ok(times.and_then(|t| t.as_primitive::<TimestampMicrosecondType>().iter().next().flatten()))
    };
    let text = |name: &str| -> Result<Option<String>, LakeError> {
        let texts = column(name, &DataType::Utf8)?;
        Ok(texts.filter(|t| t.is_valid(0)).map(|t| t.as_string::<i32>().value(0).to_owned()))
    };
    let source = text("source")?.zip(text("url")?);
    Ok(Some(FeatureRow {
        value,
        event_time: time("event_time")?,
        known_at: time("known_at")?,
        source,
    }))
}
