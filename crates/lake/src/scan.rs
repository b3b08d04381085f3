//! A table of a plan that is made once and run over many points in time: a leaf that
//! holds no data, and finds it in what the plan is executed with.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{self, Formatter},
    sync::Arc,
};

use async_trait::async_trait;
use datafusion::{
    arrow::{array::RecordBatch, compute::SortOptions, datatypes::SchemaRef},
    catalog::{Session, TableProvider},
    common::{
        Result, Statistics, internal_err,
        stats::Precision,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    execution::{SendableRecordBatchStream, TaskContext, runtime_env::RuntimeEnv},
    logical_expr::{Expr, TableType},
    physical_expr::{
        EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr, expressions::col,
    },
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions},
        memory::MemoryStream,
        statistics::StatisticsArgs,
    },
    prelude::SessionConfig,
};

use crate::Kind;

/// A table by name and schema.
#[derive(Debug)]
pub(crate) struct UnboundTable {
    name: String,
    schema: SchemaRef,
}

impl UnboundTable {
    pub(crate) fn new(name: &str, schema: SchemaRef) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), schema })
    }
}

#[async_trait]
impl TableProvider for UnboundTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let orderings = ordering(&self.name, &schema);
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, orderings),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let (table, projection) = (self.name.clone(), projection.cloned());
        Ok(Arc::new(UnboundScan { table, projection, properties: Arc::new(properties) }))
    }
}

/// Returns the order of a table's rows as far as these columns show it: sessions of a name,
/// or of the market, stand in their order in every cut.
fn ordering(table: &str, schema: &SchemaRef) -> Option<LexOrdering> {
    let keys: &[&str] = match table {
        _ if table == Kind::Bars.table() => &["ticker", "session"],
        _ if table == Kind::Index.table() => &["session"],
        _ => return None,
    };
    let sorted = |key: &&str| {
        let options = SortOptions { descending: false, nulls_first: false };
        Some(PhysicalSortExpr::new(col(key, schema).ok()?, options))
    };
    LexOrdering::new(keys.iter().map_while(sorted))
}

/// Returns how many rows of a name a join is planned for: it keeps the smaller side in memory,
/// and the rows of the other in their order. Nobody knows of views.
fn usual_rows(table: &str) -> Option<usize> {
    Some(match Kind::ALL.into_iter().find(|kind| kind.table() == table)? {
        Kind::Bars => 10_000,
        Kind::Index | Kind::Macro | Kind::Facts => 5_000,
        Kind::Actions => 100,
        _ => 1_000,
    })
}

#[derive(Debug)]
struct UnboundScan {
    table: String,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

/// Tables by name, with the columns that are read.
pub(crate) type Reads = BTreeMap<String, BTreeSet<String>>;

/// Returns what a plan reads, as it stands: what the optimiser has dropped is not in it.
pub(crate) fn reads(plan: &Arc<dyn ExecutionPlan>) -> Result<Reads> {
    let mut found = Reads::new();
    plan.apply(|node| {
        if let Some(scan) = (node.as_ref() as &dyn Any).downcast_ref::<UnboundScan>() {
            let columns = found.entry(scan.table.clone()).or_default();
            columns.extend(scan.schema().fields().iter().map(|field| field.name().clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// The tables of one point in time, by the names queries use.
#[derive(Debug)]
struct BoundTables(BTreeMap<String, RecordBatch>);

/// Returns what a plan is executed with so that its tables are these and no others.
pub(crate) fn bound_to(
    tables: &BTreeMap<&str, RecordBatch>,
    config: SessionConfig,
    runtime: Arc<RuntimeEnv>,
) -> Arc<TaskContext> {
    let tables = tables.iter().map(|(name, batch)| ((*name).to_owned(), batch.clone()));
    let config = config.with_extension(Arc::new(BoundTables(tables.collect())));
    // The functions are in the plans already; `default` would make a runtime of its own.
    let none = (HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
    let (scalar, higher, aggregate, window) = none;
    let session = String::new();
    Arc::new(TaskContext::new(None, session, config, scalar, higher, aggregate, window, runtime))
}

impl DisplayAs for UnboundScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "UnboundScan: {}", self.table)
    }
}

impl ExecutionPlan for UnboundScan {
    fn name(&self) -> &str {
        "UnboundScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let rows = usual_rows(&self.table).map_or(Precision::Absent, Precision::Inexact);
        Ok(Arc::new(Statistics::new_unknown(&self.schema()).with_num_rows(rows)))
    }

    /// Fails where the table has no batch: a plan must never read something else instead.
    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let tables = context.session_config().get_extension::<BoundTables>();
        let Some(batch) = tables.as_ref().and_then(|tables| tables.0.get(&self.table)) else {
            return internal_err!("no as-of table {}", self.table);
        };
        let batch = match &self.projection {
            Some(columns) => batch.project(columns)?,
            None => batch.clone(),
        };
        let schema = self.properties.eq_properties.schema().clone();
        Ok(Box::pin(MemoryStream::try_new(vec![batch], schema, None)?))
    }
}
