//! Plans that leave this process: the series of names, over tables that whoever runs
//! them can read.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::SchemaRef,
    common::tree_node::{TreeNode as _, TreeNodeRecursion},
    execution::context::SessionContext,
    logical_expr::{
        Expr, LogicalPlan, WindowFunctionDefinition,
        expr::{NullTreatment, WindowFunction},
    },
    physical_plan::ExecutionPlan,
};

use super::{
    CLOSES,
    planning::{INLINED, inline, plan, plan_series, series_sql},
};
use crate::{FeatureInfo, Kind, LakeError, features::VIEW_FILES};

/// Plans the series of names among the features as [`Engine::run_series`] runs them, or their
/// closes where there are none, over the tables of a context. Returns the plan, and the
/// schema of its rows as the query says it.
///
/// # Errors
/// Fails where an expression does not plan, and where it would say something else elsewhere.
///
/// [`Engine::run_series`]: super::Engine::run_series
pub(crate) async fn plan_history(
    context: &SessionContext,
    features: &[FeatureInfo],
) -> Result<(Arc<dyn ExecutionPlan>, SchemaRef), LakeError> {
    let is_inlined = |file: &str| INLINED.contains(&file.trim_end_matches(".sql"));
    for (file, sql) in VIEW_FILES.iter().filter(|(file, _)| is_inlined(file)) {
        inline(context, file, sql).await?;
    }
    let state = context.state();
    let is_series = |feature: &&FeatureInfo| feature.is_series() && feature.kind == Kind::Bars;
    let series: Vec<&FeatureInfo> = features.iter().filter(is_series).collect();
    for &feature in &series {
        let bad = |reason: String| LakeError::feature(&feature.file, reason);
        let logical = state.create_logical_plan(&series_sql(Kind::Bars, &[feature])).await;
        if ignores_nulls(&logical.map_err(|error| bad(error.to_string()))?)? {
            return Err(bad(
                "IGNORE NULLS of a window function is lost on the way to a cluster, whose values \
                 would differ: compute it without `--engine`, or write it as a query"
                    .to_owned(),
            ));
        }
    }
    let planned = if series.is_empty() {
        plan(&state, "sessions.sql", CLOSES).await?
    } else {
        plan_series(&state, Kind::Bars, &series).await?
    };
    Ok((planned.plan, planned.schema))
}

/// Tells whether a window function passes over nulls: the form in which DataFusion 55 sends
/// physical plans has no place for that, and the receiver would not pass over them.
fn ignores_nulls(plan: &LogicalPlan) -> Result<bool, LakeError> {
    let is_lost = |function: &WindowFunction| {
        matches!(function.fun, WindowFunctionDefinition::WindowUDF(_))
            && function.params.null_treatment == Some(NullTreatment::IgnoreNulls)
    };
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                found |= matches!(part, Expr::WindowFunction(function) if is_lost(function));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{config, context},
        records::empty,
        scan::UnboundTable,
        tables::with_age_schema,
    };

    fn tables() -> SessionContext {
        let context = context(config());
        for kind in Kind::ALL {
            let table = UnboundTable::new(kind.table(), with_age_schema(&empty(kind).unwrap()));
            context.register_table(kind.table(), table).unwrap();
        }
        context
    }

    fn feature(sql: &str) -> FeatureInfo {
        FeatureInfo { sql: sql.to_owned(), ..FeatureInfo::find("vol_20d").unwrap() }
    }

    #[tokio::test]
    async fn what_would_lose_its_null_treatment_is_refused() {
        for sql in [
            "last_value(volume) IGNORE NULLS OVER w",
            "close / first_value(open) IGNORE NULLS OVER w - 1",
            "lag(volume, 3) IGNORE NULLS OVER w",
        ] {
            let error = plan_history(&tables(), &[feature(sql)]).await.unwrap_err().to_string();
            for part in ["vol_20d.sql", "IGNORE NULLS", "without `--engine`"] {
                assert!(error.contains(part), "{sql}: {error}");
            }
        }
        for sql in ["last_value(volume) RESPECT NULLS OVER w", "lag(volume, 3) OVER w"] {
            plan_history(&tables(), &[feature(sql)]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn every_series_of_the_catalogue_travels() {
        let features = crate::feature_catalogue().unwrap();
        let (_, schema) = plan_history(&tables(), &features).await.unwrap();
        let series = features.iter().filter(|f| f.is_series() && f.kind == Kind::Bars).count();
        assert_eq!(schema.fields().len(), series + 4);
    }
}
