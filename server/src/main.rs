//! r2r-server: logging, configuration, build, run, drain.

use std::{
    future::Future,
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use clap::{Parser, Subcommand};
use inference::WorkerCommand;
use nix::sys::signal::{Signal as UnixSignal, raise};
use server::{App, config::Config, metrics, serve};
use tokio::{
    net::TcpSocket,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

/// Where the configuration is looked for when no file is named.
const CONFIG_FILE: &str = "configs/server.toml";
/// llama.cpp says some 150 lines about itself at each start of a worker.
const DEFAULT_FILTER: &str = "info,llama-cpp-2=warn,llama_cpp_2=error";
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// What blocks a thread when all else has ended has so long to end, too.
const LAST_WORK: Duration = Duration::from_secs(1);
/// The exit code of a start that configuration, model or data do not allow.
const CANNOT_START: u8 = 2;
/// The exit code after a second signal.
const INTERRUPTED: i32 = 130;

/// glibc's takes an eighth of a read.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves analyst theses over HTTP.
#[derive(Debug, Parser)]
#[command(name = "r2r-server", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file; configs/server.toml where it exists.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Address to listen on, e.g. 127.0.0.1:8080; port 0 takes a free one.
    #[arg(long, global = true)]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default).
    Serve,
    /// Own the model; started by the server, speaks on standard input.
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would be printed to where the log went, and panic where that is gone.
        .log_internal_errors(false)
        .init();
    if matches!(arguments.command, Some(Command::Worker)) {
        return inference::worker::main();
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "r2r-server cannot start: {error:#}");
            ExitCode::from(CANNOT_START)
        }
    }
}

/// Runs the server. What still blocks a thread at the end, as the conversion of a large
/// model, is not waited for.
fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve_until_stopped(arguments));
    runtime.shutdown_timeout(LAST_WORK);
    result
}

async fn serve_until_stopped(arguments: Arguments) -> anyhow::Result<()> {
    let hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
    let has_terminal = io::stderr().is_terminal();
    let config = configuration(&arguments)?;
    // Before seconds of work that could not be served.
    let listen = config.http.listen;
    let socket = bind(listen).map_err(cannot_listen(listen))?;
    let recorder = metrics::install().context("metrics")?;
    inference::describe_metrics();
    let worker = WorkerCommand::current_exe().context("the path of this program")?;
    let app = Arc::new(App::start(config, worker, recorder.clone()).await?);
    let listener = socket.listen(BACKLOG).map_err(cannot_listen(listen))?;
    let address = listener.local_addr()?;
    let shutdown = shutdown()?;
    let upkeep = tokio::spawn(metrics::upkeep(recorder));
    let reload = tokio::spawn(reload(hangup, has_terminal, arguments, Arc::clone(&app)));
    announce(&app, address);
    serve(listener, shutdown, Arc::clone(&app)).await;
    app.theses().writer().engine().shutdown().await;
    upkeep.abort();
    reload.abort();
    info!("r2r-server has stopped");
    Ok(())
}

/// Takes an address; nobody can connect to it before [`TcpSocket::listen`].
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn cannot_listen(address: SocketAddr) -> impl Fn(io::Error) -> anyhow::Error {
    move |error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "another program listens on {address}; stop it, or choose another address: \
             --listen 127.0.0.1:8081, with make run PORT=8081"
        ),
        _ => anyhow!(error).context(format!("listening on {address}")),
    }
}

fn configuration(arguments: &Arguments) -> anyhow::Result<Config> {
    let default = Path::new(CONFIG_FILE);
    let file = arguments.config.as_deref().or_else(|| default.exists().then_some(default));
    if let Some(file) = file.filter(|file| !file.exists()) {
        bail!("there is no configuration file {}", file.display());
    }
    let mut config = Config::load(file)?;
    if let Some(listen) = arguments.listen {
        config.http.listen = listen;
    }
    Ok(config)
}

/// With each SIGHUP, reads the configuration again and serves the model it names.
/// Where the server was started on a terminal and that is gone, the signal means
/// what it says.
async fn reload(mut hangup: Signal, has_terminal: bool, arguments: Arguments, app: Arc<App>) {
    while hangup.recv().await.is_some() {
        if has_terminal && !io::stderr().is_terminal() {
            // Once: both the shell and the kernel say so, and a second one would not drain.
            let _ = raise(UnixSignal::SIGTERM);
            return;
        }
        info!("SIGHUP received: reading engine.model again; other keys need a restart");
        let swapped = async {
            let config = configuration(&arguments)?;
            let swapped = app.swap_model(&config.engine.model).await;
            swapped.with_context(|| format!("engine.model = {:?}", config.engine.model))
        };
        let swapped = swapped.await;
        let model = app.theses().model();
        let (name, digest) = (&model.name, model.digest);
        match swapped {
            Ok(true) => info!(model.name = name, model.digest = %digest, "{name} serves now"),
            Ok(false) => info!(model.digest = %digest, "{name} serves already"),
            Err(error) => error!(error = format!("{error:#}"), "{name} serves on"),
        }
    }
}

/// Says where the server is, ready to be pasted.
fn announce(app: &App, address: SocketAddr) {
    let snapshot = app.theses().snapshot();
    let model = app.theses().model();
    let example = snapshot.tickers().first();
    let body = example.map_or_else(String::new, |info| {
        format!(r#"{{"ticker":"{}","as_of":"{}"}}"#, info.ticker, info.last)
    });
    info!(
        listen.address = %address,
        model.name,
        model.digest = %model.digest,
        snapshot.id = %snapshot.id(),
        "r2r-server is ready on http://{address}",
    );
    let pid = std::process::id();
    // Nobody may be reading, and that is no reason to end.
    let _ = writeln!(
        io::stderr(),
        "r2r-server is ready on http://{address}\n  curl -s http://{address}/v1/thesis -d '{body}'\n  \
         kill -HUP {pid} reads engine.model again, kill {pid} ends it"
    );
}

/// Returns a future that ends with the first SIGTERM or SIGINT; a second one
/// ends the process at once.
fn shutdown() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let (first, received) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        info!(signal = name, "{name} received: draining; a second signal ends at once");
        let _ = first.send(());
        let name = next().await;
        info!(signal = name, "{name} received again: ending at once");
        std::process::exit(INTERRUPTED);
    });
    Ok(async move {
        let _ = received.await;
    })
}
