//! Plans of queries over tables without data.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    arrow::datatypes::SchemaRef,
    datasource::ViewTable,
    execution::{SessionState, SessionStateBuilder, context::SessionContext},
    logical_expr::LogicalPlan,
    physical_optimizer::optimizer::PhysicalOptimizer,
    physical_plan::ExecutionPlan,
    prelude::SessionConfig,
};

use super::causal::{impurity, look_ahead};
use crate::{
    FeatureInfo, Kind, LakeError,
    features::VIEW_FILES,
    scan::{UnboundTable, reads},
    tables::AGE,
    window,
};

/// Views that one query reads, of which they become a part: it then computes no column that
/// it does not need.
pub(super) const INLINED: [&str; 2] = ["index_sessions", "sessions"];

#[derive(Debug)]
pub(super) struct Planned {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// As the query says it; the plan's own may differ in nullability.
    pub(super) schema: SchemaRef,
    /// The tables and views it reads, also through other views.
    pub(super) reads: BTreeSet<String>,
    /// Whether the result changes as time passes, with the records as they are.
    pub(super) ages: bool,
}

/// Returns how queries are planned: for one core, because reads of several requests run
/// beside each other.
pub(crate) fn config() -> SessionConfig {
    SessionConfig::new()
        .with_target_partitions(1)
        // A history of a name in one piece: windows would join the pieces again.
        .with_batch_size(1 << 16)
        .with_information_schema(false)
        .set_bool("datafusion.catalog.create_default_catalog_and_schema", true)
        // A filter that one run has filled would cut the rows of the next.
        .set_bool("datafusion.optimizer.enable_dynamic_filter_pushdown", false)
}

/// Rules of DataFusion that change nothing about queries over tables in memory on one core,
/// but walk through every plan.
const NEEDLESS_RULES: [&str; 8] = [
    "aggregate_statistics",
    "CombinePartialFinalAggregate",
    "EnsureCooperative",
    "FilterPushdown",
    "FilterPushdown(Post)",
    "HashJoinBuffering",
    "PushdownSort",
    "TopKRepartition",
];

/// Returns a context that knows the window functions of features.
pub(crate) fn context(config: SessionConfig) -> SessionContext {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !NEEDLESS_RULES.contains(&rule.name()));
    let state = SessionStateBuilder::new().with_config(config).with_default_features();
    let state = state.with_physical_optimizer_rules(rules).build();
    let context = SessionContext::new_with_state(state);
    window::functions().into_iter().for_each(|function| context.register_udwf(function));
    context
}

/// Registers the views of some features, and returns those that become tables of their own, by
/// file.
pub(super) async fn register_views(
    context: &SessionContext,
    features: &[FeatureInfo],
) -> Result<Vec<(&'static str, LogicalPlan)>, LakeError> {
    let named = named_views(features);
    let mut views = Vec::new();
    for &(file, sql) in VIEW_FILES {
        let name = file.trim_end_matches(".sql");
        if INLINED.contains(&name) {
            inline(context, file, sql).await?;
        } else if named.contains(file) {
            let view = logical(&context.state(), file, sql).await?;
            context.register_table(name, UnboundTable::new(name, schema_of(&view)))?;
            views.push((file, view));
        }
    }
    Ok(views)
}

/// Makes a view a part of the queries that read it.
pub(super) async fn inline(
    context: &SessionContext,
    file: &str,
    sql: &str,
) -> Result<(), LakeError> {
    let view = ViewTable::new(logical(&context.state(), file, sql).await?, None);
    context.register_table(file.trim_end_matches(".sql"), Arc::new(view))?;
    Ok(())
}

async fn logical(state: &SessionState, file: &str, sql: &str) -> Result<LogicalPlan, LakeError> {
    let plan = state.create_logical_plan(sql).await;
    // An error of the planner may have several lines.
    let line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let plan = plan.map_err(|error| LakeError::feature(file, line(error.to_string())))?;
    if matches!(
        plan,
        LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_)
    ) {
        return Err(LakeError::feature(file, "it is not a query"));
    }
    match impurity(&plan) {
        Some(reason) => Err(LakeError::feature(file, reason)),
        None => Ok(plan),
    }
}

fn schema_of(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(plan.schema().as_arrow().clone())
}

/// Plans a query, which reads what is said here, and through views more.
pub(super) async fn plan(
    state: &SessionState,
    file: &str,
    sql: &str,
) -> Result<Planned, LakeError> {
    physical(state, file, &logical(state, file, sql).await?).await
}

async fn physical(
    state: &SessionState,
    file: &str,
    logical: &LogicalPlan,
) -> Result<Planned, LakeError> {
    let plan = state.create_physical_plan(logical).await;
    let plan = plan.map_err(|error| LakeError::feature(file, error.to_string()))?;
    let found = reads(&plan)?;
    let ages = found.values().any(|columns| columns.contains(AGE));
    Ok(Planned { plan, schema: schema_of(logical), reads: found.into_keys().collect(), ages })
}

/// Returns the files of views whose names stand in the features, or in a view that does: most
/// engines need few, and the text of all takes as long to parse as to plan a feature.
fn named_views(features: &[FeatureInfo]) -> BTreeSet<&'static str> {
    let mut texts: Vec<&str> = features.iter().map(|feature| feature.sql.as_str()).collect();
    let mut named = BTreeSet::new();
    for &(file, sql) in VIEW_FILES.iter().rev() {
        let name = file.trim_end_matches(".sql");
        if texts.iter().any(|text| text.contains(name)) {
            texts.push(sql);
            named.insert(file);
        }
    }
    named
}

/// Plans the views that are read, also by other views, which come later.
pub(super) async fn plan_views(
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
    pub(super) fn read_through(&mut self, views: &[(String, Self)]) {
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
pub(super) async fn plan_series(
    state: &SessionState,
    kind: Kind,
    features: &[&FeatureInfo],
) -> Result<Planned, LakeError> {
    let all = plan_causal(state, "features", &series_sql(kind, features)).await;
    if all.is_err() {
        for &feature in features {
            plan_causal(state, &feature.file, &series_sql(kind, &[feature])).await?;
        }
    }
    all
}

async fn plan_causal(state: &SessionState, file: &str, sql: &str) -> Result<Planned, LakeError> {
    let logical = logical(state, file, sql).await?;
    match look_ahead(&logical) {
        Some(reason) => Err(LakeError::feature(file, reason)),
        None => physical(state, file, &logical).await,
    }
}

pub(super) fn series_sql(kind: Kind, features: &[&FeatureInfo]) -> String {
    let (view, keys, partition) = match kind {
        Kind::Index => ("index_sessions", "", ""),
        _ => ("sessions", "ticker, ", "PARTITION BY ticker "),
    };
    let columns: Vec<String> = features
        .iter()
        // A comment at its end ends with the line.
        .map(|feature| {
            format!("CAST(({}\n) AS DOUBLE) AS \"{}\"", feature.sql.trim(), feature.name)
        })
        .collect();
    format!(
        "SELECT {keys}session, event_time, known_at,\n{}\nFROM {view}\n\
         WINDOW w AS ({partition}ORDER BY session)\nORDER BY {keys}session",
        columns.join(",\n")
    )
}

pub(super) fn check_columns(file: &str, schema: &SchemaRef) -> Result<(), LakeError> {
    for required in ["value", "event_time", "known_at"] {
        if schema.column_with_name(required).is_none() {
            return Err(LakeError::feature(
                file,
                format!("its query returns no column {required}"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule by another name would be left in without notice.
    #[test]
    fn rules_are_named_as_datafusion_names_them() {
        let rules = PhysicalOptimizer::new().rules;
        for needless in NEEDLESS_RULES {
            assert!(rules.iter().any(|rule| rule.name() == needless), "{needless}");
        }
    }
}
