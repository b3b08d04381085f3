//! A read with every kind of evidence: signed and unsigned numbers, texts, and
//! a section without data.

use chrono::{DateTime, Utc};
use domain::{AsOfRead, Digest, Feature, Polarity, Provenance, Section, Snippet, Unit};

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

fn provenance(source: &str, time: &str) -> Provenance {
    let url = "https://example.com/original".to_owned();
    Provenance { source: source.to_owned(), url, event_time: at(time), known_at: at(time) }
}

fn feature(name: &str, title: &str, section: Section, unit: Unit, value: f64) -> Feature {
    Feature {
        name: name.to_owned(),
        title: title.to_owned(),
        short: title.to_owned(),
        section,
        unit,
        polarity: Polarity::Good,
        window_days: None,
        value,
        coverage: false,
        note: None,
        provenance: provenance("test prices", "2022-09-30T20:00:00Z"),
    }
}

fn coverage(title: &str, section: Section) -> Feature {
    let name = format!("{section}_coverage");
    Feature { coverage: true, ..feature(&name, title, section, Unit::Count, 0.0) }
}

fn snippet(text: &str, record_id: &str) -> Snippet {
    Snippet {
        section: Section::Sentiment,
        text: text.to_owned(),
        file: "news.parquet".to_owned(),
        record_id: record_id.to_owned(),
        column: "title".to_owned(),
        start: 0,
        end: u32::try_from(text.len()).unwrap(),
        provenance: provenance("zacks.com", "2022-09-29T18:18:13Z"),
    }
}

pub(crate) fn read() -> AsOfRead {
    read_with("Apple (AAPL) Lowers iPhone 14 Production on \"Sluggish\" Demand")
}

/// The read with another first text.
pub(crate) fn read_with(text: &str) -> AsOfRead {
    let frame = vec![
        feature("index_ret_21d", "S&P 500 21-day return", Section::Market, Unit::Change, -0.0934),
        feature("vix_level", "VIX level", Section::Market, Unit::Level, 31.62),
        coverage("annual reports known in 500 days", Section::Fundamentals),
        feature("news_tone_7d", "7-day news tone", Section::Sentiment, Unit::Score, 0.0),
        feature("ret_10d", "10-day return", Section::Technicals, Unit::Change, 0.0408),
        feature("rsi_14", "14-day RSI", Section::Technicals, Unit::Level, 38.2),
        Feature {
            note: Some("the archive ends 2006-03-31".to_owned()),
            ..coverage("Form 4 filings known in 90 days", Section::Insider)
        },
        feature("vol_60d", "60-day realised volatility", Section::Risks, Unit::Share, 0.2744),
        Feature {
            polarity: Polarity::Bad,
            ..feature("vix_change", "VIX 21-day change", Section::Risks, Unit::Change, 0.2225)
        },
    ];
    let snippets = [
        snippet(text, "n1"),
        snippet("Taiwan Semiconductor shares fell 4.44% to $68.93, a 2-year low.", "n2"),
    ];
    let (ticker, as_of) = ("AAPL".parse().unwrap(), "2022-09-30".parse().unwrap());
    AsOfRead::new(ticker, "Apple Inc.".into(), as_of, Digest::of("snapshot"), frame, &snippets)
        .unwrap()
}
