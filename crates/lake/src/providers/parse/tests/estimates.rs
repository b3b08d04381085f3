use super::*;
use crate::records::Estimate;

const FETCHED: &str = "2024-06-27T10:12:36Z";

/// Metric, mean, low, high and number of analysts.
type Values<'r> = (&'r str, f64, Option<f64>, Option<f64>, u64);

fn values(rows: &Rows<Estimate>) -> Vec<Values<'_>> {
    rows.rows.iter().map(|(_, e)| (&*e.metric, e.mean, e.low, e.high, e.analysts)).collect()
}

#[test]
fn a_consensus_is_known_when_it_was_fetched() {
    let text = r#"[{"symbol":"AAPL","date":"2028-09-30","estimatedRevenueLow":427,"estimatedRevenueHigh":458,
        "estimatedRevenueAvg":440.5,"estimatedEpsAvg":7.55,"estimatedEpsHigh":7.93,"estimatedEpsLow":7.24,
        "numberAnalystEstimatedRevenue":13,"numberAnalystsEstimatedEps":14},
        {"symbol":"AAPL","date":"2027-09-30","revenueLow":1,"revenueHigh":3,"revenueAvg":2,"epsAvg":7,
        "epsHigh":null,"numAnalystsEps":9},
        {"symbol":"MSFT","date":"2027-09-30","epsAvg":7,"revenueAvg":1},
        {"symbol":"AAPL","date":"soon","epsAvg":"7"}, {"symbol":"AAPL","date":"2026-09-30","epsAvg":"7"}]"#;
    let found = analyst_estimates(&context(), text.as_bytes(), utc(FETCHED)).unwrap();
    assert_eq!(
        values(&found),
        [
            ("eps", 7.55, Some(7.24), Some(7.93), 14),
            ("revenue", 440.5, Some(427.0), Some(458.0), 13),
            ("eps", 7.0, None, None, 9),
            ("revenue", 2.0, Some(1.0), Some(3.0), 0)
        ]
    );
    let (head, estimate) = &found.rows[0];
    assert_eq!((head.known_at, head.event_time), (utc(FETCHED), utc(FETCHED)));
    assert_eq!(estimate.period_end, Some(day("2028-09-30")));
    assert_eq!(head.record_id, "AAPL:eps:2028-09-30:2024-06-27T10:12:36+00:00");
    assert_eq!(
        reasons(&found),
        [
            "it is about another symbol",
            "it is about another symbol",
            "its date is not YYYY-MM-DD",
            "its date is not YYYY-MM-DD",
            "its epsAvg is not a number",
            "it has no estimatedRevenueAvg nor revenueAvg"
        ]
    );
    assert_eq!(finished(found).0, 4);
}

#[test]
fn a_price_target_is_known_when_it_was_published_in_new_york() {
    let text = r#"[{"symbol":"AAPL","publishedDate":"2024-06-26T06:41:00.000Z","newsURL":"https://news.example/1",
        "newsTitle":"Upgraded","analystName":"Jane Doe","priceTarget":260,"adjPriceTarget":65,
        "priceWhenPosted":209.07,"newsPublisher":"Example","newsBaseURL":"news.example","analystCompany":"Example Securities"},
        {"symbol":"AAPL","publishedDate":"2024-06-26 06:41:00","priceTarget":1,"analystCompany":"","analystName":"Jane Doe"},
        {"symbol":"AAPL","publishedDate":"June","priceTarget":1,"analystCompany":"B"},
        {"symbol":"AAPL","publishedDate":"2024-06-26 06:41:00","analystCompany":"B"}, 7]"#;
    let found = price_targets(&context(), text.as_bytes()).unwrap();
    assert_eq!(values(&found), [("price_target", 260.0, None, None, 1)]);
    let (head, estimate) = &found.rows[0];
    assert_eq!(head.known_at, utc("2024-06-26T10:41:00Z"));
    assert_eq!((&*estimate.broker, &*head.url), ("Example Securities", "https://news.example/1"));
    assert_eq!(
        reasons(&found),
        [
            "it names no broker",
            "its publishedDate \"June\" is no date and time",
            "it has no priceTarget",
            "it has no publishedDate"
        ]
    );
    assert!(!format!("{found:?}").contains("Jane"), "an analyst was read");
}

#[test]
fn a_consensus_of_targets_has_bounds() {
    let text = r#"[{"symbol":"AAPL","targetHigh":275,"targetLow":110,"targetConsensus":197.81,"targetMedian":199},
        {"symbol":"AAPL","targetHigh":1}, {"targetConsensus":1,"targetLow":5}]"#;
    let found = price_target_consensus(&context(), text.as_bytes(), utc(FETCHED)).unwrap();
    assert_eq!(values(&found)[0], ("price_target", 197.81, Some(110.0), Some(275.0), 0));
    assert_eq!(found.rows[0].0.known_at, utc(FETCHED));
    assert_eq!(reasons(&found), ["it has no targetConsensus"]);
    assert!(finished(found).1.contains(&"its mean is outside low to high".to_owned()));
}

#[test]
fn an_error_comes_as_an_object() {
    let read = |text: &str| format_error(price_targets(&context(), text.as_bytes()));
    assert_eq!(read(r#"{"Error Message":"Limit Reach."}"#), "the provider answers: Limit Reach.");
    assert_eq!(read("{}"), "the provider answers: no list");
    assert!(!read("").is_empty());
}
