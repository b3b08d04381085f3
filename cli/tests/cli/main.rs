//! The command line as a person uses it: the real binary, snapshot and model.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[cfg(feature = "ballista")]
mod ballista;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Where `make test` has put packages, model and snapshot.
fn data_dir() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
    let dir = std::env::var_os("R2R_DATA_DIR").map_or_else(default, PathBuf::from);
    assert!(
        dir.join("snapshots").exists(),
        "no snapshot in {}; `make test` builds it",
        dir.display()
    );
    dir
}

fn r2r(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_r2r"));
    command.args(args).env("R2R_DATA_DIR", data_dir()).output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = r2r(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A failure is one line on stderr and nothing on stdout.
fn failure(args: &[&str]) -> (i32, String) {
    let output = r2r(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), stderr)
}

/// JPM in 2010 has prices only: the snapshot holds no third party's text.
#[test]
fn shows_what_the_model_reads_and_may_write() {
    let at = ["JPM", "--as-of", "2010-06-30", "--show"];
    let show = |what: &str| stdout(&[&["thesis"], &at[..], &[what]].concat());
    insta::assert_snapshot!("prompt", show("prompt"));
    insta::assert_snapshot!("catalogue", show("catalogue"));
    insta::assert_snapshot!("grammar", show("grammar"));
}

#[test]
fn writes_a_thesis_for_people_and_for_programs() {
    let args = ["thesis", "AAPL", "--as-of", "2022-09-30"];
    let text = stdout(&args);
    for part in
        ["Apple", "FUNDAMENTALS", "RISKS", "DECISION", "conviction", "not investment advice"]
    {
        assert!(text.to_lowercase().contains(&part.to_lowercase()), "{part} is missing in\n{text}");
    }
    let json = stdout(&[&args[..], &["--json"]].concat());
    let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
    contract::Schema::compile().unwrap().validate(&answer).unwrap();
    assert_eq!(json, stdout(&[&args[..], &["--json"]].concat()), "the same receipt, other bytes");
}

/// From the answer back to archives; what was changed after it was written is refused.
#[test]
fn follows_a_thesis_to_its_archives() {
    let json = stdout(&["thesis", "AAPL", "--as-of", "2022-09-30", "--json"]);
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tree = stdout(&["data", "lineage", "--thesis", &write("a.json", &json)]);
    for part in
        ["thesis AAPL as of 2022-09-30", "claim F1", "archive edgar-ratios 2.0.0", "licence MIT"]
    {
        assert!(tree.contains(part), "{part} is missing in\n{tree}");
    }
    let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
    let id = answer["receipt"]["snapshot_id"].as_str().unwrap();
    let time = answer["thesis"]["evidence"][0]["time"].as_str().unwrap();
    for (changed, says) in [
        (json.replace(id, &"0".repeat(64)), "receipt.snapshot_id 000000000000 is not in"),
        (json.replacen(time, "2001-01-01T00:00:00Z", 1), "does not hold"),
        ("{}".to_owned(), "is no answer of this program"),
    ] {
        let (code, line) = failure(&["data", "lineage", "--thesis", &write("b.json", &changed)]);
        assert_eq!(code, 1, "{line}");
        assert!(line.contains(says), "{line}");
    }
    let (_, line) = failure(&["data", "lineage", "--feature", "gross_marign"]);
    assert!(line.contains("gross_margin"), "{line}");
}

#[test]
fn the_quarantine_is_listed_without_personal_data() {
    let list = stdout(&["data", "quarantine", "list"]);
    assert!(list.contains("quarantined records of snapshot"), "{list}");
    let (_, line) = failure(&["data", "quarantine", "show", "zzzz"]);
    assert!(line.contains("data quarantine list"), "{line}");
    let (_, line) = failure(&["data", "quarantine", "list", "--universe", "R21"]);
    assert!(line.contains("universe R21 has no snapshot"), "{line}");
    let (_, line) = failure(&[
        "data",
        "quarantine",
        "release",
        "zzzz",
        "--reviewer",
        "Jane Doe",
        "--reason",
        "none",
    ]);
    assert!(line.contains("\"zzzz\" names 0 records"), "{line}");
}

/// A feature of one's own is a file beside the data; values at names and dates are reads.
#[test]
fn a_feature_of_ones_own_is_found_without_a_build() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["objects", "packages", "refs", "snapshots"] {
        std::os::unix::fs::symlink(data_dir().join(name), dir.path().join(name)).unwrap();
    }
    let at = |args: &[&str]| {
        let data_dir = ["--data-dir", dir.path().to_str().unwrap()];
        r2r(&[args, &data_dir[..]].concat())
    };
    let text = |args: &[&str]| {
        let output = at(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let get = ["features", "get", "AAPL", "two_days", "insider_buys_90d", "--as-of", "2022-09-30"];
    let unknown = at(&get);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("not in the catalogue"));
    let file = dir.path().join("features/two_days.sql");
    fs::create_dir(dir.path().join("features")).unwrap();
    fs::write(
        &file,
        "-- name: two_days\n-- title: return of two sessions\n-- section: technicals\n\
         -- unit: change\n-- use: research\n-- kind: bars\n-- formula: C / Ref(C, 2) - 1\n\
         close / lag(close, 2) OVER w - 1\n",
    )
    .unwrap();
    let found = text(&get);
    assert!(found.contains("two_days              ") && found.contains("-0.07"), "{found}");
    assert!(text(&["features", "list", "--all"]).contains("[your own]"));

    let points = dir.path().join("points.csv");
    fs::write(&points, "ticker,as_of\nKO,2022-10-01\nAAPL,2022-09-30\n").unwrap();
    let (points, out) = (points.to_str().unwrap(), dir.path().join("points.parquet"));
    let build = ["features", "build", "two_days", "--at", points, "--out", out.to_str().unwrap()];
    assert!(text(&build).contains("2 rows of 1 features"));
    assert!(out.exists());
    for (rows, says) in [
        ("ticker,as_of\nKO,2022-10-01\nAAPL,soon\n", "line: 3"),
        ("ticker,date\nKO,2022-10-01\n", "unknown field `date`"),
        ("ticker,as_of\nZZZZ,2022-10-01\n", "ZZZZ is not in the universe"),
        ("ticker,as_of\n", "has no rows"),
    ] {
        fs::write(points, rows).unwrap();
        let output = at(&build);
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && line.contains(says), "{line}");
    }
    fs::write(&file, "close\n").unwrap();
    let line = String::from_utf8(at(&get).stderr).unwrap();
    assert!(line.contains("two_days.sql: its header lacks"), "{line}");
    // It stops no one who does not ask for it; bars of R20 are closes, without a volume.
    let out = ["--out", out.to_str().unwrap(), "--from", "2022-09-01"];
    let build = ["features", "build", "bb_position_20", "alpha_vma_5"];
    let built = text(&[&build[..], &out].concat());
    assert!(built.contains("no row has a value of alpha_vma_5: the universe lacks"), "{built}");
}

/// The model decodes the beginning of a prompt once for all tickers of a date.
#[test]
fn prompts_of_a_date_begin_alike() {
    let day = |ticker: &str| {
        let prompt = stdout(&["thesis", ticker, "--as-of", "2018-12-31", "--show", "prompt"]);
        let company = prompt.find(&format!("({ticker})\n")).unwrap();
        let day = &prompt[..prompt[..company].rfind('\n').unwrap()];
        day.rsplit_once("---\n").unwrap().1.to_owned()
    };
    let apple = day("AAPL");
    assert!(apple.starts_with("As of 2018-12-31\nmarket:\n1 "), "{apple}");
    assert_eq!(day("KO"), apple);
    assert_eq!(day("JPM"), apple);
}

#[test]
fn says_what_is_wrong_in_one_line() {
    for (args, parts) in [
        (&["thesis", "APPL"][..], &["APPL", "AAPL"][..]),
        (&["thesis", "AAPL", "--as-of", "2031-01-01"], &["2031-01-01", "1990-01-02", "2022-12-28"]),
        (&["thesis", "AAPL", "--as-of", "1980-01-01"], &["1980-01-01", "1990-01-02"]),
        (&["data", "show", "--data-dir", "nowhere"], &["nowhere", "r2r data build"]),
    ] {
        let (code, line) = failure(args);
        assert_eq!(code, 1, "{line}");
        for part in parts {
            assert!(line.contains(part), "{args:?}: {part:?} is missing in {line}");
        }
    }
}

/// What honest rules reach on these prices: Sharpe ratio within .02, drawdown within a point.
#[test]
fn backtests_reach_the_honest_baselines() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let table = stdout(&["backtest", "compare", "--resamples", "50", "--out", out]);
    assert!(table.contains("1996-12-20 to 2022-12-28"), "{table}");
    let text = fs::read_to_string(dir.path().join("compare.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (strategy, sharpe, drawdown) in [
        ("buy_and_hold", 0.76, -0.54),
        ("equal_weight", 0.82, -0.49),
        ("vol_target(target=0.1, window=60)", 0.88, -0.19),
        ("momentum(lookback=252, skip=21, top=5, long_short)", 0.21, -0.45),
        ("momentum(lookback=252, skip=21, top=5, long)", 0.95, -0.47),
    ] {
        let rows = file["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["strategy"] == strategy).unwrap();
        let found = |value: &serde_json::Value| value.as_f64().unwrap();
        assert!((found(&row["sharpe"]["value"]) - sharpe).abs() < 0.02, "{row}");
        assert!((found(&row["max_drawdown"]) - drawdown).abs() < 0.01, "{row}");
    }
}

#[test]
fn a_backtest_is_the_same_bytes_and_names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        let out = dir.path().join(name);
        let out = out.to_str().unwrap();
        let span = ["--start", "2015-01-02", "--end", "2020-12-31"];
        let rest = ["--strategy", "random", "--resamples", "50", "--out", out];
        stdout(&[&["backtest", "run"], &span[..], &rest[..]].concat());
        ["tearsheet.html", "result.json", "trades.parquet", "positions.parquet", "equity.parquet"]
            .map(|file| fs::read(dir.path().join(name).join(file)).unwrap())
    };
    assert!(run("one") == run("two"), "the same question, other bytes");
    let base = ["backtest", "run", "--strategy", "equal_weight"];
    for (args, part) in [
        (&["--start", "2020-01-02", "--end", "2019-01-02"][..], "before it starts on 2020-01-02"),
        (&["--cost-bps", "-1"], "cost_bps is -1"),
        (&["--horizon", "0"], "horizon is 0: give at least one session"),
        (&["--end", "2031-01-01"], "2031-01-01 is outside the sessions of universe R20"),
        (&["--universe", "R21"], "R21"),
        (&["--impact", "1"], "market impact needs volumes"),
    ] {
        let (_, line) = failure(&[&base[..], args].concat());
        assert!(line.contains(part), "{args:?}: {part:?} is missing in {line}");
    }
    let (_, line) = failure(&["backtest", "run", "--strategy", "momentum"]);
    assert!(line.contains("did you mean momentum_12_1"), "{line}");
    let short = ["--start", "2021-01-04", "--end", "2022-01-04"];
    let (_, line) = failure(&[&["backtest", "sweep"], &short[..]].concat());
    assert!(line.contains("train_size, purged_size and test_size"), "{line}");
    let one = ["backtest", "sweep", "--lookback", "126", "--skip", "21", "--top", "3"];
    let swept = stdout(&[&one[..], &["--start", "2015-01-02"]].concat());
    for part in ["held 21 sessions, delay 1, 5 bp; 1 parameters", "backtest overfitting: n/a: "] {
        assert!(swept.contains(part), "{part:?} is missing in {swept}");
    }
}

/// A run that is killed while the model decides goes on from what it has kept.
#[test]
fn recommendations_of_a_model_are_kept_as_they_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    // A seed of its own, so that nothing is kept of it: one day of decision, twenty names.
    let args = [
        &["backtest", "compare", "--strategies", "decisions", "--out", out][..],
        &["--start", "2022-10-03", "--end", "2022-12-01", "--horizon", "42"],
        &["--decision-seed", "271828", "--resamples", "50"],
    ]
    .concat();
    let entries =
        |dir: &Path| fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    let derived = data_dir().join("derived");
    let kept = || {
        entries(&derived).flat_map(|snapshot| entries(&snapshot)).find(|path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.lines().next().is_some_and(|line| line.contains("\"seed\":271828"))
        })
    };
    kept().into_iter().for_each(|path| fs::remove_file(path).unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_r2r"));
    let mut first = command.args(&args).env("R2R_DATA_DIR", data_dir()).spawn().unwrap();
    let lines = || {
        let text = kept().map(|path| fs::read_to_string(path).unwrap()).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let begin = std::time::Instant::now();
    while lines().len() < 4 && begin.elapsed() < std::time::Duration::from_secs(120) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let before = lines();
    assert!((4..21).contains(&before.len()), "{before:?}");
    let table = stdout(&args);
    let name = format!("decisions({} ", inference::model::ModelManifest::DEFAULT);
    assert!(table.contains(&name) && table.contains(", days=45)"), "{table}");
    let after = lines();
    // The receipt and a line for each name; the last one may have been cut off.
    assert_eq!(after.len(), 21);
    assert_eq!(after[..before.len() - 1], before[..before.len() - 1]);
    let comparison = fs::read_to_string(dir.path().join("compare.json")).unwrap();
    assert_eq!(stdout(&args), table);
    assert_eq!(fs::read_to_string(dir.path().join("compare.json")).unwrap(), comparison);
    // What is kept is what a file of answers is.
    let file = kept().unwrap();
    let file = file.to_str().unwrap();
    let given = [&args[..args.len() - 4], &["--resamples", "50", "--decisions", file]].concat();
    assert_eq!(stdout(&given), table);
    fs::remove_file(file).unwrap();
}

#[test]
fn a_model_that_is_missing_or_not_the_promised_one_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.gguf");
    fs::write(&file, b"GGUF\x03\0\0\0not really").unwrap();
    let file = file.to_str().unwrap();
    let empty = dir.path().to_str().unwrap();
    for args in [
        &["model", "verify", file][..],
        &["thesis", "AAPL", "--model", file],
        &["thesis", "AAPL", "--model", "no-such-model"],
        &["model", "verify", "--data-dir", empty],
    ] {
        let (code, line) = failure(args);
        assert_eq!(code, 2, "{args:?}: {line}");
    }
}
