//! A table of a plan that is made once and run over many points in time: a leaf
//! that holds no data until it is bound to a batch.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Formatter},
    sync::Arc,
};

use async_trait::async_trait;
use datafusion::{
    arrow::{array::RecordBatch, datatypes::SchemaRef},
    catalog::{Session, TableProvider},
    common::{
        Result, internal_err,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    datasource::memory::MemorySourceConfig,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableType},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions, reset_plan_states},
    },
};

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
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let (table, projection) = (self.name.clone(), projection.cloned());
        Ok(Arc::new(UnboundScan { table, projection, properties: Arc::new(properties) }))
    }
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

/// Returns the plan with each unbound table replaced by the batch of that name. The
/// result shares no state with other bindings of the plan: joins forget what they built.
///
/// # Errors
/// Fails where a table has no batch: a plan must never read something else instead.
pub(crate) fn bind(
    plan: &Arc<dyn ExecutionPlan>,
    tables: &BTreeMap<&str, RecordBatch>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let fresh = reset_plan_states(plan.clone())?;
    let bound = fresh.transform_up(|node| {
        let Some(scan) = (node.as_ref() as &dyn Any).downcast_ref::<UnboundScan>() else {
            return Ok(Transformed::no(node));
        };
        let Some(batch) = tables.get(scan.table.as_str()) else {
            return internal_err!("no as-of table {}", scan.table);
        };
        let (schema, batches) = (batch.schema(), vec![batch.clone()]);
        let source = MemorySourceConfig::try_new_exec(&[batches], schema, scan.projection.clone());
        Ok(Transformed::yes(source? as Arc<dyn ExecutionPlan>))
    });
    bound.data()
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

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("table {} is not bound", self.table)
    }
}
