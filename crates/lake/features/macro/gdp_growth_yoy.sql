-- name: gdp_growth_yoy
-- title: nominal GDP growth on the year
-- section: market
-- unit: change
-- use: research
-- ttl_days: 220
-- kind: macro
-- formula: G(q) / G(q-4) - 1, both in the latest vintage known; series GDP of ALFRED
WITH vintages AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY period_end ORDER BY known_at DESC, record_id DESC) AS vintage
    FROM macro_series
    WHERE series = 'GDP'
),
quarters AS (
    SELECT value, event_time, known_at, source, url, CAST(period_end AS INTEGER) AS end_day
    FROM vintages
    WHERE vintage = 1
)
SELECT
    now.value / past.value - 1 AS value, now.event_time,
    greatest(now.known_at, past.known_at) AS known_at, now.source, now.url
FROM quarters now JOIN quarters past ON now.end_day - past.end_day BETWEEN 350 AND 380
WHERE past.value > 0
ORDER BY now.end_day DESC
LIMIT 1
