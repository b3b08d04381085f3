//! `GET /v1/backtest`: answers, jobs, and questions that cannot be answered.

use std::{
    io::Write as _,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    bad_input::check,
    client::{Answer, connect_from, get, raw, read_answer, request},
    server::Server,
};

/// The span of the baselines in docs/backtest.md.
const SPAN: &str = "universe=R20&start=1996-12-20&end=2022-12-28&horizon=21&cost_bps=5";
/// A rule is answered within this.
const QUICK: Duration = Duration::from_secs(1);

fn ask(server: &Server, query: &str) -> Answer {
    get(server.address(), &format!("/v1/backtest?{query}"))
}

fn delete(server: &Server, path: &str) -> Answer {
    raw(server.address(), &request("DELETE", path, "", b""))
}

fn metric(answer: &Value, name: &str) -> f64 {
    let estimates = answer["evaluation"]["estimates"].as_array().unwrap();
    let estimate = estimates.iter().find(|estimate| estimate["metric"] == name).unwrap();
    estimate["value"].as_f64().unwrap()
}

#[test]
fn a_rule_is_answered_at_once_and_once() {
    let server = Server::start();
    // The market has been read.
    done(&server, "strategy=equal_weight&resamples=0");
    for (strategy, sharpe, drawdown) in [
        ("buy_and_hold", 0.76, -0.54),
        ("equal_weight", 0.82, -0.49),
        ("vol_target", 0.88, -0.19),
        ("momentum_12_1", 0.21, -0.45),
        ("momentum_12_1_long", 0.95, -0.47),
    ] {
        let query = format!("{SPAN}&strategy={strategy}");
        let begin = Instant::now();
        let first = ask(&server, &query);
        let took = begin.elapsed();
        println!("{strategy}: {} ms", took.as_millis());
        // A busy machine makes a job of it, whose answer is the same.
        assert!(matches!(first.status, 200 | 202), "{}", first.text());
        assert!(took < QUICK + Duration::from_millis(200), "{strategy} took {took:?}");
        let first = done(&server, &query);
        let answer = first.json();
        assert!((metric(&answer, "sharpe") - sharpe).abs() < 0.02, "{strategy}");
        assert!((metric(&answer, "max_drawdown") - drawdown).abs() < 0.01, "{strategy}");
        let again = ask(&server, &query);
        assert_eq!(again.header("x-cache"), Some("hit"));
        assert_eq!(again.body, first.body);
    }
    let answer = ask(&server, &format!("{SPAN}&strategy=momentum_12_1")).json();
    assert_eq!(answer["provenance"]["snapshot"], server.health()["snapshot"]["id"]);
    let blocks = answer["walk_forward"]["test_blocks"].as_array().unwrap();
    assert_eq!((blocks.len(), &answer["walk_forward"]["test_size"]), (52, &120.into()));
    assert!(answer.get("full").is_none());
    // What is left out is what is said otherwise.
    assert_eq!(ask(&server, "strategy=momentum_12_1").header("x-cache"), Some("hit"));
    assert_eq!(server.metric("r2r_backtest_jobs_total{outcome=\"done\"}"), 6.0);
    assert!(server.metric("r2r_cache_bytes{cache=\"backtests\"}") > 0.0);
}

/// Asks until the answer is there.
fn done(server: &Server, query: &str) -> Answer {
    loop {
        let answer = ask(server, query);
        match answer.status {
            202 => std::thread::sleep(Duration::from_millis(50)),
            200 => return answer,
            status => panic!("{status}: {}", answer.text()),
        }
    }
}

#[test]
fn what_takes_longer_is_a_job_that_can_be_stopped() {
    let server = Server::start_with(&[("BACKTEST__WAIT_MS", "0"), ("BACKTEST__JOBS_MAX", "1")]);
    let long = "strategy=random&resamples=10000";
    let first = ask(&server, long);
    assert_eq!(first.status, 202, "{}", first.text());
    assert_eq!(first.header("retry-after"), Some("1"));
    let path = first.header("location").unwrap().to_owned();
    assert!(path.ends_with(first.json()["id"].as_str().unwrap()), "{path}");
    // Who asks the same is told of the same job, who asks another thing to come back.
    assert_eq!(ask(&server, long).header("location"), Some(path.as_str()));
    check(
        &server,
        "backtest too many jobs",
        &request("GET", "/v1/backtest?strategy=equal_weight", "", b""),
        503,
    );
    let state = |server: &Server| get(server.address(), &path).json()["state"].clone();
    server.until("the run", |server| {
        let job = get(server.address(), &path).json();
        job["state"] == "running" && job["progress"].as_f64().unwrap() > 0.0
    });
    let stopped = delete(&server, &path);
    assert_eq!((stopped.status, &stopped.json()["state"]), (200, &"cancelled".into()));
    assert_eq!(state(&server), "cancelled");
    // It can be asked again; a shorter one, to its end.
    let short = "strategy=random&resamples=20&detail=full";
    let path = ask(&server, short).header("location").unwrap().to_owned();
    server.until("the end", |server| get(server.address(), &path).json()["state"] == "done");
    let job = get(server.address(), &path).json();
    let answer = ask(&server, short);
    assert_eq!((answer.status, answer.header("x-cache")), (200, Some("hit")));
    assert_eq!((&job["result"], &job["progress"]), (&answer.json(), &1.0.into()));
    let full = &job["result"]["full"];
    assert_eq!(
        full["equity"].as_array().unwrap().len(),
        full["sessions"].as_array().unwrap().len()
    );
    // Over is over.
    assert_eq!(delete(&server, &path).json()["state"], "done");
    assert_eq!(server.metric("r2r_backtest_jobs_total{outcome=\"cancelled\"}"), 1.0);
    assert_eq!(server.metric("r2r_backtest_jobs_active"), 0.0);
}

#[test]
fn who_asks_for_many_makes_room_for_who_was_refused() {
    let server = Server::start_with(&[("BACKTEST__WAIT_MS", "0"), ("BACKTEST__JOBS_MAX", "2")]);
    let ask = |from: u8, seed: u32| {
        let mut client = connect_from(Ipv4Addr::new(127, 0, 0, from), server.address());
        let path = format!("/v1/backtest?strategy=random&resamples=10000&seed={seed}");
        client.write_all(&request("GET", &path, "", b"")).unwrap();
        read_answer(&mut client).unwrap()
    };
    let (greedy, polite) = (2, 3);
    let first = ask(greedy, 1);
    let statuses = [first.status, ask(greedy, 2).status, ask(polite, 3).status];
    assert_eq!(statuses, [202, 202, 503]);
    let stopped = delete(&server, first.header("location").unwrap());
    assert_eq!(stopped.status, 200, "{}", stopped.text());
    let again = ask(greedy, 4);
    assert_eq!(
        (again.status, &again.problem()["type"]),
        (503, &"urn:r2r:problem:too-many-jobs".into())
    );
    assert_eq!(ask(polite, 3).status, 202);
}

#[test]
fn a_question_that_cannot_be_answered_gets_a_problem_that_helps() {
    let server = Server::start();
    // Reads the market.
    done(&server, "strategy=equal_weight&resamples=0");
    for (name, query) in [
        ("unknown parameter", "horizn=21"),
        ("parameter twice", "horizon=21&horizon=42"),
        ("not a number", "cost_bps=five"),
        ("not a date", "start=2020-02-30"),
        ("unknown universe", "universe=R21"),
        ("unknown strategy", "strategy=momentum_12"),
        ("unknown baseline", "baseline=cash"),
        ("reversed dates", "start=2020-01-02&end=2019-01-02"),
        ("outside the data", "end=2031-01-01"),
        ("negative costs", "cost_bps=-1"),
        ("costs beyond bounds", "cost_bps=1e308"),
        ("capital beyond bounds", "capital=1e308"),
        ("costs not a number", "cost_bps=NaN"),
        ("horizon 0", "horizon=0"),
        ("horizon beyond bounds", "horizon=18446744073709551615&decide_every=1"),
        ("delay 0", "delay=0"),
        ("short span", "start=2021-01-04&end=2022-01-04"),
        ("sizes beyond bounds", "train_size=18446744073709551615"),
        ("purge below the horizon", "purged_size=20"),
        ("impact without volumes", "impact=1"),
        ("too many resamples", "resamples=10001"),
        ("no estimates", "strategy=consensus"),
        ("no decisions", "strategy=decisions&decision_seed=18446744073709551615"),
        ("unknown detail", "detail=everything"),
    ] {
        let bytes = request("GET", &format!("/v1/backtest?{query}"), "", b"");
        check(&server, &format!("backtest {name}"), &bytes, 422);
    }
    let job = "/v1/backtest/jobs/";
    for (name, method, path, status) in [
        ("backtest wrong method", "POST", "/v1/backtest", 405),
        ("backtest job wrong method", "POST", job, 405),
        ("backtest unknown job", "GET", &format!("{job}{}", "0".repeat(64)), 404),
        ("backtest job no id", "DELETE", &format!("{job}latest"), 404),
    ] {
        check(&server, name, &request(method, path, "", b""), status);
    }
    assert_eq!(server.metric("r2r_backtest_jobs_total{outcome=\"failed\"}"), 0.0);
}
