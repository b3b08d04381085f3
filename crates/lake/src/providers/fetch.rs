//! Asks a provider for what the archive lacks.

use std::{
    collections::{BTreeSet, VecDeque},
    path::Path,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Clock, Digest};
use futures::{StreamExt as _, stream::FuturesUnordered};
use indicatif::ProgressBar;

use super::{
    Ask, Provider, RawArchive, RetryPolicy,
    adapter::{Judgement, Next, Request, Window},
    client::{Client, Complete, Failure, Reply, Validators},
    raw::{Outcome, RawWriter, Record, Response},
};
use crate::LakeError;

/// A provider that fails so many requests in a row is not asked further.
const FAILURES_MAX: usize = 3;
const LOCK_POLL: Duration = Duration::from_millis(200);
const GO_ON: &str = "what came is kept, run the same command again to go on";

/// What a fetch needs.
#[derive(Clone, Copy)]
pub struct FetchOptions<'a> {
    /// Root of the data: the archive is `raw/<provider>/` in it.
    pub data_dir: &'a Path,
    /// Who is asked.
    pub provider: &'a Provider,
    /// What is asked.
    pub ask: &'a Ask,
    /// Asked instead of the provider's own address.
    pub base_url: Option<&'a str>,
    /// Ask again for what is archived and fresh; the provider may say that nothing changed.
    pub refresh: bool,
    /// Name and e-mail address of the caller, for the User-Agent.
    pub contact: Option<&'a str>,
    /// Looks up environment variables: [`process_env`], or a test's.
    pub env: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// How failed requests are repeated.
    pub retry: RetryPolicy,
    /// Seed of the waits between attempts.
    pub seed: u64,
    /// Tells when an answer came.
    pub clock: &'a dyn Clock,
    /// Gets a step per request; `ProgressBar::hidden()` for none.
    pub progress: &'a ProgressBar,
}

/// What a fetch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchReport {
    /// Requests that brought a body.
    pub fetched: usize,
    /// Requests whose archived answer still holds, as the provider says.
    pub unchanged: usize,
    /// Requests that were not sent: their archived answer is fresh.
    pub kept: usize,
    /// Bytes of the bodies that came.
    pub bytes: u64,
    /// Symbols the provider has nothing for, and what it said; sorted.
    pub missing: Vec<(String, String)>,
    /// Requests without a usable answer, by address without key, and why; sorted.
    pub failed: Vec<(String, String)>,
}

/// How a request ended.
enum Step {
    Fetched(Vec<u8>),
    Unchanged(Vec<u8>),
    Kept(Vec<u8>),
    /// The provider has nothing; `true` where it was asked just now.
    Missing(String, bool),
    Failed(Failure),
}

/// Looks up a variable of this process.
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Fetches what a provider has for the symbols of an ask into the raw archive.
///
/// What is archived and fresh is not asked for again, so that a fetch that was
/// stopped goes on where it was. Dropping the future stops it; nothing is half
/// written, and complete answers are kept. Waits for another fetch of the same
/// provider into the same archive.
///
/// # Errors
/// Refuses an ask with bad symbols or dates, and a provider without the contact or
/// key it demands; fails when the provider refuses to serve, when requests fail in
/// a row, and when the archive is damaged or cannot be written.
pub async fn fetch_provider(options: &FetchOptions<'_>) -> Result<FetchReport, LakeError> {
    let refuse = |reason| LakeError::Provider { provider: options.provider.id.clone(), reason };
    let mut queue = first_requests(options).map_err(refuse)?;
    let client = Client::new(options)?;
    let archive = RawArchive::new(options.data_dir, &options.provider.id);
    let writer = locked(&archive, options).await?;
    let run = Run { options, client: &client, archive: &archive, writer: &writer };
    let mut report = FetchReport::default();
    let (mut running, mut seen, mut failures) = (FuturesUnordered::new(), BTreeSet::new(), 0);
    options.progress.inc_length(queue.len() as u64);
    loop {
        while running.len() < options.provider.concurrent.get() as usize
            && let Some(request) = queue.pop_front()
        {
            let url = client.url(&request).map_err(refuse)?;
            if seen.insert(url.to_string()) {
                running.push(run.one(request, url));
            } else {
                options.progress.inc(1);
            }
        }
        let Some((request, url, step)) = running.next().await else { break };
        let (step, next) = lead_on(options, &request, step?);
        failures = if matches!(step, Step::Failed(_)) { failures + 1 } else { 0 };
        if let Some(reason) = note(&mut report, &request, &url, step) {
            return Err(refuse(format!("{reason}; {GO_ON}")));
        }
        if let Some((url, reason)) = report.failed.last().filter(|_| failures >= FAILURES_MAX) {
            return Err(refuse(format!(
                "{FAILURES_MAX} requests in a row failed, the last of {url}: {reason}; {GO_ON}"
            )));
        }
        options.progress.inc_length(next.requests.len() as u64);
        options.progress.inc(1);
        queue.extend(next.requests);
        report.missing.extend(next.missing);
    }
    report.missing.sort();
    report.failed.sort();
    tracing::info!(
        provider = options.provider.id,
        fetched = report.fetched,
        unchanged = report.unchanged,
        kept = report.kept,
        failed = report.failed.len(),
        "fetched provider"
    );
    Ok(report)
}

fn first_requests(options: &FetchOptions<'_>) -> Result<VecDeque<Request>, String> {
    let Ask { symbols, from, to } = options.ask;
    if symbols.is_empty() {
        return Err("it was asked for no symbols: name at least one".to_owned());
    }
    let today = options.clock.now().date_naive();
    let window = Window { from: *from, to: to.unwrap_or(today).min(today), today };
    if let Some(from) = from.filter(|from| *from > window.to) {
        return Err(format!("the first day, {from}, is after the last, {}", window.to));
    }
    let adapter = options.provider.adapter;
    for symbol in symbols {
        adapter.check_symbol(symbol)?;
    }
    Ok(adapter.requests(options.provider, symbols, &window).into())
}

async fn locked<'a>(
    archive: &'a RawArchive,
    options: &FetchOptions<'_>,
) -> Result<RawWriter<'a>, LakeError> {
    loop {
        if let Some(writer) = archive.try_lock()? {
            return Ok(writer);
        }
        let id = &options.provider.id;
        options.progress.set_message(format!("waiting for another fetch from {id} to end"));
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// Returns what an answer leads to; an answer that should lead on and cannot is a
/// failure.
fn lead_on(options: &FetchOptions<'_>, request: &Request, step: Step) -> (Step, Next) {
    let adapter = options.provider.adapter;
    let (Step::Fetched(body) | Step::Unchanged(body) | Step::Kept(body)) = &step else {
        return (step, Next::default());
    };
    if !adapter.leads_on(request.part) {
        return (step, Next::default());
    }
    match adapter.follow(request, body) {
        Ok(next) => (step, next),
        Err(reason) => (Step::Failed(Failure::Request(reason)), Next::default()),
    }
}

/// Counts a step; returns why the fetch has to end, if it has to.
fn note(report: &mut FetchReport, request: &Request, url: &str, step: Step) -> Option<String> {
    match step {
        Step::Fetched(body) => {
            report.fetched += 1;
            report.bytes += body.len() as u64;
        }
        Step::Unchanged(_) => report.unchanged += 1,
        Step::Kept(_) => report.kept += 1,
        Step::Missing(reason, is_new) => {
            if is_new {
                report.fetched += 1
            } else {
                report.kept += 1
            }
            report.missing.push((request.subject.clone(), reason));
        }
        Step::Failed(Failure::Request(reason)) => report.failed.push((url.to_owned(), reason)),
        Step::Failed(Failure::Provider(reason)) => return Some(reason),
    }
    None
}

/// A fetch under way.
#[derive(Clone, Copy)]
struct Run<'a> {
    options: &'a FetchOptions<'a>,
    client: &'a Client<'a>,
    archive: &'a RawArchive,
    writer: &'a RawWriter<'a>,
}

impl Run<'_> {
    async fn one(
        &self,
        request: Request,
        url: reqwest::Url,
    ) -> (Request, String, Result<Step, LakeError>) {
        let text = url.to_string();
        let step = self.step(&request, &url, &text).await;
        (request, text, step)
    }

    async fn step(
        &self,
        request: &Request,
        url: &reqwest::Url,
        text: &str,
    ) -> Result<Step, LakeError> {
        let Self { options, client, archive, writer } = self;
        let Provider { title, .. } = options.provider;
        options.progress.set_message(format!("{title}: {}", request.subject));
        let record = archive.record(text)?;
        // A body that cannot be read is fetched again, unconditionally.
        let newest = record.as_ref().and_then(Record::newest);
        let newest = newest.and_then(|newest| Some((newest, archive.body(newest).ok()?)));
        if let Some((newest, body)) = &newest
            && ((!options.refresh && self.is_fresh(newest.checked_at)) || request.part.is_final())
        {
            return Ok(kept(options.provider, request, newest, body));
        }
        let validators = newest.as_ref().map_or_else(Validators::default, |(newest, _)| {
            Validators { etag: newest.etag.clone(), last_modified: newest.last_modified.clone() }
        });
        match (client.get(request.part, url, &validators).await, newest) {
            (Ok(Reply::Complete(complete)), _) => self.store(request, text, complete),
            (Ok(Reply::NotModified), Some((newest, body))) => {
                writer.touch(text, request, options.clock.now())?;
                Ok(match newest.outcome {
                    Outcome::Rows => Step::Unchanged(body),
                    _ => kept(options.provider, request, newest, &body),
                })
            }
            (Ok(Reply::NotModified), None) => {
                let reason = "it answers 304 to a request without conditions".to_owned();
                Ok(Step::Failed(Failure::Request(reason)))
            }
            (Err(failure), _) => Ok(Step::Failed(failure)),
        }
    }

    fn is_fresh(&self, checked_at: DateTime<Utc>) -> bool {
        let age = self.options.clock.now() - checked_at;
        age < TimeDelta::hours(self.options.provider.fresh_hours.into())
    }

    fn store(&self, request: &Request, url: &str, complete: Complete) -> Result<Step, LakeError> {
        let now = self.options.clock.now();
        let Complete { status, etag, last_modified, content_type, body, judgement } = complete;
        let response = Response {
            fetched_at: now,
            checked_at: now,
            status,
            outcome: match judgement {
                Judgement::Rows => Outcome::Rows,
                Judgement::Missing(_) => Outcome::Missing,
                Judgement::Refused(_) | Judgement::Broken(_) => Outcome::Refused,
            },
            etag,
            last_modified,
            content_type,
            sha256: Digest::of(&body),
            bytes: body.len() as u64,
        };
        self.writer.store(url, request, response, &body)?;
        Ok(match judgement {
            Judgement::Rows => Step::Fetched(body),
            Judgement::Missing(reason) => Step::Missing(reason, true),
            Judgement::Refused(reason) | Judgement::Broken(reason) => {
                Step::Failed(Failure::Provider(reason))
            }
        })
    }
}

/// What an archived answer says without asking; judged again for what it said.
fn kept(provider: &Provider, request: &Request, newest: &Response, body: &[u8]) -> Step {
    match provider.adapter.judge(request.part, newest.status, body) {
        Judgement::Missing(reason) => Step::Missing(reason, false),
        _ => Step::Kept(body.to_vec()),
    }
}
