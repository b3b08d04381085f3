-- name: interest_coverage
-- title: interest coverage
-- section: fundamentals
-- unit: ratio
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: operating income / interest expense of the latest fiscal year; undefined where interest expense <= 0
SELECT
    operating_income / interest_expense AS value, event_time, known_at, source, url
FROM fiscal_years
WHERE age = 0 AND interest_expense > 0
