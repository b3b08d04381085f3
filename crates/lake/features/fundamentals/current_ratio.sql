-- name: current_ratio
-- title: current ratio
-- section: fundamentals
-- unit: ratio
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: current assets / current liabilities at the end of the latest fiscal year
SELECT
    assets_current / liabilities_current AS value, event_time, known_at, source, url
FROM fiscal_years
WHERE age = 0 AND liabilities_current > 0
