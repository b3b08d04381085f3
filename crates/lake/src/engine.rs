//! Runs views and features over the tables of one point in time.
//!
//! Plans are made once, against empty tables. A read puts the tables of its
//! point in time in their place, so a query cannot reach any other record.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, AsArray, RecordBatch},
        compute::{cast, concat_batches},
        datatypes::{DataType, Float64Type, SchemaRef, TimestampMicrosecondType},
    },
    catalog::{MemTable, TableProvider},
    common::tree_node::Transformed,
    datasource::provider_as_source,
    error::DataFusionError,
    execution::{SessionState, SessionStateBuilder, context::SessionContext},
    logical_expr::{LogicalPlan, TableSource},
    physical_plan::collect,
    prelude::SessionConfig,
};

use crate::{
    FeatureInfo, LakeError,
    features::VIEW_FILES,
    records::time_type,
    tables::{AsOfTables, Tables},
    udf,
};

/// One row a feature's query has returned.
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
    /// In order of their files' names; a view may use the base tables only.
    views: Vec<(String, LogicalPlan)>,
    features: Vec<(FeatureInfo, LogicalPlan)>,
}

type Sources = BTreeMap<String, Arc<dyn TableSource>>;

impl Engine {
    /// Plans all views and the given features for tables of these schemas.
    pub(crate) async fn new(
        tables: &Tables,
        features: Vec<FeatureInfo>,
    ) -> Result<Self, LakeError> {
        let config = SessionConfig::new()
            .with_target_partitions(1)
            .with_information_schema(false)
            .set_bool("datafusion.catalog.create_default_catalog_and_schema", true);
        let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
        let context = SessionContext::new_with_state(state);
        context.register_udaf(udf::wilder_rsi());
        for (kind, schema) in tables.schemas() {
            context.register_table(kind.table(), empty(schema)?)?;
        }
        let mut views = Vec::new();
        for (file, sql) in VIEW_FILES {
            let plan = plan(&context.state(), file, sql).await?;
            views.push((file.trim_end_matches(".sql").to_owned(), plan));
        }
        for (name, plan) in &views {
            let schema = Arc::new(plan.schema().as_arrow().clone());
            context.register_table(name.as_str(), empty(schema)?)?;
        }
        let state = context.state();
        let mut planned = Vec::new();
        for feature in features {
            let file = format!("{}.sql", feature.name);
            let plan = plan(&state, &file, feature.sql).await?;
            check_columns(&file, &plan)?;
            planned.push((feature, plan));
        }
        Ok(Self { state, views, features: planned })
    }

    /// Returns the features in the order of their results.
    pub(crate) fn features(&self) -> impl Iterator<Item = &FeatureInfo> {
        self.features.iter().map(|(feature, _)| feature)
    }

    /// Runs all features; none where a query returns no row or no value.
    pub(crate) async fn run(
        &self,
        tables: &AsOfTables,
    ) -> Result<Vec<Option<FeatureRow>>, LakeError> {
        let mut sources = Sources::new();
        for (kind, batch) in tables.iter() {
            sources.insert(kind.table().to_owned(), source(batch.clone())?);
        }
        let mut views = Sources::new();
        for (name, plan) in &self.views {
            let batch = self.execute(plan, &sources).await?;
            views.insert(name.clone(), source(batch)?);
        }
        sources.extend(views);
        let mut rows = Vec::with_capacity(self.features.len());
        for (feature, plan) in &self.features {
            let batch = self.execute(plan, &sources).await?;
            rows.push(feature_row(&feature.name, &batch)?);
        }
        Ok(rows)
    }

    async fn execute(
        &self,
        plan: &LogicalPlan,
        sources: &Sources,
    ) -> Result<RecordBatch, LakeError> {
        let plan = plan.clone().transform_up_with_subqueries(|node| match node {
            LogicalPlan::TableScan(mut scan) => {
                let name = scan.table_name.table();
                // A table without a counterpart must fail, not read something else.
                let found = sources.get(name).cloned();
                scan.source = found
                    .ok_or_else(|| DataFusionError::Internal(format!("no as-of table {name}")))?;
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        let physical =
            self.state.query_planner().create_physical_plan(&plan.data, &self.state).await?;
        let schema = physical.schema();
        let batches = collect(physical, self.state.task_ctx()).await?;
        let columns = concat_batches(&schema, &batches)?.columns().to_vec();
        // Later plans were made for the logical schema, which may differ in nullability.
        Ok(RecordBatch::try_new(Arc::new(plan.data.schema().as_arrow().clone()), columns)?)
    }
}

async fn plan(state: &SessionState, file: &str, sql: &str) -> Result<LogicalPlan, LakeError> {
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
    state.optimize(&plan).map_err(|e| bad(e.to_string()))
}

fn check_columns(file: &str, plan: &LogicalPlan) -> Result<(), LakeError> {
    let schema = plan.schema().as_arrow();
    for required in ["value", "event_time", "known_at"] {
        if schema.column_with_name(required).is_none() {
            let reason = format!("its query returns no column {required}");
            return Err(LakeError::Feature { file: file.to_owned(), reason });
        }
    }
    Ok(())
}

fn empty(schema: SchemaRef) -> Result<Arc<dyn TableProvider>, LakeError> {
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![]])?))
}

fn source(batch: RecordBatch) -> Result<Arc<dyn TableSource>, LakeError> {
    Ok(provider_as_source(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
}

fn feature_row(name: &str, batch: &RecordBatch) -> Result<Option<FeatureRow>, LakeError> {
    let bad = |reason: String| LakeError::Feature { file: format!("{name}.sql"), reason };
    match batch.num_rows() {
        0 => return Ok(None),
        1 => {}
        n => return Err(bad(format!("its query returned {n} rows, not one"))),
    }
    let column = |name: &str, to: &DataType| {
        let column = batch.column_by_name(name);
        column.map(|c| cast(c, to)).transpose()
    };
    let Some(values) = column("value", &DataType::Float64)? else {
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
