//! A strategy that looks ahead is not a program: each file plants one way to try, and the
//! text beside it is how the compiler's answer begins. One file does the same with what is
//! known, and compiles.
//!
//! They are compiled against the library that is built already: cases in a crate of their own
//! would compile all dependencies once more.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

const CASES: [&str; 6] = [
    "negative_lag",
    "later_frame",
    "market_of_frame",
    "prices_of_market",
    "kept_frame",
    "later_decisions",
];

/// The library of this crate among what cargo has built for this test. Another one may lie
/// there from a build with other features; the last is of the present sources.
fn library(dir: &Path) -> PathBuf {
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libbacktest-") && name.ends_with(".rlib")
    };
    let built = |path: &PathBuf| fs::metadata(path).and_then(|info| info.modified());
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(is_library)
        .max_by_key(|path| built(path).unwrap_or(SystemTime::UNIX_EPOCH))
        .expect("cargo builds the library before its tests")
}

/// Type-checks a file and returns whether it compiles, and what the compiler says.
fn check(case: &str) -> (bool, String) {
    let test = env::current_exe().unwrap();
    let dir = test.parent().unwrap();
    let output = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["--edition=2024", "--emit=metadata", "--color=never", "--cap-lints=allow"])
        .arg(format!("--extern=backtest={}", library(dir).display()))
        .arg(format!("-Ldependency={}", dir.display()))
        .arg(format!("--out-dir={}", env!("CARGO_TARGET_TMPDIR")))
        .arg(format!("tests/backtest/look_ahead/{case}.rs"))
        .output()
        .expect("the compiler that built this test");
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// The compiler's text without the width of its line numbers.
fn lines(text: &str) -> Vec<String> {
    let line = |line: &str| match line.split_once('|') {
        Some((number, code)) => format!("{}|{code}", number.trim()),
        None => line.trim().to_owned(),
    };
    text.lines().map(line).collect()
}

#[test]
fn a_strategy_cannot_reach_the_future() {
    let (compiles, answer) = check("known");
    assert!(compiles, "{answer}");
    for case in CASES {
        let path =
            format!("{}/tests/backtest/look_ahead/{case}.stderr", env!("CARGO_MANIFEST_DIR"));
        let expected = fs::read_to_string(path).unwrap();
        let (compiles, answer) = check(case);
        assert!(!compiles, "{case} compiles");
        assert!(lines(&answer).starts_with(&lines(&expected)), "{case}: {answer}");
        // No other error is mistaken for the one that was planted.
        let is_error = |line: &&str| line.starts_with("error") && !line.contains("aborting");
        assert_eq!(answer.lines().filter(is_error).count(), 1, "{case}: {answer}");
    }
}
