//! What the query of a feature must not contain. A series is computed over all times at once, so
//! that one which looks ahead would move with the future wherever it does so; a comparison of
//! some dates with what a read finds may miss them, the plan does not.

use datafusion::{
    common::tree_node::{TreeNode as _, TreeNodeRecursion},
    error::DataFusionError,
    logical_expr::{
        Expr, LogicalPlan, Volatility, WindowFrameBound, WindowFrameUnits,
        expr::{Sort, WindowFunction},
    },
};

/// Window functions whose value depends on later rows, whatever their frame.
const LOOKING_AHEAD: [&str; 4] = ["lead", "ntile", "percent_rank", "cume_dist"];

/// Returns why a query depends on something else than records, or may have no end; none where
/// neither is so.
pub(super) fn impurity(plan: &LogicalPlan) -> Option<String> {
    let mut is_recursive = false;
    let walked = plan.apply_with_subqueries(|node| {
        is_recursive |= matches!(node, LogicalPlan::RecursiveQuery(_));
        Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
    });
    if walked.is_err() || is_recursive {
        return Some("a query that reads itself (WITH RECURSIVE) may have no end".to_owned());
    }
    find(plan, &|expression| match expression {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            Some(format!("a feature depends on records only, not on {}()", call.func.name()))
        }
        _ => None,
    })
}

/// Returns where a series looks ahead; none where each of its values is one of the row, of rows
/// before it in order of sessions and of what was known with them.
pub(super) fn look_ahead(plan: &LogicalPlan) -> Option<String> {
    find(plan, &|expression| match expression {
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => Some(
            "LEAK: a series reads its session and those before it, no table: what other records \
             say needs a query of its own (`SELECT ...`)"
                .to_owned(),
        ),
        Expr::WindowFunction(call) => of_window(call),
        _ => None,
    })
}

fn of_window(call: &WindowFunction) -> Option<String> {
    let (name, params) = (call.fun.name(), &call.params);
    let reason = |reason: &str| Some(format!("LEAK: {name}() {reason}"));
    if LOOKING_AHEAD.contains(&name) {
        return reason("looks ahead: a series reads its session and those before it");
    }
    let frame = &params.window_frame;
    if let WindowFrameBound::Following(_) = frame.end_bound {
        return reason("looks ahead: end its frame with the CURRENT ROW");
    }
    // An offset of values may be negative, `INTERVAL '-5 days' PRECEDING`, one of rows may not.
    let is_whole_past = matches!(&frame.start_bound, WindowFrameBound::Preceding(n) if n.is_null())
        && frame.end_bound == WindowFrameBound::CurrentRow;
    if frame.units != WindowFrameUnits::Rows && !is_whole_past {
        return reason("may look ahead: give its frame in ROWS");
    }
    match &params.order_by[..] {
        [Sort { expr: Expr::Column(column), asc: true, .. }] if column.name == "session" => None,
        _ => reason("has no window in order of sessions: write `OVER w`"),
    }
}

/// Looks for the first expression of a plan, subqueries included, that there is something to say of.
fn find(plan: &LogicalPlan, judge: &dyn Fn(&Expr) -> Option<String>) -> Option<String> {
    let mut found = None;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                found = judge(part);
                Ok::<_, DataFusionError>(match found {
                    Some(_) => TreeNodeRecursion::Stop,
                    None => TreeNodeRecursion::Continue,
                })
            })
        })
    });
    // The closures do not fail.
    walked.ok().and(found)
}
