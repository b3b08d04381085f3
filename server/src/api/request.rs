//! Request bodies, read strictly: typed, no unknown and no second field, depth
//! limited by simd-json. A wrong value names its field.

use domain::{AsOf, Ticker, TickerError};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use utoipa::ToSchema;

use crate::problem::ApiError;

/// What to write one thesis about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThesisQuery {
    /// The ticker as it was sent; it may not be one.
    pub(crate) ticker: String,
    /// The date; the snapshot's last when absent.
    pub(crate) as_of: Option<AsOf>,
    /// The seed of the sampler.
    pub(crate) seed: u64,
}

/// What to write a batch of theses about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchQuery {
    /// The tickers as they were sent, in order.
    pub(crate) tickers: Vec<String>,
    /// The date; the snapshot's last when absent.
    pub(crate) as_of: Option<AsOf>,
    /// The seed of the sampler.
    pub(crate) seed: u64,
}

/// Body of `POST /v1/thesis`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThesisRequest {
    /// Exchange symbol, e.g. `AAPL`.
    #[serde(default)]
    #[schema(value_type = String, required = true, example = "AAPL", pattern = "^[A-Z][A-Z0-9]{0,9}([.-][A-Z0-9]{1,4})?$")]
    ticker: Value,
    /// The thesis uses only what was known by the end of this day, UTC; the last
    /// day of the data when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Date, example = "2022-09-30")]
    as_of: Value,
    /// Seed of the sampler, 0 when absent.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 0, example = 0)]
    seed: Value,
}

/// Body of `POST /v1/batch/thesis`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    /// Exchange symbols; each is answered, a repeated one repeatedly.
    #[serde(default)]
    #[schema(value_type = Vec<String>, required = true, min_items = 1, max_items = 1000, example = json!(["AAPL", "MSFT"]))]
    tickers: Value,
    /// As in a single request.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Date, example = "2022-09-30")]
    as_of: Value,
    /// As in a single request.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 0, example = 0)]
    seed: Value,
}

impl ThesisQuery {
    /// Reads a body in place.
    ///
    /// # Errors
    /// Fails on anything but the documented object.
    pub(crate) fn parse(body: &mut [u8]) -> Result<Self, ApiError> {
        let request: ThesisRequest = parse(body)?;
        let ticker = text(request.ticker, "ticker")?;
        let ticker = ticker.ok_or_else(|| missing("ticker"))?;
        Ok(Self { ticker, as_of: as_of(request.as_of)?, seed: seed(&request.seed)? })
    }
}

impl BatchQuery {
    /// Reads a body in place.
    ///
    /// # Errors
    /// Fails on anything but the documented object and on more than
    /// `tickers_max` tickers.
    pub(crate) fn parse(body: &mut [u8], tickers_max: usize) -> Result<Self, ApiError> {
        let request: BatchRequest = parse(body)?;
        let values = match request.tickers {
            Value::Array(values) if !values.is_empty() => values,
            Value::Array(_) => {
                return Err(wrong("tickers", "at least one ticker", "an empty array"));
            }
            Value::Null => return Err(missing("tickers")),
            other => return Err(wrong("tickers", "an array of strings", name(&other))),
        };
        if values.len() > tickers_max {
            return Err(ApiError::TooManyTickers { found: values.len(), limit: tickers_max });
        }
        let mut tickers = Vec::with_capacity(values.len());
        for (i, value) in values.into_iter().enumerate() {
            let field = format!("tickers[{i}]");
            let ticker = text(value, &field)?;
            tickers.push(ticker.ok_or_else(|| wrong(&field, "a string", "null"))?);
        }
        Ok(Self { tickers, as_of: as_of(request.as_of)?, seed: seed(&request.seed)? })
    }
}

/// Reads a ticker, and whether it was written as tickers are: `aapl` is not,
/// but tells what was meant.
///
/// # Errors
/// Fails on text that is not a symbol in any case.
pub(crate) fn ticker(text: &str) -> Result<(Ticker, bool), ApiError> {
    match text.parse() {
        Ok(ticker) => Ok((ticker, true)),
        Err(TickerError::Spelling { meant, .. }) => Ok((meant, false)),
        Err(error) => {
            Err(ApiError::Field { field: "ticker".to_owned(), detail: error.to_string() })
        }
    }
}

fn parse<T: DeserializeOwned>(body: &mut [u8]) -> Result<T, ApiError> {
    if body.trim_ascii().is_empty() {
        return Err(ApiError::Json("the body is empty; a JSON object is expected".to_owned()));
    }
    if let Err(error) = std::str::from_utf8(body) {
        let at = error.valid_up_to();
        return Err(ApiError::Json(format!("the body is not UTF-8 at byte {at}")));
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ApiError::Json("the body is not a JSON object".to_owned()));
    }
    simd_json::serde::from_slice(body).map_err(|error| json_error(&error))
}

/// Tells errors of our own field rules, which serde words and names, from
/// errors of JSON itself.
fn json_error(error: &simd_json::Error) -> ApiError {
    use simd_json::ErrorType;
    match error.error() {
        ErrorType::Serde(message) => {
            let field = message.split('`').nth(1).map(clip).unwrap_or_default();
            ApiError::Field { field, detail: clip(message) }
        }
        ErrorType::DepthLimitExceeded => ApiError::Json("the body is nested too deeply".to_owned()),
        ErrorType::InvalidNumber | ErrorType::Overflow => {
            let at = error.index();
            ApiError::Json(format!("the number near byte {at} is malformed or exceeds 64 bits"))
        }
        _ => ApiError::Json(format!("the body is not JSON near byte {}", error.index())),
    }
}

/// A hostile input must not travel whole into logs and answers.
fn clip(text: &str) -> String {
    text.chars().take(160).collect()
}

fn as_of(value: Value) -> Result<Option<AsOf>, ApiError> {
    let Some(text) = text(value, "as_of")? else { return Ok(None) };
    let field = || "as_of".to_owned();
    let parsed = text.parse();
    parsed
        .map(Some)
        .map_err(|e: domain::AsOfError| ApiError::Field { field: field(), detail: e.to_string() })
}

fn seed(value: &Value) -> Result<u64, ApiError> {
    match value {
        Value::Null => Ok(0),
        Value::Number(number) => number
            .as_u64()
            .ok_or_else(|| wrong("seed", "a whole number of at least 0", &number.to_string())),
        other => Err(wrong("seed", "a whole number of at least 0", name(other))),
    }
}

fn missing(field: &str) -> ApiError {
    ApiError::Field { field: field.to_owned(), detail: format!("the field `{field}` is missing") }
}

fn wrong(field: &str, expected: &str, found: &str) -> ApiError {
    let detail = format!("the field `{field}` is {found}, expected {expected}");
    ApiError::Field { field: field.to_owned(), detail }
}

/// Takes a string, or null as absent. serde's own message for a wrong type
/// names no field; values are kept as they are until the field is known.
fn text(value: Value, field: &str) -> Result<Option<String>, ApiError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        other => Err(wrong(field, "a string", name(&other))),
    }
}

const fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of(result: Result<impl std::fmt::Debug, ApiError>) -> String {
        match result.unwrap_err() {
            ApiError::Field { field, .. } => field,
            ApiError::Json(detail) => format!("json: {detail}"),
            other => other.to_string(),
        }
    }

    #[test]
    fn reads_the_documented_object() {
        let mut body =
            br#"{"ticker":"AAPL","as_of":"2022-09-30","seed":18446744073709551615}"#.to_vec();
        let query = ThesisQuery::parse(&mut body).unwrap();
        assert_eq!((query.ticker.as_str(), query.seed), ("AAPL", u64::MAX));
        assert_eq!(query.as_of, Some("2022-09-30".parse().unwrap()));
        let mut body = br#" {"tickers":["MSFT","MSFT"],"as_of":null} "#.to_vec();
        let query = BatchQuery::parse(&mut body, 2).unwrap();
        assert_eq!((query.tickers.len(), query.as_of, query.seed), (2, None, 0));
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        for (body, field) in [
            (r#"{}"#, "ticker"),
            (r#"{"ticker":null}"#, "ticker"),
            (r#"{"ticker":7}"#, "ticker"),
            (r#"{"ticker":{"a":[1]}}"#, "ticker"),
            (r#"{"ticker":"A","tikcer":"B"}"#, "tikcer"),
            (r#"{"ticker":"A","ticker":"B"}"#, "ticker"),
            (r#"{"ticker":"A","t\u0069cker":"B"}"#, "ticker"),
            (r#"{"ticker":"A","as_of":"30.09.2022"}"#, "as_of"),
            (r#"{"ticker":"A","as_of":"2022-02-30"}"#, "as_of"),
            (r#"{"ticker":"A","seed":"1"}"#, "seed"),
            (r#"{"ticker":"A","seed":-1}"#, "seed"),
            (r#"{"ticker":"A","seed":1.5}"#, "seed"),
        ] {
            assert_eq!(
                field_of(ThesisQuery::parse(&mut body.as_bytes().to_vec())),
                field,
                "{body}"
            );
        }
        for (body, field) in [
            (r#"{}"#, "tickers"),
            (r#"{"tickers":[]}"#, "tickers"),
            (r#"{"tickers":"A"}"#, "tickers"),
            (r#"{"tickers":["A",5]}"#, "tickers[1]"),
        ] {
            assert_eq!(
                field_of(BatchQuery::parse(&mut body.as_bytes().to_vec(), 9)),
                field,
                "{body}"
            );
        }
    }

    #[test]
    fn refuses_what_is_not_json() {
        let deep = format!("{{\"ticker\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
        for body in [
            &b""[..],
            b" ",
            b"[]",
            b"{",
            b"null",
            b"{\"ticker\":\"A\"} x",
            b"{'ticker':'A'}",
            b"{\"ticker\":\"\xff\"}",
            b"\xef\xbb\xbf{}",
            b"{\"ticker\":\"A\",}",
            b"{\"ticker\":\"A\",\"seed\":01}",
            deep.as_bytes(),
        ] {
            let found = field_of(ThesisQuery::parse(&mut body.to_vec()));
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
            assert!(found.starts_with("json: "), "{shown}: {found}");
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_said_to_be_one() {
        let mut body = br#"{"ticker":"A","seed":18446744073709551616}"#.to_vec();
        let found = field_of(ThesisQuery::parse(&mut body));
        assert!(found.contains("exceeds 64 bits"), "{found}");
    }

    #[test]
    fn a_lower_case_symbol_tells_what_was_meant() {
        assert_eq!(ticker("BRK.B").unwrap(), ("BRK.B".parse().unwrap(), true));
        assert_eq!(ticker(" aapl").unwrap(), ("AAPL".parse().unwrap(), false));
        assert!(matches!(ticker("no such"), Err(ApiError::Field { .. })));
    }
}
