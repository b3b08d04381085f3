//! `r2r-trainer distill`: asks another model for theses of training contexts.
//!
//! The server is one that speaks OpenAI's chat completions: llama.cpp's, vLLM, and others.
//! Samples of a context are drawn until one can be kept or there were enough; only what
//! can be kept is written. The file goes on from what is in it.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::OpenOptions,
    io::Write as _,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use contract::{Plan, SectionPlan, system_prompt};
use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Counts, Rejection, Thesis, map, theses};
use crate::{
    config::ConfigArgs,
    contexts::{Case, Contexts},
    corpus::{Acceptor, ContextRef},
    teacher::draw,
};

/// Attempts of one request, and the pause before the second; it doubles from there.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// Bound on an answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    r2r-trainer distill --config cpu-demo --url http://localhost:8000/v1 --model qwen3-32b \
    --out distilled.jsonl\n  r2r-trainer corpus --config cpu-demo --distill distilled.jsonl \
    --out target/corpus")]
pub(crate) struct DistillArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where snapshots are kept.
    #[arg(long, env = "R2R_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Base URL of the API, with its version.
    #[arg(long)]
    url: String,
    /// Name of the model there.
    #[arg(long)]
    model: String,
    /// Key of the API; none where it asks for none.
    #[arg(long, env = "R2R_DISTILL_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// File to write or to go on with.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Most training contexts.
    #[arg(long, default_value = "500")]
    contexts: NonZeroUsize,
    /// Most samples of a context.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Temperature of the samples.
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    /// Most tokens of an answer, thoughts included.
    #[arg(long, default_value_t = 2_048)]
    max_tokens: u32,
    /// Requests at a time.
    #[arg(long, default_value_t = 4)]
    concurrency: usize,
    /// Most seconds of one request.
    #[arg(long, default_value_t = 300)]
    timeout_s: u64,
}

/// Asks for theses, and says how many could be kept.
///
/// # Errors
/// Fails when snapshots cannot be read, the server does not answer, or the file cannot be
/// written; what was kept until then stays in it.
pub(crate) fn run(args: &DistillArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let is_http = args.url.starts_with("http://") || args.url.starts_with("https://");
    ensure!(is_http, "--url {:?} must begin with http:// or https://", args.url);
    let contexts = Contexts::open(&config, &args.data_dir)?;
    let there = if args.out.exists() {
        end_last_line(&args.out)?;
        theses(&args.out)?
    } else {
        Vec::new()
    };
    let there: BTreeSet<_> = there.into_iter().map(|t| (t.universe, t.ticker, t.as_of)).collect();
    let is_new = |context: &&ContextRef| {
        let universe = contexts.universe(context).to_owned();
        !there.contains(&(universe, context.ticker.clone(), context.as_of))
    };
    let training: Vec<&ContextRef> =
        contexts.training().take(args.contexts.get()).filter(is_new).collect();
    let style = ProgressStyle::with_template(
        "{bar:24} {pos}/{len} elapsed {elapsed} left {eta} {wide_msg}",
    )?;
    let bar = ProgressBar::new(training.len() as u64).with_style(style);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&args.out)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    let mut acceptor = Acceptor::new()?;
    let mut counts = Counts::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(args)?;
    for batch in training.chunks(args.concurrency.max(1)) {
        let mut asked = Vec::new();
        for context in batch {
            asked.push((contexts.universe(context).to_owned(), contexts.read(context)?));
        }
        let mut kept = Vec::new();
        let sampled =
            runtime.block_on(client.sample(&asked, &mut acceptor, &mut counts, &mut kept));
        for thesis in kept {
            let line = serde_json::to_string(&thesis)? + "\n";
            file.write_all(line.as_bytes())
                .with_context(|| format!("cannot write {}", args.out.display()))?;
        }
        sampled?;
        bar.inc(batch.len() as u64);
        bar.set_message(counts.to_string());
    }
    bar.finish_and_clear();
    anstream::println!("{counts}; they are in {}", args.out.display());
    Ok(())
}

/// Ends the last line of a file that is gone on with: one that is half written, as on a disk
/// that was full, is dropped.
fn end_last_line(path: &Path) -> anyhow::Result<()> {
    let end = || -> std::io::Result<()> {
        let text = std::fs::read(path)?;
        if text.is_empty() || text.ends_with(b"\n") {
            return Ok(());
        }
        let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut file = OpenOptions::new().append(true).open(path)?;
        match serde_json::from_slice::<Thesis>(&text[start..]) {
            Ok(_) => file.write_all(b"\n"),
            Err(_) => file.set_len(start as u64),
        }
    };
    end().with_context(|| format!("cannot go on with {}", path.display()))
}

/// The API of one model.
struct Client<'a> {
    http: reqwest::Client,
    args: &'a DistillArgs,
}

impl<'a> Client<'a> {
    fn new(args: &'a DistillArgs) -> anyhow::Result<Self> {
        let timeout = Duration::from_secs(args.timeout_s);
        Ok(Self { http: reqwest::Client::builder().timeout(timeout).build()?, args })
    }

    /// Samples theses of some contexts at a time, until each has one that can be kept or
    /// had its samples. What could be kept before an error is in `kept`.
    async fn sample(
        &self,
        asked: &[(String, Case)],
        acceptor: &mut Acceptor,
        counts: &mut Counts,
        kept: &mut Vec<Thesis>,
    ) -> anyhow::Result<()> {
        let mut left: Vec<&(String, Case)> = asked.iter().collect();
        for sample in 0..self.args.samples {
            let width = left.len().max(1);
            let answers = left.iter().map(|(_, case)| self.thesis(case, sample));
            let answers: Vec<_> = stream::iter(answers).buffered(width).collect().await;
            let (mut again, mut failed) = (Vec::new(), None);
            for (entry, answer) in left.into_iter().zip(answers) {
                let (universe, case) = entry;
                let text = match answer {
                    Ok(text) => text,
                    Err(error) => {
                        failed.get_or_insert(error);
                        continue;
                    }
                };
                let reason: Option<Rejection> =
                    map::picks(&case.read, &case.plan, &text, acceptor)?.err();
                if let Some(reason) = reason {
                    counts.reject(reason, 1);
                    again.push(entry);
                    continue;
                }
                counts.kept += 1;
                let (ticker, as_of) = (case.read.ticker().clone(), case.read.as_of());
                kept.push(Thesis { universe: universe.clone(), ticker, as_of, text });
            }
            if let Some(error) = failed {
                return Err(error);
            }
            left = again;
        }
        Ok(())
    }

    /// Asks for one thesis.
    async fn thesis(&self, case: &Case, sample: u32) -> anyhow::Result<String> {
        let Case { read, plan, .. } = case;
        let seed = draw(&format!("{}\0{}\0{sample}", read.ticker(), read.as_of())) >> 33;
        let prompt = format!("{}{}\n{}", plan.day, plan.user, guide(plan));
        let body = json!({
            "model": self.args.model,
            "messages": [
                { "role": "system", "content": system_prompt() },
                { "role": "user", "content": prompt },
            ],
            "temperature": self.args.temperature,
            "max_tokens": self.args.max_tokens,
            "seed": seed,
        });
        let body = serde_json::to_vec(&body)?;
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.post(&body).await {
                Ok(text) => return Ok(text),
                Err(Failure::ForGood(error)) => return Err(error),
                Err(Failure::ForNow(error)) if attempt == ATTEMPTS => return Err(error),
                Err(Failure::ForNow(_)) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        bail!("no attempt was made")
    }

    async fn post(&self, body: &[u8]) -> Result<String, Failure> {
        let url = format!("{}/chat/completions", self.args.url.trim_end_matches('/'));
        let mut request =
            self.http.post(&url).header("content-type", "application/json").body(body.to_vec());
        if let Some(key) = &self.args.api_key {
            request = request.bearer_auth(key);
        }
        let away = |error: reqwest::Error| {
            let context = format!("{url} does not answer: is the server up, and --url right?");
            Failure::ForNow(anyhow!(error).context(context))
        };
        let mut answer = request.send().await.map_err(away)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES_MAX {
                let error = anyhow!("{url} answers more than {ANSWER_BYTES_MAX} bytes");
                return Err(Failure::ForGood(error));
            }
        }
        let content: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if !status.is_success() {
            let reason = content.pointer("/error/message").and_then(Value::as_str);
            let reason = reason.unwrap_or("no reason given");
            let error = anyhow!("{url} answers {status}: {reason}");
            let is_passing = status.is_server_error() || status.as_u16() == 429;
            return Err(if is_passing { Failure::ForNow(error) } else { Failure::ForGood(error) });
        }
        match content.pointer("/choices/0/message/content") {
            Some(Value::String(text)) => Ok(text.clone()),
            // The thoughts have taken all tokens: nothing that can be kept.
            Some(Value::Null) => Ok(String::new()),
            _ => {
                let expected = "the answer has no text as choices[0].message.content: is it an \
                                API as OpenAI's?";
                Err(Failure::ForGood(anyhow!("{url}: {expected}")))
            }
        }
    }
}

/// Whether it is worth to ask again.
enum Failure {
    ForNow(anyhow::Error),
    ForGood(anyhow::Error),
}

/// Says in which form a thesis can be kept: what may be cited, and read how.
fn guide(plan: &Plan) -> String {
    let mut text = String::from(
        "Answer with these lines and nothing else, one for each claim, as \
         `section:CODEPHRASE`. The phrase is one of those listed for the code, to the letter; \
         take one that fits, and not the same everywhere. Claims of a section cite different \
         codes.\n",
    );
    for section in plan.sections.iter().filter(|section| !section.is_silent()) {
        claims_wanted(&mut text, section);
        for choice in &section.choices {
            let phrases = choice.rule.as_deref().map(contract::phrases).unwrap_or_default();
            let phrases: Vec<String> = phrases.iter().map(|phrase| format!("{phrase:?}")).collect();
            let _ = writeln!(text, "  {} with {}", choice.code, phrases.join(" or "));
        }
    }
    text
}

fn claims_wanted(text: &mut String, section: &SectionPlan) {
    let name = section.section.key();
    let codes = |range: &std::ops::Range<usize>| {
        let codes = section.choices.get(range.clone()).unwrap_or_default();
        codes.iter().map(|choice| choice.code.to_string()).collect::<Vec<_>>().join(", ")
    };
    let claims: Vec<String> = section.claims.iter().map(codes).collect();
    let n = claims.len();
    let _ =
        writeln!(text, "{name}: {n} of these lines, citing one of {}", claims.join("; one of "));
}
