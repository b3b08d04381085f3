//! `r2r scheduler`, `r2r executor`: the processes of a Ballista cluster, on which
//! `r2r features build --engine` computes.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use anyhow::Context as _;
use clap::Args;
use lake::{ExecutorOptions, run_executor, run_scheduler};

use crate::{screen::say, snapshots::Place};

#[derive(Debug, Args)]
pub(crate) struct Scheduler {
    /// Address for executors and clients; port 0 takes a free one. Whoever reaches it may
    /// run queries: keep it inside a network that you trust.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:50050")]
    bind: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct Executor {
    /// The scheduler to work for; it may start within a minute.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50050", value_parser = host_and_port)]
    scheduler: (String, u16),
    /// Address where the scheduler and other executors fetch results; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:50051")]
    bind: SocketAddr,
    /// Host name or address by which they know it; as the scheduler sees it when absent.
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Directory for what tasks have computed, in a directory of its own; that of the system
    /// for temporary files when absent.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Tasks at the same time; as many as there are cores when absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tasks: Option<u32>,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn schedule(args: &Scheduler) -> anyhow::Result<()> {
    let cannot = || format!("cannot listen on {}: take another with --bind", args.bind);
    let listener = tokio::net::TcpListener::bind(args.bind).await.with_context(cannot)?;
    say!("scheduler on {}; stop it with Ctrl-C", listener.local_addr()?);
    Ok(run_scheduler(listener).await?)
}

pub(crate) async fn execute(args: &Executor, data_dir: &Path) -> anyhow::Result<()> {
    // Bound once to see that it can be, and to learn the port; Ballista binds it again.
    let cannot = || format!("cannot listen on {}: take another with --bind", args.bind);
    let bind = TcpListener::bind(args.bind).and_then(|listener| listener.local_addr());
    let bind = bind.with_context(cannot)?;
    let store = args.place.open(data_dir)?;
    let cores = available_parallelism().map_or(1, Into::into);
    let tasks = args.tasks.map_or(cores, |tasks| tasks as usize);
    let (scheduler_host, scheduler_port) = args.scheduler.clone();
    say!(
        "executor on {bind} for scheduler {scheduler_host}:{scheduler_port}: {tasks} tasks at a time, snapshots of {}; stop it with Ctrl-C",
        store.url()
    );
    let options = ExecutorOptions {
        scheduler_host,
        scheduler_port,
        bind,
        advertise: args.advertise.clone(),
        work_dir: args.work_dir.clone(),
        tasks,
    };
    Ok(run_executor(store, options).await?)
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let parsed = parts.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parsed.ok_or_else(|| "expected HOST:PORT, as 127.0.0.1:50050".to_owned())
}
