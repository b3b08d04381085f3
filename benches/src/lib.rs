//! The read all contract benches work on: as many features and texts as a
//! well-covered name has, made of the public types and no data file.

use chrono::{DateTime, Utc};
use contract::{DraftClaim, Receipt, VerdictKind, Writing};
use domain::{
    AsOfRead, Digest, EvidenceItem, EvidenceKind, Feature, LabelProbs, Provenance, Section,
    Snippet, Unit,
};

/// Name, title, section, unit and value, close to AAPL on 2022-09-30.
const FEATURES: [(&str, &str, Section, Unit, f64); 24] = [
    ("index_ret_21d", "S&P 500 21-day return", Section::Market, Unit::Change, -0.0934),
    ("index_ret_252d", "S&P 500 252-day return", Section::Market, Unit::Change, -0.1678),
    ("index_vol_20d", "S&P 500 20-day volatility", Section::Market, Unit::Share, 0.2431),
    ("vix_level", "VIX level", Section::Market, Unit::Level, 31.62),
    ("vix_change_21d", "VIX 21-day change", Section::Market, Unit::Change, 0.2225),
    ("baa_aaa_spread", "Baa-Aaa bond yield spread", Section::Market, Unit::Share, 0.0108),
    ("revenue_growth_yoy", "annual revenue growth", Section::Fundamentals, Unit::Change, 0.3326),
    ("eps_growth_yoy", "annual diluted EPS growth", Section::Fundamentals, Unit::Change, 0.7104),
    ("gross_margin", "gross margin", Section::Fundamentals, Unit::Share, 0.4178),
    ("net_margin", "net margin", Section::Fundamentals, Unit::Share, 0.2588),
    ("news_count_7d", "news articles in 7 days", Section::Sentiment, Unit::Count, 41.0),
    ("news_count_30d", "news articles in 30 days", Section::Sentiment, Unit::Count, 187.0),
    ("news_tone_7d", "mean news tone over 7 days", Section::Sentiment, Unit::Score, 0.1432),
    ("ret_10d", "10-day return", Section::Technicals, Unit::Change, -0.0834),
    ("mom_30d", "30-day momentum", Section::Technicals, Unit::Change, -0.1731),
    ("mom_252_21", "12-1 month momentum", Section::Technicals, Unit::Change, 0.1127),
    ("rsi_14", "14-day RSI", Section::Technicals, Unit::Level, 35.91),
    ("px_vs_sma50", "price against its 50-day average", Section::Technicals, Unit::Change, -0.1214),
    ("dist_52w_high", "distance to the 52-week high", Section::Technicals, Unit::Change, -0.2381),
    ("insider_coverage", "Form 4 filings known in 90 days", Section::Insider, Unit::Count, 0.0),
    ("vol_20d", "20-day volatility", Section::Risks, Unit::Share, 0.4014),
    ("vol_60d", "60-day volatility", Section::Risks, Unit::Share, 0.3123),
    ("beta_252d", "252-day beta to the S&P 500", Section::Risks, Unit::Ratio, 1.2834),
    ("max_drawdown_252d", "252-day maximum drawdown", Section::Risks, Unit::Change, -0.2853),
];

/// Titles and the start of bodies, of the length real ones have.
const TEXTS: [&str; 6] = [
    "Apple (AAPL) Lowers iPhone 14 Production on \"Sluggish\" Demand",
    "Apple shares fell 4.9% on Thursday after an analyst at a large bank cut the rating to neutral, \
     citing weaker consumer demand over the next 12 months.",
    "Why Apple Stock Dropped Today",
    "The maker of the iPhone told suppliers to pull back from an increase of as many as 6 million \
     units in the second half of 2022, people familiar with the matter said.",
    "3 Reasons Long-Term Investors Still Hold Apple",
    "Technology Sector Update for 09/29/2022: Apple, Rackspace, Vinco",
];

fn provenance(source: &str, time: &str) -> Provenance {
    let time: DateTime<Utc> = time.parse().expect("a constant of this file");
    Provenance {
        source: source.to_owned(),
        url: "pkg:generic/bench@1".to_owned(),
        event_time: time,
        known_at: time,
    }
}

fn features() -> Vec<Feature> {
    let feature =
        |&(name, title, section, unit, value): &(&str, &str, Section, Unit, f64)| Feature {
            name: name.to_owned(),
            title: title.to_owned(),
            section,
            unit,
            window_days: None,
            value,
            coverage: name.ends_with("_coverage"),
            provenance: provenance("bench prices", "2022-09-30T20:00:00Z"),
        };
    FEATURES.iter().map(feature).collect()
}

fn snippets() -> Vec<Snippet> {
    let snippet = |(i, text): (usize, &&str)| Snippet {
        section: Section::Sentiment,
        text: (*text).to_owned(),
        file: "news.parquet".to_owned(),
        record_id: format!("n{i}"),
        column: "title".to_owned(),
        start: 0,
        end: u32::try_from(text.len()).expect("texts are short"),
        provenance: provenance("bench.example", "2022-09-29T18:18:13Z"),
    };
    TEXTS.iter().enumerate().map(snippet).collect()
}

/// Returns a read with five covered sections and one without data.
///
/// # Panics
/// Never: the constants of this file make a sound read.
#[must_use]
pub fn read() -> AsOfRead {
    let ticker = "AAPL".parse().expect("a ticker");
    let as_of = "2022-09-30".parse().expect("a date");
    let snapshot = Digest::of("bench");
    AsOfRead::new(ticker, "Apple".to_owned(), as_of, snapshot, features(), &snippets())
        .expect("a sound read")
}

/// Returns two claims a section, one where there is a single item, as the
/// grammar makes the model write them.
///
/// # Panics
/// Never: each section of [`read`] has an item.
#[must_use]
pub fn claims(read: &AsOfRead) -> Vec<DraftClaim> {
    let both = Section::ALL.into_iter().flat_map(|section| read.section(section).take(2));
    both.map(claim).collect()
}

fn claim(item: &EvidenceItem) -> DraftClaim {
    let text = match &item.kind {
        EvidenceKind::Numeric(feature) if feature.coverage => {
            let (title, count) = (&feature.title, feature.rendered());
            format!("This section abstains: the count of {title} is {count}.")
        }
        EvidenceKind::Numeric(feature) => {
            let (title, value) = (&feature.title, feature.rendered());
            format!("The {title} is {value}, reflecting the state of the company and its market.")
        }
        EvidenceKind::Text(snippet) => {
            let words: Vec<&str> = snippet.text.split_whitespace().take(6).collect();
            format!("{}.", words.join(" "))
        }
    };
    DraftClaim { section: item.section(), evidence: item.id, text }
}

/// Returns what the engine hands to assembly for [`claims`].
///
/// # Panics
/// Never: the logits are finite.
#[must_use]
pub fn writing(read: &AsOfRead) -> Writing {
    let verdict = |claim: DraftClaim| {
        let absent = read.item(claim.evidence).is_some_and(EvidenceItem::is_absence);
        (claim, if absent { VerdictKind::Abstained } else { VerdictKind::Supported })
    };
    let probs = LabelProbs::softmax([0.1, 0.4, 1.3, 0.9, -0.2]).expect("finite logits");
    Writing { claims: claims(read).into_iter().map(verdict).collect(), probs }
}

/// Returns a receipt of this build.
#[must_use]
pub fn receipt(read: &AsOfRead) -> Receipt {
    Receipt {
        model: "bench".to_owned(),
        model_digest: Digest::of("model"),
        snapshot_id: read.snapshot(),
        contract_digest: Digest::of("contract"),
        seed: 7,
        temperature: 0.5,
        min_p: 0.1,
        calibration: "identity",
        code_version: env!("CARGO_PKG_VERSION"),
        build: "bench".to_owned(),
    }
}
