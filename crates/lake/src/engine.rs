//! Runs views and features over the tables of one point in time, or of all.
//!
//! Plans are made once, against tables without data. A read binds them to the tables
//! of its point in time, so a query cannot reach any other record.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, AsArray, RecordBatch},
        compute::{cast, concat_batches},
        datatypes::{DataType, Float64Type, SchemaRef, TimestampMicrosecondType},
    },
    execution::{SessionState, SessionStateBuilder, context::SessionContext},
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, collect},
    prelude::SessionConfig,
};

use crate::{
    FeatureInfo, Kind, LakeError,
    features::VIEW_FILES,
    records::time_type,
    scan::{Reads, UnboundTable, bind, reads},
    tables::Tables,
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
    /// In order of their files' names; a view may use the tables and earlier views.
    views: Vec<(String, Planned)>,
    features: Vec<FeatureInfo>,
    /// One query for all series of a kind, and the features that are its columns.
    series: Vec<(Planned, Vec<usize>)>,
    /// A query of its own for each other feature.
    queries: Vec<(Planned, usize)>,
}

#[derive(Debug)]
struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    /// As the query says it; the plan's own may differ in nullability.
    schema: SchemaRef,
}

impl Engine {
    /// Plans all views and the given features for tables of these schemas.
    pub(crate) async fn new(
        tables: &Tables,
        features: Vec<FeatureInfo>,
    ) -> Result<Self, LakeError> {
        let context = context();
        for (kind, schema) in tables.schemas() {
            let name = kind.table();
            context.register_table(name, UnboundTable::new(name, schema))?;
        }
        let mut views = Vec::new();
        for (file, sql) in VIEW_FILES {
            let name = file.trim_end_matches(".sql");
            let planned = plan(&context.state(), file, sql).await?;
            context.register_table(name, UnboundTable::new(name, planned.schema.clone()))?;
            views.push((name.to_owned(), planned));
        }
        let state = context.state();
        let (mut series, mut queries) = (Vec::new(), Vec::new());
        for kind in [Kind::Bars, Kind::Index] {
            let is_of_kind = |i: &usize| features[*i].is_series() && features[*i].kind == kind;
            let columns: Vec<usize> = (0..features.len()).filter(is_of_kind).collect();
            if !columns.is_empty() {
                let infos: Vec<&FeatureInfo> = columns.iter().map(|i| &features[*i]).collect();
                series.push((plan_series(&state, kind, &infos).await?, columns));
            }
        }
        for (i, feature) in features.iter().enumerate().filter(|(_, f)| !f.is_series()) {
            let planned = plan(&state, &feature.file, &feature.sql).await?;
            check_columns(&feature.file, &planned.schema)?;
            queries.push((planned, i));
        }
        Ok(Self { state, views, features, series, queries })
    }

    /// Returns the features in the order of their results.
    pub(crate) fn features(&self) -> &[FeatureInfo] {
        &self.features
    }

    /// Runs all features over tables that were cut to a ticker and a point in time;
    /// none where a query returns no row or no value.
    pub(crate) async fn run(
        &self,
        tables: BTreeMap<&str, RecordBatch>,
    ) -> Result<Vec<Option<FeatureRow>>, LakeError> {
        let tables = self.with_views(tables).await?;
        let mut rows = vec![None; self.features.len()];
        for (planned, columns) in &self.series {
            let batch = self.execute(planned, &tables).await?;
            let Some(last) = batch.num_rows().checked_sub(1) else { continue };
            let last = batch.slice(last, 1);
            for &i in columns {
                let name = &self.features[i].name;
                rows[i] = feature_row(&self.features[i].file, &last, name)?;
            }
        }
        for (planned, i) in &self.queries {
            let batch = self.execute(planned, &tables).await?;
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
        let tables = self.with_views(tables).await?;
        Ok(Some(self.execute(planned, &tables).await?))
    }

    /// Runs the views over tables of all times and returns one of them.
    pub(crate) async fn run_view(
        &self,
        view: &str,
        tables: BTreeMap<&str, RecordBatch>,
    ) -> Result<RecordBatch, LakeError> {
        let mut tables = self.with_views(tables).await?;
        tables.remove(view).ok_or_else(|| {
            let reason = "there is no such view".to_owned();
            LakeError::Feature { file: format!("{view}.sql"), reason }
        })
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

    /// Returns the same of each view.
    pub(crate) fn view_reads(&self) -> Result<BTreeMap<&str, Reads>, LakeError> {
        self.views.iter().map(|(name, view)| Ok((name.as_str(), reads(&view.plan)?))).collect()
    }

    async fn with_views<'t>(
        &'t self,
        mut tables: BTreeMap<&'t str, RecordBatch>,
    ) -> Result<BTreeMap<&'t str, RecordBatch>, LakeError> {
        for (name, planned) in &self.views {
            let batch = self.execute(planned, &tables).await?;
            tables.insert(name, batch);
        }
        Ok(tables)
    }

    async fn execute(
        &self,
        planned: &Planned,
        tables: &BTreeMap<&str, RecordBatch>,
    ) -> Result<RecordBatch, LakeError> {
        let plan = bind(&planned.plan, tables)?;
        let schema = plan.schema();
        let batches = collect(plan, self.state.task_ctx()).await?;
        let columns = concat_batches(&schema, &batches)?.columns().to_vec();
        Ok(RecordBatch::try_new(planned.schema.clone(), columns)?)
    }
}

/// A context that knows the window functions of features, and runs on one core: reads
/// of several requests run beside each other.
pub(crate) fn context() -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(false)
        .set_bool("datafusion.catalog.create_default_catalog_and_schema", true)
        // A filter that one run has filled would cut the rows of the next.
        .set_bool("datafusion.optimizer.enable_dynamic_filter_pushdown", false);
    let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    let context = SessionContext::new_with_state(state);
    window::functions().into_iter().for_each(|function| context.register_udwf(function));
    context
}

async fn plan(state: &SessionState, file: &str, sql: &str) -> Result<Planned, LakeError> {
    let bad = |reason: String| LakeError::Feature { file: file.to_owned(), reason };
    let plan = state.create_logical_plan(sql).await.map_err(|e| bad(e.to_string()))?;
    if matches!(
        plan,
        LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_)
    ) {
        return Err(bad("it is not a query".to_owned()));
    }
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let plan = state.create_physical_plan(&plan).await.map_err(|e| bad(e.to_string()))?;
    Ok(Planned { plan, schema })
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

fn check_columns(file: &str, schema: &SchemaRef) -> Result<(), LakeError> {
    for required in ["value", "event_time", "known_at"] {
        if schema.column_with_name(required).is_none() {
            let reason = format!("its query returns no column {required}");
            return Err(LakeError::Feature { file: file.to_owned(), reason });
        }
    }
    Ok(())
}

fn feature_row(
    file: &str,
    batch: &RecordBatch,
    value_column: &str,
) -> Result<Option<FeatureRow>, LakeError> {
    let bad = |reason: String| LakeError::Feature { file: file.to_owned(), reason };
    match batch.num_rows() {
        0 => return Ok(None),
        1 => {}
        n => return Err(bad(format!("its query returned {n} rows, not one"))),
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
