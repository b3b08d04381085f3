-- name: operating_margin
-- title: operating margin
-- section: fundamentals
-- unit: share
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: operating income / revenue of the latest fiscal year
SELECT
    operating_income / revenue AS value, event_time, known_at, source, url
FROM fiscal_years
WHERE age = 0 AND revenue > 0
