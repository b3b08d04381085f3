//! Recommendations of a model, from files of answers to what a strategy follows.

use std::{collections::BTreeMap, fs, path::Path};

use backtest::{Config, Market, Timeline, strategies::Decision};
use chrono::{Days, NaiveDate};
use domain::{AsOf, Digest, LabelProbs, Ticker};
use serde::{Deserialize, Serialize};

use crate::StudyError;

/// Name of a model whose answers do not say it.
const UNNAMED: &str = "model";

/// A recommendation, in the members an answer has for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// Name it is about.
    pub ticker: Ticker,
    /// Date whose knowledge it rests on.
    pub as_of: AsOf,
    /// What is recommended.
    pub decision: Decision,
}

/// Recommendations of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommendations {
    /// Name of the model.
    pub model: String,
    /// By universe the last day of which something had a say in training it; none where that is
    /// not known, as it is not by what files of answers say.
    pub trained_until: Option<BTreeMap<String, NaiveDate>>,
    /// One for each name and date.
    pub rows: Vec<Recommendation>,
}

/// Recommendations about names of a market in a span, as a strategy follows them.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    model: String,
    trained_until: Option<BTreeMap<String, NaiveDate>>,
    /// The first day as of which something is recommended.
    first: Option<NaiveDate>,
    digest: Digest,
    days: u32,
    decisions: Timeline<Decision>,
    forecasts: Vec<(usize, NaiveDate, LabelProbs)>,
    strangers: usize,
}

/// What else is read of an answer, or of the first line of a file of kept decisions.
#[derive(Debug, Deserialize)]
struct Written {
    receipt: Option<WrittenReceipt>,
}

#[derive(Debug, Deserialize)]
struct WrittenReceipt {
    model: Option<String>,
}

impl Recommendations {
    /// Reads answers of `r2r thesis --json`, one a line; of files of kept decisions too.
    ///
    /// # Errors
    /// Fails on a line that is none, and on a second one about the same name and date.
    pub fn read(path: &Path) -> Result<Self, StudyError> {
        let text = fs::read_to_string(path).map_err(StudyError::io("read decisions", path))?;
        // Some editors begin a file with a mark of its encoding.
        Self::parse(path, text.trim_start_matches('\u{feff}'))
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, StudyError> {
        let (mut rows, mut model) = (Vec::new(), None);
        let mut seen: BTreeMap<(Ticker, AsOf), usize> = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let bad = |reason: String| {
                let (path, line) = (path.to_owned(), number + 1);
                StudyError::BadLine { path, line, reason }
            };
            if line.trim().is_empty() {
                continue;
            }
            let written: Written =
                serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
            let named = written.receipt.and_then(|receipt| receipt.model);
            if let (Some(model), Some(named)) = (&model, &named)
                && model != named
            {
                let reason = format!("it is of model {named}, lines before it of {model}");
                return Err(bad(format!("{reason}: give each model a file of its own")));
            }
            model = model.or(named);
            let row = match serde_json::from_str::<Recommendation>(line) {
                Ok(row) => row,
                Err(_) if number == 0 && is_receipt(line) => continue,
                Err(error) => return Err(bad(error.to_string())),
            };
            if let Some(most) = row.decision.probs.map(|probs| probs.argmax())
                && most != row.decision.label
            {
                let label = row.decision.label;
                return Err(bad(format!("{label} is recommended where {most} is most probable")));
            }
            if let Some(before) = seen.insert((row.ticker.clone(), row.as_of), number + 1) {
                let Recommendation { ticker, as_of, .. } = &row;
                return Err(bad(format!(
                    "{ticker} as of {as_of} stands in line {before} too: leave one of them"
                )));
            }
            rows.push(row);
        }
        let model = model.unwrap_or_else(|| UNNAMED.to_owned());
        Ok(Self { model, trained_until: None, rows })
    }

    /// Lines those recommendations that can be followed in the span of a configuration up with
    /// the names of a market; each is followed for `days` days.
    #[must_use]
    pub fn follow(mut self, market: &Market, config: &Config, days: u32) -> Followed {
        let first = config.start.checked_sub_days(Days::new(days.into()));
        let span = first.unwrap_or(NaiveDate::MIN)..=config.end;
        self.rows.retain(|row| span.contains(&row.as_of.date()));
        let all = self.rows.len();
        self.rows.retain(|row| market.position(&row.ticker).is_some());
        let strangers = all - self.rows.len();
        self.rows.sort_by(|a, b| (a.as_of, &a.ticker).cmp(&(b.as_of, &b.ticker)));
        let first = self.rows.first().map(|row| row.as_of.date());
        let digest = serde_json::to_vec(&(&self.model, &self.rows)).unwrap_or_default();
        let digest = Digest::of(digest);
        let forecast = |row: &Recommendation| {
            let name = market.position(&row.ticker)?;
            Some((name, row.as_of.date(), row.decision.probs?))
        };
        let forecasts = self.rows.iter().filter_map(forecast).collect();
        let rows = self.rows.into_iter().map(|row| (row.ticker, row.as_of.date(), row.decision));
        let (decisions, _) = Timeline::new(market, rows);
        let Self { model, trained_until, .. } = self;
        Followed { model, trained_until, first, digest, days, decisions, forecasts, strangers }
    }
}

/// Tells whether a line is the first of a file of kept decisions: a receipt and no more.
fn is_receipt(line: &str) -> bool {
    let value = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
    value.as_object().is_some_and(|members| members.keys().eq(["receipt"]))
}

impl Followed {
    /// Returns whether there is nothing to follow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    /// Returns how many recommendations are about names the market does not have.
    #[must_use]
    pub const fn strangers(&self) -> usize {
        self.strangers
    }

    /// Says what part of the recommendations about a universe is not out of sample.
    pub(crate) fn caution(&self, universe: &str) -> String {
        let seen = |until: &BTreeMap<String, NaiveDate>| match until.get(universe) {
            Some(until) if self.first.is_none_or(|first| first > *until) => String::new(),
            Some(until) => format!(
                " The model was trained or calibrated on what was known to {until}: what it \
                 recommends as of earlier days is not out of sample."
            ),
            None if until.is_empty() => String::new(),
            None => {
                let known = until.iter().map(|(universe, until)| format!("{universe} to {until}"));
                format!(
                    " The model was trained or calibrated on {}: what it recommends about the \
                     same names and days is not out of sample.",
                    known.collect::<Vec<_>>().join(" and ")
                )
            }
        };
        let unknown = || " What days the model was trained on is not known.".to_owned();
        let seen = self.trained_until.as_ref().map_or_else(unknown, seen);
        format!("{seen} A language model may have read about any day before its own release.")
    }

    /// Returns the digest of the model's name and the recommendations.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn forecasts(&self) -> &[(usize, NaiveDate, LabelProbs)] {
        &self.forecasts
    }

    pub(crate) fn inputs(&self) -> (Timeline<Decision>, String, u32) {
        let source = format!("{} {}", self.model, self.digest.short());
        (self.decisions.clone(), source, self.days)
    }
}
