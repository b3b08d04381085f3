//! The node of a plan that an executor answers from the snapshots it holds.

use std::{
    error::Error,
    fmt::{self, Formatter},
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{ArrayRef, AsArray, RecordBatch},
        compute::concat_batches,
        datatypes::{DataType, Field, Schema, SchemaRef},
    },
    common::{DataFusionError, Result, exec_err, internal_err, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        common::collect,
        execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions},
        stream::RecordBatchStreamAdapter,
    },
};
use domain::{AsOf, Digest};
use futures::{TryStreamExt as _, future::BoxFuture, stream};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::held::Held;
use crate::{
    FeatureInfo, Kind, LakeError,
    features::shared_code,
    research::{Means, Records},
};

/// What an executor is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// The snapshot it is asked of.
    pub(super) snapshot: Digest,
    /// What the answer depends on beside the records; see [`code_digest`].
    pub(super) code: Digest,
    pub(super) question: Question,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Question {
    /// Some columns of the records of a kind, of all times, of the names in column `ticker`
    /// of the node's input; the empty name for a kind without names.
    Records { kind: Kind, as_of: AsOf, columns: Vec<usize> },
    /// The values of features at each `ticker` and `session` of the input.
    Values { features: Vec<String>, means: Means },
}

/// Answers a request for each partition of its input. Ballista restricts the leaves it knows
/// to the partitions of a task, and runs any other leaf whole in each task; so this is none,
/// and what it is asked for are rows of a leaf in memory.
#[derive(Debug)]
pub(super) struct SnapshotExec {
    pub(super) request: Request,
    input: Arc<dyn ExecutionPlan>,
    /// None but in an executor.
    held: Option<Arc<Held>>,
    properties: Arc<PlanProperties>,
}

impl Request {
    /// Asks for values of features.
    pub(super) fn values(snapshot: Digest, features: &[FeatureInfo], means: Means) -> Self {
        let names = features.iter().map(|feature| feature.name.clone()).collect();
        let question = Question::Values { features: names, means };
        Self { snapshot, code: code_digest(features), question }
    }

    /// Asks for records.
    pub(super) fn records(snapshot: Digest, kind: Kind, as_of: AsOf, columns: Vec<usize>) -> Self {
        let question = Question::Records { kind, as_of, columns };
        Self { snapshot, code: code_digest(&[]), question }
    }
}

/// Returns the schema of values: the rows they are of, and a column for each feature.
pub(super) fn values_schema(rows: &Schema, features: &[FeatureInfo]) -> SchemaRef {
    let column = |feature: &FeatureInfo| Field::new(&feature.name, DataType::Float64, true).into();
    let fields = rows.fields().iter().cloned().chain(features.iter().map(column));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Returns the digest of what an answer depends on beside the records: this program's
/// version, the views and functions, and all that the headers and queries of features say.
fn code_digest(features: &[FeatureInfo]) -> Digest {
    let shared = shared_code().sha256;
    // A file of the user's own may lie elsewhere on another machine.
    let elsewhere = |feature: &FeatureInfo| match feature.is_own {
        true => FeatureInfo { file: String::new(), ..feature.clone() },
        false => feature.clone(),
    };
    let features: Vec<FeatureInfo> = features.iter().map(elsewhere).collect();
    Digest::of(format!("{} {shared} {features:?}", env!("CARGO_PKG_VERSION")))
}

impl SnapshotExec {
    pub(super) fn new(
        request: Request,
        schema: SchemaRef,
        input: Arc<dyn ExecutionPlan>,
        held: Option<Arc<Held>>,
    ) -> Self {
        let partitions = input.properties().output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { request, input, held, properties: Arc::new(properties) }
    }
}

impl DisplayAs for SnapshotExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let id = self.request.snapshot.short();
        match &self.request.question {
            Question::Records { kind, .. } => write!(f, "SnapshotExec: {} of {id}", kind.table()),
            Question::Values { features, .. } => {
                write!(f, "SnapshotExec: {} features of {id}", features.len())
            }
        }
    }
}

impl ExecutionPlan for SnapshotExec {
    fn name(&self) -> &str {
        "SnapshotExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// The rows of the input are few, and parted already.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("SnapshotExec takes one input");
        };
        let (request, held) = (self.request.clone(), self.held.clone());
        Ok(Arc::new(Self::new(request, self.schema(), input, held)))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(held) = self.held.clone() else {
            return internal_err!("only an executor of r2r answers from a snapshot");
        };
        let input = self.input.execute(partition, context)?;
        let (request, schema) = (self.request.clone(), self.schema());
        let answered = async move {
            let of_rows = input.schema();
            let parts = collect(input).await?;
            let rows = concat_batches(&of_rows, &parts)?;
            let batches = answer(&held, &request, &schema, &rows).await.map_err(told)?;
            Ok::<_, DataFusionError>(stream::iter(batches.into_iter().map(Ok)))
        };
        let stream = stream::once(answered).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}

/// Only the text of an error reaches the client: it holds all causes.
fn told(error: LakeError) -> DataFusionError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    DataFusionError::Execution(text)
}

/// Answers a request about some rows. Boxed, so that it is known to be [`Send`] where its
/// borrows still have names.
fn answer<'a>(
    held: &'a Held,
    request: &'a Request,
    schema: &'a SchemaRef,
    rows: &'a RecordBatch,
) -> BoxFuture<'a, Result<Vec<RecordBatch>, LakeError>> {
    Box::pin(async move {
        let features = match &request.question {
            Question::Records { .. } => Vec::new(),
            Question::Values { features, .. } => {
                features.iter().map(|name| FeatureInfo::find(name)).collect::<Result<_, _>>()?
            }
        };
        if code_digest(&features) != request.code {
            return Err(held.refuses("the client has other features or functions: run the same build of r2r, with the same files in `features` of the data directory, as client and executor"));
        }
        let snapshot = held.snapshot(request.snapshot).await?;
        match &request.question {
            Question::Records { kind, as_of, columns } => {
                let tickers = rows.column(0).as_string_view().iter().flatten();
                let records = tickers.filter_map(|ticker| {
                    let records = snapshot.tables.of_kind(*kind, ticker, *as_of).transpose()?;
                    Some(records.and_then(|records| Ok(shown(&records.project(columns)?, schema)?)))
                });
                records.collect()
            }
            Question::Values { means, .. } => {
                let records = Records { manifest: &snapshot.manifest, tables: &snapshot.tables };
                // Progress is the scheduler's to tell.
                let hidden = ProgressBar::hidden();
                let values = records.columns(&features, *means, rows, &hidden).await?;
                let columns = rows.columns().iter().cloned().chain(values).collect();
                Ok(vec![RecordBatch::try_new(schema.clone(), columns)?])
            }
        }
    })
}

/// Gives records the schema of the plan, which may allow more nulls. A view of a slice still
/// holds the texts of all rows, and all would be sent: each text is copied.
fn shown(records: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |column: &ArrayRef| match column.as_string_view_opt() {
        Some(texts) => Arc::new(texts.gc()),
        None => column.clone(),
    };
    let columns: Vec<ArrayRef> = records.columns().iter().map(column).collect();
    let types = |schema: &Schema| {
        schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>()
    };
    if types(&records.schema()) != types(schema) {
        return exec_err!("the executor's records have other columns than the client's");
    }
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
