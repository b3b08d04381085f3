//! `r2r data fetch PROVIDER` and `r2r data raw PROVIDER`: live providers.

use std::path::{Path, PathBuf};

use anyhow::bail;
use chrono::NaiveDate;
use domain::Clock;
use indicatif::HumanBytes;
use lake::{
    Ask, FetchOptions, FetchReport, ProviderList, RawArchive, RetryPolicy, fetch_provider,
    parse_raw, process_env,
};

use crate::screen::{progress, say};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A live provider: yahoo, stooq, fred, edgar, yahoo-news, newsapi or fmp. Without one,
    /// the packages of the universe are fetched.
    pub(crate) provider: Option<String>,
    /// Tickers, indices such as ^GSPC, or ids of FRED series; TICKER=NAME where the provider
    /// calls a company otherwise, as in OLD=320193 for EDGAR or AAPL=Apple for news.
    symbols: Vec<String>,
    /// First day wanted [default: all there is; of EDGAR's documents none, of news a month].
    #[arg(long, value_name = "YYYY-MM-DD", requires = "provider")]
    from: Option<NaiveDate>,
    /// Last day wanted [default: today].
    #[arg(long, value_name = "YYYY-MM-DD", requires = "provider")]
    to: Option<NaiveDate>,
    /// Ask this address instead of the provider's own: a mirror, or a replay server.
    #[arg(long, value_name = "URL", requires = "provider")]
    base_url: Option<String>,
    /// Ask again for what is archived and fresh; what did not change is not sent again.
    #[arg(long, requires = "provider")]
    refresh: bool,
    /// Your name and e-mail address, sent to the provider; some serve nobody without.
    #[arg(long, env = "R2R_CONTACT", value_name = "\"NAME E-MAIL\"")]
    contact: Option<String>,
    /// List of providers to use instead of the built-in one.
    #[arg(long, value_name = "FILE", requires = "provider")]
    providers: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RawArgs {
    /// A live provider: yahoo, stooq, fred, edgar, yahoo-news, newsapi or fmp.
    provider: String,
    /// List of providers to use instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    providers: Option<PathBuf>,
}

/// Fetches from a provider until it is done or somebody presses Ctrl-C.
pub(crate) async fn run(args: &Args, data_dir: &Path, clock: &dyn Clock) -> anyhow::Result<()> {
    let list = providers(args.providers.as_deref())?;
    let provider = list.get(args.provider.as_deref().unwrap_or_default())?;
    let ask = Ask { symbols: args.symbols.clone(), from: args.from, to: args.to };
    let progress = progress()?;
    let options = FetchOptions {
        data_dir,
        provider,
        ask: &ask,
        base_url: args.base_url.as_deref(),
        refresh: args.refresh,
        contact: args.contact.as_deref(),
        env: &process_env,
        retry: RetryPolicy::default(),
        // Processes that fail together should not come back together.
        seed: std::process::id().into(),
        clock,
        progress: &progress,
    };
    let fetched = tokio::select! {
        fetched = fetch_provider(&options) => Some(fetched),
        pressed = tokio::signal::ctrl_c() => { pressed?; None }
    };
    progress.finish_and_clear();
    let Some(fetched) = fetched else {
        bail!("stopped; what came is kept, run the same command again to go on");
    };
    tell(&fetched?, &provider.title)
}

pub(crate) fn providers(path: Option<&Path>) -> anyhow::Result<ProviderList> {
    Ok(match path {
        Some(path) => ProviderList::load(path)?,
        None => ProviderList::builtin()?,
    })
}

fn tell(report: &FetchReport, title: &str) -> anyhow::Result<()> {
    let FetchReport { fetched, unchanged, kept, bytes, missing, failed } = report;
    say!(
        "{title}: {fetched} answers fetched ({}), {unchanged} unchanged, {kept} still fresh",
        HumanBytes(*bytes)
    );
    for (symbol, reason) in missing {
        say!("  nothing for {symbol}: {reason}");
    }
    for (url, reason) in failed {
        say!("  failed: {url}: {reason}");
    }
    if !failed.is_empty() {
        bail!("{} requests failed; run the same command again to repeat them", failed.len());
    }
    Ok(())
}

/// Checks the raw archive of a provider and counts the records in it.
pub(crate) fn raw(args: &RawArgs, data_dir: &Path) -> anyhow::Result<()> {
    let list = providers(args.providers.as_deref())?;
    let provider = list.get(&args.provider)?;
    let report = RawArchive::new(data_dir, &provider.id).verify()?;
    say!(
        "{}: {} requests, {} answers, {} bodies",
        provider.title,
        report.requests,
        report.responses,
        report.objects
    );
    for (path, reason) in &report.problems {
        say!("  {}: {reason}", path.display());
    }
    if !report.problems.is_empty() {
        bail!("{} files of the archive are not what was written", report.problems.len());
    }
    let mut rows = parse_raw(provider, data_dir)?;
    for kind in rows.kinds() {
        let (batch, rejected) = rows.table(kind)?;
        say!(
            "  {:<12} {:>8} records, {} set aside",
            kind.table(),
            batch.num_rows(),
            rejected.len()
        );
    }
    Ok(())
}
