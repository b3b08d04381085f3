//! Runs views and features over the tables of one point in time, or of all.
//!
//! Plans are made once, against tables without data. A read binds them to the tables
//! of its point in time, so a query cannot reach any other record.

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
        datatypes::{DataType, Float64Type, SchemaRef, TimestampMicrosecondType},
    },
    datasource::ViewTable,
    execution::{SessionState, SessionStateBuilder, TaskContext, context::SessionContext},
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, collect, execution_plan::reset_plan_states},
    prelude::SessionConfig,
};
use tokio::sync::OnceCell;

#[cfg(feature = "ballista")]
pub(crate) use self::travel::plan_history;
use crate::{
    FeatureInfo, Kind, LakeError,
    features::VIEW_FILES,
    parallel::{in_parallel, run_now},
    records::time_type,
    scan::{Reads, UnboundTable, bound_to, reads},
    tables::{AGE, Tables},
    window,
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

/// Views that one query reads, of which they become a part: it then computes no column that
/// it does not need.
const INLINED: [&str; 2] = ["index_sessions", "sessions"];
const CLOSES: &str =
    "SELECT ticker, session, event_time, known_at, close FROM sessions ORDER BY ticker, session";

/// Sessions that are looked back on at least: smoothing has forgotten what was before.
const SESSIONS_MIN: usize = 600;
/// As many of the longest window of a feature, at least.
const WINDOWS_MIN: usize = 2;

#[derive(Debug)]
struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    /// As the query says it; the plan's own may differ in nullability.
    schema: SchemaRef,
    /// The tables and views it reads, also through other views.
    reads: BTreeSet<String>,
    /// Whether the result changes as time passes, with the records as they are.
    ages: bool,
}

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
        let mut views = Vec::new();
        for (file, sql) in VIEW_FILES {
            let name = file.trim_end_matches(".sql");
            if INLINED.contains(&name) {
                inline(&context, file, sql).await?;
                continue;
            }
            let view = logical(&context.state(), file, sql).await?;
            context.register_table(name, UnboundTable::new(name, schema_of(&view)))?;
            views.push((*file, view));
        }
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

    /// Returns which tables and views a feature's plan reads, and which of their columns. It
    /// need not be one of the engine's.
    pub(crate) async fn reads(&self, feature: &FeatureInfo) -> Result<Reads, LakeError> {
        let planned = if feature.is_series() {
            plan_series(&self.state, feature.kind, &[feature]).await?
        } else {
            plan(&self.state, &feature.file, &feature.sql).await?
        };
        Ok(reads(&planned.plan)?)
    }

    /// Returns the same of each view, also of those that the engine's features do not read.
    pub(crate) async fn view_reads(&self) -> Result<BTreeMap<String, Reads>, LakeError> {
        let mut found = BTreeMap::new();
        for (file, sql) in VIEW_FILES {
            let name = file.trim_end_matches(".sql");
            if !INLINED.contains(&name) {
                let planned = plan(&self.state, file, sql).await?;
                found.insert(name.to_owned(), reads(&planned.plan)?);
            }
        }
        Ok(found)
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

/// Returns how queries are planned: for one core, because reads of several requests run
/// beside each other.
pub(crate) fn config() -> SessionConfig {
    SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(false)
        .set_bool("datafusion.catalog.create_default_catalog_and_schema", true)
        // A filter that one run has filled would cut the rows of the next.
        .set_bool("datafusion.optimizer.enable_dynamic_filter_pushdown", false)
}

/// Returns a context that knows the window functions of features.
pub(crate) fn context(config: SessionConfig) -> SessionContext {
    let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    let context = SessionContext::new_with_state(state);
    window::functions().into_iter().for_each(|function| context.register_udwf(function));
    context
}

/// Makes a view a part of the queries that read it.
async fn inline(context: &SessionContext, file: &str, sql: &str) -> Result<(), LakeError> {
    let logical = context.state().create_logical_plan(sql).await;
    let logical = logical.map_err(|error| bad_query(file, error.to_string()))?;
    let view = ViewTable::new(logical, None);
    context.register_table(file.trim_end_matches(".sql"), Arc::new(view))?;
    Ok(())
}

async fn logical(state: &SessionState, file: &str, sql: &str) -> Result<LogicalPlan, LakeError> {
    let plan = state.create_logical_plan(sql).await;
    let plan = plan.map_err(|error| bad_query(file, error.to_string()))?;
    if matches!(
        plan,
        LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_)
    ) {
        return Err(bad_query(file, "it is not a query".to_owned()));
    }
    Ok(plan)
}

fn schema_of(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(plan.schema().as_arrow().clone())
}

/// Plans a query, which reads what is said here, and through views more.
async fn plan(state: &SessionState, file: &str, sql: &str) -> Result<Planned, LakeError> {
    physical(state, file, &logical(state, file, sql).await?).await
}

async fn physical(
    state: &SessionState,
    file: &str,
    logical: &LogicalPlan,
) -> Result<Planned, LakeError> {
    let plan = state.create_physical_plan(logical).await;
    let plan = plan.map_err(|error| bad_query(file, error.to_string()))?;
    let found = reads(&plan)?;
    let ages = found.values().any(|columns| columns.contains(AGE));
    Ok(Planned { plan, schema: schema_of(logical), reads: found.into_keys().collect(), ages })
}

/// Plans the views that are read, also by other views, which come later.
async fn plan_views(
    state: &SessionState,
    views: Vec<(&str, LogicalPlan)>,
    mut needed: BTreeSet<String>,
) -> Result<Vec<(String, Planned)>, LakeError> {
    let mut planned = Vec::new();
    for (file, view) in views.into_iter().rev() {
        let name = file.trim_end_matches(".sql");
        if needed.contains(name) {
            let view = physical(state, file, &view).await?;
            needed.extend(view.reads.iter().cloned());
            planned.push((name.to_owned(), view));
        }
    }
    let mut complete = Vec::with_capacity(planned.len());
    for (name, mut view) in planned.into_iter().rev() {
        view.read_through(&complete);
        complete.push((name, view));
    }
    Ok(complete)
}

impl Planned {
    /// Adds what the views it reads read.
    fn read_through(&mut self, views: &[(String, Self)]) {
        for (name, view) in views {
            if self.reads.contains(name) {
                self.reads.extend(view.reads.iter().cloned());
                self.ages |= view.ages;
            }
        }
    }
}

/// Plans the series of a kind as the columns of one query. An expression that does not
/// plan is named by its file: each is tried alone when all together fail.
async fn plan_series(
    state: &SessionState,
    kind: Kind,
    features: &[&FeatureInfo],
) -> Result<Planned, LakeError> {
    let all = plan(state, "features", &series_sql(kind, features)).await;
    if all.is_err() {
        for &feature in features {
            plan(state, &feature.file, &series_sql(kind, &[feature])).await?;
        }
    }
    all
}

fn series_sql(kind: Kind, features: &[&FeatureInfo]) -> String {
    let (view, keys, partition) = match kind {
        Kind::Index => ("index_sessions", "", ""),
        _ => ("sessions", "ticker, ", "PARTITION BY ticker "),
    };
    let columns: Vec<String> = features
        .iter()
        .map(|feature| format!("CAST(({}) AS DOUBLE) AS \"{}\"", feature.sql.trim(), feature.name))
        .collect();
    format!(
        "SELECT {keys}session, event_time, known_at,\n{}\nFROM {view}\n\
         WINDOW w AS ({partition}ORDER BY session)\nORDER BY {keys}session",
        columns.join(",\n")
    )
}

fn bad_query(file: &str, reason: String) -> LakeError {
    LakeError::Feature { file: file.to_owned(), reason }
}

fn check_columns(file: &str, schema: &SchemaRef) -> Result<(), LakeError> {
    for required in ["value", "event_time", "known_at"] {
        if schema.column_with_name(required).is_none() {
            return Err(bad_query(file, format!("its query returns no column {required}")));
        }
    }
    Ok(())
}

fn feature_row(
    file: &str,
    batch: &RecordBatch,
    value_column: &str,
) -> Result<Option<FeatureRow>, LakeError> {
    match batch.num_rows() {
        0 => return Ok(None),
        1 => {}
        n => return Err(bad_query(file, format!("its query returned {n} rows, not one"))),
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
