-- name: operating_cash_flow_margin
-- title: operating cash flow margin
-- section: fundamentals
-- unit: share
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: net cash from operating activities / revenue of the latest fiscal year
SELECT
    operating_cash_flow / revenue AS value, event_time, known_at, source, url
FROM fiscal_years
WHERE age = 0 AND revenue > 0
