//! The client of a cluster: plans, sends, and puts what comes back in order.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use ballista_core::{
    config::BallistaConfig, execution_plans::execute_physical_plan,
    extension::SessionConfigExt as _,
};
use datafusion::{
    arrow::{
        array::{Array as _, ArrayRef, AsArray, RecordBatch, StringViewArray},
        compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch},
        datatypes::{DataType, Field, Schema, SchemaRef},
    },
    catalog::{Session, TableProvider},
    common::Result as PlanResult,
    datasource::memory::MemorySourceConfig,
    error::DataFusionError,
    logical_expr::{Expr, TableType},
    physical_plan::ExecutionPlan,
    prelude::SessionConfig,
};
use datafusion_proto::protobuf::PhysicalPlanNode;
use domain::{AsOf, Digest};
use futures::TryStreamExt as _;
use indicatif::ProgressBar;
use url::Url;
use uuid::Uuid;

use super::{
    MESSAGE_BYTES_MAX,
    codec::SnapshotCodec,
    node::{Request, SnapshotExec, values_schema},
};
use crate::{
    FeatureInfo, Kind, LakeError, Panel, PanelOptions, Snapshot,
    engine::{self, Engine, plan_history},
    research::{Means, Place, kept},
    tables::runs,
};

/// Port of a scheduler where the address has none.
const PORT: u16 = 50_050;
/// Seconds within which a scheduler must say how it is.
const ANSWER_SECONDS_MAX: u64 = 10;

/// A Ballista cluster of `r2r scheduler` and `r2r executor` processes.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// As people write it: `df://host:port`.
    address: String,
    /// As gRPC takes it: `http://host:port`.
    scheduler: String,
    /// Parts that work is cut into.
    tasks: usize,
}

/// A place of panels: a cluster, as [`Cluster::panel`] was called with it.
struct Remote<'c>(&'c Cluster);

/// A table of a snapshot that executors read.
#[derive(Debug)]
struct SnapshotTable {
    snapshot: Digest,
    kind: Kind,
    as_of: AsOf,
    schema: SchemaRef,
    /// The names that have records, in parts that are read apart.
    names: Vec<Vec<RecordBatch>>,
}

impl Cluster {
    /// Finds the scheduler at `df://host:port` (port 50050 where none is said), which must
    /// have executors. Work is cut into `tasks` parts at most, each of which runs on one core
    /// of an executor; what comes out does not depend on their number.
    ///
    /// # Errors
    /// Fails where the address is not one, nothing answers there, or no executor has come.
    pub async fn connect(address: &str, tasks: usize) -> Result<Self, LakeError> {
        let invalid = || {
            let reason = "a cluster is named by its scheduler, as df://127.0.0.1:50050";
            cluster_error(address, reason.to_owned())
        };
        let url = Url::parse(address).map_err(|_| invalid())?;
        let host = url.host_str().filter(|host| url.scheme() == "df" && !host.is_empty());
        let host = host.ok_or_else(invalid)?;
        let scheduler = format!("http://{host}:{}", url.port().unwrap_or(PORT));
        let cluster = Self { address: address.to_owned(), scheduler, tasks: tasks.max(1) };
        cluster.check_executors().await?;
        Ok(cluster)
    }

    /// Returns the address it was found at.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Computes a panel as [`Snapshot::panel`] does, to the bit, on executors whose stores
    /// hold the snapshot. Only plans and rows to be computed go to them.
    ///
    /// # Errors
    /// As [`Snapshot::panel`]; and where the cluster is lost, an executor cannot answer, or a
    /// series would say something else there.
    pub async fn panel(
        &self,
        snapshot: &Snapshot,
        options: &PanelOptions,
        progress: &ProgressBar,
    ) -> Result<Panel, LakeError> {
        snapshot.panel_at(&Remote(self), options, progress).await
    }

    /// A job without executors would wait for them for ever.
    async fn check_executors(&self) -> Result<(), LakeError> {
        let lost = |error: reqwest::Error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            let reason = format!(
                "no scheduler answers ({cause}): start one with `r2r scheduler`, and executors with `r2r executor`"
            );
            cluster_error(&self.address, reason)
        };
        // A proxy of the environment leads out of the cluster's network.
        let client = reqwest::Client::builder().no_proxy();
        let client = client.timeout(Duration::from_secs(ANSWER_SECONDS_MAX)).build();
        let ready = client.map_err(lost)?.get(format!("{}/readyz", self.scheduler));
        match ready.send().await.map_err(lost)?.status().as_u16() {
            200 => Ok(()),
            503 => {
                let reason = "the scheduler has no executors: start them with `r2r executor --scheduler HOST:PORT`";
                Err(cluster_error(&self.address, reason.to_owned()))
            }
            status => {
                let reason = format!("what answers is no scheduler of r2r (status {status})");
                Err(cluster_error(&self.address, reason))
            }
        }
    }

    /// How plans are made and run: parted among tasks, where a plan of a process is whole.
    fn config(&self) -> SessionConfig {
        engine::config()
            .with_target_partitions(self.tasks)
            // Ballista has no such exchange.
            .with_round_robin_repartition(false)
            .with_option_extension(BallistaConfig::default())
            .with_ballista_grpc_client_max_message_size(MESSAGE_BYTES_MAX)
    }

    /// Runs a plan on the executors.
    async fn run(&self, plan: Arc<dyn ExecutionPlan>) -> Result<RecordBatch, LakeError> {
        let failed = |error: DataFusionError| cluster_error(&self.address, error.to_string());
        let (config, schema) = (self.config(), plan.schema());
        let stream = execute_physical_plan::<PhysicalPlanNode>(
            self.scheduler.clone(),
            &config.ballista_config(),
            plan,
            &SnapshotCodec::of_others(),
            Uuid::new_v4().to_string(),
            config,
        )
        .await
        .map_err(failed)?;
        let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(failed)?;
        Ok(concat_batches(&schema, &batches)?)
    }
}

#[async_trait]
impl Place for Remote<'_> {
    async fn series(
        &self,
        snapshot: &Snapshot,
        engine: &Engine,
        options: &PanelOptions,
        _: &ProgressBar,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let cluster = self.0;
        let context = engine::context(cluster.config());
        let as_of = snapshot.last_date();
        let is_asked = |name: &&str| {
            let asked = &options.tickers;
            asked.is_empty() || asked.iter().any(|ticker| ticker.as_str() == *name)
        };
        for (kind, schema) in snapshot.tables.schemas() {
            let mut names = snapshot.tables.tickers(kind);
            if kind.has_ticker() {
                names.retain(is_asked);
            }
            let names = parted_names(&names, cluster.tasks)?;
            let table = SnapshotTable { snapshot: snapshot.id(), kind, as_of, schema, names };
            context.register_table(kind.table(), Arc::new(table))?;
        }
        let (plan, schema) = plan_history(&context, engine.features()).await?;
        let rows = cluster.run(plan).await?;
        let rows = RecordBatch::try_new(schema, rows.columns().to_vec())?;
        let of_names = runs(Kind::Bars, &rows)?;
        if of_names.is_empty() {
            return Ok(vec![rows]);
        }
        let of_names = of_names.into_iter().map(|(_, name)| rows.slice(name.start, name.len()));
        of_names.map(|rows| kept(rows, options)).collect()
    }

    async fn columns(
        &self,
        snapshot: &Snapshot,
        features: &[FeatureInfo],
        means: Means,
        rows: &RecordBatch,
        _: &ProgressBar,
    ) -> Result<Vec<ArrayRef>, LakeError> {
        let schema = rows.schema();
        let keys = rows.project(&[schema.index_of("ticker")?, schema.index_of("session")?])?;
        let parts = parts(keys.column(0).as_string_view(), means, self.0.tasks);
        let parts = parts.into_iter().map(|part| vec![keys.slice(part.start, part.len())]);
        let parts: Vec<Vec<RecordBatch>> = parts.collect();
        let input = MemorySourceConfig::try_new_exec(&parts, keys.schema(), None)?;
        let request = Request::values(snapshot.id(), features, means);
        let schema = values_schema(&keys.schema(), features);
        let plan = SnapshotExec::new(request, schema, input, None);
        let values = by_keys(&self.0.run(Arc::new(plan)).await?)?;
        // A part that ran twice, or not at all, must not pass for an answer.
        if values.columns()[..2] != *keys.columns() {
            let reason = "its answer is of other rows than it was asked for: run the command again";
            return Err(cluster_error(&self.0.address, reason.to_owned()));
        }
        Ok(values.columns()[2..].to_vec())
    }
}

#[async_trait]
impl TableProvider for SnapshotTable {
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
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned();
        let columns = columns.unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let input = MemorySourceConfig::try_new_exec(&self.names, names_schema(), None)?;
        let request = Request::records(self.snapshot, self.kind, self.as_of, columns);
        Ok(Arc::new(SnapshotExec::new(request, schema, input, None)))
    }
}

fn names_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("ticker", DataType::Utf8View, false)]))
}

/// Cuts names, which are in order, into parts of about as many.
fn parted_names(names: &[&str], tasks: usize) -> Result<Vec<Vec<RecordBatch>>, LakeError> {
    let batch = |names: &[&str]| {
        let names: ArrayRef = Arc::new(StringViewArray::from_iter_values(names));
        Ok(vec![RecordBatch::try_new(names_schema(), vec![names])?])
    };
    // A table without records is one part without names.
    if names.is_empty() {
        return Ok(vec![batch(&[])?]);
    }
    names.chunks(names.len().div_ceil(tasks)).map(batch).collect()
}

/// Cuts rows into parts of about as many. A name's arrivals are read once for all its rows,
/// which therefore stay together.
fn parts(names: &StringViewArray, means: Means, tasks: usize) -> Vec<Range<usize>> {
    let rows = names.len();
    let is_cut = |row: &usize| means == Means::Reads || names.value(*row) != names.value(*row - 1);
    let mut parts = Vec::new();
    let mut start = 0;
    for task in 1..tasks {
        let from = (rows * task / tasks).max(start + 1);
        if let Some(end) = (from..rows).find(is_cut) {
            parts.push(start..end);
            start = end;
        }
    }
    parts.push(start..rows);
    parts
}

/// Puts rows in order of their first two columns.
fn by_keys(rows: &RecordBatch) -> Result<RecordBatch, LakeError> {
    let column = |i: usize| SortColumn { values: rows.column(i).clone(), options: None };
    Ok(take_record_batch(rows, &lexsort_to_indices(&[column(0), column(1)], None)?)?)
}

fn cluster_error(address: &str, reason: String) -> LakeError {
    // What a job says of its end has lines of its own.
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    LakeError::Cluster { place: format!("cluster {address}"), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_parts_that_cover_all_once() {
        let names = StringViewArray::from_iter_values(["A", "A", "A", "B", "C", "C", "D"]);
        let cut = |means, tasks| parts(&names, means, tasks);
        assert_eq!(cut(Means::Arrivals, 3), [0..3, 3..4, 4..7]);
        assert_eq!(cut(Means::Reads, 3), [0..2, 2..4, 4..7]);
        for means in [Means::Arrivals, Means::Reads] {
            for tasks in 1..12 {
                let parts = cut(means, tasks);
                let rows: Vec<usize> = parts.iter().cloned().flatten().collect();
                assert_eq!(rows, (0..7).collect::<Vec<_>>(), "{means:?} {tasks}: {parts:?}");
                assert!(parts.len() <= tasks);
            }
        }
        let starts = cut(Means::Arrivals, 7).into_iter().map(|part| part.start);
        assert_eq!(starts.collect::<Vec<_>>(), [0, 3, 4, 6]);
        let none = parts(&StringViewArray::from_iter_values([""; 0]), Means::Reads, 4);
        assert!(none.len() == 1 && none[0].is_empty(), "{none:?}");
    }

    #[tokio::test]
    async fn an_address_without_a_cluster_is_refused_with_the_remedy() {
        for address in ["127.0.0.1:50050", "http://127.0.0.1:50050", "df://", "df:x", ""] {
            let error = Cluster::connect(address, 1).await.unwrap_err().to_string();
            assert!(error.contains("as df://127.0.0.1:50050"), "{address}: {error}");
        }
        // Nobody listens on a port that was bound and let go.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = Cluster::connect(&format!("df://127.0.0.1:{port}"), 1).await.unwrap_err();
        assert!(error.to_string().contains("start one with `r2r scheduler`"), "{error}");
    }
}
