//! `GET /v1/openapi.json`: utoipa describes paths, requests and problems; the
//! thesis is the JSON Schema the guard validates with, moved in whole.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::{
    backtest::BacktestJob,
    health::{Health, ModelHealth, SnapshotHealth, TickerSpan, WorkerHealth},
    request::{BatchRequest, ThesisRequest},
};
use crate::{backtests::BacktestQuery, problem::Problem};

#[derive(OpenApi)]
#[openapi(
    info(title = "r2r", description = "Analyst theses with evidence, as of a date."),
    paths(
        paths::thesis,
        paths::batch,
        paths::backtest,
        paths::backtest_job,
        paths::backtest_job_cancel,
        paths::healthz,
        paths::tickers,
        paths::metrics,
        paths::openapi
    ),
    components(schemas(
        ThesisRequest,
        BatchRequest,
        BacktestJob,
        Problem,
        Health,
        ModelHealth,
        SnapshotHealth,
        WorkerHealth,
        TickerSpan
    ))
)]
struct Api;

/// The paths in the form utoipa reads: attributes on functions.
mod paths {
    #![allow(dead_code, reason = "utoipa reads the attributes; nobody calls these")]

    use super::{
        BacktestJob, BacktestQuery, BatchRequest, Health, Problem, ThesisRequest, TickerSpan,
    };

    #[utoipa::path(
        post, path = "/v1/thesis", tag = "theses", summary = "Write the thesis of one ticker",
        request_body = ThesisRequest,
        responses(
            (status = 200, description = "The thesis", headers(("X-Cache" = String, description = "hit or miss"))),
            (status = 400, description = "Malformed request", body = Problem, content_type = "application/problem+json"),
            (status = 404, description = "Unknown ticker, with near matches", body = Problem, content_type = "application/problem+json"),
            (status = 413, description = "Body too large", body = Problem, content_type = "application/problem+json"),
            (status = 422, description = "Date outside the data, with the range", body = Problem, content_type = "application/problem+json"),
            (status = 500, description = "Internal error", body = Problem, content_type = "application/problem+json"),
            (status = 503, description = "Overloaded or not ready, with Retry-After", body = Problem, content_type = "application/problem+json"),
            (status = 504, description = "Deadline exceeded", body = Problem, content_type = "application/problem+json"),
        )
    )]
    pub(super) fn thesis() {}

    #[utoipa::path(
        post, path = "/v1/batch/thesis", tag = "theses", summary = "Write the theses of up to 1,000 tickers",
        description = "An array in the order of the request, or with `Accept: application/x-ndjson` one line each as they finish. A ticker that fails has `{ticker, problem}` in its place.",
        request_body = BatchRequest,
        responses(
            (status = 200, description = "Theses and problems"),
            (status = 400, description = "Malformed request", body = Problem, content_type = "application/problem+json"),
            (status = 413, description = "Body too large", body = Problem, content_type = "application/problem+json"),
            (status = 422, description = "Too many tickers", body = Problem, content_type = "application/problem+json"),
        )
    )]
    pub(super) fn batch() {}

    #[utoipa::path(
        get, path = "/v1/backtest", tag = "backtests", summary = "What a strategy would have made",
        description = "Metrics with intervals and conventions, a comparison with the baseline, and the test blocks of a walk-forward. Equal questions about equal data have equal answers. One backtest is computed at a time; what is not answered within a second is a job.",
        params(BacktestQuery),
        responses(
            (status = 200, description = "`provenance`, `evaluation` (estimates with intervals), `definitions` (what each metric means), `totals` (costs and income), `trades`, `walk_forward`, and with `detail=full` the series and trades", body = Object, headers(("X-Cache" = String, description = "hit or miss"))),
            (status = 202, description = "It takes longer; `Location` says where it will be, for as long as the server runs and has room to remember it", body = BacktestJob, headers(("Location" = String, description = "The job"), ("Retry-After" = u64, description = "Seconds"))),
            (status = 422, description = "A parameter is unknown, occurs twice or is out of its range; `parameter` names it", body = Problem, content_type = "application/problem+json"),
            (status = 500, description = "Internal error", body = Problem, content_type = "application/problem+json"),
            (status = 503, description = "Too many backtests wait or run, with Retry-After", body = Problem, content_type = "application/problem+json"),
        )
    )]
    pub(super) fn backtest() {}

    #[utoipa::path(
        get, path = "/v1/backtest/jobs/{id}", tag = "backtests", summary = "How far a backtest is, and its answer",
        params(("id" = String, Path, description = "Id of the job")),
        responses(
            (status = 200, description = "The job", body = BacktestJob),
            (status = 404, description = "Forgotten, or never was", body = Problem, content_type = "application/problem+json"),
        )
    )]
    pub(super) fn backtest_job() {}

    #[utoipa::path(
        delete, path = "/v1/backtest/jobs/{id}", tag = "backtests", summary = "Stop a backtest, for all who asked the same",
        description = "Answers when it has stopped. A job that is over stays what it is.",
        params(("id" = String, Path, description = "Id of the job")),
        responses(
            (status = 200, description = "The job", body = BacktestJob),
            (status = 404, description = "Forgotten, or never was", body = Problem, content_type = "application/problem+json"),
        )
    )]
    pub(super) fn backtest_job_cancel() {}

    #[utoipa::path(
        get, path = "/v1/healthz", tag = "service", summary = "Whether the server lives and is ready",
        responses(
            (status = 200, description = "Ready", body = Health),
            (status = 503, description = "Live, not ready", body = Health),
        )
    )]
    pub(super) fn healthz() {}

    #[utoipa::path(
        get, path = "/v1/tickers", tag = "service", summary = "The tickers and the span of their data",
        responses((status = 200, description = "In the universe's order", body = Vec<TickerSpan>))
    )]
    pub(super) fn tickers() {}

    #[utoipa::path(
        get, path = "/v1/metrics", tag = "service", summary = "Metrics for Prometheus",
        responses((status = 200, description = "Text format 0.0.4", body = String, content_type = "text/plain"))
    )]
    pub(super) fn metrics() {}

    #[utoipa::path(
        get, path = "/v1/openapi.json", tag = "service", summary = "This document",
        responses((status = 200, description = "OpenAPI", body = Object))
    )]
    pub(super) fn openapi() {}
}

/// OpenAPI has no schema for events.
const STREAM: &str = "An event `claim` {section, text, verdict, evidence} for each claim as soon as it stands, \
    then `thesis` with the whole answer or `problem`. A thesis that is there already, or being written \
    for somebody else, comes as the event `thesis` alone.";

/// Returns the OpenAPI document around the schema of the thesis.
pub(crate) fn document(thesis: &Value) -> Value {
    let mut document = serde_json::to_value(Api::openapi()).unwrap_or_default();
    let mut thesis = thesis.clone();
    move_references(&mut thesis);
    let definitions = take_definitions(&mut thesis);
    let schemas = &mut document["components"]["schemas"];
    for (name, schema) in definitions {
        schemas[format!("Thesis.{name}")] = schema;
    }
    schemas["Thesis"] = thesis;
    let one = json!({ "$ref": "#/components/schemas/Thesis" });
    let failed = json!({
        "type": "object",
        "required": ["ticker", "problem"],
        "properties": {
            "ticker": { "type": "string" },
            "problem": { "$ref": "#/components/schemas/Problem" },
        },
    });
    let element = json!({ "oneOf": [one, failed] });
    let ok = |path: &str| format!("/paths/{}/post/responses/200", path.replace('/', "~1"));
    if let Some(response) = document.pointer_mut(&ok("/v1/thesis")) {
        let events = json!({ "type": "string", "description": STREAM });
        response["content"] = json!({
            "application/json": { "schema": one },
            "text/event-stream": { "schema": events },
        });
    }
    if let Some(response) = document.pointer_mut(&ok("/v1/batch/thesis")) {
        response["content"] = json!({
            "application/json": { "schema": { "type": "array", "items": element } },
            "application/x-ndjson": { "schema": element },
        });
    }
    document
}

/// Takes `$defs` out of the schema, and the keywords that would make it a
/// document of its own with its own base for references.
fn take_definitions(schema: &mut Value) -> Map<String, Value> {
    let Some(object) = schema.as_object_mut() else { return Map::new() };
    object.shift_remove("$schema");
    object.shift_remove("$id");
    match object.shift_remove("$defs") {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    }
}

fn move_references(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(move_references),
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(name) = target.strip_prefix("#/$defs/") {
                            *target = format!("#/components/schemas/Thesis.{name}");
                        }
                    }
                    other => move_references(other),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Object(members) => {
                for (key, value) in members {
                    match value.as_str() {
                        Some(target) if key == "$ref" => found.push(target),
                        _ => references(value, found),
                    }
                }
            }
            _ => {}
        }
    }

    #[test]
    fn every_reference_has_a_target() {
        let document = document(contract::Schema::compile().unwrap().document());
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for target in found {
            let pointer = target.strip_prefix('#').expect("a local reference");
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }

    #[test]
    fn the_document() {
        let mut document = document(contract::Schema::compile().unwrap().document());
        document["components"]["schemas"]["Thesis"] = json!("schemas/thesis.schema.json");
        insta::assert_json_snapshot!(document);
    }
}
