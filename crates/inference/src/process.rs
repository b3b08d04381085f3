//! How a worker process is started and spoken to.

use std::{
    env,
    ffi::OsString,
    fmt,
    io::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::protocol::{FromWorker, ToWorker, read_frame, write_frame};

/// How often a thread of OpenMP looks whether a barrier is open before it sleeps: some
/// tenths of a millisecond.
const SPIN_COUNT: &str = "20000";

/// The command that becomes a worker: this binary with a hidden subcommand, or
/// whatever a test chooses. The worker finds its socket on standard input,
/// which is inherited without unsafe code or a descriptor that could leak.
#[derive(Clone)]
pub struct WorkerCommand {
    program: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
}

impl WorkerCommand {
    /// Names a program and its arguments.
    pub fn new(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            envs: Vec::new(),
        }
    }

    /// Names this binary with the argument `worker`.
    ///
    /// # Errors
    /// Fails when the path of the running program is unknown.
    pub fn current_exe() -> io::Result<Self> {
        Ok(Self::new(env::current_exe()?, ["worker"]))
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// Starts the process and returns our end of the socket pair.
    pub(crate) fn spawn(&self) -> io::Result<(Child, UnixStream)> {
        // Both ends are close-on-exec; only the copy on the child's standard
        // input survives, so that no other child can hold a worker alive.
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(&self.program)
            .args(&self.args)
            // Threads of OpenMP spin at barriers for milliseconds by default. Beside
            // another busy process that made a decode six times slower. Not spinning
            // at all makes two threads as slow as one.
            .env("GOMP_SPINCOUNT", SPIN_COUNT)
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        Ok((child, ours))
    }

    /// Runs one job in a process of its own and waits for its answer.
    pub(crate) fn run_once(&self, job: &ToWorker) -> io::Result<FromWorker> {
        let (mut child, mut socket) = self.spawn()?;
        let answer = write_frame(&mut socket, job)
            .and_then(|()| socket.flush())
            .and_then(|()| read_frame(&mut socket));
        drop(socket);
        let status = child.wait()?;
        match answer? {
            Some(answer) => Ok(answer),
            None => Err(io::Error::other(format!("the process ended with {status}"))),
        }
    }
}

impl fmt::Debug for WorkerCommand {
    /// Leaves the environment out: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerCommand")
            .field("program", &self.program)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}
