//! How each kind of record is made of named cells.

use super::{
    Action, ActionType, Article, Bar, Estimate, Fact, Filing, FilingText, IndexBar, Observation,
    PriceBasis, Transaction,
    mapped::{Cells, FromCells},
    tone,
};
use crate::source_map::SourceMap;

impl FromCells for Bar {
    const REQUIRED: &'static [&'static str] = &["ticker", "session", "close", "basis"];

    fn from_cells(cells: &Cells<'_>) -> Result<Self, String> {
        let basis = match cells.required("basis")?.as_str() {
            "raw" => PriceBasis::Raw,
            "total_return_adjusted" => PriceBasis::TotalReturnAdjusted,
            other => {
                return Err(format!(
                    "its basis {other:?} is neither raw nor total_return_adjusted"
                ));
            }
        };
        Ok(Self {
            session: cells.required_date("session")?,
            open: cells.number("open")?,
            high: cells.number("high")?,
            low: cells.number("low")?,
            close: cells.required_number("close")?,
            volume: cells.number("volume")?,
            basis,
        })
    }
}

impl FromCells for Action {
    const REQUIRED: &'static [&'static str] = &["ticker", "ex_date", "action", "value"];

    fn from_cells(cells: &Cells<'_>) -> Result<Self, String> {
        let action = match cells.required("action")?.as_str() {
            "split" => ActionType::Split,
            "dividend" => ActionType::Dividend,
            other => return Err(format!("its action {other:?} is neither split nor dividend")),
        };
        let (ex_date, value) = (cells.required_date("ex_date")?, cells.required_number("value")?);
        Ok(Self { ex_date, action, value })
    }
}

impl FromCells for IndexBar {
    const REQUIRED: &'static [&'static str] = &["session", "close"];

    fn from_cells(cells: &Cells<'_>) -> Result<Self, String> {
        let (session, close) = (cells.required_date("session")?, cells.required_number("close")?);
        Ok(Self { session, close })
    }
}

impl FromCells for Observation {
    const REQUIRED: &'static [&'static str] = &["series", "period_end", "value"];

    fn from_cells(cells: &Cells<'_>) -> Result<Self, String> {
        Ok(Self {
            series: cells.required("series")?,
            period_end: cells.required_date("period_end")?,
            value: cells.required_number("value")?,
        })
    }
}

impl FromCells for Article {
    const REQUIRED: &'static [&'static str] = &["ticker", "title", "url"];

    fn from_cells(cells: &Cells<'_>) -> Result<Self, String> {
        let title = cells.required("title")?;
        let body = cells.text("body").unwrap_or_default().to_owned();
        let tone = match cells.number("tone")? {
            Some(tone) => tone,
            None => tone(&title, &body),
        };
        let url = cells.required("url")?;
        let host = url.split('/').nth(2).unwrap_or_default();
        let site = cells.text("site").unwrap_or(host).to_owned();
        Ok(Self { title, body, site, tone })
    }
}

impl FromCells for Fact {
    const REQUIRED: &'static [&'static str] =
        &["ticker", "concept", "unit", "period_end", "value", "accession", "form", "filed"];

    fn from_cells(cells: &Cells<'_>) -> Result<Self, String> {
        Ok(Self {
            cik: cells.count("cik")?.unwrap_or(0),
            concept: cells.required("concept")?,
            unit: cells.required("unit")?,
            period_start: cells.date("period_start")?,
            period_end: cells.required_date("period_end")?,
            value: cells.required_number("value")?,
            accession: cells.required("accession")?,
            filing_fy: cells.number("filing_fy")?.map(|year| year as i64),
            filing_fp: cells.text("filing_fp").map(str::to_owned),
            form: cells.required("form")?,
            filed: cells.required_date("filed")?,
        })
    }
}

impl FromCells for Filing {
    const REQUIRED: &'static [&'static str] = &["ticker", "accession", "form", "filed"];

    fn from_cells(cells: &Cells<'_>) -> Result<Self, String> {
        Ok(Self {
            cik: cells.count("cik")?.unwrap_or(0),
            accession: cells.required("accession")?,
            form: cells.required("form")?,
            filed: cells.required_date("filed")?,
            period_end: cells.date("period_end")?,
            primary_document: cells.text("primary_document").unwrap_or_default().to_owned(),
        })
    }
}

impl FromCells for FilingText {
    const REQUIRED: &'static [&'static str] = &[
        "ticker",
        "accession",
        "form",
        "item",
        "text",
        "document_sha256",
        "source_start",
        "source_end",
    ];

    fn from_cells(cells: &Cells<'_>) -> Result<Self, String> {
        let place = |field| {
            let offset = cells.count(field)?.ok_or_else(|| format!("it has no {field}"))?;
            usize::try_from(offset).map_err(|_| format!("its {field} is too large"))
        };
        let source = place("source_start")?..place("source_end")?;
        let text = cells.required("text")?;
        let map = match cells.text("source_runs") {
            Some(runs) => SourceMap::parse(runs, source)?,
            None if source.len() == text.len() => SourceMap::verbatim(source),
            None => return Err("its text is no slice of its document: name its source_runs".into()),
        };
        Ok(Self {
            accession: cells.required("accession")?,
            form: cells.required("form")?,
            item: cells.required("item")?,
            title: cells.text("title").unwrap_or_default().to_owned(),
            text,
            document_sha256: cells.required("document_sha256")?,
            map,
        })
    }
}

impl FromCells for Transaction {
    const REQUIRED: &'static [&'static str] =
        &["ticker", "accession", "form", "filed", "trade_date", "code", "acquired", "shares"];

    fn from_cells(cells: &Cells<'_>) -> Result<Self, String> {
        let trade_date = cells.required_date("trade_date")?;
        Ok(Self {
            accession: cells.required("accession")?,
            form: cells.required("form")?,
            filed: cells.required_date("filed")?,
            period: cells.date("period")?.unwrap_or(trade_date),
            orig_filed: cells.date("orig_filed")?,
            owner_cik: cells.text("owner_cik").unwrap_or_default().to_owned(),
            owner: cells.text("owner").unwrap_or_default().to_owned(),
            relationship: cells.text("relationship").unwrap_or_default().to_owned(),
            trade_date,
            code: cells.required("code")?,
            acquired: cells.required("acquired")?,
            shares: cells.required_number("shares")?,
            price: cells.number("price")?,
            plan_10b5_1: cells
                .text("plan_10b5_1")
                .map(|t| t == "1" || t.eq_ignore_ascii_case("true")),
        })
    }
}

impl FromCells for Estimate {
    const REQUIRED: &'static [&'static str] = &["ticker", "metric", "mean"];

    fn from_cells(cells: &Cells<'_>) -> Result<Self, String> {
        Ok(Self {
            metric: cells.required("metric")?,
            period_end: cells.date("period_end")?,
            broker: cells.text("broker").unwrap_or("consensus").to_owned(),
            mean: cells.required_number("mean")?,
            low: cells.number("low")?,
            high: cells.number("high")?,
            analysts: cells.count("analysts")?.unwrap_or(1),
        })
    }
}
