//! `r2r-trainer` as a process, over tiny random models.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test may panic and print like the test"
)]

mod distill;
mod release;
mod rft;
mod sft;
#[path = "../../src/corpus/testing.rs"]
mod testing;

use std::{
    env, fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde_json::{Value, json};

/// `r2r-trainer SUBCOMMAND`, with its output for the test.
fn trainer(subcommand: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_r2r-trainer"));
    command.arg(subcommand);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Names a run over `base`, below the directory `runs`, of one thread, with these keys
/// changed; later ones count.
fn configure(command: &mut Command, name: &str, base: &Path, runs: &Path, sets: &[&[&str]]) {
    let own = [
        format!("name={name}"),
        format!("backbone.model={}", base.display()),
        format!("tracking.runs_dir={}", runs.display()),
        "engine.threads=1".into(),
        "engine.device=CPU".into(),
    ];
    let sets = sets.iter().flat_map(|sets| sets.iter().copied());
    for set in own.iter().map(String::as_str).chain(sets) {
        command.arg("--set").arg(set);
    }
}

/// Runs a command that must succeed, and returns what it printed.
fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}

/// The steps of a run that is killed, a multiple of four: some four kills by default;
/// `R2R_KILL_STEPS=84` makes them more than twenty.
fn kill_steps() -> usize {
    env::var("R2R_KILL_STEPS").map_or(8, |steps| steps.parse().unwrap())
}

/// Kills a run of `steps` steps at random moments after one to three more of them, as often
/// as it takes to reach the end; the last is let go on.
fn kill_again_and_again(directory: &Path, steps: usize, command: impl Fn() -> Command) {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let (mut killed, mut seen) = (0, 0);
    let finished = loop {
        let until = seen + 1 + random.next_u32() as usize % 3;
        let mut child = command().spawn().unwrap();
        if until >= steps {
            break child.wait_with_output().unwrap();
        }
        while logged(directory) < until {
            assert!(child.try_wait().unwrap().is_none(), "it ended before step {until}");
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(Duration::from_millis(u64::from(random.next_u32() % 300)));
        // SIGKILL: nothing of the process gets to run.
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
        // What a kill costs is the step it falls into: a checkpoint is kept at each.
        assert!(logged(directory) >= until);
        seen = logged(directory);
    };
    assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
    assert!(killed > 1, "the run was over before it was killed twice");
    println!("{killed} kills");
}

/// The steps that are in the log of a run.
fn logged(directory: &Path) -> usize {
    fs::read_to_string(directory.join("log.jsonl")).map_or(0, |log| log.lines().count())
}

/// Checks that two runs have left the same adapter, and the same steps in the log, each
/// once.
fn assert_same_run(one: &Path, other: &Path) {
    assert_eq!(adapter(one), adapter(other));
    let steps = |directory: &Path| -> Vec<Value> {
        let records = log(directory).into_iter();
        records.map(|record| json!([record["step"], record["metrics"]])).collect()
    };
    assert_eq!(steps(one), steps(other));
}

/// The adapter of a run.
fn adapter(directory: &Path) -> Vec<u8> {
    fs::read(directory.join("adapter.gguf")).unwrap()
}

/// The log of a run.
fn log(directory: &Path) -> Vec<Value> {
    let log = fs::read_to_string(directory.join("log.jsonl")).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The manifest of a run.
fn manifest(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("run.json")).unwrap()).unwrap()
}
