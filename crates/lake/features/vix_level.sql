-- name: vix_level
-- title: VIX level
-- section: market
-- unit: level
-- ttl_days: 10
-- kind: macro
-- formula: last close known
SELECT value, event_time, known_at, source, url
FROM observations
WHERE series = 'VIX' AND age = 0
