//! The processes of a cluster: Ballista's scheduler and executor, which know the window
//! functions of features and the node that reads snapshots.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use ballista_core::{
    config::TaskSchedulingPolicy, error::BallistaError, registry::BallistaFunctionRegistry,
    utils::default_session_builder,
};
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::{
    cluster::BallistaCluster,
    config::SchedulerConfig,
    scheduler_process::{create_scheduler, start_grpc_service_with_listener},
};
use datafusion::{
    execution::{FunctionRegistry as _, SessionState},
    prelude::SessionConfig,
};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::TcpListener;

use super::{MESSAGE_BYTES_MAX, codec::SnapshotCodec, held::Held};
use crate::{LakeError, SnapshotStore, window};

/// How messages are limited, as Ballista counts.
const MESSAGE_MAX: u32 = MESSAGE_BYTES_MAX as u32;
/// Executors ask for work, which also tells that they live: every 5 s, also when busy. One
/// that has been silent for so long is lost, and its tasks go to others.
const EXECUTOR_TIMEOUT_SECONDS: u64 = 20;
const EXECUTOR_CHECK_SECONDS: u64 = 2;
/// How long jobs wait for an executor when all are lost.
const NO_EXECUTORS_SECONDS: u64 = 20;
/// How long an executor waits for its scheduler to be there.
const SCHEDULER_WAIT_SECONDS: u16 = 60;
/// What a job has left behind is removed after an hour.
const JOB_DATA_SECONDS: u64 = 3_600;
const JOB_DATA_CHECK_SECONDS: u64 = 600;

/// How an executor runs.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// Host of the scheduler.
    pub scheduler_host: String,
    /// Port of the scheduler.
    pub scheduler_port: u16,
    /// Where the scheduler and other executors fetch results from it.
    pub bind: SocketAddr,
    /// Its host as they know it; as it comes to the scheduler where none is said.
    pub advertise: Option<String>,
    /// Directory for a directory of its own with what its tasks have computed; that of the
    /// system for temporary files where none is said.
    pub work_dir: Option<PathBuf>,
    /// Tasks at the same time.
    pub tasks: usize,
}

/// Serves a scheduler on a listener, until the process ends.
///
/// # Errors
/// Fails when the listener does.
pub async fn run_scheduler(listener: TcpListener) -> Result<(), LakeError> {
    let place = || "scheduler".to_owned();
    let address = listener.local_addr().map_err(|error| failed(place(), error.into()))?;
    let session = |config: SessionConfig| -> datafusion::common::Result<SessionState> {
        let mut state = default_session_builder(config)?;
        for function in window::functions() {
            state.register_udwf(Arc::new(function))?;
        }
        Ok(state)
    };
    let config = SchedulerConfig {
        bind_host: address.ip().to_string(),
        bind_port: address.port(),
        external_host: address.ip().to_string(),
        scheduling_policy: TaskSchedulingPolicy::PullStaged,
        // A client reaches the scheduler alone, and executors need not be open to it.
        enable_embedded_flight_proxy: true,
        grpc_server_max_decoding_message_size: MESSAGE_MAX,
        grpc_server_max_encoding_message_size: MESSAGE_MAX,
        grpc_client_max_message_size: MESSAGE_MAX,
        executor_timeout_seconds: EXECUTOR_TIMEOUT_SECONDS,
        expire_dead_executor_interval_seconds: EXECUTOR_CHECK_SECONDS,
        no_executors_grace_period_seconds: NO_EXECUTORS_SECONDS,
        override_session_builder: Some(Arc::new(session)),
        override_physical_codec: Some(Arc::new(SnapshotCodec::of_others())),
        ..SchedulerConfig::default()
    };
    let serve = async {
        let cluster = BallistaCluster::new_from_config(&config).await?;
        let scheduler =
            create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config))
                .await?;
        start_grpc_service_with_listener(listener, scheduler).await
    };
    serve.await.map_err(|error| failed(place(), error))
}

/// Runs an executor that answers from the snapshots of a store, until it is told to stop.
///
/// # Errors
/// Fails when the scheduler is not there, or a directory cannot be made.
pub async fn run_executor(store: SnapshotStore, options: ExecutorOptions) -> Result<(), LakeError> {
    let place = || format!("executor at {}", options.bind);
    // Ballista removes all directories in its own when it ends.
    let parent = options.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent).map_err(LakeError::io("create", &parent))?;
    let work_dir = tempfile::Builder::new().prefix("r2r-executor-").tempdir_in(&parent);
    let work_dir = work_dir.map_err(LakeError::io("create a directory in", &parent))?;
    let mut functions = BallistaFunctionRegistry::default();
    let ours = window::functions().into_iter().map(|f| (f.name().to_owned(), Arc::new(f)));
    functions.window_functions.extend(ours);
    let bind_host = match options.bind {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    };
    let config = ExecutorProcessConfig {
        bind_host,
        port: options.bind.port(),
        external_host: options.advertise.clone(),
        scheduler_host: options.scheduler_host.clone(),
        scheduler_port: options.scheduler_port,
        scheduler_connect_timeout_seconds: SCHEDULER_WAIT_SECONDS,
        vcores: options.tasks.max(1),
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        work_dir: Some(work_dir.path().display().to_string()),
        job_data_ttl_seconds: JOB_DATA_SECONDS,
        job_data_clean_up_interval_seconds: JOB_DATA_CHECK_SECONDS,
        grpc_max_decoding_message_size: MESSAGE_MAX,
        grpc_max_encoding_message_size: MESSAGE_MAX,
        override_function_registry: Some(Arc::new(functions)),
        override_physical_codec: Some(Arc::new(SnapshotCodec::of_executor(Held::new(store)))),
        ..ExecutorProcessConfig::default()
    };
    start_executor_process(Arc::new(config)).await.map_err(|error| failed(place(), error))
}

fn failed(place: String, error: BallistaError) -> LakeError {
    LakeError::Cluster { place, reason: error.to_string() }
}
