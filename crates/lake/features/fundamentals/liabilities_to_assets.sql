-- name: liabilities_to_assets
-- title: liabilities to assets
-- section: fundamentals
-- unit: share
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: liabilities / assets at the end of the latest fiscal year; liabilities are assets less stockholders' equity where they are not tagged
SELECT
    coalesce(liabilities, assets - equity) / assets AS value, event_time, known_at, source, url
FROM fiscal_years
WHERE age = 0 AND assets > 0
