-- name: vix_zscore_252d
-- title: VIX z-score over 252 days
-- section: market
-- unit: ratio
-- use: research
-- window_days: 252
-- ttl_days: 10
-- kind: macro
-- formula: (V(t) - mean) / sd (ddof 1) of the last 252 observations
WITH last_year AS (
    SELECT avg(value) AS mean, stddev(value) AS deviation, count(*) AS n
    FROM observations
    WHERE series = 'VIX' AND age < 252
)
SELECT
    (now.value - last_year.mean) / last_year.deviation AS value, now.event_time, now.known_at, now.source, now.url
FROM observations now CROSS JOIN last_year
WHERE now.series = 'VIX' AND now.age = 0 AND last_year.n = 252 AND last_year.deviation > 0
