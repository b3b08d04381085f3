//! A thesis as a person reads it.

use std::{
    fmt::{Display, Write as _},
    io::{ErrorKind, Write as _},
};

use anstyle::{AnsiColor, Color, Style};
use anyhow::Context as _;
use contract::{EvidenceDetail, Plan, Thesis};
use domain::{AsOfRead, EvidenceKind, Label, Section};
use indicatif::{ProgressBar, ProgressStyle};

const BAR_WIDTH: f64 = 40.0;

/// Prints text, with colours where the terminal has them.
pub(crate) fn print(text: impl Display) -> anyhow::Result<()> {
    match write!(anstream::stdout(), "{text}") {
        // Whoever reads has seen enough, as `head` has.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.context("cannot write to standard output"),
    }
}

/// Returns a bar for long work: place, time, what is being done.
pub(crate) fn progress() -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {wide_msg}")?;
    Ok(ProgressBar::new(0).with_style(style))
}

/// Returns a bar for work of hours, of which `done` is done: place, time, time left.
pub(crate) fn progress_with_eta(done: u64, all: u64) -> anyhow::Result<ProgressBar> {
    let style = "{bar:24} {pos}/{len} {elapsed}, {eta} left  {wide_msg}";
    let bar = ProgressBar::new(all).with_style(ProgressStyle::with_template(style)?);
    bar.set_position(done);
    // What was done before says nothing about how fast it goes on.
    bar.reset_eta();
    bar.enable_steady_tick(std::time::Duration::from_secs(1));
    Ok(bar)
}

/// Returns what shows that long work goes on, where nobody knows how far it is.
#[cfg(feature = "ballista")]
pub(crate) fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(std::time::Duration::from_millis(200));
    spinner
}

/// Prints a line; a failure returns from the calling function.
macro_rules! say {
    ($($arg:tt)*) => { $crate::screen::print(format!("{}\n", format_args!($($arg)*)))? };
}
pub(crate) use say;

/// Renders a thesis: sections, claims with their citations, the decision bar.
pub(crate) fn thesis(thesis: &Thesis) -> String {
    let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{bold}{} ({}){bold:#}  as of {}",
        thesis.company, thesis.ticker, thesis.as_of
    );
    let mut cited = thesis.thesis.evidence.iter().zip(&thesis.verification);
    for section in Section::ALL {
        let _ = writeln!(out, "\n{bold}{}{bold:#}", section.key().to_uppercase());
        for claim in thesis.thesis.claims(section) {
            let Some((evidence, verdict)) = cited.next() else { break };
            let _ = writeln!(out, "  {}  {claim}", evidence.claim_id);
            let (mark, close) = match &evidence.detail {
                EvidenceDetail::Text { .. } => ("\"", "\""),
                EvidenceDetail::Numeric { .. } => ("", ""),
            };
            let _ = writeln!(
                out,
                "      {dim}{}: {mark}{}{close} - {}, known {} ({}){dim:#}",
                evidence.evidence_id,
                evidence.detail.text(),
                evidence.source,
                evidence.time.format("%Y-%m-%d"),
                format!("{:?}", verdict.verdict).to_lowercase(),
            );
        }
    }
    decision(&mut out, thesis);
    let receipt = &thesis.receipt;
    let _ = writeln!(
        out,
        "\n{dim}model {} {}  snapshot {}  contract {}  seed {}\n{}{dim:#}",
        receipt.model,
        receipt.model_digest.short(),
        receipt.snapshot_id.short(),
        receipt.contract_digest.short(),
        receipt.seed,
        thesis.disclaimer,
    );
    out
}

fn decision(out: &mut String, thesis: &Thesis) {
    let decision = &thesis.decision;
    let (bold, style) = (Style::new().bold(), colour(decision.label));
    let _ = writeln!(
        out,
        "\n{bold}DECISION{bold:#}  {style}{}{style:#}  conviction {:.2}",
        decision.label, decision.conviction
    );
    for (label, p) in Label::ALL.into_iter().zip(decision.probs.values()) {
        let style = colour(label);
        let bar = "#".repeat((p * BAR_WIDTH).round() as usize);
        let _ = writeln!(out, "  {label:<5} {:>5.1}%  {style}{bar}{style:#}", p * 100.0);
    }
    let controls = &thesis.controls;
    let stop =
        controls.stop_max_dd.map_or("unknown".to_owned(), |dd| format!("{:.1}%", dd * 100.0));
    let calibrated = match thesis.receipt.calibration.as_str() {
        "identity" => "not calibrated",
        _ => "calibrated",
    };
    let _ = writeln!(
        out,
        "  position at most {:.2}% of NAV, stop at a loss of {stop}; probabilities are {calibrated}",
        controls.max_position_pct_nav
    );
}

fn colour(label: Label) -> Style {
    let colour = match label {
        Label::SSell | Label::Sell => AnsiColor::Red,
        Label::Hold => AnsiColor::Yellow,
        Label::Buy | Label::SBuy => AnsiColor::Green,
    };
    Style::new().bold().fg_color(Some(Color::Ansi(colour)))
}

/// Prints every evidence item with its source and times.
pub(crate) fn catalogue(read: &AsOfRead) -> anyhow::Result<()> {
    let dim = Style::new().dimmed();
    for item in read.catalogue() {
        let provenance = item.provenance();
        say!("{:<4} {:<12} {}", item.id.to_string(), item.section(), item.text());
        let place = match &item.kind {
            EvidenceKind::Text(s) => {
                format!("{} {} {}[{}..{}]", s.file, s.record_id, s.column, s.start, s.end)
            }
            EvidenceKind::Numeric(f) => format!("{} = {}", f.name, f.value),
        };
        say!(
            "     {dim}{place}  {}  event {}  known {}{dim:#}",
            provenance.source,
            provenance.event_time.format("%Y-%m-%dT%H:%MZ"),
            provenance.known_at.format("%Y-%m-%dT%H:%MZ"),
        );
    }
    Ok(())
}

/// Prints what the model may cite and write.
pub(crate) fn plan(plan: &Plan) -> anyhow::Result<()> {
    let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
    for section in &plan.sections {
        let claims = section.claims.len();
        say!("{bold}{}{bold:#} {dim}claims: {claims}{dim:#}", section.open());
        for choice in &section.choices {
            let rule = choice.rule.as_deref().unwrap_or_default();
            let (code, id) = (choice.code, choice.evidence.to_string());
            say!("  {code} {id:<4} {} {dim}{rule}{dim:#}", choice.lead);
        }
    }
    print(format_args!("\n{}", plan.rules))
}
