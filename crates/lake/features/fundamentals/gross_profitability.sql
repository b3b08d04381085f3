-- name: gross_profitability
-- title: gross profitability
-- section: fundamentals
-- unit: share
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: gross profit / assets of the latest fiscal year; Novy-Marx (2013)
SELECT
    gross_profit / assets AS value, event_time, known_at, source, url
FROM fiscal_years
WHERE age = 0 AND assets > 0
